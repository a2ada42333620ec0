//! What WireGuard interfaces say.

use super::{ErrorCode, codes};

codes! {
    crate::interface::InterfaceError {
        Self::Down => "interface-down",
        Self::Away => "interface-away",
        Self::Backend(..) => "interface-failed",
    }
    #[cfg(any(feature = "netstack", feature = "userspace", all(feature = "kernel", any(target_os = "freebsd", target_os = "linux", target_os = "macos"))))]
    crate::interface::MtuError {
        Self { .. } => "invalid-mtu",
    }
    #[cfg(all(any(feature = "kernel", feature = "uapi", feature = "userspace"), target_os = "linux"))]
    crate::interface::LinkFault {
        Self::Privilege => "link-privilege",
        Self::Taken => "link-taken",
        Self::Overlap { .. } => "link-overlap",
        Self::RouteTaken { .. } => "link-route-taken",
        Self::Ipv6Off { .. } => "link-ipv6-off",
        Self::Missing { .. } => "link-missing",
        Self::Crowded => "link-crowded",
        Self::Network(..) => "link-network",
        Self::Netlink(..) => "link-netlink",
        Self::Refused(..) => "link-refused",
    }
    #[cfg(all(feature = "kernel", target_os = "linux"))]
    crate::interface::kernel::KernelFault {
        Self::Name => "kernel-name",
        Self::NameInUse { .. } => "kernel-name-in-use",
        Self::Missing { .. } => "kernel-missing",
        Self::NotWireGuard { .. } => "kernel-not-wire-guard",
        Self::NoKey { .. } => "kernel-no-key",
        Self::PortInUse { .. } => "kernel-port-in-use",
        Self::NoPrivilege => "kernel-no-privilege",
        Self::NoWireGuard => "kernel-no-wire-guard",
        Self::Mtu(error) => error.code(),
        Self::Link(error) => error.code(),
        Self::Address { .. } => "kernel-address",
        Self::OtherKey { .. } => "kernel-other-key",
        Self::OwnKey => "kernel-own-key",
        Self::System { .. } => "kernel-system",
    }
    #[cfg(all(feature = "lease-guard", target_os = "linux"))]
    crate::interface::lease_guard::GuardFault {
        Self::InterfaceName { .. } => "lease-guard-interface-name",
        Self::NotPermitted => "lease-guard-not-permitted",
        Self::Unsupported => "lease-guard-unsupported",
        Self::Taken { .. } => "lease-guard-taken",
        Self::NoLease { .. } => "lease-guard-no-lease",
        Self::Overlap { .. } => "lease-guard-overlap",
        Self::Refused { .. } => "lease-guard-refused",
        Self::Unanswered => "lease-guard-unanswered",
        Self::Closed => "lease-guard-closed",
        Self::InUse { .. } => "lease-guard-in-use",
        Self::Interface(error) => error.code(),
    }
    #[cfg(feature = "netstack")]
    crate::interface::netstack::NetstackError {
        Self::AddressInUse { .. } => "netstack-address-in-use",
        Self::Exposed { .. } => "netstack-exposed",
        Self::Listening { .. } => "netstack-listening",
        Self::Addresses => "netstack-addresses",
        Self::Mtu(error) => error.code(),
        Self::Refused { .. } => "netstack-refused",
        Self::TimedOut { .. } => "netstack-timed-out",
        Self::Unroutable { .. } => "netstack-unroutable",
        Self::Device(..) => "netstack-device",
    }
    #[cfg(all(feature = "kernel", any(target_os = "freebsd", target_os = "linux", target_os = "macos")))]
    crate::interface::portable::PortableFault {
        Self::Mtu(error) => error.code(),
        Self::NameInUse { .. } => "portable-name-in-use",
        Self::NoResolver => "portable-no-resolver",
        Self::Lost => "portable-lost",
        Self::Closed => "portable-closed",
        Self::NotInstalled => "portable-not-installed",
        Self::NotRemoved => "portable-not-removed",
        Self::System { .. } => "portable-system",
    }
    #[cfg(all(feature = "uapi", unix))]
    crate::interface::uapi::UapiFault {
        Self::Socket { .. } => "uapi-socket",
        Self::OtherKey { .. } => "uapi-other-key",
        Self::Elsewhere { .. } => "uapi-elsewhere",
        Self::BrokenOff => "uapi-broken-off",
        Self::Unanswered { .. } => "uapi-unanswered",
        Self::Malformed => "uapi-malformed",
        Self::Refused { .. } => "uapi-refused",
        Self::Down { .. } => "uapi-down",
        Self::Mtu { .. } => "uapi-mtu",
        Self::Unremoved => "uapi-unremoved",
    }
    #[cfg(all(feature = "userspace", target_os = "linux"))]
    crate::interface::userspace::UserspaceFault {
        Self::Name { .. } => "userspace-name",
        Self::Mtu(error) => error.code(),
        Self::NameTaken { .. } => "userspace-name-taken",
        Self::NoTun => "userspace-no-tun",
        Self::Privilege => "userspace-privilege",
        Self::Tun { .. } => "userspace-tun",
        Self::Lost { .. } => "userspace-lost",
        Self::AddressInUse { .. } => "userspace-address-in-use",
        Self::Link(error) => error.code(),
    }
}
