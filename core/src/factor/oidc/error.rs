//! What can be wrong with a configuration, a provider and a token. No text repeats a token, a code
//! or anything else that came from outside.

use super::super::VerifyError;

crate::error_code::opaque! {
    /// Why a configuration can't be.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct InvalidProvider(SettingFault);
}

/// What is behind [`InvalidProvider`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingFault {
    /// The issuer is no HTTPS address.
    #[error(
        "an issuer is an address like https://id.example.com/realms/staff, as the provider writes it in its tokens: with https, and without a query or fragment"
    )]
    Issuer,
    /// The issuer of the dangerous constructor is elsewhere.
    #[error(
        "without TLS, a provider can only be on this machine: http://127.0.0.1, http://[::1] or http://localhost"
    )]
    NotLocal,
    /// The tenant stands for more than one issuer.
    #[error(
        "the tenant is one tenant's id, like 8eaef023-2b34-4da1-9baa-8bc8c9d6a490: `common`, `organizations` and `consumers` have no issuer of their own"
    )]
    Tenant,
    /// The client's id is empty.
    #[error("the client id is the one that the provider gave when the client was registered there")]
    ClientId,
    /// The client's secret is no text.
    #[error("a client secret is a text in UTF-8, as the provider shows it, and not an empty one")]
    ClientSecret,
    /// The path of a loopback redirect is none.
    #[error(
        "the path of a loopback redirect begins with one slash, and has no query, fragment or space: /callback"
    )]
    RedirectPath,
    /// The address of an exact redirect is none.
    #[error(
        "a redirect is an app's own scheme with a dot in it (com.example.app:/callback), an https address that the app claims, or http on 127.0.0.1, [::1] or localhost; without a query or fragment"
    )]
    RedirectUri,
    /// The longest age is too long for a second factor.
    #[error("a login may be at most 30 days old")]
    MaxAge,
    /// A value is empty, or holds a space.
    #[error("a scope, an `acr`, an `amr` or an audience is a word without spaces")]
    Word,
    /// No one could log in.
    #[error("no one could log in: give the provider a redirect, the device grant, or workloads")]
    NoWay,
    /// There is no provider.
    #[error("the verifier needs at least one provider")]
    NoProvider,
    /// Two providers are the same issuer.
    #[error("two providers have the same issuer: each issuer once")]
    Twice,
    /// TLS can't be set up on this machine.
    #[error("TLS can't be set up on this machine: it has no root certificates that can be read")]
    Tls,
}

crate::error_code::opaque! {
    /// Why a login could not be judged. No one is admitted, and no one's failure is counted.
    pub struct OidcError(OidcFault);
}

/// What is behind [`OidcError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcFault {
    /// The factor is an identity at a provider that this verifier does not have.
    #[error(
        "the factor is an identity at {issuer}, which the verifier does not know: add that provider, or remove the factor"
    )]
    UnknownIssuer {
        /// The issuer.
        issuer: String,
    },
    /// What was stored does not read back.
    #[error("the stored identity or the login's state is not one of this build's")]
    Unreadable,
    /// The provider did not do its part.
    #[error("the OpenID provider {issuer} did not do its part: {fault}")]
    Provider {
        /// The issuer.
        issuer: String,
        /// What it did.
        #[source]
        fault: ProviderFault,
    },
    /// The provider gave no token that could be judged.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
}

impl From<OidcFault> for VerifyError {
    fn from(error: OidcFault) -> Self {
        Self::backend(OidcError(error))
    }
}

/// What a provider did instead of its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderFault {
    /// There was no connection.
    #[error("it can't be reached, or its certificate is not good")]
    Unreachable,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// It answered more than anybody would.
    #[error("its answer is longer than 256 KiB")]
    TooLong,
    /// It sent the gate elsewhere. Redirects are not followed.
    #[error("it redirects the gate to another address, which is not followed: configure that one")]
    Redirects,
    /// It answered with an error.
    #[error("it answered with an error")]
    Failed,
    /// It answered with something that is not what the standard says.
    #[error("its answer is not what the standard says")]
    Malformed,
    /// Its metadata are another issuer's.
    #[error(
        "its metadata are those of another issuer: write the issuer exactly as the provider does"
    )]
    OtherIssuer,
    /// One of its addresses is without TLS.
    #[error("its metadata name an address without https")]
    Insecure,
    /// It has no such endpoint.
    #[error("its metadata name no endpoint for this")]
    NoEndpoint,
    /// It does not know the gate as its client.
    #[error(
        "it refuses the client: check its id, its secret, and which grants and redirects it is registered with"
    )]
    ClientRefused,
}

/// What is wrong with an ID token (OpenID Connect Core, section 3.1.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// The provider gave none.
    #[error("the provider gave no ID token: its client needs the scope `openid`")]
    Missing,
    /// It is no signed JWT.
    #[error("the ID token is no signed JWT")]
    Malformed,
    /// It is not signed, or by an algorithm that is not taken.
    #[error("the ID token is not signed by an algorithm with a public key")]
    Algorithm,
    /// None of the provider's keys is named.
    #[error("the ID token names none of the provider's keys")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the ID token's signature is wrong")]
    Signature,
    /// It is another issuer's.
    #[error("the ID token is another issuer's")]
    Issuer,
    /// It is for someone else, or also for someone else.
    #[error("the ID token is for another audience")]
    Audience,
    /// It was issued to someone else.
    #[error("the ID token was issued to another party")]
    AuthorizedParty,
    /// Its time is over.
    #[error("the ID token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the ID token is not yet valid: check the clocks of the gate and the provider")]
    NotYetValid,
    /// It was issued before it was asked for.
    #[error("the ID token is older than the question")]
    Old,
    /// It belongs to another login.
    #[error("the ID token's nonce is not this login's")]
    Nonce,
    /// It does not say when the user authenticated, or that is too long ago.
    #[error("the ID token does not show that the user authenticated lately")]
    AuthTime,
    /// The user authenticated in another way than was asked for.
    #[error("the ID token's `acr` is none that was asked for")]
    Acr,
    /// It is another's.
    #[error("the ID token is another subject's")]
    Subject,
    /// Its e-mail address is another one, or no one verified it.
    #[error("the ID token has no verified e-mail address, or another one")]
    Email,
}

impl TokenFault {
    /// Whose fault it is. That there is no token can only be the provider's.
    pub(super) fn verdict(self) -> VerifyError {
        match self {
            Self::Missing => OidcFault::Token(self).into(),
            Self::Expired => VerifyError::Expired,
            Self::Malformed
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Issuer
            | Self::Audience
            | Self::AuthorizedParty
            | Self::NotYetValid
            | Self::Old
            | Self::Nonce
            | Self::AuthTime
            | Self::Acr
            | Self::Subject
            | Self::Email => VerifyError::Wrong,
        }
    }
}
