//! What a peer's private key alone gets: nothing, and nobody's session in its way. And what goes
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
/// Long for a slow machine, and shorter than the 15 s after which WireGuard begins anew by itself.
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
async fn the_private_key_alone_completes_no_handshake_and_moves_no_endpoint() {
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
