//! Networks as nftables' interval sets know them: a first address, and the one after the last.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Of which kind addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// How many bytes an address has.
    pub(super) const fn width(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The last address there is.
    const fn last(self) -> u128 {
        match self {
            Self::V4 => 0xffff_ffff,
            Self::V6 => u128::MAX,
        }
    }

    /// An address as it is on the wire.
    pub(super) fn bytes(self, address: u128) -> Vec<u8> {
        let bytes = address.to_be_bytes();
        match self {
            Self::V4 => bytes.into_iter().skip(12).collect(),
            Self::V6 => bytes.to_vec(),
        }
    }

    /// The address that these bytes are.
    pub(super) fn address(self, bytes: &[u8]) -> Option<u128> {
        match self {
            Self::V4 => {
                let bytes: [u8; 4] = bytes.try_into().ok()?;
                Some(Ipv4Addr::from(bytes).to_bits().into())
            }
            Self::V6 => {
                let bytes: [u8; 16] = bytes.try_into().ok()?;
                Some(Ipv6Addr::from(bytes).to_bits())
            }
        }
    }
}

/// Addresses from `start` up to `end`, which is not among them; without an `end`, up to the last
/// address there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) family: Family,
    pub(super) start: u128,
    pub(super) end: Option<u128>,
}

impl Interval {
    /// One address and no more.
    pub(super) const fn single(family: Family, address: u128) -> Self {
        Self {
            family,
            start: address,
            end: if address == family.last() {
                None
            } else {
                Some(address + 1)
            },
        }
    }

    /// Whether it is one address and no more.
    pub(super) fn is_single(&self) -> bool {
        *self == Self::single(self.family, self.start)
    }
}

impl From<IpNet> for Interval {
    fn from(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => {
                let past = net.broadcast().to_bits().checked_add(1);
                Self {
                    family: Family::V4,
                    start: net.network().to_bits().into(),
                    end: past.map(u128::from),
                }
            }
            IpNet::V6(net) => Self {
                family: Family::V6,
                start: net.network().to_bits(),
                end: net.broadcast().to_bits().checked_add(1),
            },
        }
    }
}

/// Puts the elements of a set together again: every start with the first end above it. What has
/// no start is left out, as it lets no one through.
pub(super) fn pair<T>(family: Family, edges: Vec<Edge<T>>) -> Vec<(Interval, T)> {
    let mut edges = edges;
    // Where one interval ends and the next begins at the same address, the end comes first.
    edges.sort_by_key(|edge| (edge.address, edge.start.is_some()));
    let mut pairs = Vec::new();
    let mut open: Option<(u128, T)> = None;
    for Edge { address, start } in edges {
        let interval = |start| Interval {
            family,
            start,
            end: Some(address),
        };
        if let Some((begun, of)) = open.take() {
            pairs.push((interval(begun), of));
        }
        open = start.map(|of| (address, of));
    }
    if let Some((start, of)) = open {
        let end = None;
        pairs.push((Interval { family, start, end }, of));
    }
    pairs
}

/// One element of an interval set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge<T> {
    pub(super) address: u128,
    /// What is known of the interval that starts here; `None` is an end.
    pub(super) start: Option<T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(net: &str) -> Interval {
        Interval::from(net.parse::<IpNet>().unwrap())
    }

    #[test]
    fn a_network_with_host_bits_set_is_the_whole_network() {
        assert_eq!(interval("10.0.0.77/24"), interval("10.0.0.0/24"));
        assert_eq!(interval("fd00::77/64"), interval("fd00::/64"));
    }

    #[test]
    fn the_last_network_has_no_end() {
        assert_eq!(interval("255.255.255.255/32").end, None);
        assert_eq!(interval("0.0.0.0/0").end, None);
        assert_eq!(interval("::/0").end, None);
    }

    #[test]
    fn single_addresses_are_told_from_networks_at_the_ends_too() {
        for (net, is_single) in [
            ("10.0.0.5/32", true),
            ("255.255.255.255/32", true),
            ("0.0.0.0/32", true),
            ("10.0.0.4/31", false),
            ("255.255.255.254/31", false),
            ("0.0.0.0/0", false),
            ("fd00::5/128", true),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", true),
            ("fd00::/64", false),
            ("::/0", false),
        ] {
            assert_eq!(interval(net).is_single(), is_single, "{net}");
        }
    }

    #[test]
    fn neighbours_are_told_apart_again() {
        let nets = ["10.0.0.5/32", "10.0.0.6/32", "10.0.0.8/29", "255.0.0.0/8"];
        let mut edges = Vec::new();
        for (n, net) in nets.iter().enumerate() {
            let Interval { start, end, .. } = interval(net);
            edges.push(Edge {
                address: start,
                start: Some(n),
            });
            edges.extend(end.map(|address| Edge {
                address,
                start: None,
            }));
        }
        edges.reverse();
        let found = pair(Family::V4, edges);
        let wanted: Vec<_> = nets.iter().map(|net| interval(net)).zip(0..).collect();
        assert_eq!(found, wanted);
    }
}
