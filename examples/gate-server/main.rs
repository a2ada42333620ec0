//! A small daemon around the gate, and its administration on the command line.

mod administrator;
mod daemon;
mod settings;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use mfagate::id::{FactorId, SessionId, UserId};
use mfagate::key::PublicKey;

use settings::Settings;
use target::Target;

#[derive(Debug, Parser)]
#[command(about = "A WireGuard gate that MFA opens")]
struct Arguments {
    #[arg(long, global = true, default_value = "gate.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, a key and a key ring.
    Init,
    #[command(subcommand)]
    User(UserCommand),
    #[command(subcommand)]
    Peer(PeerCommand),
    #[command(subcommand)]
    Factor(FactorCommand),
    /// List the live sessions.
    Sessions,
    /// End sessions now.
    Revoke(Which),
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Serve until SIGINT or SIGTERM.
    Run,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    Add { user: UserId },
    Disable { user: UserId },
    Enable { user: UserId },
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Enrol a device and write its profile, private key included.
    Add {
        #[arg(long)]
        user: UserId,
        #[arg(long)]
        label: String,
        #[arg(long)]
        address: IpNet,
        #[arg(long, default_value = "profile.toml")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum FactorCommand {
    /// Enrol an authenticator app, confirmed by its first code.
    AddTotp {
        #[arg(long)]
        user: UserId,
    },
    List {
        #[arg(long)]
        user: UserId,
    },
    Remove {
        #[arg(long)]
        user: UserId,
        factor: FactorId,
    },
    /// Forget a factor's wrong codes.
    Reset {
        #[arg(long)]
        user: UserId,
        factor: FactorId,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Verify,
    /// Print the records as lines of JSON.
    Export,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    #[arg(long)]
    session: Option<SessionId>,
    #[arg(long)]
    peer: Option<PublicKey>,
    #[arg(long)]
    user: Option<UserId>,
}

impl Which {
    fn target(self) -> Option<Target> {
        self.session
            .map(Target::Session)
            .or(self.peer.map(Target::Peer))
            .or(self.user.map(Target::User))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mfagate_examples::log_to_stderr();
    match perform(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if matches!(arguments.command, Command::Init) {
        return Settings::init(&arguments.config);
    }
    let settings = Settings::read(&arguments.config)?;
    match arguments.command {
        Command::Init => Ok(()),
        Command::User(UserCommand::Add { user } | UserCommand::Enable { user }) => {
            Ok(settings.registrar()?.put_user(&user, true).await?)
        }
        Command::User(UserCommand::Disable { user }) => {
            Ok(settings.registrar()?.put_user(&user, false).await?)
        }
        Command::Peer(PeerCommand::Add {
            user,
            label,
            address,
            out,
        }) => administrator::add_peer(&settings, user, label, address, &out).await,
        Command::Factor(FactorCommand::AddTotp { user }) => {
            administrator::add_totp(&settings, &user).await
        }
        Command::Factor(FactorCommand::List { user }) => {
            for factor in settings.registrar()?.factors(&user).await? {
                println!(
                    "{} {} {} {:?}",
                    factor.id, factor.kind, factor.label, factor.state
                );
            }
            Ok(())
        }
        Command::Factor(FactorCommand::Remove { user, factor }) => {
            Ok(settings.registrar()?.remove_factor(&user, factor).await?)
        }
        Command::Factor(FactorCommand::Reset { user, factor }) => {
            Ok(settings.registrar()?.reset_failures(&user, factor).await?)
        }
        Command::Sessions => administrator::sessions(&settings).await,
        Command::Revoke(which) => {
            let target = which.target().ok_or("name a session, a peer or a user")?;
            administrator::revoke(&settings, target).await
        }
        Command::Audit(AuditCommand::Verify) => administrator::audit(&settings, false).await,
        Command::Audit(AuditCommand::Export) => administrator::audit(&settings, true).await,
        Command::Run => daemon::run(settings).await,
    }
}
