//! Which addresses peers of a location may have. Without it a peer is given whatever is asked for:
//! the gate's own address, say, or one that no packet finds its way to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::store::Peer;

/// The addresses of a location, as its gate has them. Give it to a
/// [`Registrar`](super::Registrar::with_addresses), which then refuses what can't work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPlan {
    gate: Vec<IpNet>,
    networks: Vec<IpNet>,
}

impl AddressPlan {
    /// Of a gate whose interface has these addresses, each with its network, as in `10.9.0.1/24`,
    /// and whose clients route these networks to it. A network of all addresses, as of a full
    /// tunnel, says nothing about where peers may be.
    pub fn new(
        gate: impl IntoIterator<Item = IpNet>,
        networks: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        let gate: Vec<_> = gate.into_iter().collect();
        let own = gate.iter().map(IpNet::trunc);
        let all = own.chain(networks.into_iter().filter(|net| net.prefix_len() > 0));
        let networks = all.collect();
        Self { gate, networks }
    }

    /// The same with further networks that peers may have addresses of, as of a site behind a
    /// device. The gate's host needs routes to them.
    #[must_use]
    pub fn with_networks(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.networks.extend(networks);
        self
    }

    /// Checks a peer's addresses, but for those that other peers have, which the store knows.
    ///
    /// # Errors
    /// [`AddressFault`], for the first that can't be a peer's.
    pub fn check(&self, addresses: &[IpNet]) -> Result<(), AddressFault> {
        for (n, address) in addresses.iter().copied().enumerate() {
            let fault = |reason| Err(AddressFault { address, reason });
            if address.trunc() != address {
                return fault(AddressReason::HostBits);
            }
            if !is_unicast(address.network()) {
                return fault(AddressReason::NotUnicast);
            }
            if let Some(gate) = self.gate.iter().find(|gate| address.contains(&gate.addr())) {
                return fault(AddressReason::Gate { gate: gate.addr() });
            }
            let Some(network) = self.networks.iter().find(|net| net.contains(&address)) else {
                return fault(AddressReason::Outside);
            };
            if is_host(address) && is_reserved(*network, address.addr()) {
                return fault(AddressReason::Reserved { network: *network });
            }
            let before = addresses.iter().take(n);
            if before.into_iter().any(|other| overlap(*other, address)) {
                return fault(AddressReason::Repeated);
            }
        }
        Ok(())
    }

    /// The next free address of each family that the gate has one of, by what these peers have;
    /// `None` where a family has none left.
    pub fn next_free<'a>(&self, peers: impl IntoIterator<Item = &'a Peer>) -> Option<Vec<IpNet>> {
        let taken: Vec<IpNet> = peers
            .into_iter()
            .flat_map(|peer| peer.allowed_ips.iter().copied())
            .chain(self.gate.iter().map(|gate| IpNet::from(gate.addr())))
            .collect();
        let mut free = Vec::new();
        for is_v4 in [true, false] {
            let mut own = self
                .gate
                .iter()
                .filter(|gate| gate.addr().is_ipv4() == is_v4);
            let Some(gate) = own.next() else {
                continue;
            };
            // One that is a single address has its peers in a network that it is in.
            let mut networks = self.networks.iter();
            let roomy = |net: &&IpNet| net.contains(&gate.addr()) && !is_host(**net);
            free.push(first_free(*networks.find(roomy)?, &taken)?);
        }
        (!free.is_empty()).then_some(free)
    }
}

/// An address that a peer can't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer can't have {address}: {reason}")]
pub struct AddressFault {
    /// The address.
    pub address: IpNet,
    /// Why not.
    pub(crate) reason: AddressReason,
}

/// Why a peer can't have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressReason {
    /// It is the gate's, or a network that the gate's is in.
    #[error("{gate} is the gate's own address")]
    Gate {
        /// The gate's address.
        gate: IpAddr,
    },
    /// It is the first or the last of its network, which no host has (RFC 1122, section 3.2.1.3;
    /// RFC 4291, section 2.6.1).
    #[error("it is the network's own or the broadcast address of {network}")]
    Reserved {
        /// The network.
        network: IpNet,
    },
    /// It is in none of the networks.
    #[error(
        "it is in none of the gate's networks, so that no packet would find its way to it; say explicitly that it is of a site behind the device, if it is"
    )]
    Outside,
    /// It is no host's: multicast, loopback, or no address at all.
    #[error("it is no address of a host")]
    NotUnicast,
    /// It is a network with bits of a host.
    #[error("it names a host and a network at once: write /32 (/128) for the host alone")]
    HostBits,
    /// The peer has it twice.
    #[error("the peer has it twice")]
    Repeated,
}

fn is_host(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn is_unicast(address: IpAddr) -> bool {
    let none = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !none && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether a network keeps the address for itself.
fn is_reserved(network: IpNet, address: IpAddr) -> bool {
    match network {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            address == IpAddr::V4(net.network()) || address == IpAddr::V4(net.broadcast())
        }
        IpNet::V6(net) if net.prefix_len() < 127 => address == IpAddr::V6(net.network()),
        IpNet::V4(_) | IpNet::V6(_) => false,
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Goes over what is taken in order, up to the first gap.
fn first_free(network: IpNet, taken: &[IpNet]) -> Option<IpNet> {
    let mut ranges: Vec<(u128, u128)> = taken
        .iter()
        .filter(|net| overlap(**net, network))
        .map(|net| (number(net.network()), number(net.broadcast())))
        .collect();
    ranges.sort_unstable();
    let mut next = number(network.network());
    if is_reserved(network, network.network()) {
        next += 1;
    }
    for (first, last) in ranges {
        if next < first {
            break;
        }
        next = next.max(last.checked_add(1)?);
    }
    let address = match network {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(next).ok()?)),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(next)),
    };
    let fits = network.contains(&address) && !is_reserved(network, address);
    fits.then(|| IpNet::from(address))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PublicKey;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn plan() -> AddressPlan {
        let gate = nets(&["10.9.0.1/24", "fd09::1/64"]);
        AddressPlan::new(gate, nets(&["10.9.0.0/24", "0.0.0.0/0", "::/0"]))
    }

    fn peer(n: u8, addresses: &[&str]) -> Peer {
        Peer {
            location: "office".parse().unwrap(),
            key: PublicKey::from_bytes([n; 32]),
            user: "alice".parse().unwrap(),
            allowed_ips: nets(addresses),
            label: "laptop".parse().unwrap(),
            enabled: true,
        }
    }

    fn reason(addresses: &[&str]) -> Option<AddressReason> {
        let checked = plan().check(&nets(addresses));
        checked.err().map(|fault| fault.reason)
    }

    #[test]
    fn an_address_that_can_t_work_is_refused_with_the_reason() {
        let of_gate = |text: &str| {
            let gate = text.parse().unwrap();
            Some(AddressReason::Gate { gate })
        };
        let reserved = |text: &str| {
            let network = text.parse().unwrap();
            Some(AddressReason::Reserved { network })
        };
        let outside = Some(AddressReason::Outside);
        for (address, why) in [
            ("10.9.0.2/32", None),
            ("10.9.0.254/32", None),
            ("10.9.0.16/28", None),
            ("fd09::2/128", None),
            ("10.9.0.1/32", of_gate("10.9.0.1")),
            ("10.9.0.0/24", of_gate("10.9.0.1")),
            ("0.0.0.0/0", Some(AddressReason::NotUnicast)),
            ("fd09::1/128", of_gate("fd09::1")),
            ("10.9.0.0/32", reserved("10.9.0.0/24")),
            ("10.9.0.255/32", reserved("10.9.0.0/24")),
            ("fd09::/128", reserved("fd09::/64")),
            ("10.8.0.2/32", outside),
            ("192.0.2.7/32", outside),
            ("fd0a::2/128", outside),
            ("10.9.0.2/24", Some(AddressReason::HostBits)),
            ("224.0.0.1/32", Some(AddressReason::NotUnicast)),
            ("127.0.0.1/32", Some(AddressReason::NotUnicast)),
        ] {
            assert_eq!(reason(&[address]), why, "{address}");
        }
        assert_eq!(reason(&["10.9.0.2/32", "fd09::2/128"]), None);
        let twice = reason(&["10.9.0.18/32", "10.9.0.16/28"]);
        assert_eq!(twice, Some(AddressReason::Repeated));
    }

    #[test]
    fn a_site_behind_a_device_is_said_to_be_one() {
        let site = nets(&["192.0.2.0/24"]);
        assert!(plan().check(&site).is_err());
        assert!(plan().with_networks(site.clone()).check(&site).is_ok());
    }

    #[test]
    fn the_next_free_address_is_the_first_gap_in_each_family() {
        let next = |peers: &[Peer]| plan().next_free(peers);
        assert_eq!(next(&[]), Some(nets(&["10.9.0.2/32", "fd09::2/128"])));
        let taken = [
            peer(1, &["10.9.0.4/32", "fd09::2/128"]),
            peer(2, &["10.9.0.2/31"]),
            peer(3, &["10.9.0.8/29", "192.0.2.1/32"]),
            peer(4, &["10.9.0.5/32", "10.9.0.6/31"]),
        ];
        assert_eq!(next(&taken), Some(nets(&["10.9.0.16/32", "fd09::3/128"])));
        let full = [peer(
            1,
            &[
                "10.9.0.2/31",
                "10.9.0.4/30",
                "10.9.0.8/29",
                "10.9.0.16/28",
                "10.9.0.32/27",
                "10.9.0.64/26",
                "10.9.0.128/25",
            ],
        )];
        assert_eq!(next(&full), None);
    }

    #[test]
    fn a_gate_with_a_single_address_has_its_peers_in_the_networks() {
        let plan = AddressPlan::new(nets(&["10.9.0.1/32"]), nets(&["10.9.0.0/24"]));
        assert_eq!(plan.next_free([]), Some(nets(&["10.9.0.2/32"])));
        assert!(plan.check(&nets(&["10.9.0.9/32"])).is_ok());
    }
}
