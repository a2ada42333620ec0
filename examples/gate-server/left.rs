//! What a daemon that was killed may have left: peers on an interface that outlives it, who pass
//! until somebody takes them off.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::{InterfaceBackend, InterfaceError};
use mfagate::key::PublicKey;
use mfagate_examples::backend::{Backend, Unreached, is_wireguard};
use mfagate_examples::in_a_line;

use crate::changes::{exists, take_down};
use crate::settings::Settings;

/// How long an interface may take for one thing; then it counts as not done.
const LIMIT: Duration = Duration::from_secs(5);
const NO_ANSWER: &str = "the program that runs it does not answer";

/// The interface that the settings name, as it was left.
pub(crate) enum Left {
    /// There is none: nobody passes.
    Nothing,
    /// It has the gate's key.
    Interface(Backend, Arc<dyn InterfaceBackend>),
    /// It has another key.
    Others(String),
    /// It may be the gate's, and can't be reached.
    Unknown(String),
}

impl Left {
    /// Looks for an interface with the gate's key, also of another backend than the settings': `run`
    /// may have been told to take it, and settings change.
    pub(crate) async fn reach(settings: &Settings) -> Self {
        let (name, backend) = (&settings.interface.name, settings.interface.backend);
        let key = match settings.key() {
            Ok(key) => key,
            Err(error) => return Self::without_a_key(settings, error.as_ref()),
        };
        let mut left = Self::Nothing;
        for outliving in [Backend::Kernel, Backend::Uapi] {
            let found = match tokio::time::timeout(LIMIT, outliving.reach(name, &key)).await {
                Ok(found) => found,
                Err(_) => Err(Unreached::Hangs),
            };
            match found {
                Ok(Some(interface)) => return Self::Interface(outliving, interface),
                Ok(None) => {}
                // Nothing says that this one was ever the gate's.
                Err(_) if outliving != backend => {}
                Err(Unreached::OtherKey(why)) => left = Self::Others(why),
                Err(Unreached::NoSocket(why)) => left = Self::unless_gone(name, why),
                Err(Unreached::Hangs) => left = Self::Unknown(NO_ANSWER.to_owned()),
                Err(Unreached::Failed(why)) => left = Self::Unknown(why),
            }
        }
        left
    }

    fn without_a_key(settings: &Settings, error: &dyn Error) -> Self {
        match settings.interface.backend {
            Backend::Netstack | Backend::Userspace => Self::Nothing,
            Backend::Kernel | Backend::Uapi => {
                Self::unless_gone(&settings.interface.name, in_a_line(error))
            }
        }
    }

    fn unless_gone(name: &str, why: String) -> Self {
        match exists(name) {
            Ok(false) => Self::Nothing,
            Ok(true) => Self::Unknown(why),
            Err(error) => Self::Unknown(in_a_line(error.as_ref())),
        }
    }

    /// An error where it can't be told who passes.
    pub(crate) fn is_known(&self) -> Result<(), String> {
        match self {
            Self::Nothing | Self::Interface(..) => Ok(()),
            Self::Others(why) | Self::Unknown(why) => Err(why.clone()),
        }
    }

    /// Takes everybody off whom the settings don't leave alone, where another interface is served from
    /// now on.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub(crate) async fn give_up(&self, settings: &Settings) -> Result<(), String> {
        let on = &settings.interface;
        match self {
            Self::Interface(backend, _) if *backend != on.backend => {
                self.remove(&on.name, |peer| on.manages(peer)).await
            }
            Self::Nothing | Self::Interface(..) | Self::Others(_) | Self::Unknown(_) => Ok(()),
        }
    }

    /// Takes everybody off whom the settings don't leave alone, since no gate came up; takes the
    /// interface down where that fails. Says on the standard error what it did, or could not do.
    pub(crate) async fn shut(&self, settings: &Settings) {
        let name = &settings.interface.name;
        let done = match self {
            Self::Nothing => return,
            Self::Interface(_, interface) => {
                let all = |peer: &PublicKey| settings.interface.manages(peer);
                match take_off(interface.as_ref(), all).await {
                    Ok(0) => return,
                    Ok(peers) => Ok(format!("peers of an earlier run taken off {name}: {peers}")),
                    Err(why) => fence(interface.as_ref(), name, why).await,
                }
            }
            Self::Others(why) => {
                eprintln!("gate-server: {name} is left as it is: {why}");
                return;
            }
            Self::Unknown(why) if is_wireguard(name).await => match take_down(name) {
                Ok(()) => Ok(format!("{name} was taken down: {why}")),
                Err(error) => Err(format!("{why}, and {error}")),
            },
            Self::Unknown(why) => Err(why.clone()),
        };
        match done {
            Ok(done) => eprintln!("gate-server: no gate came up: {done}"),
            Err(why) => eprintln!(
                "gate-server: no gate came up, and {}",
                may_still_pass(name, &why)
            ),
        }
    }

    /// Takes those off the interface that are meant, or takes it down: when this returns, none of
    /// them passes.
    ///
    /// # Errors
    /// They may still pass; in words, with what to do.
    pub(crate) async fn remove(
        &self,
        name: &str,
        are_meant: impl Fn(&PublicKey) -> bool,
    ) -> Result<(), String> {
        let removed = match self {
            Self::Nothing => return Ok(()),
            Self::Interface(_, interface) => match take_off(interface.as_ref(), are_meant).await {
                Ok(_) => return Ok(()),
                Err(why) => fence(interface.as_ref(), name, why).await,
            },
            Self::Others(why) | Self::Unknown(why) => Err(why.clone()),
        };
        let done = removed.map_err(|why| may_still_pass(name, &why))?;
        eprintln!("gate-server: {done}");
        Ok(())
    }
}

/// Takes those off that are meant; says how many were there.
async fn take_off(
    interface: &dyn InterfaceBackend,
    are_meant: impl Fn(&PublicKey) -> bool,
) -> Result<usize, String> {
    let listed = in_time(async {
        match interface.list().await {
            // Nothing passes one that is gone.
            Err(InterfaceError::Down) => Ok(Vec::new()),
            listed => listed,
        }
    });
    let peers = listed.await?.into_iter().map(|peer| peer.key);
    let peers: Vec<_> = peers.filter(are_meant).collect();
    if !peers.is_empty() {
        in_time(interface.remove(&peers)).await?;
    }
    Ok(peers.len())
}

/// Takes the interface down that peers could not be taken off; says so.
async fn fence(
    interface: &dyn InterfaceBackend,
    name: &str,
    why: String,
) -> Result<String, String> {
    match in_time(interface.fence()).await {
        Ok(()) => Ok(format!("{name} was taken down: {why}")),
        Err(_) => Err(why),
    }
}

/// What the interface answers, if it does in time.
async fn in_time<T>(answer: impl Future<Output = Result<T, InterfaceError>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(answered) => answered.map_err(|error| in_a_line(&error)),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

fn may_still_pass(name: &str, why: &str) -> String {
    format!(
        "peers may still pass {name}: {why}; to let nobody pass, remove it (`ip link delete dev {name}`)"
    )
}
