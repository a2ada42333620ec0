//! Story (b): a device key signs, and the app owns the tunnel. No one types anything.

use std::error::Error;
use std::sync::Arc;

use mfagate::assurance::FactorKind;
use mfagate::client::AuthChallenge;
use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::policy::Step;
use mfagate::prove::device_key::{DeviceKeyProver, SoftwareSigner};
use mfagate::signature::Algorithm;
use mfagate::time::{Clock, SystemClock};
use mfagate::{Client, Gate, Policy, Registrar, prompt_fn};
use mfagate_stories::{PAGE, fetch};
use own_backend::AppTunnel;

#[expect(dead_code, reason = "its program is not run here")]
mod embed_gate;
mod own_backend;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut policy = Policy::default();
    policy.steps = vec![Step::AnyOf(vec![FactorKind::DEVICE_KEY])];
    let office = Gate::open(folder.path().join("office"), "office".parse()?)?;
    let office = office.policy(policy).verifier(DeviceKeyVerifier::new());
    let gate = embed_gate::serve(office).await?;
    let (alice, phone, key) = ("alice".parse()?, "phone".parse()?, FactorKind::DEVICE_KEY);
    let (registrar, day) = (gate.registrar()?, Registrar::TOKEN_TTL);
    let start = registrar.onboard(&alice, &phone, &[], key, day).await?;
    let (profile, token) = (start.profile, start.enrol.ok_or("no token")?);

    // [snippet: device_key]
    let signer = SoftwareSigner::generate(Algorithm::Es256)?; // a phone's: a `Signer` of the app's
    let (location, device) = (profile.location_key, profile.private_key.public_key());
    let prover = DeviceKeyProver::new(Arc::new(signer), location, device);
    let mut prompt = prompt_fn(async |asked: AuthChallenge| {
        let now = SystemClock::new().now().timestamp;
        let signed = prover.answer(&asked.attempt, &asked.challenge, now).await;
        Some(signed.ok()?.into())
    });
    let tunnel = Arc::new(AppTunnel::new(&profile));
    let client = Client::builder(profile).interface(tunnel.clone()).build()?;
    client.onboard(token, &mut prompt).await?; // from the second time on: `connect`
    // [end]

    let network = tunnel.running.lock().await.clone().ok_or("no tunnel")?;
    let page = fetch(network.connect(PAGE.parse()?).await?).await?;
    client.sign_out().await?;
    println!("{page}; up: {}", tunnel.running.lock().await.is_some());
    gate.shutdown().await;
    Ok(())
}
