//! Why an enrolment or an administrative act was not done.

use ipnet::IpNet;

use crate::key::PublicKey;
use crate::policy::Lock;
use crate::seal::SealError;
use crate::store::StoreError;

/// Why an enrolment or an administrative act was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// A peer without an address could send nothing.
    #[error("the peer has no address inside the tunnel: give it at least one, such as 10.0.0.2/32")]
    NoAddress,
    /// Another peer of the location has the address.
    #[error(
        "{address} overlaps with the addresses of the peer {by}: pick another, or remove that peer"
    )]
    AddressTaken {
        /// The address.
        address: IpNet,
        /// Who has it.
        by: PublicKey,
    },
    /// The user has no such token.
    #[error("no such enrolment token: it has been used or taken back, or is another user's")]
    NoToken,
    /// A token would be over at once, or never in effect.
    #[error("an enrolment token lasts from one second to 30 days: pick a time in between")]
    TokenLifetime,
    /// There is no such factor, or it is not in the state that this needs.
    #[error("no such factor: list the user's factors to see which there are")]
    NoFactor,
    /// The user could not sign in any more. The calls whose names begin with `danger_` do it all
    /// the same.
    #[error(
        "it is the user's last factor in use, and without it the user can't sign in: enrol another one first, or say that even the last one is to go"
    )]
    LastFactor,
    /// Another factor of the kind has the credential, perhaps another user's.
    #[error("it is enrolled already: use another one, or remove the factor that it is enrolled as")]
    CredentialTaken,
    /// The confirming code is wrong.
    #[error(
        "the code is wrong: check that the app shows the code for this very entry, and that this machine's clock is right"
    )]
    WrongCode,
    /// The confirming code is right, and was used before.
    #[error("the code has been used before: wait until the app shows the next one")]
    UsedCode,
    /// The factor's record opened, and what is in it is no secret of its kind.
    #[error(
        "the factor's stored secret can't be read by this version: remove the factor and begin its enrolment anew"
    )]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The factor has had too many wrong codes.
    #[error("too many wrong codes: wait a little, or begin the enrolment anew")]
    Locked(Lock),
    /// The names don't fit the authenticator app's format.
    #[error(
        "the issuer or the user's name can't be shown in an authenticator app: neither may hold a colon"
    )]
    Name,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not do its part.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for EnrolError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AddressTaken { address, by } => Self::AddressTaken { address, by },
            StoreError::CredentialTaken => Self::CredentialTaken,
            StoreError::LastFactor => Self::LastFactor,
            other @ (StoreError::UnknownUser
            | StoreError::Conflict
            | StoreError::Corrupt { .. }
            | StoreError::Backend(_)) => Self::Store(other),
        }
    }
}
