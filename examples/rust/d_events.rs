//! Story (d): watch events, be warned, be revoked, and sign in again.

use std::error::Error;
use std::time::Duration;

use mfagate::client::Event;
use mfagate::gate::Scope;
use mfagate::{Client, prompt_fn};
use mfagate_stories::{PAGE, fetch};

#[expect(dead_code, reason = "its program is not run here")]
mod embed_gate;
mod own_verifier;
mod token;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // A working day in earnest. In the last quarter of one as short as this comes the warning.
    let gate = token::serve(folder.path(), Duration::from_secs(12)).await?;
    let profile = token::enrol(&gate).await?;
    let mut prompt = prompt_fn(async |_| token::press());

    // [snippet: events]
    let tunnel = Client::up(profile, &mut prompt).await?;
    let client = tunnel.client();
    let mut events = client.events();
    while let Some(event) = events.next().await {
        if let Event::Ending { ends_in, needs } = event {
            println!("the session ends in {ends_in:?}; to go on it takes: {needs:?}");
            gate.revoke(Scope::All).await?; // an administrator, at just this moment
            client.woke(); // the device woke up: the client asks the gate at once
        } else if let Event::Ended { reason, .. } = event {
            println!("the session is over: {reason}");
            client.connect(&mut prompt).await?;
            break;
        }
    }
    // [end]

    println!("{}", fetch(tunnel.dial(PAGE.parse()?).await?).await?);
    tunnel.close().await?;
    gate.shutdown().await;
    Ok(())
}
