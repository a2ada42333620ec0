//! The app's WireGuard: four methods over whatever implementation the app has.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mfagate::interface::PeerConfig;
use mfagate::key::PresharedKey;

use crate::callback::CallbackError;
use crate::error::MfagateError;
use crate::secret::SecretBytes;

/// The app's WireGuard interface. Calls come one at a time; one that is given up is followed by
/// [`down`](Self::down).
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait Tunnel: Send + Sync {
    /// Brings the tunnel up with exactly this configuration, in place of whatever was there.
    async fn up(&self, config: Arc<TunnelConfig>) -> Result<(), CallbackError>;

    /// Changes the tunnel to a renewed configuration, without a gap in its traffic where the
    /// implementation can. The preshared key, the endpoint or both differ.
    async fn renew(&self, config: Arc<TunnelConfig>) -> Result<(), CallbackError>;

    /// Takes the tunnel down. Returns when no more packets pass. Succeeds where it is down.
    async fn down(&self) -> Result<(), CallbackError>;

    /// What is known of the tunnel's traffic; none where no tunnel is up, which ends the session.
    async fn traffic(&self) -> Result<Option<Traffic>, CallbackError>;
}

/// The tunnel's traffic since it was brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Traffic {
    /// When the last handshake completed, in milliseconds since 1970; none before the first.
    pub last_handshake_ms: Option<u64>,
    /// Bytes that came from the gate.
    pub received: u64,
    /// Bytes that went to the gate.
    pub sent: u64,
}

impl From<Traffic> for mfagate::client::Traffic {
    fn from(traffic: Traffic) -> Self {
        Self {
            last_handshake: traffic
                .last_handshake_ms
                .map(mfagate::time::Timestamp::from_millis),
            received: traffic.received,
            sent: traffic.sent,
        }
    }
}

/// What a tunnel is brought up with. It holds the preshared key and prints nothing of it.
#[derive(Debug, uniffi::Object)]
pub struct TunnelConfig {
    profile: Arc<mfagate::Profile>,
    peer: PeerConfig,
}

impl TunnelConfig {
    pub(crate) const fn new(profile: Arc<mfagate::Profile>, peer: PeerConfig) -> Self {
        Self { profile, peer }
    }
}

#[uniffi::export]
impl TunnelConfig {
    /// The device's private key: 32 bytes.
    pub fn private_key(&self) -> Result<Arc<SecretBytes>, MfagateError> {
        Ok(SecretBytes::of(*self.profile.private_key.expose_secret()))
    }

    /// The location's public key, in Base64.
    pub fn public_key(&self) -> Result<String, MfagateError> {
        Ok(self.peer.key.to_string())
    }

    /// The preshared key: 32 bytes.
    pub fn preshared_key(&self) -> Result<Arc<SecretBytes>, MfagateError> {
        let psk = self.peer.psk.as_ref().map(PresharedKey::expose_secret);
        let none = || MfagateError::fault("no-preshared-key", "the tunnel has no preshared key");
        psk.map(|psk| SecretBytes::of(*psk)).ok_or_else(none)
    }

    /// Where to send first, as an address and a port; none leaves the tunnel waiting.
    pub fn endpoint(&self) -> Result<Option<String>, MfagateError> {
        Ok(self.peer.endpoint.as_ref().map(SocketAddr::to_string))
    }

    /// What is routed into the tunnel, as networks.
    pub fn allowed_ips(&self) -> Result<Vec<String>, MfagateError> {
        Ok(self.peer.allowed_ips.iter().map(IpNet::to_string).collect())
    }

    /// The persistent keepalive in seconds; none is off.
    pub fn keepalive_seconds(&self) -> Result<Option<u64>, MfagateError> {
        Ok(self.peer.keepalive.as_ref().map(Duration::as_secs))
    }

    /// The device's own addresses inside the tunnel, as networks.
    pub fn addresses(&self) -> Result<Vec<String>, MfagateError> {
        let addresses = self.profile.addresses.iter();
        Ok(addresses.map(IpNet::to_string).collect())
    }

    /// Resolvers inside the tunnel.
    pub fn dns(&self) -> Result<Vec<String>, MfagateError> {
        Ok(self.profile.dns.iter().map(IpAddr::to_string).collect())
    }

    /// The largest packet inside the tunnel, in bytes.
    pub fn mtu(&self) -> Result<Option<u16>, MfagateError> {
        Ok(self.profile.mtu)
    }

    /// The text of a file for `wg-quick`, which WireGuard's own libraries for Apple and Android
    /// read as well. It holds both keys.
    pub fn to_wg_quick(&self) -> Result<Arc<SecretBytes>, MfagateError> {
        let text = self.profile.to_wg_quick(&self.peer, "");
        Ok(SecretBytes::of(text.as_bytes()))
    }

    /// The peer as lines of WireGuard's cross-platform configuration protocol, without the device's
    /// private key. It holds the preshared key.
    pub fn to_uapi(&self) -> Result<Arc<SecretBytes>, MfagateError> {
        Ok(SecretBytes::of(self.peer.to_uapi().as_bytes()))
    }
}
