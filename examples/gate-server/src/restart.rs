//! `restart`: has the daemon end in such a way that live users notice nothing, for a supervisor, or
//! the administrator, to start it again.

use std::error::Error;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::sync::{mpsc, oneshot};

use crate::settings::Settings;
use crate::socket::{self, Reply};

/// The exit status of a daemon that wants to be started again: EX_TEMPFAIL.
pub(crate) const STATUS: u8 = 75;

/// Someone who wants the daemon to restart, and is told whether the peers stay.
pub(crate) type Request = oneshot::Sender<bool>;

/// Where requests go to.
pub(crate) fn router(requests: mpsc::Sender<Request>) -> Router {
    Router::new()
        .route("/restart", post(serve))
        .with_state(requests)
}

async fn serve(State(requests): State<mpsc::Sender<Request>>) -> Result<Json<bool>, StatusCode> {
    let (answer, answered) = oneshot::channel();
    let sent = requests.send(answer).await;
    sent.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let kept = answered.await;
    kept.map(Json).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// Asks the daemon, and waits until it has stopped.
pub(crate) async fn ask(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let kept = match socket::ask(settings, "POST", "/restart", Vec::new()).await? {
        Reply::Done(kept) => kept,
        Reply::Absent => return Err("no daemon runs: start it with `gate-server run`".into()),
        Reply::Silent(daemon) => {
            return Err(format!("{daemon}: end it by {}", daemon.how_to_end()).into());
        }
    };
    if kept {
        println!(
            "The daemon has stopped, and live peers stay until their leases end. Start it again now."
        );
    } else {
        println!(
            "The daemon has stopped, and every peer has left: they stay only with lease_guard, on the backends kernel and uapi. Start it again now."
        );
    }
    Ok(())
}
