//! What a verifier is told, as data that outlives the call: for verifiers that run in another
//! language or another process, which can't hold borrowed fields.
//!
//! The secrets are zeroized on drop and never printed. Serialising exposes them, in Base64: what
//! comes out is the caller's to protect and to wipe.

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{AttemptContext, Context, Enrolling};
use crate::assurance::FactorKind;
use crate::id::{AttemptId, CredentialId, FactorId, Label, LocationId, UserId};
use crate::key::PublicKey;
use crate::seal::SecretBytes;
use crate::store::FactorRecord;
use crate::time::Timestamp;

/// The owned form of a [`Context`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OwnedVerifierContext {
    /// Where the peer wants in, and by which peer.
    pub attempt: OwnedAttemptContext,
    /// The enrolled factor.
    pub factor: OwnedFactor,
    /// The factor's secret, opened.
    #[serde(with = "secret")]
    pub secret: SecretBytes,
    /// What the verifier asked to remember when it asked; `None` while it is to ask.
    #[serde(with = "optional_secret")]
    pub state: Option<SecretBytes>,
}

/// The owned form of an [`Enrolling`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OwnedEnrolContext {
    /// Where, and by which peer.
    pub attempt: OwnedAttemptContext,
    /// The factors that the user has.
    pub factors: Vec<OwnedFactor>,
    /// What the verifier asked to remember when it asked; `None` while it is to ask.
    #[serde(with = "optional_secret")]
    pub state: Option<SecretBytes>,
}

/// The owned form of an [`AttemptContext`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OwnedAttemptContext {
    /// Where the peer wants in.
    pub location: LocationId,
    /// The location's public key, which clients know it by.
    pub location_key: PublicKey,
    /// The peer that wants in.
    pub peer: PublicKey,
    /// Its owner.
    pub user: UserId,
    /// The run of the ceremony.
    pub id: AttemptId,
    /// The wall clock of the gate.
    pub now: Timestamp,
    /// When the attempt is over.
    pub expires: Timestamp,
}

/// What a verifier may know of an enrolled factor. The sealed secret is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OwnedFactor {
    /// Its id.
    pub id: FactorId,
    /// Its owner.
    pub user: UserId,
    /// Its kind.
    pub kind: FactorKind,
    /// A label for people: "phone".
    pub label: Label,
    /// What makes it unlike all others of its kind, where it has such a thing.
    #[serde(with = "credential")]
    pub credential: Option<CredentialId>,
    /// The greatest counter used so far.
    pub last_counter: Option<u64>,
}

impl From<&Context<'_>> for OwnedVerifierContext {
    fn from(context: &Context<'_>) -> Self {
        Self {
            attempt: (&context.attempt).into(),
            factor: context.factor.into(),
            secret: context.secret.clone(),
            state: context.state.cloned(),
        }
    }
}

impl From<&Enrolling<'_>> for OwnedEnrolContext {
    fn from(enrolling: &Enrolling<'_>) -> Self {
        Self {
            attempt: (&enrolling.attempt).into(),
            factors: enrolling.factors.iter().map(OwnedFactor::from).collect(),
            state: enrolling.state.cloned(),
        }
    }
}

impl From<&AttemptContext<'_>> for OwnedAttemptContext {
    fn from(attempt: &AttemptContext<'_>) -> Self {
        Self {
            location: attempt.location.clone(),
            location_key: *attempt.location_key,
            peer: *attempt.peer,
            user: attempt.user.clone(),
            id: *attempt.id,
            now: attempt.now,
            expires: attempt.expires,
        }
    }
}

impl OwnedAttemptContext {
    /// The same, borrowed: for [`AttemptContext::binding`].
    pub const fn borrow(&self) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: &self.location_key,
            peer: &self.peer,
            user: &self.user,
            id: &self.id,
            now: self.now,
            expires: self.expires,
        }
    }
}

impl From<&FactorRecord> for OwnedFactor {
    fn from(factor: &FactorRecord) -> Self {
        Self {
            id: factor.id,
            user: factor.user.clone(),
            kind: factor.kind.clone(),
            label: factor.label.clone(),
            credential: factor.credential.clone(),
            last_counter: factor.last_counter,
        }
    }
}

/// A secret as Base64. Both the text and the bytes of a failure are wiped here.
mod secret {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        secret: &SecretBytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(BASE64.encode(secret.expose_secret()));
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretBytes, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        decode(&text)
    }
}

mod optional_secret {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<SecretBytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => secret::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretBytes>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.map(Zeroizing::new);
        text.map(|text| decode(&text)).transpose()
    }
}

fn decode<E: serde::de::Error>(text: &str) -> Result<SecretBytes, E> {
    // The crate's own words would repeat a byte of the secret.
    let bytes = BASE64.decode(text.as_bytes());
    bytes
        .map(SecretBytes::new)
        .map_err(|_| E::custom("a secret is not Base64"))
}

mod credential {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        credential: &Option<CredentialId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = credential.as_ref().map(|id| BASE64.encode(id.as_bytes()));
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<CredentialId>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let bytes = BASE64.decode(text.as_bytes()).ok();
        let id = bytes.and_then(CredentialId::new);
        let wrong = || serde::de::Error::custom("a credential is not 1 to 1023 bytes of Base64");
        id.map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Failures;
    use crate::seal::Sealed;
    use crate::store::FactorState;

    fn owned(secret: &SecretBytes, state: Option<&SecretBytes>) -> OwnedVerifierContext {
        let factor = FactorRecord {
            id: FactorId::from_bytes([1; 16]),
            user: "alice".parse().unwrap(),
            kind: FactorKind::TOTP,
            label: "phone".parse().unwrap(),
            credential: CredentialId::new(vec![7, 8]),
            sealed: Sealed::from_bytes(Vec::new()),
            state: FactorState::Active,
            last_counter: Some(41),
            failures: Failures::default(),
        };
        let attempt = AttemptContext {
            location: &"office".parse().unwrap(),
            location_key: &PublicKey::from_bytes([2; 32]),
            peer: &PublicKey::from_bytes([3; 32]),
            user: &factor.user,
            id: &AttemptId::from_bytes([4; 32]),
            now: Timestamp::from_millis(1000),
            expires: Timestamp::from_millis(2000),
        };
        let context = Context::new(attempt, &factor, secret).remembering(state);
        OwnedVerifierContext::from(&context)
    }

    #[test]
    fn an_owned_context_comes_back_as_it_was_written() {
        let (secret, state) = (SecretBytes::new(vec![9; 20]), SecretBytes::new(vec![6; 3]));
        for state in [None, Some(&state)] {
            let context = owned(&secret, state);
            let json = serde_json::to_string(&context).unwrap();
            let back: OwnedVerifierContext = serde_json::from_str(&json).unwrap();
            assert_eq!(back, context);
            assert!(back.secret == secret && back.state.as_ref() == state);
        }
    }

    #[test]
    fn an_owned_context_prints_no_secret_and_neither_does_its_error() {
        let context = owned(&SecretBytes::new(b"hunter22".to_vec()), None);
        assert!(!format!("{context:?}").contains("104, 117"));

        let json = serde_json::to_string(&context).unwrap();
        let altered = json.replace("aHVudGVyMjI=", "hunter!!");
        let error = serde_json::from_str::<OwnedVerifierContext>(&altered).unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}
