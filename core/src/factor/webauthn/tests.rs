//! Against an authenticator that shares no code with the verifier.

mod assertion;
mod forged;
mod party;
mod registration;
mod seeds;

use super::*;
use crate::channel::message::SecretString;
use crate::id::{AttemptId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::passkey::{self, SoftwareKey};
use crate::policy::Failures;
use crate::seal::{Sealed, SecretBytes};
use crate::store::{FactorRecord, FactorState};
use crate::time::Timestamp;

const ORIGIN: &str = "https://gate.example.com";
const NOW: Timestamp = Timestamp::from_millis(1_767_225_615_000);
const EXPIRES: Timestamp = Timestamp::from_millis(1_767_225_915_000);

fn party() -> RelyingParty {
    RelyingParty::new("gate.example.com").unwrap()
}

fn verifier() -> WebAuthnVerifier {
    WebAuthnVerifier::new(party()).unwrap()
}

/// An attempt, and who is in it.
struct Attempt {
    location: LocationId,
    location_key: PublicKey,
    peer: PublicKey,
    user: UserId,
    id: AttemptId,
    now: Timestamp,
}

impl Attempt {
    fn of(user: &str) -> Self {
        Self {
            location: "office".parse().unwrap(),
            location_key: PublicKey::from_bytes([4; 32]),
            peer: PublicKey::from_bytes([1; 32]),
            user: user.parse().unwrap(),
            id: AttemptId::generate().unwrap(),
            now: NOW,
        }
    }

    fn attempt(&self) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: &self.location_key,
            peer: &self.peer,
            user: &self.user,
            id: &self.id,
            now: self.now,
            expires: EXPIRES,
        }
    }

    async fn challenge(
        &self,
        verifier: &WebAuthnVerifier,
        factor: &Factor,
    ) -> (String, SecretBytes) {
        let asked = verifier.challenge(&factor.context(self, None)).await;
        let asked = asked.unwrap();
        let Challenge::WebAuthn { options } = asked.challenge else {
            panic!("{asked:?}");
        };
        (options, asked.state.unwrap())
    }

    async fn verify(
        &self,
        verifier: &WebAuthnVerifier,
        factor: &Factor,
        state: &SecretBytes,
        credential: &str,
    ) -> Result<Proof, VerifyError> {
        let answer = Answer::WebAuthn {
            credential: SecretString::new(credential.to_owned()).unwrap(),
        };
        let context = factor.context(self, Some(state));
        match verifier.verify(&context, &answer).await? {
            Verdict::Proven(proof) => Ok(*proof),
            asked @ Verdict::Ask(_) => panic!("{asked:?}"),
        }
    }

    async fn register(
        &self,
        verifier: &WebAuthnVerifier,
        factors: &[FactorRecord],
    ) -> (String, SecretBytes) {
        let enrolling = Enrolling {
            attempt: self.attempt(),
            factors,
            state: None,
        };
        let asked = verifier.register(&enrolling).await.unwrap();
        let Challenge::RegisterWebAuthn { options } = asked.challenge else {
            panic!("{asked:?}");
        };
        (options, asked.state.unwrap())
    }

    async fn enrol(
        &self,
        verifier: &WebAuthnVerifier,
        factors: &[FactorRecord],
        state: &SecretBytes,
        credential: &str,
    ) -> Result<Credential, VerifyError> {
        let answer = Answer::RegisterWebAuthn {
            credential: SecretString::new(credential.to_owned()).unwrap(),
        };
        let enrolling = Enrolling {
            attempt: self.attempt(),
            factors,
            state: Some(state),
        };
        match verifier.enrol(&enrolling, &answer).await? {
            Registration::Proven(credential) => Ok(credential),
            asked @ Registration::Ask(_) => panic!("{asked:?}"),
        }
    }
}

/// An enrolled factor.
struct Factor {
    record: FactorRecord,
    secret: SecretBytes,
}

impl Factor {
    fn new(user: &UserId, credential: Credential) -> Self {
        Self {
            record: FactorRecord {
                id: FactorId::generate().unwrap(),
                user: user.clone(),
                kind: FactorKind::WEBAUTHN,
                label: "key".parse().unwrap(),
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
                credential: credential.id,
            },
            secret: credential.secret,
        }
    }

    fn context<'a>(&'a self, attempt: &'a Attempt, state: Option<&'a SecretBytes>) -> Context<'a> {
        Context {
            attempt: attempt.attempt(),
            factor: &self.record,
            secret: &self.secret,
            state,
        }
    }
}

/// Enrols a key of a user's.
async fn enrolled(verifier: &WebAuthnVerifier, user: &str, key: &SoftwareKey) -> Factor {
    let attempt = Attempt::of(user);
    let (options, state) = attempt.register(verifier, &[]).await;
    let created = key.create(&options).await.unwrap();
    let credential = attempt.enrol(verifier, &[], &state, &created).await;
    Factor::new(&attempt.user, credential.unwrap())
}

/// Enrols a key that says of itself what these flags say.
async fn enrolled_as(verifier: &WebAuthnVerifier, key: &SoftwareKey, flags: u8) -> Factor {
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.register(verifier, &[]).await;
    let created = key.create_as(&options, vec![7; 32], flags).await;
    let credential = attempt.enrol(verifier, &[], &state, &created).await;
    Factor::new(&attempt.user, credential.unwrap())
}
