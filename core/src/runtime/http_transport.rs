//! A transport over HTTP. It follows no redirect, keeps no cookie, and reads no more than a body
//! may hold. What comes back is the channel's to judge.

mod outside;

use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use reqwest::{Response, Url, redirect};

use crate::channel::http::{CONTENT_TYPE, ControlUrl};
use crate::channel::transport::{Transport, TransportError};
use crate::interface::InterfaceBackend;
use outside::Outside;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of a round trip may take.
const ROUND_TRIP: Duration = Duration::from_secs(15);

/// The way to one gate over HTTP or HTTPS. Where its name has several addresses, both families are
/// tried, the second one 0.3 s after the first (RFC 8305), and of each the next address where one
/// does not answer; the connection is made by the one that does first. A proxy that the system or the environment names is
/// used: like any proxy, it learns nothing.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    url: Url,
    gate: ControlUrl,
    outside: Option<Outside>,
    reached_at: Arc<Mutex<Option<IpAddr>>>,
}

impl HttpTransport {
    /// A transport to the gate at a control URL, such as `https://gate.example`.
    /// [`PATH`](crate::channel::http::PATH) is appended unless the URL ends with it.
    ///
    /// Plain `http` is accepted: the channel inside is encrypted and authenticated by itself, but
    /// anyone who listens learns that the two talk.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`]; [`TransportError::Other`] when TLS can't be set up.
    pub fn new(url: &str) -> Result<Self, TransportError> {
        Self::made(url, None)
    }

    /// The same, for a client with this interface: it is told of each address before a connection to
    /// it is made, so that the control channel stays
    /// [outside the tunnel](InterfaceBackend::keep_outside). A name that can't be looked up keeps
    /// the addresses that it had. A proxy that is given by its address is not told of.
    ///
    /// # Errors
    /// As [`HttpTransport::new`].
    pub fn outside(
        url: &str,
        interface: Arc<dyn InterfaceBackend>,
    ) -> Result<Self, TransportError> {
        Self::made(url, Some(Outside::of(interface)))
    }

    fn made(url: &str, outside: Option<Outside>) -> Result<Self, TransportError> {
        let gate = ControlUrl::parse(url)?;
        let parsed: Url = gate.as_str().parse().map_err(|_| TransportError::BadUrl {
            gate: gate.as_str().to_owned(),
        })?;
        let mut client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ROUND_TRIP);
        if let Some(outside) = &outside {
            client = client.dns_resolver(Arc::new(outside.clone()));
        }
        let client = client.build().map_err(|_| TransportError::Other {
            gate: gate.as_str().to_owned(),
            what: "TLS can't be set up on this device".to_owned(),
        })?;
        Ok(Self {
            client,
            url: parsed,
            gate,
            outside,
            reached_at: Arc::default(),
        })
    }

    fn failed(&self, error: &reqwest::Error) -> TransportError {
        let gate = self.gate.as_str().to_owned();
        if is_about_a_certificate(error) {
            TransportError::Certificate { gate }
        } else if error.is_timeout() {
            TransportError::TimedOut { gate }
        } else {
            TransportError::Unreachable { gate }
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, TransportError> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            self.gate.judge_length(body.len() + chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Transport for HttpTransport {
    fn gate(&self) -> &str {
        self.gate.as_str()
    }

    fn reached_at(&self) -> Option<IpAddr> {
        let reached = self.reached_at.lock();
        *reached.unwrap_or_else(PoisonError::into_inner)
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        if let (Some(outside), Some(address)) = (&self.outside, address_in(&self.url)) {
            outside.keep(&[address]).await;
        }
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE_HEADER, CONTENT_TYPE)
            .body(body)
            .send()
            .await;
        let response = sent.map_err(|error| self.failed(&error))?;
        if let Some(from) = response.remote_addr() {
            let mut reached = self
                .reached_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *reached = Some(from.ip().to_canonical());
        }
        let content_type = response.headers().get(CONTENT_TYPE_HEADER);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        self.gate
            .judge_head(response.status().as_u16(), content_type)?;
        self.read(response).await
    }
}

/// The address in a URL that has one in place of a name, which is not looked up then.
fn address_in(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

/// The TLS library tells of certificates in words only.
fn is_about_a_certificate(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.to_string().contains("certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
