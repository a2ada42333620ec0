//! The suite for backends: its clients are WireGuard of another implementation, in this process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::{NetStream, Netstack};
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::testing::interface::{
    InterfaceClient, InterfaceHarness, InterfaceStream, conformance, conformance_of_loss,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{gate, sh};

const ECHO: &str = "10.9.0.1:7";

/// A backend, with its key and its port.
pub(crate) struct Harness<B> {
    pub(crate) backend: B,
    pub(crate) key: PublicKey,
    pub(crate) port: u16,
}

pub(crate) struct Client(Netstack);
struct Stream(NetStream);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn it_keeps_the_backends_contract() {
    let gate = gate().await;
    serve_echo().await;
    let harness = Harness {
        key: gate.public_key(),
        port: gate.listen_port(),
        backend: gate,
    };
    let report = conformance(&harness).await;
    println!("{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn it_keeps_it_behind_a_lease_guard() {
    let gate = gate().await;
    serve_echo().await;
    let (key, port, name) = (
        gate.public_key(),
        gate.listen_port(),
        gate.name().to_owned(),
    );
    let guard = LeaseGuard::around(Arc::new(gate), &name).await.unwrap();
    let harness = Harness {
        key,
        port,
        backend: guard,
    };
    let report = conformance(&harness).await;
    println!("{report:?}");
    harness.backend.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn one_that_is_deleted_says_that_it_is_gone() {
    let gate = gate().await;
    let harness = Harness {
        key: gate.public_key(),
        port: gate.listen_port(),
        backend: gate,
    };
    conformance_of_loss(&harness).await;
}

pub(crate) async fn serve_echo() {
    let listener = TcpListener::bind(ECHO).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
}

#[async_trait]
impl<B: InterfaceBackend> InterfaceHarness for Harness<B> {
    type Client = Client;

    fn backend(&self) -> &dyn InterfaceBackend {
        &self.backend
    }

    async fn put_by_hand(&self, peer: &PeerConfig) -> bool {
        let other = KernelInterface::adopt("wg0").await.unwrap();
        other.install(vec![peer.clone()]).await.unwrap();
        true
    }

    async fn take_away(&self) {
        sh("ip link delete wg0");
    }

    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Client {
        let inner = format!("10.9.0.{}/32", 10 + slot).parse().unwrap();
        let client = Netstack::builder(key).address(inner).build().await.unwrap();
        let gate = ([127, 0, 0, 1], self.port).into();
        let everything = vec!["10.9.0.0/24".parse().unwrap()];
        let peer = PeerConfig::new(self.key, psk, everything).with_endpoint(gate);
        client.install(vec![peer]).await.unwrap();
        Client(client)
    }

    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig {
        let inner = format!("10.9.0.{}/32", 10 + slot).parse().unwrap();
        let mut peer = PeerConfig::new(key, psk, vec![inner]);
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
