//! `factor.…`: what an admission costs by factor, one file per factor. The harness is that of
//! `gate.admission…`.

pub(crate) mod device_key;
mod email_code;
mod knowledge;
mod oidc;
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
use mfagate::store::MemoryStore;
use mfagate::time::Timestamp;

use crate::floor::Error;
use crate::gate::admission::Costs;
use crate::measure::micros;
use crate::report::{Report, Target};

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    device_key::rows(report)?;
    webauthn::rows(report)?;
    oidc::rows(report)?;
    email_code::rows(report)?;
    knowledge::rows(report)?;
    waiting::rows(report)
}

/// What an admission by a factor costs, if that is wanted, under its name.
fn row<F: Factor>(report: &mut Report, name: &str) -> Result<(), Error> {
    if !report.wants(&format!("factor.{name}")) {
        return Ok(());
    }
    let costs = Costs::measure::<F>(|| Ok(Arc::new(MemoryStore::new())))?;
    let cpu = format!("factor.{name}_cpu");
    let ratio = format!("{cpu}_to_primitives");
    report.add(cpu, micros(costs.gate), "µs", Target::Lower);
    report.add(ratio, costs.to_primitives(), "ratio", Target::AtMost(1.5));
    Ok(())
}

/// What the owners of a bench's devices sign in with.
pub(crate) trait Factor: Clone {
    /// Its kind, which the policy asks for.
    const KIND: FactorKind;

    /// How often all are admitted, each time beside the primitives.
    const ROUNDS: usize = 31;

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
