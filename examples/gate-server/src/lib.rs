//! A small daemon around the gate, and its administration on the command line.

#[macro_use]
extern crate mfagate_examples;

mod admin;
mod audit;
mod changes;
mod daemon;
mod enrolment;
mod factor;
mod import;
mod onboard;
mod openid;
mod output;
mod policy;
mod restart;
mod revoke_args;
mod rotate;
mod sessions;
mod settings;
mod signals;
mod socket;
mod stale_interfaces;
mod token;
mod verifiers;

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mfagate_examples::backend::Backend;
use mfagate_examples::outlet;

use audit::AuditCommand;
use enrolment::{PeerCommand, UserCommand};
use factor::FactorCommand;
use import::Import;
use onboard::Onboard;
use output::Output;
use policy::PolicyCommand;
use revoke_args::RevokeArgs;
use settings::Settings;
use token::TokenCommand;

#[derive(Debug, Parser)]
#[command(about = "A WireGuard gate that MFA opens")]
struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, default_value = "gate.toml")]
    config: PathBuf,
    /// Write lines of JSON, for programs: users, peers, factors, tokens and sessions.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, a WireGuard key and a key ring; nothing is overwritten.
    Init,
    /// Add, enable, disable and list users, and set their groups.
    #[command(subcommand)]
    User(UserCommand),
    /// Add, enable, disable and list devices.
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Add, list and change users' factors.
    #[command(subcommand)]
    Factor(FactorCommand),
    /// Write all that a user needs to begin into one file: a device's profile, and a one-time token
    /// to enrol a first factor with. `connect` takes it.
    Onboard(Onboard),
    /// Manage one-time tokens, with which users enrol factors from their own devices.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Add many users and devices from a file: all of them or none.
    Import(Import),
    /// List the live sessions.
    Sessions,
    /// End sessions now.
    Revoke(RevokeArgs),
    /// Check the policy, and explain what it means for a user.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Verify and export the audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Seal everything in the store with a new key and drop the old keys. Do it regularly, and when
    /// someone may have seen the key ring. The daemon must be stopped.
    Rotate,
    /// Have the lease guard block the interface until `run` opens it, even before the interface
    /// exists: for a boot that brings up an interface with peers on it.
    Shut,
    /// Stop the daemon for a restart: it ends with status 75, on which a supervisor starts it
    /// again. With a lease guard on `kernel` or `uapi`, live peers stay on the interface and notice
    /// nothing.
    Restart,
    /// Serve until SIGINT, SIGTERM or SIGQUIT; SIGHUP has the policy read again.
    Run {
        /// WireGuard to use instead of the one in the configuration.
        #[arg(long)]
        backend: Option<Backend>,
        /// Start with a store that is older than a daemon last saw it: revocations, used codes and
        /// counted failures since then are undone, and the sessions in it end.
        #[arg(long)]
        accept_older_store: bool,
    },
}

/// The whole program: reads the arguments of its command line, and gives its exit status.
#[tokio::main]
pub async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    let status = match perform(arguments).await {
        Ok(status) => status,
        Err(error) => {
            mfagate_examples::complain("gate-server", error.as_ref());
            ExitCode::FAILURE
        }
    };
    match outlet::finish() {
        Ok(()) => status,
        // The reader closed the pipe on purpose: no message is needed.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gate-server: not all of the output was written: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let config = &arguments.config;
    let settings = || Settings::read(config);
    let output = if arguments.json {
        Output::Programs
    } else {
        Output::People
    };
    let done = match arguments.command {
        Command::Init => settings::init(config),
        Command::User(command) => enrolment::user(&settings()?, command, output).await,
        Command::Peer(command) => enrolment::peer(&settings()?, command, output).await,
        Command::Factor(command) => factor::factor(&settings()?, command, output).await,
        Command::Token(command) => token::token(&settings()?, command, output).await,
        Command::Onboard(new) => onboard::onboard(&settings()?, new, output).await,
        Command::Import(import) => import::import(&settings()?, &import, output).await,
        Command::Sessions => sessions::list(&settings()?, output).await,
        Command::Revoke(which) => sessions::revoke(&settings()?, &which.into()).await,
        // A policy in a file of its own needs no configuration.
        Command::Policy(command) => policy::policy(config, command).await,
        Command::Audit(command) => audit::audit(&settings()?, command).await,
        Command::Rotate => rotate::rotate(&settings()?, output).await,
        Command::Shut => daemon::shut(&settings()?).await,
        Command::Restart => restart::ask(&settings()?).await,
        Command::Run {
            backend,
            accept_older_store,
        } => {
            let mut settings = settings()?;
            settings.danger_accept_older_store = accept_older_store;
            if let Some(backend) = backend {
                settings.interface.backend = backend;
            }
            return daemon::run(settings, config).await;
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
