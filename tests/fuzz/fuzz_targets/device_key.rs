//! Answers to a device key's challenges, to sign in and to enrol; what a store may hand out as its
//! secret, and a verifier's memory; public keys and signatures. A byte that says which, eight of
//! time, and then the parts, each but the last after its length in two bytes.
#![no_main]

use std::pin::pin;
use std::task::{Poll, Waker};

use libfuzzer_sys::fuzz_target;
use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Purpose;
use mfagate::channel::message::{Answer, Nonce};
use mfagate::factor::device_key::{DeviceKey, DeviceKeyVerifier};
use mfagate::factor::{AttemptContext, Context, Enrolling, MfaVerifier, Registration, Verdict};
use mfagate::id::{AttemptId, FactorId};
use mfagate::key::PublicKey;
use mfagate::policy::Failures;
use mfagate::seal::{Sealed, SecretBytes};
use mfagate::signature::{Signature, VerifyingKey};
use mfagate::store::{FactorRecord, FactorState};
use mfagate::time::Timestamp;

const LOCATION: PublicKey = PublicKey::from_bytes([1; 32]);
const PEER: PublicKey = PublicKey::from_bytes([2; 32]);
const ATTEMPT: AttemptId = AttemptId::from_bytes([3; 32]);

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    match which {
        b'k' => public_key(rest),
        b'd' => der(rest),
        b's' | b'e' => {
            let Some((now, mut rest)) = rest.split_first_chunk() else {
                return;
            };
            let now = Timestamp::from_millis(u64::from_le_bytes(*now));
            if *which == b's' {
                let (Some(secret), Some(state)) = (part(&mut rest), part(&mut rest)) else {
                    return;
                };
                sign_in(now, secret, state, rest);
            } else if let Some(state) = part(&mut rest) {
                enrol(now, state, rest);
            }
        }
        _ => {}
    }
});

/// A key that is read is written in one way only.
fn public_key(der: &[u8]) {
    if let Ok(key) = VerifyingKey::from_spki(der) {
        let again = VerifyingKey::from_spki(key.spki()).expect("what was written reads");
        assert_eq!(again.fingerprint(), key.fingerprint());
    }
}

fn der(bytes: &[u8]) {
    if let Ok(signature) = Signature::from_der(bytes) {
        let again = Signature::from_base64(&signature.to_base64());
        assert_eq!(again, Ok(signature));
    }
}

fn sign_in(now: Timestamp, secret: &[u8], state: &[u8], answer: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
        return;
    };
    let names = Names::new();
    let (secret, memory) = (
        SecretBytes::new(secret.to_vec()),
        SecretBytes::new(state.to_vec()),
    );
    let context = Context::new(names.attempt(now), &names.factor, &secret);
    let verifier = DeviceKeyVerifier::new();
    let verdict = ready(verifier.verify(&context.remembering(Some(&memory)), &answer));
    if let Ok(Verdict::Proven(_)) = verdict {
        let key = DeviceKey::from_secret(&secret).expect("a key that signed");
        let Answer::Signature { signature } = answer else {
            unreachable!("no other answer is a signature")
        };
        assert_signed(now, key.verifying_key(), Purpose::SignIn, state, &signature);
    }
}

fn enrol(now: Timestamp, state: &[u8], answer: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
        return;
    };
    let names = Names::new();
    let memory = SecretBytes::new(state.to_vec());
    let enrolling = Enrolling::new(names.attempt(now), &[]).remembering(Some(&memory));
    let verdict = ready(DeviceKeyVerifier::new().enrol(&enrolling, &answer));
    if let Ok(Registration::Proven(credential)) = verdict {
        let key = DeviceKey::from_secret(&credential.secret).expect("what was stored reads");
        assert_eq!(credential.id, key.credential_id());
        let Answer::RegisterKey { signature, .. } = answer else {
            unreachable!("no other answer is a registration")
        };
        assert_signed(now, key.verifying_key(), Purpose::Enrol, state, &signature);
    }
}

/// What was taken is a signature by this key, over what was remembered, in time.
fn assert_signed(
    now: Timestamp,
    key: &VerifyingKey,
    purpose: Purpose,
    state: &[u8],
    signature: &str,
) {
    let (nonce, expires_at) = state[2..].split_at(32);
    let nonce = Nonce::from_bytes(nonce.try_into().expect("32 bytes"));
    let expires_at = u64::from_be_bytes(expires_at.try_into().expect("8 bytes"));
    let expires_at = Timestamp::from_millis(expires_at);
    assert!(now < expires_at);
    let names = Names::new();
    let message = names
        .attempt(now)
        .binding()
        .signed_message(purpose, &nonce, expires_at);
    let signature = Signature::from_base64(signature).expect("a signature");
    assert!(key.verifies(&message, &signature));
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (part, after) = after.split_at_checked(u16::from_le_bytes(*len).into())?;
    *rest = after;
    Some(part)
}

/// Who asks, and for what.
struct Names {
    location: mfagate::id::LocationId,
    factor: FactorRecord,
}

impl Names {
    fn new() -> Self {
        Self {
            location: "office".parse().expect("a name"),
            factor: FactorRecord {
                id: FactorId::from_bytes([4; 16]),
                user: "alice".parse().expect("a name"),
                kind: FactorKind::DEVICE_KEY,
                label: "a label".parse().unwrap(),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
        }
    }

    fn attempt(&self, now: Timestamp) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: &LOCATION,
            peer: &PEER,
            user: &self.factor.user,
            id: &ATTEMPT,
            now,
            expires: Timestamp::from_millis(u64::MAX),
        }
    }
}

/// What comes of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a signature is judged at once"),
    }
}
