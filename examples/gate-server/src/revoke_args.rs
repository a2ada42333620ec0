//! What `revoke` ends.

use clap::Args;
use mfagate::gate::Scope;
use mfagate::id::{SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::store::SessionRecord;
use serde::{Deserialize, Serialize};

/// What to revoke, as it is typed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RevokeArgs {
    #[arg(long)]
    session: Option<SessionId>,
    #[arg(long)]
    peer: Option<PublicKey>,
    #[arg(long)]
    user: Option<UserId>,
    /// Every session of the location.
    #[arg(long)]
    all: bool,
}

/// What to revoke.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    Session(SessionId),
    Peer(PublicKey),
    User(UserId),
    All,
}

impl From<RevokeArgs> for Target {
    fn from(which: RevokeArgs) -> Self {
        let session = which.session.map(Self::Session);
        let peer = which.peer.map(Self::Peer);
        let user = which.user.map(Self::User);
        // The command line sees to it that there is exactly one.
        session.or(peer).or(user).unwrap_or(Self::All)
    }
}

impl Target {
    pub(crate) fn covers(&self, record: &SessionRecord) -> bool {
        match self {
            Self::Session(session) => record.id == *session,
            Self::Peer(peer) => record.peer == *peer,
            Self::User(user) => record.user == *user,
            Self::All => true,
        }
    }

    /// Whether a peer is meant whatever sessions there are.
    pub(crate) fn names(&self, key: &PublicKey) -> bool {
        match self {
            Self::Session(_) | Self::User(_) => false,
            Self::Peer(peer) => peer == key,
            Self::All => true,
        }
    }
}

impl From<Target> for Scope {
    fn from(target: Target) -> Self {
        match target {
            Target::Session(session) => Self::Session(session),
            Target::Peer(peer) => Self::Peer(peer),
            Target::User(user) => Self::User(user),
            Target::All => Self::All,
        }
    }
}
