//! The conformance suite, with the guard around a fake. What WireGuard would do is played here:
//! a client has a session if the fake holds its key and its preshared key. What the guard does
//! is real: every probe is a packet that has to pass it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::{Activity, InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::testing::interface::{
    InterfaceClient, InterfaceHarness, InterfaceStream, conformance,
};
use mfagate::time::Timestamp;

use crate::ground::{Flow, Ground, Namespace};
use crate::{HOUR, guard};

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_interface_conforms() {
    let ground = Arc::new(Ground::new());
    let fake = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &fake);
    let harness = Harness {
        ground,
        fake,
        guard,
    };
    println!("{:?}", conformance(&harness).await);
}

struct Harness {
    ground: Arc<Ground>,
    fake: Arc<FakeInterface>,
    guard: LeaseGuard,
}

#[async_trait]
impl InterfaceHarness for Harness {
    type Client = Client;

    fn backend(&self) -> &dyn InterfaceBackend {
        &self.guard
    }

    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Client {
        let from: &str = address(slot).leak();
        let path = (Namespace::Peer, from, "10.99.0.2");
        Client {
            key: key.public_key(),
            psk,
            fake: Arc::clone(&self.fake),
            flow: Arc::new(Mutex::new(Flow::begin(&self.ground, path))),
        }
    }

    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig {
        let network = address(slot).parse::<std::net::IpAddr>();
        let mut peer = PeerConfig::new(key, psk, vec![network.expect("an address").into()]);
        peer.lease = Some(HOUR);
        peer
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(400)
    }
}

fn address(slot: u8) -> String {
    format!("10.88.0.{slot}")
}

#[derive(Clone)]
struct Client {
    key: PublicKey,
    psk: Option<PresharedKey>,
    fake: Arc<FakeInterface>,
    flow: Arc<Mutex<Flow>>,
}

impl Client {
    fn is_answered(&self) -> bool {
        let installed = self.fake.installed();
        installed.get(&self.key).is_some_and(|p| p.psk == self.psk)
    }

    async fn passes(&self) -> bool {
        let flow = Arc::clone(&self.flow);
        let echo = move || flow.lock().expect("no panic").echo(1);
        tokio::task::spawn_blocking(echo).await.expect("no panic")
    }

    /// The fake forgets a peer's activity with its session.
    async fn has_session(&self) -> bool {
        let activity = self.fake.activity(&[self.key]).await;
        activity.is_ok_and(|a| a.iter().any(|one| one.last_handshake.is_some()))
    }
}

#[async_trait]
impl InterfaceClient for Client {
    async fn probe(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.is_answered() && self.passes().await {
                let mut seen = Activity::silent(self.key);
                (seen.received, seen.sent) = (148, 92);
                seen.last_handshake = Some(Timestamp::from_millis(1));
                self.fake.set_activity(seen);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    async fn stream(&self) -> Option<Box<dyn InterfaceStream>> {
        if !self.has_session().await {
            return None;
        }
        Some(Box::new(Stream(self.clone())))
    }
}

struct Stream(Client);

#[async_trait]
impl InterfaceStream for Stream {
    async fn echo(&mut self, limit: Duration) -> bool {
        let echo = async { self.0.has_session().await && self.0.passes().await };
        tokio::time::timeout(limit, echo).await.unwrap_or(false)
    }
}
