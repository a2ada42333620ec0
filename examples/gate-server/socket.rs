//! The administrator's socket: how the command line reaches the daemon. Whoever may open the
//! socket's file may revoke; its mode leaves that to the daemon's own user.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mfagate::interface::{InterfaceBackend, InterfaceError};
use mfagate::key::PublicKey;
use mfagate::runtime::Gate;
use tokio::net::UnixStream;

use crate::sessions::{Live, Seen, Traffic};
use crate::settings::Settings;
use crate::target::Target;

/// What the socket serves.
pub(crate) fn router(gate: Gate, interface: Arc<dyn InterfaceBackend>) -> Router {
    Router::new()
        .route("/sessions", get(serve_sessions))
        .route("/revoke", post(serve_revoke))
        .with_state((gate, interface))
}

type Served = State<(Gate, Arc<dyn InterfaceBackend>)>;
type Refused = (StatusCode, String);

async fn serve_sessions(State((gate, interface)): Served) -> Result<Json<Vec<Seen>>, Refused> {
    let seen = look(&gate, interface.as_ref()).await;
    seen.map(Json)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn look(gate: &Gate, interface: &dyn InterfaceBackend) -> Result<Vec<Seen>, InterfaceError> {
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
            Seen {
                peer,
                session: None,
                traffic,
            },
        );
    }
    for view in gate.sessions() {
        let peer = view.peer;
        let one = seen.entry(peer).or_insert(Seen {
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
    State((gate, _)): Served,
    Json(target): Json<Target>,
) -> Result<Json<usize>, Refused> {
    match gate.revoke(target.into()).await {
        Ok(ended) => Ok(Json(ended.len())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// What the daemon sees; `None` says that none is running.
pub(crate) async fn sessions(settings: &Settings) -> Result<Option<Vec<Seen>>, Box<dyn Error>> {
    let reply = ask(settings, "GET", "/sessions", Vec::new()).await?;
    Ok(reply
        .map(|text| serde_json::from_slice(&text))
        .transpose()?)
}

/// Has the daemon end sessions; `None` says that none is running.
pub(crate) async fn revoke(
    settings: &Settings,
    target: &Target,
) -> Result<Option<usize>, Box<dyn Error>> {
    let body = serde_json::to_vec(target)?;
    let reply = ask(settings, "POST", "/revoke", body).await?;
    Ok(reply
        .map(|text| serde_json::from_slice(&text))
        .transpose()?)
}

/// Whether a daemon is running.
pub(crate) async fn is_served(settings: &Settings) -> Result<bool, Box<dyn Error>> {
    Ok(connect(settings).await?.is_some())
}

async fn connect(settings: &Settings) -> io::Result<Option<UnixStream>> {
    let connected = UnixStream::connect(settings.socket()).await;
    let is_nobody = |error: &io::Error| {
        let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
        nobody.contains(&error.kind())
    };
    match connected {
        Err(error) if is_nobody(&error) => Ok(None),
        connected => connected.map(Some),
    }
}

async fn ask(
    settings: &Settings,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let Some(stream) = connect(settings).await? else {
        return Ok(None);
    };
    let (mut daemon, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gate")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = daemon.send_request(request).await?;
    let done = response.status().is_success();
    let text = response.into_body().collect().await?.to_bytes().to_vec();
    if done {
        Ok(Some(text))
    } else {
        Err(String::from_utf8_lossy(&text).into_owned().into())
    }
}
