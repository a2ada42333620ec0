//! The tokio shell that drives the two machines and owns every trait object.

mod clock;

pub use clock::SystemClock;
