//! Reading what the interface has, and what of the store's is to be on it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use super::perform::{CHECK_AGAIN, CHECK_TRIES, guarded};
use crate::gate::{Fingerprint, Unavailable, Unlisted, persistence};
use crate::id::{Generation, SessionId};
use crate::key::{PresharedKey, PublicKey};

impl Shared {
    /// Who is on the interface, but for those that it leaves alone.
    pub(super) async fn list(&self) -> Result<BTreeMap<PublicKey, Fingerprint>, Unlisted> {
        let interface = Arc::clone(&self.interface);
        // What is listed holds keys: it goes no further than it must.
        let list = async move { interface.list().await.map(Fingerprint::by_peer) };
        let listed = guarded(self.timeouts.interface, list).await;
        match listed.map_err(|Unavailable| Unlisted::Unavailable)? {
            Ok(mut peers) => {
                peers.retain(|peer, _| !self.unmanaged.contains(peer));
                Ok(peers)
            }
            Err(error) => {
                self.failed("list", &error);
                Err(Unlisted::from(&error))
            }
        }
    }

    /// The preshared key of a peer's live session; the store is asked a few times before there is none.
    pub(super) async fn restore(
        &self,
        peer: PublicKey,
        session: SessionId,
    ) -> Result<(Generation, PresharedKey), Unavailable> {
        let turn = tokio::time::timeout(self.timeouts.start, self.checks.acquire());
        let _turn = turn.await.map_err(|_| Unavailable)?;
        let read = || async move {
            let record = self.session(session).await?;
            let key = persistence::live_key(&self.ring, (session, peer), record.as_ref());
            let key = key.map_err(|error| self.failed("open a session", &error))?;
            key.ok_or(Unavailable)
        };
        self.again_and_again(CHECK_TRIES, CHECK_AGAIN, read).await
    }
}
