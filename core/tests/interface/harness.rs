//! The conformance suite's clients, for any backend whose interface is in the test's namespace:
//! in-process WireGuard, over loopback, to an echo at the interface's own address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::interface::netstack::{NetStream, Netstack};
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::testing::interface::{InterfaceClient, InterfaceHarness, InterfaceStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const GATE: PrivateKey = PrivateKey::from_bytes([9; 32]);
pub(crate) const GATE_ADDRESS: &str = "10.9.0.1/24";
const ECHO: &str = "10.9.0.1:7";

/// A backend, and where its WireGuard listens.
pub(crate) struct Harness<B> {
    pub(crate) backend: B,
    pub(crate) endpoint: SocketAddr,
    pub(crate) renews_in_place: bool,
    pub(crate) ends_leases: bool,
    /// Another way to the same interface.
    pub(crate) by_hand: Option<Box<dyn InterfaceBackend>>,
    /// Has what is read of peers' traffic make no sense.
    pub(crate) garbles: Option<Arc<AtomicBool>>,
    /// Takes the interface away.
    pub(crate) take_away: Box<dyn Fn() + Send + Sync>,
}

impl<B: InterfaceBackend> Harness<B> {
    /// Serves the echo; the interface must have its address.
    pub(crate) async fn new(backend: B, endpoint: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(ECHO).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        Self {
            backend,
            endpoint,
            renews_in_place: true,
            ends_leases: false,
            by_hand: None,
            garbles: None,
            take_away: Box::new(|| {}),
        }
    }
}

pub(crate) struct Client(Netstack);

impl Client {
    /// Takes the preshared key of a renewal.
    pub(crate) async fn renew(&self, psk: Option<PresharedKey>, endpoint: SocketAddr) {
        self.0.renew(vec![gate(psk, endpoint)]).await.unwrap();
    }
}

/// The gate, as a client's peer.
fn gate(psk: Option<PresharedKey>, endpoint: SocketAddr) -> PeerConfig {
    let inside = vec!["10.9.0.0/24".parse().unwrap()];
    PeerConfig::new(GATE.public_key(), psk, inside).with_endpoint(endpoint)
}

#[async_trait]
impl<B: InterfaceBackend> InterfaceHarness for Harness<B> {
    type Client = Client;

    fn renews_in_place(&self) -> bool {
        self.renews_in_place
    }

    fn ends_leases(&self) -> bool {
        self.ends_leases
    }

    fn backend(&self) -> &dyn InterfaceBackend {
        &self.backend
    }

    async fn put_by_hand(&self, peer: &PeerConfig) -> bool {
        let Some(by_hand) = &self.by_hand else {
            return false;
        };
        by_hand.install(vec![peer.clone()]).await.unwrap();
        true
    }

    async fn garble(&self, is_garbled: bool) -> bool {
        let garbles = self.garbles.as_ref();
        garbles.inspect(|it| it.store(is_garbled, Ordering::SeqCst));
        garbles.is_some()
    }

    async fn take_away(&self) {
        (self.take_away)();
    }

    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Client {
        let netstack = Netstack::builder(key)
            .listen("127.0.0.1:0".parse().unwrap())
            .address(format!("10.9.0.{}/32", 10 + slot).parse().unwrap())
            .build()
            .await
            .unwrap();
        netstack
            .install(vec![gate(psk, self.endpoint)])
            .await
            .unwrap();
        Client(netstack)
    }

    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig {
        let inside = format!("10.9.0.{}/32", 10 + slot).parse().unwrap();
        let mut peer = PeerConfig::new(key, psk, vec![inside]);
        // A gate always says, and a lease guard wants to know.
        peer.lease = Some(Duration::from_secs(3600));
        peer
    }
}

#[async_trait]
impl InterfaceClient for Client {
    async fn probe(&self, limit: Duration) -> bool {
        let connected = self.0.connect_within(ECHO.parse().unwrap(), limit).await;
        match connected {
            Ok(stream) => Stream(stream).echo(limit).await,
            Err(_) => false,
        }
    }

    async fn stream(&self) -> Option<Box<dyn InterfaceStream>> {
        let stream = self.0.connect(ECHO.parse().unwrap()).await.ok()?;
        Some(Box::new(Stream(stream)))
    }
}

struct Stream(NetStream);

#[async_trait]
impl InterfaceStream for Stream {
    async fn echo(&mut self, limit: Duration) -> bool {
        let exchange = async {
            self.0.write_all(b"ping").await?;
            self.0.read_exact(&mut [0; 4]).await
        };
        matches!(tokio::time::timeout(limit, exchange).await, Ok(Ok(_)))
    }
}
