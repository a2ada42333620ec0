//! What happens, in words and as JSON.

use std::time::Duration;

use mfagate::client::{Event, Needs};
use serde_json::{Value, json};

/// An event for the console: in words, and as a line of JSON; `None` for what the sign-in itself
/// shows.
pub(crate) fn told(event: &Event) -> Option<(String, Value)> {
    Some((line(event)?, json(event)?))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "events to come are no news to this program"
)]
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Live => "The tunnel carries packets.".to_owned(),
        Event::Renewed { ends_in, .. } => format!("Renewed, for {}.", span(*ends_in)),
        Event::Ending { ends_in, needs } => {
            let how = match needs {
                Needs::Nothing | Needs::Request => "it will be renewed",
                _ => "it takes a factor to go on",
            };
            format!("The session ends in {}: {how}.", span(*ends_in))
        }
        Event::MfaRequired { ends_in } => {
            format!("A factor is needed within {} to go on.", span(*ends_in))
        }
        Event::Unreachable { error, ends_in } => format!(
            "{error}; the tunnel stays for {} at the most.",
            span(*ends_in)
        ),
        Event::Reachable => "The gate is reached again.".to_owned(),
        Event::TunnelSilent => {
            "The session is live, but nothing comes through the tunnel: is UDP blocked on the way?"
                .to_owned()
        }
        Event::EndpointMoved { endpoint } => {
            format!("The tunnel goes to another address of the gate from now on: {endpoint}.")
        }
        Event::Ended { reason, .. } => format!("The session is over: {reason}."),
        Event::RemovalFailed => {
            "The tunnel could not be taken down; this is tried again.".to_owned()
        }
        _ => return None,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "events to come are no news to this program"
)]
fn json(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Live => json!({"type": "live"}),
        Event::Renewed {
            session, ends_in, ..
        } => json!({"type": "renewed", "session": session, "ends_in_ms": millis(*ends_in)}),
        Event::Ending { ends_in, needs } => json!({
            "type": "ending",
            "ends_in_ms": millis(*ends_in),
            "renewable": *needs != Needs::Factor,
            "needs": match needs {
                Needs::Nothing => "nothing",
                Needs::Request => "request",
                _ => "factor",
            },
        }),
        Event::MfaRequired { ends_in } => {
            json!({"type": "mfa_required", "ends_in_ms": millis(*ends_in)})
        }
        Event::Unreachable { error, ends_in } => json!({
            "type": "unreachable",
            "error": error.to_string(),
            "ends_in_ms": millis(*ends_in),
        }),
        Event::Reachable => json!({"type": "reachable"}),
        Event::TunnelSilent => json!({"type": "tunnel_silent"}),
        Event::EndpointMoved { endpoint } => {
            json!({"type": "endpoint_moved", "endpoint": endpoint})
        }
        Event::Ended { session, reason } => {
            json!({"type": "ended", "session": session, "reason": reason.to_string()})
        }
        Event::RemovalFailed => json!({"type": "removal_failed"}),
        _ => return None,
    })
}

/// A span in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A span in whole seconds.
pub(crate) fn span(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}
