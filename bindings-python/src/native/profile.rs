//! Profiles, onboarding files, keys and policies. None of them prints what it holds.

use mfagate::key;
use mfagate::seal::RingKey;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::native::convert::{FilePath, interfaces, parse};
use crate::native::failure::Failure;

/// What an administrator hands out to a client. Holds the device's private key.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct Profile(mfagate::Profile);

impl Profile {
    pub(crate) const fn of(profile: mfagate::Profile) -> Self {
        Self(profile)
    }

    pub(crate) const fn inner(&self) -> &mfagate::Profile {
        &self.0
    }
}

#[pymethods]
impl Profile {
    #[staticmethod]
    fn from_toml(text: &str) -> PyResult<Self> {
        Ok(Self(
            mfagate::Profile::from_toml(text).map_err(Failure::from)?,
        ))
    }

    #[staticmethod]
    fn read(path: FilePath) -> PyResult<Self> {
        Ok(Self(mfagate::Profile::read(path).map_err(Failure::from)?))
    }

    fn write(&self, path: FilePath) -> PyResult<()> {
        Ok(self.0.write(path).map_err(Failure::from)?)
    }

    fn expose_toml(&self) -> String {
        self.0.expose_toml().to_string()
    }

    #[getter]
    fn location(&self) -> &str {
        self.0.location.as_str()
    }

    #[getter]
    fn location_key(&self) -> String {
        self.0.location_key.to_string()
    }

    #[getter]
    fn public_key(&self) -> String {
        self.0.private_key.public_key().to_string()
    }

    #[getter]
    fn endpoint(&self) -> String {
        self.0.endpoint.to_string()
    }

    #[getter]
    fn control(&self) -> Vec<String> {
        self.0.control.clone()
    }

    #[getter]
    fn addresses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        interfaces(py, &self.0.addresses)
    }

    #[getter]
    fn allowed_ips<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        interfaces(py, &self.0.allowed_ips)
    }

    fn __repr__(&self) -> String {
        format!("<mfagate.Profile of {:?}>", self.0.location.as_str())
    }
}

/// A profile, and what a new user enrols with it first.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct Onboarding(mfagate::Onboarding);

impl Onboarding {
    pub(crate) const fn of(onboarding: mfagate::Onboarding) -> Self {
        Self(onboarding)
    }
}

#[pymethods]
impl Onboarding {
    #[staticmethod]
    fn from_toml(text: &str) -> PyResult<Self> {
        let read = mfagate::Onboarding::from_toml(text);
        Ok(Self(read.map_err(Failure::from)?))
    }

    #[staticmethod]
    fn read(path: FilePath) -> PyResult<Self> {
        Ok(Self(
            mfagate::Onboarding::read(path).map_err(Failure::from)?,
        ))
    }

    fn write(&self, path: FilePath) -> PyResult<()> {
        Ok(self.0.write(path).map_err(Failure::from)?)
    }

    fn expose_toml(&self) -> String {
        self.0.expose_toml().to_string()
    }

    #[getter]
    fn profile(&self) -> Profile {
        Profile(self.0.profile.clone())
    }

    /// The kind of factor to enrol first; `None` where there is nothing left to enrol.
    #[getter]
    fn kind(&self) -> Option<String> {
        let enrol = self.0.enrol.as_ref();
        enrol.map(|request| request.kind.to_string())
    }

    #[getter]
    fn label(&self) -> Option<String> {
        let enrol = self.0.enrol.as_ref();
        enrol.map(|request| request.label.to_string())
    }

    fn expose_token(&self) -> Option<String> {
        let token = self
            .0
            .enrol
            .as_ref()
            .and_then(|request| request.token.as_ref());
        token.map(|token| token.expose_secret().to_owned())
    }

    fn __repr__(&self) -> String {
        format!(
            "<mfagate.Onboarding for {:?}>",
            self.0.profile.location.as_str()
        )
    }
}

/// A WireGuard private key.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct PrivateKey(key::PrivateKey);

impl PrivateKey {
    pub(crate) const fn inner(&self) -> &key::PrivateKey {
        &self.0
    }
}

fn no_randomness<E>(_: E) -> Failure {
    Failure::own("no-randomness", "the system has no randomness to give")
}

#[pymethods]
impl PrivateKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(key::PrivateKey::generate().map_err(no_randomness)?))
    }

    #[staticmethod]
    fn from_base64(text: &str) -> PyResult<Self> {
        Ok(Self(parse(text)?))
    }

    fn expose_base64(&self) -> String {
        self.0.expose_base64().to_string()
    }

    #[getter]
    fn public_key(&self) -> String {
        self.0.public_key().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<mfagate.PrivateKey of {}>", self.0.public_key())
    }
}

/// The keys that seal what a gate's store keeps.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct KeyRing(mfagate::KeyRing);

impl KeyRing {
    pub(crate) const fn inner(&self) -> &mfagate::KeyRing {
        &self.0
    }
}

#[pymethods]
impl KeyRing {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let key = RingKey::generate().map_err(no_randomness)?;
        Ok(Self(mfagate::KeyRing::new(parse("first")?, key)))
    }

    #[staticmethod]
    fn read(path: FilePath) -> PyResult<Self> {
        let ring = mfagate::KeyRing::read(&path);
        Ok(Self(ring.map_err(|error| Failure::fault(&error))?))
    }

    /// Writes a new file that only its owner may read.
    fn write_new(&self, path: FilePath) -> PyResult<()> {
        let written = self.0.write_new(&path);
        Ok(written.map_err(|error| Failure::fault(&error))?)
    }

    fn __repr__(&self) -> &'static str {
        "<mfagate.KeyRing>"
    }
}

/// The key that seals saved sessions.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct HandoverKey(mfagate::client::HandoverKey);

impl HandoverKey {
    pub(crate) const fn inner(&self) -> &mfagate::client::HandoverKey {
        &self.0
    }
}

#[pymethods]
impl HandoverKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let key = mfagate::client::HandoverKey::generate();
        Ok(Self(key.map_err(no_randomness)?))
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| Failure::invalid("handover-key", "a handover key has 32 bytes"))?;
        Ok(Self(mfagate::client::HandoverKey::from_bytes(bytes)))
    }

    fn expose_secret<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.expose_secret())
    }

    fn __repr__(&self) -> &'static str {
        "<mfagate.HandoverKey>"
    }
}

/// A location's rules.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct Policy(mfagate::Policy);

impl Policy {
    pub(crate) const fn inner(&self) -> &mfagate::Policy {
        &self.0
    }
}

#[pymethods]
impl Policy {
    #[staticmethod]
    fn from_toml(text: &str) -> PyResult<Self> {
        let policy = mfagate::Policy::from_toml(text);
        Ok(Self(policy.map_err(|error| Failure::fault(&error))?))
    }

    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let policy = mfagate::Policy::from_json(text);
        Ok(Self(policy.map_err(|error| Failure::fault(&error))?))
    }

    #[staticmethod]
    fn aal2() -> Self {
        Self(mfagate::Policy::aal2())
    }

    fn to_toml(&self) -> PyResult<String> {
        let text = self.0.to_toml();
        Ok(text.map_err(|error| Failure::fault(&error))?)
    }

    fn __repr__(&self) -> &'static str {
        "<mfagate.Policy>"
    }
}
