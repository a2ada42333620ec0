//! One-time enrolment tokens: with one, a user's client enrols a factor by itself.

use std::error::Error;
use std::time::Duration;

use clap::Subcommand;
use mfagate::assurance::FactorKind;
use mfagate::id::{FactorId, TokenId, UserId};
use mfagate::store::EnrolmentToken;
use serde_json::json;

use crate::enrolment;
use crate::output::Output;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and show it once.
    Create {
        #[arg(long)]
        user: UserId,
        /// Kind of factor that it enrols; may be given more than once (default: any kind).
        #[arg(long = "kind", value_parser = kind)]
        kinds: Vec<FactorKind>,
        /// Factor that is removed when the token is used, such as that of a lost device.
        #[arg(long, value_name = "FACTOR")]
        replaces: Option<FactorId>,
        /// Lifetime of the token.
        #[arg(long, default_value = "1day")]
        ttl: humantime::Duration,
    },
    /// List a user's tokens that have not been used.
    List {
        #[arg(long)]
        user: UserId,
    },
    /// Take a token back.
    Remove {
        #[arg(long)]
        user: UserId,
        /// Id of the token, from `token list`.
        token: TokenId,
    },
}

/// A mistyped kind would make a token that enrols nothing.
pub(crate) fn kind(text: &str) -> Result<FactorKind, String> {
    let known = FactorKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let all: Vec<String> = FactorKind::ALL.iter().map(ToString::to_string).collect();
        format!("the kinds are {}", all.join(", "))
    })
}

pub(crate) async fn token(
    settings: &Settings,
    command: TokenCommand,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    match command {
        TokenCommand::Create {
            user,
            kinds,
            replaces,
            ttl,
        } => {
            let ttl: Duration = ttl.into();
            let issued = match replaces {
                Some(factor) => {
                    registrar
                        .issue_replacement(&user, factor, kinds, ttl)
                        .await?
                }
                None => registrar.issue_token(&user, kinds, ttl).await?,
            };
            let line = json!({
                "type": "token",
                "id": issued.id,
                "token": issued.expose_text(),
                "not_after_ms": issued.not_after.as_millis(),
            });
            output.say(issued.expose_text(), &line);
        }
        TokenCommand::List { user } => {
            enrolment::known(&registrar, &user).await?;
            for token in registrar.tokens(&user).await? {
                let line = json!({
                    "type": "token",
                    "id": token.id,
                    "kinds": token.kinds,
                    "not_after_ms": token.not_after.as_millis(),
                    "replaces": token.replaces,
                });
                output.say(in_words(&token), &line);
            }
        }
        TokenCommand::Remove { user, token } => {
            registrar.remove_token(&user, token).await?;
            let line = json!({"type": "removed", "id": token});
            output.say(format_args!("Token {token} is taken back."), &line);
        }
    }
    Ok(())
}

fn in_words(token: &EnrolmentToken) -> String {
    let kinds: Vec<String> = token.kinds.iter().map(ToString::to_string).collect();
    let kinds = if kinds.is_empty() {
        "any".to_owned()
    } else {
        kinds.join(",")
    };
    let replaces = token
        .replaces
        .map(|factor| format!(", in the place of {factor}"));
    let replaces = replaces.unwrap_or_default();
    format!("{} {kinds} until {}{replaces}", token.id, token.not_after)
}
