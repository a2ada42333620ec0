//! What helps to test against this crate: conformance suites for the three traits, fakes with
//! faults on a schedule, a clock that stands still until told otherwise, and a log that fails the
//! test when a secret is in it.

pub mod clock;
pub mod fake_interface;
mod faulty_store;
pub mod interface;
mod secret_watch;
pub mod store;
pub mod verifier;

pub use clock::SimClock;
pub use faulty_store::{FaultyStore, StoreCall, StoreFault};
pub use secret_watch::{Leak, SecretWatch};
