//! A listener on this device, to which the browser comes back (RFC 8252, section 7.3).
//!
//! It answers anyone who asks, and takes nothing but what belongs to the login that it waits for:
//! other programs on the device, and pages in the browser, can reach it too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use url::Url;
use zeroize::Zeroizing;

use super::{Login, LoginError, LoginFault, asked};
use crate::channel::message::{Answer, Challenge, Redirect};

/// The longest head of a request: a query as long as an answer may be, and what browsers add.
const LONGEST: usize = 32 * 1024;
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How many are heard at once.
const AT_ONCE: usize = 16;
/// How many header lines are read.
const HEADERS: usize = 64;

const DONE: &str = "You can close this window and go back to where you came from.";
const LOST: &str = "There is nothing here. If you were logging in, begin again.";

/// A port of this device that waits for a browser.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    redirect_uri: String,
}

impl Loopback {
    /// Listens where the challenge allows it: at any port of 127.0.0.1, or of ::1 on a device
    /// without IPv4; or at the very port that the gate names.
    ///
    /// # Errors
    /// `login-not-asked`, `login-not-offered` when no redirect is to this device;
    /// `login-listen`.
    pub async fn listen(challenge: &Challenge) -> Result<Self, LoginError> {
        let (_, redirects) = asked(challenge)?;
        for redirect in redirects {
            match redirect {
                Redirect::Loopback { path } => {
                    return Self::at_any_port(path).await.map_err(LoginError);
                }
                Redirect::Exact { uri } => {
                    if let Some(address) = local(uri) {
                        let listener = TcpListener::bind(address).await;
                        return Ok(Self {
                            listener: listener.map_err(LoginFault::Listen)?,
                            redirect_uri: uri.clone(),
                        });
                    }
                }
            }
        }
        Err(LoginError(LoginFault::NotOffered))
    }

    async fn at_any_port(path: &str) -> Result<Self, LoginFault> {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = match v4 {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0))
                .await
                .map_err(LoginFault::Listen)?,
        };
        let address = listener.local_addr().map_err(LoginFault::Listen)?;
        Ok(Self {
            listener,
            redirect_uri: format!("http://{address}{path}"),
        })
    }

    /// Where the browser is to come back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits until the browser comes back with this login. Whatever else comes is told that there
    /// is nothing here, and does not end the wait. Dropping the future stops the listening.
    ///
    /// # Errors
    /// `login-timed-out`, `login-declined`, `login-too-long`.
    pub async fn wait(self, login: &Login, patience: Duration) -> Result<Answer, LoginError> {
        let until = tokio::time::timeout(patience, self.hear(login)).await;
        until
            .unwrap_or(Err(LoginFault::TimedOut))
            .map_err(LoginError)
    }

    async fn hear(&self, login: &Login) -> Result<Answer, LoginFault> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (heard, mut targets) = mpsc::channel::<(Zeroizing<String>, TcpStream)>(AT_ONCE);
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = accept(&self.listener, &places) => {
                    // One that is gone before it was heard is no reason to stop.
                    let Ok((stream, place)) = accepted else { continue };
                    let heard = heard.clone();
                    tasks.spawn(async move {
                        if let Ok(Ok(Some(said))) =
                            tokio::time::timeout(REQUEST, request(stream)).await
                        {
                            _ = heard.send(said).await;
                        }
                        drop(place);
                    });
                }
                Some(_) = tasks.join_next() => {}
                Some((target, stream)) = targets.recv() => {
                    let judged = judge(&self.redirect_uri, login, &target);
                    let is_lost = matches!(judged, Err(LoginFault::Foreign));
                    let told = tell(stream, !is_lost);
                    if is_lost {
                        tasks.spawn(told);
                    } else {
                        told.await;
                        return judged;
                    }
                }
            }
        }
    }
}

/// What someone asked a listener for who came back to it, or did not.
pub(super) fn judge(redirect_uri: &str, login: &Login, target: &str) -> Result<Answer, LoginFault> {
    let mut address = Url::parse(redirect_uri).map_err(|_| LoginFault::Foreign)?;
    let (path, query) = target.split_once('?').ok_or(LoginFault::Foreign)?;
    if path != address.path() {
        return Err(LoginFault::Foreign);
    }
    address.set_query(Some(query));
    login.returned(address.as_str()).map_err(|error| error.0)
}

/// Where an exact redirect is on this device, if it is.
fn local(uri: &str) -> Option<SocketAddr> {
    let url = Url::parse(uri).ok().filter(super::is_local)?;
    let port = url.port().unwrap_or(80);
    Some(match url.host()? {
        url::Host::Ipv6(address) => SocketAddr::from((address, port)),
        url::Host::Ipv4(address) => SocketAddr::from((address, port)),
        url::Host::Domain(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    })
}

/// The next one, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// Reads a request's head: what it asks for, if it is a browser's `GET`.
async fn request(mut stream: TcpStream) -> io::Result<Option<(Zeroizing<String>, TcpStream)>> {
    let mut head = Zeroizing::new(Vec::with_capacity(LONGEST));
    loop {
        let mut chunk = Zeroizing::new([0; 2048]);
        let read = stream.read(&mut *chunk).await?;
        if read == 0 || head.len() + read > LONGEST {
            return Ok(None);
        }
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match target(&head) {
            Head::Target(target) => return Ok(Some((target, stream))),
            Head::Partial => {}
            Head::Malformed => return Ok(None),
        }
    }
}

/// The head of a request, as far as it has come.
pub(super) enum Head {
    /// There is more to come.
    Partial,
    /// It is there: what it asks for, or nothing if it is no `GET`.
    Target(Zeroizing<String>),
    /// It is no head.
    Malformed,
}

pub(super) fn target(head: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let target = request.path.filter(|_| request.method == Some("GET"));
            Head::Target(Zeroizing::new(target.unwrap_or_default().to_owned()))
        }
        Ok(httparse::Status::Partial) => Head::Partial,
        Err(_) => Head::Malformed,
    }
}

/// Shows the user a page. That it does not arrive changes nothing.
async fn tell(mut stream: TcpStream, is_done: bool) {
    let (status, text) = if is_done {
        ("200 OK", DONE)
    } else {
        ("404 Not Found", LOST)
    };
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Login</title><p>{text}</p>");
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let sent = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await
    };
    _ = tokio::time::timeout(REQUEST, sent).await;
}
