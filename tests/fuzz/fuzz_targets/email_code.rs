//! What a gate remembers of a code that it sent, and a code that is typed: the code, a line end,
//! and the state.
#![no_main]

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Poll, Waker};

use libfuzzer_sys::fuzz_target;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::Answer;
use mfagate::factor::email_code::{CodeSender, EmailAddress, EmailCodeVerifier, Letter, SendError};
use mfagate::factor::{AttemptContext, Context, MfaVerifier};
use mfagate::id::{AttemptId, FactorId, LocationId, UserId};
use mfagate::key::PublicKey;
use mfagate::policy::Failures;
use mfagate::seal::{Sealed, SecretBytes};
use mfagate::store::{FactorRecord, FactorState};
use mfagate::time::Timestamp;

struct Nowhere;

#[async_trait::async_trait]
impl CodeSender for Nowhere {
    async fn send(&self, _: &Letter<'_>) -> Result<(), SendError> {
        Ok(())
    }
}

static VERIFIER: LazyLock<EmailCodeVerifier> =
    LazyLock::new(|| EmailCodeVerifier::new(Arc::new(Nowhere)).expect("randomness"));

fuzz_target!(|bytes: &[u8]| {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (code, state) = (&bytes[..at], &bytes[at + 1..]);
    let Some(code) = std::str::from_utf8(code)
        .ok()
        .and_then(|code| code.parse().ok())
    else {
        return;
    };
    let address: EmailAddress = "alice@example.com".parse().expect("an address");
    let user: UserId = "alice".parse().expect("a name");
    let location: LocationId = "office".parse().expect("a name");
    let factor = FactorRecord {
        id: FactorId::from_bytes([1; 16]),
        user: user.clone(),
        kind: FactorKind::EMAIL_CODE,
        label: "a label".parse().unwrap(),
        credential: None,
        sealed: Sealed::from_bytes(Vec::new()),
        state: FactorState::Active,
        last_counter: None,
        failures: Failures::default(),
    };
    let attempt = AttemptContext {
        location: &location,
        location_key: &PublicKey::from_bytes([4; 32]),
        peer: &PublicKey::from_bytes([1; 32]),
        user: &user,
        id: &AttemptId::from_bytes([3; 32]),
        now: Timestamp::from_millis(0),
        expires: Timestamp::from_millis(u64::MAX),
    };
    let (secret, state) = (address.to_secret(), SecretBytes::new(state.to_vec()));
    let context = Context::new(attempt, &factor, &secret).remembering(Some(&state));
    // The verifier's key is made again in each run: no one knows a state that is right.
    let verdict = ready(VERIFIER.verify(&context, &Answer::Code { code }));
    assert!(verdict.is_err(), "a state was forged");
});

/// What comes of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the verifier waits for nothing"),
    }
}
