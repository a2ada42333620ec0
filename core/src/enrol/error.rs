//! Why an enrolment or an administrative act was not done.

use ipnet::IpNet;

use super::address::AddressFault;
use crate::key::PublicKey;
use crate::policy::Lock;
use crate::seal::SealError;
use crate::store::StoreError;

crate::error_code::opaque! {
    /// Why an enrolment or an administrative act was not done.
    pub struct EnrolError(EnrolFault);
    from AddressFault;
    from SealError;
    from StoreError;
}

/// What is behind [`EnrolError`].
#[allow(dead_code, reason = "some features only have all of these reasons")]
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolFault {
    /// A peer without an address could send nothing.
    #[error("the peer has no address inside the tunnel: give it at least one, such as 10.0.0.2/32")]
    NoAddress,
    /// The peer can't have the address.
    #[error(transparent)]
    Address(#[from] AddressFault),
    /// Every address of a network is a peer's already.
    #[error("no address is free in the gate's network: widen it, or remove peers")]
    NoFreeAddress,
    /// The registrar has not been told what a profile says.
    #[error("the registrar can't make a profile: give the gate's builder an endpoint")]
    NoTemplate,
    /// The gate was started from a configuration, so that its store is only known to serve a gate.
    #[error(
        "the gate has no registrar: start it by its builder, or make a registrar over the store"
    )]
    NoRegistrar,
    /// The key is enrolled at the location already.
    #[error("a peer with this key is enrolled already: leave it out, or make a new key")]
    KnownPeer,
    /// A user is in other groups in another place.
    #[error("the user's groups are others than those given before: give them once, or the same")]
    OtherGroups,
    /// No such peer is enrolled at the location.
    #[error("no such peer is enrolled: list the peers to see which are")]
    NoPeer,
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
        "the factor's stored secret can't be read by this version: remove the factor and begin its enrolment again"
    )]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The factor has had too many wrong codes.
    #[error("too many wrong codes: wait a little, or begin the enrolment again")]
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

impl From<StoreError> for EnrolFault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AddressTaken { address, by } => Self::AddressTaken { address, by },
            StoreError::CredentialTaken => Self::CredentialTaken,
            StoreError::LastFactor => Self::LastFactor,
            other @ (StoreError::UnknownUser
            | StoreError::Conflict
            | StoreError::Refused { .. }
            | StoreError::Replaced
            | StoreError::Corrupt { .. }
            | StoreError::Backend(_)) => Self::Store(other),
        }
    }
}
