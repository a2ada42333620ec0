//! What a session's routes are on the system: the entries, and their order. No system is asked
//! here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// The family of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    pub(super) const fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One thing on the system. They are added in the order that they have here, so that no rule leads
/// anywhere before what it leads to is there, and taken back in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// A network that leads into the tunnel, in a table of its own.
    TableRoute(IpNet),
    /// The rule that the rules of what stays outside go on from. It does nothing.
    Past(Family),
    /// Packets to this address pass the tunnel's rules by.
    Outside(IpAddr),
    /// The machine's own routes come first, where they are longer than this prefix.
    Closer(Family, u8),
    /// All that is not marked is looked up in the tunnel's table.
    Tunnel(Family),
    /// A network that leads into the tunnel, in the machine's own table.
    MainRoute(IpNet),
}

impl Entry {
    pub(super) const fn family(&self) -> Family {
        match self {
            Self::TableRoute(network) | Self::MainRoute(network) => Family::of(network),
            Self::Outside(address) => Family::of_address(*address),
            Self::Past(family) | Self::Closer(family, _) | Self::Tunnel(family) => *family,
        }
    }
}

/// What is to be there for these networks to lead into the tunnel, and for these addresses not to.
///
/// A network that is not a default route, and has no address in it that stays outside, goes into the
/// machine's own table, where longer prefixes win as usual.
pub(super) fn plan(networks: &[IpNet], outside: &[IpAddr]) -> BTreeSet<Entry> {
    let is_wide = |network: &IpNet| {
        network.prefix_len() == 0 || outside.iter().any(|address| network.contains(address))
    };
    let networks = networks.iter().map(IpNet::trunc);
    let (wide, narrow): (Vec<_>, Vec<_>) = networks.partition(is_wide);
    let mut entries: BTreeSet<_> = narrow.into_iter().map(Entry::MainRoute).collect();
    for family in Family::BOTH {
        let wide = wide.iter().filter(|network| Family::of(network) == family);
        let Some(widest) = wide.clone().map(IpNet::prefix_len).min() else {
            continue;
        };
        entries.extend(wide.copied().map(Entry::TableRoute));
        let outside = outside.iter().copied();
        let of_family = outside.filter(|address| Family::of_address(*address) == family);
        entries.extend(of_family.map(Entry::Outside));
        entries.extend([
            Entry::Past(family),
            Entry::Closer(family, widest),
            Entry::Tunnel(family),
        ]);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(networks: &[&str], outside: &[&str]) -> Vec<Entry> {
        let networks: Vec<_> = networks.iter().map(|net| net.parse().unwrap()).collect();
        let outside: Vec<_> = outside.iter().map(|ip| ip.parse().unwrap()).collect();
        plan(&networks, &outside).into_iter().collect()
    }

    #[test]
    fn a_default_route_has_a_table_of_its_own_and_the_gate_stays_outside() {
        let entries = planned(&["0.0.0.0/0", "10.9.0.5/24"], &["192.0.2.1", "2001:db8::1"]);
        assert_eq!(
            entries,
            [
                Entry::TableRoute("0.0.0.0/0".parse().unwrap()),
                Entry::Past(Family::V4),
                Entry::Outside("192.0.2.1".parse().unwrap()),
                Entry::Closer(Family::V4, 0),
                Entry::Tunnel(Family::V4),
                Entry::MainRoute("10.9.0.0/24".parse().unwrap()),
            ]
        );
    }

    #[test]
    fn other_networks_are_ordinary_routes_unless_the_gate_is_in_them() {
        let entries = planned(&["10.9.0.0/24", "fd00::/64"], &["192.0.2.1"]);
        let main = |net: &str| Entry::MainRoute(net.parse().unwrap());
        assert_eq!(entries, [main("10.9.0.0/24"), main("fd00::/64")]);

        // Two halves in place of a default route, as other programs have them.
        let entries = planned(&["0.0.0.0/1", "128.0.0.0/1"], &["192.0.2.1"]);
        assert!(entries.contains(&main("0.0.0.0/1")));
        assert!(entries.contains(&Entry::TableRoute("128.0.0.0/1".parse().unwrap())));
        assert!(entries.contains(&Entry::Closer(Family::V4, 1)));
    }
}
