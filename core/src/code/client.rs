//! What a client, its profile, its channel and its transport say.

use super::{ErrorCode, codes};

codes! {
    crate::channel::Unauthenticated {
        Self::Malformed => "refused-malformed",
        Self::TooLarge => "refused-too-large",
        Self::Version => "refused-version",
        Self::NoAttempt => "refused-no-attempt",
        Self::Unavailable => "refused-unavailable",
    }
    crate::channel::ChannelError {
        Self::NotAuthentic => "channel-not-authentic",
        Self::Unknown => "channel-unknown",
        Self::Refused(error) => error.code(),
        Self::TooLong => "channel-too-long",
        Self::Crypto => "channel-crypto",
        Self::EncapsulationKey => "channel-encapsulation-key",
        Self::Ciphertext => "channel-ciphertext",
        Self::NotAGrant => "channel-not-a-grant",
    }
    crate::channel::message::ParseCodeError {
        Self { .. } => "invalid-code",
    }
    crate::channel::transport::TransportError {
        Self::Unreachable { .. } => "gate-unreachable",
        Self::TimedOut { .. } => "gate-timed-out",
        Self::Certificate { .. } => "gate-certificate",
        Self::BadGateway { .. } => "gate-bad-gateway",
        Self::NotTheGate { .. } => "gate-not-authentic",
        Self::TooOld { .. } => "client-too-old",
        Self::BadUrl { .. } => "control-url-invalid",
        Self::Refused { .. } => "gate-refused",
        Self::Other { .. } => "transport-failed",
    }
    #[cfg(feature = "runtime")]
    crate::client::AttemptFailure {
        Self::Transport(error) => error.code(),
        Self::Cancelled => "user-cancelled",
        Self::AttemptExpired => "attempt-expired",
        Self::Locked { .. } => "factor-locked",
        Self::Disabled => "factor-disabled",
        Self::NotEnrolled => "peer-not-enrolled",
        Self::NoFactor => "no-factor",
        Self::Clock => "clock-wrong",
        Self::Busy { .. } => "attempts-busy",
        Self::NotRenewable => "session-not-renewable",
        Self::Assurance => "assurance-too-low",
        Self::NotAuthorised => "not-authorised",
        Self::OutsideHours => "outside-hours",
        Self::TooManySessions => "too-many-sessions",
        Self::BadToken => "token-invalid",
        Self::NotEnrollable => "factor-not-enrollable",
        Self::Unavailable => "gate-unavailable",
        Self::Unexpected => "reply-unexpected",
        Self::NotSignedIn => "not-signed-in",
    }
    #[cfg(feature = "runtime")]
    crate::client::SessionEnd {
        Self::Expired => "session-expired",
        Self::Inactive => "session-inactive",
        Self::EndpointChanged => "session-endpoint-changed",
        Self::Revoked => "session-revoked",
        Self::SignedOut => "session-signed-out",
        Self::Woke => "session-woke",
        Self::Superseded => "session-superseded",
        Self::GateInterface => "session-gate-interface-failed",
        Self::Interface => "session-interface-failed",
        Self::Unknown => "session-ended",
    }
    #[cfg(feature = "runtime")]
    crate::client::ResumeRefusal {
        Self::ClockSetBack => "resume-clock-set-back",
        Self::Ended(error) => error.code(),
    }
    crate::id::ParseIdFault {
        Self::Name => "invalid-name",
        Self::Hex { .. } => "invalid-id",
    }
    crate::id::ParseLabelError {
        Self { .. } => "invalid-label",
    }
    crate::key::ParseKeyError {
        Self { .. } => "invalid-key",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::BuildFault {
        Self::NoInterface => "client-no-interface",
        Self::NoTransport => "client-no-transport",
        Self::Transport(error) => error.code(),
        Self::NoRuntime => "client-no-runtime",
    }
    #[cfg(all(feature = "runtime", feature = "netstack"))]
    crate::runtime::UpError {
        Self::Netstack(error) => error.code(),
        Self::Build(error) => error.code(),
        Self::Connect(error) => error.code(),
    }
    #[cfg(feature = "runtime")]
    crate::runtime::ParseEndpointError {
        Self { .. } => "invalid-endpoint",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::ConnectError {
        Self::Failed(error) => error.code(),
        Self::Ended(error) => error.code(),
        Self::StillUp => "tunnel-still-up",
        Self::Endpoint { .. } => "endpoint-not-found",
        Self::Prompt(error) => error.code(),
        Self::UnderWay => "attempt-under-way",
        Self::Stopped => "client-stopped",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::SignOutError {
        Self::Unconfirmed => "sign-out-unconfirmed",
        Self::AttemptOpen => "sign-out-attempt-open",
        Self::StillUp => "sign-out-still-up",
        Self::Stopped => "client-stopped",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::ResumeError {
        Self::NotOpened => "resume-not-opened",
        Self::Version { .. } => "resume-version-unknown",
        Self::ClockSetBack => "resume-clock-set-back",
        Self::Ended(error) => error.code(),
        Self::Unreachable(error) => error.code(),
        Self::Stopped => "client-stopped",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::SaveError {
        Self::NotConnected => "save-not-connected",
        Self::Interface => "save-interface",
        Self::Seal => "save-seal",
        Self::Stopped => "client-stopped",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::PromptFailed {
        Self { .. } => "prompt-failed",
    }
    #[cfg(feature = "profile")]
    crate::runtime::ProfileFault {
        Self::File { .. } => "profile-file",
        Self::Syntax { .. } => "profile-syntax",
        Self::Missing { .. } => "profile-missing",
        Self::Invalid { .. } => "profile-invalid",
        Self::Unknown { .. } => "profile-unknown",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::PostFailed {
        Self::Unreachable => "post-unreachable",
        Self::TimedOut => "post-timed-out",
        Self::Certificate => "post-certificate",
        Self::Other(..) => "post-failed",
    }
    #[cfg(feature = "device-key")]
    crate::signature::InvalidKey {
        Self { .. } => "invalid-signing-key",
    }
    #[cfg(feature = "device-key")]
    crate::signature::InvalidSignature {
        Self { .. } => "invalid-signature",
    }
    #[cfg(feature = "device-key")]
    crate::prove::device_key::SignError {
        Self::UserCancelled => "sign-user-cancelled",
        Self::NotAvailable => "sign-not-available",
        Self::LockedOut => "sign-locked-out",
        Self::NotRecognised => "sign-not-recognised",
        Self::Invalidated => "sign-invalidated",
        Self::Backend(..) => "sign-backend",
    }
    #[cfg(feature = "device-key")]
    crate::prove::device_key::ProveFault {
        Self::OtherKey => "prove-other-key",
        Self::TooFarAhead => "prove-too-far-ahead",
        Self::NotForAKey => "prove-not-for-a-key",
        Self::LessProtected { .. } => "prove-less-protected",
        Self::Inconsistent => "prove-inconsistent",
        Self::Signer(error) => error.code(),
    }
    #[cfg(feature = "device-key")]
    crate::prove::device_key::SoftwareKeyFault {
        Self::Exposed { .. } => "software-key-exposed",
        Self::File { .. } => "software-key-file",
        Self::Invalid => "software-key-invalid",
        Self::Random(..) => "software-key-random",
    }
    #[cfg(feature = "oidc-login")]
    crate::prove::oidc::LoginFault {
        Self::NotAsked => "login-not-asked",
        Self::NotOffered => "login-not-offered",
        Self::Unsafe => "login-unsafe",
        Self::Foreign => "login-foreign",
        Self::Declined => "login-declined",
        Self::TooLong => "login-too-long",
        Self::TimedOut => "login-timed-out",
        Self::Listen(..) => "login-listen",
        Self::NoToken(..) => "login-no-token",
    }
    crate::prove::webauthn::UnreadableOptions {
        Self { .. } => "webauthn-options-unreadable",
    }
    #[cfg(feature = "ctap")]
    crate::prove::webauthn::security_key::SecurityKeyFault {
        Self::NotPluggedIn => "security-key-not-plugged-in",
        Self::Several => "security-key-several",
        Self::Unsupported => "security-key-unsupported",
        Self::OtherRelyingParty => "security-key-other-relying-party",
        Self::Options(error) => error.code(),
        Self::Declined => "security-key-declined",
        Self::WrongPin => "security-key-wrong-pin",
        Self::Blocked => "security-key-blocked",
        Self::NoPin => "security-key-no-pin",
        Self::NoCredential => "security-key-no-credential",
        Self::AlreadyEnrolled => "security-key-already-enrolled",
        Self::Unexpected => "security-key-unexpected",
        Self::Device(..) => "security-key-device",
    }
}
