//! Logins at an OpenID provider: in a browser of this machine's, in one elsewhere, or by a token
//! that a program brings.

use std::error::Error;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use clap::Args;
use mfagate::channel::message::{Answer, Challenge, Hidden, Workload};
use mfagate::client::Question;
use mfagate::prove::oidc::{
    DeviceLogin, Login, LoginError, Loopback, TokenSource, TokenSourceError, bring_token,
};
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::desk::Desk;
use crate::holding::boxed;

#[derive(Debug, Args)]
#[command(next_help_heading = "Logins at an OpenID provider")]
pub(crate) struct LoginOptions {
    /// Log in on another device, where the provider has that.
    #[arg(long)]
    no_browser: bool,
    /// A program that prints an ID token for a workload. It is called with the audience and the
    /// nonce that the token must have.
    #[arg(long, value_name = "PROGRAM")]
    id_token_command: Option<String>,
}

/// Answers what the gate asks of such logins.
pub(crate) struct Logins {
    no_browser: bool,
    tokens: Option<TokenProgram>,
    /// The code that was shown last: a poll that found nobody yet shows nothing.
    shown: Mutex<Option<String>>,
    desk: Desk,
}

impl LoginOptions {
    pub(crate) fn open(&self, desk: &Desk) -> Logins {
        Logins {
            no_browser: self.no_browser,
            tokens: self.id_token_command.clone().map(TokenProgram),
            shown: Mutex::default(),
            desk: desk.clone(),
        }
    }
}

impl Logins {
    /// Whether the question is one that is answered here. A program at the desk logs in by itself.
    pub(crate) const fn answers(&self, challenge: &Challenge) -> bool {
        if is_for_a_workload(challenge) {
            return self.tokens.is_some();
        }
        let is_login = matches!(
            challenge,
            Challenge::OpenId { .. } | Challenge::DeviceGrant { .. }
        );
        is_login && self.desk.is_person()
    }

    /// The answer, or why there is none. Whoever sits at the desk can put the login aside.
    pub(crate) async fn answer(
        &self,
        question: &Question,
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
            () = self.desk.put_aside() => Err(boxed(PutAside)),
        }
    }

    async fn log_in(&self, question: &Question) -> Result<Answer, LoginError> {
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
        println!("{}", login.url());
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
            println!("{login} (Enter: something else).");
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

/// Whoever sits there wants something else.
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
    async fn token(&self, wanted: &Workload) -> Result<Hidden, TokenSourceError> {
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
        let text = str::from_utf8(&bytes).map_err(|_| "the token is no text")?;
        Hidden::new(text.trim().to_owned()).ok_or_else(|| "the token is too long".into())
    }
}
