//! Where a gate's WireGuard listens: an address, or a name that is looked up for each attempt.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::ConnectError;

/// A host and a UDP port: `vpn.example.org:51820`, `192.0.2.1:51820`, `[2001:db8::1]:51820`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(ParseEndpointError)?;
        let port = port.parse().map_err(|_| ParseEndpointError)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        if !is_host || port == 0 {
            return Err(ParseEndpointError);
        }
        let host = bracketed.unwrap_or(host).to_owned();
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(fits)
}

/// A text that is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an endpoint: expected a host and a port, such as vpn.example.org:51820")]
pub struct ParseEndpointError;

/// An endpoint with the address that it last had.
pub(super) struct Resolved {
    endpoint: Endpoint,
    timeout: Duration,
    address: Mutex<Option<SocketAddr>>,
}

impl Resolved {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        let address = Mutex::new(endpoint.address());
        Self {
            endpoint,
            timeout,
            address,
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a name up. One that can't be looked up now keeps the address that it had.
    pub(super) async fn resolve(&self) -> Result<SocketAddr, ConnectError> {
        if let Some(address) = self.endpoint.address() {
            return Ok(address);
        }
        let found = tokio::net::lookup_host((self.endpoint.host(), self.endpoint.port()));
        let found = tokio::time::timeout(self.timeout, found).await;
        let found = found.ok().and_then(Result::ok).and_then(|mut it| it.next());
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        *address = found.or(*address);
        address.ok_or_else(|| ConnectError::Endpoint {
            endpoint: self.endpoint.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_was_written() {
        for text in [
            "vpn.example.org:51820",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "2001:db8::1:1",
            "a b:1",
            "[x]:1",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(ParseEndpointError), "{text}");
        }
    }
}
