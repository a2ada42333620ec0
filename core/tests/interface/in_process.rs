//! A gate and a client in this process, and a TCP stream between them.

use std::time::{Duration, Instant};

use mfagate::interface::netstack::{NetListener, Netstack};
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::flow::{Receiver, nanos};
use crate::harness::{GATE, GATE_ADDRESS};
use crate::line::{EVERY, psk};

/// Both ends in this process, without a namespace: what passes is a TCP stream.
pub(crate) struct InProcess {
    pub(crate) gate: Netstack,
    pub(crate) client: Netstack,
    listener: NetListener,
}

const SERVICE: &str = "10.9.0.1:9";

impl InProcess {
    pub(crate) async fn new() -> Self {
        let gate = Self::stack(GATE, GATE_ADDRESS).await;
        Self {
            client: Self::stack(Self::key(), "10.9.0.2/32").await,
            listener: gate.listen(SERVICE.parse().unwrap()).unwrap(),
            gate,
        }
    }

    const fn key() -> PrivateKey {
        PrivateKey::from_bytes([1; 32])
    }

    async fn stack(key: PrivateKey, address: &str) -> Netstack {
        let builder = Netstack::builder(key).listen("127.0.0.1:0".parse().unwrap());
        let builder = builder.address(address.parse().unwrap());
        builder.build().await.unwrap()
    }

    pub(crate) fn peer() -> PeerConfig {
        let inside = vec!["10.9.0.2/32".parse().unwrap()];
        PeerConfig::new(Self::key().public_key(), Some(psk(1)), inside)
    }

    /// What the client installs.
    pub(crate) fn as_gate(&self, psk: PresharedKey) -> PeerConfig {
        let network = vec!["10.9.0.0/24".parse().unwrap()];
        let gate = PeerConfig::new(GATE.public_key(), Some(psk), network);
        gate.with_endpoint(self.gate.local_addr())
    }

    /// A stream of times at which they were sent, once some have come through.
    pub(crate) async fn stream(&mut self, epoch: Instant) -> (Receiver, JoinSet<()>) {
        self.client
            .install(vec![self.as_gate(psk(1))])
            .await
            .unwrap();
        let limit = Duration::from_secs(20);
        let (near, far) = tokio::join!(
            self.client.connect_within(SERVICE.parse().unwrap(), limit),
            self.listener.accept()
        );
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let stream = Receiver::default();
        let into = stream.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while near.write_all(&nanos(epoch).to_be_bytes()).await.is_ok() {
                tokio::time::sleep(EVERY).await;
            }
        });
        tasks.spawn(async move {
            let mut bytes = [0; 8];
            while far.read_exact(&mut bytes).await.is_ok() {
                into.note(u64::from_be_bytes(bytes), nanos(epoch));
            }
        });
        stream.wait_for(10);
        (stream, tasks)
    }
}
