//! `interface.…`: what a gate costs the interface that it is in front of.
//!
//! Rows are named after the backend. Those of the system's interfaces are measured as root, in
//! network namespaces of their own; those of the kernel's WireGuard on a machine that has it.

mod counted;
mod fleet;
mod network;
mod peers;
mod restart;
mod throughput;

use crate::floor::Error;
use crate::report::Report;

/// Measures what is wanted of this subject, the kernel's WireGuard left out.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    peers::rows(report)?;
    restart::rows(report)?;
    throughput::rows(report)
}

/// Measures what is wanted of the kernel's WireGuard.
pub(crate) fn rows_of_the_kernel(report: &mut Report) -> Result<(), Error> {
    peers::rows_of_the_kernel(report)?;
    restart::rows_of_the_kernel(report)?;
    throughput::rows_of_the_kernel(report)
}
