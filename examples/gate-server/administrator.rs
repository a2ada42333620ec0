//! What the administrator does from the command line, with or without the daemon running.

use std::error::Error;
use std::io::{ErrorKind, IsTerminal};
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use mfagate::audit::{AuditEvent, AuditKind, Verifier, write_jsonl};
use mfagate::enrol::EnrolError;
use mfagate::id::UserId;
use mfagate::key::PrivateKey;
use mfagate::runtime::{Profile, SystemClock};
use mfagate::store::{EndReason, Peer, PeerStore};
use mfagate::time::Clock;
use tokio::net::UnixStream;

use crate::settings::Settings;
use crate::target::Target;

const PAGE: usize = 1000;

/// Enrols a device and writes its profile.
pub(crate) async fn add_peer(
    settings: &Settings,
    user: UserId,
    label: String,
    address: IpNet,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    if out.exists() {
        return Err(format!("{} exists already", out.display()).into());
    }
    let private_key = PrivateKey::generate()?;
    let profile = Profile {
        location: settings.location.clone(),
        location_key: settings.key()?.public_key(),
        control: vec![settings.control_url.clone()],
        endpoint: settings.endpoint.parse()?,
        private_key: private_key.clone(),
        addresses: vec![address],
        allowed_ips: settings.networks.clone(),
        keepalive: None,
    };
    let peer = Peer {
        location: settings.location.clone(),
        key: private_key.public_key(),
        user,
        allowed_ips: vec![address],
        label,
        enabled: true,
    };
    settings.registrar()?.put_peer(peer).await?;
    profile.write(out)?;
    println!(
        "Peer {}: its profile is {}.",
        private_key.public_key(),
        out.display()
    );
    Ok(())
}

/// Enrols an authenticator app.
pub(crate) async fn add_totp(settings: &Settings, user: &UserId) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let enrolment = registrar
        .begin_totp(user, "app", settings.location.as_str())
        .await?;
    println!(
        "{}\nkey: {}",
        *enrolment.expose_qr()?,
        *enrolment.secret.expose_base32()
    );
    loop {
        let line = if std::io::stdin().is_terminal() {
            rpassword::prompt_password("The code it shows: ")?
        } else {
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line)? == 0 {
                return Err("the factor is not confirmed".into());
            }
            line
        };
        let Ok(code) = line.trim().parse() else {
            println!("That is not a code.");
            continue;
        };
        match registrar.confirm_totp(user, enrolment.factor, code).await {
            Err(error @ EnrolError::WrongCode) => println!("{error}."),
            outcome => return Ok(outcome?),
        }
    }
}

/// Lists the live sessions, as the daemon sees them.
pub(crate) async fn sessions(settings: &Settings) -> Result<(), Box<dyn Error>> {
    match ask(settings, "GET", "/sessions", String::new()).await? {
        Some(text) => print!("{text}"),
        None => {
            println!("The daemon is not running; the store holds:");
            for record in settings.store()?.live_sessions(&settings.location).await? {
                println!("{} {} {}", record.id, record.user, record.peer);
            }
        }
    }
    Ok(())
}

/// Ends sessions by the daemon, or in the store when there is none.
pub(crate) async fn revoke(settings: &Settings, target: Target) -> Result<(), Box<dyn Error>> {
    if let Some(text) = ask(settings, "POST", "/revoke", target.to_string()).await? {
        print!("{text}");
        return Ok(());
    }
    let store = settings.store()?;
    let mut ended = 0;
    for record in store.live_sessions(&settings.location).await? {
        if !target.covers(&record) {
            continue;
        }
        let kind = AuditKind::Ended {
            reason: EndReason::Revoked,
        };
        let mut event = AuditEvent::new(SystemClock::new().now().timestamp, kind);
        event.location = Some(record.location.clone());
        event.user = Some(record.user.clone());
        event.peer = Some(record.peer);
        event.session = Some(record.id);
        ended += u32::from(
            store
                .close_session(record.id, EndReason::Revoked, event)
                .await?,
        );
    }
    println!("The daemon is not running: {ended} sessions ended in the store.");
    Ok(())
}

/// Checks the audit trail, and prints it if asked.
pub(crate) async fn audit(settings: &Settings, export: bool) -> Result<(), Box<dyn Error>> {
    let store = settings.store()?;
    let mut verifier = Verifier::new();
    let (mut from, mut count) = (1, 0);
    loop {
        let records = store.audit(from, PAGE).await?;
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        count += records.len();
        for record in &records {
            verifier.check(record)?;
        }
        if export {
            write_jsonl(std::io::stdout().lock(), &records)?;
        }
    }
    if !export {
        println!(
            "The chain of {count} records is whole; its head is {}.",
            verifier.head()
        );
    }
    Ok(())
}

/// Asks the daemon; `None` says that none is running.
async fn ask(
    settings: &Settings,
    method: &str,
    path: &str,
    body: String,
) -> Result<Option<String>, Box<dyn Error>> {
    let stream = match UnixStream::connect(settings.socket()).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let (mut daemon, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gate")
        .body(Full::new(Bytes::from(body)))?;
    let response = daemon.send_request(request).await?;
    let done = response.status().is_success();
    let text = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    if done {
        Ok(Some(text))
    } else {
        Err(text.trim().to_owned().into())
    }
}
