//! `run`: the gate, its control address, and the administrator's socket.

use std::error::Error;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::InterfaceBackend;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Forward;
use mfagate::runtime::{Gate, GateConfig};
use mfagate_examples::backend::Wanted;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::control;
use crate::left::Left;
use crate::settings::Settings;
use crate::socket;

/// How long open connections may still take once the gate has shut down.
const LINGER: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM.
///
/// Whatever ends it, nobody passes any more: not even those whom a daemon that was killed left on
/// an interface that outlived it, where this one fails before it has a gate.
pub(crate) async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    // From here on neither of them kills.
    let stop = stop();
    let lock = settings.lock_if_free();
    if matches!(lock, Ok(None)) {
        // Those on the interface are that daemon's.
        return Err(settings.is_locked().into());
    }
    let left = Left::reach(&settings).await;
    let outcome = match (&lock, stop) {
        (Ok(_), Ok(stop)) => go_on(&settings, &left, stop).await,
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error.to_string().into()),
    };
    if outcome.is_err() {
        left.again().await.shut().await;
    }
    outcome
}

/// Serves, and takes back what was changed on the system for it.
async fn go_on(
    settings: &Settings,
    left: &Left<'_>,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let mut changes = Changes::resume(settings)?;
    let outcome = prepare(settings, left, &mut changes, stop).await;
    if let Err(error) = changes.take_back() {
        mfagate_examples::complain("gate-server", error.as_ref());
        outcome.and(Err("not all that was changed was taken back".into()))
    } else {
        outcome
    }
}

/// What may be refused for a wrong setting comes before anything is changed.
async fn prepare(
    settings: &Settings,
    left: &Left<'_>,
    changes: &mut Changes,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    settings.check()?;
    left.is_known()?;
    left.give_up().await?;
    // Made once to see that they can be.
    drop(settings.factors.verifiers(settings.folder())?);
    let control = listen(settings.control_listen).await?;
    let admin = AdminSocket::listen(settings.socket())?;
    serve(settings, control, admin, changes, stop).await
}

/// Waits for SIGINT or SIGTERM.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Lets nothing pass the interface, there or not, until a daemon admits.
pub(crate) async fn shut(settings: &Settings) -> Result<(), Box<dyn Error>> {
    if !settings.interface.lease_guard {
        return Err(
            "only the lease guard shuts an interface: set `lease_guard = true` in [interface]"
                .into(),
        );
    }
    settings.check()?;
    let _alone = settings.lock()?;
    Changes::resume(settings)?.guard(&settings.interface)?;
    Ok(LeaseGuard::shut(&settings.interface.name).await?)
}

async fn serve(
    settings: &Settings,
    control: TcpListener,
    admin: AdminSocket,
    changes: &mut Changes,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    changes.interface(&settings.interface)?;
    let (interface, _forwards) = bring_up(settings).await?;
    changes.serve(&settings.interface)?;
    let guard = guard(settings, &interface, changes).await?;
    let interface: Arc<dyn InterfaceBackend> = match &guard {
        Some(guard) => guard.clone(),
        None => interface,
    };
    let served = match changes.pass_on(&settings.interface) {
        Ok(()) => open(settings, Arc::clone(&interface), control, admin, stop).await,
        Err(error) => Err(error),
    };
    // Before the guard goes: it stays where there are peers.
    let is_clear = served.is_ok() || Left::at_hand(settings, interface).shut().await;
    if let Some(guard) = guard {
        match guard.close().await {
            Ok(()) => changes.guard_is_closed(&settings.interface)?,
            // The table stays, and nobody passes for longer than their lease.
            Err(error) => mfagate_examples::complain("gate-server", &error),
        }
    }
    if is_clear {
        changes.nobody_is_served()?;
    }
    served
}

/// Opens the gate on the interface, until `stop`.
async fn open(
    settings: &Settings,
    interface: Arc<dyn InterfaceBackend>,
    control: TcpListener,
    mut admin: AdminSocket,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let at = control.local_addr()?;
    let gate = Gate::start(config(settings, Arc::clone(&interface))?).await?;

    let stopping = CancellationToken::new();
    let mut servers = JoinSet::new();
    let app = mfagate::http::router(gate.clone());
    let stopped = stopping.clone();
    servers.spawn(control::serve(control, app, control::HEAD_TIME, stopped));
    if let Some(listener) = admin.listener.take() {
        let app = socket::router(gate.clone(), interface);
        let stopped = stopping.clone().cancelled_owned();
        servers.spawn(
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .into_future(),
        );
    }
    println!("Gate {} is up: control on {at}.", settings.location);

    let outcome = tokio::select! {
        Some(ended) = servers.join_next() => ended.unwrap_or_else(|died| Err(died.into())),
        () = stop => Ok(()),
    };
    gate.shutdown().await;
    stopping.cancel();
    if tokio::time::timeout(LINGER, servers.join_all())
        .await
        .is_err()
    {
        eprintln!("gate-server: some connections did not end in time");
    }
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
    if let Some(netstack) = &interface.netstack {
        for forward in &settings.forwards {
            forwards.push(netstack.forward(forward.at, forward.to)?);
        }
    }
    Ok((interface.backend, forwards))
}

/// Where it is wanted, what has the kernel end each lease.
async fn guard(
    settings: &Settings,
    interface: &Arc<dyn InterfaceBackend>,
    changes: &mut Changes,
) -> Result<Option<Arc<LeaseGuard>>, Box<dyn Error>> {
    if !settings.interface.lease_guard {
        return Ok(None);
    }
    let is_new = changes.guard(&settings.interface)?;
    let guard = LeaseGuard::around(Arc::clone(interface), &settings.interface.name).await;
    match guard {
        Ok(guard) => Ok(Some(Arc::new(guard))),
        Err(error) => {
            if is_new {
                changes.guard_is_closed(&settings.interface)?;
            }
            Err(error.into())
        }
    }
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
    config
        .danger_unmanaged_peers
        .clone_from(&settings.interface.danger_unmanaged_peers);
    config.verifiers = settings.factors.verifiers(settings.folder())?;
    Ok(config)
}

async fn listen(at: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(at).await.map_err(|error| {
        format!("control_listen is {at}, which can't be had: {error}; pick another address, or stop the program that has it")
    })
}

/// The administrator's socket, whose file goes with it.
struct AdminSocket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl AdminSocket {
    /// Takes the place of a socket that a killed daemon left: the lock says that it is dead.
    fn listen(path: PathBuf) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let listener = Some(listener);
        Ok(Self { path, listener })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("gate-server: {} stays: {error}", self.path.display());
        }
    }
}
