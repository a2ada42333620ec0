//! Where a gate's WireGuard listens: an address, or a name that is looked up for each attempt.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ConnectError;
use crate::runtime::Transport;

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

/// An endpoint with the addresses that it last had, and which of them the tunnel is to use.
///
/// WireGuard sends to one address at a time, so several are tried one after the other, as RFC 8305
/// has it for connections: families in turns, beginning with the one that the gate was reached by.
pub(super) struct Resolved {
    endpoint: Endpoint,
    timeout: Duration,
    /// Which know by what address they reached the gate.
    transports: Vec<Arc<dyn Transport>>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    addresses: Vec<SocketAddr>,
    /// The one that the tunnel is to use.
    chosen: Option<SocketAddr>,
    /// The one that it uses, and the one that it came to use since that was last asked.
    used: Option<SocketAddr>,
    moved: Option<SocketAddr>,
}

impl Resolved {
    pub(super) fn new(
        endpoint: Endpoint,
        timeout: Duration,
        transports: Vec<Arc<dyn Transport>>,
    ) -> Self {
        let addresses = endpoint.address().into_iter().collect();
        let chosen = endpoint.address();
        let found = Mutex::new(Found {
            addresses,
            chosen,
            ..Found::default()
        });
        Self {
            endpoint,
            timeout,
            transports,
            found,
        }
    }

    /// The address that a new tunnel is to use. It may be another than before: by now the gate has
    /// been reached.
    pub(super) fn first(&self) -> Option<SocketAddr> {
        let mut found = self.found();
        if found.used.is_none() {
            found.addresses = in_turns(&found.addresses, self.is_preferred());
            found.chosen = found.addresses.first().copied();
        }
        found.chosen
    }

    /// Looks a name up. One that can't be looked up now keeps the addresses that it had, and an
    /// address that the name still has stays the chosen one.
    pub(super) async fn resolve(&self) -> Result<SocketAddr, ConnectError> {
        let looked_up = self.look_up().await;
        let mut found = self.found();
        if !looked_up.is_empty() {
            found.addresses = in_turns(&looked_up, self.is_preferred());
        }
        let kept = found.chosen.filter(|it| found.addresses.contains(it));
        found.chosen = kept.or(found.addresses.first().copied());
        found.chosen.ok_or_else(|| ConnectError::Endpoint {
            endpoint: self.endpoint.clone(),
        })
    }

    /// Looks the name up, and chooses another address than the one that nothing comes back from:
    /// a new one, or else the next. `None` where there is no other.
    pub(super) async fn next(&self) -> Option<SocketAddr> {
        let before = self.found().chosen;
        let now = self.resolve().await.ok()?;
        let mut found = self.found();
        if Some(now) == before {
            let at = found.addresses.iter().position(|address| *address == now);
            let after = at.map_or(0, |at| at + 1) % found.addresses.len().max(1);
            found.chosen = found.addresses.get(after).copied();
        }
        found.chosen.filter(|chosen| Some(*chosen) != before)
    }

    /// The tunnel uses this address now.
    pub(super) fn is_used(&self, address: Option<SocketAddr>) {
        let mut found = self.found();
        if address.is_some() && found.used.is_some() && found.used != address {
            found.moved = address;
        }
        found.used = address.or(found.used);
    }

    /// There is no tunnel any more.
    pub(super) fn is_unused(&self) {
        let mut found = self.found();
        found.used = None;
        found.moved = None;
    }

    /// The address that a tunnel that is up came to use, told once.
    pub(super) fn take_moved(&self) -> Option<SocketAddr> {
        self.found().moved.take()
    }

    async fn look_up(&self) -> Vec<SocketAddr> {
        if let Some(address) = self.endpoint.address() {
            return vec![address];
        }
        let found = tokio::net::lookup_host((self.endpoint.host(), self.endpoint.port()));
        let found = tokio::time::timeout(self.timeout, found).await;
        let found = found.ok().and_then(Result::ok).into_iter().flatten();
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Whether an address is of the family that the gate was last reached by.
    fn is_preferred(&self) -> impl Fn(&SocketAddr) -> bool {
        let mut reached = self.transports.iter().filter_map(|it| it.reached_at());
        let reached = reached.next();
        move |address| reached.is_some_and(|reached| reached.is_ipv4() == address.is_ipv4())
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses with their families in turns (RFC 8305, section 4), beginning with the preferred one,
/// or else with the system's first; those of one family in the system's order (RFC 6724).
fn in_turns(
    addresses: &[SocketAddr],
    is_preferred: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let first = addresses.iter().find(|address| is_preferred(address));
    let Some(first) = first.or(addresses.first()).map(SocketAddr::is_ipv4) else {
        return Vec::new();
    };
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first);
    let mut turns = Vec::with_capacity(addresses.len());
    while !one.is_empty() || !other.is_empty() {
        turns.extend(one.pop_front());
        turns.extend(other.pop_front());
    }
    turns
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
    fn families_take_turns_and_the_one_that_reached_the_gate_begins() {
        let addresses = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"];
        let addresses = addresses.map(|it| it.parse::<SocketAddr>().unwrap());
        let [six, six_too, four] = addresses;

        assert_eq!(in_turns(&addresses, |_| false), [six, four, six_too]);
        assert_eq!(
            in_turns(&addresses, SocketAddr::is_ipv4),
            [four, six, six_too]
        );
        assert_eq!(in_turns(&[four], SocketAddr::is_ipv6), [four]);
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
