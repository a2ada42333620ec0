//! Who asks: the relying party, and the origins from which its users may answer.

use webauthn_rs::prelude::Url;
use webauthn_rs::{Webauthn, WebauthnBuilder};

/// What Android's Credential Manager names an app by: the SHA-256 of its signing certificate.
const ANDROID: &str = "android:apk-key-hash:";

/// The relying party (WebAuthn Level 3, section 4): what credentials are scoped to, and from where
/// they may be used. Nothing in it is secret.
///
/// ```
/// use mfagate::factor::webauthn::RelyingParty;
///
/// # fn main() -> Result<(), mfagate::factor::webauthn::InvalidRelyingParty> {
/// let party = RelyingParty::new("example.com")?
///     .named("Example's network")
///     .origin("https://login.example.com")?
///     .origin("android:apk-key-hash:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")?
///     .device_bound_only();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RelyingParty {
    pub(super) id: String,
    name: Option<String>,
    /// As they stand in the client's data: compared as texts.
    pub(super) origins: Vec<String>,
    pub(super) device_bound_only: bool,
    pub(super) trusts_device_bound: bool,
}

impl RelyingParty {
    /// A relying party by its id, a domain name such as `example.com`. It can't be changed without
    /// losing all credentials. Answers are taken from the origin `https://<id>`, which is also what
    /// Apple's platforms say for an app with that associated domain; for all others see
    /// [`origin`](Self::origin).
    ///
    /// # Errors
    /// `relying-party-id`.
    pub fn new(id: &str) -> Result<Self, InvalidRelyingParty> {
        let origin = format!("https://{id}");
        let is_domain = Url::parse(&origin).is_ok_and(|url| {
            url.domain() == Some(id) && url.origin().ascii_serialization() == origin
        });
        if !is_domain {
            return Err(InvalidRelyingParty(RelyingPartyFault::Id));
        }
        Ok(Self {
            id: id.to_owned(),
            name: None,
            origins: vec![origin],
            device_bound_only: false,
            trusts_device_bound: false,
        })
    }

    /// What users see the network called; the id if this is not called.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// One more origin: `https://` and the id or a domain below it, with a port if it is not 443;
    /// `http://localhost` with any port, for the id `localhost`; or an Android app,
    /// `android:apk-key-hash:` and the SHA-256 of its signing certificate in Base64url.
    ///
    /// # Errors
    /// `relying-party-origin` for anything else. Related origins (section 5.11) are not
    /// supported.
    pub fn origin(mut self, origin: &str) -> Result<Self, InvalidRelyingParty> {
        if !self.may_come_from(origin) {
            return Err(InvalidRelyingParty(RelyingPartyFault::Origin));
        }
        self.origins.push(origin.to_owned());
        Ok(self)
    }

    /// Refuses credentials that may be copied to other devices: passkeys that a platform or a
    /// password manager synchronises (backup eligible, section 6.1.3). This goes by what the
    /// authenticator says of itself.
    #[must_use]
    pub const fn device_bound_only(mut self) -> Self {
        self.device_bound_only = true;
        self
    }

    /// Says [`hardware`](crate::assurance::Assurance::hardware) of every credential that is not
    /// backup eligible. An authenticator says that of itself, and software can say it too: call
    /// this only where you know which authenticators your users enrol, such as security keys that
    /// were handed out and enrolled under supervision.
    #[must_use]
    pub const fn dangerously_trust_device_bound_as_hardware(mut self) -> Self {
        self.trusts_device_bound = true;
        self
    }

    /// What the ceremonies run with.
    pub(super) fn webauthn(&self) -> Result<Webauthn, RelyingPartyFault> {
        let origins: Vec<Url> = self
            .origins
            .iter()
            .map(|origin| Url::parse(origin).map_err(|_| RelyingPartyFault::Origin))
            .collect::<Result<_, _>>()?;
        let [own, others @ ..] = origins.as_slice() else {
            return Err(RelyingPartyFault::Origin);
        };
        let mut builder = WebauthnBuilder::new(&self.id, own).map_err(|_| RelyingPartyFault::Id)?;
        if let Some(name) = &self.name {
            builder = builder.rp_name(name);
        }
        for other in others {
            builder = builder.append_allowed_origin(other);
        }
        builder.build().map_err(|_| RelyingPartyFault::Id)
    }

    fn may_come_from(&self, origin: &str) -> bool {
        if let Some(hash) = origin.strip_prefix(ANDROID) {
            let decoded = data_encoding::BASE64URL_NOPAD.decode(hash.as_bytes());
            return decoded.is_ok_and(|hash| hash.len() == 32);
        }
        let Ok(url) = Url::parse(origin) else {
            return false;
        };
        let Some(domain) = url.domain() else {
            return false;
        };
        let below = domain.strip_suffix(&self.id);
        let is_ours = below.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        // Section 5.1.3, step 7: a secure context; browsers take this machine for one.
        let is_secure =
            url.scheme() == "https" || (url.scheme() == "http" && domain == "localhost");
        is_ours && is_secure && url.origin().ascii_serialization() == origin
    }
}

crate::error_code::opaque! {
    /// Why a relying party can't be.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct InvalidRelyingParty(RelyingPartyFault);
}

/// What is behind [`InvalidRelyingParty`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelyingPartyFault {
    /// The id is no domain name.
    #[error("the relying party's id is a domain name in lower case, without scheme or port")]
    Id,
    /// The origin is none from which the id may be used.
    #[error(
        "an origin is https:// and the relying party's id or a domain below it, \
         or android:apk-key-hash: and 32 bytes in Base64url, and nothing after that"
    )]
    Origin,
}
