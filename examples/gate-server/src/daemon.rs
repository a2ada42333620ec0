//! `run`: the gate, its control address, and the administrator's socket.

use std::error::Error;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mfagate::code::ErrorCode;
use mfagate::gate::{Closed, Gate, GateConfig};
use mfagate::interface::InterfaceBackend;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Forward;
use mfagate_examples::backend::{Backend, InterfaceOptions, Program};
use mfagate_examples::{in_a_line, outlet};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::AdminSocket;
use crate::changes::Changes;
use crate::restart;
use crate::settings::Settings;
use crate::signals::{Call, Signals};
use crate::socket;
use crate::stale_interfaces::StaleInterfaces;

/// How long open connections may still take once the gate has shut down.
const LINGER: Duration = Duration::from_secs(2);

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// For good: no peer is left on the interface.
    Stopped,
    /// To be started again, with no peer left on the interface either.
    Restart,
    /// To be started again: live peers stay, and what was changed on the system for them.
    RestartKeepingPeers,
}

/// Serves until SIGINT, SIGTERM or SIGQUIT, or until it is to restart.
///
/// However it ends, no peer passes any more, not even one that a killed daemon left on an interface
/// that outlived it, where this daemon fails before it has a gate. The exception is a restart that
/// keeps its peers: the lease guard ends their leases.
pub(crate) async fn run(settings: Settings, config: &Path) -> Result<ExitCode, Box<dyn Error>> {
    // From here on no signal kills, and nothing waits for what can't be written.
    let signals = Signals::listen();
    outlet::never_wait();
    if let Err(error) = mfagate::http::raise_file_limit() {
        eprintln!("gate-server: the limit of open files stays as it is: {error}");
    }
    let lock = settings.lock_if_free();
    if matches!(lock, Ok(None)) {
        // Those on the interface are that daemon's.
        return Err(settings.is_locked().into());
    }
    let left = StaleInterfaces::reach(&settings).await;
    let outcome = match (&lock, signals) {
        (Ok(_), Ok(signals)) => {
            let calls = Calls { signals, config };
            go_on(&settings, &left, calls).await
        }
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error.to_string().into()),
    };
    if outcome.is_err() {
        left.again().await.shut().await;
    }
    match outcome? {
        Ended::Stopped => {
            eprintln!("gate-server: stopped: every peer has left");
            Ok(ExitCode::SUCCESS)
        }
        Ended::Restart => {
            eprintln!("gate-server: stopped for a restart: every peer has left");
            Ok(restart::STATUS.into())
        }
        Ended::RestartKeepingPeers => {
            eprintln!("gate-server: stopped for a restart: live peers stay until their leases end");
            Ok(restart::STATUS.into())
        }
    }
}

/// What comes from outside while the gate is open.
struct Calls<'a> {
    signals: Signals,
    /// Where the policy is read again from.
    config: &'a Path,
}

/// Serves, and takes back what was changed on the system for it.
async fn go_on(
    settings: &Settings,
    left: &StaleInterfaces<'_>,
    calls: Calls<'_>,
) -> Result<Ended, Box<dyn Error>> {
    let mut changes = Changes::resume(settings)?;
    let outcome = prepare(settings, left, &mut changes, calls).await;
    if matches!(outcome, Ok(Ended::RestartKeepingPeers)) {
        return outcome;
    }
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
    left: &StaleInterfaces<'_>,
    changes: &mut Changes,
    calls: Calls<'_>,
) -> Result<Ended, Box<dyn Error>> {
    settings.check()?;
    left.is_known()?;
    left.give_up().await?;
    // Made once to see that they can be.
    drop(settings.factors.verifiers(settings.folder())?);
    let control = listen(settings.control_listen).await?;
    let admin = AdminSocket::listen(settings.socket())?;
    serve(settings, control, admin, changes, calls).await
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
    calls: Calls<'_>,
) -> Result<Ended, Box<dyn Error>> {
    changes.interface(&settings.interface)?;
    let (interface, _forwards) = bring_up(settings).await?;
    changes.serve(&settings.interface)?;
    let guard = guard(settings, &interface, changes).await?;
    let interface: Arc<dyn InterfaceBackend> = match &guard {
        Some(guard) => guard.clone(),
        None => interface,
    };
    let served = match changes.pass_on(&settings.interface) {
        Ok(()) => open(settings, Arc::clone(&interface), control, admin, calls).await,
        Err(error) => Err(error),
    };
    if matches!(served, Ok(Ended::RestartKeepingPeers)) {
        // As after a daemon that was killed: the next one takes over what is there.
        return served;
    }
    // Before the guard goes: it stays where there are peers.
    let is_clear = served.is_ok() || StaleInterfaces::at_hand(settings, interface).shut().await;
    if let Some(guard) = guard {
        match guard.close().await {
            Ok(()) => changes.guard_is_closed(&settings.interface)?,
            // The table stays, and no peer passes for longer than its lease.
            Err(error) => mfagate_examples::complain("gate-server", &error),
        }
    }
    if is_clear {
        changes.no_one_is_served()?;
    }
    served
}

/// Opens the gate on the interface, until `stop`.
async fn open(
    settings: &Settings,
    interface: Arc<dyn InterfaceBackend>,
    control: TcpListener,
    mut admin: AdminSocket,
    mut calls: Calls<'_>,
) -> Result<Ended, Box<dyn Error>> {
    let at = control.local_addr()?;
    let gate = match Gate::start(config(settings, Arc::clone(&interface))?).await {
        Err(error) if error.code() == "start-older-store" => {
            return Err(format!("{error}, by `gate-server run --accept-older-store`").into());
        }
        started => started?,
    };

    let stopping = CancellationToken::new();
    let mut servers = JoinSet::new();
    let stopped = stopping.clone().cancelled_owned();
    let server = mfagate::http::serve(control, gate.clone(), stopped);
    servers.spawn(async move {
        server.await;
        io::Result::Ok(())
    });
    let (requests, mut restarts) = mpsc::channel(1);
    if let Some(listener) = admin.take() {
        let app = socket::router(gate.clone(), interface).merge(restart::router(requests));
        let stopped = stopping.clone().cancelled_owned();
        servers.spawn(
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .into_future(),
        );
    }
    println!("Gate {} is up: control on {at}.", settings.location);

    let mut restart = None;
    let outcome = loop {
        tokio::select! {
            Some(ended) = servers.join_next() => {
                break ended.unwrap_or_else(|died| Err(died.into()));
            }
            Some(request) = restarts.recv() => {
                restart = Some(request);
                break Ok(());
            }
            why = gate.closed() => {
                break Err(io::Error::other(closed(why, &settings.interface.name)));
            }
            call = calls.signals.next() => match call {
                Call::Stop => break Ok(()),
                // Beside this, so that a store that does not answer delays no stop.
                Call::Reload => _ = tokio::spawn(reload(gate.clone(), calls.config.to_owned())),
                Call::Nothing(signal) => eprintln!("gate-server: {signal} means nothing to it"),
            },
        }
    };
    let ended = match restart {
        Some(request) => {
            let kept = gate.shutdown_keeping_peers().await;
            _ = request.send(kept); // the administrator may have gone
            if kept {
                Ended::RestartKeepingPeers
            } else {
                Ended::Restart
            }
        }
        None => {
            gate.shutdown().await;
            Ended::Stopped
        }
    };
    stopping.cancel();
    if tokio::time::timeout(LINGER, servers.join_all())
        .await
        .is_err()
    {
        eprintln!("gate-server: some connections did not end in time");
    }
    outcome?;
    Ok(ended)
}

/// Has the gate go by the policy that the configuration says now. A wrong one changes nothing.
async fn reload(gate: Gate, config: PathBuf) {
    let read = Settings::read(&config).map_err(|error| in_a_line(error.as_ref()));
    let changed = match read {
        Ok(settings) => {
            let changed = gate.set_policy(settings.policy).await;
            changed.map_err(|error| in_a_line(&error))
        }
        Err(why) => Err(why),
    };
    match changed {
        Ok(()) => eprintln!("gate-server: the policy was read again and applies"),
        Err(why) => eprintln!("gate-server: the policy stays as it was: {why}"),
    }
}

/// Why the gate no longer admits anyone. What supervises this program starts it again.
fn closed(why: Closed, name: &str) -> String {
    match why {
        Closed::InterfaceGone => format!(
            "the interface {name} is gone: another program deleted it, or moved it to another network namespace, where its peers may still pass; the sessions go on when this runs again"
        ),
        Closed::Fenced => format!(
            "the interface {name} was taken down, since a peer could not be removed (see the log): all sessions have ended; run this again, which brings it up"
        ),
        other @ (Closed::Stopped | _) => format!("the gate no longer admits anyone: {other:?}"),
    }
}

/// The interface, with the services behind it.
async fn bring_up(
    settings: &Settings,
) -> Result<(Arc<dyn InterfaceBackend>, Vec<Forward>), Box<dyn Error>> {
    let wanted = InterfaceOptions {
        name: &settings.interface.name,
        key: settings.key()?,
        listen: settings.wireguard_listen,
        addresses: &settings.addresses,
        routes: &[],
        mtu: settings.mtu,
    };
    let interface = match settings.interface.backend {
        Backend::Uapi => {
            let program = Program {
                mtu: settings.mtu,
                ..settings.interface.program()
            };
            program.bring_up(wanted.name, &wanted.key).await?
        }
        backend @ (Backend::Netstack | Backend::Userspace | Backend::Kernel) => {
            backend.bring_up(&wanted).await?
        }
    };
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
    config.head_file = Some(settings.head_file());
    config.danger_accept_older_store = settings.danger_accept_older_store;
    Ok(config)
}

async fn listen(at: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(at).await.map_err(|error| {
        format!("can't listen at control_listen = {at}: {error}; choose another address, or stop the program that uses it")
    })
}
