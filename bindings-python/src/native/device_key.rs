//! Device keys: one in software, and one whose signer is written in Python.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Challenge, Protection};
use mfagate::id::AttemptId;
use mfagate::prove::device_key::{self, SignError, Signer, SoftwareSigner};
use mfagate::signature::{Algorithm, Signature, VerifyingKey};
use mfagate::time::{Clock, SystemClock};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::native::bridge::awaitable;
use crate::native::callback::{Callbacks, bound};
use crate::native::convert::{FilePath, parse};
use crate::native::failure::Failure;
use crate::native::profile::Profile;

/// How long a person may take to touch a key or to type its PIN.
const LIMIT: Duration = Duration::from_secs(120);

/// A device key in memory or in a file.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct SoftwareKey(Arc<SoftwareSigner>);

#[pymethods]
impl SoftwareKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let signer = SoftwareSigner::generate(Algorithm::Es256);
        let signer = signer.map_err(|error| Failure::fault(&error))?;
        Ok(Self(Arc::new(signer)))
    }

    #[staticmethod]
    fn read(path: FilePath) -> PyResult<Self> {
        let signer = SoftwareSigner::read(&path);
        let signer = signer.map_err(|error| Failure::fault(&error))?;
        Ok(Self(Arc::new(signer)))
    }

    /// Writes a new file that only its owner may read.
    fn write_new(&self, path: FilePath) -> PyResult<()> {
        let written = self.0.write_new(&path);
        Ok(written.map_err(|error| Failure::fault(&error))?)
    }

    /// The public key as a DER SubjectPublicKeyInfo.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public_key().spki())
    }

    fn __repr__(&self) -> String {
        format!("<mfagate.SoftwareKey {}>", self.0.public_key().id())
    }
}

/// Answers a location's questions to a device key, as one peer.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct DeviceKeyProver(device_key::DeviceKeyProver);

#[pymethods]
impl DeviceKeyProver {
    /// A prover by a key in software.
    #[staticmethod]
    fn software(key: &SoftwareKey, profile: &Profile) -> Self {
        let signer: Arc<SoftwareSigner> = Arc::clone(&key.0);
        Self::of(signer, profile)
    }

    /// A prover by a signer of the app's: its public key as a DER SubjectPublicKeyInfo, and how the
    /// key is kept.
    #[staticmethod]
    fn own(
        public_key: &[u8],
        protection: &str,
        signer: Py<PyAny>,
        profile: &Profile,
    ) -> PyResult<Self> {
        let public_key = VerifyingKey::from_spki(public_key);
        let public_key = public_key.map_err(|error| Failure::fault(&error))?;
        let protection = match protection {
            "software" => Protection::Software,
            "hardware" => Protection::Hardware,
            "hardware-user-verified" => Protection::HardwareUserVerified,
            _ => {
                let text = "a protection is software, hardware or hardware-user-verified";
                return Err(Failure::invalid("protection", text).into());
            }
        };
        let callbacks = Callbacks::new(signer);
        let signer = AppSigner {
            public_key,
            protection,
            callbacks,
        };
        Ok(Self::of(Arc::new(signer), profile))
    }

    /// The answer, as JSON, to a challenge in JSON.
    fn answer<'py>(
        &self,
        py: Python<'py>,
        attempt: &str,
        challenge: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (prover, attempt): (_, AttemptId) = (self.0.clone(), parse(attempt)?);
        let challenge: Challenge = serde_json::from_str(challenge)
            .map_err(|_| PyValueError::new_err("this is no challenge"))?;
        awaitable(py, async move {
            let answer = prover
                .answer(&attempt, &challenge, SystemClock::new().now().timestamp)
                .await;
            let answer = answer.map_err(|error| Failure::fault(&error))?;
            serde_json::to_string(&answer).map_err(|_| Failure::panicked())
        })
    }
}

impl DeviceKeyProver {
    fn of(signer: Arc<dyn Signer>, profile: &Profile) -> Self {
        let profile = profile.inner();
        let peer = profile.private_key.public_key();
        let prover = device_key::DeviceKeyProver::new(signer, profile.location_key, peer);
        Self(prover)
    }
}

/// A signer written in Python.
struct AppSigner {
    public_key: VerifyingKey,
    protection: Protection,
    callbacks: Callbacks,
}

#[async_trait]
impl Signer for AppSigner {
    fn public_key(&self) -> &VerifyingKey {
        &self.public_key
    }

    fn protection(&self) -> Protection {
        self.protection
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let message = message.to_vec();
        let arguments =
            bound(move |py| Ok(PyTuple::new(py, [PyBytes::new(py, &message)])?.unbind()));
        let signature = self.callbacks.call("sign", LIMIT, arguments, |signature| {
            Ok(signature.cast::<PyBytes>()?.as_bytes().to_vec())
        });
        let signature = signature.await.map_err(SignError::backend)?;
        let not_one = || SignError::backend("the signer gave no signature");
        // 64 bytes are r ‖ s, or an Ed25519 signature; DER is longer.
        match <[u8; 64]>::try_from(signature.as_slice()) {
            Ok(raw) => Ok(Signature::from_bytes(raw)),
            Err(_) => Signature::from_der(&signature).map_err(|_| not_one()),
        }
    }
}
