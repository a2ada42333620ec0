//! Answers to a one-time password's challenge, and what a store may hand out as its secret: eight
//! bytes of time, a length, the secret, and the code.
#![no_main]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfagate::code::ErrorCode;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::channel::message::Code;
use mfagate::enrol::{EnrolError, Registrar};
use mfagate::factor::totp::TotpSecret;
use mfagate::id::{FactorId, UserId};
use mfagate::policy::Failures;
use mfagate::seal::{KeyRing, RingKey, AssociatedData, Sealed, SecretBytes};
use mfagate::store::{AdminStore, FactorRecord, FactorState, MemoryStore, PeerStore, User};
use mfagate::time::{Clock, Instant, Now, Timestamp};

fuzz_target!(|bytes: &[u8]| {
    let Some((millis, rest)) = bytes.split_first_chunk() else {
        return;
    };
    // Up to the year 146,000,000: at the very end of time there is no next step.
    let at = Timestamp::from_millis(u64::from_le_bytes(*millis) / 4);
    let Some((len, rest)) = rest.split_first() else {
        return;
    };
    let Some((secret, code)) = rest.split_at_checked(usize::from(*len)) else {
        return;
    };
    let code = std::str::from_utf8(code).ok().and_then(|c| c.parse().ok());
    if let Some(code) = code {
        judge(at, secret, code);
    }
});

fn judge(at: Timestamp, secret: &[u8], code: Code) {
    let totp = TotpSecret::from_secret(&SecretBytes::new(secret.to_vec()));
    let expected = match (totp, secret) {
        (Ok(totp), [_, _, _, high, low, ..]) => {
            let period = u64::from(u16::from_be_bytes([*high, *low]));
            Some(step_of(&totp, at, Duration::from_secs(period), &code))
        }
        _ => None,
    };
    let verdict = ready(confirm(at, secret, code));
    match expected {
        None => assert!(matches!(&verdict, Err(error) if error.code() == "enrol-unreadable")),
        Some(None) => assert!(matches!(&verdict, Err(error) if error.code() == "enrol-wrong-code")),
        Some(step) => assert_eq!(verdict.expect("the code is right"), step),
    }
}

/// The greatest of the steps in reach that have this code.
fn step_of(totp: &TotpSecret, at: Timestamp, period: Duration, code: &Code) -> Option<u64> {
    let mut times = [at + period, at, at - period].into_iter();
    let right = times.find(|time| totp.code(*time).ok().as_ref() == Some(code));
    right.map(|time| totp.step(time))
}

/// Confirms an enrolment with the code: the step that it took.
async fn confirm(at: Timestamp, secret: &[u8], code: Code) -> Result<Option<u64>, EnrolError> {
    let ring = KeyRing::new(
        "ring".parse().expect("a name"),
        RingKey::from_bytes([7; 32]),
    );
    let store = Arc::new(MemoryStore::new());
    let user: UserId = "alice".parse().expect("a name");
    let id = FactorId::from_bytes([1; 16]);
    let event = || AuditEvent::new(at, AuditKind::FactorActivated);
    let (name, enabled) = (user.clone(), true);
    let groups = Vec::new();
    store
        .put_user(
            User {
                id: name,
                enabled,
                groups,
            },
            event(),
        )
        .await?;
    let mut factor = FactorRecord {
        id,
        user: user.clone(),
        kind: FactorKind::TOTP,
        label: "a label".parse().unwrap(),
        credential: None,
        sealed: Sealed::from_bytes(Vec::new()),
        state: FactorState::Pending,
        last_counter: None,
        failures: Failures::default(),
    };
    factor.sealed = ring.seal(&AssociatedData::from(&factor), secret)?;
    store.add_factor(factor, event()).await?;

    let registrar = Registrar::new(Arc::clone(&store) as _, ring, Arc::new(Still(at)));
    registrar.confirm_totp(&user, id, code).await?;
    Ok(store.factors(&user).await?[0].last_counter)
}

/// A clock that stands still.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Now {
        Now {
            instant: Instant::from_nanos(1),
            timestamp: self.0,
        }
    }
}

/// What comes of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the store in memory waits for nothing"),
    }
}
