//! `run`: the gate, its control address, and the administrator's socket.

use std::error::Error;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mfagate::factor::totp::TotpVerifier;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Forward;
use mfagate::runtime::{Gate, GateConfig};
use mfagate_examples::backend::Wanted;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::passing::Passing;
use crate::settings::Settings;
use crate::socket;

/// How long open connections may still take once the gate has shut down.
const LINGER: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let _alone = settings.lock()?;
    let (interface, _forwards) = bring_up(&settings).await?;
    let guard = guard(&settings, &interface).await?;
    let interface: Arc<dyn InterfaceBackend> = match &guard {
        Some(guard) => guard.clone(),
        None => interface,
    };
    let _passing = Passing::begin(&settings.interface)?;
    let control = listen(settings.control_listen).await?;
    let admin = listen_admin(&settings.socket())?;
    let at = control.local_addr()?;
    let gate = Gate::start(config(&settings, Arc::clone(&interface))?).await?;

    let stopping = CancellationToken::new();
    let mut servers = JoinSet::new();
    let app = mfagate::http::router(gate.clone());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let stop = stopping.clone().cancelled_owned();
    servers.spawn(
        axum::serve(control, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    let app = socket::router(gate.clone(), interface);
    let stop = stopping.clone().cancelled_owned();
    servers.spawn(
        axum::serve(admin, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    println!("Gate {} is up: control on {at}.", settings.location);

    let outcome = tokio::select! {
        Some(ended) = servers.join_next() => ended?,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    gate.shutdown().await;
    stopping.cancel();
    if let Some(guard) = guard {
        guard.close().await?;
    }
    if tokio::time::timeout(LINGER, servers.join_all())
        .await
        .is_err()
    {
        eprintln!("gate-server: some connections did not end in time");
    }
    std::fs::remove_file(settings.socket())?;
    Ok(outcome?)
}

/// The interface, with the services behind it.
async fn bring_up(
    settings: &Settings,
) -> Result<(Arc<dyn InterfaceBackend>, Vec<Forward>), Box<dyn Error>> {
    let wanted = Wanted {
        name: &settings.interface.name,
        key: settings.key()?,
        listen: settings.wireguard_listen,
        addresses: &[settings.address],
        routes: &[],
        mtu: settings.mtu,
    };
    let interface = settings.interface.backend.bring_up(&wanted).await?;
    let mut forwards = Vec::new();
    for forward in &settings.forwards {
        let netstack = interface.netstack.as_ref().ok_or(
            "[[forwards]] are for the backend netstack: take them out, and see `forward` in [interface]",
        )?;
        forwards.push(netstack.forward(forward.at, forward.to)?);
    }
    Ok((interface.backend, forwards))
}

/// Where it is wanted, what has the kernel end each lease.
async fn guard(
    settings: &Settings,
    interface: &Arc<dyn InterfaceBackend>,
) -> Result<Option<Arc<LeaseGuard>>, Box<dyn Error>> {
    if !settings.interface.lease_guard {
        return Ok(None);
    }
    let name = &settings.interface.name;
    let guard = LeaseGuard::around(Arc::clone(interface), name).await?;
    Ok(Some(Arc::new(guard)))
}

fn config(
    settings: &Settings,
    interface: Arc<dyn InterfaceBackend>,
) -> Result<GateConfig, Box<dyn Error>> {
    let mut config = GateConfig::new(
        settings.location.clone(),
        settings.key()?,
        settings.ring()?,
        settings.store()?,
        interface,
    );
    config.policy = settings.policy.clone();
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    Ok(config)
}

async fn listen(at: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(at).await.map_err(|error| {
        format!("control_listen is {at}, which can't be had: {error}; pick another address, or stop the program that has it")
    })
}

/// Takes the place of a socket that a killed daemon left: the lock says that it is dead.
fn listen_admin(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let admin = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(admin)
}
