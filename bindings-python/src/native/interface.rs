//! A WireGuard interface written in Python.

use std::time::Duration;

use async_trait::async_trait;
use mfagate::interface::{self, Activity, InterfaceBackend, InterfaceError};
use mfagate::key::PublicKey;
use mfagate::time::Timestamp;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::native::callback::{CallFailed, Callbacks, bound};
use crate::native::convert::interfaces;

/// How long one call may take. The gate and the client have limits of their own beside it.
const LIMIT: Duration = Duration::from_secs(10);

/// The calls.
pub(crate) struct Interface(Callbacks);

impl Interface {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self(callbacks)
    }

    async fn put(
        &self,
        method: &'static str,
        peers: Vec<interface::PeerConfig>,
    ) -> Result<(), InterfaceError> {
        let arguments = bound(move |py| {
            let peers: Vec<PeerConfig> = peers.into_iter().map(PeerConfig).collect();
            Ok((peers,).into_pyobject(py)?.unbind())
        });
        let put = self.0.call(method, LIMIT, arguments, |_| Ok(()));
        put.await.map_err(failed)
    }
}

fn failed(error: CallFailed) -> InterfaceError {
    InterfaceError::Backend(Box::new(error))
}

fn keys(
    peers: &[PublicKey],
) -> impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> + Send + 'static {
    let keys: Vec<String> = peers.iter().map(ToString::to_string).collect();
    bound(move |py| Ok((keys,).into_pyobject(py)?.unbind()))
}

#[async_trait]
impl InterfaceBackend for Interface {
    async fn install(&self, peers: Vec<interface::PeerConfig>) -> Result<(), InterfaceError> {
        self.put("install", peers).await
    }

    async fn renew(&self, peers: Vec<interface::PeerConfig>) -> Result<(), InterfaceError> {
        self.put("renew", peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        let remove = self.0.call("remove", LIMIT, keys(peers), |_| Ok(()));
        remove.await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<interface::PeerConfig>, InterfaceError> {
        let none = bound(|py| Ok(PyTuple::empty(py).unbind()));
        let list = self.0.call("list", LIMIT, none, |peers| {
            let peers: Vec<Py<PeerConfig>> = peers.extract()?;
            Ok(peers.iter().map(|peer| peer.get().0.clone()).collect())
        });
        list.await.map_err(failed)
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let activity = self.0.call("activity", LIMIT, keys(peers), |seen| {
            type Seen = (String, Option<u64>, u64, u64);
            let seen: Vec<Seen> = seen.extract()?;
            seen.into_iter()
                .map(|(key, handshake, received, sent)| {
                    let key = key
                        .parse()
                        .map_err(|_| PyValueError::new_err("not a WireGuard key"))?;
                    let mut activity = Activity::silent(key);
                    activity.last_handshake = handshake.map(Timestamp::from_millis);
                    activity.received = received;
                    activity.sent = sent;
                    Ok(activity)
                })
                .collect()
        });
        activity.await.map_err(failed)
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        let none = bound(|py| Ok(PyTuple::empty(py).unbind()));
        let fence = self.0.call("fence", LIMIT, none, |_| Ok(()));
        fence.await.map_err(failed)
    }
}

/// A peer as it should be on the interface. Holds a preshared key, and does not print it.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct PeerConfig(interface::PeerConfig);

#[pymethods]
impl PeerConfig {
    #[getter]
    fn key(&self) -> String {
        self.0.key.to_string()
    }

    #[getter]
    fn allowed_ips<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyList>> {
        interfaces(py, &self.0.allowed_ips)
    }

    #[getter]
    fn endpoint(&self) -> Option<String> {
        self.0.endpoint.map(|endpoint| endpoint.to_string())
    }

    #[getter]
    fn keepalive(&self) -> Option<Duration> {
        self.0.keepalive
    }

    #[getter]
    fn lease(&self) -> Option<Duration> {
        self.0.lease
    }

    /// The peer's section of a file for `wg-quick`, with its preshared key.
    fn to_wg_quick(&self) -> String {
        self.0.to_wg_quick().to_string()
    }

    /// The peer in the words of WireGuard's cross-platform interface, with its preshared key.
    fn to_uapi(&self) -> String {
        self.0.to_uapi().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<mfagate.PeerConfig of {}>", self.0.key)
    }
}
