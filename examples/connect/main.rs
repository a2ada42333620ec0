//! A client on the command line: signs in, and serves SOCKS5 and forwards without root.
//!
//! Exit status: 0 signed out, 1 other failure, 3 denied, 4 unreachable, 5 the session ended.

mod export;
mod story;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use mfagate::client::{Event, Failure};
use mfagate::interface::netstack::{Forward, Netstack};
use mfagate::runtime::{Client, ConnectError, Profile, SignOutError};
use mfagate_examples::backend::{Backend, Interface, Wanted};
use mfagate_examples::terminal::Person;
use tokio::signal::unix::{Signal, SignalKind, signal};

use export::WgQuick;

const DENIED: u8 = 3;
const UNREACHABLE: u8 = 4;
const ENDED: u8 = 5;

#[derive(Debug, Parser)]
#[command(about = "Connects through a gate: asks for the code, a line of the standard input")]
struct Arguments {
    /// The profile that the administrator handed out.
    profile: PathBuf,
    /// Which WireGuard carries the packets.
    #[arg(long, value_enum, default_value_t = Backend::Netstack)]
    backend: Backend,
    /// The interface's name, where it is one of the system's.
    #[arg(long, default_value = "mfagate0")]
    interface: String,
    /// Serve SOCKS5 at this loopback address (netstack).
    #[arg(long, value_name = "ADDRESS:PORT")]
    socks: Option<SocketAddr>,
    /// Pass connections to a loopback address on to one inside the tunnel (netstack).
    #[arg(long, value_name = "LOCAL=INSIDE", value_parser = pair)]
    forward: Vec<(SocketAddr, SocketAddr)>,
    /// Write a file for `wg-quick` instead, good until the session's end, and leave.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backend", "interface", "socks", "forward"])]
    export: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (local, inside) = text
        .split_once('=')
        .ok_or("two addresses with ports belong here, as in 127.0.0.1:8080=10.0.0.1:80")?;
    let parse = |part: &str| {
        part.parse()
            .map_err(|_| format!("{part} is no address with a port"))
    };
    Ok((parse(local)?, parse(inside)?))
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    let status = run(arguments).await.unwrap_or_else(|error| {
        mfagate_examples::complain("connect", error.as_ref());
        status_of(error.as_ref())
    });
    // Not by returning: a read of the standard input may still hold the runtime up.
    std::process::exit(status.into())
}

async fn run(arguments: Arguments) -> Result<u8, Box<dyn Error>> {
    let mut stop = Stop::new()?;
    let profile = Profile::read(&arguments.profile)?;
    if let Some(path) = &arguments.export {
        return export(&profile, path).await;
    }
    let interface = bring_up(&profile, &arguments).await?;
    // Whatever is wrong with an address shows before anyone has typed a code.
    let served = serve(interface.netstack.as_ref(), &arguments).await?;
    let client = Client::builder(profile)
        .interface(interface.backend)
        .build()?;
    let mut person = Person::new();
    let outcome = tokio::select! {
        outcome = session(&client, &mut person, &served) => outcome,
        () = stop.asked() => Ok(0),
    };
    // Also where the sign-in broke off: its grant may have been on the way.
    match client.sign_out().await {
        Ok(()) | Err(SignOutError::Stopped) => {}
        Err(error) => eprintln!("connect: {error}"),
    }
    outcome
}

/// Signs in, and tells what happens until the session is over.
async fn session(
    client: &Client,
    person: &mut Person,
    served: &[Forward],
) -> Result<u8, Box<dyn Error>> {
    let connected = client.connect(person).await?;
    let mut current = connected.session;
    println!(
        "Connected: session {current}, for {}.",
        story::span(connected.ends_in)
    );
    for forward in served {
        println!("Serving on {}.", forward.local_addr());
    }
    while let Some(event) = client.next_event().await {
        if let Some(line) = story::line(&event) {
            println!("{line}");
        }
        if let Event::Renewed { session, .. } = event {
            current = session;
        } else if let Event::MfaRequired { .. } = event {
            if let Err(error) = client.renew(person).await {
                eprintln!("Not renewed: {error}.");
            }
        } else if matches!(event, Event::Ended { session, .. } if session == current) {
            break;
        }
    }
    Ok(ENDED)
}

async fn bring_up(profile: &Profile, arguments: &Arguments) -> Result<Interface, Box<dyn Error>> {
    let wanted = Wanted {
        name: &arguments.interface,
        key: profile.private_key.clone(),
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        addresses: &profile.addresses,
        routes: &profile.allowed_ips,
        mtu: profile.mtu,
    };
    arguments.backend.bring_up(&wanted).await
}

async fn serve(
    netstack: Option<&Netstack>,
    arguments: &Arguments,
) -> Result<Vec<Forward>, Box<dyn Error>> {
    let netstack = || netstack.ok_or("--socks and --forward are for the backend netstack");
    let mut served = Vec::new();
    if let Some(at) = arguments.socks {
        served.push(netstack()?.socks5(at).await?);
    }
    for (local, inside) in &arguments.forward {
        served.push(netstack()?.forward_local(*local, *inside).await?);
    }
    Ok(served)
}

/// Signs in, and leaves the session to whoever has the file.
async fn export(profile: &Profile, path: &Path) -> Result<u8, Box<dyn Error>> {
    let client = Client::builder(profile.clone())
        .interface(Arc::new(WgQuick::new(path, profile)))
        .build()?;
    let connected = client.connect(&mut Person::new()).await?;
    client.detach();
    println!(
        "{} is good for {}: `wg-quick up` brings the tunnel up.",
        path.display(),
        story::span(connected.ends_in)
    );
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

/// SIGINT and SIGTERM.
struct Stop(Signal, Signal);

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
        println!("Signing out.");
    }
}
