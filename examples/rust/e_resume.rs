//! Story (e): the app's process is killed, and the next one picks its session up.

use std::{error::Error, path::Path, time::Duration};

use mfagate::client::{HandoverKey, SavedSession};
use mfagate::interface::netstack::Netstack;
use mfagate::{Client, Profile, prompt_fn};
use mfagate_stories::{PAGE, fetch};
use tokio::process::Command;

#[expect(dead_code, reason = "its program is not run here")]
mod embed_gate;
mod own_verifier;
mod token;

async fn app(folder: &Path) -> Result<(), Box<dyn Error>> {
    let profile = Profile::read(folder.join("laptop.toml"))?;
    let builder = Netstack::builder(profile.private_key.clone());
    let tunnel = builder.address(profile.addresses[0]).build().await?;
    let (keychain, session) = (folder.join("keychain"), folder.join("session"));
    let mut prompt = prompt_fn(async |_| token::press());

    // [snippet: resume]
    let key = HandoverKey::from_bytes(std::fs::read(keychain)?.as_slice().try_into()?);
    let builder = Client::builder(profile).interface(tunnel.clone());
    let Ok(saved) = std::fs::read(&session) else {
        let client = builder.build()?;
        client.connect(&mut prompt).await?;
        let saved = client.save_session(&key).await?; // and after each renewal
        std::fs::write(session, saved.as_bytes())?;
        std::process::abort(); // killed: nothing is cleaned up, and the gate is told nothing
    };
    let saved = SavedSession::from_bytes(saved);
    let resumed = builder.resume(&saved, &key).await?;
    resumed.outcome?; // where it is an error, `resumed.client` is signed out, and may connect
    // [end]

    println!("{}", fetch(tunnel.connect(PAGE.parse()?).await?).await?);
    Ok(resumed.client.close().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(folder) = std::env::args().nth(1) {
        return app(folder.as_ref()).await;
    }
    let folder = tempfile::tempdir()?;
    let gate = token::serve(folder.path(), Duration::from_secs(3600)).await?;
    let laptop = folder.path().join("laptop.toml");
    token::enrol(&gate).await?.write(laptop)?;
    let keychain = folder.path().join("keychain");
    std::fs::write(keychain, HandoverKey::generate()?.expose_secret())?;
    for _ in ["is killed", "picks the session up"] {
        let mut app = Command::new(std::env::current_exe()?);
        println!("{}", app.arg(folder.path()).status().await?);
    }
    gate.shutdown().await;
    Ok(())
}
