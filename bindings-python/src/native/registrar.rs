//! Users, devices and factors, by an administrator.

use mfagate::assurance::FactorKind;
use mfagate::factor::totp;
use mfagate::gate::LocationRegistrar;
use mfagate::id::{GroupId, UserId};
use mfagate::seal::SecretBytes;
use mfagate::time::Timestamp;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::native::bridge::{awaitable, told};
use crate::native::convert::{networks, parse, seconds};
use crate::native::failure::Failure;
use crate::native::profile::{Onboarding, Profile};

/// Enrols users and devices of one location.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct Registrar(LocationRegistrar);

impl Registrar {
    pub(crate) const fn new(registrar: LocationRegistrar) -> Self {
        Self(registrar)
    }
}

#[pymethods]
impl Registrar {
    fn put_user<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        enabled: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        awaitable(
            py,
            async move { Ok(registrar.put_user(&user, enabled).await?) },
        )
    }

    fn put_groups<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        groups: Vec<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let groups: Result<Vec<GroupId>, _> = groups.iter().map(|group| parse(group)).collect();
        let groups = groups?;
        awaitable(
            py,
            async move { Ok(registrar.put_groups(&user, groups).await?) },
        )
    }

    /// The users, each a name, whether it is enabled, and its groups.
    fn users<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let registrar = self.0.clone();
        awaitable(py, async move {
            let users = registrar.users().await?;
            let users = users.into_iter().map(|user| {
                let groups: Vec<String> = user.groups.iter().map(ToString::to_string).collect();
                (user.id.to_string(), user.enabled, groups)
            });
            Ok(users.collect::<Vec<_>>())
        })
    }

    fn enrol_device<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        label: &str,
        addresses: Vec<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let (label, addresses) = (parse(label)?, networks(&addresses)?);
        awaitable(py, async move {
            let profile = registrar.enrol_device(&user, &label, &addresses).await?;
            Ok(Profile::of(profile))
        })
    }

    fn onboard<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        label: &str,
        addresses: Vec<String>,
        kind: String,
        ttl: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let (label, addresses) = (parse(label)?, networks(&addresses)?);
        let (kind, ttl) = (FactorKind::from_string(kind), seconds(ttl)?);
        awaitable(py, async move {
            let onboarding = registrar
                .onboard(&user, &label, &addresses, kind, ttl)
                .await?;
            Ok(Onboarding::of(onboarding))
        })
    }

    fn add_totp<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        label: &str,
        secret: &TotpSecret,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.add(py, user, label, FactorKind::TOTP, secret.0.to_secret())
    }

    fn add_factor<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        label: &str,
        kind: String,
        secret: Vec<u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = FactorKind::from_string(kind);
        self.add(py, user, label, kind, SecretBytes::new(secret))
    }

    /// The user's factors, without their secrets.
    fn factors<'py>(&self, py: Python<'py>, user: &str) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        awaitable(py, async move {
            let factors = registrar.factors(&user).await?;
            let listed = factors.into_iter().map(|factor| {
                let (id, kind) = (factor.id.to_string(), factor.kind.to_string());
                (id, kind, factor.label.to_string())
            });
            Ok(listed.collect::<Vec<_>>())
        })
    }

    fn remove_factor<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        factor: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let factor = parse(factor)?;
        awaitable(py, async move {
            Ok(registrar.remove_factor(&user, factor).await?)
        })
    }

    fn reset_failures<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        factor: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let factor = parse(factor)?;
        awaitable(py, async move {
            Ok(registrar.reset_failures(&user, factor).await?)
        })
    }

    fn issue_token<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        kinds: Vec<String>,
        ttl: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let kinds = kinds.into_iter().map(FactorKind::from_string).collect();
        let ttl = seconds(ttl)?;
        awaitable(py, async move {
            let token = registrar.issue_token(&user, kinds, ttl).await?;
            Ok(told(move |py| {
                let fields = PyDict::new(py);
                fields.set_item("id", token.id.to_string())?;
                fields.set_item("text", token.expose_text())?;
                fields.set_item("not_after", token.not_after.as_millis())?;
                Ok(fields.into_any())
            }))
        })
    }
}

impl Registrar {
    fn add<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        label: &str,
        kind: FactorKind,
        secret: SecretBytes,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (registrar, user): (_, UserId) = (self.0.clone(), parse(user)?);
        let label = parse(label)?;
        awaitable(py, async move {
            let added = registrar.add_factor(&user, kind, &label, &secret, None);
            Ok(added.await?.to_string())
        })
    }
}

/// A secret of one-time passwords, as an authenticator app holds it.
#[pyclass(frozen, module = "mfagate")]
pub(crate) struct TotpSecret(totp::TotpSecret);

#[pymethods]
impl TotpSecret {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let secret = totp::TotpSecret::generate();
        let failed = |_| Failure::own("no-randomness", "the system has no randomness to give");
        Ok(Self(secret.map_err(failed)?))
    }

    /// The code at this time, in milliseconds since 1970.
    fn code_at(&self, millis: u64) -> PyResult<String> {
        let code = self.0.code(Timestamp::from_millis(millis));
        let code = code.map_err(|error| Failure::fault(&error))?;
        Ok(code.expose_secret().to_owned())
    }

    fn expose_uri(&self, issuer: &str, account: &str) -> PyResult<String> {
        let uri = self.0.expose_uri(issuer, account);
        Ok(uri.map_err(|error| Failure::fault(&error))?.to_string())
    }

    fn __repr__(&self) -> &'static str {
        "<mfagate.TotpSecret>"
    }
}
