//! Two netstacks talk over loopback: the gate's side is under test, the other is its client.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::testing::interface::{
    InterfaceClient, InterfaceHarness, InterfaceStream, a_removed_peer_passes_nothing, conformance,
};

const ECHO: &str = "10.9.0.1:7";
const GATE: [u8; 32] = [9; 32];

async fn netstack(key: [u8; 32], inner: &str) -> Netstack {
    Netstack::builder(PrivateKey::from_bytes(key))
        .listen("127.0.0.1:0".parse().unwrap())
        .address(inner.parse().unwrap())
        .build()
        .await
        .unwrap()
}

fn public(key: [u8; 32]) -> PublicKey {
    PrivateKey::from_bytes(key).public_key()
}

fn serve_echo(mut listener: NetListener) {
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                _ = tokio::io::copy(&mut from, &mut to).await;
                _ = to.shutdown().await;
            });
        }
    });
}

fn gate_as_peer(gate: &Netstack, psk: Option<PresharedKey>) -> PeerConfig {
    PeerConfig::new(public(GATE), psk, vec!["10.9.0.0/24".parse().unwrap()])
        .with_endpoint(gate.local_addr())
}

async fn pair() -> (Netstack, Netstack) {
    let gate = netstack(GATE, "10.9.0.1/24").await;
    let client = netstack([1; 32], "10.9.0.2/32").await;
    let psk = Some(PresharedKey::from_bytes([3; 32]));
    let peer = PeerConfig::new(
        public([1; 32]),
        psk.clone(),
        vec!["10.9.0.2/32".parse().unwrap()],
    );
    gate.install(vec![peer]).await.unwrap();
    let gate_peer = gate_as_peer(&gate, psk);
    client.install(vec![gate_peer]).await.unwrap();
    serve_echo(gate.listen(ECHO.parse().unwrap()).unwrap());
    (gate, client)
}

struct Harness(Netstack);
struct Client(Netstack);

#[async_trait::async_trait]
impl InterfaceHarness for Harness {
    type Client = Client;

    fn ends_leases(&self) -> bool {
        true
    }

    fn backend(&self) -> &dyn InterfaceBackend {
        &self.0
    }

    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Client {
        let client = netstack(*key.expose_secret(), &format!("10.9.0.{}/32", 10 + slot)).await;
        let gate = gate_as_peer(&self.0, psk);
        client.install(vec![gate]).await.unwrap();
        Client(client)
    }

    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig {
        let inner = format!("10.9.0.{}/32", 10 + slot).parse().unwrap();
        PeerConfig::new(key, psk, vec![inner])
    }
}

#[async_trait::async_trait]
impl InterfaceClient for Client {
    async fn probe(&self, limit: Duration) -> bool {
        let connected = self.0.connect_within(ECHO.parse().unwrap(), limit).await;
        let Ok(mut stream) = connected else {
            return false;
        };
        stream.echo(limit).await
    }

    async fn stream(&self) -> Option<Box<dyn InterfaceStream>> {
        let stream = self.0.connect(ECHO.parse().unwrap()).await.ok()?;
        Some(Box::new(stream))
    }
}

#[async_trait::async_trait]
impl InterfaceStream for NetStream {
    async fn echo(&mut self, limit: Duration) -> bool {
        let exchange = async {
            self.write_all(b"ping").await?;
            self.read_exact(&mut [0; 4]).await
        };
        matches!(tokio::time::timeout(limit, exchange).await, Ok(Ok(_)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_backends_contract() {
    let gate = netstack(GATE, "10.9.0.1/24").await;
    serve_echo(gate.listen(ECHO.parse().unwrap()).unwrap());
    let report = conformance(&Harness(gate)).await;
    println!("{report:?}");
}

/// Says that a peer is removed, once, before it is.
struct Hasty {
    harness: Harness,
    removals: std::sync::atomic::AtomicUsize,
}

#[async_trait::async_trait]
impl InterfaceBackend for Hasty {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.harness.0.install(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        // The first is of a peer that is not there.
        if self.removals.fetch_add(1, Ordering::SeqCst) != 1 {
            return self.harness.0.remove(peers).await;
        }
        let (inner, peers) = (self.harness.0.clone(), peers.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            inner.remove(&peers).await
        });
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.harness.0.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.harness.0.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.harness.0.fence().await
    }
}

#[async_trait::async_trait]
impl InterfaceHarness for Hasty {
    type Client = Client;

    fn backend(&self) -> &dyn InterfaceBackend {
        self
    }

    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Client {
        self.harness.client(key, psk, slot).await
    }

    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig {
        self.harness.peer(key, psk, slot)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "after remove returned")]
async fn the_suite_notes_a_removal_that_returns_too_early() {
    let gate = netstack(GATE, "10.9.0.1/24").await;
    serve_echo(gate.listen(ECHO.parse().unwrap()).unwrap());
    let hasty = Hasty {
        harness: Harness(gate),
        removals: 0.into(),
    };
    a_removed_peer_passes_nothing(&hasty).await;
}

#[tokio::test]
async fn why_a_connection_fails_is_told_apart() {
    let (_gate, client) = pair().await;
    let refused = client.connect("10.9.0.1:9".parse().unwrap()).await;
    assert!(matches!(refused, Err(NetstackError::Refused { .. })));
    let soon = Duration::from_millis(200);
    let unknown = "10.8.0.1:9".parse().unwrap();
    let late = client.connect_within(unknown, soon).await;
    assert!(matches!(late, Err(NetstackError::TimedOut { .. })));
    let no_way = client.connect("[fd00::1]:9".parse().unwrap()).await;
    assert!(matches!(no_way, Err(NetstackError::Unroutable { .. })));
}

#[tokio::test]
async fn eight_mebibytes_come_back_after_a_half_close() {
    let (_gate, client) = pair().await;
    let stream = client.connect(ECHO.parse().unwrap()).await.unwrap();
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let (mut from, mut to) = tokio::io::split(stream);
    let mut received = Vec::new();
    let (written, read) = tokio::join!(
        async {
            to.write_all(&sent).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut received)
    );
    written.unwrap();
    read.unwrap();
    assert!(sent == received);
}

#[tokio::test]
async fn a_hundred_connections_at_once_all_work() {
    let (_gate, client) = pair().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        all.spawn(async move {
            let mut stream = client.connect(ECHO.parse().unwrap()).await.unwrap();
            stream.echo(Duration::from_secs(30)).await
        });
    }
    assert!(all.join_all().await.into_iter().all(|echoed| echoed));
}

#[tokio::test]
async fn local_listeners_reach_the_tunnel_and_only_loopback_reaches_them() {
    let (_gate, client) = pair().await;
    let any = "127.0.0.1:0".parse().unwrap();
    let forward = client.forward_local(any, ECHO.parse().unwrap()).await;
    let forward = forward.unwrap();
    let mut host = TcpStream::connect(forward.local_addr()).await.unwrap();
    host.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    host.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");

    let socks = client.socks5(any).await.unwrap();
    let mut host = TcpStream::connect(socks.local_addr()).await.unwrap();
    host.write_all(&[5, 1, 0]).await.unwrap();
    host.read_exact(&mut [0; 2]).await.unwrap();
    let connect = [5, 1, 0, 1, 10, 9, 0, 1, 0, 7];
    host.write_all(&connect).await.unwrap();
    let mut reply = [0; 10];
    host.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[1], 0);
    host.write_all(b"ping").await.unwrap();
    host.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");

    let exposed = client.socks5("0.0.0.0:0".parse().unwrap()).await;
    assert!(matches!(exposed, Err(NetstackError::Exposed { .. })));
    let taken = client.socks5(socks.local_addr()).await.unwrap_err();
    assert!(taken.to_string().contains("is in use by another program"));
}

#[tokio::test]
async fn a_removed_peers_forwarded_connection_ends_on_the_host_too() {
    let (gate, client) = pair().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = "10.9.0.5:80".parse().unwrap();
    let _forward = gate.forward(at, service.local_addr().unwrap()).unwrap();
    let _stream = client.connect(at).await.unwrap();
    let (mut host, _) = service.accept().await.unwrap();
    gate.remove(&[public([1; 32])]).await.unwrap();
    let mut byte = [0; 1];
    let end = tokio::time::timeout(Duration::from_secs(20), host.read(&mut byte));
    assert!(matches!(end.await, Ok(Ok(0) | Err(_))));
}

#[tokio::test]
async fn datagrams_go_both_ways_and_a_removed_peers_are_not_read() {
    let (gate, client) = pair().await;
    let at = "10.9.0.1:53".parse().unwrap();
    let mut service = gate.bind_udp(at).unwrap();
    let mut socket = client.bind_udp("10.9.0.2:0".parse().unwrap()).unwrap();
    let limit = Duration::from_secs(20);
    let mut buffer = [0; 16];
    socket.send_to(b"question", at).unwrap();
    let (len, from) = timeout(limit, service.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&buffer[..len], from),
        (&b"question"[..], socket.local_addr())
    );
    service.send_to(b"answer", from).unwrap();
    let (len, from) = timeout(limit, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&buffer[..len], from), (&b"answer"[..], at));

    // One that has arrived and is not read yet.
    socket.send_to(b"late", at).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.remove(&[public([1; 32])]).await.unwrap();
    let silence = Duration::from_millis(300);
    assert!(
        timeout(silence, service.recv_from(&mut buffer))
            .await
            .is_err()
    );

    gate.close().await;
    let down = service.recv_from(&mut buffer).await.unwrap_err();
    assert_eq!(down.kind(), std::io::ErrorKind::NotConnected);
    let down = service.send_to(b"", from).unwrap_err();
    assert_eq!(down.kind(), std::io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn what_a_udp_socket_can_not_do_is_told() {
    let (gate, _client) = pair().await;
    let at: SocketAddr = "10.9.0.1:53".parse().unwrap();
    let socket = gate.bind_udp(at).unwrap();
    for taken in [at, "0.0.0.0:53".parse().unwrap()] {
        let taken = gate.bind_udp(taken);
        assert!(matches!(taken, Err(NetstackError::Listening { .. })));
    }
    let to = "10.9.0.2:53".parse().unwrap();
    socket.send_to(&[0; 1372], to).unwrap();
    let long = socket.send_to(&[0; 1373], to).unwrap_err();
    assert!(long.to_string().contains("1372 bytes at most"), "{long}");
    let no_way = socket
        .send_to(b"", "[fd00::1]:53".parse().unwrap())
        .unwrap_err();
    assert_eq!(no_way.kind(), std::io::ErrorKind::AddrNotAvailable);
    let no_port = socket
        .send_to(b"", "10.9.0.2:0".parse().unwrap())
        .unwrap_err();
    assert_eq!(no_port.kind(), std::io::ErrorKind::InvalidInput);
    drop(socket);
    gate.bind_udp(at).unwrap();
}

#[tokio::test]
async fn a_dropped_listener_frees_its_address() {
    let (gate, _client) = pair().await;
    let at = "10.9.0.1:81".parse().unwrap();
    let listener = gate.listen(at).unwrap();
    assert!(matches!(
        gate.listen(at),
        Err(NetstackError::Listening { .. })
    ));
    drop(listener);
    assert!(gate.listen(at).is_ok());
}
