//! The tokio shell that drives the two machines and owns every trait object.

mod client;
#[cfg(feature = "gate")]
mod gate;
#[cfg(feature = "http-client")]
mod http_transport;
mod into_arc;
mod post;

pub(crate) use client::BuildFault;
#[cfg(feature = "profile")]
pub use client::ProfileError;
#[cfg(feature = "profile")]
pub(crate) use client::ProfileFault;
pub use client::{
    BuildError, Client, ClientBuilder, ClientEvents, ClientTimeouts, ConnectError, Connected,
    Endpoint, HandoverKey, Onboarding, ParseEndpointError, Profile, Prompt, PromptFailed, PromptFn,
    ResumeError, Resumed, SaveError, SavedSession, SignOutError, prompt_fn,
};
#[cfg(feature = "netstack")]
pub use client::{Tunnel, UpError};
#[cfg(feature = "sqlite")]
pub use gate::OpenError;
#[cfg(feature = "sqlite")]
pub(crate) use gate::OpenFault;
#[cfg(feature = "gate")]
pub(crate) use gate::{ChangeFault, StartFault};
#[cfg(feature = "gate")]
pub use gate::{
    Events, Gate, GateBuilder, GateConfig, LocationRegistrar, PolicyError, ProfileTemplate,
    RevokeError, SessionView, StartError, Timeouts,
};
#[cfg(feature = "http-client")]
pub use http_transport::HttpTransport;
pub use into_arc::IntoArc;
pub use post::{HttpPost, HttpResponse, PostFailed, PostTransport};

pub(crate) use crate::channel::transport::Transport;
#[cfg(test)]
pub(crate) use crate::channel::transport::TransportError;
pub(crate) use crate::time::SystemClock;
