//! What a client is made of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};

use super::endpoint::Resolved;
use super::events::ClientEvents;
use super::exchange::{GateConnection, Limits};
use super::saved::Identity;
use super::tunnel::Tunnel;
use super::{Client, Profile, driver};
use crate::channel::message::Posture;
use crate::channel::transport::{Transport, TransportError};
use crate::client::{Config, Event, Machine};
use crate::interface::InterfaceBackend;
use crate::runtime::{IntoArc, SystemClock};
use crate::time::{Clock, Now};

/// How many events a slow reader may lag behind.
const EVENTS_KEPT: usize = 256;

/// What becomes of the peer that an earlier client may have left on the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnInterface {
    /// It is taken off.
    IsCleared,
    /// It stays, for a session that is resumed.
    IsKept,
}

/// A client in the making.
#[must_use]
pub struct ClientBuilder {
    profile: Profile,
    interface: Option<Arc<dyn InterfaceBackend>>,
    transports: Vec<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
    config: Config,
    timeouts: ClientTimeouts,
    posture: Posture,
    runtime: Option<Handle>,
}

/// How long a client waits for others. What takes longer counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTimeouts {
    /// One round trip of a transport.
    pub round_trip: Duration,
    /// One call of the interface.
    pub interface: Duration,
    /// Looking the endpoint's name up.
    pub lookup: Duration,
    /// A signing out, until [`sign_out`](super::Client::sign_out) gives up waiting for it; it goes
    /// on in the background.
    pub sign_out: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            round_trip: Duration::from_secs(10),
            interface: Duration::from_secs(10),
            lookup: Duration::from_secs(5),
            sign_out: Duration::from_secs(20),
        }
    }
}

impl ClientBuilder {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            interface: None,
            transports: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            config: Config::default(),
            timeouts: ClientTimeouts::default(),
            posture: Posture::default(),
            runtime: None,
        }
    }

    /// The WireGuard interface that the tunnel is put on. It is the client's alone: where the
    /// tunnel can't be taken down, the client takes the interface down.
    pub fn interface(mut self, interface: impl IntoArc<dyn InterfaceBackend>) -> Self {
        self.interface = Some(interface.into_arc());
        self
    }

    /// A way to a gate of the location, after those given before. Without any, the profile's
    /// control URLs are reached over HTTP (feature `http-client`), outside the tunnel.
    pub fn transport(mut self, transport: impl IntoArc<dyn Transport>) -> Self {
        self.transports.push(transport.into_arc());
        self
    }

    /// The time; the system's clocks by default.
    pub fn clock(mut self, clock: impl IntoArc<dyn Clock>) -> Self {
        self.clock = clock.into_arc();
        self
    }

    /// The machine's figures. What the gate is called is taken from the first transport.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How long to wait for others.
    pub const fn timeouts(mut self, timeouts: ClientTimeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// What to tell the gate's authoriser of this device, such as its system's version.
    pub fn posture(mut self, posture: Posture) -> Self {
        self.posture = posture;
        self
    }

    /// The tokio runtime that the client's tasks run in; without one, the runtime in which it is
    /// built. With one, the client may be built, and its futures polled, outside of any runtime: by
    /// the executor of another language, say. The runtime must have its timers and I/O enabled.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Makes the client and starts its task. The location's peer is taken off the interface, where
    /// an earlier run left it.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Client, BuildError> {
        let (client, _) =
            self.assemble(|config, _| (Machine::new(config), OnInterface::IsCleared))?;
        Ok(client)
    }

    pub(super) const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Makes a client with this machine, and a receiver that misses none of its events.
    pub(super) fn assemble(
        mut self,
        machine: impl FnOnce(Config, Now) -> (Machine, OnInterface),
    ) -> Result<(Client, broadcast::Receiver<Event>), BuildFault> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| BuildFault::NoRuntime)?,
        };
        let _inside = runtime.enter();
        let interface = self.interface.take().ok_or(BuildFault::NoInterface)?;
        let transports = self.transports(&interface)?;
        if let Some(transport) = transports.first() {
            transport.gate().clone_into(&mut self.config.gate);
        }
        let limits = Limits {
            foreground: self.config.foreground,
            exchange: self.config.exchange,
        };
        let identity = Identity::of(&self.profile);
        let (machine, on_interface) = machine(self.config, self.clock.now());
        let machine = Arc::new(Mutex::new(machine));
        let endpoint = Resolved::new(
            self.profile.endpoint.clone(),
            self.timeouts.lookup,
            transports.clone(),
        );
        let endpoint = Arc::new(endpoint);
        let weak = Arc::downgrade(&interface);
        let tunnel = Tunnel::new(
            interface,
            &self.profile,
            Arc::clone(&endpoint),
            self.timeouts.interface,
            on_interface,
        );
        let link = GateConnection::new(
            self.profile,
            transports,
            Arc::clone(&self.clock),
            self.timeouts.round_trip,
            limits,
            self.posture,
        );
        let (commands, inbox) = mpsc::unbounded_channel();
        let (sender, events) = broadcast::channel(EVENTS_KEPT);
        let first = sender.subscribe();
        let driver = driver::Driver::new(
            Arc::clone(&machine),
            Arc::clone(&self.clock),
            link,
            tunnel,
            sender,
            self.timeouts.sign_out,
        );
        runtime.spawn(driver.run(inbox));
        let client = Client {
            commands,
            machine,
            clock: self.clock,
            events: tokio::sync::Mutex::new(ClientEvents::new(events)),
            from_now: first.resubscribe(),
            asking: tokio::sync::Mutex::new(()),
            endpoint,
            interface: weak,
            interface_timeout: self.timeouts.interface,
            identity,
            runtime: runtime.clone(),
        };
        Ok((client, first))
    }

    /// The transports that were given, or else those of the profile's control URLs.
    fn transports(
        &mut self,
        interface: &Arc<dyn InterfaceBackend>,
    ) -> Result<Vec<Arc<dyn Transport>>, BuildFault> {
        let given = std::mem::take(&mut self.transports);
        let transports = if given.is_empty() {
            from_urls(&self.profile.control, interface)?
        } else {
            given
        };
        if transports.is_empty() {
            return Err(BuildFault::NoTransport);
        }
        Ok(transports)
    }
}

#[cfg(feature = "http-client")]
fn from_urls(
    urls: &[String],
    interface: &Arc<dyn InterfaceBackend>,
) -> Result<Vec<Arc<dyn Transport>>, BuildFault> {
    let mut transports: Vec<Arc<dyn Transport>> = Vec::new();
    for url in urls {
        let transport = crate::runtime::HttpTransport::outside(url, Arc::clone(interface))?;
        transports.push(Arc::new(transport));
    }
    Ok(transports)
}

/// Without an HTTP stack, the app brings the transports.
#[cfg(not(feature = "http-client"))]
const fn from_urls(
    _: &[String],
    _: &Arc<dyn InterfaceBackend>,
) -> Result<Vec<Arc<dyn Transport>>, BuildFault> {
    Ok(Vec::new())
}

crate::error_code::opaque! {
    /// Why a client can't be made.
    #[derive(Clone, PartialEq, Eq)]
    pub struct BuildError(BuildFault);
}

/// What is behind [`BuildError`].
#[allow(dead_code, reason = "some features only have all of these reasons")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildFault {
    /// No interface was given.
    #[error("the client has no WireGuard interface: give it one")]
    NoInterface,
    /// There is no way to a gate.
    #[error(
        "the client has no way to a gate: add a control URL to the profile, or give the client a transport"
    )]
    NoTransport,
    /// A control URL can't be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no tokio runtime to run in.
    #[error("the client must be made within a tokio runtime, or be given one")]
    NoRuntime,
}
