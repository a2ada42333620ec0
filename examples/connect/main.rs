//! A client on the command line: signs in, and serves SOCKS5 and forwards without root.
//!
//! Exit status: 0 signed out, 1 other failure, 3 denied, 4 unreachable, 5 the session ended.

mod desk;
mod export;
mod holding;
mod login;
mod story;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use mfagate::assurance::FactorKind;
use mfagate::channel::message::Hidden;
use mfagate::client::{Event, Failure, NewFactor};
use mfagate::interface::netstack::{Forward, Netstack};
use mfagate::runtime::{Client, ConnectError, Profile, SignOutError};
use mfagate_examples::backend::{Backend, Interface, Wanted};
use mfagate_examples::program::say_failed;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use desk::{Answers, Desk};
use export::WgQuick;
use holding::Holding;

const DENIED: u8 = 3;
const UNREACHABLE: u8 = 4;
const ENDED: u8 = 5;

#[derive(Debug, Parser)]
#[command(
    about = "Connects through a gate: asks for what the gate asks for, a line of the standard input each",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrol a factor, with a token or after signing in with those that there are.
    Enrol(Enrol),
}

#[derive(Debug, Args)]
struct Enrol {
    /// The profile that the administrator handed out.
    profile: PathBuf,
    /// What to enrol: totp, device-key, webauthn, password, recovery-codes, email-code,
    /// oidc.
    #[arg(long)]
    kind: String,
    /// What to call it; without this, its kind.
    #[arg(long)]
    label: Option<String>,
    /// The one-time token that the administrator handed out; `-` asks for it, so that it stands in
    /// no list of processes.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    desk: AtTheDesk,
}

/// Who answers, and with what.
#[derive(Debug, Args)]
struct AtTheDesk {
    /// Speak JSON on the standard input and output, a line each, to a program.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    holding: Holding,
}

#[derive(Debug, Args)]
struct Connect {
    /// The profile that the administrator handed out.
    #[arg(required = true)]
    profile: Option<PathBuf>,
    #[command(flatten)]
    desk: AtTheDesk,
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
    let is_program = match &arguments.command {
        Some(Command::Enrol(enrol)) => enrol.desk.json,
        None => arguments.connect.desk.json,
    };
    let desk = Desk::new(is_program);
    let status = run(arguments, &desk).await.unwrap_or_else(|error| {
        mfagate_examples::complain("connect", error.as_ref());
        if is_program {
            say_failed(error.as_ref());
        }
        status_of(error.as_ref())
    });
    // Not by returning: a read of the standard input may still hold the runtime up.
    std::process::exit(status.into())
}

async fn run(arguments: Arguments, desk: &Desk) -> Result<u8, Box<dyn Error>> {
    match arguments.command {
        Some(Command::Enrol(arguments)) => enrol(arguments, desk).await,
        None => connect(arguments.connect, desk).await,
    }
}

async fn connect(arguments: Connect, desk: &Desk) -> Result<u8, Box<dyn Error>> {
    let mut stop = Stop::new()?;
    // There without fail where there is no sub-command.
    let path = arguments.profile.as_deref().unwrap_or(Path::new(""));
    let profile = Profile::read(path)?;
    let held = arguments.desk.holding.open(&profile, None, desk).await?;
    let desk = desk.clone();
    let mut answers = Answers { held, desk };
    if let Some(path) = &arguments.export {
        return export(&profile, path, &mut answers).await;
    }
    let interface = bring_up(&profile, &arguments).await?;
    // Whatever is wrong with an address shows before anyone has typed a code.
    let served = serve(interface.netstack.as_ref(), &arguments).await?;
    let client = Client::builder(profile)
        .interface(interface.backend)
        .build()?;
    let desk = answers.desk.clone();
    let outcome = tokio::select! {
        outcome = session(&client, &mut answers, &served) => outcome,
        () = stop.asked(&desk) => Ok(0),
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
    answers: &mut Answers,
    served: &[Forward],
) -> Result<u8, Box<dyn Error>> {
    let connected = client.connect(answers).await?;
    let mut current = connected.session;
    let desk = answers.desk.clone();
    desk.say(
        format_args!(
            "Connected: session {current}, for {}.",
            story::span(connected.ends_in)
        ),
        &json!({
            "type": "connected",
            "session": current,
            "addresses": connected.addresses,
            "ends_in_ms": story::millis(connected.ends_in),
        }),
    );
    for forward in served {
        let at = forward.local_addr();
        let line = json!({"type": "serving", "at": at});
        desk.say(format_args!("Serving on {at}."), &line);
    }
    while let Some(event) = client.next_event().await {
        if let Some((text, line)) = story::told(&event) {
            desk.say(text, &line);
        }
        if let Event::Renewed { session, .. } = event {
            current = session;
        } else if let Event::MfaRequired { .. } = event {
            if let Err(error) = client.renew(answers).await {
                let line = json!({"type": "not_renewed", "error": error.to_string()});
                desk.say(format_args!("Not renewed: {error}."), &line);
            }
        } else if matches!(event, Event::Ended { session, .. } if session == current) {
            break;
        }
    }
    Ok(ENDED)
}

/// Enrols a factor. It needs no tunnel, and leaves the one that there may be alone.
async fn enrol(arguments: Enrol, desk: &Desk) -> Result<u8, Box<dyn Error>> {
    let mut stop = Stop::new()?;
    let profile = Profile::read(&arguments.profile)?;
    let label = arguments.label.unwrap_or_else(|| arguments.kind.clone());
    let kind = FactorKind::from_string(arguments.kind);
    let holding = &arguments.desk.holding;
    let held = holding.open(&profile, Some(&kind), desk).await?;
    let token = match arguments.token.as_deref() {
        Some("-") => Some(desk.secret("the enrolment token").await),
        given => given.map(|text| Hidden::new(text.to_owned())),
    };
    let token = match token {
        Some(token) => Some(token.ok_or("there is no token")?),
        None => None,
    };
    let mut netstack = Netstack::builder(profile.private_key.clone());
    for address in &profile.addresses {
        netstack = netstack.address(*address);
    }
    let client = Client::builder(profile)
        .interface(Arc::new(netstack.build().await?))
        .build()?;
    let factor = NewFactor { kind, label, token };
    let mut answers = Answers {
        held,
        desk: desk.clone(),
    };
    let enrolled = tokio::select! {
        enrolled = client.enrol(factor, &mut answers) => Some(enrolled?),
        () = stop.asked(desk) => None,
    };
    if let Some(factor) = enrolled {
        let line = json!({"type": "enrolled", "factor": factor});
        desk.say(format_args!("Enrolled: factor {factor}."), &line);
    }
    Ok(0)
}

async fn bring_up(profile: &Profile, arguments: &Connect) -> Result<Interface, Box<dyn Error>> {
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
    arguments: &Connect,
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
async fn export(
    profile: &Profile,
    path: &Path,
    answers: &mut Answers,
) -> Result<u8, Box<dyn Error>> {
    let client = Client::builder(profile.clone())
        .interface(Arc::new(WgQuick::new(path, profile)))
        .build()?;
    let connected = client.connect(answers).await?;
    client.detach();
    answers.desk.say(
        format_args!(
            "{} is good for {}: `wg-quick up` brings the tunnel up.",
            path.display(),
            story::span(connected.ends_in)
        ),
        &json!({
            "type": "exported",
            "file": path,
            "session": connected.session,
            "ends_in_ms": story::millis(connected.ends_in),
        }),
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

    async fn asked(&mut self, desk: &Desk) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
        desk.say("Signing out.", &json!({"type": "signing_out"}));
    }
}
