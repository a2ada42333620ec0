//! What the policy says: whether it is in order, and what it means for a user.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use mfagate::assurance::FactorKind;
use mfagate::id::{GroupId, UserId};
use mfagate::policy::{self, Aal, Policy};
use mfagate::terminal::printable;

use crate::enrolment;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check the configuration's policy, or one in a file of its own.
    Check {
        /// File in TOML, or in JSON if its name ends in .json.
        file: Option<PathBuf>,
        /// Check whether it supports this assurance level of NIST SP 800-63B-4.
        #[arg(long)]
        level: Option<Level>,
    },
    /// Explain what a user is asked for and why, and whether their factors are enough.
    Explain {
        #[arg(long)]
        user: UserId,
        /// Explain as if the user were in this group; may be given more than once (default: the
        /// user's groups).
        #[arg(long = "group")]
        groups: Vec<GroupId>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Level {
    Aal1,
    Aal2,
    Aal3,
}

impl From<Level> for Aal {
    fn from(level: Level) -> Self {
        match level {
            Level::Aal1 => Self::Aal1,
            Level::Aal2 => Self::Aal2,
            Level::Aal3 => Self::Aal3,
        }
    }
}

pub(crate) async fn policy(config: &Path, command: PolicyCommand) -> Result<(), Box<dyn Error>> {
    match command {
        PolicyCommand::Check { file, level } => check(config, file.as_deref(), level),
        PolicyCommand::Explain { user, groups } => {
            let settings = Settings::read(config)?;
            let usable = enrolment::usable(&settings.registrar()?, &user).await?;
            let (known, factors) =
                usable.ok_or("there is no such user: `gate-server user list` has them all")?;
            let groups = if groups.is_empty() {
                known.groups
            } else {
                groups
            };
            let held: Vec<FactorKind> = factors.into_iter().map(|factor| factor.kind).collect();
            let explained = policy::explain(&settings.policy, &groups, &held);
            print!("{}", printable(explained));
            Ok(())
        }
    }
}

fn check(config: &Path, file: Option<&Path>, level: Option<Level>) -> Result<(), Box<dyn Error>> {
    let policy = match file {
        None => Settings::read(config)?.policy,
        Some(file) => read(file)?,
    };
    for kind in policy.kinds() {
        if !FactorKind::ALL.contains(kind) {
            let kind = printable(kind);
            println!("`{kind}` is none of mfagate's kinds: a verifier of your own must serve it.");
        }
    }
    if let Some(level) = level.map(Aal::from) {
        if let Err(short) = policy::meets(&policy, level) {
            for short in &short {
                let word = if short.gap.is_binding() {
                    "SHALL"
                } else {
                    "SHOULD"
                };
                println!("{word}: {short}");
            }
            return Err(format!("the policy does not support {level}").into());
        }
        println!("The policy supports {level}, as far as a policy can.");
    }
    println!("The policy is in order.");
    Ok(())
}

fn read(file: &Path) -> Result<Policy, Box<dyn Error>> {
    let at_fault = |error: &dyn Error| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| at_fault(&error))?;
    let is_json = file
        .extension()
        .is_some_and(|extension| extension == "json");
    let policy = if is_json {
        Policy::from_json(&text)
    } else {
        Policy::from_toml(&text)
    };
    Ok(policy.map_err(|error| at_fault(&error))?)
}
