//! The client's half as a sans-IO machine: it runs the ceremony, says when the tunnel comes and
//! goes, renews, and tells *revoked or expired* from *network down*.
//!
//! No socket, no clock, no key and no task is in it; [`crate::runtime`] brings those. Its contract
//! is that of quinn-proto and str0m: hand it what happened
//! ([`handle_input`](Machine::handle_input), [`handle_timeout`](Machine::handle_timeout)), then
//! drain [`poll_action`](Machine::poll_action) and [`poll_event`](Machine::poll_event) until both
//! are empty, then call `handle_timeout` again when [`poll_timeout`](Machine::poll_timeout) says.
//!
//! What holds, whatever the inputs:
//!
//! - the tunnel is put up only for a grant that answers the attempt at hand, and is taken down at
//!   the end of its lease at the latest. The lease counts from the *sending* of the request that
//!   won it, by whichever of the two clocks runs ahead;
//! - only the gate's own word ends a live session early. A transport's failure and a refusal that
//!   anyone on the way could have made never do;
//! - no event carries a secret.
//!
//! | file | concern |
//! |---|---|
//! | `config` | the figures |
//! | `input`, `action`, `event` | what goes in and what comes out |
//! | `machine` | the state, dispatch, deadlines |
//! | `question` | what the user is asked, and does about it |
//! | `ceremony`, `reply` | an attempt: its steps, and what the gate says in it |
//! | `admission` | from a grant to a lease |
//! | `tunnel` | installing, renewing and removing, with their outcomes |
//! | `renewal` | more time for a live lease |
//! | `lease` | a lease's end and warning; signing out |
//! | `watch` | is the tunnel alive, and if not, what does the gate say |
//! | `failure` | the texts that people read |
//! | `phase` | where the client stands, at a glance |
//! | `offset` | the difference between the gate's clock and this one |

mod action;
mod admission;
mod ceremony;
mod config;
mod event;
mod failure;
mod input;
mod lease;
mod machine;
mod offset;
mod phase;
mod question;
mod renewal;
mod reply;
#[cfg(test)]
mod tests;
mod tunnel;
mod watch;

pub use action::{Action, Opening, Ticket};
pub use config::{Config, Renewal};
pub use event::{EndReason, Event};
pub use failure::Failure;
pub use input::{Input, Traffic};
pub use machine::Machine;
pub use phase::Phase;
pub use question::{NewFactor, Question, Response};
pub use watch::Health;
