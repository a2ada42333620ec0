//! An interface whose calls are counted, and that can be cut off from anyone who holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;

/// Passes calls on, and counts them.
pub(super) struct Counted {
    inner: Arc<dyn InterfaceBackend>,
    lists: AtomicUsize,
    touched: AtomicUsize,
    is_cut: AtomicBool,
}

impl Counted {
    pub(super) fn new(inner: Arc<dyn InterfaceBackend>) -> Self {
        Self {
            inner,
            lists: AtomicUsize::new(0),
            touched: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    /// How often all peers were read.
    pub(super) fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }

    /// How many peers were installed, renewed or removed.
    pub(super) fn touched(&self) -> usize {
        self.touched.load(Ordering::SeqCst)
    }

    /// From now on nothing reaches the interface: anyone who holds this is as good as killed.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    fn touch(&self, peers: usize) -> bool {
        self.touched.fetch_add(peers, Ordering::SeqCst);
        !self.is_cut.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl InterfaceBackend for Counted {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        if self.touch(peers.len()) {
            self.inner.install(peers).await?;
        }
        Ok(())
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        if self.touch(peers.len()) {
            self.inner.renew(peers).await?;
        }
        Ok(())
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        if self.touch(peers.len()) {
            self.inner.remove(peers).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        if self.is_cut.load(Ordering::SeqCst) {
            return Err(InterfaceError::Down);
        }
        self.inner.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.inner.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        if self.touch(0) {
            self.inner.fence().await?;
        }
        Ok(())
    }
}
