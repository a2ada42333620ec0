//! The administrator's socket: how the command line reaches the daemon. A process that
//! may open the socket's file may revoke; its mode leaves that to the daemon's own user.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mfagate::gate::{Gate, RevokeError};
use mfagate::id::SessionId;
use mfagate::interface::{InterfaceBackend, InterfaceError};
use mfagate::key::PublicKey;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::revoke_args::Target;
use crate::sessions::{Live, PeerStatus, Traffic};
use crate::settings::Settings;

/// How long a daemon may take to say that it is there. One that is under attack or short of memory
/// takes long; one that was stopped, or whose threads are stuck, says nothing at all.
const ALIVE: Duration = Duration::from_secs(10);

/// How long it may take to do as it is told: longer than the gate gives itself for a revocation.
const DONE: Duration = Duration::from_secs(45);

/// What the socket serves.
pub(crate) fn router(gate: Gate, interface: Arc<dyn InterfaceBackend>) -> Router {
    Router::new()
        .route("/sessions", get(serve_sessions))
        .route("/revoke", post(serve_revoke))
        .route("/recheck", post(serve_recheck))
        .route("/alive", get(async || ()))
        .with_state((gate, interface))
}

type ControlState = State<(Gate, Arc<dyn InterfaceBackend>)>;
type Refused = (StatusCode, String);

async fn serve_sessions(
    State((gate, interface)): ControlState,
) -> Result<Json<Vec<PeerStatus>>, Refused> {
    let seen = look(&gate, interface.as_ref()).await;
    seen.map(Json)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn look(
    gate: &Gate,
    interface: &dyn InterfaceBackend,
) -> Result<Vec<PeerStatus>, InterfaceError> {
    let installed: Vec<PublicKey> = interface
        .list()
        .await?
        .iter()
        .map(|peer| peer.key)
        .collect();
    let mut seen = BTreeMap::new();
    for activity in interface.activity(&installed).await? {
        let traffic = Some(Traffic {
            received: activity.received,
            sent: activity.sent,
            last_handshake_ms: activity.last_handshake.map(|at| at.as_millis()),
        });
        let peer = activity.key;
        seen.insert(
            peer,
            PeerStatus {
                peer,
                session: None,
                traffic,
            },
        );
    }
    for view in gate.sessions() {
        let peer = view.peer;
        let one = seen.entry(peer).or_insert(PeerStatus {
            peer,
            session: None,
            traffic: None,
        });
        one.session = Some(Live {
            id: view.session,
            user: view.user,
            not_after_ms: view.not_after.as_millis(),
        });
    }
    Ok(seen.into_values().collect())
}

async fn serve_revoke(
    State((gate, _)): ControlState,
    Json(target): Json<Target>,
) -> Result<Json<usize>, Refused> {
    told(gate.revoke(target.into()).await)
}

async fn serve_recheck(
    State((gate, _)): ControlState,
    Json(target): Json<Target>,
) -> Result<Json<usize>, Refused> {
    told(gate.recheck(target.into()).await)
}

fn told(ended: Result<Vec<SessionId>, RevokeError>) -> Result<Json<usize>, Refused> {
    match ended {
        Ok(ended) => Ok(Json(ended.len())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// What became of a request to the daemon.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    /// No daemon is running.
    Absent,
    /// One is, and does not answer.
    Silent(Silent),
    /// It did as it was told.
    Done(T),
}

/// A daemon that does not answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silent {
    /// Its process, where the system tells.
    process: Option<i32>,
}

impl Silent {
    fn at(stream: &UnixStream) -> Self {
        let process = stream.peer_cred().ok().and_then(|cred| cred.pid());
        Self { process }
    }

    /// How to end it, in words.
    pub(crate) fn how_to_end(self) -> String {
        match self.process {
            Some(process) => format!("`kill -KILL {process}`"),
            None => "kill it".to_owned(),
        }
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "the daemon (process {process}) does not answer"),
            None => f.write_str("the daemon does not answer"),
        }
    }
}

/// What the daemon sees.
pub(crate) async fn sessions(
    settings: &Settings,
) -> Result<Reply<Vec<PeerStatus>>, Box<dyn Error>> {
    ask(settings, "GET", "/sessions", Vec::new()).await
}

/// Has the daemon end sessions; says how many. They are out when it has answered.
pub(crate) async fn revoke(
    settings: &Settings,
    target: &Target,
) -> Result<Reply<usize>, Box<dyn Error>> {
    ask(settings, "POST", "/revoke", serde_json::to_vec(target)?).await
}

/// Has the daemon compare sessions with the store; those that it no longer backs are out when it
/// has answered.
pub(crate) async fn recheck(
    settings: &Settings,
    target: &Target,
) -> Result<Reply<usize>, Box<dyn Error>> {
    ask(settings, "POST", "/recheck", serde_json::to_vec(target)?).await
}

/// Asks whether the daemon is there, so that one that is stuck is found out soon, and then for what
/// is wanted, which may take it a while.
pub(crate) async fn ask<T: DeserializeOwned>(
    settings: &Settings,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Reply<T>, Box<dyn Error>> {
    let stream = match UnixStream::connect(settings.socket()).await {
        Ok(stream) => stream,
        Err(error) => return unconnected(&error),
    };
    let silent = Silent::at(&stream);
    let (mut daemon, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = |method: &str, path: &str, body: Vec<u8>| {
        hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gate")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
    };
    let alive = request("GET", "/alive", Vec::new())?;
    let alive = timeout(ALIVE, async {
        let response = daemon.send_request(alive).await?;
        response.into_body().collect().await.map(drop)
    });
    let Ok(alive) = alive.await else {
        return Ok(Reply::Silent(silent));
    };
    alive?;
    let request = request(method, path, body)?;
    let reply = timeout(DONE, async {
        daemon.ready().await?;
        let response = daemon.send_request(request).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, text))
    });
    let Ok(reply) = reply.await else {
        return Ok(Reply::Silent(silent));
    };
    let (status, text) = reply?;
    if status.is_success() {
        Ok(Reply::Done(serde_json::from_slice(&text)?))
    } else {
        Err(String::from_utf8_lossy(&text).into_owned().into())
    }
}

/// What it says of the daemon that its socket can't be connected to.
fn unconnected<T>(error: &io::Error) -> Result<Reply<T>, Box<dyn Error>> {
    let absent = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
    if absent.contains(&error.kind()) {
        Ok(Reply::Absent)
    } else if error.kind() == ErrorKind::WouldBlock {
        // So many wait for it that the system takes no more.
        Ok(Reply::Silent(Silent { process: None }))
    } else {
        Err(format!(
            "the daemon can't be reached: {error}; run this as the user that the daemon runs as"
        )
        .into())
    }
}
