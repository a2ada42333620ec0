//! Clients of another make: Debian's wireguard-go and `wg` on another host, against each backend.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey};

use crate::harness::{GATE, GATE_ADDRESS};
use crate::network::{HERE, Host, in_new_network, run};
use crate::uapi::OtherMake;

const CLIENT: PrivateKey = PrivateKey::from_bytes([1; 32]);
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));

/// wireguard-go on another host, with the client's key.
struct Client {
    host: Host,
    program: OtherMake,
}

impl Client {
    async fn start() -> Self {
        let host = Host::joined();
        let program = OtherMake::start(&CLIENT, host.command("wireguard-go")).await;
        let name = &program.name;
        host.run("ip", &["address", "add", "10.9.0.2/24", "dev", name]);
        host.run("ip", &["link", "set", name, "up"]);
        Self { host, program }
    }

    /// Sets the gate as its peer, in place of what it had.
    fn believe(&self, port: u16, psk: Option<&PresharedKey>) {
        let gate = GATE.public_key().to_string();
        let name = self.program.name.as_str();
        run("wg", &["set", name, "peer", &gate, "remove"]);
        let endpoint = format!("{HERE}:{port}");
        let peer = [
            "set",
            name,
            "peer",
            &gate,
            "endpoint",
            &endpoint,
            "allowed-ips",
            "10.9.0.0/24",
        ];
        let Some(psk) = psk else {
            run("wg", &peer);
            return;
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = data_encoding::BASE64.encode(psk.expose_secret());
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        run("wg", &[peer.as_slice(), &["preshared-key", path]].concat());
    }

    fn reaches_inside(&self, seconds: u32) -> bool {
        self.host.reaches(INSIDE, seconds)
    }
}

fn psk(n: u8) -> PresharedKey {
    PresharedKey::from_bytes([n; 32])
}

fn peer(n: u8) -> PeerConfig {
    let inside = vec!["10.9.0.2/32".parse().unwrap()];
    PeerConfig::new(CLIENT.public_key(), Some(psk(n)), inside)
}

#[test]
fn only_the_installed_peer_with_its_preshared_key_gets_through() {
    in_new_network(|| async {
        let gate = Userspace::builder("wg0", GATE)
            .address(GATE_ADDRESS.parse().unwrap())
            .build()
            .await
            .unwrap();
        let port = gate.local_addr().port();
        let client = Client::start().await;

        client.believe(port, Some(&psk(1)));
        assert!(!client.reaches_inside(2), "before it is installed");
        gate.install(vec![peer(1)]).await.unwrap();
        assert!(client.reaches_inside(10), "with the right keys");

        gate.remove(&[CLIENT.public_key()]).await.unwrap();
        assert!(!client.reaches_inside(2), "after it was removed");
        gate.install(vec![peer(2)]).await.unwrap();
        for (wrong, what) in [
            (None, "no preshared key"),
            (Some(psk(1)), "last session's preshared key"),
            (Some(psk(3)), "a wrong preshared key"),
        ] {
            client.believe(port, wrong.as_ref());
            assert!(!client.reaches_inside(3), "with {what}");
        }
        client.believe(port, Some(&psk(2)));
        assert!(client.reaches_inside(10), "with the new preshared key");
    });
}

#[test]
fn a_renewal_loses_no_packet() {
    in_new_network(|| async {
        let gate = Userspace::builder("wg0", GATE)
            .address(GATE_ADDRESS.parse().unwrap())
            .build()
            .await
            .unwrap();
        gate.install(vec![peer(1)]).await.unwrap();
        let client = Client::start().await;
        client.believe(gate.local_addr().port(), Some(&psk(1)));
        assert!(client.reaches_inside(10));

        let inside = INSIDE.to_string();
        let mut ping = client.host.command("ping");
        ping.args(["-q", "-i", "0.01", "-c", "400", "-W", "2", &inside]);
        let flow = tokio::task::spawn_blocking(move || ping.output().unwrap());
        for n in 2..6 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            gate.renew(vec![peer(n)]).await.unwrap();
        }
        let said = String::from_utf8(flow.await.unwrap().stdout).unwrap();
        assert!(said.contains(" 0% packet loss"), "{said}");
    });
}
