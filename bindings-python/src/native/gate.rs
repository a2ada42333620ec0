//! The gate and its server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Events, GateBuilder, Scope, SessionView};
use mfagate::interface::netstack::Netstack;
use mfagate::store::keyed::Keyed;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::native::bridge::{awaitable, told};
use crate::native::callback::Callbacks;
use crate::native::convert::{self, FilePath, interfaces, networks, parse, seconds};
use crate::native::failure::Failure;
use crate::native::gate_event;
use crate::native::interface::Interface;
use crate::native::network::Network;
use crate::native::profile::{KeyRing, Policy, PrivateKey};
use crate::native::registrar::Registrar;
use crate::native::store::Store;
use crate::native::verifier::Verifier;

/// What a gate is made of.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    location: String,
    /// A folder with key, ring and SQLite store; or the three that follow.
    folder: Option<FilePath>,
    store: Option<Py<PyAny>>,
    private_key: Option<Py<PrivateKey>>,
    key_ring: Option<Py<KeyRing>>,
    policy: Option<Py<Policy>>,
    verifiers: Vec<AnyVerifier>,
    /// The gate's own addresses inside the tunnel.
    addresses: Vec<String>,
    networks: Vec<String>,
    interface: Option<Py<PyAny>>,
    listen: String,
    endpoint: Option<String>,
    serve: Option<String>,
    control: Vec<String>,
    limit: f64,
}

/// A verifier of the core's, by its kind, or one that is written in Python.
#[derive(FromPyObject)]
enum AnyVerifier {
    #[pyo3(transparent)]
    Known(String),
    Own(String, Py<PyAny>),
}

/// A gate that runs.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct Gate {
    gate: mfagate::Gate,
    network: Option<Network>,
    endpoint: Option<String>,
    control: Vec<String>,
    server: Arc<Mutex<Option<Server>>>,
}

struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What of the options needs the interpreter.
struct Parts {
    policy: Option<mfagate::Policy>,
    own: Option<(mfagate::PrivateKey, mfagate::KeyRing, Callbacks)>,
    interface: Option<Callbacks>,
}

/// Starts a gate.
#[pyfunction]
pub(crate) fn open_gate(py: Python<'_>, mut options: Options) -> PyResult<Bound<'_, PyAny>> {
    let own = match (
        options.store.take(),
        &options.private_key,
        &options.key_ring,
    ) {
        (None, None, None) => None,
        (Some(store), Some(key), Some(ring)) => Some((
            key.get().inner().clone(),
            ring.get().inner().clone(),
            Callbacks::new(store),
        )),
        _ => {
            let text = "a store of your own needs a private key and a key ring beside it";
            return Err(Failure::invalid("store", text).to_py(py));
        }
    };
    let parts = Parts {
        policy: options
            .policy
            .as_ref()
            .map(|policy| policy.get().inner().clone()),
        own,
        interface: options.interface.take().map(Callbacks::new),
    };
    awaitable(py, open(options, parts))
}

async fn open(options: Options, parts: Parts) -> Result<Gate, Failure> {
    let location = parse(&options.location)?;
    let limit = seconds(options.limit)?;
    let mut builder = match (options.folder, parts.own) {
        (Some(folder), None) => {
            // It reads and writes files.
            let opened = tokio::task::spawn_blocking(|| mfagate::Gate::open(folder, location));
            opened.await.map_err(|_| Failure::panicked())??
        }
        (None, Some((key, ring, store))) => {
            let store = Keyed::open(Store::new(store, limit)).await;
            let store = store.map_err(|error| Failure::fault(&error))?;
            mfagate::Gate::builder(location, key, ring, store)
        }
        _ => {
            let text = "give a folder, or a store of your own";
            return Err(Failure::invalid("store", text));
        }
    };
    let addresses = networks(&options.addresses)?;
    for address in &addresses {
        builder = builder.address(*address);
    }
    for network in networks(&options.networks)? {
        builder = builder.network(network);
    }
    if let Some(policy) = parts.policy {
        builder = builder.policy(policy);
    }
    for verifier in options.verifiers {
        builder = with_verifier(builder, verifier, limit)?;
    }
    let (mut builder, network) = match parts.interface {
        Some(interface) => (builder.interface(Interface::new(interface)), None),
        None => {
            let at = convert::address(&options.listen)?;
            let mut netstack = Netstack::builder(builder.private_key().clone()).listen(at);
            for address in addresses {
                netstack = netstack.address(address);
            }
            let netstack = netstack.build().await?;
            (builder.interface(netstack.clone()), Some(netstack))
        }
    };
    // On a loopback address, clients are in this machine: where it listens is where they reach it.
    let own = network.as_ref().map(Netstack::local_addr);
    let own = own
        .filter(|at| at.ip().is_loopback())
        .map(|at| at.to_string());
    let endpoint = options.endpoint.or(own);
    if let Some(endpoint) = &endpoint {
        builder = builder.endpoint(parse::<mfagate::client::Endpoint>(endpoint)?);
    }
    let (listener, control) = match &options.serve {
        Some(at) => listen(convert::address(at)?, options.control).await?,
        None => (None, options.control),
    };
    for url in &control {
        builder = builder.control(url);
    }
    let gate = builder.start().await?;
    let server = listener.map(|listener| serve(listener, gate.clone()));
    Ok(Gate {
        gate,
        network: network.map(Network::new),
        endpoint,
        control,
        server: Arc::new(Mutex::new(server)),
    })
}

fn with_verifier(
    builder: GateBuilder,
    verifier: AnyVerifier,
    limit: Duration,
) -> Result<GateBuilder, Failure> {
    let known = match verifier {
        AnyVerifier::Own(kind, callbacks) => {
            let verifier = Verifier::new(kind, Callbacks::new(callbacks), limit);
            return Ok(builder.verifier(verifier));
        }
        AnyVerifier::Known(known) => known,
    };
    Ok(match known.as_str() {
        "totp" => builder.verifier(TotpVerifier::new()),
        "device-key" => builder.verifier(DeviceKeyVerifier::new()),
        "password" => builder.verifier(PasswordVerifier::new()),
        "recovery-codes" => builder.verifier(RecoveryCodeVerifier::new()),
        _ => {
            let text = "no verifier of that name: totp, device-key, password, recovery-codes";
            return Err(Failure::invalid("verifier", text));
        }
    })
}

async fn listen(
    at: SocketAddr,
    mut control: Vec<String>,
) -> Result<(Option<TcpListener>, Vec<String>), Failure> {
    let failed = |error: std::io::Error| {
        Failure::own(
            "not-served",
            format!("the control channel can't be served at {at}: {error}"),
        )
    };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    if control.is_empty() {
        let at = listener.local_addr().map_err(failed)?;
        control.push(format!("http://{at}"));
    }
    Ok((Some(listener), control))
}

fn serve(listener: TcpListener, gate: mfagate::Gate) -> Server {
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(mfagate::http::serve(listener, gate, async {
        // Dropped or told: both end it.
        _ = stopped.await;
    }));
    Server { stop, task }
}

#[pymethods]
impl Gate {
    #[getter]
    fn location(&self) -> &str {
        self.gate.location().as_str()
    }

    #[getter]
    fn public_key(&self) -> String {
        self.gate.public_key().to_string()
    }

    #[getter]
    fn endpoint(&self) -> Option<String> {
        self.endpoint.clone()
    }

    #[getter]
    fn control(&self) -> Vec<String> {
        self.control.clone()
    }

    fn registrar(&self) -> PyResult<Registrar> {
        let registrar = self.gate.registrar().map_err(Failure::from)?;
        Ok(Registrar::new(registrar))
    }

    fn sessions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let sessions = self.gate.sessions();
        sessions.iter().map(|view| session(py, view)).collect()
    }

    /// Ends the sessions of `session`, `peer` or `user`, or of `all`.
    fn revoke<'py>(&self, py: Python<'py>, what: &str, which: &str) -> PyResult<Bound<'py, PyAny>> {
        let (gate, scope) = (self.gate.clone(), scope(what, which)?);
        awaitable(py, async move {
            let ended = gate.revoke(scope).await?;
            Ok(ended.iter().map(ToString::to_string).collect::<Vec<_>>())
        })
    }

    fn recheck<'py>(
        &self,
        py: Python<'py>,
        what: &str,
        which: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (gate, scope) = (self.gate.clone(), scope(what, which)?);
        awaitable(py, async move {
            let ended = gate.recheck(scope).await?;
            Ok(ended.iter().map(ToString::to_string).collect::<Vec<_>>())
        })
    }

    fn set_policy<'py>(&self, py: Python<'py>, policy: &Policy) -> PyResult<Bound<'py, PyAny>> {
        let (gate, policy) = (self.gate.clone(), policy.inner().clone());
        awaitable(py, async move {
            gate.set_policy(policy).await?;
            Ok(())
        })
    }

    fn events(&self) -> GateEventReader {
        GateEventReader(Arc::new(tokio::sync::Mutex::new(self.gate.events())))
    }

    /// Passes TCP connections to an address inside the tunnel on to a target outside.
    fn forward<'py>(&self, py: Python<'py>, at: &str, target: &str) -> PyResult<Bound<'py, PyAny>> {
        let (at, target) = (convert::address(at)?, convert::address(target)?);
        let network = self.network.clone().ok_or_else(|| {
            Failure::own(
                "no-network",
                "this gate's tunnel is on an interface of the app's own",
            )
        })?;
        awaitable(py, async move { network.forward(at, target) })
    }

    /// Stops serving, takes every peer off the interface and stops.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (gate, network) = (self.gate.clone(), self.network.clone());
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        awaitable(py, async move {
            if let Some(Server { stop, task }) = server {
                _ = stop.send(());
                _ = task.await;
            }
            gate.shutdown().await;
            if let Some(network) = network {
                network.close().await;
            }
            Ok(())
        })
    }
}

fn scope(what: &str, which: &str) -> Result<Scope, Failure> {
    Ok(match what {
        "session" => Scope::Session(parse(which)?),
        "peer" => Scope::Peer(parse(which)?),
        "user" => Scope::User(parse(which)?),
        _ => Scope::All,
    })
}

fn session<'py>(py: Python<'py>, view: &SessionView) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("session", view.session.to_string())?;
    fields.set_item("peer", view.peer.to_string())?;
    fields.set_item("user", view.user.as_str())?;
    fields.set_item("addresses", interfaces(py, &view.allowed_ips)?)?;
    fields.set_item("verified_at", view.verified_at.as_millis())?;
    fields.set_item("not_after", view.not_after.as_millis())?;
    Ok(fields)
}

/// A reader of a gate's events.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct GateEventReader(Arc<tokio::sync::Mutex<Events>>);

#[pymethods]
impl GateEventReader {
    /// The next event as a name and its fields; `None` at the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let reader = Arc::clone(&self.0);
        awaitable(py, async move {
            let event = reader.lock().await.next().await;
            Ok(told(move |py| match event {
                Some(event) => gate_event::to_py(py, &event),
                None => Ok(py.None().into_bound(py)),
            }))
        })
    }
}
