//! An interface that is a map, with faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::PublicKey;

#[derive(Default)]
pub(super) struct Wires {
    pub(super) peers: BTreeMap<PublicKey, PeerConfig>,
    pub(super) installs: u32,
    pub(super) renewals: u32,
    pub(super) removals: u32,
    pub(super) fences: u32,
    /// Bytes sent, one more at each look: an app that keeps sending.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// No app sends anything.
    pub(super) is_idle: bool,
    pub(super) fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    InstallPanics,
    InstallHangs,
    RemoveFails,
    /// It refuses whatever it is asked.
    AllFails,
    RemoveTakesAWhile,
}

#[derive(Default)]
pub(super) struct MapInterface(Mutex<Wires>);

impl MapInterface {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn wires<T>(&self, look: impl FnOnce(&mut Wires) -> T) -> T {
        let mut wires = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        look(&mut wires)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wires(|wires| wires.peers.is_empty())
    }

    fn put(&self, peers: Vec<PeerConfig>) {
        self.wires(|wires| {
            let keyed = peers.into_iter().map(|peer| (peer.key, peer));
            wires.peers.extend(keyed);
        });
    }
}

#[async_trait]
impl InterfaceBackend for MapInterface {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.put(peers);
        let fault = self.wires(|wires| {
            wires.installs += 1;
            wires.fault
        });
        assert!(fault != Fault::InstallPanics, "a backend that panics");
        if fault == Fault::InstallHangs {
            std::future::pending::<()>().await;
        }
        stuck_if(fault == Fault::AllFails)
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.wires(|wires| wires.renewals += 1);
        self.put(peers);
        Ok(())
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        if self.wires(|wires| wires.fault) == Fault::RemoveTakesAWhile {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.wires(|wires| {
            stuck_if(matches!(wires.fault, Fault::RemoveFails | Fault::AllFails))?;
            wires.removals += 1;
            wires.peers.retain(|key, _| !peers.contains(key));
            Ok(())
        })
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        Ok(self.wires(|wires| wires.peers.values().cloned().collect()))
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        Ok(self.wires(|wires| {
            wires.sent += u64::from(!wires.is_idle);
            let there = peers.iter().filter(|key| wires.peers.contains_key(key));
            let activity = |key: &PublicKey| Activity {
                sent: wires.sent,
                received: wires.received,
                ..Activity::silent(*key)
            };
            there.map(activity).collect()
        }))
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.wires(|wires| {
            wires.fences += 1;
            stuck_if(wires.fault == Fault::AllFails)?;
            wires.peers.clear();
            Ok(())
        })
    }
}

fn stuck_if(is_stuck: bool) -> Result<(), InterfaceError> {
    if is_stuck {
        return Err(InterfaceError::Backend("stuck".into()));
    }
    Ok(())
}
