//! Factors in an administrator's hands. None of it needs the daemon, and a running one sees it at
//! once. Device keys, passkeys and security keys are enrolled from the client, with a token.

use std::error::Error;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use mfagate::assurance::FactorKind;
use mfagate::code::ErrorCode;
use mfagate::enrol::{EnrolError, Registrar};
use mfagate::factor::VerifyError;
use mfagate::factor::email_code::EmailAddress;
use mfagate::factor::oidc::Identity;
use mfagate::factor::recovery_codes::RecoveryCodes;
use mfagate::id::{FactorId, Label, ParseLabelError, UserId};
use mfagate::seal::SecretBytes;
use mfagate::store::{FactorRecord, FactorState};
use mfagate::terminal::{Input, TerminalPrompt};
use serde_json::{Value, json};

use crate::enrolment;
use crate::output::Output;
use crate::revoke_args::Target;
use crate::sessions;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum FactorCommand {
    /// Enrol an authenticator app, confirmed by its first code, a line of the standard input.
    AddTotp {
        #[command(flatten)]
        new: New,
    },
    /// Make ten recovery codes and show them once.
    AddRecoveryCodes {
        #[command(flatten)]
        new: New,
    },
    /// Set a password, a line of the standard input.
    AddPassword {
        #[command(flatten)]
        new: New,
    },
    /// Send codes to an address that you know to be the user's.
    AddEmail {
        #[command(flatten)]
        new: New,
        #[arg(long)]
        address: EmailAddress,
    },
    /// Bind the user to an identity at one of the configured OpenID providers.
    AddOidc {
        #[command(flatten)]
        new: New,
        /// The provider's issuer, as it writes it.
        #[arg(long)]
        issuer: String,
        #[command(flatten)]
        holder: Holder,
    },
    /// List a user's factors.
    List {
        #[arg(long)]
        user: UserId,
    },
    /// Give a factor another label.
    Rename {
        #[command(flatten)]
        which: FactorArgs,
        label: Label,
    },
    /// Keep a factor from being used; the sessions that it opened end. Returns when they are out.
    Suspend {
        #[command(flatten)]
        which: FactorArgs,
        /// Even if the user can't sign in then.
        #[arg(long)]
        even_the_last: bool,
    },
    /// Let a suspended factor be used again.
    Resume {
        #[command(flatten)]
        which: FactorArgs,
    },
    /// Remove a factor; the sessions that it opened end. Returns when they are out.
    Remove {
        #[command(flatten)]
        which: FactorArgs,
        /// Even if the user can't sign in then.
        #[arg(long)]
        even_the_last: bool,
    },
    /// Forget a factor's wrong answers; the sessions that it opened end. Returns when they are out.
    Reset {
        #[command(flatten)]
        which: FactorArgs,
    },
}

/// A factor to be.
#[derive(Debug, Args)]
pub(crate) struct New {
    #[arg(long)]
    user: UserId,
    /// Label shown to the user (default: the kind).
    #[arg(long)]
    label: Option<Label>,
}

impl New {
    /// The label that was given, or this one.
    fn label(&self, otherwise: &str) -> Result<Label, ParseLabelError> {
        let given = self.label.clone();
        given.map_or_else(|| otherwise.parse(), Ok)
    }
}

/// Who it is at a provider.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Holder {
    /// A person, by the subject in the provider's tokens.
    #[arg(long)]
    subject: Option<String>,
    /// The person who is the first to log in with this address, verified by the provider.
    #[arg(long)]
    email: Option<String>,
    /// A program, by the subject in its tokens.
    #[arg(long)]
    workload: Option<String>,
}

/// A factor of a user's.
#[derive(Debug, Args)]
pub(crate) struct FactorArgs {
    #[arg(long)]
    user: UserId,
    /// Its id, as `factor list` has it.
    factor: FactorId,
}

pub(crate) async fn factor(
    settings: &Settings,
    command: FactorCommand,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    match command {
        FactorCommand::AddTotp { new } => add_totp(settings, &new, output).await,
        FactorCommand::AddRecoveryCodes { new } => add_codes(&registrar, &new, output).await,
        FactorCommand::AddPassword { new } => add_password(settings, &new, output).await,
        FactorCommand::AddEmail { new, address } => {
            if settings.factors.email.is_none() {
                return Err("no mail server is configured: see [factors.email]".into());
            }
            let kind = FactorKind::EMAIL_CODE;
            add(&registrar, &new, kind, "mail", &address.to_secret(), output).await
        }
        FactorCommand::AddOidc {
            new,
            issuer,
            holder,
        } => {
            let identity = holder.identity(&issuer)?;
            let label = new.label("account")?;
            let bound = registrar.bind_identity(&new.user, &label, &identity);
            say_added(bound.await?, &new, output);
            Ok(())
        }
        FactorCommand::List { user } => {
            enrolment::known(&registrar, &user).await?;
            for factor in registrar.factors(&user).await? {
                output.say(in_words(&factor), &in_json(&factor));
            }
            Ok(())
        }
        FactorCommand::Rename { which, label } => {
            let renamed = registrar.rename_factor(&which.user, which.factor, &label);
            done(renamed.await, "renamed", &which, output)
        }
        FactorCommand::Suspend {
            which,
            even_the_last,
        } => {
            let FactorArgs { user, factor } = &which;
            let suspended = if even_the_last {
                registrar.danger_suspend_last_factor(user, *factor).await
            } else {
                keep_a_way_in(settings, &which).await?;
                registrar.suspend_factor(user, *factor).await
            };
            out(settings, suspended, "suspended", &which, output).await
        }
        FactorCommand::Resume { which } => {
            let resumed = registrar.resume_factor(&which.user, which.factor);
            done(resumed.await, "in use again", &which, output)
        }
        FactorCommand::Remove {
            which,
            even_the_last,
        } => {
            let FactorArgs { user, factor } = &which;
            let removed = if even_the_last {
                registrar.danger_remove_last_factor(user, *factor).await
            } else {
                keep_a_way_in(settings, &which).await?;
                registrar.remove_factor(user, *factor).await
            };
            out(settings, removed, "removed", &which, output).await
        }
        FactorCommand::Reset { which } => {
            let reset = registrar.reset_failures(&which.user, which.factor);
            out(settings, reset.await, "reset", &which, output).await
        }
    }
}

impl Holder {
    fn identity(&self, issuer: &str) -> Result<Identity, &'static str> {
        let Self {
            subject,
            email,
            workload,
        } = self;
        let subject = subject.iter().map(|who| Identity::subject(issuer, who));
        let email = email.iter().map(|who| Identity::email(issuer, who));
        let workload = workload.iter().map(|who| Identity::workload(issuer, who));
        let mut given = subject.chain(email).chain(workload);
        given.next().ok_or("say who it is at the provider")
    }
}

/// Refuses to take the factor that the user can't get in without: there may be another one left
/// that the policy does not ask for, or not for alone.
async fn keep_a_way_in(settings: &Settings, which: &FactorArgs) -> Result<(), Box<dyn Error>> {
    let usable = enrolment::usable(&settings.registrar()?, &which.user).await?;
    let Some((user, factors)) = usable else {
        return Ok(()); // that there is no such factor, the store says by itself
    };
    let rules = settings.policy.for_groups(&user.groups);
    let held: Vec<_> = factors.iter().map(|factor| factor.kind.clone()).collect();
    let left = factors.iter().filter(|factor| factor.id != which.factor);
    let left: Vec<_> = left.map(|factor| factor.kind.clone()).collect();
    if left.is_empty() || !rules.is_passable_with(&held) || rules.is_passable_with(&left) {
        return Ok(()); // that none at all is left, the store sees to by itself
    }
    Err("without it the user can't pass what the policy asks for (see `gate-server policy explain`): \
         enrol another one first, or say --even-the-last"
        .into())
}

/// Says that a change is made once the sessions that it ends have ended.
async fn out(
    settings: &Settings,
    outcome: Result<(), EnrolError>,
    what: &str,
    which: &FactorArgs,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    if outcome.is_ok() {
        sessions::settle(settings, &Target::User(which.user.clone())).await?;
    }
    done(outcome, what, which, output)
}

/// The codes of what another try may put right.
const MISTYPED: [&str; 2] = ["enrol-wrong-code", "enrol-used-code"];

fn done(
    outcome: Result<(), EnrolError>,
    what: &str,
    which: &FactorArgs,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    match outcome {
        Ok(()) => {
            let FactorArgs { user, factor } = which;
            let line = json!({"type": "changed", "factor": factor, "user": user});
            output.say(format_args!("Factor {factor} of {user} is {what}."), &line);
            Ok(())
        }
        Err(error) if error.code() == "enrol-last-factor" => Err(
            "it is the user's last factor in use: enrol another one first, or pass --even-the-last"
                .into(),
        ),
        Err(error) => Err(error.into()),
    }
}

fn in_words(factor: &FactorRecord) -> String {
    let FactorRecord {
        id, kind, label, ..
    } = factor;
    let mut line = format!("{id} {kind} {} {label}", state(factor));
    if factor.failures.count > 0 {
        // Writing to a string does not fail.
        _ = write!(line, " ({} wrong answers)", factor.failures.count);
    }
    line
}

fn in_json(factor: &FactorRecord) -> Value {
    json!({
        "type": "factor",
        "factor": factor.id,
        "kind": factor.kind,
        "label": factor.label,
        "state": state(factor),
        "failures": factor.failures.count,
    })
}

const fn state(factor: &FactorRecord) -> &'static str {
    match factor.state {
        FactorState::Pending => "pending",
        FactorState::Active => "active",
        FactorState::Suspended => "suspended",
    }
}

/// Adds a factor that is in use at once.
async fn add(
    registrar: &Registrar,
    new: &New,
    kind: FactorKind,
    label: &str,
    secret: &SecretBytes,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let label = new.label(label)?;
    let added = registrar.add_factor(&new.user, kind, &label, secret, None);
    say_added(added.await?, new, output);
    Ok(())
}

fn say_added(factor: FactorId, new: &New, output: Output) {
    let user = &new.user;
    let line = json!({"type": "added", "factor": factor, "user": user});
    output.say(format_args!("Factor {factor} of {user} is active."), &line);
}

async fn add_totp(settings: &Settings, new: &New, output: Output) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let enrolment = registrar
        .begin_totp(&new.user, &new.label("app")?, settings.location.as_str())
        .await?;
    let factor = enrolment.factor;
    let qr = enrolment.expose_qr()?;
    let key = enrolment.secret.expose_base32();
    let line = json!({"type": "confirm", "factor": factor, "uri": enrolment.expose_uri()});
    output.say(format_args!("{}\nkey: {}", *qr, *key), &line);
    let input = Input::new();
    loop {
        let code = match output {
            Output::People => {
                TerminalPrompt::at(input.clone())
                    .code("The code it shows: ")
                    .await
            }
            Output::Programs => match input.line().await.map(|line| line.trim().parse()) {
                Some(Err(error)) => {
                    output.complain(&error);
                    continue;
                }
                Some(Ok(code)) => Some(code),
                None => None,
            },
        };
        let code = code.ok_or("the factor is not confirmed, so it can't be used")?;
        match registrar.confirm_totp(&new.user, factor, code).await {
            Err(error) if MISTYPED.contains(&error.code()) => output.complain(&error),
            Err(error) => return Err(error.into()),
            Ok(()) => {
                say_added(factor, new, output);
                return Ok(());
            }
        }
    }
}

async fn add_codes(registrar: &Registrar, new: &New, output: Output) -> Result<(), Box<dyn Error>> {
    let codes = RecoveryCodes::generate()?;
    let secret = codes.to_secret().await?;
    let kind = FactorKind::RECOVERY_CODES;
    add(registrar, new, kind, "recovery codes", &secret, output).await?;
    let shown = codes.expose();
    let codes: Vec<&str> = shown.iter().map(|code| code.as_str()).collect();
    let line = json!({"type": "recovery_codes", "codes": codes});
    output.say(codes.join("\n"), &line);
    Ok(())
}

async fn add_password(
    settings: &Settings,
    new: &New,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let verifier = settings.factors.password(settings.folder())?;
    let (input, question) = (Input::new(), "The new password: ");
    loop {
        let password = match output {
            Output::People => {
                TerminalPrompt::at(input.clone())
                    .new_password(question)
                    .await
            }
            Output::Programs => {
                let line = input.line().await.ok_or("there is no password")?;
                mfagate::channel::message::SecretString::new(String::clone(&line))
            }
        };
        let password = password.ok_or("there is no password")?;
        match verifier.secret(&new.user, password.expose_secret()).await {
            Ok(secret) => {
                let kind = FactorKind::PASSWORD;
                let registrar = settings.registrar()?;
                return add(&registrar, new, kind, "password", &secret, output).await;
            }
            Err(VerifyError::Unfit) => output.complain(
                &"that may not be chosen: it is too short or too long, on the blocklist, or has the user's name in it",
            ),
            Err(error) => return Err(error.into()),
        }
    }
}
