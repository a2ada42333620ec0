//! A small daemon around the gate, and its administration on the command line.

mod audit;
mod changes;
mod control;
mod daemon;
mod enrolment;
mod factor;
mod kinds;
mod left;
mod openid;
mod output;
mod policy;
mod ring;
mod sessions;
mod settings;
mod socket;
mod target;
mod token;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mfagate_examples::backend::Backend;

use audit::AuditCommand;
use enrolment::{PeerCommand, UserCommand};
use factor::FactorCommand;
use output::Output;
use policy::PolicyCommand;
use settings::Settings;
use target::Which;
use token::TokenCommand;

#[derive(Debug, Parser)]
#[command(about = "A WireGuard gate that MFA opens")]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, default_value = "gate.toml")]
    config: PathBuf,
    /// Say things as lines of JSON, for programs: users, peers, factors, tokens and sessions.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, a key and a key ring. Overwrites nothing.
    Init,
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Devices.
    #[command(subcommand)]
    Peer(PeerCommand),
    /// What users prove themselves with.
    #[command(subcommand)]
    Factor(FactorCommand),
    /// One-time tokens, with which users enrol factors from their own devices.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List the live sessions.
    Sessions,
    /// End sessions now.
    Revoke(Which),
    /// What the policy says.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Seal all that is in the store with a new key, and drop the old ones: every so often, and
    /// when somebody may have seen the key ring. While no daemon runs.
    Rotate,
    /// Have the lease guard shut the interface, there or not, until `run` opens it: for a boot that
    /// brings up an interface with peers of its own.
    Shut,
    /// Serve until SIGINT or SIGTERM.
    Run {
        /// Which WireGuard, instead of the configuration's.
        #[arg(long)]
        backend: Option<Backend>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    match perform(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            mfagate_examples::complain("gate-server", error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let config = &arguments.config;
    let settings = || Settings::read(config);
    let output = if arguments.json {
        Output::Programs
    } else {
        Output::People
    };
    match arguments.command {
        Command::Init => settings::init(config),
        Command::User(command) => enrolment::user(&settings()?, command, output).await,
        Command::Peer(command) => enrolment::peer(&settings()?, command, output).await,
        Command::Factor(command) => factor::factor(&settings()?, command, output).await,
        Command::Token(command) => token::token(&settings()?, command, output).await,
        Command::Sessions => sessions::list(&settings()?, output).await,
        Command::Revoke(which) => sessions::revoke(&settings()?, &which.into()).await,
        // A policy in a file of its own needs no configuration.
        Command::Policy(command) => policy::policy(config, command).await,
        Command::Audit(command) => audit::audit(&settings()?, command).await,
        Command::Rotate => ring::rotate(&settings()?, output).await,
        Command::Shut => daemon::shut(&settings()?).await,
        Command::Run { backend } => {
            let mut settings = settings()?;
            if let Some(backend) = backend {
                settings.interface.backend = backend;
            }
            daemon::run(settings).await
        }
    }
}
