//! What kind of failure it is: few enough for an app to say something of its own about each.

use super::attempt_failure::AttemptFailure;
use super::event::SessionEnd;
use crate::channel::transport::TransportError;
use crate::time::Timestamp;

/// What an app is to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user wanted it so: say nothing.
    UserCancelled,
    /// It took too long: offer to try again.
    TimedOut,
    /// The gate, or the way to it, is not there now: try again later.
    NotAvailable,
    /// There were too many wrong answers.
    LockedOut {
        /// Until when, by this device's clock; `None` where an administrator has to reset the
        /// factor.
        until: Option<Timestamp>,
    },
    /// The gate says no to this user or device: show the error's text, which says who can help.
    Denied,
    /// Something is wrong with this device, the app or its profile: show the error's text, and
    /// report its code.
    Fault,
}

impl TransportError {
    /// What to do about it.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Unreachable { .. } | Self::BadGateway { .. } | Self::Refused { .. } => {
                ErrorKind::NotAvailable
            }
            Self::Certificate { .. }
            | Self::NotTheGate { .. }
            | Self::TooOld { .. }
            | Self::BadUrl { .. }
            | Self::Other { .. } => ErrorKind::Fault,
        }
    }
}

impl AttemptFailure {
    /// What to do about it.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport(error) => error.kind(),
            Self::Cancelled => ErrorKind::UserCancelled,
            Self::AttemptExpired => ErrorKind::TimedOut,
            Self::Locked { until, .. } => ErrorKind::LockedOut {
                until: Some(*until),
            },
            Self::Disabled => ErrorKind::LockedOut { until: None },
            Self::Busy { .. } | Self::Unavailable => ErrorKind::NotAvailable,
            Self::NotEnrolled
            | Self::NoFactor
            | Self::NotRenewable
            | Self::Assurance
            | Self::NotAuthorised
            | Self::OutsideHours
            | Self::TooManySessions
            | Self::BadToken
            | Self::NotEnrollable => ErrorKind::Denied,
            Self::Clock | Self::Unexpected | Self::NotSignedIn => ErrorKind::Fault,
        }
    }
}

impl SessionEnd {
    /// What to do about it.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::SignedOut => ErrorKind::UserCancelled,
            Self::Expired | Self::Inactive => ErrorKind::TimedOut,
            Self::GateInterface => ErrorKind::NotAvailable,
            Self::EndpointChanged | Self::Revoked | Self::Woke | Self::Superseded => {
                ErrorKind::Denied
            }
            Self::Unknown => ErrorKind::NotAvailable,
            Self::Interface => ErrorKind::Fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_lock_says_until_when_and_a_disabled_factor_says_no_time() {
        let until = Timestamp::from_millis(5);
        let wait = Duration::from_secs(30);
        let locked = AttemptFailure::Locked { wait, until };
        let until = Some(until);
        assert_eq!(locked.kind(), ErrorKind::LockedOut { until });
        let until = None;
        assert_eq!(
            AttemptFailure::Disabled.kind(),
            ErrorKind::LockedOut { until }
        );
    }

    #[test]
    fn a_failure_is_the_users_the_gates_or_the_devices() {
        let gate = || "https://gate.example".to_owned();
        for (failure, kind) in [
            (AttemptFailure::Cancelled, ErrorKind::UserCancelled),
            (AttemptFailure::AttemptExpired, ErrorKind::TimedOut),
            (AttemptFailure::NotEnrolled, ErrorKind::Denied),
            (AttemptFailure::Clock, ErrorKind::Fault),
            (
                TransportError::TimedOut { gate: gate() }.into(),
                ErrorKind::TimedOut,
            ),
            (
                TransportError::Unreachable { gate: gate() }.into(),
                ErrorKind::NotAvailable,
            ),
            (
                TransportError::NotTheGate { gate: gate() }.into(),
                ErrorKind::Fault,
            ),
        ] {
            assert_eq!(failure.kind(), kind, "{failure}");
        }
    }
}
