//! The live sessions: seen and ended, through the daemon where one runs.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::id::{SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::runtime::SystemClock;
use mfagate::store::{EndReason, PeerStore, SessionRecord};
use mfagate::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use crate::left::Left;
use crate::output::Output;
use crate::settings::Settings;
use crate::socket;
use crate::target::Target;

/// What the daemon says of a peer that has a session or is on the interface: both or neither, but
/// for the moment of a change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) peer: PublicKey,
    pub(crate) session: Option<Live>,
    pub(crate) traffic: Option<Traffic>,
}

/// A live session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) not_after_ms: u64,
}

/// What passes over the interface, in bytes, WireGuard's own included.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) last_handshake_ms: Option<u64>,
}

/// Lists the live sessions: for people, or as a line of JSON each.
pub(crate) async fn list(settings: &Settings, output: Output) -> Result<(), Box<dyn Error>> {
    let seen = match socket::sessions(settings).await? {
        Some(seen) => seen,
        None => stored(settings).await?,
    };
    if output == Output::Programs {
        for one in &seen {
            println!("{}", serde_json::to_string(one)?);
        }
        return Ok(());
    }
    println!("{:32}  {:44}  USER", "SESSION", "PEER");
    let now = SystemClock::new().now().timestamp;
    for one in &seen {
        println!("{}", in_words(one, now));
    }
    Ok(())
}

/// What the store knows. Without a daemon nobody is let onto an interface; who was left on one that
/// outlived it stays until a daemon starts, or they are revoked.
async fn stored(settings: &Settings) -> Result<Vec<Seen>, Box<dyn Error>> {
    eprintln!("The daemon is not running: these sessions open again when it does.");
    let store = settings.store()?;
    let records = store.live_sessions(&settings.location).await?;
    let seen = records.into_iter().map(|record| Seen {
        peer: record.peer,
        session: Some(Live {
            id: record.id,
            user: record.user,
            not_after_ms: record.not_after.as_millis(),
        }),
        traffic: None,
    });
    Ok(seen.collect())
}

fn in_words(seen: &Seen, now: Timestamp) -> String {
    let (id, user) = match &seen.session {
        Some(live) => (
            live.id.to_string(),
            format!("{}, for {}", live.user, until(live.not_after_ms, now)),
        ),
        None => ("(none)".to_owned(), "(nobody)".to_owned()),
    };
    let traffic = match &seen.traffic {
        Some(Traffic {
            received,
            sent,
            last_handshake_ms: Some(at),
        }) => {
            let ago = span(now.saturating_since(Timestamp::from_millis(*at)));
            format!("{received} B in, {sent} B out, handshake {ago} ago")
        }
        Some(_) => "no handshake yet".to_owned(),
        None => "not on the interface".to_owned(),
    };
    format!("{id:32}  {}  {user}; {traffic}", seen.peer)
}

fn until(millis: u64, now: Timestamp) -> humantime::FormattedDuration {
    span(Timestamp::from_millis(millis).saturating_since(now))
}

fn span(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}

/// Ends sessions by the daemon; or, when there is none, on the interface that it may have left, and
/// in the store.
pub(crate) async fn revoke(settings: &Settings, target: &Target) -> Result<(), Box<dyn Error>> {
    let ended = match socket::revoke(settings, target).await? {
        Some(ended) => ended,
        None => revoke_stored(settings, target).await?,
    };
    println!("Sessions ended: {ended}");
    Ok(())
}

async fn revoke_stored(settings: &Settings, target: &Target) -> Result<usize, Box<dyn Error>> {
    // No daemon can begin to serve what is being revoked.
    let _alone = settings.lock()?;
    let store = settings.store()?;
    // First, so that what could not be removed is found again when this is repeated.
    let removed = remove(settings, target, &*store).await;
    let records = removed.map_err(|why| format!("nothing was revoked: {why}, and revoke again"))?;
    let mut ended = 0;
    for record in records {
        let event = end_of(&record);
        let closed = store.close_session(record.id, EndReason::Revoked, event);
        ended += usize::from(closed.await?);
    }
    Ok(ended)
}

/// After a change that can end sessions of these: where no daemon sees to it, takes them off the
/// interface that it may have left. Whose session is still good is let on when a daemon starts.
pub(crate) async fn settle(settings: &Settings, target: &Target) -> Result<(), Box<dyn Error>> {
    if socket::is_served(settings).await? {
        return Ok(());
    }
    let removed = remove(settings, target, &*settings.store()?).await;
    removed.map_err(|why| format!("the change is made, but {why}, or repeat this command"))?;
    Ok(())
}

/// Takes those who are meant off the interface, with a session or without; gives the sessions.
async fn remove(
    settings: &Settings,
    target: &Target,
    store: &dyn PeerStore,
) -> Result<Vec<SessionRecord>, Box<dyn Error>> {
    let mut records = store.live_sessions(&settings.location).await?;
    records.retain(|record| target.covers(record));
    let mut meant: BTreeSet<_> = records.iter().map(|record| record.peer).collect();
    if let Target::User(user) = target {
        let peers = store.peers(&settings.location).await?;
        let own = peers.into_iter().filter(|peer| peer.user == *user);
        meant.extend(own.map(|peer| peer.key));
    }
    let left = Left::reach(settings).await;
    let removed = left.remove(|peer| {
        let is_meant = target.names(peer) || meant.contains(peer);
        is_meant && settings.interface.manages(peer)
    });
    removed.await?;
    Ok(records)
}

fn end_of(record: &SessionRecord) -> AuditEvent {
    let kind = AuditKind::Ended {
        reason: EndReason::Revoked,
    };
    let mut event = AuditEvent::new(SystemClock::new().now().timestamp, kind);
    event.session = Some(record.id);
    event
}
