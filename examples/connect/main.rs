//! A client on the command line: signs in, and serves SOCKS5 and forwards without root.
//!
//! Exit status: 0 signed out, 1 other failure, 3 denied, 4 unreachable, 5 the session ended.

mod prompt;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use mfagate::client::{Event, Failure};
use mfagate::interface::netstack::Netstack;
use mfagate::runtime::{Client, ConnectError, Profile};
use tokio::signal::unix::{SignalKind, signal};

use prompt::Person;

const DENIED: u8 = 3;
const UNREACHABLE: u8 = 4;
const ENDED: u8 = 5;

#[derive(Debug, Parser)]
#[command(about = "Connects through a gate, with a code")]
struct Arguments {
    profile: PathBuf,
    /// Serve SOCKS5 here.
    #[arg(long)]
    socks: Option<SocketAddr>,
    /// Forward a local address into the tunnel: LOCAL=REMOTE.
    #[arg(long, value_parser = pair)]
    forward: Vec<(SocketAddr, SocketAddr)>,
    /// Read codes from the standard input, even on a terminal.
    #[arg(long)]
    code_stdin: bool,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (local, remote) = text.split_once('=').ok_or("expected LOCAL=REMOTE")?;
    let parse = |part: &str| {
        part.parse()
            .map_err(|_| format!("{part} is no address with a port"))
    };
    Ok((parse(local)?, parse(remote)?))
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    let status = run(arguments).await.unwrap_or_else(|error| {
        eprintln!("connect: {error}");
        status_of(error.as_ref())
    });
    // Not by returning: a read of the standard input may still hold the runtime up.
    std::process::exit(status.into())
}

async fn run(arguments: Arguments) -> Result<u8, Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let profile = Profile::read(&arguments.profile)?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let mut builder = Netstack::builder(profile.private_key.clone()).listen(any);
    for address in &profile.addresses {
        builder = builder.address(*address);
    }
    let netstack = builder.build().await?;
    let client = Client::builder(profile)
        .interface(Arc::new(netstack.clone()))
        .build()?;
    let mut person = Person {
        code_stdin: arguments.code_stdin,
    };
    let connected = tokio::select! {
        connected = client.connect(&mut person) => connected?,
        _ = interrupt.recv() => return Ok(0),
        _ = terminate.recv() => return Ok(0),
    };

    let mut served = Vec::new();
    if let Some(at) = arguments.socks {
        served.push(netstack.socks5(at).await?);
    }
    for (local, remote) in arguments.forward {
        served.push(netstack.forward_local(local, remote).await?);
    }
    println!(
        "Connected: session {}, for {} s.",
        connected.session,
        connected.ends_in.as_secs()
    );
    for forward in &served {
        println!("Serving on {}.", forward.local_addr());
    }
    loop {
        tokio::select! {
            event = client.next_event() => match event {
                Some(Event::Ended { reason, .. }) => {
                    println!("{reason}.");
                    return Ok(ENDED);
                }
                Some(event) => println!("{event:?}"),
                None => return Ok(ENDED),
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    client.sign_out().await?;
    println!("Signed out.");
    Ok(0)
}

fn status_of(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<ConnectError>() {
        Some(error) if error.is_denied() => DENIED,
        Some(ConnectError::Failed(Failure::Transport(_)) | ConnectError::Endpoint { .. }) => {
            UNREACHABLE
        }
        _ => 1,
    }
}
