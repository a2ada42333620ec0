//! Story (c): a gate with a store, a verifier and a transport of one's own.

use std::error::Error;

use mfagate::key::PrivateKey;
use mfagate::policy::Step;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::keyed::Keyed;
use mfagate::{Client, Gate, Policy, prompt_fn};
use mfagate_stories::{PAGE, fetch};
use own_transport::Socket;
use own_verifier::{HOTP, HotpVerifier};
use tokio::net::UnixListener;

#[expect(dead_code, reason = "its program is not run here")]
mod embed_gate;
mod own_store;
mod own_transport;
mod own_verifier;
#[expect(dead_code, reason = "its gate is not this one")]
mod token;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut policy = Policy::default();
    policy.steps = vec![Step::AnyOf(vec![HOTP])];
    let store = Keyed::open(own_store::Table::default()).await?;
    let ring = KeyRing::new("first".parse()?, RingKey::generate()?); // seals the store's secrets
    let office = Gate::builder("office".parse()?, PrivateKey::generate()?, ring, store);
    let gate = embed_gate::serve(office.policy(policy).verifier(HotpVerifier)).await?;
    let profile = token::enrol(&gate).await?;

    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("control");
    let listener = UnixListener::bind(&socket)?;
    tokio::spawn(own_transport::serve(listener, gate.clone()));
    let client = Client::builder(profile).transport(Socket(socket));
    let mut prompt = prompt_fn(async |_| token::press());
    let tunnel = client.up(&mut prompt).await?;
    println!("{}", fetch(tunnel.dial(PAGE.parse()?).await?).await?);

    tunnel.close().await?;
    gate.shutdown().await;
    Ok(())
}
