//! Why an attempt failed, in words for the user: what is wrong, and what to do.

use std::time::Duration;

use crate::channel::message::Refusal;
use crate::channel::transport::TransportError;
use crate::time::Timestamp;

/// Why an attempt is over without a new lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptFailure {
    /// The gate could not be reached, or what replied was not the gate.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The user gave up.
    #[error("you cancelled the sign-in")]
    Cancelled,
    /// The attempt's time was over, or the gate does not know it any more.
    #[error("this sign-in took too long and is over: start again")]
    AttemptExpired,
    /// The factor is locked for longer than the attempt lasts.
    #[error("too many wrong answers: wait {} before you try again", Wait(*wait))]
    Locked {
        /// How long.
        wait: Duration,
        /// Until when, by this device's clock.
        until: Timestamp,
    },
    /// The factor is disabled.
    #[error("too many wrong answers: this factor is disabled until your administrator resets it")]
    Disabled,
    /// The peer is not enrolled here, or it or its owner is disabled.
    #[error(
        "this device may not connect here: ask your administrator whether it is enrolled and enabled, and that your profile is up to date"
    )]
    NotEnrolled,
    /// The user has no factor that the policy accepts.
    #[error(
        "you have no way to sign in that this location accepts: ask your administrator to enrol one"
    )]
    NoFactor,
    /// The clock is off, and stayed so with the gate's time.
    #[error(
        "this device's clock does not agree with the gate's: set the date and time, then try again"
    )]
    Clock,
    /// Too many attempts are open.
    #[error("too many sign-ins are under way: wait {} before you try again", Wait(*wait))]
    Busy {
        /// How long.
        wait: Duration,
    },
    /// The session is not live, or can't be renewed.
    #[error("this session can't be renewed any more: sign in again")]
    NotRenewable,
    /// What the user proved is less than the location asks for.
    #[error(
        "what you signed in with is not strong enough for this location: use another factor, or ask your administrator to enrol one"
    )]
    Assurance,
    /// The gate's own rules refuse this user or device.
    #[error("you may not connect here now: ask your administrator why")]
    NotAuthorised,
    /// The location admits no one at this time.
    #[error("this location is closed at this time: ask your administrator for its hours")]
    OutsideHours,
    /// The user has as many sessions as the location allows.
    #[error(
        "you are connected with as many devices as this location allows: sign out on one first"
    )]
    TooManySessions,
    /// The enrolment token is not good, or not for this.
    #[error(
        "this enrolment token is not good: check that it is whole, or ask your administrator for a new one"
    )]
    BadToken,
    /// The factor can't be enrolled like this.
    #[error(
        "this can't be enrolled here: it may be enrolled already, or only your administrator can do it"
    )]
    NotEnrollable,
    /// The gate can't decide now.
    #[error(
        "the gate can't decide right now: try again in a minute, and tell your administrator if it goes on"
    )]
    Unavailable,
    /// The gate said something that does not fit, or that this version does not know.
    #[error(
        "the gate's reply does not fit what was asked: update this app, or ask your administrator whether the gate is up to date"
    )]
    Unexpected,
    /// There is no session to renew.
    #[error("you are not signed in: sign in first")]
    NotSignedIn,
}

impl AttemptFailure {
    /// Whether the same attempt, begun again, may succeed without anyone changing anything.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(TransportError::TooOld { .. }) => false,
            Self::Transport(_)
            | Self::AttemptExpired
            | Self::Locked { .. }
            | Self::Busy { .. }
            | Self::Unavailable => true,
            Self::Cancelled
            | Self::Disabled
            | Self::NotEnrolled
            | Self::NoFactor
            | Self::Clock
            | Self::Assurance
            | Self::NotAuthorised
            | Self::OutsideHours
            | Self::TooManySessions
            | Self::BadToken
            | Self::NotEnrollable
            | Self::NotRenewable
            | Self::Unexpected
            | Self::NotSignedIn => false,
        }
    }

    /// Whether the gate itself said no to this user or device.
    pub const fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::Disabled
                | Self::NotEnrolled
                | Self::NoFactor
                | Self::Assurance
                | Self::NotAuthorised
                | Self::OutsideHours
                | Self::TooManySessions
                | Self::BadToken
        )
    }
}

impl From<Refusal> for AttemptFailure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotEnrolled {} => Self::NotEnrolled,
            Refusal::NoFactor {} => Self::NoFactor,
            Refusal::Clock { .. } => Self::Clock,
            Refusal::Busy { retry_ms } => Self::Busy {
                wait: Duration::from_millis(retry_ms),
            },
            Refusal::NoAttempt {} => Self::AttemptExpired,
            Refusal::NotRenewable {} => Self::NotRenewable,
            Refusal::Assurance {} => Self::Assurance,
            Refusal::NotAuthorised {} => Self::NotAuthorised,
            Refusal::OutsideHours {} => Self::OutsideHours,
            Refusal::TooManySessions {} => Self::TooManySessions,
            Refusal::BadToken {} => Self::BadToken,
            Refusal::NotEnrollable {} => Self::NotEnrollable,
            // A replay is a hello that got through although its reply was lost.
            Refusal::Replay {} | Refusal::Unavailable {} => Self::Unavailable,
            Refusal::OutOfOrder {} => Self::Unexpected,
        }
    }
}

/// A wait as people say it, rounded up.
struct Wait(Duration);

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secs = self.0.as_millis().div_ceil(1000);
        match (secs, secs.div_ceil(60)) {
            (0 | 1, _) => f.write_str("a second"),
            (2..=90, _) => write!(f, "{secs} seconds"),
            (_, minutes) => write!(f, "{minutes} minutes"),
        }
    }
}
