//! Which inner addresses belong to an installed peer: what is queued for any other goes nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use ipnet::IpNet;

use crate::key::PublicKey;

/// The networks of the installed peers.
#[derive(Debug, Default)]
pub(super) struct Admitted(RwLock<Networks>);

#[derive(Debug, Default)]
struct Networks {
    by_peer: BTreeMap<PublicKey, Vec<IpNet>>,
    owners: BTreeMap<IpNet, PublicKey>,
    lengths: BTreeSet<u8>,
}

impl Admitted {
    pub(super) fn insert(&self, peer: PublicKey, networks: &[IpNet]) {
        let mut admitted = self.0.write().unwrap_or_else(PoisonError::into_inner);
        admitted.remove(&peer);
        for network in networks.iter().map(IpNet::trunc) {
            admitted.owners.insert(network, peer);
            admitted.lengths.insert(network.prefix_len());
        }
        admitted
            .by_peer
            .insert(peer, networks.iter().map(IpNet::trunc).collect());
    }

    /// Shuts a peer's networks out; returns them.
    pub(super) fn remove(&self, peer: &PublicKey) -> Vec<IpNet> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer)
    }

    pub(super) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Networks::default();
    }

    /// Whether an installed peer holds the address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let admitted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        admitted.lengths.iter().any(|length| {
            IpNet::new(address, *length)
                .is_ok_and(|network| admitted.owners.contains_key(&network.trunc()))
        })
    }
}

impl Networks {
    fn remove(&mut self, peer: &PublicKey) -> Vec<IpNet> {
        let networks = self.by_peer.remove(peer).unwrap_or_default();
        for network in &networks {
            if self.owners.get(network) == Some(peer) {
                self.owners.remove(network);
            }
        }
        networks
    }
}
