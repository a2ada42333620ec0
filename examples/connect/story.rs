//! What happens, in words.

use std::time::Duration;

use mfagate::client::Event;

/// An event in words; `None` for what the sign-in itself shows.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "events to come are no news to this program"
)]
pub(crate) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Live => "The tunnel carries packets.".to_owned(),
        Event::Renewed { ends_in, .. } => format!("Renewed, for {}.", span(*ends_in)),
        Event::Ending { ends_in, renewable } => {
            let how = if *renewable {
                "it will be renewed"
            } else {
                "it can't be renewed without a code"
            };
            format!("The session ends in {}: {how}.", span(*ends_in))
        }
        Event::MfaRequired { ends_in } => {
            format!("A code is needed within {} to go on.", span(*ends_in))
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
        Event::Ended { reason, .. } => format!("The session is over: {reason}."),
        Event::RemovalFailed => {
            "The tunnel could not be taken down; this is tried again.".to_owned()
        }
        _ => return None,
    })
}

/// A span in whole seconds.
pub(crate) fn span(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}
