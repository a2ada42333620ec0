//! The tokio shell that drives the two machines and owns every trait object.

mod clock;
#[cfg(feature = "gate")]
mod gate;

pub use clock::SystemClock;
#[cfg(feature = "gate")]
pub use gate::{Events, Gate, GateConfig, RevokeError, SessionView, StartError, Timeouts};
