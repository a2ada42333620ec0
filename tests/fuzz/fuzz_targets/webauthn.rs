//! Credentials as a client answers them, to sign in and to enrol; what a store may hand out as a
//! passkey's record, and a verifier's memory. A byte that says which, eight of time, and then the
//! parts, each but the last after its length in two bytes.
#![no_main]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Poll, Waker};

use libfuzzer_sys::fuzz_target;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, SecretString};
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::factor::{AttemptContext, Context, Enrolling, MfaVerifier, Registration, Verdict};
use mfagate::id::{AttemptId, FactorId, LocationId, UserId};
use mfagate::key::PublicKey;
use mfagate::policy::Failures;
use mfagate::prove::webauthn::{AssertionOptions, CreationOptions, public_key};
use mfagate::seal::{Sealed, SecretBytes};
use mfagate::store::{FactorRecord, FactorState};
use mfagate::time::Timestamp;
use serde_json::Value;

const ORIGIN: &str = "https://gate.example.com";
const LOCATION: PublicKey = PublicKey::from_bytes([4; 32]);
const PEER: PublicKey = PublicKey::from_bytes([1; 32]);
const ATTEMPT: AttemptId = AttemptId::from_bytes([3; 32]);

/// Present and verified.
const USER: u8 = 0b101;

static VERIFIER: LazyLock<WebAuthnVerifier> = LazyLock::new(|| {
    let party = RelyingParty::new("gate.example.com").expect("a domain");
    WebAuthnVerifier::new(party).expect("a relying party")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    if *which == b'o' {
        return options(rest);
    }
    let Some((now, mut rest)) = rest.split_first_chunk() else {
        return;
    };
    let now = Timestamp::from_millis(u64::from_le_bytes(*now));
    match which {
        b's' => {
            if let (Some(secret), Some(state)) = (part(&mut rest), part(&mut rest)) {
                sign_in(now, secret, state, rest);
            }
        }
        b'e' => {
            if let Some(state) = part(&mut rest) {
                enrol(now, state, rest);
            }
        }
        _ => {}
    }
});

/// A gate's options, as a client takes them.
fn options(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let inner = public_key(text);
    if AssertionOptions::parse(text).is_ok() || CreationOptions::parse(text).is_ok() {
        inner.expect("what is read has an inside");
    }
}

fn sign_in(now: Timestamp, secret: &[u8], state: &[u8], credential: &[u8]) {
    let Some(credential) = hidden(credential) else {
        return;
    };
    let names = Names::new();
    let (secret, memory) = (
        SecretBytes::new(secret.to_vec()),
        SecretBytes::new(state.to_vec()),
    );
    let answer = Answer::WebAuthn {
        credential: credential.clone(),
    };
    let context = Context::new(names.attempt(now), &names.factor, &secret);
    let verdict = ready(VERIFIER.verify(&context.remembering(Some(&memory)), &answer));
    if let Ok(Verdict::Proven(proof)) = verdict {
        assert!(proof.assurance.user_verified && !proof.assurance.hardware);
        let response = response_of(&credential);
        assert_from_here(&response);
        let data = decoded(&response["authenticatorData"]);
        assert_eq!(data.get(32).map(|flags| flags & USER), Some(USER));
        // What was asked for once can be asked for again.
        let kept = proof.replace_secret.as_ref().unwrap_or(&secret);
        let again = Context::new(names.attempt(now), &names.factor, kept);
        ready(VERIFIER.challenge(&again)).expect("a record that was written reads");
    }
}

fn enrol(now: Timestamp, state: &[u8], credential: &[u8]) {
    let Some(credential) = hidden(credential) else {
        return;
    };
    let names = Names::new();
    let memory = SecretBytes::new(state.to_vec());
    let answer = Answer::RegisterWebAuthn {
        credential: credential.clone(),
    };
    let enrolling = Enrolling::new(names.attempt(now), &[]).remembering(Some(&memory));
    let verdict = ready(VERIFIER.enrol(&enrolling, &answer));
    if let Ok(Registration::Proven(enrolled)) = verdict {
        assert!(enrolled.id.is_some(), "no one else's");
        assert_from_here(&response_of(&credential));
        let context = Context::new(names.attempt(now), &names.factor, &enrolled.secret);
        ready(VERIFIER.challenge(&context)).expect("a record that was written reads");
    }
}

fn response_of(credential: &SecretString) -> Value {
    let credential: Value = serde_json::from_str(credential.expose_secret()).expect("JSON");
    credential["response"].clone()
}

fn assert_from_here(response: &Value) {
    let data = decoded(&response["clientDataJSON"]);
    let data: Value = serde_json::from_slice(&data).expect("JSON");
    assert_eq!(data["origin"], ORIGIN);
    assert_ne!(data["crossOrigin"], true);
}

fn decoded(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("a text");
    data_encoding::BASE64URL_NOPAD
        .decode(text.as_bytes())
        .expect("Base64url")
}

fn hidden(text: &[u8]) -> Option<SecretString> {
    SecretString::new(std::str::from_utf8(text).ok()?.to_owned())
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (part, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = after;
    Some(part)
}

/// Who is in the attempt.
struct Names {
    location: LocationId,
    user: UserId,
    factor: FactorRecord,
}

impl Names {
    fn new() -> Self {
        let user: UserId = "alice".parse().expect("a name");
        Self {
            location: "office".parse().expect("a name"),
            factor: FactorRecord {
                id: FactorId::from_bytes([1; 16]),
                user: user.clone(),
                kind: FactorKind::WEBAUTHN,
                label: "a label".parse().unwrap(),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
            user,
        }
    }

    /// An attempt that lasts for as long as time does, so that only what is answered decides.
    fn attempt(&self, now: Timestamp) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: &LOCATION,
            peer: &PEER,
            user: &self.user,
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
        Poll::Pending => unreachable!("the verifier waits for nothing"),
    }
}
