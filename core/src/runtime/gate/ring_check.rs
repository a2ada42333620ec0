//! Whether the key ring is the store's: looked at once, at the start.

use std::sync::Arc;

use super::perform::guarded;
use super::{Shared, StartFault};
use crate::gate::persistence;
use crate::seal::SealError;
use crate::store::User;

impl Shared {
    /// Refuses a ring that opens nothing of what the store keeps. No session opened with it, and
    /// `closed` says why the first did not; what is left to tell whether the ring is the wrong one
    /// or these sessions alone are spoilt is the factors, up to the first that opens.
    ///
    /// Where the ring is wrong, every session would end and every answer would fail: a mistake of
    /// an operator's that a start with the right ring puts right, as long as nothing has ended.
    pub(super) async fn ring_is_the_stores(
        &self,
        users: &[User],
        mut closed: Option<SealError>,
    ) -> Result<(), StartFault> {
        for user in users {
            let (store, id) = (Arc::clone(&self.store), user.id.clone());
            let read = async move { store.factors(&id).await };
            let factors = guarded(self.timeouts.start, read).await;
            let factors = factors
                .map_err(|_| StartFault::NotReconciled)?
                .map_err(StartFault::Store)?;
            for factor in &factors {
                match persistence::factor_secret(&self.ring, factor) {
                    Ok(_) => return Ok(()),
                    Err(error) => closed = closed.or(Some(error)),
                }
            }
        }
        closed.map_or(Ok(()), |error| Err(StartFault::WrongKeyRing(error)))
    }
}
