//! A client on the command line: signs in, and serves SOCKS5 and forwards without root.
//!
//! Exit status: 0 signed out, 1 other failure, 3 denied, 4 unreachable (or the gate could not be told of
//! the end), 5 the session ended, 130 told to stop before connected.

#[macro_use]
extern crate mfagate_examples;

mod console;
mod export;
mod factor_settings;
mod login;
mod report;
mod stop;

use std::error::Error;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mfagate::assurance::FactorKind;
use mfagate::channel::message::SecretString;
use mfagate::client::{
    AttemptFailure, Client, ConnectError, Connected, EnrolRequest, Event, Needs, Onboarding,
    Profile, SignOutError,
};
use mfagate::id::Label;
use mfagate::interface::netstack::{Forward, Netstack};
use mfagate::interface::routes::Routes;
use mfagate::terminal::{printable, restore_echo};
use mfagate_examples::backend::{Backend, Interface, InterfaceOptions};
use mfagate_examples::program::say_failed;
use serde_json::json;

use console::{Answers, Console};
use export::WgQuick;
use factor_settings::FactorSettings;
use stop::{STOPPED, Stop};

const DENIED: u8 = 3;
const UNREACHABLE: u8 = 4;
const ENDED: u8 = 5;

/// How long a client whose gate does not answer goes on trying to tell it that it goes.
const LAST_TRY: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
#[command(
    about = "Connects through a gate, and reads the answers to its challenges from the standard input, a line each",
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
    /// Enrol a factor, with a token or after signing in with the factors that the user has.
    Enrol(Enrol),
}

#[derive(Debug, Args)]
struct Enrol {
    /// Profile from the administrator, or an onboarding file.
    profile: PathBuf,
    /// Kind of factor: totp, device-key, webauthn, password, recovery-codes, email-code, oidc.
    #[arg(long)]
    kind: String,
    /// Label shown to the user (default: the kind).
    #[arg(long)]
    label: Option<Label>,
    /// One-time token from the administrator; `-` asks for it, which keeps it out of the list of
    /// processes.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    console: AtTheDesk,
}

/// Who answers, and with what.
#[derive(Debug, Args)]
struct AtTheDesk {
    /// Exchange lines of JSON with a program, on the standard input and output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    factor_settings: FactorSettings,
}

#[derive(Debug, Args)]
struct Connect {
    /// Profile from the administrator, or an onboarding file: then this enrols the user's first factor,
    /// signs in with it, and leaves the profile in the file's place.
    #[arg(required = true)]
    profile: Option<PathBuf>,
    #[command(flatten)]
    console: AtTheDesk,
    /// WireGuard that carries the packets.
    #[arg(long, value_enum, default_value_t = Backend::Netstack)]
    backend: Backend,
    /// Name of the interface on the system (not netstack).
    #[arg(long, default_value = "mfagate0")]
    interface: String,
    /// Serve SOCKS5 at this loopback address (netstack).
    #[arg(long, value_name = "ADDRESS:PORT")]
    socks: Option<SocketAddr>,
    /// Forward connections from a loopback address to one inside the tunnel (netstack).
    #[arg(long, value_name = "LOCAL=INSIDE", value_parser = pair)]
    forward: Vec<(SocketAddr, SocketAddr)>,
    /// Write a file for `wg-quick` that works until the session's end, instead of bringing a tunnel
    /// up, and exit.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backend", "interface", "socks", "forward"])]
    export: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (local, inside) = text
        .split_once('=')
        .ok_or("give two addresses with ports, as in 127.0.0.1:8080=10.0.0.1:80")?;
    let parse = |part: &str| {
        part.parse()
            .map_err(|_| format!("{part} is not an address with a port, such as 127.0.0.1:8080"))
    };
    Ok((parse(local)?, parse(inside)?))
}

/// The whole program: reads the arguments of its command line, and ends the process.
#[tokio::main]
pub async fn main() {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    let is_program = match &arguments.command {
        Some(Command::Enrol(enrol)) => enrol.console.json,
        None => arguments.connect.console.json,
    };
    let console = Console::new(is_program);
    let status = run(arguments, &console).await.unwrap_or_else(|error| {
        mfagate_examples::complain("connect", error.as_ref());
        if is_program {
            say_failed(error.as_ref());
        }
        status_of(error.as_ref())
    });
    restore_echo();
    // What could not be written changes nothing about how it ended.
    _ = mfagate_examples::outlet::finish();
    // Not by returning: a read of the standard input may still hold the runtime up, and so may a
    // token that hangs.
    std::process::exit(status.into())
}

async fn run(arguments: Arguments, console: &Console) -> Result<u8, Box<dyn Error>> {
    let stop = Stop::new()?;
    match arguments.command {
        Some(Command::Enrol(arguments)) => enrol(arguments, console, &stop).await,
        None => connect(arguments.connect, console, &stop).await,
    }
}

async fn connect(arguments: Connect, console: &Console, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    // There without fail where there is no sub-command.
    let path = arguments.profile.as_deref().unwrap_or(Path::new(""));
    let Onboarding { profile, enrol } = Onboarding::read(path)?;
    let kind = enrol.as_ref().map(|request| &request.kind);
    let held = arguments
        .console
        .factor_settings
        .open(&profile, kind, console);
    let Some(held) = stop.or(held).await else {
        return Ok(STOPPED);
    };
    let mut user = SignIn {
        answers: Answers {
            held: held?,
            console: console.clone(),
        },
        path,
        profile: &profile,
        first: enrol,
    };
    if let Some(path) = &arguments.export {
        return export(path, &mut user, stop).await;
    }
    let up = async {
        let interface = bring_up(&profile, &arguments).await?;
        // Before the sign-in: a wrong address must not cost the user a code.
        let served = serve(interface.netstack.as_ref(), &arguments).await?;
        Ok::<_, Box<dyn Error>>((interface, served))
    };
    let Some(up) = stop.or(up).await else {
        return Ok(STOPPED);
    };
    let (interface, served) = up?;
    let (routes, kernel) = (interface.routes.clone(), interface.kernel.clone());
    let client = Client::builder(profile.clone())
        .interface(interface.backend)
        .build()?;
    let is_connected = AtomicBool::new(false);
    let work = session(&client, &mut user, &served, routes.as_ref(), &is_connected);
    let outcome = stop.or(work).await;
    let stopped = if is_connected.into_inner() {
        0
    } else {
        STOPPED
    };
    if let (Some(Err(_)), Some(routes)) = (&outcome, &routes)
        && let Some(why) = routes.failure().await
    {
        eprintln!("connect: {}", printable(&why));
    }
    let status = leave(&client, console, outcome, stopped).await;
    // The client lets go of the interface in a task of its own, which the end of the process may
    // overtake: an interface of the kernel's would then stay, with its addresses. One that an earlier
    // client left stays as it is.
    if let Some(kernel) = kernel
        && let Err(error) = kernel.close().await
    {
        mfagate_examples::complain("connect", &error);
    }
    status
}

/// Signs out, also where the sign-in broke off: its attempt is open at the gate, or its grant was on
/// the way. `stopped` is the status of a program that was told to stop and has nothing to add.
async fn leave(
    client: &Client,
    console: &Console,
    outcome: Option<Result<u8, Box<dyn Error>>>,
    stopped: u8,
) -> Result<u8, Box<dyn Error>> {
    let Some(outcome) = outcome else {
        console.say("Signing out.", &json!({"type": "signing_out"}));
        let told = client.sign_out().await;
        return Ok(complain_of(told).unwrap_or(stopped));
    };
    if outcome
        .as_ref()
        .is_err_and(|error| status_of(&**error) == UNREACHABLE)
    {
        // What is wrong is known, and waiting for this gate again tells nothing new.
        _ = tokio::time::timeout(LAST_TRY, client.sign_out()).await;
        return outcome;
    }
    let status = complain_of(client.sign_out().await);
    outcome.map(|done| if done == 0 { status.unwrap_or(0) } else { done })
}

/// Says what of a signing out was not done, and the status that goes with it.
fn complain_of(signed_out: Result<(), SignOutError>) -> Option<u8> {
    let error = match signed_out {
        Ok(()) | Err(SignOutError::Stopped) => return None,
        Err(error) => error,
    };
    eprintln!("connect: {}", printable(error));
    Some(match error {
        SignOutError::Unconfirmed | SignOutError::AttemptOpen => UNREACHABLE,
        SignOutError::StillUp | SignOutError::Stopped | _ => 1,
    })
}

/// How the user of a profile signs in.
struct SignIn<'a> {
    answers: Answers,
    /// Where the profile is.
    path: &'a Path,
    profile: &'a Profile,
    /// What is enrolled first, where the file is an onboarding file.
    first: Option<EnrolRequest>,
}

impl SignIn<'_> {
    async fn connect(&mut self, client: &Client) -> Result<Connected, ConnectError> {
        let Some(request) = self.first.take() else {
            return client.connect(&mut self.answers).await;
        };
        let connected = client.onboard(request, &mut self.answers).await?;
        let path = self.path.display();
        // The token is used. What fails here costs the next run a message to the gate, no more.
        match self.profile.write(self.path) {
            Ok(()) => self.answers.console.say(
                format_args!("The factor is enrolled: from now on {path} is a profile."),
                &json!({"type": "onboarded", "profile": self.path}),
            ),
            Err(error) => mfagate_examples::complain("connect", &error),
        }
        Ok(connected)
    }
}

/// Signs in, and tells what happens until the session is over.
async fn session(
    client: &Client,
    user: &mut SignIn<'_>,
    served: &[Forward],
    routes: Option<&Routes>,
    is_connected: &AtomicBool,
) -> Result<u8, Box<dyn Error>> {
    let connected = user.connect(client).await?;
    is_connected.store(true, Ordering::Relaxed);
    let mut current = connected.session;
    let console = user.answers.console.clone();
    console.say(
        format_args!(
            "Connected: session {current}, for {}.",
            report::span(connected.ends_in)
        ),
        &json!({
            "type": "connected",
            "session": current,
            "addresses": connected.addresses,
            "ends_in_ms": report::millis(connected.ends_in),
        }),
    );
    if let Some(routes) = routes
        && let Some(why) = routes.left_out().await
    {
        let why = printable(&why);
        eprintln!("connect: the tunnel goes without its routes of IPv6: {why}");
    }
    for forward in served {
        let at = forward.local_addr();
        let line = json!({"type": "serving", "at": at});
        console.say(format_args!("Serving on {at}."), &line);
    }
    while let Some(event) = client.next_event().await {
        if let Some((text, line)) = report::told(&event) {
            console.say(text, &line);
        }
        if let Event::Renewed { session, .. } = event {
            current = session;
        } else if let Event::Ending {
            needs: Needs::Factor | Needs::Request,
            ..
        } = event
        {
            // In time, and once: the tunnel stays up meanwhile, and goes on without a gap.
            if let Err(error) = client.renew(&mut user.answers).await {
                let line = json!({"type": "not_renewed", "error": error.to_string()});
                console.say(format_args!("Not renewed: {error}."), &line);
            }
        } else if matches!(event, Event::Ended { session, .. } if session == current) {
            break;
        }
    }
    Ok(ENDED)
}

/// Enrols a factor. It needs no tunnel, and leaves the one that there may be alone.
async fn enrol(arguments: Enrol, console: &Console, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let Onboarding { profile, .. } = Onboarding::read(&arguments.profile)?;
    let label = match arguments.label {
        Some(label) => label,
        None => arguments.kind.parse()?,
    };
    let kind = FactorKind::from_string(arguments.kind);
    let factor_settings = &arguments.console.factor_settings;
    let asked = async {
        let held = factor_settings.open(&profile, Some(&kind), console).await?;
        let token = match arguments.token.as_deref() {
            Some("-") => Some(console.secret("the enrolment token").await),
            given => given.map(|text| SecretString::new(text.to_owned())),
        };
        let token = match token {
            Some(token) => Some(token.ok_or("there is no token: type the one from the administrator, or leave --token out and sign in first")?),
            None => None,
        };
        Ok::<_, Box<dyn Error>>((held, token))
    };
    let Some(asked) = stop.or(asked).await else {
        return Ok(STOPPED);
    };
    let (held, token) = asked?;
    let mut netstack = Netstack::builder(profile.private_key.clone());
    for address in &profile.addresses {
        netstack = netstack.address(*address);
    }
    let client = Client::builder(profile)
        .interface(Arc::new(netstack.build().await?))
        .build()?;
    let factor = EnrolRequest { kind, label, token };
    let mut answers = Answers {
        held,
        console: console.clone(),
    };
    let work = async {
        let factor = client.enrol(factor, &mut answers).await?;
        let line = json!({"type": "enrolled", "factor": factor});
        console.say(format_args!("Enrolled: factor {factor}."), &line);
        Ok(0)
    };
    let outcome = stop.or(work).await;
    leave(&client, console, outcome, STOPPED).await
}

async fn bring_up(profile: &Profile, arguments: &Connect) -> Result<Interface, Box<dyn Error>> {
    let wanted = InterfaceOptions {
        name: &arguments.interface,
        key: profile.private_key.clone(),
        listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        addresses: &profile.addresses,
        routes: &profile.allowed_ips,
        mtu: profile.mtu,
    };
    let interface = arguments.backend.bring_up(&wanted).await?;
    for address in &interface.left_out {
        eprintln!(
            "connect: IPv6 is switched off on this machine: the tunnel goes without {address}"
        );
    }
    if arguments.backend != Backend::Netstack && !profile.dns.is_empty() {
        eprintln!(
            "connect: the profile's DNS servers are not set on this machine, which goes on with its own: set them by hand if names inside are needed",
        );
    }
    Ok(interface)
}

async fn serve(
    netstack: Option<&Netstack>,
    arguments: &Connect,
) -> Result<Vec<Forward>, Box<dyn Error>> {
    let netstack = || {
        netstack.ok_or("--socks and --forward need the backend netstack: leave --backend out, or use the system's interface without them")
    };
    let mut served = Vec::new();
    if let Some(at) = arguments.socks {
        served.push(netstack()?.socks5(at).await?);
    }
    for (local, inside) in &arguments.forward {
        served.push(netstack()?.forward_local(*local, *inside).await?);
    }
    Ok(served)
}

/// Signs in, writes the file, and leaves the session to the tunnel that is brought up from it.
async fn export(path: &Path, user: &mut SignIn<'_>, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let client = Client::builder(user.profile.clone())
        .interface(Arc::new(WgQuick::new(path, user.profile)))
        .build()?;
    let console = user.answers.console.clone();
    let connected = match stop.or(user.connect(&client)).await {
        Some(Ok(connected)) => connected,
        Some(Err(error)) => {
            return leave(&client, &console, Some(Err(error.into())), STOPPED).await;
        }
        None => return leave(&client, &console, None, STOPPED).await,
    };
    client.detach();
    console.say(
        format_args!(
            "{} is good for {}: `wg-quick up` brings the tunnel up.",
            path.display(),
            report::span(connected.ends_in)
        ),
        &json!({
            "type": "exported",
            "file": path,
            "session": connected.session,
            "ends_in_ms": report::millis(connected.ends_in),
        }),
    );
    Ok(0)
}

fn status_of(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<ConnectError>() {
        Some(error) if error.is_denied() => DENIED,
        Some(
            ConnectError::Failed(AttemptFailure::Transport(_)) | ConnectError::Endpoint { .. },
        ) => UNREACHABLE,
        _ => 1,
    }
}
