//! What becomes of a lease whose peer shows up at another address.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a gate does when a peer goes on from another address than it was at when its lease began.
///
/// A change of the *port* is none: NATs rebind. IPv6 addresses count by their first 64 bits, since
/// the rest is the device's own to change, and many change it daily (RFC 8981); an IPv4 address
/// that is mapped into IPv6 counts as IPv4.
///
/// A change counts once it has
///
/// - *settled*: for [`SETTLES_AFTER`](Self::SETTLES_AFTER) every look found the peer away. One look
///   that finds it back begins again, so a device that flaps between two networks, or that comes
///   back before long, stays where it was;
/// - and been *proven*: by an interface that believes in an address only once a packet from there
///   decrypted ([`Activity::is_endpoint_proven`]), and on others by a handshake that was completed
///   while the peer was away, or by more traffic than unproven handshakes can make. So anyone who has
///   a peer's private key, and not its preshared key, can't end its session by this rule. A device
///   that moved with little traffic is noticed at its next handshake, within three minutes of use.
///
/// The address that a session begins at is never a change, also not after others were told of.
/// A renewal restarts nothing; an admission does, and so does a restart of the gate, which
/// knows nothing of where its peers were.
///
/// [`Activity::is_endpoint_proven`]: crate::interface::Activity::is_endpoint_proven
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointChange {
    /// Peers may roam, and no one looks.
    #[default]
    Off,
    /// Each change is told by an [`Event::EndpointChanged`](crate::gate::Event::EndpointChanged)
    /// and in the audit trail.
    Warn,
    /// The same, and the lease ends: the user has to pass the factors again. A lease whose peer's
    /// address can't be read for [`UNKNOWN_FOR`](Self::UNKNOWN_FOR) ends too.
    Reauthenticate,
}

#[cfg_attr(
    not(feature = "runtime"),
    allow(dead_code, reason = "only the gate asks")
)]
impl EndpointChange {
    /// How long a peer has to be away from its address for that to be a change.
    pub(crate) const SETTLES_AFTER: Duration = Duration::from_secs(30);

    /// How long an interface may fail to tell where a peer is before [`Self::Reauthenticate`]
    /// takes it for gone.
    pub(crate) const UNKNOWN_FOR: Duration = Duration::from_secs(120);
}
