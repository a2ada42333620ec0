//! What `revoke` ends, and its one-line form on the administrator's socket.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use mfagate::gate::Scope;
use mfagate::id::{SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::store::SessionRecord;

/// What to revoke.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Session(SessionId),
    Peer(PublicKey),
    User(UserId),
}

impl Target {
    pub(crate) fn covers(&self, record: &SessionRecord) -> bool {
        match self {
            Self::Session(session) => record.id == *session,
            Self::Peer(peer) => record.peer == *peer,
            Self::User(user) => record.user == *user,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "session {session}"),
            Self::Peer(peer) => write!(f, "peer {peer}"),
            Self::User(user) => write!(f, "user {user}"),
        }
    }
}

impl FromStr for Target {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(' ') {
            Some(("session", id)) => Ok(Self::Session(id.parse()?)),
            Some(("peer", key)) => Ok(Self::Peer(key.parse()?)),
            Some(("user", name)) => Ok(Self::User(name.parse()?)),
            _ => Err("no such scope".into()),
        }
    }
}

impl From<Target> for Scope {
    fn from(target: Target) -> Self {
        match target {
            Target::Session(session) => Self::Session(session),
            Target::Peer(peer) => Self::Peer(peer),
            Target::User(user) => Self::User(user),
        }
    }
}
