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
//! | `endpoint` | which of its addresses the tunnel uses |
//! | `events` | what an app is told, for each reader |
//! | `exchange` | a message to the gate, over the channel and a transport |
//! | `handover` | saving a session, and going on with one |
//! | `held` | that a binding can hold it all |
//! | `saved` | a saved session as sealed bytes |
//! | `tunnel` | the calls of the interface, one after the other |

mod builder;
mod driver;
mod endpoint;
mod events;
mod exchange;
mod handover;
mod held;
mod onboarding;
mod profile;
#[cfg(feature = "profile")]
mod profile_file;
mod prompt;
mod saved;
#[cfg(test)]
mod tests;
mod tunnel;
#[cfg(feature = "netstack")]
mod up;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

pub(crate) use builder::BuildFault;
pub use builder::{BuildError, ClientBuilder, ClientTimeouts};
pub use endpoint::{Endpoint, ParseEndpointError};
pub use events::ClientEvents;
pub use handover::{ResumeError, Resumed, SaveError};
pub use onboarding::Onboarding;
pub use profile::Profile;
#[cfg(feature = "profile")]
pub use profile_file::ProfileError;
#[cfg(feature = "profile")]
pub(crate) use profile_file::ProfileFault;
pub use prompt::{Prompt, PromptFailed, PromptFn, prompt_fn};
pub use saved::{HandoverKey, SavedSession};
#[cfg(feature = "netstack")]
pub use up::{Tunnel, UpError};

use crate::client::{
    AttemptFailure, EnrolRequest, ErrorKind, Event, Input, Machine, Phase, SessionEnd, Traffic,
};
use crate::id::{FactorId, SessionId};
use crate::interface::InterfaceBackend;
use crate::time::Clock;
use driver::Command;

/// A client of one location. When it is dropped, whatever it is doing then, the user is signed out,
/// an attempt that is open is closed at the gate and the tunnel comes down, in a task that goes on
/// for as long as that takes and then lets go of the interface. A program that ends before that
/// leaves it undone: wait for [`Client::sign_out`] first.
///
/// ```no_run
/// # #[cfg(feature = "http-client")]
/// # async fn run(
/// #     profile: mfagate::client::Profile,
/// #     interface: std::sync::Arc<dyn mfagate::interface::InterfaceBackend>,
/// #     mut prompt: impl mfagate::client::Prompt,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use mfagate::client::Client;
///
/// let client = Client::builder(profile).interface(interface).build()?;
/// client.connect(&mut prompt).await?;
/// while let Some(event) = client.next_event().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a client that is dropped signs the user out"]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    machine: Arc<Mutex<Machine>>,
    clock: Arc<dyn Clock>,
    events: tokio::sync::Mutex<ClientEvents>,
    /// Never read: readers that are made later begin where this is.
    from_now: broadcast::Receiver<Event>,
    /// Held while the user is being asked: one attempt at a time.
    asking: tokio::sync::Mutex<()>,
    endpoint: Arc<endpoint::Resolved>,
    /// Weak, so that the interface is let go of when the client's task ends.
    interface: Weak<dyn InterfaceBackend>,
    interface_timeout: Duration,
    identity: saved::Identity,
    runtime: Handle,
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
    pub ends_in: Duration,
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
    /// Cancel safe: dropping it gives the attempt up, which is closed at the gate in the background.
    /// A grant that is under way by then, or whose tunnel is not up yet, is given back; a session
    /// that was live before goes on.
    ///
    /// # Errors
    /// [`ConnectError`]. A session that was live before goes on, unless it says
    /// [`ConnectError::Ended`].
    pub async fn connect(
        &self,
        prompt: &mut (impl Prompt + ?Sized),
    ) -> Result<Connected, ConnectError> {
        self.tunnel(prompt, Input::Start).await
    }

    /// Gives the live session more time. Asks the user only where the gate asks for a factor.
    ///
    /// Cancel safe as [`Client::connect`] is.
    ///
    /// # Errors
    /// [`ConnectError`], with [`AttemptFailure::NotSignedIn`] when there is no session.
    pub async fn renew(
        &self,
        prompt: &mut (impl Prompt + ?Sized),
    ) -> Result<Connected, ConnectError> {
        self.tunnel(prompt, Input::Renew).await
    }

    /// Enrols a factor: with a one-time token, or once the user has passed the factors that the
    /// location asks for. A live session goes on.
    ///
    /// Cancel safe: dropping it gives the attempt up. What was answered last may still be taken.
    ///
    /// # Errors
    /// [`ConnectError`], with [`AttemptFailure::BadToken`] and [`AttemptFailure::NotEnrollable`] among others.
    pub async fn enrol(
        &self,
        factor: EnrolRequest,
        prompt: &mut (impl Prompt + ?Sized),
    ) -> Result<FactorId, ConnectError> {
        match self.attempt(prompt, Input::Enrol { factor }).await? {
            Outcome::Enrolled(factor) => Ok(factor),
            Outcome::Connected(_) => Err(AttemptFailure::Unexpected.into()),
        }
    }

    async fn tunnel(
        &self,
        prompt: &mut (impl Prompt + ?Sized),
        input: Input,
    ) -> Result<Connected, ConnectError> {
        // The caller may be polled by an executor that knows no timers.
        let endpoint = Arc::clone(&self.endpoint);
        let resolved = self.runtime.spawn(async move { endpoint.resolve().await });
        resolved.await.map_err(|_| ConnectError::Stopped)??;
        match self.attempt(prompt, input).await? {
            Outcome::Connected(connected) => Ok(connected),
            Outcome::Enrolled(_) => Err(AttemptFailure::Unexpected.into()),
        }
    }

    /// The next event since the client was built; `None` once it has stopped. All callers share one
    /// reader, as [`ClientEvents::next`] has it: for a reader of one's own, there is
    /// [`events`](Self::events).
    ///
    /// Cancel safe.
    pub async fn next_event(&self) -> Option<Event> {
        self.events.lock().await.next().await
    }

    /// A reader of the events from now on, independent of all others. It may outlive the client.
    pub fn events(&self) -> ClientEvents {
        ClientEvents::new(self.from_now.resubscribe())
    }

    /// The client's state now.
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

    /// Signs the user out. Returns when the tunnel and what an earlier run left are down, and the
    /// gate has been told: that the session is over, or that an attempt was given up. What takes
    /// longer than [`ClientTimeouts::sign_out`] goes on in the background.
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

    /// Says that the app reports wake-ups ([`woke`](Self::woke)), changes of the network
    /// ([`network_changed`](Self::network_changed)) and traffic
    /// ([`report_traffic`](Self::report_traffic)) from now on, or does so no more. While it does, the
    /// client does not look at the tunnel by itself, and wakes the device for its deadlines only: a
    /// renewal, a warning, a lease's end, a reply that is overdue.
    ///
    /// What the app then fails to report goes unnoticed until the next deadline: a wall clock that
    /// was set, a tunnel through which nothing comes. The gate ends leases on time regardless.
    pub fn set_quiet(&self, is_quiet: bool) {
        self.command(Command::Input(Input::Quiet { is_quiet }));
    }

    /// Reports the tunnel's traffic since it was put up. A gate that is to be asked, because nothing
    /// comes back, is asked after [`Config::silence`](crate::client::Config::silence).
    pub fn report_traffic(&self, traffic: Traffic) {
        self.command(Command::Input(Input::TrafficReported { traffic }));
    }

    /// Signs out, as [`sign_out`](Self::sign_out) does, and stops the client for good. Its readers
    /// get the events up to that, and then `None`; other calls get "stopped" errors.
    ///
    /// Cancel safe: once it was polled, the closing goes on without it.
    ///
    /// # Errors
    /// [`SignOutError`], also when only the gate could not be told.
    pub async fn close(&self) -> Result<(), SignOutError> {
        let (done, wait) = oneshot::channel();
        self.command(Command::Close { done });
        wait.await.unwrap_or(Err(SignOutError::Stopped))
    }

    /// Stops without signing out: the session stays live at the gate until its own end, and the
    /// tunnel as it is. For a program that hands the tunnel on: to `wg-quick`, or with
    /// [`save_session`](Self::save_session) to another client. Readers of events come to their end.
    pub fn detach(&self) {
        self.command(Command::Detach);
    }

    async fn attempt(
        &self,
        prompt: &mut (impl Prompt + ?Sized),
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
                        // `give_up` closes the attempt at the gate where the app's code failed.
                        response = prompt.answer(&question) => response?,
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
                // Its end would be waited for as long as the interface refuses.
                Event::RemovalFailed if granted.is_some() => {
                    return Err(ConnectError::StillUp);
                }
                Event::Ended { .. }
                | Event::Live
                | Event::Ending { .. }
                | Event::MfaRequired { .. }
                | Event::Unreachable { .. }
                | Event::Reachable
                | Event::TunnelSilent
                | Event::EndpointMoved { .. }
                | Event::SignOutUnconfirmed
                | Event::CancelUnconfirmed
                | Event::RemovalFailed
                | Event::Lagged { .. } => receive(&mut events).await?,
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
                | Event::Renewed { .. }
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
    Failed(#[from] AttemptFailure),
    /// The session was granted, and ended before its tunnel was up.
    #[error("{0}")]
    Ended(SessionEnd),
    /// The session was granted and ended, and its tunnel, which the interface did not put up, can't be
    /// taken down for certain. The client keeps trying, until its end.
    #[error(
        "the WireGuard interface refuses: the tunnel could be neither put up nor taken down: close this app, or take the interface down by hand"
    )]
    StillUp,
    /// The endpoint's name has no address.
    #[error(
        "the address of the WireGuard endpoint {endpoint} can't be found: check this device's network connection, and that the endpoint in the profile is right"
    )]
    Endpoint {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The app's own [`Prompt`] failed. The attempt was given up.
    #[error("{0}")]
    Prompt(#[from] PromptFailed),
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
            Self::StillUp | Self::Prompt(_) | Self::Stopped => false,
        }
    }

    /// What an app is to do about it.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed(failure) => failure.kind(),
            Self::Ended(reason) => reason.kind(),
            Self::Endpoint { .. } => ErrorKind::NotAvailable,
            Self::StillUp | Self::Prompt(_) | Self::UnderWay | Self::Stopped => ErrorKind::Fault,
        }
    }

    /// Whether the gate itself said no to this user or device.
    pub const fn is_denied(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.is_denied(),
            Self::Ended(reason) => matches!(reason, SessionEnd::Revoked),
            Self::StillUp
            | Self::Endpoint { .. }
            | Self::Prompt(_)
            | Self::UnderWay
            | Self::Stopped => false,
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
    /// No one is signed in any more, but the gate could not be told that the attempt was given up.
    #[error(
        "the sign-in is cancelled on this device, but the gate could not be told: it forgets the attempt by itself some minutes later"
    )]
    AttemptOpen,
    /// The tunnel is not down in time. The client keeps trying.
    #[error(
        "the tunnel could not be taken down: close this app, or take the WireGuard interface down by hand"
    )]
    StillUp,
    /// The client has stopped.
    #[error("the client has stopped: its tunnel is down")]
    Stopped,
}
