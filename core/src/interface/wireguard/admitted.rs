//! Which inner addresses belong to which installed peer: what comes from or goes to any other is
//! dropped.

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

    /// The peers that hold one of these very networks.
    pub(super) fn holders(&self, networks: &[IpNet]) -> BTreeSet<PublicKey> {
        let admitted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let owner = |network: &IpNet| admitted.owners.get(&network.trunc()).copied();
        networks.iter().filter_map(owner).collect()
    }

    /// The installed peer that holds the address, by the longest prefix.
    pub(super) fn holder(&self, address: IpAddr) -> Option<PublicKey> {
        let admitted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        admitted.lengths.iter().rev().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?;
            admitted.owners.get(&network.trunc()).copied()
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
