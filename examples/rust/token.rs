//! A gate whose users have keyring tokens, for the stories in which that is not the point.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mfagate::channel::message::Answer;
use mfagate::client::Response;
use mfagate::policy::Step;
use mfagate::seal::SecretBytes;
use mfagate::{Gate, Policy, Profile};

use crate::embed_gate;
use crate::own_verifier::{HOTP, HotpVerifier, code};

/// What the user's token was made with: here, the key of RFC 4226's examples.
const KEY: &[u8] = b"12345678901234567890";

/// How often its button was pressed.
static PRESSES: AtomicU64 = AtomicU64::new(0);

/// A gate that asks for a code at least as often as this.
pub(crate) async fn serve(folder: &Path, max_age: Duration) -> Result<Gate, Box<dyn Error>> {
    let mut policy = Policy::default();
    (policy.steps, policy.max_age) = (vec![Step::AnyOf(vec![HOTP])], max_age);
    let office = Gate::open(folder.join("office"), "office".parse()?)?;
    embed_gate::serve(office.policy(policy).verifier(HotpVerifier)).await
}

/// A user, her token, and a device.
pub(crate) async fn enrol(gate: &Gate) -> Result<Profile, Box<dyn Error>> {
    let (registrar, alice) = (gate.registrar()?, "alice".parse()?);
    registrar.put_user(&alice, true).await?;
    let (keyring, key) = ("keyring".parse()?, SecretBytes::new(KEY.to_vec()));
    let added = registrar.add_factor(&alice, HOTP, &keyring, &key, None);
    added.await?;
    let laptop = "laptop".parse()?;
    Ok(registrar.enrol_device(&alice, &laptop, &[]).await?)
}

/// What the user answers: the code that a press of the button gives.
pub(crate) fn press() -> Option<Response> {
    let code = code(KEY, PRESSES.fetch_add(1, Ordering::Relaxed)).ok()?;
    Some(Answer::Code { code }.into())
}
