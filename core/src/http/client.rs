//! A transport over HTTP. It follows no redirect, keeps no cookie, and reads no more than a body
//! may hold. What comes back is the channel's to judge.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderMap};
use reqwest::{Response, StatusCode, Url, redirect};

use super::{CONTENT_TYPE, PATH};
use crate::channel::MAX_BODY;
use crate::runtime::{Transport, TransportError};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of a round trip may take.
const ROUND_TRIP: Duration = Duration::from_secs(15);

/// The way to one gate over HTTP or HTTPS. A proxy that the system or the environment names is
/// used: like any proxy, it learns nothing.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    url: Url,
    gate: String,
}

impl HttpTransport {
    /// A transport to the gate at a control URL, such as `https://gate.example`. [`PATH`] is
    /// appended unless the URL ends with it.
    ///
    /// Plain `http` is accepted: the channel inside is encrypted and authenticated by itself, but
    /// whoever listens learns that the two talk.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`]; [`TransportError::Other`] when TLS can't be set up.
    pub fn new(url: &str) -> Result<Self, TransportError> {
        let parsed = parse(url).ok_or_else(|| TransportError::BadUrl {
            gate: without_credentials(url),
        })?;
        let gate = parsed.to_string();
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ROUND_TRIP)
            .build()
            .map_err(|_| TransportError::Other {
                gate: gate.clone(),
                what: "TLS can't be set up on this device".to_owned(),
            })?;
        Ok(Self {
            client,
            url: parsed,
            gate,
        })
    }

    fn failed(&self, error: &reqwest::Error) -> TransportError {
        let gate = self.gate.clone();
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
            if body.len() + chunk.len() > MAX_BODY {
                let gate = self.gate.clone();
                return Err(TransportError::NotTheGate { gate });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Transport for HttpTransport {
    fn gate(&self) -> &str {
        &self.gate
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE_HEADER, CONTENT_TYPE)
            .body(body)
            .send()
            .await;
        let response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status();
        // A gate's refusal has a status of its own, and a body of the protocol's type.
        if status != StatusCode::OK && !is_of_the_protocol(response.headers()) {
            return Err(TransportError::BadGateway {
                gate: self.gate.clone(),
                status: status.as_u16(),
            });
        }
        self.read(response).await
    }
}

fn is_of_the_protocol(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE_HEADER)
        .is_some_and(|value| value.as_bytes() == CONTENT_TYPE.as_bytes())
}

fn parse(text: &str) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() || !is_plain {
        return None;
    }
    if !url.path().ends_with(PATH) {
        let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Some(url)
}

/// A URL as it can be shown, whatever it is.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() {
        host.to_owned()
    } else {
        format!("{scheme}://{host}")
    }
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
