//! The client: it runs inside an app or a script, proves the factors, brings the tunnel up and keeps
//! it up.
//!
//! A [`Client`] has a [`Profile`], which an administrator hands out, a WireGuard
//! [interface](crate::interface) and a [`Prompt`] that asks the user.
//!
//! # Inside
//!
//! What decides is a machine, which is not public: `runtime` drives it. It is sans-IO: no socket, no
//! clock, no key and no task is in it. It runs the ceremony, says when the tunnel comes and goes,
//! renews, and tells *revoked or expired* from *network down*.
//!
//! What holds, whatever the inputs:
//!
//! - the tunnel is put up only for a grant that answers the current attempt, or for a saved session
//!   that the gate says is live, and is taken down at the end of its lease at the latest. The lease
//!   counts from the *sending* of the request that won it, by whichever of the two clocks runs ahead;
//! - only the gate's own word ends a live session early. A transport's failure and a refusal that
//!   anyone on the way could have made never do;
//! - no event carries a secret.
//!
//! | file | concern |
//! |---|---|
//! | `config` | the figures |
//! | `input`, `action`, `event` | what goes in and what comes out |
//! | `machine` | the state, dispatch, deadlines |
//! | `challenge` | what the user is asked, and does about it |
//! | `ceremony`, `reply` | an attempt: its steps, and what the gate says in it |
//! | `admission` | from a grant to a lease |
//! | `tunnel` | installing, renewing and removing, with their outcomes |
//! | `renewal` | more time for a live lease |
//! | `lease` | a lease's end and warning; signing out |
//! | `resume` | handing a session over, and going on with one |
//! | `watch` | is the tunnel alive, and if not, what does the gate say |
//! | `attempt_failure` | the texts that people read |
//! | `error_kind` | what an app is to do about a failure |
//! | `phase` | where the client stands, at a glance |
//! | `offset` | the difference between the gate's clock and this one |

#![cfg_attr(
    not(feature = "testing"),
    allow(
        unnameable_types,
        unreachable_pub,
        reason = "what `engine` has is public for benches and fuzz targets, behind `testing`"
    )
)]

mod action;
mod admission;
mod attempt_failure;
mod ceremony;
mod challenge;
mod config;
mod error_kind;
mod event;
mod input;
mod lease;
mod machine;
mod offset;
mod phase;
mod renewal;
mod reply;
mod resume;
#[cfg(test)]
mod tests;
mod tunnel;
mod watch;

pub use crate::channel::message::EnrolRequest;
pub use action::Ticket;
pub(crate) use action::{Action, Opening};
pub use attempt_failure::AttemptFailure;
pub use challenge::{AuthChallenge, Response};
pub use config::{Config, Renewal};
pub use error_kind::ErrorKind;
pub use event::{Event, Needs, SessionEnd};
pub(crate) use input::Input;
pub use input::Traffic;
pub(crate) use machine::Machine;
pub use phase::Phase;
pub(crate) use resume::{ResumeRefusal, SavedLease};
pub use watch::Health;

#[cfg(feature = "profile")]
pub use crate::runtime::ProfileError;
pub use crate::runtime::{
    BuildError, Client, ClientBuilder, ClientEvents, ClientTimeouts, ConnectError, Connected,
    Endpoint, HandoverKey, HttpPost, HttpResponse, Onboarding, ParseEndpointError, PostFailed,
    PostTransport, Profile, Prompt, PromptFailed, PromptFn, ResumeError, Resumed, SaveError,
    SavedSession, SignOutError, prompt_fn,
};
#[cfg(feature = "netstack")]
pub use crate::runtime::{Tunnel, UpError};

/// The machine, for benches and tests of this project. It is not a part of the API: what is here
/// changes without notice.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod engine {
    pub use super::action::{Action, Opening};
    pub use super::input::{Input, Traffic};
    pub use super::machine::Machine;
    pub use super::resume::{ResumeRefusal, SavedLease};
}
