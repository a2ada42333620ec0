//! What a daemon that was killed may have left: peers on an interface that outlives it, who pass
//! until something takes them off.

use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::{InterfaceBackend, InterfaceError};
use mfagate::key::PublicKey;
use mfagate_examples::backend::{Backend, Unreached, is_wireguard};
use mfagate_examples::in_a_line;

use crate::changes::{ServedInterface, exists, take_down};
use crate::settings::{InterfaceSettings, Settings};

/// How long an interface may take for one thing; then it counts as not done.
const LIMIT: Duration = Duration::from_secs(5);
const NO_ANSWER: &str = "the program that runs it does not answer";

/// The interfaces that a daemon may have left: the one that the settings name, and the one that the
/// last daemon served, where settings have changed since.
pub(crate) struct StaleInterfaces<'a> {
    settings: &'a Settings,
    interfaces: Vec<Interface>,
}

/// One of them.
struct Interface {
    name: String,
    state: State,
}

/// How it was left.
enum State {
    /// There is none: no peer passes.
    Nothing,
    /// It has the gate's key.
    Reached(Backend, Arc<dyn InterfaceBackend>),
    /// It has another key.
    Others(String),
    /// It may be the gate's, and can't be reached.
    Unknown(String),
}

impl<'a> StaleInterfaces<'a> {
    /// Looks for them.
    pub(crate) async fn reach(settings: &'a Settings) -> Self {
        let on = ServedInterface::by(&settings.interface);
        // A record that can't be read stops a start for itself.
        let last = ServedInterface::last(settings).ok().flatten();
        let last = last.filter(|last| *last != on);
        let mut names = vec![on.name.clone()];
        names.extend(last.iter().map(|last| last.name.clone()));
        names.dedup();
        let mut interfaces = Vec::new();
        for name in names {
            let expected = [Some(&on), last.as_ref()].into_iter().flatten();
            let expected = expected.filter(|one| one.name == name);
            let expected: Vec<_> = expected.map(|one| one.backend).collect();
            let state = State::of(settings, &name, &expected).await;
            interfaces.push(Interface { name, state });
        }
        Self {
            settings,
            interfaces,
        }
    }

    /// The interface that a daemon serves.
    pub(crate) fn at_hand(settings: &'a Settings, interface: Arc<dyn InterfaceBackend>) -> Self {
        let ServedInterface { name, backend } = ServedInterface::by(&settings.interface);
        let state = State::Reached(backend, interface);
        Self {
            settings,
            interfaces: vec![Interface { name, state }],
        }
    }

    /// Looks again for those that were not reached: they may have come, or begun to answer, since.
    pub(crate) async fn again(mut self) -> Self {
        let mut now = Self::reach(self.settings).await.interfaces;
        for interface in &mut self.interfaces {
            let found = now.iter().position(|found| found.name == interface.name);
            if let (Some(found), false) = (found, matches!(interface.state, State::Reached(..))) {
                *interface = now.swap_remove(found);
            }
        }
        self
    }

    /// An error where it can't be told who passes.
    pub(crate) fn is_known(&self) -> Result<(), String> {
        self.interfaces.iter().try_for_each(|interface| {
            let (State::Others(why) | State::Unknown(why)) = &interface.state else {
                return Ok(());
            };
            if interface.name == self.settings.interface.name {
                return Err(why.clone());
            }
            Err(format!(
                "the last daemon served {}, and {why}; remove that interface, or, where it is not this gate's any more, {}",
                interface.name,
                self.settings.changes().display()
            ))
        })
    }

    /// Takes every peer off that the settings don't leave alone, where another interface is served
    /// from now on.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub(crate) async fn give_up(&self) -> Result<(), String> {
        let on = ServedInterface::by(&self.settings.interface);
        for interface in &self.interfaces {
            if let State::Reached(backend, _) = interface.state
                && (&interface.name, backend) != (&on.name, on.backend)
            {
                let manages = |peer: &PublicKey| self.settings.interface.manages(peer);
                interface.remove(&manages).await?;
            }
        }
        Ok(())
    }

    /// Takes every peer off that the settings don't leave alone, since no gate came up; takes the
    /// interface down where that fails. Says on the standard error what it did, or could not do;
    /// returns whether no peer passes any more.
    pub(crate) async fn shut(&self) -> bool {
        let mut is_shut = true;
        for interface in &self.interfaces {
            is_shut &= interface.shut(&self.settings.interface).await;
        }
        is_shut
    }

    /// Takes those off who are meant, or the interface down: when this returns, none of them
    /// passes.
    ///
    /// # Errors
    /// They may still pass one; in words, with what to do. The others are done.
    pub(crate) async fn remove(
        &self,
        are_meant: impl Fn(&PublicKey) -> bool,
    ) -> Result<(), String> {
        let mut outcome = Ok(());
        for interface in &self.interfaces {
            outcome = outcome.and(interface.remove(&are_meant).await);
        }
        outcome
    }
}

impl State {
    /// Looks for an interface with the gate's key, also of another backend than what is expected:
    /// `run` may have been told to take it.
    async fn of(settings: &Settings, name: &str, expected: &[Backend]) -> Self {
        let key = match settings.key() {
            Ok(key) => key,
            Err(_) if !expected.iter().any(|backend| backend.outlives()) => return Self::Nothing,
            Err(error) => return Self::unless_gone(name, in_a_line(error.as_ref())),
        };
        let mut left = Self::Nothing;
        for outliving in [Backend::Kernel, Backend::Uapi] {
            let program = settings.interface.program_of(name);
            let reached = outliving.reach(name, &key, program);
            let found = match tokio::time::timeout(LIMIT, reached).await {
                Ok(found) => found,
                Err(_) => Err(Unreached::Hangs),
            };
            match found {
                Ok(Some(interface)) => return Self::Reached(outliving, interface),
                Ok(None) => {}
                // Nothing says that this one was ever the gate's.
                Err(_) if !expected.contains(&outliving) => {}
                Err(Unreached::OtherKey(why)) => left = Self::Others(why),
                Err(Unreached::NoSocket(why)) => left = Self::unless_gone(name, why),
                Err(Unreached::Hangs) => left = Self::Unknown(NO_ANSWER.to_owned()),
                Err(Unreached::Failed(why)) => left = Self::Unknown(why),
            }
        }
        left
    }

    fn unless_gone(name: &str, why: String) -> Self {
        match exists(name) {
            Ok(false) => Self::Nothing,
            Ok(true) => Self::Unknown(why),
            Err(error) => Self::Unknown(in_a_line(error.as_ref())),
        }
    }
}

impl Interface {
    async fn shut(&self, on: &InterfaceSettings) -> bool {
        let name = &self.name;
        let done = match &self.state {
            State::Nothing => return true,
            State::Reached(_, interface) => {
                let all = |peer: &PublicKey| on.manages(peer);
                match take_off(interface.as_ref(), all).await {
                    Ok(0) => return true,
                    Ok(peers) => Ok(format!("peers of an earlier run taken off {name}: {peers}")),
                    Err(why) => fence(interface.as_ref(), name, why).await,
                }
            }
            State::Others(why) => {
                eprintln!("gate-server: {name} is left as it is: {why}");
                return false;
            }
            State::Unknown(why) if is_wireguard(name).await => match take_down(name) {
                Ok(()) => Ok(format!("{name} was taken down: {why}")),
                Err(error) => Err(format!("{why}, and {error}")),
            },
            State::Unknown(why) => Err(why.clone()),
        };
        let is_done = done.is_ok();
        match done {
            Ok(done) => eprintln!("gate-server: no gate came up: {done}"),
            Err(why) => eprintln!(
                "gate-server: no gate came up, and {}",
                may_still_pass(name, &why)
            ),
        }
        is_done
    }

    async fn remove(&self, are_meant: impl Fn(&PublicKey) -> bool) -> Result<(), String> {
        let removed = match &self.state {
            State::Nothing => return Ok(()),
            State::Reached(_, interface) => match take_off(interface.as_ref(), are_meant).await {
                Ok(_) => return Ok(()),
                Err(why) => fence(interface.as_ref(), &self.name, why).await,
            },
            State::Others(why) | State::Unknown(why) => Err(why.clone()),
        };
        let done = removed.map_err(|why| may_still_pass(&self.name, &why))?;
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
        "peers may still pass {name}: {why}; to let no one pass, remove it (`ip link delete dev {name}`)"
    )
}
