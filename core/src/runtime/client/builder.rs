//! What a client is made of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};

use super::endpoint::Resolved;
use super::exchange::Link;
use super::tunnel::Tunnel;
use super::{Client, Profile, driver};
use crate::channel::message::Posture;
use crate::client::{Config, Machine};
use crate::interface::InterfaceBackend;
use crate::runtime::SystemClock;
use crate::runtime::transport::{Transport, TransportError};
use crate::time::Clock;

/// How many events a slow reader may lag behind.
const EVENTS_KEPT: usize = 256;

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
    /// A signing out, until [`sign_out`](super::Client::sign_out) gives up waiting for it.
    pub sign_out: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            round_trip: Duration::from_secs(10),
            interface: Duration::from_secs(10),
            lookup: Duration::from_secs(5),
            sign_out: Duration::from_secs(60),
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
        }
    }

    /// The WireGuard interface that the tunnel is put on. It is the client's alone: where the
    /// tunnel can't be taken down, the client takes the interface down.
    pub fn interface(mut self, interface: Arc<dyn InterfaceBackend>) -> Self {
        self.interface = Some(interface);
        self
    }

    /// A way to a gate of the location, after those given before. Without any, the profile's
    /// control URLs are reached over HTTP (feature `http-client`).
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// The time; the system's clocks by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
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

    /// Makes the client and starts its task. The location's peer is taken off the interface, where
    /// an earlier run left it.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(mut self) -> Result<Client, BuildError> {
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let interface = self.interface.take().ok_or(BuildError::NoInterface)?;
        let transports = self.transports()?;
        if let Some(transport) = transports.first() {
            transport.gate().clone_into(&mut self.config.gate);
        }
        let machine = Arc::new(Mutex::new(Machine::new(self.config)));
        let endpoint = Resolved::new(self.profile.endpoint.clone(), self.timeouts.lookup);
        let endpoint = Arc::new(endpoint);
        let tunnel = Tunnel::new(
            interface,
            &self.profile,
            Arc::clone(&endpoint),
            self.timeouts.interface,
        );
        let link = Link::new(
            self.profile,
            transports,
            Arc::clone(&self.clock),
            self.timeouts.round_trip,
            self.posture,
        );
        let (commands, inbox) = mpsc::unbounded_channel();
        let (sender, events) = broadcast::channel(EVENTS_KEPT);
        let driver = driver::Driver::new(
            Arc::clone(&machine),
            Arc::clone(&self.clock),
            link,
            tunnel,
            sender,
            self.timeouts.sign_out,
        );
        runtime.spawn(driver.run(inbox));
        Ok(Client {
            commands,
            machine,
            clock: self.clock,
            events: tokio::sync::Mutex::new(events),
            asking: tokio::sync::Mutex::new(()),
            endpoint,
        })
    }

    /// The transports that were given, or else those of the profile's control URLs.
    fn transports(&mut self) -> Result<Vec<Arc<dyn Transport>>, BuildError> {
        let given = std::mem::take(&mut self.transports);
        let transports = if given.is_empty() {
            from_urls(&self.profile.control)?
        } else {
            given
        };
        if transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        Ok(transports)
    }
}

#[cfg(feature = "http-client")]
fn from_urls(urls: &[String]) -> Result<Vec<Arc<dyn Transport>>, BuildError> {
    let mut transports: Vec<Arc<dyn Transport>> = Vec::new();
    for url in urls {
        transports.push(Arc::new(crate::http::HttpTransport::new(url)?));
    }
    Ok(transports)
}

/// Without an HTTP stack, the app brings the transports.
#[cfg(not(feature = "http-client"))]
const fn from_urls(_: &[String]) -> Result<Vec<Arc<dyn Transport>>, BuildError> {
    Ok(Vec::new())
}

/// Why a client can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
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
    #[error("the client must be made within a tokio runtime")]
    NoRuntime,
}
