//! Codes over SMTP (RFC 5321) by `lettre`, to a relay that passes them on.
//!
//! Each letter has a connection of its own, so that none waits for another. `lettre` keeps copies
//! of what it sends that are not zeroized.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use zeroize::Zeroizing;

use super::{CodeSender, EmailAddress, Letter, Occasion, SendError};
use crate::channel::message::SecretString;
use crate::time::Timestamp;

/// TLS from the first byte (RFC 8314, section 3.3).
const SUBMISSIONS: u16 = 465;
/// TLS by STARTTLS (RFC 6409, RFC 3207).
const SUBMISSION: u16 = 587;
/// No TLS.
const SMTP: u16 = 25;

/// The last moment of the year 9999, beyond which a date can't be written.
const LAST_DATE: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// Sends codes over SMTP. Its calls need a tokio runtime.
pub struct SmtpSender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: EmailAddress,
    within: Duration,
}

impl SmtpSender {
    /// A sender by this server, from this address: over TLS from the first byte at port 465, unless
    /// the builder is told otherwise. The server's certificate must be good for the name.
    pub fn builder(server: &str, from: EmailAddress) -> SmtpBuilder {
        SmtpBuilder {
            server: server.to_owned(),
            from,
            port: None,
            security: Security::Implicit,
            credentials: None,
            roots: Vec::new(),
            within: Duration::from_secs(8),
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Result<Message, SendError> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| SendError::Backend(error.into()))?;
        let name = HEXLOWER.encode(&name);
        let domain = self.from.inner().domain();
        let at = letter.at.min(LAST_DATE).as_millis();
        let mailbox = |address: &EmailAddress| Mailbox::new(None, address.inner().clone());
        let mut message = Message::builder()
            .from(mailbox(&self.from))
            .to(mailbox(letter.to))
            .subject(format!("Your code for {}", letter.location))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            .message_id(Some(format!("<{name}@{domain}>")))
            .header(ContentType::TEXT_PLAIN);
        // No one's out-of-office note is wanted (RFC 3834, section 5).
        if let Ok(header) = HeaderName::new_from_ascii("Auto-Submitted".to_owned()) {
            let value = HeaderValue::new(header, "auto-generated".to_owned());
            message = message.raw_header(value);
        }
        // What is wrong with a message is never wrong with its text.
        message
            .body(text(letter))
            .map_err(|_| SendError::Undeliverable)
    }
}

#[async_trait]
impl CodeSender for SmtpSender {
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError> {
        let message = self.message(letter)?;
        let bytes = Zeroizing::new(message.formatted());
        let sent = self.transport.send_raw(message.envelope(), &bytes);
        match tokio::time::timeout(self.within, sent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(reason(&error, letter.to)),
            Err(_) => Err(SendError::TimedOut),
        }
    }
}

impl fmt::Debug for SmtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpSender")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// What the user reads.
fn text(letter: &Letter<'_>) -> String {
    let purpose = match letter.occasion {
        Occasion::SignIn => "to sign in at",
        Occasion::Enrol => "to have codes sent to this address by",
    };
    let minutes = letter.good_for.as_secs().div_ceil(60).max(1);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    format!(
        "{code} is your code {purpose} {location}, as {user}.\r\n\
         \r\n\
         It is good once, for {minutes} {unit}, and only on the device that asked for it.\r\n\
         No one will ever ask you for it in any other way.\r\n\
         \r\n\
         If you did not ask for it, someone has a device of yours or its key: do not\r\n\
         pass the code on, and tell your administrator.\r\n",
        code = letter.code.expose_secret(),
        location = letter.location,
        user = letter.user,
    )
}

/// The reason alone: a server's reply often repeats the address.
fn reason(error: &lettre::transport::smtp::Error, to: &EmailAddress) -> SendError {
    if error.is_timeout() {
        return SendError::TimedOut;
    }
    match error.status().map(u16::from) {
        // A mailbox that is not there, not local, not nameable or not reachable from here
        // (RFC 5321, section 4.2.3; RFC 7504).
        Some(501 | 510..=513 | 550 | 551 | 553 | 556) => SendError::Undeliverable,
        Some(status) => SendError::Refused { status },
        None if error.is_tls() => SendError::Tls,
        // What the client itself refuses: an address in letters that the server has no way to take
        // (RFC 6531), or a server without STARTTLS.
        None if error.is_client() && !to.expose().is_ascii() => SendError::Undeliverable,
        None if error.is_client() => SendError::Tls,
        None => SendError::Unreachable,
    }
}

/// A sender in the making.
#[must_use]
pub struct SmtpBuilder {
    server: String,
    from: EmailAddress,
    port: Option<u16>,
    security: Security,
    credentials: Option<(String, SecretString)>,
    roots: Vec<Vec<u8>>,
    within: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Implicit,
    StartTls,
    DangerNone,
}

impl SmtpBuilder {
    /// The server's port, in place of the usual one.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Begins in the clear at port 587 and asks for TLS before anything is said. A server that
    /// has none gets nothing.
    pub const fn starttls(mut self) -> Self {
        self.security = Security::StartTls;
        self
    }

    /// No TLS, to a server on this very machine: its address must be a loopback one. Anyone who can
    /// listen there reads every code.
    pub const fn danger_plaintext_to_loopback(mut self) -> Self {
        self.security = Security::DangerNone;
        self
    }

    /// Who the server is to take this sender for. Said over TLS only.
    pub fn credentials(mut self, user: &str, password: SecretString) -> Self {
        self.credentials = Some((user.to_owned(), password));
        self
    }

    /// Trusts the certificates that this one of an authority of yours has signed, in PEM, and no
    /// others.
    pub fn root_certificate(mut self, pem: &[u8]) -> Self {
        self.roots.push(pem.to_vec());
        self
    }

    /// How long a letter may take; 8 s unless this says otherwise. Less than the gate waits for a
    /// verifier.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// The sender. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub fn build(self) -> Result<SmtpSender, SmtpError> {
        let mut builder = self.plain()?;
        builder = match self.security {
            Security::Implicit => builder.tls(Tls::Wrapper(self.tls()?)),
            Security::StartTls => builder.tls(Tls::Required(self.tls()?)),
            Security::DangerNone => builder.tls(Tls::None),
        };
        if let Some((user, password)) = &self.credentials {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(SmtpSender {
            transport: builder.build(),
            from: self.from,
            within: self.within,
        })
    }

    fn plain(&self) -> Result<AsyncSmtpTransportBuilder, SmtpFault> {
        let usual = match self.security {
            Security::Implicit => SUBMISSIONS,
            Security::StartTls => SUBMISSION,
            Security::DangerNone => SMTP,
        };
        if self.security == Security::DangerNone {
            let address = self.server.parse::<IpAddr>();
            if !address.is_ok_and(|address| address.is_loopback()) {
                return Err(SmtpFault::NotLoopback);
            }
            if self.credentials.is_some() {
                return Err(SmtpFault::PasswordInTheClear);
            }
        }
        // The builder's name is about what it lets one leave out; the caller sets TLS.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&*self.server);
        let greeting = ClientId::Domain(self.from.inner().domain().to_owned());
        Ok(builder
            .port(self.port.unwrap_or(usual))
            .hello_name(greeting)
            .timeout(Some(self.within)))
    }

    fn tls(&self) -> Result<TlsParameters, SmtpFault> {
        let mut tls = TlsParameters::builder(self.server.clone());
        if !self.roots.is_empty() {
            tls = tls.certificate_store(CertificateStore::None);
        }
        for pem in &self.roots {
            let certificate = Certificate::from_pem(pem).map_err(|_| SmtpFault::Certificate)?;
            tls = tls.add_root_certificate(certificate);
        }
        tls.build_rustls().map_err(|_| SmtpFault::Certificate)
    }
}

impl fmt::Debug for SmtpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpBuilder")
            .field("server", &self.server)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

crate::error_code::opaque! {
    /// Why there is no sender.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct SmtpError(SmtpFault);
}

/// What is behind [`SmtpError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SmtpFault {
    /// A certificate can't be read, or the system's can't.
    #[error(
        "the mail server's root certificate can't be used: give one in PEM, or see that the system has its own"
    )]
    Certificate,
    /// Without TLS, only this machine itself may be spoken to.
    #[error("without TLS, the mail server must have a loopback address, such as 127.0.0.1")]
    NotLoopback,
    /// Without TLS, no password is said.
    #[error("without TLS, no user and password can be used: take them out, or use TLS")]
    PasswordInTheClear,
}
