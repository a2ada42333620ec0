//! What an administrator hands out.

use std::fmt;
use std::sync::Arc;

use mfagate::client::{EnrolRequest as CoreRequest, Onboarding};
use mfagate::{PrivateKey, Profile as CoreProfile};
use zeroize::Zeroizing;

use crate::error::MfagateError;
use crate::event::texts;
use crate::secret::SecretBytes;

/// All that a client needs to know of its location, with the device's private key. Prints nothing
/// of the key.
#[derive(uniffi::Object)]
pub struct Profile {
    profile: Arc<CoreProfile>,
    enrol: Option<CoreRequest>,
}

#[uniffi::export]
impl Profile {
    /// Reads a profile from TOML, as an administrator hands it out: with or without what is to be
    /// enrolled first.
    #[uniffi::constructor]
    pub fn from_toml(text: String) -> Result<Arc<Self>, MfagateError> {
        let text = Zeroizing::new(text);
        let Onboarding { profile, enrol } = Onboarding::from_toml(&text)?;
        Ok(Arc::new(Self {
            profile: Arc::new(profile),
            enrol,
        }))
    }

    /// The profile as TOML, its private key included, and without what was to be enrolled first: to
    /// be kept in the system's store for secrets.
    pub fn expose_toml(&self) -> Result<Arc<SecretBytes>, MfagateError> {
        Ok(SecretBytes::of(self.profile.expose_toml().as_bytes()))
    }

    /// The location's name, for people.
    pub fn location(&self) -> Result<String, MfagateError> {
        Ok(self.profile.location.to_string())
    }

    /// The location's WireGuard public key, in Base64.
    pub fn location_key(&self) -> Result<String, MfagateError> {
        Ok(self.profile.location_key.to_string())
    }

    /// The device's WireGuard public key, in Base64.
    pub fn public_key(&self) -> Result<String, MfagateError> {
        Ok(self.profile.private_key.public_key().to_string())
    }

    /// The control URLs of the location's gates.
    pub fn control(&self) -> Result<Vec<String>, MfagateError> {
        Ok(self.profile.control.clone())
    }

    /// Where the location's WireGuard listens: a host and a port.
    pub fn endpoint(&self) -> Result<String, MfagateError> {
        Ok(self.profile.endpoint.to_string())
    }

    /// The device's own addresses inside the tunnel, as networks.
    pub fn addresses(&self) -> Result<Vec<String>, MfagateError> {
        Ok(texts(&self.profile.addresses))
    }

    /// What is routed into the tunnel, as networks.
    pub fn allowed_ips(&self) -> Result<Vec<String>, MfagateError> {
        Ok(texts(&self.profile.allowed_ips))
    }

    /// Resolvers inside the tunnel.
    pub fn dns(&self) -> Result<Vec<String>, MfagateError> {
        Ok(texts(&self.profile.dns))
    }

    /// The largest packet inside the tunnel, in bytes.
    pub fn mtu(&self) -> Result<Option<u16>, MfagateError> {
        Ok(self.profile.mtu)
    }

    /// What is to be enrolled first; none where nothing is.
    pub fn enrol(&self) -> Result<Option<EnrolRequest>, MfagateError> {
        Ok(self.enrol.as_ref().map(|request| EnrolRequest {
            kind: request.kind.to_string(),
            label: request.label.to_string(),
            token: request
                .token
                .as_ref()
                .map(|token| SecretBytes::of(token.expose_secret())),
        }))
    }
}

impl Profile {
    pub(crate) const fn core(&self) -> &Arc<CoreProfile> {
        &self.profile
    }

    pub(crate) fn first_enrolment(&self) -> Option<CoreRequest> {
        self.enrol.clone()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("location", &self.profile.location)
            .finish_non_exhaustive()
    }
}

/// A factor to enrol.
#[derive(Debug, Clone, uniffi::Record)]
pub struct EnrolRequest {
    /// Its kind, such as `totp` or `device_key`.
    pub kind: String,
    /// A label for people: "phone".
    pub label: String,
    /// A one-time enrolment token. Without one, the gate asks for the policy's factors first.
    pub token: Option<Arc<SecretBytes>>,
}

impl EnrolRequest {
    /// The core's own, or why it is none.
    pub(crate) fn convert(self) -> Result<CoreRequest, MfagateError> {
        use mfagate::code::ErrorCode;

        let label = self.label.parse().map_err(|error| {
            let error: mfagate::id::ParseLabelError = error;
            MfagateError::fault(error.code(), error.to_string())
        })?;
        let token = self.token.map(|token| {
            crate::response::secret(&token)
                .map_err(|error| MfagateError::fault("token-invalid", error.to_string()))
        });
        Ok(CoreRequest {
            kind: mfagate::assurance::FactorKind::from_string(self.kind),
            label,
            token: token.transpose()?,
        })
    }
}

/// A fresh WireGuard key pair of a device's own: the private half never leaves it.
#[derive(Debug, Clone, uniffi::Record)]
pub struct DeviceIdentity {
    /// The public half, in Base64, for the administrator.
    pub public_key: String,
    /// The private half, in Base64, for the profile.
    pub private_key: Arc<SecretBytes>,
}

/// Makes a key pair.
#[uniffi::export]
pub fn generate_device_identity() -> Result<DeviceIdentity, MfagateError> {
    let key = PrivateKey::generate().map_err(|_| {
        let explanation = "this device gives no random numbers now: try again in a moment";
        MfagateError::fault("randomness-unavailable", explanation)
    })?;
    Ok(DeviceIdentity {
        public_key: key.public_key().to_string(),
        private_key: SecretBytes::of(key.expose_base64().as_bytes()),
    })
}
