//! The live sessions: seen and ended, through the daemon where one runs.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use mfagate::audit::{AuditEvent, AuditKind, EndReason};
use mfagate::id::{SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::store::{AdminStore, PeerStore, SessionRecord};
use mfagate::terminal::printable;
use mfagate::time::{Clock, SystemClock, Timestamp};
use mfagate_examples::program;
use serde::{Deserialize, Serialize};

use crate::output::Output;
use crate::revoke_args::Target;
use crate::settings::Settings;
use crate::socket::{self, Reply, Silent};
use crate::stale_interfaces::StaleInterfaces;

/// What the daemon says of a peer that has a session or is on the interface: both or neither, but
/// for the moment of a change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
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
    let (seen, silent) = match socket::sessions(settings).await? {
        Reply::Done(seen) => (seen, None),
        Reply::Absent => {
            eprintln!("The daemon is not running: these sessions open again when it does.");
            (stored(settings).await?, None)
        }
        Reply::Silent(daemon) => (stored(settings).await?, Some(daemon)),
    };
    say(&seen, output)?;
    silent.map_or(Ok(()), |daemon| {
        let end = daemon.how_to_end();
        Err(format!(
            "{daemon}: these are the sessions that the store has, and who is on the interface is not known; to end the daemon, {end}"
        )
        .into())
    })
}

fn say(seen: &[PeerStatus], output: Output) -> Result<(), Box<dyn Error>> {
    if output == Output::Programs {
        for one in seen {
            println!("{}", program::printable(&serde_json::to_value(one)?));
        }
        return Ok(());
    }
    println!("{:32}  {:44}  USER", "SESSION", "PEER");
    let now = SystemClock::new().now().timestamp;
    for one in seen {
        println!("{}", printable(in_words(one, now)));
    }
    Ok(())
}

/// What the store knows. Without a daemon no one is let onto an interface; who was left on one that
/// outlived it stays until a daemon starts, or they are revoked.
async fn stored(settings: &Settings) -> Result<Vec<PeerStatus>, Box<dyn Error>> {
    let store = settings.store()?;
    let records = store.live_sessions(&settings.location).await?;
    let seen = records.into_iter().map(|record| PeerStatus {
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

fn in_words(seen: &PeerStatus, now: Timestamp) -> String {
    let (id, user) = match &seen.session {
        Some(live) => (
            live.id.to_string(),
            format!("{}, for {}", live.user, until(live.not_after_ms, now)),
        ),
        None => ("(none)".to_owned(), "(no one)".to_owned()),
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
        Reply::Done(ended) => ended,
        Reply::Absent => revoke_stored(settings, target).await?,
        Reply::Silent(daemon) => return Err(revoke_without(settings, target, daemon).await.into()),
    };
    // Afterwards: what ends access does not wait for the store.
    if ended == 0 {
        known(settings, target).await?;
    }
    println!("Sessions ended: {ended}");
    Ok(())
}

/// Does what can be done about sessions whose daemon does not answer, and says what is known: those
/// on an interface that has a life of its own go, and the store has the ends, so that neither this
/// daemon nor the next one goes on with them.
async fn revoke_without(settings: &Settings, target: &Target, daemon: Silent) -> String {
    let removed = match remove(settings, target).await {
        Ok(records) => close(settings, records).await,
        Err(error) => Err(error),
    };
    let known = match removed {
        Ok(ended) => format!("the ends of {ended} sessions are on record"),
        Err(error) => format!("their ends are not on record ({error})"),
    };
    let end = daemon.how_to_end();
    format!(
        "{daemon}, so they may not be out yet: {known}, and it takes them off once it goes on; to have them out now, end it ({end}) and revoke again"
    )
}

async fn revoke_stored(settings: &Settings, target: &Target) -> Result<usize, Box<dyn Error>> {
    // No daemon can begin to serve what is being revoked.
    let _alone = settings.lock()?;
    // First, so that what could not be removed is found again when this is repeated.
    let removed = remove(settings, target).await;
    let records = removed.map_err(|why| format!("nothing was revoked: {why}, and revoke again"))?;
    close(settings, records).await
}

/// Ends sessions in the store; says how many.
async fn close(settings: &Settings, records: Vec<SessionRecord>) -> Result<usize, Box<dyn Error>> {
    let store = settings.store()?;
    let mut ended = 0;
    for record in records {
        let event = end_of(&record);
        let closed = store.close_session(record.id, EndReason::Revoked, event);
        ended += usize::from(closed.await?);
    }
    Ok(ended)
}

/// After a change that can end sessions of these: returns when they are out. Where no daemon sees to
/// it, takes them off the interface that it may have left; whose session is still good is let on
/// when a daemon starts.
///
/// # Errors
/// They may still pass; in words, with what to do.
pub(crate) async fn settle(settings: &Settings, target: &Target) -> Result<(), Box<dyn Error>> {
    let asked = socket::recheck(settings, target).await;
    match asked.map_err(|why| format!("the change is made, but they may not be out yet: {why}"))? {
        Reply::Done(_) => Ok(()),
        Reply::Absent => {
            let removed = remove(settings, target).await;
            removed
                .map_err(|why| format!("the change is made, but {why}, or repeat this command"))?;
            Ok(())
        }
        Reply::Silent(daemon) => {
            let removed = remove(settings, target).await;
            let removed = removed.err().map(|why| format!(" ({why})"));
            let removed = removed.unwrap_or_default();
            let end = daemon.how_to_end();
            Err(format!(
                "the change is made, but {daemon}, so they may not be out yet{removed}: it takes them off once it goes on; to have them out now, end it ({end}) and repeat this command"
            )
            .into())
        }
    }
}

/// An error where the store has never heard of what is meant: it was mistyped.
async fn known(settings: &Settings, target: &Target) -> Result<(), Box<dyn Error>> {
    let store = settings.store()?;
    let (is_known, what) = match target {
        Target::All => return Ok(()),
        Target::User(user) => {
            let users = store.users().await?;
            let is_known = users.iter().any(|known| known.id == *user);
            (
                is_known,
                format!("no user {user}: `user list` shows which there are"),
            )
        }
        Target::Peer(peer) => {
            let enrolment = store.enrolment(&settings.location, peer).await?;
            let what = format!("no peer {peer} is enrolled: `peer list` shows which are");
            (enrolment.is_some(), what)
        }
        Target::Session(session) => {
            let found = store.session(*session).await?;
            let what = format!("no session {session}: `sessions` shows which there are");
            (found.is_some(), what)
        }
    };
    if is_known {
        return Ok(());
    }
    Err(format!("nothing was ended: {what}").into())
}

/// Takes those who are meant off the interface, with a session or without; gives the sessions.
async fn remove(
    settings: &Settings,
    target: &Target,
) -> Result<Vec<SessionRecord>, Box<dyn Error>> {
    let store = settings.store()?;
    let mut records = store.live_sessions(&settings.location).await?;
    records.retain(|record| target.covers(record));
    let mut meant: BTreeSet<_> = records.iter().map(|record| record.peer).collect();
    if let Target::User(user) = target {
        let peers = store.peers(&settings.location).await?;
        let own = peers.into_iter().filter(|peer| peer.user == *user);
        meant.extend(own.map(|peer| peer.key));
    }
    let left = StaleInterfaces::reach(settings).await;
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
