//! The client as a service: give it a profile, an interface and a way to ask the user, and it
//! brings the tunnel up, keeps it up and takes it down.
//!
//! One task drives the [machine](crate::client); each exchange with the gate and each call of the
//! interface runs in a task of its own, under a time-out.
//!
//! | file | concern |
//! |---|---|
//! | `builder` | what a client is made of |
//! | `profile` | what an administrator hands out |
//! | `prompt` | asking the user |
//! | `driver` | time, actions, commands, stop |
//! | `exchange` | a message to the gate, over the channel and a transport |
//! | `tunnel` | the calls of the interface, one after the other |

mod builder;
mod driver;
mod endpoint;
mod exchange;
mod profile;
#[cfg(feature = "profile")]
mod profile_file;
mod prompt;
#[cfg(test)]
mod tests;
mod tunnel;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};

pub use builder::{BuildError, ClientBuilder, ClientTimeouts};
pub use endpoint::{Endpoint, ParseEndpointError};
pub use profile::Profile;
#[cfg(feature = "profile")]
pub use profile_file::ProfileError;
pub use prompt::Prompt;

use crate::client::{EndReason, Event, Failure, Input, Machine, NewFactor, Phase};
use crate::id::{FactorId, SessionId};
use crate::time::Clock;
use driver::Command;

/// A client of one location. When it is dropped, the user is signed out and the tunnel comes down,
/// in a task that goes on for as long as that takes.
///
/// ```no_run
/// # #[cfg(feature = "http-client")]
/// # async fn run(
/// #     profile: mfagate::runtime::Profile,
/// #     interface: std::sync::Arc<dyn mfagate::interface::InterfaceBackend>,
/// #     mut prompt: impl mfagate::runtime::Prompt,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use mfagate::runtime::Client;
///
/// let client = Client::builder(profile).interface(interface).build()?;
/// client.connect(&mut prompt).await?;
/// while let Some(event) = client.next_event().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    machine: Arc<Mutex<Machine>>,
    clock: Arc<dyn Clock>,
    events: tokio::sync::Mutex<broadcast::Receiver<Event>>,
    /// Held while the user is being asked: one attempt at a time.
    asking: tokio::sync::Mutex<()>,
    endpoint: Arc<endpoint::Resolved>,
}

/// A tunnel that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The session.
    pub session: SessionId,
    /// This device's own addresses inside the tunnel.
    pub addresses: Vec<ipnet::IpNet>,
    /// How long the lease lasts.
    pub ends_in: std::time::Duration,
}

/// How an attempt went well.
enum Outcome {
    Connected(Connected),
    Enrolled(FactorId),
}

impl Client {
    /// Begins to make a client.
    pub fn builder(profile: Profile) -> ClientBuilder {
        ClientBuilder::new(profile)
    }

    /// Signs in and brings the tunnel up, asking the user by `prompt`. With a live session, signs
    /// in again and gives that session more time, while the tunnel stays up.
    ///
    /// Cancel safe: dropping it gives the attempt up. A grant that is under way by then is given
    /// back; a session that was live before goes on.
    ///
    /// # Errors
    /// [`ConnectError`]. A session that was live before goes on, unless it says
    /// [`ConnectError::Ended`].
    pub async fn connect(&self, prompt: &mut impl Prompt) -> Result<Connected, ConnectError> {
        self.tunnel(prompt, Input::Start).await
    }

    /// Gives the live session more time. Asks the user only where the gate asks for a factor.
    ///
    /// Cancel safe as [`Client::connect`] is.
    ///
    /// # Errors
    /// [`ConnectError`], with [`Failure::NotSignedIn`] when there is no session.
    pub async fn renew(&self, prompt: &mut impl Prompt) -> Result<Connected, ConnectError> {
        self.tunnel(prompt, Input::Renew).await
    }

    /// Enrols a factor: with a one-time token, or once the user has passed the factors that the
    /// location asks for. A live session goes on.
    ///
    /// Cancel safe: dropping it gives the attempt up. What was answered last may still be taken.
    ///
    /// # Errors
    /// [`ConnectError`], with [`Failure::BadToken`] and [`Failure::NotEnrollable`] among others.
    pub async fn enrol(
        &self,
        factor: NewFactor,
        prompt: &mut impl Prompt,
    ) -> Result<FactorId, ConnectError> {
        match self.attempt(prompt, Input::Enrol { factor }).await? {
            Outcome::Enrolled(factor) => Ok(factor),
            Outcome::Connected(_) => Err(Failure::Unexpected.into()),
        }
    }

    async fn tunnel(
        &self,
        prompt: &mut impl Prompt,
        input: Input,
    ) -> Result<Connected, ConnectError> {
        self.endpoint.resolve().await?;
        match self.attempt(prompt, input).await? {
            Outcome::Connected(connected) => Ok(connected),
            Outcome::Enrolled(_) => Err(Failure::Unexpected.into()),
        }
    }

    /// The next thing to know. `None` once the client has stopped. A reader that lags by more than
    /// 256 events misses the oldest.
    ///
    /// Cancel safe.
    pub async fn next_event(&self) -> Option<Event> {
        let mut events = self.events.lock().await;
        loop {
            match events.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Where the client stands now.
    pub fn status(&self) -> Phase {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.phase(self.clock.now())
    }

    /// Says that the device woke up or was unlocked: where the policy says so, the session ends;
    /// else the client looks again at once. It finds out about sleep by itself, too, some seconds
    /// later.
    pub fn woke(&self) {
        self.command(Command::Input(Input::Woke));
    }

    /// Says that the device's network changed, so that the client looks again at once.
    pub fn network_changed(&self) {
        self.command(Command::Input(Input::NetworkChanged));
    }

    /// Signs the user out. Returns when the tunnel is down and the gate has been told.
    ///
    /// Cancel safe: once it was polled, the signing out goes on without it.
    ///
    /// # Errors
    /// [`SignOutError`], also when only the gate could not be told.
    pub async fn sign_out(&self) -> Result<(), SignOutError> {
        let (done, wait) = oneshot::channel();
        self.command(Command::SignOut { done });
        wait.await.unwrap_or(Err(SignOutError::Stopped))
    }

    /// Stops without signing out: the session stays live at the gate until its own end, and the
    /// tunnel as it is. For a program that hands the tunnel on, to `wg-quick` say.
    pub fn detach(self) {
        self.command(Command::Detach);
    }

    async fn attempt(
        &self,
        prompt: &mut impl Prompt,
        input: Input,
    ) -> Result<Outcome, ConnectError> {
        let _one = self.asking.try_lock().map_err(|_| ConnectError::UnderWay)?;
        let (begun, events) = oneshot::channel();
        self.command(Command::Begin { input, begun });
        let mut give_up = GiveUp {
            commands: Some(&self.commands),
        };
        let mut events = events.await.map_err(|_| ConnectError::Stopped)?;
        let mut granted = None;
        let mut next = receive(&mut events).await?;
        loop {
            next = match next {
                Event::Challenge { ticket, question } => {
                    let response = tokio::select! {
                        response = prompt.answer(&question) => response,
                        // The attempt went on, or ended, without the user.
                        event = receive_outcome(&mut events) => {
                            next = event?;
                            continue;
                        }
                    };
                    self.command(Command::Input(match response {
                        Some(response) => Input::UserResponded {
                            challenge: ticket,
                            response,
                        },
                        None => Input::UserCancelled,
                    }));
                    receive(&mut events).await?
                }
                Event::TunnelUp {
                    session,
                    addresses,
                    ends_in,
                }
                | Event::Renewed {
                    session,
                    addresses,
                    ends_in,
                } => {
                    give_up.commands = None;
                    return Ok(Outcome::Connected(Connected {
                        session,
                        addresses,
                        ends_in,
                    }));
                }
                Event::Enrolled { factor } => {
                    give_up.commands = None;
                    return Ok(Outcome::Enrolled(factor));
                }
                Event::Failed { failure } => {
                    give_up.commands = None;
                    return Err(failure.into());
                }
                Event::Granted { session } => {
                    granted = Some(session);
                    receive(&mut events).await?
                }
                Event::Ended { session, reason } if granted == Some(session) => {
                    return Err(ConnectError::Ended(reason));
                }
                Event::Ended { .. }
                | Event::Live
                | Event::Ending { .. }
                | Event::MfaRequired { .. }
                | Event::Unreachable { .. }
                | Event::Reachable
                | Event::TunnelSilent
                | Event::SignOutUnconfirmed
                | Event::RemovalFailed => receive(&mut events).await?,
            };
        }
    }

    /// A client whose task is gone answers nothing more; the caller sees that elsewhere.
    fn command(&self, command: Command) {
        _ = self.commands.send(command);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("phase", &self.status())
            .finish_non_exhaustive()
    }
}

/// Gives the attempt up when its caller does.
struct GiveUp<'a> {
    commands: Option<&'a mpsc::UnboundedSender<Command>>,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(commands) = self.commands {
            _ = commands.send(Command::Input(Input::UserCancelled));
        }
    }
}

async fn receive(events: &mut broadcast::Receiver<Event>) -> Result<Event, ConnectError> {
    loop {
        match events.recv().await {
            Ok(event) => return Ok(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(ConnectError::Stopped),
        }
    }
}

/// The next event that decides an attempt while the user is being asked.
async fn receive_outcome(events: &mut broadcast::Receiver<Event>) -> Result<Event, ConnectError> {
    loop {
        let event = receive(events).await?;
        if matches!(
            event,
            Event::Challenge { .. }
                | Event::Failed { .. }
                | Event::TunnelUp { .. }
                | Event::Enrolled { .. }
        ) {
            return Ok(event);
        }
    }
}

/// Why there is no tunnel, or no more time for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The attempt failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The session was granted, and ended before its tunnel was up.
    #[error("{0}")]
    Ended(EndReason),
    /// The endpoint's name has no address.
    #[error(
        "the address of the WireGuard endpoint {endpoint} can't be found: check this device's network connection, and that the endpoint in the profile is right"
    )]
    Endpoint {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// An attempt of this client's is under way.
    #[error("a sign-in is under way already: finish or cancel it first")]
    UnderWay,
    /// The client has stopped.
    #[error("the client has stopped: make a new one")]
    Stopped,
}

impl ConnectError {
    /// Whether the same call may succeed later without anyone changing anything.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.is_retryable(),
            Self::Ended(reason) => reason.requires_sign_in(),
            Self::Endpoint { .. } | Self::UnderWay => true,
            Self::Stopped => false,
        }
    }

    /// Whether the gate itself said no to this user or device.
    pub const fn is_denied(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.is_denied(),
            Self::Ended(reason) => matches!(reason, EndReason::Revoked),
            Self::Endpoint { .. } | Self::UnderWay | Self::Stopped => false,
        }
    }
}

/// What of a signing out was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignOutError {
    /// The tunnel is down, but the gate could not be told.
    #[error(
        "you are signed out on this device, but the gate could not be told: the session stays open there until its own end, or until your administrator revokes it"
    )]
    Unconfirmed,
    /// The tunnel is not down in time. The client keeps trying.
    #[error(
        "the tunnel could not be taken down: close this app, or take the WireGuard interface down by hand"
    )]
    StillUp,
    /// The client has stopped.
    #[error("the client has stopped: its tunnel is down")]
    Stopped,
}
