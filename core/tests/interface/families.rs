//! Networks as they are: IPv4 alone, IPv6 alone and both, hosts with more than one address, and
//! links of other widths than the usual one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mfagate::code::ErrorCode;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::userspace::Userspace;

use crate::harness::GATE;
use crate::line::{Line, psk, within};
use crate::network::{HERE, Host, in_new_network, run};

const HERE_V6: &str = "2001:db8::1";
const THERE_V6: &str = "2001:db8::2";
/// A second address of the gate's host, on the same cable.
const ALSO_HERE: &str = "192.0.2.3";
const ALSO_HERE_V6: &str = "2001:db8::3";
/// And one that is on no cable, as a service's own address is.
const ASIDE: &str = "198.51.100.1";
const ASIDE_V6: &str = "2001:db8:1::1";
const SECONDS: u32 = 20;

fn gate_inside() -> IpAddr {
    "10.9.0.1".parse().unwrap()
}

fn at(host: &str) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), 51_820)
}

/// A gate that listens at every address of its host, as it does unless told otherwise.
async fn gate(mtu: u16) -> Userspace {
    Userspace::builder("wg0", GATE)
        .listen("[::]:51820".parse().unwrap())
        .address("10.9.0.1/24".parse().unwrap())
        .mtu(mtu)
        .build()
        .await
        .unwrap()
}

/// Gives both ends of the cable IPv6 addresses that can be used at once.
fn give_ipv6(host: &Host) {
    let add = |address: &str, end: &'static str| {
        let address = format!("{address}/64");
        ["address", "add", &address, "dev", end, "nodad"].map(str::to_owned)
    };
    run("ip", &add(HERE_V6, "cable0"));
    let there = add(THERE_V6, "cable1");
    host.run("ip", &there.each_ref().map(String::as_str));
}

fn take_ipv4(host: &Host) {
    run("ip", &["-4", "address", "flush", "dev", "cable0"]);
    host.run("ip", &["-4", "address", "flush", "dev", "cable1"]);
}

/// Whether a client there comes through the gate by this address of the gate's.
async fn passes(host: &Host, gate: &Userspace, endpoint: SocketAddr) -> bool {
    // The device of the one before goes in its own time.
    while host.run("ip", &["link", "show"]).contains("line9") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let line = Line::new(host, 9, GATE.public_key(), endpoint);
    gate.install(vec![line.peer()]).await.unwrap();
    line.begin(psk(1)).await;
    host.reaches(gate_inside(), SECONDS)
}

#[test]
fn a_tunnel_passes_over_ipv4_alone_ipv6_alone_and_both() {
    in_new_network(|| async {
        let host = Host::joined();
        let gate = gate(1420).await;
        assert!(passes(&host, &gate, at(HERE)).await, "IPv4 alone");
    });
    in_new_network(|| async {
        let host = Host::joined();
        give_ipv6(&host);
        take_ipv4(&host);
        let gate = gate(1420).await;
        assert!(passes(&host, &gate, at(HERE_V6)).await, "IPv6 alone");
    });
    in_new_network(|| async {
        let host = Host::joined();
        give_ipv6(&host);
        let gate = gate(1420).await;
        assert!(passes(&host, &gate, at(HERE)).await, "IPv4 of both");
        assert!(passes(&host, &gate, at(HERE_V6)).await, "IPv6 of both");
    });
}

#[test]
fn a_tunnel_passes_where_ipv6_is_switched_off() {
    in_new_network(|| async {
        let host = Host::joined();
        let off = "net.ipv6.conf.all.disable_ipv6=1";
        run("sysctl", &["-q", "-w", off]);
        host.run("sysctl", &["-q", "-w", off]);
        let gate = gate(1420).await;
        assert!(passes(&host, &gate, at(HERE)).await);
    });
}

#[test]
fn a_client_without_a_device_reaches_a_gate_by_ipv6() {
    in_new_network(|| async {
        let host = Host::joined();
        give_ipv6(&host);
        take_ipv4(&host);
        let gate = gate(1420).await;
        let listener = std::net::TcpListener::bind((gate_inside(), 7)).unwrap();
        let accepted = std::thread::spawn(move || listener.accept().is_ok());
        let line = Line::new(&host, 9, GATE.public_key(), at(HERE_V6));
        gate.install(vec![line.peer()]).await.unwrap();
        let as_gate = line.gate(psk(1));
        let connected = within(&host, move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = Netstack::builder(crate::line::key(9))
                    .address("10.9.0.2/32".parse().unwrap())
                    .build()
                    .await
                    .unwrap();
                client.install(vec![as_gate]).await.unwrap();
                let limit = Duration::from_secs(SECONDS.into());
                let to = SocketAddr::new(gate_inside(), 7);
                client.connect_within(to, limit).await.is_ok()
            })
        });
        assert!(connected && accepted.join().unwrap());
    });
}

/// Has a host let in what belongs to a connection that it began, and nothing else.
fn keep_state(host: &Host) {
    host.run("nft", &["add table inet state"]);
    host.run(
        "nft",
        &["add chain inet state input { type filter hook input priority 0; policy drop; }"],
    );
    for rule in [
        "iifname lo accept",
        "ct state established,related accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
    ] {
        host.run("nft", &[&format!("add rule inet state input {rule}")]);
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    in_new_network(|| async {
        let host = Host::joined();
        give_ipv6(&host);
        run("ip", &["address", "add", "192.0.2.3/24", "dev", "cable0"]);
        run(
            "ip",
            &["address", "add", "2001:db8::3/64", "dev", "cable0", "nodad"],
        );
        run("ip", &["address", "add", "198.51.100.1/32", "dev", "lo"]);
        run("ip", &["address", "add", "2001:db8:1::1/128", "dev", "lo"]);
        host.run("ip", &["route", "add", "198.51.100.0/24", "via", HERE]);
        host.run("ip", &["route", "add", "2001:db8:1::/64", "via", HERE_V6]);
        keep_state(&host);
        let gate = gate(1420).await;
        for asked in [HERE, ALSO_HERE, ASIDE, HERE_V6, ALSO_HERE_V6, ASIDE_V6] {
            assert!(passes(&host, &gate, at(asked)).await, "{asked}");
        }
    });
}

#[test]
fn an_address_that_was_asked_and_is_gone_stalls_nobody() {
    in_new_network(|| async {
        let host = Host::joined();
        run("ip", &["address", "add", "192.0.2.3/24", "dev", "cable0"]);
        let gate = gate(1420).await;
        let line = Line::new(&host, 9, GATE.public_key(), at(ALSO_HERE));
        gate.install(vec![line.peer()]).await.unwrap();
        line.begin(psk(1)).await;
        assert!(host.reaches(gate_inside(), SECONDS));

        run("ip", &["address", "del", "192.0.2.3/24", "dev", "cable0"]);

        // From here to there: the client hears from the other address, and answers to it.
        let mut ping = std::process::Command::new("ping");
        ping.args(["-q", "-i", "0.2", "-c", "1", "-w", "20", "10.9.0.2"]);
        assert!(ping.status().unwrap().success());
    });
}

/// Sets how long packets on the cable may be.
fn widen(host: &Host, mtu: &str) {
    run("ip", &["link", "set", "cable0", "mtu", mtu]);
    host.run("ip", &["link", "set", "cable1", "mtu", mtu]);
}

/// Whether a packet of so many bytes comes through, in one piece, and its answer back.
fn carries(host: &Host, bytes: u16) -> bool {
    let data = (bytes - 28).to_string();
    let mut ping = host.command("ping");
    ping.args(["-q", "-M", "do", "-i", "0.2", "-c", "1", "-w", "20", "-s"]);
    ping.args([&data, "10.9.0.1"]).status().unwrap().success()
}

/// Both ends with this MTU inside, over a cable with that one outside.
async fn carries_full_packets(inside: u16, outside: &str, endpoint: &str) -> bool {
    let host = Host::joined();
    give_ipv6(&host);
    widen(&host, outside);
    let gate = gate(inside).await;
    let line = Line::wide(&host, 9, GATE.public_key(), at(endpoint), inside);
    gate.install(vec![line.peer()]).await.unwrap();
    line.begin(psk(1)).await;
    carries(&host, inside)
}

#[test]
fn packets_as_long_as_the_mtu_that_was_set_pass_through_a_device() {
    for (inside, outside) in [(1420, "1500"), (9000, "9100"), (65_475, "65535")] {
        in_new_network(move || async move {
            let passed = carries_full_packets(inside, outside, HERE).await;
            assert!(passed, "{inside} over {outside}");
        });
    }
}

#[test]
fn a_link_narrower_than_the_tunnels_mtu_carries_full_packets() {
    for (inside, endpoint) in [(1420, HERE), (1420, HERE_V6), (9000, HERE), (9000, HERE_V6)] {
        in_new_network(move || async move {
            let passed = carries_full_packets(inside, "1400", endpoint).await;
            assert!(passed, "{inside} over 1400 to {endpoint}");
        });
    }
}

#[test]
fn a_device_s_mtu_that_cannot_be_is_refused_with_its_limits() {
    in_new_network(|| async {
        for (mtu, address) in [
            (65_476, "10.9.0.1/24"),
            (1279, "fd00::1/64"),
            (60, "10.9.0.1/24"),
        ] {
            let refused = Userspace::builder("wg0", GATE)
                .address(address.parse().unwrap())
                .mtu(mtu)
                .build()
                .await;
            assert!(
                matches!(&refused, Err(error) if error.code() == "invalid-mtu"),
                "{mtu}"
            );
        }
    });
}

#[test]
fn a_mark_is_on_wireguards_own_packets() {
    in_new_network(|| async {
        let host = Host::joined();
        run("nft", &["add table inet marks"]);
        run(
            "nft",
            &["add chain inet marks output { type filter hook output priority 0; }"],
        );
        run(
            "nft",
            &["add rule inet marks output udp dport 51820 meta mark != 0x51 drop"],
        );
        let far = within(&host, || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let far = runtime.block_on(gate(1420));
            (runtime, far)
        });
        let near = Userspace::builder("wg0", crate::line::key(9))
            .fwmark(0x51)
            .address("10.9.0.2/24".parse().unwrap())
            .build()
            .await
            .unwrap();
        let mut peer = mfagate::interface::PeerConfig::new(
            crate::line::key(9).public_key(),
            Some(psk(1)),
            vec!["10.9.0.2/32".parse().unwrap()],
        );
        peer.lease = Some(Duration::from_secs(3600));
        far.1.install(vec![peer]).await.unwrap();
        let to = mfagate::interface::PeerConfig::new(
            GATE.public_key(),
            Some(psk(1)),
            vec!["10.9.0.0/24".parse().unwrap()],
        );
        let to = to.with_endpoint(at(crate::network::THERE));
        near.install(vec![to]).await.unwrap();

        let mut ping = std::process::Command::new("ping");
        ping.args(["-q", "-i", "0.2", "-c", "1", "-w", "20", "10.9.0.1"]);
        assert!(ping.status().unwrap().success());
        far.0.shutdown_background();
    });
}
