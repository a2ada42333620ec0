//! The client and its events.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Posture, SecretString};
use mfagate::client::{
    AuthChallenge, ClientBuilder, ClientEvents, Config, ConnectError, Connected, EnrolRequest,
    Event, Health, Needs, Phase, Prompt, PromptFailed, Renewal, Response, SavedSession,
};
use mfagate::code::ErrorCode;
use mfagate::interface::netstack::Netstack;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::native::bridge::{awaitable, block_on, told};
use crate::native::callback::{Callbacks, text};
use crate::native::convert::{self, parse, seconds};
use crate::native::failure::Failure;
use crate::native::interface::Interface;
use crate::native::network::{self, Network};
use crate::native::profile::{HandoverKey, Profile};

/// What of a client can be chosen.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    interface: Option<Py<PyAny>>,
    posture: BTreeMap<String, String>,
    warn_before: Option<f64>,
    renews: bool,
}

/// The core's client, on a network inside this process or on an interface of the app's.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct Client {
    client: Arc<mfagate::Client>,
    network: Option<Network>,
}

#[pymethods]
impl Client {
    #[new]
    fn new(py: Python<'_>, profile: &Profile, options: Options) -> PyResult<Self> {
        let profile = profile.inner().clone();
        block_on(py, async move {
            let (builder, network) = prepare(profile, options).await?;
            let client = Arc::new(builder.build()?);
            Ok(Self { client, network })
        })
    }

    /// A client that goes on with a saved session, with the tunnel or the reason why there is none.
    #[staticmethod]
    fn resume<'py>(
        py: Python<'py>,
        profile: &Profile,
        options: Options,
        saved: Vec<u8>,
        key: &HandoverKey,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (profile, key) = (profile.inner().clone(), key.inner().clone());
        awaitable(py, async move {
            let (builder, network) = prepare(profile, options).await?;
            let saved = SavedSession::from_bytes(saved);
            let resumed = builder.resume(&saved, &key).await?;
            let client = Arc::new(resumed.client);
            let (client, outcome) = (Self { client, network }, resumed.outcome);
            Ok(told(move |py| {
                let (connected, failure) = match outcome {
                    Ok(up) => (Some(connected(py, &up)?), None),
                    Err(error) => (None, Some(Failure::from(error).to_py(py).into_value(py))),
                };
                Ok((client, connected, failure).into_pyobject(py)?.into_any())
            }))
        })
    }

    fn connect<'py>(&self, py: Python<'py>, prompt: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (client, mut prompt) = (Arc::clone(&self.client), AppPrompt::new(prompt));
        awaitable(py, async move {
            let up = client.connect(&mut prompt).await?;
            Ok(told(move |py| Ok(connected(py, &up)?.into_any())))
        })
    }

    /// Enrols a first factor with its token, then connects.
    fn onboard<'py>(
        &self,
        py: Python<'py>,
        kind: String,
        label: &str,
        token: Option<String>,
        prompt: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = enrol_request(kind, label, token)?;
        let (client, mut prompt) = (Arc::clone(&self.client), AppPrompt::new(prompt));
        awaitable(py, async move {
            let up = client.onboard(request, &mut prompt).await?;
            Ok(told(move |py| Ok(connected(py, &up)?.into_any())))
        })
    }

    fn renew<'py>(&self, py: Python<'py>, prompt: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (client, mut prompt) = (Arc::clone(&self.client), AppPrompt::new(prompt));
        awaitable(py, async move {
            let up = client.renew(&mut prompt).await?;
            Ok(told(move |py| Ok(connected(py, &up)?.into_any())))
        })
    }

    fn enrol<'py>(
        &self,
        py: Python<'py>,
        kind: String,
        label: &str,
        token: Option<String>,
        prompt: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = enrol_request(kind, label, token)?;
        let (client, mut prompt) = (Arc::clone(&self.client), AppPrompt::new(prompt));
        awaitable(py, async move {
            let factor = client.enrol(request, &mut prompt).await?;
            Ok(factor.to_string())
        })
    }

    /// Where the client stands: a name and what belongs to it.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        status(py, self.client.status())
    }

    fn events(&self) -> EventReader {
        EventReader(Arc::new(Mutex::new(self.client.events())))
    }

    fn woke(&self) {
        self.client.woke();
    }

    fn network_changed(&self) {
        self.client.network_changed();
    }

    fn set_quiet(&self, is_quiet: bool) {
        self.client.set_quiet(is_quiet);
    }

    fn sign_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let client = Arc::clone(&self.client);
        awaitable(py, async move { Ok(client.sign_out().await?) })
    }

    /// Signs out and stops for good; the network inside this process goes too.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (client, network) = (Arc::clone(&self.client), self.network.clone());
        awaitable(py, async move {
            let closed = client.close().await;
            if let Some(network) = network {
                network.close().await;
            }
            Ok(closed?)
        })
    }

    fn detach(&self) {
        self.client.detach();
    }

    fn save_session<'py>(&self, py: Python<'py>, key: &HandoverKey) -> PyResult<Bound<'py, PyAny>> {
        let (client, key) = (Arc::clone(&self.client), key.inner().clone());
        awaitable(py, async move {
            let saved = client.save_session(&key).await?;
            Ok(told(move |py| {
                Ok(PyBytes::new(py, saved.as_bytes()).into_any())
            }))
        })
    }

    fn dial<'py>(&self, py: Python<'py>, to: &str) -> PyResult<Bound<'py, PyAny>> {
        let (network, to) = (self.network()?, convert::address(to)?);
        awaitable(py, async move { network.dial(to).await })
    }

    /// As `dial`, for a thread without an event loop.
    fn dial_blocking(&self, py: Python<'_>, to: &str, limit: f64) -> PyResult<network::Stream> {
        let (network, to) = (self.network()?, convert::address(to)?);
        let limit = seconds(limit)?;
        block_on(py, async move { network.dial_within(to, limit).await })
    }

    fn forward<'py>(&self, py: Python<'py>, at: &str, target: &str) -> PyResult<Bound<'py, PyAny>> {
        let (at, target) = (convert::address(at)?, convert::address(target)?);
        let network = self.network()?;
        awaitable(py, async move { network.forward_local(at, target).await })
    }

    fn socks5<'py>(&self, py: Python<'py>, at: &str) -> PyResult<Bound<'py, PyAny>> {
        let (network, at) = (self.network()?, convert::address(at)?);
        awaitable(py, async move { network.socks5(at).await })
    }
}

impl Client {
    fn network(&self) -> Result<Network, Failure> {
        self.network.clone().ok_or_else(|| {
            Failure::own(
                "no-network",
                "this client's tunnel is on an interface of the app's own: use the system's sockets",
            )
        })
    }
}

async fn prepare(
    profile: mfagate::Profile,
    options: Options,
) -> Result<(ClientBuilder, Option<Network>), Failure> {
    let mut config = Config::default();
    if let Some(span) = options.warn_before {
        config.warn_before = seconds(span)?;
    }
    if !options.renews {
        config.renewal = Renewal::OnRequest;
    }
    let posture = Posture::new(options.posture).ok_or_else(|| {
        Failure::invalid(
            "posture",
            "a posture has at most 32 entries of at most 256 bytes each",
        )
    })?;
    if let Some(interface) = options.interface {
        let interface = Interface::new(Callbacks::new(interface));
        let builder = mfagate::Client::builder(profile).interface(interface);
        return Ok((builder.config(config).posture(posture), None));
    }
    let mut netstack = Netstack::builder(profile.private_key.clone());
    if let Some(mtu) = profile.mtu {
        netstack = netstack.mtu(mtu);
    }
    for address in &profile.addresses {
        netstack = netstack.address(*address);
    }
    let netstack = netstack.build().await?;
    let builder = mfagate::Client::builder(profile).interface(netstack.clone());
    let builder = builder.config(config).posture(posture);
    Ok((builder, Some(Network::new(netstack))))
}

pub(crate) fn enrol_request(
    kind: String,
    label: &str,
    token: Option<String>,
) -> Result<EnrolRequest, Failure> {
    let too_long = || Failure::invalid("token", "this is no enrolment token: it is too long");
    let token = token.map(|token| SecretString::new(token).ok_or_else(too_long));
    Ok(EnrolRequest {
        kind: mfagate::assurance::FactorKind::from_string(kind),
        label: parse(label)?,
        token: token.transpose()?,
    })
}

fn connected<'py>(py: Python<'py>, up: &Connected) -> PyResult<Bound<'py, PyDict>> {
    tunnel(py, &up.session, &up.addresses, up.ends_in)
}

fn tunnel<'py>(
    py: Python<'py>,
    session: &impl Display,
    addresses: &[ipnet::IpNet],
    ends_in: Duration,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("session", session.to_string())?;
    fields.set_item("addresses", convert::interfaces(py, addresses)?)?;
    fields.set_item("ends_in", ends_in)?;
    Ok(fields)
}

fn status(py: Python<'_>, phase: Phase) -> PyResult<Bound<'_, PyAny>> {
    let fields = PyDict::new(py);
    let name = match phase {
        Phase::Idle => "idle",
        Phase::SigningIn { waits_for_user } => {
            fields.set_item("waits_for_user", waits_for_user)?;
            "signing-in"
        }
        Phase::Connecting => "connecting",
        Phase::Connected {
            session,
            ends_in,
            health,
            renewing,
        } => {
            fields.set_item("session", session.to_string())?;
            fields.set_item("ends_in", ends_in)?;
            fields.set_item("is_renewing", renewing)?;
            let health = match health {
                Health::Live => "live",
                Health::Silent => "silent",
                Health::Unreachable => "unreachable",
                Health::Untried | _ => "untried",
            };
            fields.set_item("health", health)?;
            "connected"
        }
        Phase::Closing | _ => "closing",
    };
    Ok((name, fields).into_pyobject(py)?.into_any())
}

/// A reader of a client's events.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct EventReader(Arc<Mutex<ClientEvents>>);

#[pymethods]
impl EventReader {
    /// The next event as a name and its fields; `None` at the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let reader = Arc::clone(&self.0);
        awaitable(py, async move {
            let event = reader.lock().await.next().await;
            Ok(told(move |py| match event {
                Some(event) => self::event(py, event),
                None => Ok(py.None().into_bound(py)),
            }))
        })
    }
}

fn event(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyAny>> {
    let fields = PyDict::new(py);
    let name = match event {
        // The prompt has those.
        Event::Challenge { .. } => "challenge",
        Event::Enrolled { factor } => {
            fields.set_item("factor", factor.to_string())?;
            "enrolled"
        }
        Event::Failed { failure } => {
            let failure = Failure::from(ConnectError::from(failure)).to_py(py);
            fields.set_item("error", failure.into_value(py))?;
            "failed"
        }
        Event::Granted { session } => {
            fields.set_item("session", session.to_string())?;
            "granted"
        }
        Event::TunnelUp {
            session,
            addresses,
            ends_in,
        } => {
            let fields = tunnel(py, &session, &addresses, ends_in)?;
            return Ok(("tunnel-up", fields).into_pyobject(py)?.into_any());
        }
        Event::Renewed {
            session,
            addresses,
            ends_in,
        } => {
            let fields = tunnel(py, &session, &addresses, ends_in)?;
            return Ok(("renewed", fields).into_pyobject(py)?.into_any());
        }
        Event::Live => "live",
        Event::Ending { ends_in, needs } => {
            fields.set_item("ends_in", ends_in)?;
            let needs = match needs {
                Needs::Nothing => "nothing",
                Needs::Request => "request",
                Needs::Factor | _ => "factor",
            };
            fields.set_item("needs", needs)?;
            "ending"
        }
        Event::MfaRequired { ends_in } => {
            fields.set_item("ends_in", ends_in)?;
            "mfa-required"
        }
        Event::Unreachable { error, ends_in } => {
            let failure = Failure::new(error.kind(), &error).to_py(py);
            fields.set_item("error", failure.into_value(py))?;
            fields.set_item("ends_in", ends_in)?;
            "unreachable"
        }
        Event::Reachable => "reachable",
        Event::TunnelSilent => "tunnel-silent",
        Event::EndpointMoved { endpoint } => {
            fields.set_item("endpoint", endpoint.to_string())?;
            "endpoint-moved"
        }
        Event::Ended { session, reason } => {
            fields.set_item("session", session.to_string())?;
            fields.set_item("reason", reason.code())?;
            fields.set_item("explanation", reason.to_string())?;
            fields.set_item("requires_sign_in", reason.requires_sign_in())?;
            "ended"
        }
        Event::SignOutUnconfirmed => "sign-out-unconfirmed",
        Event::CancelUnconfirmed => "cancel-unconfirmed",
        Event::RemovalFailed => "removal-failed",
        Event::Lagged { missed } => {
            fields.set_item("missed", missed)?;
            "lagged"
        }
        _ => "other",
    };
    Ok((name, fields).into_pyobject(py)?.into_any())
}

/// A prompt written in Python.
struct AppPrompt(Callbacks);

impl AppPrompt {
    fn new(prompt: Py<PyAny>) -> Self {
        Self(Callbacks::new(prompt))
    }
}

/// How long after the attempt's end a prompt is cancelled by this side. The core drops it before.
const AFTER_THE_END: Duration = Duration::from_secs(5);

#[async_trait]
impl Prompt for AppPrompt {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let limit = question.expires_in.saturating_add(AFTER_THE_END);
        let asked = question_as_json(question).map_err(PromptFailed::new)?;
        let asked = text(asked);
        let answered = self.0.call("answer", limit, asked, |answer| {
            if answer.is_none() {
                return Ok(None);
            }
            let answer = Zeroizing::new(answer.extract::<String>()?);
            response(&answer).map(Some)
        });
        answered.await.map_err(PromptFailed::new)
    }
}

/// A question as the Python half reads it. The challenge is in the words of the protocol.
fn question_as_json(question: &AuthChallenge) -> Result<String, serde_json::Error> {
    Ok(format!(
        r#"{{"attempt":"{}","factor":{},"challenge":{},"others":{},"denied":{},"expires_in_ms":{}}}"#,
        question.attempt,
        serde_json::to_string(&question.factor)?,
        serde_json::to_string(&question.challenge)?,
        serde_json::to_string(&question.others)?,
        serde_json::to_string(&question.denied)?,
        question.expires_in.as_millis(),
    ))
}

/// What the Python half made of an answer: the protocol's own, or `{"choose": …}`. The error does not
/// repeat it.
fn response(text: &str) -> PyResult<Response> {
    let not_one = || PyValueError::new_err("the prompt's answer does not fit any challenge");
    if let Ok(answer) = serde_json::from_str::<Answer>(text) {
        return Ok(Response::Answer(answer));
    }
    let chosen: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| not_one())?;
    let chosen = chosen.get("choose").ok_or_else(not_one)?;
    Ok(Response::Choose(chosen.parse().map_err(|_| not_one())?))
}
