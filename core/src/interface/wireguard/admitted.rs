//! Which inner addresses belong to which installed peer: what comes from or goes to any other is
//! dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

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

    /// To look up the addresses of a batch. Nothing is installed or removed while it is held.
    pub(super) fn read(&self) -> Reader<'_> {
        Reader {
            networks: self.0.read().unwrap_or_else(PoisonError::into_inner),
            last: None,
        }
    }
}

/// Looks addresses up, the same one many times in a row as a rule.
pub(super) struct Reader<'a> {
    networks: RwLockReadGuard<'a, Networks>,
    last: Option<(IpAddr, Option<PublicKey>)>,
}

impl Reader<'_> {
    /// The installed peer that holds the address, by the longest prefix.
    pub(super) fn holder(&mut self, address: IpAddr) -> Option<PublicKey> {
        match self.last {
            Some((known, holder)) if known == address => holder,
            _ => {
                let holder = self.networks.holder(address);
                self.last = Some((address, holder));
                holder
            }
        }
    }
}

impl Networks {
    fn holder(&self, address: IpAddr) -> Option<PublicKey> {
        self.lengths.iter().rev().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?;
            self.owners.get(&network.trunc()).copied()
        })
    }

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
