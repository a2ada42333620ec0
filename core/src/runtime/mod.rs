//! The tokio shell that drives the two machines and owns every trait object.

mod client;
mod clock;
#[cfg(feature = "gate")]
mod gate;
mod transport;

#[cfg(feature = "profile")]
pub use client::ProfileError;
pub use client::{
    BuildError, Client, ClientBuilder, ClientTimeouts, ConnectError, Connected, Endpoint,
    ParseEndpointError, Profile, Prompt, SignOutError,
};
pub use clock::SystemClock;
#[cfg(feature = "gate")]
pub use gate::{Events, Gate, GateConfig, RevokeError, SessionView, StartError, Timeouts};
pub use transport::{Transport, TransportError};
