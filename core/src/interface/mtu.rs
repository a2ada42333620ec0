//! How long packets inside a tunnel may be.

use ipnet::IpNet;

/// Room for WireGuard's own header on a path of 1500 bytes, IPv6 included.
#[cfg(any(feature = "netstack", feature = "userspace"))]
pub(super) const MTU: u16 = 1420;
/// What UDP over IPv4 carries at most (65,507 bytes), without WireGuard's own 32.
const LARGEST: u32 = 65_475;
/// What every host takes (RFC 791).
const LEAST: u32 = 576;
/// What every link of IPv6 carries (RFC 8200, section 5).
const LEAST_OF_IPV6: u32 = 1280;

/// An MTU that an interface can't have: packets of that length would be lost without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an MTU of {mtu} can't be: set one of {least} to {most} bytes")]
#[non_exhaustive]
pub struct MtuError {
    /// The MTU, in bytes.
    pub(crate) mtu: u32,
    /// The least that it may be: with an IPv6 address more than without.
    pub(crate) least: u32,
    /// The most that it may be: WireGuard's packets are UDP datagrams.
    pub(crate) most: u32,
}

/// Makes sure that packets of this length pass on an interface with these addresses.
pub(super) fn check(mtu: u32, addresses: &[IpNet]) -> Result<(), MtuError> {
    let has_ipv6 = addresses.iter().any(|own| own.addr().is_ipv6());
    let (least, most) = (if has_ipv6 { LEAST_OF_IPV6 } else { LEAST }, LARGEST);
    if (least..=most).contains(&mtu) {
        Ok(())
    } else {
        Err(MtuError { mtu, least, most })
    }
}
