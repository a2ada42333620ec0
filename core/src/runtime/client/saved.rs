//! A saved session as bytes: sealed under a key of the app's, and bound to the location and the
//! device that it belongs to.
//!
//! ```text
//! version (1 byte, 1) ‖ nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes)
//! ```
//! The cipher is XChaCha20-Poly1305, as for the gate's secrets at rest. The associated data is a
//! label, the version, the location's name with its length before it, the location's key and the
//! device's: a value that was altered, or is another location's or device's, does not open.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ipnet::IpNet;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Profile, SaveError};
use crate::channel::message::millis;
use crate::client::SavedLease;
use crate::id::{LocationId, SessionId};
use crate::key::{PresharedKey, PublicKey};
use crate::scrub::wiping;
use crate::time::{Instant, Now, Timestamp};

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
const LABEL: &[u8] = b"mfagate/1 saved session";
/// What stands for a moment that there is none of.
const NONE: u64 = u64::MAX;
const RENEWABLE: u8 = 1;
const ENDS_ON_WAKE: u8 = 2;

/// A live session, to be gone on with by another client of the same device: of another process, as
/// an app hands it to its network extension, or of the same app after the system has ended it. See
/// [`Client::save_session`](super::Client::save_session).
///
/// It is sealed, and may be kept where others can read it. Anyone who has it and its key, and the
/// device's private key, has the session.
#[derive(Clone, PartialEq, Eq)]
pub struct SavedSession(Vec<u8>);

impl SavedSession {
    /// A saved session from its bytes. Whether it opens shows when it is resumed.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedSession({} bytes)", self.0.len())
    }
}

/// The app's key that seals saved sessions: 256 random bits, zeroized on drop, never printed. It
/// belongs in the system's store for secrets: a keychain that app and extension share, a key store.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct HandoverKey([u8; 32]);

impl HandoverKey {
    /// A fresh key from the operating system's generator.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0)?;
        Ok(key)
    }

    /// A key from its 32 bytes, which must have come from a strong generator.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw key, for the system's store. The caller is answerable for where the bytes go.
    pub const fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}

impl fmt::Debug for HandoverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandoverKey([redacted])")
    }
}

/// Why a saved session does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenFault {
    Version(u8),
    Altered,
}

/// Whose session it is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    location: LocationId,
    location_key: PublicKey,
    device: PublicKey,
}

impl Identity {
    pub(super) fn of(profile: &Profile) -> Self {
        Self {
            location: profile.location.clone(),
            location_key: profile.location_key,
            device: profile.private_key.public_key(),
        }
    }

    /// The location's key, which its peer on the interface has.
    pub(super) const fn location_key(&self) -> PublicKey {
        self.location_key
    }

    pub(super) fn seal(
        &self,
        key: &HandoverKey,
        lease: &SavedLease,
        psk: &PresharedKey,
    ) -> Result<SavedSession, SaveError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SaveError::Seal)?;
        let text = encode(lease, psk);
        let payload = Payload {
            msg: &text,
            aad: &self.associated_data(),
        };
        let sealed = wiping(|| key.cipher().encrypt(XNonce::from_slice(&nonce), payload));
        let ciphertext = sealed.map_err(|_| SaveError::Seal)?;
        let mut bytes = Vec::with_capacity(1 + NONCE_LEN + ciphertext.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&ciphertext);
        Ok(SavedSession(bytes))
    }

    pub(super) fn open(
        &self,
        key: &HandoverKey,
        saved: &SavedSession,
    ) -> Result<(SavedLease, PresharedKey), OpenFault> {
        let (&version, rest) = saved.0.split_first().ok_or(OpenFault::Altered)?;
        if version != VERSION {
            return Err(OpenFault::Version(version));
        }
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or(OpenFault::Altered)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &self.associated_data(),
        };
        let nonce = XNonce::from_slice(nonce);
        let text = wiping(|| key.cipher().decrypt(nonce, payload))
            .map(Zeroizing::new)
            .map_err(|_| OpenFault::Altered)?;
        let mut fields = Fields(&text);
        let opened = fields.lease().filter(|_| fields.0.is_empty());
        opened.ok_or(OpenFault::Altered)
    }

    fn associated_data(&self) -> Vec<u8> {
        let location = self.location.as_str().as_bytes();
        let len = u64::try_from(location.len()).unwrap_or(u64::MAX);
        let mut bytes = LABEL.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(location);
        bytes.extend_from_slice(self.location_key.as_bytes());
        bytes.extend_from_slice(self.device.as_bytes());
        bytes
    }
}

fn encode(lease: &SavedLease, psk: &PresharedKey) -> Zeroizing<Vec<u8>> {
    // Room for all of it, so that no half-written copy is left behind.
    let room = 128 + lease.addresses.len() * 18;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    bytes.extend_from_slice(lease.session.as_bytes());
    bytes.extend_from_slice(psk.expose_secret());
    let moment = |span: Option<Duration>| span.map_or(NONE, millis);
    for number in [
        lease.taken.timestamp.as_millis(),
        lease.taken.instant.as_nanos(),
        millis(lease.left),
        moment(lease.warn_in),
        moment(lease.renew_in),
    ] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    bytes.push(flag(lease.renewable, RENEWABLE) | flag(lease.ends_on_wake, ENDS_ON_WAKE));
    for net in &lease.addresses {
        match net.addr() {
            IpAddr::V4(addr) => {
                bytes.push(4);
                bytes.extend_from_slice(&addr.octets());
            }
            IpAddr::V6(addr) => {
                bytes.push(6);
                bytes.extend_from_slice(&addr.octets());
            }
        }
        bytes.push(net.prefix_len());
    }
    bytes
}

/// What has not been read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn lease(&mut self) -> Option<(SavedLease, PresharedKey)> {
        let session = SessionId::from_bytes(self.array()?);
        let psk = PresharedKey::from_slice(self.take(32)?)?;
        let taken = Now {
            timestamp: Timestamp::from_millis(self.number()?),
            instant: Instant::from_nanos(self.number()?),
        };
        let left = Duration::from_millis(self.number()?);
        let (warn_in, renew_in) = (self.moment()?, self.moment()?);
        let [flags] = self.array()?;
        if flags & !(RENEWABLE | ENDS_ON_WAKE) != 0 {
            return None;
        }
        let mut addresses = Vec::new();
        while !self.0.is_empty() {
            addresses.push(self.net()?);
        }
        let lease = SavedLease {
            session,
            addresses,
            taken,
            left,
            warn_in,
            renew_in,
            renewable: flags & RENEWABLE != 0,
            ends_on_wake: flags & ENDS_ON_WAKE != 0,
        };
        Some((lease, psk))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A span, if there is one; the outer `None` is the end of the bytes.
    fn moment(&mut self) -> Option<Option<Duration>> {
        let number = self.number()?;
        Some((number != NONE).then(|| Duration::from_millis(number)))
    }

    fn net(&mut self) -> Option<IpNet> {
        let [family] = self.array()?;
        let address: IpAddr = match family {
            4 => Ipv4Addr::from(self.array::<4>()?).into(),
            6 => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return None,
        };
        let [prefix] = self.array()?;
        IpNet::new(address, prefix).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    fn identity(location: &str, location_key: u8, device: u8) -> Identity {
        Identity {
            location: location.parse().unwrap(),
            location_key: PublicKey::from_bytes([location_key; 32]),
            device: PrivateKey::from_bytes([device; 32]).public_key(),
        }
    }

    fn lease() -> SavedLease {
        SavedLease {
            session: SessionId::from_bytes([9; 16]),
            addresses: vec![
                "10.0.0.2/32".parse().unwrap(),
                "fd00::2/128".parse().unwrap(),
            ],
            taken: Now {
                timestamp: Timestamp::from_millis(1_767_225_600_000),
                instant: Instant::from_nanos(77),
            },
            left: Duration::from_secs(3600),
            warn_in: None,
            renew_in: Some(Duration::from_secs(1800)),
            renewable: true,
            ends_on_wake: false,
        }
    }

    #[test]
    fn a_saved_session_opens_as_it_was_sealed() {
        let office = identity("office", 1, 2);
        let key = HandoverKey::generate().unwrap();
        let psk = PresharedKey::from_bytes([5; 32]);
        let bare = SavedLease {
            addresses: Vec::new(),
            warn_in: Some(Duration::ZERO),
            renew_in: None,
            renewable: false,
            ends_on_wake: true,
            ..lease()
        };
        for lease in [lease(), bare] {
            let saved = office.seal(&key, &lease, &psk).unwrap();
            assert_eq!(office.open(&key, &saved), Ok((lease, psk.clone())));
        }
    }

    #[test]
    fn a_saved_session_opens_nowhere_else_and_not_by_another_key() {
        let office = identity("office", 1, 2);
        let key = HandoverKey::from_bytes([6; 32]);
        let psk = PresharedKey::from_bytes([5; 32]);
        let saved = office.seal(&key, &lease(), &psk).unwrap();

        for other in [
            identity("offic", 1, 2),
            identity("office", 3, 2),
            identity("office", 1, 3),
        ] {
            assert_eq!(other.open(&key, &saved), Err(OpenFault::Altered));
        }
        let other_key = HandoverKey::from_bytes([7; 32]);
        assert_eq!(office.open(&other_key, &saved), Err(OpenFault::Altered));
    }

    #[test]
    fn no_altered_or_shortened_saved_session_opens() {
        let office = identity("office", 1, 2);
        let key = HandoverKey::from_bytes([6; 32]);
        let psk = PresharedKey::from_bytes([5; 32]);
        let saved = office.seal(&key, &lease(), &psk).unwrap();

        for at in 0..saved.as_bytes().len() {
            let mut altered = saved.as_bytes().to_vec();
            altered[at] ^= 1;
            let opened = office.open(&key, &SavedSession::from_bytes(altered));
            assert!(opened.is_err(), "{at}");
            let shorter = saved.as_bytes()[..at].to_vec();
            let opened = office.open(&key, &SavedSession::from_bytes(shorter));
            assert_eq!(opened, Err(OpenFault::Altered), "{at}");
        }
        let mut newer = saved.as_bytes().to_vec();
        newer[0] = 2;
        let newer = SavedSession::from_bytes(newer);
        assert_eq!(office.open(&key, &newer), Err(OpenFault::Version(2)));
    }

    #[test]
    fn fields_that_end_too_soon_or_too_late_are_none() {
        let text = encode(&lease(), &PresharedKey::from_bytes([5; 32]));
        // Up to the flags; an address by itself is no field of a lease.
        for len in (0..89).chain([90, 94, 96, 100]) {
            assert!(Fields(&text[..len]).lease().is_none(), "{len}");
        }
        let mut altered = text.clone();
        altered[88] |= 4;
        assert!(Fields(&altered).lease().is_none());
    }

    #[test]
    fn neither_the_key_nor_the_session_prints_its_bytes() {
        let key = HandoverKey::from_bytes([123; 32]);
        let saved = SavedSession::from_bytes(vec![124; 3]);
        let printed = format!("{key:?} {saved:?}");
        assert!(!printed.contains("123") && !printed.contains("124"));
    }
}
