//! Story (a), embed a client: connect with a code, and fetch an internal page.

use std::error::Error;
use std::time::Duration;

use mfagate::channel::message::Answer;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::time::{Clock, SystemClock};
use mfagate::{Client, Gate, Profile, prompt_fn};
use mfagate_stories::{PAGE, fetch};

#[expect(dead_code, reason = "its program is not run here")]
mod embed_gate;

/// What the administrator did before: a user, an authenticator app with its first code, a device.
async fn enrol(gate: &Gate) -> Result<(Profile, TotpSecret), Box<dyn Error>> {
    let (registrar, alice) = (gate.registrar()?, "alice".parse()?);
    registrar.put_user(&alice, true).await?;
    let (phone, laptop) = ("phone".parse()?, "laptop".parse()?);
    let app = registrar.begin_totp(&alice, &phone, "office").await?;
    let code = app.secret.code(SystemClock::new().now().timestamp)?;
    registrar.confirm_totp(&alice, app.factor, code).await?;
    let profile = registrar.enrol_device(&alice, &laptop, &[]).await?;
    Ok((profile, app.secret))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let office = Gate::open(folder.path().join("office"), "office".parse()?)?;
    let gate = embed_gate::serve(office.verifier(TotpVerifier::new())).await?;
    let (profile, app) = enrol(&gate).await?;
    profile.write(folder.path().join("laptop.toml"))?;
    std::env::set_current_dir(folder.path())?;

    // The user, who types what the app shows: a code is good once, so this is the next one.
    let type_a_code = async || {
        let next = SystemClock::new().now().timestamp + Duration::from_secs(30);
        Some(app.code(next).ok()?.expose_secret().to_owned())
    };

    // [snippet: connect]
    let profile = Profile::read("laptop.toml")?;
    let mut prompt = prompt_fn(async |_question| {
        let code = type_a_code().await?.parse().ok()?; // `None` gives up
        Some(Answer::Code { code }.into())
    });
    let tunnel = Client::up(profile, &mut prompt).await?;
    let page = fetch(tunnel.dial(PAGE.parse()?).await?).await?;
    tunnel.close().await?;
    // [end]

    println!("{page}");
    gate.shutdown().await;
    Ok(())
}
