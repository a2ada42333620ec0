//! `run`: the gate, its control address, and the administrator's socket.

use std::error::Error;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use mfagate::factor::totp::TotpVerifier;
use mfagate::interface::netstack::Netstack;
use mfagate::runtime::{Gate, GateConfig};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::Settings;
use crate::target::Target;

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let socket = settings.socket();
    if UnixStream::connect(&socket).await.is_ok() {
        return Err("a gate-server is running on this state directory".into());
    }
    let interface = Netstack::builder(settings.key()?)
        .listen(settings.wireguard_listen)
        .address(settings.address)
        .build()
        .await?;
    let mut forwards = Vec::new();
    for forward in &settings.forwards {
        forwards.push(interface.forward(forward.at, forward.to)?);
    }
    let mut config = GateConfig::new(
        settings.location.clone(),
        settings.key()?,
        settings.ring()?,
        settings.store()?,
        Arc::new(interface),
    );
    config.policy.max_age = Duration::from_secs(settings.policy.max_age);
    config.policy.lease = Duration::from_secs(settings.policy.lease);
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    let control = TcpListener::bind(settings.control_listen).await?;
    let gate = Gate::start(config).await?;

    _ = std::fs::remove_file(&socket); // left by a daemon that was killed
    let admin = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    println!(
        "Gate {} is up: control on {}.",
        settings.location,
        control.local_addr()?
    );

    let app = mfagate::http::router(gate.clone());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let outcome: Result<(), Box<dyn Error>> = tokio::select! {
        ended = async { axum::serve(control, app).await } => ended.map_err(Into::into),
        ended = async { axum::serve(admin, administration(gate.clone())).await } => ended.map_err(Into::into),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    gate.shutdown().await;
    std::fs::remove_file(&socket)?;
    outcome
}

fn administration(gate: Gate) -> Router {
    Router::new()
        .route("/sessions", get(sessions))
        .route("/revoke", post(revoke))
        .with_state(gate)
}

async fn sessions(State(gate): State<Gate>) -> String {
    gate.sessions()
        .iter()
        .map(|view| format!("{view:?}\n"))
        .collect()
}

async fn revoke(State(gate): State<Gate>, body: String) -> (StatusCode, String) {
    let Ok(target) = body.parse::<Target>() else {
        return (StatusCode::BAD_REQUEST, "no such scope\n".to_owned());
    };
    match gate.revoke(target.into()).await {
        Ok(ended) => (StatusCode::OK, format!("{} sessions ended\n", ended.len())),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
