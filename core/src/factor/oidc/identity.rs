//! Whose login a factor takes: an identity at a provider.

use std::fmt;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::error::{OidcFault, TokenFault};
use super::token::Login;
use crate::factor::persisted;
use crate::id::CredentialId;
use crate::seal::SecretBytes;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"mfagate/1 openid identity\0";

/// An identity at an OpenID provider: what a factor of the kind `oidc` keeps. Nothing in it lets
/// anybody log in.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    version: u8,
    issuer: String,
    holder: Holder,
}

/// Who it is there.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holder {
    /// A person, for good: subjects are never given to someone else (OpenID Connect Core, section
    /// 2).
    Subject(String),
    /// The person who is the first to log in with this address, verified.
    Email(String),
    /// A workload, which brings a token instead of logging in.
    Workload(String),
}

impl Identity {
    /// A person by the subject (`sub`) that the provider's tokens have.
    pub fn subject(issuer: &str, subject: &str) -> Self {
        Self::new(issuer, Holder::Subject(subject.to_owned()))
    }

    /// A person by an e-mail address that the provider has verified. The first login pins the
    /// subject; from then on the address is of no matter. Anyone who controls the address at the
    /// provider before then is the user: bind by subject where that is known.
    pub fn email(issuer: &str, email: &str) -> Self {
        Self::new(issuer, Holder::Email(email.to_owned()))
    }

    /// A workload by its subject.
    pub fn workload(issuer: &str, subject: &str) -> Self {
        Self::new(issuer, Holder::Workload(subject.to_owned()))
    }

    fn new(issuer: &str, holder: Holder) -> Self {
        Self {
            version: VERSION,
            issuer: issuer.to_owned(),
            holder,
        }
    }

    /// The provider.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What makes the identity unlike all others: a digest of issuer and subject, or of issuer and
    /// address. It is the same whether a subject is a person or a workload.
    ///
    /// # Panics
    /// Never: a digest is neither empty nor long.
    pub fn credential(&self) -> CredentialId {
        let (what, who) = match &self.holder {
            Holder::Subject(subject) | Holder::Workload(subject) => ("sub", subject.clone()),
            Holder::Email(email) => ("email", email.to_ascii_lowercase()),
        };
        let mut digest = Sha256::new_with_prefix(LABEL);
        for part in [what, &self.issuer, &who] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        CredentialId::new(digest.finalize().to_vec())
            .unwrap_or_else(|| unreachable!("32 bytes are a credential's id"))
    }

    /// What the store keeps, once sealed.
    pub fn to_secret(&self) -> SecretBytes {
        let (name, who) = match &self.holder {
            Holder::Subject(subject) => ("subject", subject),
            Holder::Email(email) => ("email", email),
            Holder::Workload(subject) => ("workload", subject),
        };
        let kept =
            json!({ "version": self.version, "issuer": self.issuer, "holder": { name: who } });
        SecretBytes::new(kept.to_string().into_bytes())
    }

    pub(super) fn read(secret: &SecretBytes) -> Result<Self, OidcFault> {
        let identity: Self = persisted::read(secret).map_err(|_| OidcFault::Unreadable)?;
        (identity.version == VERSION)
            .then_some(identity)
            .ok_or(OidcFault::Unreadable)
    }

    pub(super) const fn is_workload(&self) -> bool {
        matches!(self.holder, Holder::Workload(_))
    }

    /// Whether a login is this identity's, and what the identity is from now on if that changes.
    pub(super) fn admit(&self, login: &Login) -> Result<Option<Self>, TokenFault> {
        if login.issuer != self.issuer {
            return Err(TokenFault::Issuer);
        }
        match &self.holder {
            Holder::Subject(subject) | Holder::Workload(subject) if *subject == login.subject => {
                Ok(None)
            }
            Holder::Subject(_) | Holder::Workload(_) => Err(TokenFault::Subject),
            Holder::Email(email) => {
                let verified = login.verified_email.as_ref().ok_or(TokenFault::Email)?;
                if !verified.eq_ignore_ascii_case(email) {
                    return Err(TokenFault::Email);
                }
                Ok(Some(Self::subject(&self.issuer, &login.subject)))
            }
        }
    }
}

impl fmt::Debug for Identity {
    /// Without the person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
