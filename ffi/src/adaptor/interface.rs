//! The app's tunnel as a WireGuard interface with one peer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::{Profile, PublicKey};

use super::bounded;
use crate::callback::CallbackError;
use crate::tunnel::{Tunnel, TunnelConfig};

/// A tunnel of the app's.
pub(crate) struct TunnelInterface {
    tunnel: Arc<dyn Tunnel>,
    profile: Arc<Profile>,
    timeout: Duration,
    /// What the tunnel was brought up with, for saving a session; none while that is in doubt.
    peer: Mutex<Option<PeerConfig>>,
}

impl TunnelInterface {
    pub(crate) fn new(tunnel: Arc<dyn Tunnel>, profile: Arc<Profile>, timeout: Duration) -> Self {
        Self {
            tunnel,
            profile,
            timeout,
            peer: Mutex::new(None),
        }
    }

    fn set(&self, peer: Option<PeerConfig>) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = peer;
    }

    fn get(&self) -> Option<PeerConfig> {
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        peer.clone()
    }

    fn config(&self, peer: &PeerConfig) -> Arc<TunnelConfig> {
        let profile = Arc::clone(&self.profile);
        Arc::new(TunnelConfig::new(profile, peer.clone()))
    }
}

#[async_trait::async_trait]
impl InterfaceBackend for TunnelInterface {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        for peer in peers {
            self.set(None);
            let up = self.tunnel.up(self.config(&peer));
            bounded(self.timeout, up).await.map_err(failed)?;
            self.set(Some(peer));
        }
        Ok(())
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        for peer in peers {
            self.set(None);
            let renew = self.tunnel.renew(self.config(&peer));
            bounded(self.timeout, renew).await.map_err(failed)?;
            self.set(Some(peer));
        }
        Ok(())
    }

    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        bounded(self.timeout, self.tunnel.down())
            .await
            .map_err(failed)?;
        self.set(None);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        Ok(self.get().into_iter().collect())
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let traffic = bounded(self.timeout, self.tunnel.traffic())
            .await
            .map_err(failed)?;
        let Some(traffic) = traffic.map(mfagate::client::Traffic::from) else {
            return Ok(Vec::new());
        };
        let activity = |key: &PublicKey| {
            let mut activity = Activity::silent(*key);
            activity.last_handshake = traffic.last_handshake;
            activity.received = traffic.received;
            activity.sent = traffic.sent;
            activity
        };
        Ok(peers.iter().map(activity).collect())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.remove(&[]).await
    }
}

fn failed(error: CallbackError) -> InterfaceError {
    match error {
        CallbackError::NotAvailable => InterfaceError::Down,
        CallbackError::Cancelled
        | CallbackError::TimedOut
        | CallbackError::LockedOut
        | CallbackError::Refused
        | CallbackError::Invalidated
        | CallbackError::Failed { .. } => InterfaceError::Backend(Box::new(error)),
    }
}
