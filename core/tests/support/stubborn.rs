//! A fence under attack: an interface that removes no one any more once it is told so, and connections
//! to the control port of its gate.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;

/// When a gate with this `fence_after` has fenced, an attack or not: removals are tried every half a
/// second, and the fence is one of those times.
pub(crate) const FENCE_AFTER: Duration = Duration::from_secs(2);
pub(crate) const FENCED_BY: Duration = Duration::from_millis(2_000 + 500 + 1_000);

/// An interface that removes no one any more, once it is told so.
pub(crate) struct Stubborn {
    inner: Arc<dyn InterfaceBackend>,
    refuses: Arc<AtomicBool>,
}

impl Stubborn {
    /// With what it is told by.
    pub(crate) fn around(inner: Arc<dyn InterfaceBackend>) -> (Arc<Self>, Arc<AtomicBool>) {
        let refuses = Arc::<AtomicBool>::default();
        let told = Arc::clone(&refuses);
        (Arc::new(Self { inner, refuses }), told)
    }
}

#[async_trait]
impl InterfaceBackend for Stubborn {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.inner.install(peers).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.inner.renew(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(InterfaceError::Backend("it refuses".into()));
        }
        self.inner.remove(peers).await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.inner.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.inner.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.inner.fence().await
    }
}

/// Connections with garbage, by two attackers, until this is dropped.
pub(crate) struct Flood(Arc<AtomicBool>);

impl Flood {
    /// With a pause between an attacker's connections: none sends as much as the machine has time for.
    pub(crate) fn on(control: SocketAddr, pause: Duration) -> Self {
        let stop = Arc::<AtomicBool>::default();
        for _ in 0..2 {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let stream = TcpStream::connect(control);
                    // It may be closed already.
                    _ = stream.and_then(|mut stream| stream.write_all(&[1; 4096]));
                    std::thread::sleep(pause);
                }
            });
        }
        // Until it has used up what it can.
        std::thread::sleep(Duration::from_secs(1));
        Self(stop)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
