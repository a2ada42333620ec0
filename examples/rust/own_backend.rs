//! An app's own interface backend: it starts WireGuard for its one peer, the gate, and stops it when
//! that is removed. `Netstack` stands in for the platform's.

use async_trait::async_trait;
use mfagate::client::Profile;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;
use tokio::sync::Mutex;

pub(crate) struct AppTunnel {
    profile: Mutex<Option<Profile>>, // none once it was fenced: nothing starts it any more
    pub(crate) running: Mutex<Option<Netstack>>,
}

impl AppTunnel {
    pub(crate) fn new(profile: &Profile) -> Self {
        let (profile, running) = (Some(profile.clone()).into(), Mutex::default());
        Self { profile, running }
    }
}

#[async_trait]
impl InterfaceBackend for AppTunnel {
    async fn install(&self, gate: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.remove(&[]).await?; // nothing of an older session is inherited
        let profile = self.profile.lock().await;
        let profile = profile.as_ref().ok_or(InterfaceError::Down)?;
        let start = Netstack::builder(profile.private_key.clone());
        let addresses = profile.addresses.iter();
        let builder = addresses.fold(start, |builder, address| builder.address(*address));
        let failed = |error| InterfaceError::Backend(Box::new(error));
        let started = builder.build().await.map_err(failed)?;
        started.install(gate).await?; // an error drops it, and stops it with that
        *self.running.lock().await = Some(started);
        Ok(())
    }
    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        if let Some(running) = self.running.lock().await.take() {
            running.close().await; // no packet passes after it
        }
        Ok(())
    }
    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        match &*self.running.lock().await {
            Some(running) => running.list().await,
            None => Ok(Vec::new()),
        }
    }
    async fn activity(&self, gate: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        match &*self.running.lock().await {
            Some(running) => running.activity(gate).await,
            None => Ok(Vec::new()),
        }
    }
    async fn fence(&self) -> Result<(), InterfaceError> {
        self.profile.lock().await.take();
        self.remove(&[]).await
    }
}
