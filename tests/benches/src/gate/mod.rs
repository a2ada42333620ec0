//! `gate.…`: what the gate costs.

pub(crate) mod admission;
mod durable;
mod keyed;
mod machine;
pub(crate) mod office;
mod primitives;
pub(crate) mod records;
mod removal;
mod store;

use crate::floor::Error;
use crate::report::Report;

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    machine::rows(report)?;
    store::rows(report)?;
    keyed::rows(report)?;
    admission::rows(report)?;
    durable::rows(report)?;
    removal::rows(report)
}
