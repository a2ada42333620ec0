//! Embed a gate: its keys and its store in a folder, WireGuard and an internal page in this process,
//! and a first user. The other programs here go to this gate, and enrol by their own means.

use std::error::Error;

use mfagate::assurance::FactorKind;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::GateBuilder;
use mfagate::interface::netstack::Netstack;
use mfagate::{Gate, Registrar};
use tokio::net::TcpListener;

/// Starts a gate with a network, an internal page, and a control channel.
pub(crate) async fn serve(office: GateBuilder) -> Result<Gate, Box<dyn Error>> {
    let any = "127.0.0.1:0"; // for clients elsewhere: "[::]:51820", and "0.0.0.0:7000" behind TLS
    let network = "10.9.0.1/24".parse()?;
    let inside = Netstack::builder(office.private_key().clone())
        .listen(any.parse()?)
        .address(network)
        .build()
        .await?;
    mfagate_stories::serve_page(&inside)?;
    let control = TcpListener::bind(any).await?;
    let gate = office
        .endpoint(inside.local_addr())
        .control(format!("http://{}", control.local_addr()?))
        .address(network)
        .interface(inside)
        .start()
        .await?;
    let stop = std::future::pending(); // a signal, say
    tokio::spawn(mfagate::http::serve(control, gate.clone(), stop));
    Ok(gate)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?; // a folder that stays: /var/lib/office
    let office = Gate::open(folder.path().join("office"), "office".parse()?)?;
    let gate = serve(office.verifier(TotpVerifier::new())).await?;

    // A first user, in one file: a device, and a one-time token to enrol an app with.
    let (alice, laptop, app) = ("alice".parse()?, "laptop".parse()?, FactorKind::TOTP);
    let (registrar, day) = (gate.registrar()?, Registrar::TOKEN_TTL);
    let start = registrar.onboard(&alice, &laptop, &[], app, day).await?;
    start.write(folder.path().join("alice.toml"))?;

    println!("{gate:?} serves at {}", start.profile.endpoint);
    gate.shutdown().await; // every peer has left once it returns
    Ok(())
}
