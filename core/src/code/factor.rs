//! What verifiers and what they are made of say.

use super::{ErrorCode, codes};

codes! {
    crate::factor::VerifyError {
        Self::Wrong => "verify-wrong",
        Self::Replayed => "verify-replayed",
        Self::Expired => "verify-expired",
        Self::Unfit => "verify-unfit",
        Self::Busy { .. } => "verify-busy",
        Self::NotEnrollable => "verify-not-enrollable",
        Self::Backend(..) => "verify-failed",
    }
    #[cfg(feature = "device-key")]
    crate::factor::device_key::InvalidDeviceKey {
        Self { .. } => "invalid-device-key",
    }
    #[cfg(feature = "email-code")]
    crate::factor::email_code::InvalidAddress {
        Self { .. } => "invalid-email-address",
    }
    #[cfg(feature = "email-code")]
    crate::factor::email_code::SendError {
        Self::Undeliverable => "mail-undeliverable",
        Self::Refused { .. } => "mail-refused",
        Self::Unreachable => "mail-unreachable",
        Self::TimedOut => "mail-timed-out",
        Self::Tls => "mail-tls",
        Self::Backend(..) => "mail-failed",
    }
    #[cfg(feature = "email-code")]
    crate::factor::email_code::SmtpFault {
        Self::Certificate => "smtp-certificate",
        Self::NotLoopback => "smtp-not-loopback",
        Self::PasswordInTheClear => "smtp-password-in-the-clear",
    }
    #[cfg(feature = "oidc")]
    crate::factor::oidc::SettingFault {
        Self::Issuer => "provider-issuer",
        Self::NotLocal => "provider-not-local",
        Self::Tenant => "provider-tenant",
        Self::ClientId => "provider-client-id",
        Self::ClientSecret => "provider-client-secret",
        Self::RedirectPath => "provider-redirect-path",
        Self::RedirectUri => "provider-redirect-uri",
        Self::MaxAge => "provider-max-age",
        Self::Word => "provider-word",
        Self::NoWay => "provider-no-way",
        Self::NoProvider => "provider-no-provider",
        Self::Twice => "provider-twice",
        Self::Tls => "provider-tls",
    }
    #[cfg(feature = "oidc")]
    crate::factor::oidc::OidcFault {
        Self::UnknownIssuer { .. } => "oidc-unknown-issuer",
        Self::Unreadable => "oidc-unreadable",
        Self::Provider { .. } => "oidc-provider",
        Self::Token(..) => "oidc-token",
        Self::Randomness => "oidc-randomness",
    }
    #[cfg(feature = "oidc")]
    crate::factor::oidc::ProviderFault {
        Self::Unreachable => "provider-fault-unreachable",
        Self::TimedOut => "provider-fault-timed-out",
        Self::TooLong => "provider-fault-too-long",
        Self::Redirects => "provider-fault-redirects",
        Self::Failed => "provider-fault-failed",
        Self::Malformed => "provider-fault-malformed",
        Self::OtherIssuer => "provider-fault-other-issuer",
        Self::Insecure => "provider-fault-insecure",
        Self::NoEndpoint => "provider-fault-no-endpoint",
        Self::ClientRefused => "provider-fault-client-refused",
    }
    #[cfg(feature = "oidc")]
    crate::factor::oidc::TokenFault {
        Self::Missing => "token-fault-missing",
        Self::Malformed => "token-fault-malformed",
        Self::Algorithm => "token-fault-algorithm",
        Self::UnknownKey => "token-fault-unknown-key",
        Self::Signature => "token-fault-signature",
        Self::Issuer => "token-fault-issuer",
        Self::Audience => "token-fault-audience",
        Self::AuthorizedParty => "token-fault-authorized-party",
        Self::Expired => "token-fault-expired",
        Self::NotYetValid => "token-fault-not-yet-valid",
        Self::Old => "token-fault-old",
        Self::Nonce => "token-fault-nonce",
        Self::AuthTime => "token-fault-auth-time",
        Self::Acr => "token-fault-acr",
        Self::Subject => "token-fault-subject",
        Self::Email => "token-fault-email",
    }
    #[cfg(feature = "totp")]
    crate::factor::totp::InvalidTotp {
        Self { .. } => "invalid-totp",
    }
    #[cfg(feature = "webauthn")]
    crate::factor::webauthn::RelyingPartyFault {
        Self::Id => "relying-party-id",
        Self::Origin => "relying-party-origin",
    }
}
