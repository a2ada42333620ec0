//! What people read: a change shows in the diff.

use super::*;
use crate::channel::Unauthenticated;

#[test]
fn every_failure_says_what_is_wrong_and_what_to_do() {
    let gate = || "https://gate.example/mfagate/v1".to_owned();
    let texts: Vec<String> = [
        AttemptFailure::from(TransportError::Unreachable { gate: gate() }),
        TransportError::TimedOut { gate: gate() }.into(),
        TransportError::Certificate { gate: gate() }.into(),
        TransportError::BadGateway {
            gate: gate(),
            status: 502,
        }
        .into(),
        TransportError::NotTheGate { gate: gate() }.into(),
        TransportError::TooOld { gate: gate() }.into(),
        TransportError::BadUrl {
            gate: "ftp://gate.example".to_owned(),
        }
        .into(),
        TransportError::Refused {
            gate: gate(),
            hint: Unauthenticated::NoAttempt,
        }
        .into(),
        TransportError::Other {
            gate: gate(),
            what: "the app is in the background".to_owned(),
        }
        .into(),
        AttemptFailure::Cancelled,
        AttemptFailure::AttemptExpired,
        AttemptFailure::Locked {
            wait: Duration::from_secs(30),
            until: Timestamp::from_millis(0),
        },
        AttemptFailure::Locked {
            wait: Duration::from_secs(3600),
            until: Timestamp::from_millis(0),
        },
        AttemptFailure::Disabled,
        AttemptFailure::NotEnrolled,
        AttemptFailure::NoFactor,
        AttemptFailure::Clock,
        AttemptFailure::Busy {
            wait: Duration::from_millis(900),
        },
        AttemptFailure::NotRenewable,
        AttemptFailure::Unavailable,
        AttemptFailure::Unexpected,
        AttemptFailure::NotSignedIn,
    ]
    .iter()
    .map(ToString::to_string)
    .collect();

    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn every_end_says_why_and_what_comes_next() {
    let texts: Vec<String> = [
        SessionEnd::Expired,
        SessionEnd::Inactive,
        SessionEnd::EndpointChanged,
        SessionEnd::Revoked,
        SessionEnd::SignedOut,
        SessionEnd::Superseded,
        SessionEnd::GateInterface,
        SessionEnd::Interface,
        SessionEnd::Unknown,
    ]
    .iter()
    .map(ToString::to_string)
    .collect();

    insta::assert_snapshot!(texts.join("\n"));
}
