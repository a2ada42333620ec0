//! Logins at an OpenID provider: in a browser of this machine's, in one elsewhere, or by a token
//! that a program brings.

use std::error::Error;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use clap::Args;
use mfagate::channel::message::{Answer, Challenge, SecretString, Workload};
use mfagate::client::AuthChallenge;
use mfagate::prove::oidc::{
    DeviceLogin, Login, LoginError, Loopback, TokenSource, TokenSourceError, bring_token,
};
use mfagate::terminal::printable;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::console::Console;
use crate::factor_settings::boxed;

#[derive(Debug, Args)]
#[command(next_help_heading = "Logins at an OpenID provider")]
pub(crate) struct LoginOptions {
    /// Log in on another device, where the provider supports that (RFC 8628).
    #[arg(long)]
    no_browser: bool,
    /// Program that prints an ID token for a workload; its arguments are the audience and the nonce
    /// that the token must have.
    #[arg(long, value_name = "PROGRAM")]
    id_token_command: Option<String>,
}

/// Answers what the gate asks of such logins.
pub(crate) struct Logins {
    no_browser: bool,
    tokens: Option<TokenProgram>,
    /// The code that was shown last: a poll before anyone logged in shows nothing.
    shown: Mutex<Option<String>>,
    console: Console,
}

impl LoginOptions {
    pub(crate) fn open(&self, console: &Console) -> Logins {
        Logins {
            no_browser: self.no_browser,
            tokens: self.id_token_command.clone().map(TokenProgram),
            shown: Mutex::default(),
            console: console.clone(),
        }
    }
}

impl Logins {
    /// Whether the question is one that is answered here. A program at the console logs in by itself.
    pub(crate) const fn answers(&self, challenge: &Challenge) -> bool {
        if is_for_a_workload(challenge) {
            return self.tokens.is_some();
        }
        let is_login = matches!(
            challenge,
            Challenge::OpenId { .. } | Challenge::DeviceGrant { .. }
        );
        is_login && self.console.is_person()
    }

    /// Gives the answer, or why there is none. A line that is typed meanwhile puts the login aside.
    pub(crate) async fn answer(
        &self,
        question: &AuthChallenge,
    ) -> Result<Answer, Box<dyn Error + Send>> {
        let challenge = &question.challenge;
        if is_for_a_workload(challenge)
            && let Some(tokens) = &self.tokens
        {
            return bring_token(challenge, tokens).await.map_err(boxed);
        }
        tokio::select! {
            biased;
            answer = self.log_in(question) => answer.map_err(boxed),
            () = self.console.put_aside() => Err(boxed(PutAside)),
        }
    }

    async fn log_in(&self, question: &AuthChallenge) -> Result<Answer, LoginError> {
        let challenge = &question.challenge;
        if matches!(challenge, Challenge::DeviceGrant { .. }) {
            return self.poll(challenge).await;
        }
        if self.no_browser {
            return DeviceLogin::begin(challenge);
        }
        let loopback = match Loopback::listen(challenge).await {
            Ok(loopback) => loopback,
            // Nothing here that a browser could come back to.
            Err(error) => return DeviceLogin::begin(challenge).map_err(|_| error),
        };
        let login = Login::begin(challenge, loopback.redirect_uri())?;
        println!("Log in with a browser on this machine (Enter: something else):");
        println!("{}", printable(login.url()));
        loopback.wait(&login, question.expires_in).await
    }

    async fn poll(&self, challenge: &Challenge) -> Result<Answer, LoginError> {
        let login = DeviceLogin::read(challenge)?;
        self.show(&login);
        Ok(login.poll().await)
    }

    fn show(&self, login: &DeviceLogin) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let code = Some(login.user_code.clone());
        if *shown != code {
            println!("{} (Enter: something else).", printable(login));
            *shown = code;
        }
    }
}

const fn is_for_a_workload(challenge: &Challenge) -> bool {
    matches!(
        challenge,
        Challenge::OpenId {
            workload: Some(_),
            ..
        }
    )
}

/// The person typed a line instead of logging in.
#[derive(Debug)]
struct PutAside;

impl std::fmt::Display for PutAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the login is put aside")
    }
}

impl Error for PutAside {}

/// A program that prints tokens.
struct TokenProgram(String);

#[async_trait]
impl TokenSource for TokenProgram {
    async fn token(&self, wanted: &Workload) -> Result<SecretString, TokenSourceError> {
        let output = Command::new(&self.0)
            .args([&wanted.audience, &wanted.nonce])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("{}: {error}", self.0))?;
        if !output.status.success() {
            return Err(format!("{} ended with {}", self.0, output.status).into());
        }
        let bytes = Zeroizing::new(output.stdout);
        let text = str::from_utf8(&bytes)
            .map_err(|_| "the token is not text: the program must print a JSON Web Token alone")?;
        SecretString::new(text.trim().to_owned()).ok_or_else(|| {
            "the token is too long: the program must print a JSON Web Token alone".into()
        })
    }
}
