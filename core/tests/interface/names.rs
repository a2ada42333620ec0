//! A gate that is known by a name: with an address that does not answer beside one that does, and
//! with an address that changes while a client is connected. The client's half of it is real: the
//! control channel over HTTP, and in-process WireGuard on another host.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::Answer;
use mfagate::client::{
    AuthChallenge, Client, Config, Event, Profile, Prompt, PromptFailed, Response,
};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::gate::{Gate, GateConfig};
use mfagate::id::UserId;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::userspace::Userspace;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::{AdminStore, MemoryStore, Peer};
use mfagate::time::{Clock, SystemClock};
use rustix::thread::UnshareFlags;
use tokio::runtime::Runtime;

use crate::harness::{GATE, GATE_ADDRESS};
use crate::line::{key, within};
use crate::network::{HERE, Host, in_new_network, run};

const HERE_V6: &str = "2001:db8::1";
const ALSO_HERE: &str = "192.0.2.3";
const INSIDE: &str = "10.9.0.1:7";
const LIMIT: Duration = Duration::from_secs(30);

/// A gate on this host, a client on another, and the file of names that both go by.
struct Site {
    names: tempfile::NamedTempFile,
    _gate: Gate,
    client: Client,
    netstack: Netstack,
    runtime: Option<Runtime>,
    _host: Host,
}

impl Site {
    /// Signs in to a gate of this name that has these addresses.
    async fn connected(addresses: &[&str], drop: &[&str]) -> Self {
        let host = Host::joined();
        give_addresses(&host);
        refuse(drop);
        let names = tempfile::NamedTempFile::new().unwrap();
        have_names(names.path());
        name(&names, addresses);
        let (gate, secret) = gate().await;
        let (runtime, netstack, client) = within(&host, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let (netstack, client) = runtime.block_on(client(secret));
            (runtime, netstack, client)
        });
        Self {
            names,
            _gate: gate,
            client,
            netstack,
            runtime: Some(runtime),
            _host: host,
        }
    }

    /// Whether a connection through the tunnel is made.
    async fn passes(&self) -> bool {
        let to = INSIDE.parse().unwrap();
        self.netstack.connect_within(to, LIMIT).await.is_ok()
    }

    /// The address that the tunnel moved to.
    async fn moved(&self) -> SocketAddr {
        let moved = async {
            loop {
                if let Event::EndpointMoved { endpoint } = self.client.next_event().await.unwrap() {
                    return endpoint;
                }
            }
        };
        tokio::time::timeout(LIMIT, moved).await.expect("a move")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // it is dropped inside another
        }
    }
}

fn give_addresses(host: &Host) {
    run("ip", &["address", "add", "192.0.2.3/24", "dev", "cable0"]);
    run(
        "ip",
        &["address", "add", "2001:db8::1/64", "dev", "cable0", "nodad"],
    );
    host.run(
        "ip",
        &["address", "add", "2001:db8::2/64", "dev", "cable1", "nodad"],
    );
}

/// Has packets that match be lost here, without a word.
fn refuse(matches: &[&str]) {
    run("nft", &["add table inet lost"]);
    run(
        "nft",
        &["add chain inet lost input { type filter hook input priority 0; }"],
    );
    for what in matches {
        run("nft", &[&format!("add rule inet lost input {what} drop")]);
    }
}

/// Has the names of this file, and no others, be known to what runs in the test's network: its
/// `/etc/hosts` is another one from then on.
fn have_names(names: &std::path::Path) {
    // SAFETY: the thread leaves the mount namespace that it shares with the others, and nothing
    // else.
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    left.expect("these tests need root");
    run("mount", &["--make-rprivate", "/"]);
    let names = names.to_str().unwrap();
    run("mount", &["--bind", names, "/etc/hosts"]);
}

/// Has the gate's name have these addresses, and no others.
fn name(names: &tempfile::NamedTempFile, addresses: &[&str]) {
    // The same file as before: it is mounted.
    let mut file = std::fs::File::create(names.path()).unwrap();
    for address in addresses {
        writeln!(file, "{address} gate.test").unwrap();
    }
}

async fn gate() -> (Gate, TotpSecret) {
    let interface = Userspace::builder("wg0", GATE)
        .listen("[::]:51820".parse().unwrap())
        .address(GATE_ADDRESS.parse().unwrap())
        .build()
        .await
        .unwrap();
    let service = tokio::net::TcpListener::bind(INSIDE).await.unwrap();
    tokio::spawn(async move { while service.accept().await.is_ok() {} });
    let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
    let store: Arc<dyn AdminStore> = Arc::new(MemoryStore::new());
    let clock = Arc::new(SystemClock::new());
    let registrar = Registrar::new(Arc::clone(&store), ring.clone(), clock.clone());
    let user: UserId = "alice".parse().unwrap();
    registrar.put_user(&user, true).await.unwrap();
    let enrolment = registrar
        .begin_totp(&user, &"phone".parse().unwrap(), "test")
        .await
        .unwrap();
    let secret = enrolment.secret.clone();
    let before = clock.now().timestamp - Duration::from_secs(30);
    let first = secret.code(before).unwrap();
    let confirmed = registrar.confirm_totp(&user, enrolment.factor, first);
    confirmed.await.unwrap();
    let location: mfagate::id::LocationId = "office".parse().unwrap();
    let peer = Peer {
        location: location.clone(),
        key: key(9).public_key(),
        user,
        allowed_ips: vec!["10.9.0.2/32".parse().unwrap()],
        label: "a label".parse().unwrap(),
        enabled: true,
    };
    registrar.put_peer(peer).await.unwrap();
    let mut config = GateConfig::new(location, GATE, ring, store, Arc::new(interface));
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    let gate = Gate::start(config).await.unwrap();
    let listener = tokio::net::TcpListener::bind("[::]:7000").await.unwrap();
    let router = mfagate::http::router(gate.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (gate, secret)
}

/// A client that is signed in.
async fn client(secret: TotpSecret) -> (Netstack, Client) {
    let netstack = Netstack::builder(key(9))
        .address("10.9.0.2/32".parse().unwrap())
        .build()
        .await
        .unwrap();
    let profile = Profile {
        location: "office".parse().unwrap(),
        location_key: GATE.public_key(),
        control: vec!["http://gate.test:7000".to_owned()],
        endpoint: "gate.test:51820".parse().unwrap(),
        private_key: key(9),
        addresses: vec!["10.9.0.2/32".parse().unwrap()],
        allowed_ips: vec!["10.9.0.0/24".parse().unwrap()],
        keepalive: Some(Duration::from_secs(1)),
        dns: Vec::new(),
        mtu: None,
    };
    let mut config = Config::default();
    config.sample_every = Duration::from_millis(500);
    config.move_after = Duration::from_secs(3);
    let client = Client::builder(profile)
        .interface(Arc::new(netstack.clone()))
        .config(config)
        .build()
        .unwrap();
    client.connect(&mut Phone(secret)).await.unwrap();
    (netstack, client)
}

/// A user with an authenticator app.
struct Phone(TotpSecret);

#[async_trait]
impl Prompt for Phone {
    async fn answer(&mut self, _: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let code = self.0.code(SystemClock::new().now().timestamp);
        let code = code.map_err(PromptFailed::new)?;
        Ok(Some(Answer::Code { code }.into()))
    }
}

#[test]
fn a_name_connects_by_the_address_that_answers() {
    for dead in ["ip daddr 192.0.2.1", "ip6 daddr 2001:db8::1"] {
        in_new_network(move || async move {
            // Both the control port and the tunnel's are lost there.
            let lost = ["tcp dport 7000", "udp dport 51820"].map(|it| format!("{dead} {it}"));
            let lost = lost.each_ref().map(String::as_str);

            let site = Site::connected(&[HERE, HERE_V6], &lost).await;

            assert!(site.passes().await, "{dead}");
        });
    }
}

#[test]
fn a_tunnel_takes_the_other_family_where_only_tcp_passes_in_one() {
    for (dead, alive) in [("ip", HERE_V6), ("ip6", HERE)] {
        in_new_network(move || async move {
            // The control channel is reached by the family that the tunnel can't have.
            let lost = [
                format!("meta nfproto {} udp dport 51820", family(dead)),
                format!("meta nfproto {} tcp dport 7000", family(other(dead))),
            ];
            let lost = lost.each_ref().map(String::as_str);

            let site = Site::connected(&[HERE, HERE_V6], &lost).await;

            assert!(site.passes().await, "{dead}");
            assert_eq!(site.moved().await.ip().to_string(), alive);
        });
    }
}

fn family(of: &str) -> &'static str {
    if of == "ip" { "ipv4" } else { "ipv6" }
}

fn other(than: &str) -> &'static str {
    if than == "ip" { "ip6" } else { "ip" }
}

#[test]
fn an_endpoint_whose_name_gets_another_address_is_followed() {
    for after in [ALSO_HERE, HERE_V6] {
        in_new_network(move || async move {
            let site = Site::connected(&[HERE], &[]).await;
            assert!(site.passes().await);

            name(&site.names, &[after]);
            run("ip", &["address", "del", "192.0.2.1/24", "dev", "cable0"]);
            // Its second address goes with the first, unless it is given again.
            _ = std::process::Command::new("ip")
                .args(["address", "add", "192.0.2.3/24", "dev", "cable0"])
                .output();

            assert_eq!(site.moved().await.ip().to_string(), after);
            assert!(site.passes().await, "{after}");
        });
    }
}
