//! Why the guard did not do as asked, in words that say what to do.

use std::io;

use ipnet::IpNet;

use crate::interface::InterfaceError;
use crate::key::PublicKey;

crate::error_code::opaque! {
    /// Why a lease is not guarded.
    pub struct GuardError(GuardFault);
}

/// What is behind [`GuardError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardFault {
    /// No network interface can have this name.
    #[error(
        "{name:?} can't be the name of a network interface: it takes 1 to 15 bytes without `/`, `:` and blanks"
    )]
    InterfaceName {
        /// The name.
        name: String,
    },
    /// The process may not change nftables.
    #[error(
        "nftables may not be changed: run as root, or give the process the capability CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)"
    )]
    NotPermitted,
    /// The kernel can't do it.
    #[error(
        "the kernel has no nftables for IPv4 and IPv6: load the module nf_tables, or take a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"
    )]
    Unsupported,
    /// Another process guards the interface.
    #[error(
        "the nftables table `{table}` belongs to another running process: one gate per interface, so stop the other one"
    )]
    Taken {
        /// The table.
        table: String,
    },
    /// There is no end to guard.
    #[error("{peer} comes without a lease: a guarded peer has an end")]
    NoLease {
        /// The peer.
        peer: PublicKey,
    },
    /// Two peers would share addresses.
    #[error(
        "{network} of {peer} overlaps {other_network} of {other}: give every peer addresses of its own"
    )]
    Overlap {
        /// The network that is refused.
        network: IpNet,
        /// Whose it would be.
        peer: PublicKey,
        /// The network that is there.
        other_network: IpNet,
        /// Whose it is.
        other: PublicKey,
    },
    /// The kernel refused.
    #[error("the kernel did not {doing} (`nft list table inet {table}` shows what is there)")]
    Refused {
        /// What was asked of it.
        doing: &'static str,
        /// The table.
        table: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The kernel did not say whether it did as asked.
    #[error("the kernel's answer did not come or made no sense, so what it did is not known")]
    Unanswered,
    /// The guard is closed, or the interface is fenced.
    #[error("the guard is closed or the interface fenced: make a new guard")]
    Closed,
    /// The table stays while the interface is open to peers.
    #[error(
        "{peers} peers are on the interface: remove them, or take the interface down, before the guard goes"
    )]
    InUse {
        /// How many.
        peers: usize,
    },
    /// The interface behind the guard did not say who is on it.
    #[error("the interface did not say who is on it")]
    Interface(#[source] InterfaceError),
}

impl From<GuardFault> for InterfaceError {
    fn from(error: GuardFault) -> Self {
        if matches!(error, GuardFault::Closed) {
            return Self::Down;
        }
        Self::Backend(Box::new(GuardError(error)))
    }
}
