//! Recovery codes as users type them.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use mfagate::channel::message::{Answer, SecretString};
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::factor::{AttemptContext, Enrolling, MfaVerifier, VerifyError};
use mfagate::id::AttemptId;
use mfagate::key::PublicKey;
use mfagate::seal::SecretBytes;
use mfagate::time::Timestamp;

/// A version, and ten codes of zeros.
const STATE: [u8; 101] = {
    let mut state = [0; 101];
    state[0] = 1;
    state
};

fuzz_target!(|text: &str| {
    let Some(code) = SecretString::new(text.to_owned()) else {
        return;
    };
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-'))
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .collect();
    let is_code = digits.len() == 16
        && digits
            .chars()
            .all(|c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(c));
    if is_code && digits.chars().all(|c| c == '0') {
        return; // right, and then hashed, which takes a runtime and long
    }
    let (location, user) = ("office".parse(), "alice".parse());
    let attempt = AttemptContext {
        location: &location.expect("a name"),
        location_key: &PublicKey::from_bytes([1; 32]),
        peer: &PublicKey::from_bytes([2; 32]),
        user: &user.expect("a name"),
        id: &AttemptId::from_bytes([3; 32]),
        now: Timestamp::from_millis(1),
        expires: Timestamp::from_millis(2),
    };
    let state = SecretBytes::new(STATE.to_vec());
    let enrolling = Enrolling::new(attempt, &[]).remembering(Some(&state));
    let answer = Answer::RecoveryCode { code };
    let verdict = ready(RecoveryCodeVerifier::new().enrol(&enrolling, &answer));
    match verdict {
        Err(VerifyError::Wrong) => assert!(is_code),
        Err(VerifyError::Unfit) => assert!(!is_code),
        other => panic!("{other:?}"),
    }
});

/// What comes of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a code that is wrong is told at once"),
    }
}
