//! `factor.…`: what an admission costs by factor, one file per factor. The harness is that of
//! `gate.admission…`.

pub(crate) mod device_key;
pub(crate) mod totp;
mod waiting;
pub(crate) mod webauthn;

use std::sync::Arc;

use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::id::UserId;
use mfagate::time::Timestamp;

use crate::floor::Error;
use crate::report::Report;

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    device_key::rows(report)?;
    webauthn::rows(report)?;
    waiting::rows(report)
}

/// What the owners of a bench's devices sign in with.
pub(crate) trait Factor: Clone {
    /// Its kind, which the policy asks for.
    const KIND: FactorKind;

    /// What the gate verifies it with.
    fn verifier() -> Arc<dyn MfaVerifier>;

    /// One more, enrolled for this user.
    async fn enrol(registrar: &Registrar, user: &UserId, now: Timestamp) -> Result<Self, Error>;

    /// What its user answers.
    async fn answer(
        &self,
        attempt: &Binding<'_>,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<Answer, Error>;

    /// The cryptographic primitives of one admission that are this factor's own, by the crates that
    /// its verifier uses.
    fn primitives() -> Result<Box<dyn FnMut()>, Error>;
}
