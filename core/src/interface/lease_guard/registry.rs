//! Who has which networks: what a removal takes out of the sets, and whom an address belongs to.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::error::GuardFault;
use super::interval::Interval;
use crate::interface::PeerConfig;
use crate::key::PublicKey;

/// Every guarded peer with its networks, of which no two overlap.
#[derive(Debug, Default)]
pub(super) struct Registry {
    peers: BTreeMap<PublicKey, Vec<IpNet>>,
    networks: BTreeMap<IpNet, PublicKey>,
    /// Whether the peers that were on the interface before this guard are in here.
    pub(super) knows_all: bool,
}

impl Registry {
    /// Gives each peer its networks in place of those it had, and says which of those no one has
    /// any more. Gives nothing to anybody if two would overlap.
    pub(super) fn claim(&mut self, peers: &[PeerConfig]) -> Result<Vec<IpNet>, GuardFault> {
        let before: Vec<_> = peers
            .iter()
            .filter_map(|peer| Some((peer.key, self.release(peer.key)?)))
            .collect();
        for (n, peer) in peers.iter().enumerate() {
            if let Err(overlap) = self.add(peer) {
                for claimed in peers.iter().take(n) {
                    self.release(claimed.key);
                }
                for (key, networks) in before {
                    self.insert(key, networks);
                }
                return Err(overlap);
            }
        }
        let given_up = before.into_iter().flat_map(|(_, networks)| networks);
        Ok(given_up
            .filter(|network| !self.networks.contains_key(network))
            .collect())
    }

    /// Takes in who was there before. One whose networks overlap another's is left out, and so
    /// not guarded.
    pub(super) fn learn(&mut self, peers: &[PeerConfig]) {
        // Once is enough, and a later listing may have a peer that has been removed meanwhile.
        if self.knows_all {
            return;
        }
        for peer in peers {
            if !self.peers.contains_key(&peer.key) {
                let _left_out = self.add(peer);
            }
        }
        self.knows_all = true;
    }

    /// Forgets a peer; returns what it had.
    pub(super) fn release(&mut self, key: PublicKey) -> Option<Vec<IpNet>> {
        let networks = self.peers.remove(&key)?;
        for network in &networks {
            self.networks.remove(network);
        }
        Some(networks)
    }

    /// What a peer has, aggregated.
    pub(super) fn networks_of(&self, key: PublicKey) -> &[IpNet] {
        self.peers.get(&key).map_or(&[], Vec::as_slice)
    }

    /// All networks of all peers, in order.
    pub(super) fn intervals(&self) -> Vec<Interval> {
        self.networks.keys().copied().map(Interval::from).collect()
    }

    fn add(&mut self, peer: &PeerConfig) -> Result<(), GuardFault> {
        let networks = IpNet::aggregate(&peer.allowed_ips);
        for network in &networks {
            if let Some((other_network, other)) = self.overlapping(network) {
                return Err(GuardFault::Overlap {
                    network: *network,
                    peer: peer.key,
                    other_network,
                    other,
                });
            }
        }
        self.insert(peer.key, networks);
        Ok(())
    }

    fn insert(&mut self, key: PublicKey, networks: Vec<IpNet>) {
        self.networks.extend(networks.iter().map(|net| (*net, key)));
        self.peers.insert(key, networks);
    }

    /// As none of ours overlap, one around `network` is the last one ahead of it, and one inside
    /// of it the first one after.
    fn overlapping(&self, network: &IpNet) -> Option<(IpNet, PublicKey)> {
        let ahead = self.networks.range(..network).next_back();
        let after = self.networks.range(network..).next();
        let overlaps = |other: &IpNet| other.contains(network) || network.contains(other);
        [ahead, after]
            .into_iter()
            .flatten()
            .find(|(other, _)| overlaps(other))
            .map(|(other, key)| (*other, *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8, networks: &[&str]) -> PeerConfig {
        let networks = networks.iter().map(|net| net.parse().unwrap()).collect();
        PeerConfig::new(PublicKey::from_bytes([n; 32]), None, networks)
    }

    fn nets(networks: &[&str]) -> Vec<IpNet> {
        networks.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn an_overlap_names_both_and_changes_nothing() {
        let mut registry = Registry::default();
        registry.claim(&[peer(1, &["10.0.0.0/24"])]).unwrap();
        registry.claim(&[peer(2, &["10.0.1.7/32"])]).unwrap();

        for (inside, other) in [("10.0.0.5/32", 1), ("10.0.0.0/16", 1), ("10.0.1.0/24", 2)] {
            let batch = [peer(1, &["10.9.0.0/24"]), peer(3, &[inside])];
            let batch = if other == 1 { &batch[1..] } else { &batch[..] };
            let refused = registry.claim(batch).unwrap_err();
            assert!(
                matches!(&refused, GuardFault::Overlap { network, other: whose, .. }
                    if *network == inside.parse::<IpNet>().unwrap()
                    && *whose == peer(other, &[]).key),
                "{refused}"
            );
        }
        assert_eq!(
            registry.networks_of(peer(1, &[]).key),
            nets(&["10.0.0.0/24"])
        );
        assert_eq!(registry.networks_of(peer(3, &[]).key), []);
        let all = nets(&["10.0.0.0/24", "10.0.1.7/32"]);
        let all: Vec<_> = all.into_iter().map(Interval::from).collect();
        assert_eq!(registry.intervals(), all);
    }

    #[test]
    fn what_a_peer_gives_up_is_told_unless_its_neighbour_takes_it() {
        let mut registry = Registry::default();
        let before = [
            peer(1, &["10.0.0.1/32", "10.0.0.9/32"]),
            peer(2, &["fd00::2/128"]),
        ];
        assert_eq!(registry.claim(&before).unwrap(), []);
        let after = [
            peer(1, &["10.0.0.1/32", "fd00::2/128"]),
            peer(2, &["10.0.0.2/32"]),
        ];
        assert_eq!(registry.claim(&after).unwrap(), nets(&["10.0.0.9/32"]));
    }

    #[test]
    fn a_peer_may_name_its_addresses_twice() {
        let mut registry = Registry::default();
        let twice = peer(1, &["10.0.0.0/24", "10.0.0.5/32", "10.0.0.77/24"]);
        registry.claim(&[twice]).unwrap();
        assert_eq!(
            registry.networks_of(peer(1, &[]).key),
            nets(&["10.0.0.0/24"])
        );
    }
}
