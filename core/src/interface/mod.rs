//! Backends: one trait, and one folder or file per WireGuard implementation.
//!
//! A backend does as it is told. It holds no policy, no deadlines and no sessions.

#[cfg(all(feature = "kernel", target_os = "linux"))]
pub mod kernel;
#[cfg(all(feature = "lease-guard", target_os = "linux"))]
pub mod lease_guard;
#[cfg(any(
    feature = "netstack",
    feature = "userspace",
    all(
        feature = "kernel",
        any(target_os = "freebsd", target_os = "linux", target_os = "macos")
    )
))]
mod mtu;
#[cfg(all(
    any(feature = "kernel", feature = "uapi", feature = "userspace"),
    target_os = "linux"
))]
#[cfg_attr(
    not(any(feature = "kernel", feature = "userspace")),
    expect(
        dead_code,
        reason = "alone, `uapi` only finds interfaces and takes them down"
    )
)]
mod netlink;
#[cfg(feature = "netstack")]
pub mod netstack;
#[cfg(all(
    feature = "kernel",
    any(target_os = "freebsd", target_os = "linux", target_os = "macos")
))]
pub mod portable;
#[cfg(all(
    any(feature = "kernel", feature = "uapi", feature = "userspace"),
    target_os = "linux"
))]
pub mod routes;
#[cfg(all(
    feature = "kernel",
    any(target_os = "freebsd", target_os = "linux", target_os = "macos")
))]
mod serial_device;
#[cfg(any(
    all(
        feature = "kernel",
        any(target_os = "freebsd", target_os = "linux", target_os = "macos")
    ),
    all(feature = "uapi", unix)
))]
mod shutdown_state;
#[cfg(all(
    feature = "kernel",
    any(target_os = "freebsd", target_os = "linux", target_os = "macos")
))]
mod spare;
mod text;
#[cfg(all(feature = "uapi", unix))]
pub mod uapi;
#[cfg(all(feature = "userspace", target_os = "linux"))]
pub mod userspace;
#[cfg(any(feature = "netstack", feature = "userspace"))]
mod wireguard;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
#[cfg(any(
    feature = "netstack",
    feature = "userspace",
    all(
        feature = "kernel",
        any(target_os = "freebsd", target_os = "linux", target_os = "macos")
    )
))]
pub use mtu::MtuError;
#[cfg(all(
    any(feature = "kernel", feature = "uapi", feature = "userspace"),
    target_os = "linux"
))]
pub use netlink::LinkError;
#[cfg(all(
    any(feature = "kernel", feature = "uapi", feature = "userspace"),
    target_os = "linux"
))]
pub(crate) use netlink::LinkFault;

#[cfg(feature = "runtime")]
pub(crate) use text::list;

use crate::key::{PresharedKey, PublicKey};
use crate::time::Timestamp;

/// One peer as it is, or should be, on a WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerConfig {
    /// The peer's public key.
    pub key: PublicKey,
    /// The preshared key. A gate always sets one.
    pub psk: Option<PresharedKey>,
    /// The addresses that the peer may use inside the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// Where to send first. A gate leaves it to the peer; a client knows its gate's.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive; `None` is off.
    pub keepalive: Option<Duration>,
    /// How long, from the call on, the peer may pass traffic: for what enforces that by itself,
    /// apart from the gate, which removes the peer in time. A gate always says. [`list`] need not;
    /// where it does, it says what is left: nothing, where some of the addresses may not pass.
    ///
    /// [`list`]: InterfaceBackend::list
    pub lease: Option<Duration>,
}

impl PeerConfig {
    /// A peer with a preshared key and its allowed IPs, and nothing else set.
    pub const fn new(key: PublicKey, psk: Option<PresharedKey>, allowed_ips: Vec<IpNet>) -> Self {
        Self {
            key,
            psk,
            allowed_ips,
            endpoint: None,
            keepalive: None,
            lease: None,
        }
    }

    /// Sets where to send first.
    #[must_use]
    pub const fn with_endpoint(mut self, endpoint: SocketAddr) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Sets the persistent keepalive. WireGuard counts it in whole seconds, at least one.
    #[must_use]
    pub const fn with_keepalive(mut self, every: Duration) -> Self {
        self.keepalive = Some(every);
        self
    }

    /// Whether both let the same peer in, by the same preshared key and to the same networks.
    #[cfg(any(feature = "runtime", feature = "uapi", test))]
    pub(crate) fn admits_as(&self, other: &Self) -> bool {
        self.key == other.key
            && self.psk == other.psk
            && same_networks(&self.allowed_ips, &other.allowed_ips)
    }
}

/// Whether these are the same networks, without what is past their prefix, and each once.
#[cfg(any(
    feature = "netstack",
    feature = "runtime",
    feature = "uapi",
    feature = "userspace",
    test
))]
pub(crate) fn same_networks(one: &[IpNet], other: &[IpNet]) -> bool {
    use std::collections::BTreeSet;

    let set =
        |networks: &[IpNet]| -> BTreeSet<IpNet> { networks.iter().map(IpNet::trunc).collect() };
    set(one) == set(other)
}

/// What an interface knows of a peer's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// The peer.
    pub key: PublicKey,
    /// When the last handshake completed, if one has since the peer was installed.
    pub last_handshake: Option<Timestamp>,
    /// Bytes received from the peer, WireGuard's own included.
    pub received: u64,
    /// Bytes sent to the peer, WireGuard's own included.
    pub sent: u64,
    /// Bytes of the packets inside the tunnel, in both directions, where the interface counts them:
    /// without handshakes, keepalives and what encryption adds.
    pub payload: Option<u64>,
    /// Where the peer's packets come from now, where the interface knows.
    pub endpoint: Option<SocketAddr>,
    /// Whether anyone who is at `endpoint` has shown the preshared key, by a packet that decrypted.
    /// Implementations that move the endpoint at the first message of a handshake, which proves
    /// the private key alone, leave it `false`.
    pub is_endpoint_proven: bool,
}

impl Activity {
    /// A peer that has not been heard of.
    pub const fn silent(key: PublicKey) -> Self {
        Self {
            key,
            last_handshake: None,
            received: 0,
            sent: 0,
            payload: None,
            endpoint: None,
            is_endpoint_proven: false,
        }
    }
}

/// A WireGuard interface.
///
/// # Contract
/// - Calls may overlap for different peers; the gate never overlaps two calls for one peer.
/// - Dropping a call's future at an await may leave any subset of its batch applied, as an error
///   may. The gate then removes what it asked for.
/// - A backend that is not sure says so by an error. `Ok` is a promise.
#[async_trait]
pub trait InterfaceBackend: Send + Sync + 'static {
    /// Puts each of `peers` on the interface with exactly this preshared key and these allowed
    /// IPs, inheriting nothing from an earlier peer of the same key or from its neighbours in the
    /// batch. A peer that is already there is replaced, and its old sessions end.
    ///
    /// # Errors
    /// [`InterfaceError`]; any subset of the batch may then be in place.
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError>;

    /// Changes installed peers to a renewed preshared key without a gap in their traffic, where
    /// the implementation can. The running keypair lives on until its next handshake, so this is
    /// never a way to shut a peer out. A peer that is absent is installed.
    ///
    /// # Errors
    /// [`InterfaceError`]; any subset of the batch may then be in place.
    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.install(peers).await
    }

    /// Takes each of `peers` off the interface. Returns when none of their packets pass any more,
    /// in either direction. Removing what is absent succeeds.
    ///
    /// # Errors
    /// [`InterfaceError`]; any subset of the batch may still be in place.
    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError>;

    /// All peers on the interface, each with its preshared key and its allowed IPs. A gate calls
    /// this again and again, to see who was put there by others, and whether the interface is
    /// still there.
    ///
    /// # Errors
    /// [`InterfaceError`]; never a shorter list. [`InterfaceError::Down`] says that the interface
    /// is gone for good, and [`InterfaceError::Away`] that it may come back.
    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError>;

    /// What the interface knows of these peers' traffic; absent peers are left out.
    ///
    /// # Errors
    /// [`InterfaceError`].
    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError>;

    /// Takes the whole interface down: no packet of any peer passes after it returns. The last
    /// resort when removals keep failing. From the call on, and also where it fails, no peer is let
    /// on any more.
    ///
    /// # Errors
    /// [`InterfaceError`], and then a person is needed. Those who were there may pass packets; they
    /// are listed as before, can be removed, and the fence can be asked for again.
    async fn fence(&self) -> Result<(), InterfaceError>;

    /// The control channel is about to connect to these addresses: packets to them must not go into
    /// the tunnel, now or later, whatever networks lead into it. A client says so before it
    /// connects; `routes` does it. Without routes of its own, an interface has nothing to do.
    ///
    /// # Errors
    /// [`InterfaceError`]; the client connects then, too.
    async fn keep_outside(&self, addresses: &[IpAddr]) -> Result<(), InterfaceError> {
        _ = addresses;
        Ok(())
    }

    /// Whether the interface, with its peers, is there still when this process has ended without
    /// taking it down.
    fn outlives_process(&self) -> bool {
        false
    }

    /// Whether each peer's lease ends on time also without this process: a gate that is about to
    /// be started again may then leave live peers where they are.
    fn ends_leases(&self) -> bool {
        false
    }

    /// Leaves the interface and its peers to the next process: dropping this handle does not
    /// remove what it made.
    ///
    /// # Errors
    /// [`InterfaceError`]; the interface may go with the process.
    async fn leave(&self) -> Result<(), InterfaceError> {
        Ok(())
    }
}

/// Why an interface did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The interface is gone or has been taken down, and this handle is of no use any more.
    #[error(
        "the WireGuard interface is gone or was taken down: see the log for why, and restart the gate, which makes it or brings it up"
    )]
    Down,
    /// The interface is not there now, as when the program that runs it has ended. By the same
    /// handle it may come back, without its peers.
    #[error(
        "the WireGuard interface is not there: start the program that runs it; the gate then installs its peers again"
    )]
    Away,
    /// The implementation refused or failed.
    #[error("the WireGuard interface did not do as it was told: see what it says, and try again")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
