#![doc = include_str!("docs.md")]

mod code;
mod config;
mod device;
mod discovery;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod identity;
mod preset;
mod provider;
mod token;
mod vouching;
mod workload;

use async_trait::async_trait;

use self::provider::{Answered, Ceremony, Means, Provider, Way};
use self::token::Login;
use super::persisted::Pending;
use super::{
    AttemptContext, Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof,
    Registration, Verdict, VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::Answer;
use crate::seal::SecretBytes;
use crate::time::Timestamp;

pub use self::config::OidcProvider;
pub use self::error::{InvalidProvider, OidcError};
pub(crate) use self::error::{OidcFault, ProviderFault, SettingFault, TokenFault};
pub use self::identity::Identity;
pub use self::vouching::Vouched;

/// Verifies logins at OpenID providers. Needs a tokio runtime.
#[derive(Debug)]
pub struct OidcVerifier {
    providers: Vec<Provider>,
}

impl OidcVerifier {
    /// A verifier for these providers. Users who enrol from their client do so at the first;
    /// identities at the others are for an administrator to bind. Nothing is fetched yet.
    ///
    /// # Errors
    /// `provider-no-provider`, `provider-twice`, `provider-no-way`;
    /// `provider-tls`.
    pub fn new(providers: impl IntoIterator<Item = OidcProvider>) -> Result<Self, InvalidProvider> {
        let providers = providers.into_iter().map(Provider::new);
        let providers: Vec<_> = providers.collect::<Result<_, _>>()?;
        if providers.is_empty() {
            return Err(InvalidProvider(SettingFault::NoProvider));
        }
        let is_twice = |at: usize, one: &Provider| {
            let mut before = providers.iter().take(at);
            before.any(|other| other.issuer() == one.issuer())
        };
        if providers
            .iter()
            .enumerate()
            .any(|(at, one)| is_twice(at, one))
        {
            return Err(InvalidProvider(SettingFault::Twice));
        }
        Ok(Self { providers })
    }

    fn provider(&self, identity: &Identity) -> Result<&Provider, VerifyError> {
        let issuer = identity.issuer();
        let provider = self.providers.iter().find(|one| one.issuer() == issuer);
        provider.ok_or_else(|| {
            let issuer = issuer.to_owned();
            OidcFault::UnknownIssuer { issuer }.into()
        })
    }

    /// The provider of those who enrol from their client.
    fn first(&self) -> Result<&Provider, VerifyError> {
        self.providers.first().ok_or(VerifyError::NotEnrollable)
    }
}

#[async_trait]
impl MfaVerifier for OidcVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::OIDC
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let identity = Identity::read(context.secret)?;
        let way = if identity.is_workload() {
            Way::Workload
        } else {
            Way::Person
        };
        self.provider(&identity)?.ask(&context.attempt, way).await
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let attempt = &context.attempt;
        let identity = Identity::read(context.secret)?;
        let provider = self.provider(&identity)?;
        let ceremony = ceremony(attempt, context.state)?;
        let (login, means) = match provider.answer(attempt, ceremony, answer).await? {
            Answered::Ask(asked) => return Ok(Verdict::Ask(asked)),
            Answered::LoggedIn(login, means) => (login, means),
        };
        if identity.is_workload() != (means == Means::Workload) {
            return Err(VerifyError::Wrong);
        }
        let pinned = identity.admit(&login);
        let pinned = pinned.map_err(|fault| provider.refused(fault))?;
        let mut proof = Proof::new(
            context.factor.id,
            assurance(provider, &login, means, attempt),
        );
        proof.replace_secret = pinned.as_ref().map(Identity::to_secret);
        let is_now = pinned.as_ref().unwrap_or(&identity).credential();
        // Also where an earlier version pinned the subject, and left the credential of the address.
        proof.credential = (context.factor.credential.as_ref() != Some(&is_now)).then_some(is_now);
        // A workload can bring another token: what it is let in by is good for no longer than it.
        proof.not_after = (means == Means::Workload).then_some(login.expires);
        Ok(proof.into())
    }

    async fn register(&self, enrolling: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        self.first()?.ask(&enrolling.attempt, Way::Person).await
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let attempt = &enrolling.attempt;
        let ceremony = ceremony(attempt, enrolling.state)?;
        let login = match self.first()?.answer(attempt, ceremony, answer).await? {
            Answered::Ask(asked) => return Ok(Registration::Ask(asked)),
            Answered::LoggedIn(login, Means::Browser | Means::OtherDevice) => login,
            Answered::LoggedIn(_, Means::Workload) => return Err(VerifyError::NotEnrollable),
        };
        let identity = Identity::subject(&login.issuer, &login.subject);
        let id = identity.credential();
        let mut theirs = enrolling
            .factors
            .iter()
            .filter(|factor| factor.kind == FactorKind::OIDC);
        if theirs.any(|factor| factor.credential.as_ref() == Some(&id)) {
            return Err(VerifyError::NotEnrollable);
        }
        Ok(Registration::Proven(Credential {
            secret: identity.to_secret(),
            counter: None,
            id: Some(id),
        }))
    }
}

/// What the gate remembered of the login; an answer to another attempt's is wrong.
fn ceremony(
    attempt: &AttemptContext<'_>,
    state: Option<&SecretBytes>,
) -> Result<Ceremony, VerifyError> {
    Pending::read(attempt, state)
        .map_err(|_| OidcFault::Unreadable)?
        .ok_or(VerifyError::Wrong)
}

fn assurance(
    provider: &Provider,
    login: &Login,
    means: Means,
    attempt: &AttemptContext<'_>,
) -> Assurance {
    let vouching = &provider.settings.vouching;
    let authenticated_at = match means {
        Means::Workload => Some(login.issued_at),
        Means::Browser | Means::OtherDevice => login.authenticated_at,
    };
    // Unknown is long ago: a policy that asks for an age is not met.
    let authenticated_at = authenticated_at.unwrap_or(Timestamp::from_millis(0));
    let authenticated_at = authenticated_at.min(attempt.now);
    let is_person = means != Means::Workload;
    Assurance {
        user_verified: is_person && login.is_vouched(vouching, Vouched::UserVerified),
        // A code for another device can be passed on to a victim (RFC 8628, section 5.4).
        phishing_resistant: means == Means::Browser
            && login.is_vouched(vouching, Vouched::PhishingResistant),
        replay_resistant: true,
        ..Assurance::least(FactorKind::OIDC, authenticated_at)
    }
}

#[cfg(test)]
mod tests;
