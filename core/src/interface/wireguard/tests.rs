//! What a peer's private key alone gets: nothing, and no one's session in its way. And what goes
//! with an address when it moves or its holder is removed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::interface::netstack::{NetStream, Netstack, NetstackError};
use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PrivateKey, PublicKey};

const GATE: [u8; 32] = [9; 32];
const OWNER: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];
/// Long for a slow machine, and shorter than the 15 s after which WireGuard begins again by itself.
const PATIENCE: Duration = Duration::from_secs(10);

fn echo_at() -> SocketAddr {
    "10.9.0.1:7".parse().unwrap()
}

fn public(secret: [u8; 32]) -> PublicKey {
    PrivateKey::from_bytes(secret).public_key()
}

fn psk(n: u8) -> Option<PresharedKey> {
    Some(PresharedKey::from_bytes([n; 32]))
}

async fn netstack(secret: [u8; 32], inner: &str) -> Netstack {
    Netstack::builder(PrivateKey::from_bytes(secret))
        .listen("127.0.0.1:0".parse().unwrap())
        .address(inner.parse().unwrap())
        .build()
        .await
        .unwrap()
}

/// A gate that echoes, with the owner installed.
async fn gate() -> Netstack {
    let gate = netstack(GATE, "10.9.0.1/24").await;
    let mut listener = gate.listen(echo_at()).unwrap();
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    gate.install(vec![peer(OWNER, 1)]).await.unwrap();
    gate
}

/// A peer of the gate's, at the owner's address.
fn peer(secret: [u8; 32], n: u8) -> PeerConfig {
    PeerConfig::new(public(secret), psk(n), vec!["10.9.0.2/32".parse().unwrap()])
}

/// A device with this key that believes in this preshared key.
async fn device(gate: &Netstack, secret: [u8; 32], n: u8) -> Netstack {
    let device = netstack(secret, "10.9.0.2/32").await;
    let to = PeerConfig::new(public(GATE), psk(n), vec!["10.9.0.0/24".parse().unwrap()])
        .with_endpoint(gate.local_addr());
    device.install(vec![to]).await.unwrap();
    device
}

async fn seen(gate: &Netstack) -> Activity {
    gate.activity(&[public(OWNER)]).await.unwrap()[0]
}

async fn echoes(stream: &mut NetStream) -> bool {
    let probe = async {
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut [0; 4]).await
    };
    matches!(timeout(PATIENCE, probe).await, Ok(Ok(_)))
}

#[tokio::test]
async fn the_private_key_alone_completes_no_handshake() {
    let gate = gate().await;

    let thief = device(&gate, OWNER, 66).await;
    let tried = thief
        .connect_within(echo_at(), Duration::from_millis(500))
        .await;

    assert!(matches!(tried, Err(NetstackError::TimedOut { .. })));
    let silent = Activity {
        payload: Some(0),
        ..Activity::silent(public(OWNER))
    };
    assert_eq!(seen(&gate).await, silent);
}

#[tokio::test]
async fn payload_is_counted_without_handshakes_and_keepalives() {
    let gate = gate().await;
    let owner = netstack(OWNER, "10.9.0.2/32").await;
    let to = PeerConfig::new(public(GATE), psk(1), vec!["10.9.0.0/24".parse().unwrap()])
        .with_endpoint(gate.local_addr())
        .with_keepalive(Duration::from_secs(1));
    owner.install(vec![to]).await.unwrap();
    let mut stream = owner.connect(echo_at()).await.unwrap();
    assert!(echoes(&mut stream).await);
    let before = seen(&gate).await.payload.unwrap();
    assert!(echoes(&mut stream).await);
    // A packet each way, with an IPv4 and a TCP header and four bytes.
    let passed = seen(&gate).await.payload.unwrap() - before;
    assert!((2 * 44..1000).contains(&passed), "{passed}");

    // Once the last acknowledgement is through, only keepalives are left.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = seen(&gate).await;
    let keepalives = async {
        while seen(&gate).await.received < before.received + 2 * 32 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, keepalives).await.unwrap();
    assert_eq!(seen(&gate).await.payload, before.payload);
}

#[tokio::test]
async fn the_private_key_alone_cannot_disturb_its_owners_session() {
    let gate = gate().await;
    let owner = device(&gate, OWNER, 1).await;
    let mut stream = owner.connect(echo_at()).await.unwrap();
    assert!(echoes(&mut stream).await);
    let before = seen(&gate).await;

    // More handshakes than sessions are kept for a peer.
    for _ in 0..10 {
        let thief = device(&gate, OWNER, 66).await;
        _ = thief
            .connect_within(echo_at(), Duration::from_millis(100))
            .await;
        thief.close().await;
    }

    let after = seen(&gate).await;
    assert_eq!(after.endpoint, Some(owner.local_addr()));
    assert!(after.is_endpoint_proven);
    assert_eq!(after.last_handshake, before.last_handshake);
    assert!(echoes(&mut stream).await);
}

#[tokio::test]
async fn an_address_that_moves_takes_no_connection_along() {
    let gate = gate().await;
    let owner = device(&gate, OWNER, 1).await;
    let mut stream = owner.connect(echo_at()).await.unwrap();
    assert!(echoes(&mut stream).await);

    gate.install(vec![peer(OTHER, 2)]).await.unwrap();

    let other = device(&gate, OTHER, 2).await;
    let mut of_other = other.connect(echo_at()).await.unwrap();
    assert!(echoes(&mut of_other).await);
    assert!(!echoes(&mut stream).await);
    let list = gate.list().await.unwrap();
    let left = list.iter().find(|peer| peer.key == public(OWNER)).unwrap();
    assert!(left.allowed_ips.is_empty());
}

#[tokio::test]
async fn a_renewal_with_the_same_addresses_keeps_the_connection() {
    let gate = gate().await;
    let owner = device(&gate, OWNER, 1).await;
    let mut stream = owner.connect(echo_at()).await.unwrap();
    assert!(echoes(&mut stream).await);

    gate.renew(vec![peer(OWNER, 3)]).await.unwrap();

    assert!(echoes(&mut stream).await);
    assert_eq!(gate.list().await.unwrap()[0].psk, psk(3));
}

#[tokio::test]
async fn what_a_removed_peer_sent_before_is_not_read_after() {
    let gate = gate().await;
    let mut listener = gate.listen("10.9.0.1:9".parse().unwrap()).unwrap();
    let owner = device(&gate, OWNER, 1).await;
    let at = listener.local_addr();
    let mut sending = owner.connect(at).await.unwrap();
    sending.write_all(&[7; 50_000]).await.unwrap();
    let mut receiving = listener.accept().await.unwrap();
    receiving.read_exact(&mut [0; 1000]).await.unwrap();

    gate.remove(&[public(OWNER)]).await.unwrap();

    let mut rest = Vec::new();
    assert!(receiving.read_to_end(&mut rest).await.is_err());
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_fence_gives_the_port_back_and_is_final() {
    let gate = gate().await;
    let port = gate.local_addr();

    gate.fence().await.unwrap();

    assert!(std::net::UdpSocket::bind(port).is_ok());
    let refused = gate.install(vec![peer(OWNER, 1)]).await;
    assert!(matches!(refused, Err(InterfaceError::Down)));
    assert!(matches!(gate.list().await, Err(InterfaceError::Down)));
    gate.remove(&[public(OWNER)]).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let gate = gate().await;

    let second = Netstack::builder(PrivateKey::from_bytes(OTHER))
        .listen(gate.local_addr())
        .address("10.9.0.1/24".parse().unwrap())
        .build()
        .await;

    let at = gate.local_addr();
    let Err(NetstackError::AddressInUse { at: named, .. }) = second else {
        panic!("the port was given twice");
    };
    assert_eq!(named, at);
}

/// A device, on a thread of its own, that goes on sending datagrams of four bytes to the gate.
fn sends_beside(gate: SocketAddr) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let owner = netstack(OWNER, "10.9.0.2/32").await;
            let to = PeerConfig::new(public(GATE), psk(1), vec!["10.9.0.0/24".parse().unwrap()])
                .with_endpoint(gate);
            owner.install(vec![to]).await.unwrap();
            let socket = owner.bind_udp("10.9.0.2:0".parse().unwrap()).unwrap();
            for _ in 0..400 {
                _ = socket.send_to(b"ping", "10.9.0.1:9".parse().unwrap());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    })
}

#[tokio::test]
async fn packets_queued_past_a_lease_by_a_stopped_process_do_not_pass() {
    let gate = gate().await;
    let mut leased = peer(OWNER, 1);
    leased.lease = Some(Duration::from_millis(1500));
    gate.install(vec![leased]).await.unwrap();
    let mut socket = gate.bind_udp("10.9.0.1:9".parse().unwrap()).unwrap();
    let sender = sends_beside(gate.local_addr());
    socket.recv_from(&mut [0; 4]).await.unwrap();

    // No task of the gate's runs: as with SIGSTOP, and no one removes the peer.
    std::thread::sleep(Duration::from_secs(2));
    let before = seen(&gate).await.received;
    // What had come in before the stop is no packet of after the lease.
    while timeout(Duration::from_millis(1), socket.recv_from(&mut [0; 4]))
        .await
        .is_ok()
    {}
    tokio::time::sleep(Duration::from_millis(500)).await;

    let late = timeout(Duration::from_millis(1), socket.recv_from(&mut [0; 4])).await;
    assert!(late.is_err(), "a packet passed");
    assert_eq!(seen(&gate).await.received, before);
    let sent = seen(&gate).await.sent;
    socket
        .send_to(b"pong", "10.9.0.2:9".parse().unwrap())
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(seen(&gate).await.sent, sent);
    let left = gate.list().await.unwrap()[0].lease;
    assert_eq!(left, Some(Duration::ZERO));
    sender.join().unwrap();
}

#[tokio::test]
async fn a_lease_that_was_renewed_lasts_as_long_as_the_renewal_says() {
    let gate = gate().await;
    let mut leased = peer(OWNER, 1);
    leased.lease = Some(Duration::from_millis(500));
    gate.install(vec![leased.clone()]).await.unwrap();
    leased.lease = Some(Duration::from_secs(3600));
    gate.renew(vec![leased]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;

    let owner = device(&gate, OWNER, 1).await;

    assert!(echoes(&mut owner.connect(echo_at()).await.unwrap()).await);
    let left = gate.list().await.unwrap()[0].lease.unwrap();
    assert!(left > Duration::from_secs(3500) && left < Duration::from_secs(3600));
}

#[tokio::test]
async fn a_socket_at_all_addresses_is_reached_over_ipv4_and_over_ipv6() {
    let gate = Netstack::builder(PrivateKey::from_bytes(GATE))
        .address("10.9.0.1/24".parse().unwrap())
        .build()
        .await
        .unwrap();
    let mut listener = gate.listen(echo_at()).unwrap();
    gate.install(vec![peer(OWNER, 1)]).await.unwrap();
    for host in ["127.0.0.1", "::1"] {
        let at = SocketAddr::new(host.parse().unwrap(), gate.local_addr().port());
        let owner = Netstack::builder(PrivateKey::from_bytes(OWNER))
            .address("10.9.0.2/32".parse().unwrap())
            .build()
            .await
            .unwrap();
        let to = PeerConfig::new(public(GATE), psk(1), vec!["10.9.0.0/24".parse().unwrap()]);
        owner.install(vec![to.with_endpoint(at)]).await.unwrap();

        let (connected, accepted) = tokio::join!(owner.connect(echo_at()), listener.accept());

        assert!(connected.is_ok() && accepted.is_some(), "{host}");
        // An IPv4 address is told as one, for anyone who compares or shows it.
        assert_eq!(seen(&gate).await.endpoint.unwrap().ip(), at.ip());
    }
}

/// Both ends with this MTU.
async fn wide(mtu: u16) -> (Netstack, Netstack) {
    let end = async |secret, inner: &str, peer: PeerConfig| {
        let end = Netstack::builder(PrivateKey::from_bytes(secret))
            .listen("127.0.0.1:0".parse().unwrap())
            .address(inner.parse().unwrap())
            .mtu(mtu);
        let end = end.build().await.unwrap();
        end.install(vec![peer]).await.unwrap();
        end
    };
    let gate = end(GATE, "10.9.0.1/24", peer(OWNER, 1)).await;
    let to = PeerConfig::new(public(GATE), psk(1), vec!["10.9.0.0/24".parse().unwrap()]);
    let owner = end(OWNER, "10.9.0.2/32", to.with_endpoint(gate.local_addr()));
    let owner = owner.await;
    (gate, owner)
}

#[tokio::test]
async fn packets_as_long_as_the_mtu_that_was_set_pass() {
    for mtu in [576, 1420, 4097, 9000, 65_475] {
        let (gate, owner) = wide(mtu).await;
        let at = "10.9.0.1:9".parse().unwrap();
        let mut there = gate.bind_udp(at).unwrap();
        let here = owner.bind_udp("10.9.0.2:0".parse().unwrap()).unwrap();
        // What IPv6 and UDP need is kept free, whatever the packet is.
        let full = vec![7; usize::from(mtu) - 48];
        let mut buffer = vec![0; 1 << 16];

        here.send_to(&full, at).unwrap();
        let received = timeout(PATIENCE, there.recv_from(&mut buffer)).await;

        let (len, _) = received.unwrap_or_else(|_| panic!("{mtu}")).unwrap();
        assert_eq!(buffer[..len], full);
        assert!(here.send_to(&vec![7; usize::from(mtu) - 47], at).is_err());
    }
}

#[tokio::test]
async fn an_mtu_that_cannot_be_is_refused_with_its_limits() {
    for (mtu, address, limits) in [
        (575, "10.9.0.1/24", (576, 65_475)),
        (1279, "fd00::1/64", (1280, 65_475)),
        (65_476, "10.9.0.1/24", (576, 65_475)),
    ] {
        let refused = Netstack::builder(PrivateKey::from_bytes(GATE))
            .address(address.parse().unwrap())
            .mtu(mtu)
            .build()
            .await;

        let Err(NetstackError::Mtu(error)) = refused else {
            panic!("an MTU of {mtu} was taken");
        };
        assert_eq!((error.least, error.most), limits);
    }
}
