//! What helps to test against this crate: conformance suites for the three traits, fakes with
//! faults on a schedule, and a clock that stands still until told otherwise.

pub mod clock;
pub mod fake_interface;
mod faulty_store;
pub mod interface;
pub mod store;

pub use clock::SimClock;
pub use faulty_store::{FaultyStore, StoreCall, StoreFault};
