//! The user's authenticator app, and the clock that it goes by.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use mfagate::factor::totp::{HashAlgorithm, TotpSecret};
use mfagate::time::{Clock, SystemClock, Timestamp};

/// How long an app shows a code.
pub(crate) const STEP: Duration = Duration::from_secs(30);
/// How long before the end of a step the code of the one before is not used any more: it could be
/// two steps old by the time it is read, and wrong.
pub(crate) const TO_SPARE: Duration = Duration::from_secs(5);

/// An app that a key was typed into.
pub(crate) fn typed_in(key: &str) -> TotpSecret {
    let key = BASE32_NOPAD.decode(key.as_bytes()).unwrap();
    TotpSecret::new(key, HashAlgorithm::Sha1, 6, 30).unwrap()
}

/// An app that scanned an `otpauth` address.
pub(crate) fn scanned(uri: &str) -> TotpSecret {
    let (_, key) = uri.split_once("secret=").unwrap();
    typed_in(key.split('&').next().unwrap())
}

/// What the app shows.
pub(crate) fn code(app: &TotpSecret) -> String {
    code_at(app, now())
}

/// What the app shows next: within the skew that is allowed.
pub(crate) fn code_ahead(app: &TotpSecret) -> String {
    code_at(app, now() + STEP)
}

/// What the app showed last, to confirm it with: the code that it shows is left for later.
pub(crate) fn code_before(app: &TotpSecret) -> String {
    code_at(app, a_step_ago())
}

/// What the app shows at that time.
pub(crate) fn code_at(app: &TotpSecret, at: Timestamp) -> String {
    app.code(at).unwrap().expose_secret().to_owned()
}

/// A moment in the step before this one; late in a step this waits for the next.
pub(crate) fn a_step_ago() -> Timestamp {
    let into = now().as_secs() % STEP.as_secs();
    let left = STEP - Duration::from_secs(into);
    if left <= TO_SPARE {
        std::thread::sleep(left);
    }
    now() - STEP
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now().timestamp
}
