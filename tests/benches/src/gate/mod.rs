//! `gate.…`: what the gate costs.

mod machine;
mod records;
mod store;

use crate::floor::Error;
use crate::report::Report;

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    machine::rows(report)?;
    store::rows(report)
}
