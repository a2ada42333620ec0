//! The control channel's way past the tunnel: each address is told to the interface before a
//! connection to it is made.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::interface::InterfaceBackend;
use crate::log;

/// How long a name that was looked up before may take: its servers may be behind a tunnel that is
/// dead, and then its last addresses are tried.
const AGAIN: Duration = Duration::from_secs(2);

/// Looks names up, and tells the interface of their addresses.
#[derive(Clone)]
pub(super) struct Outside(Arc<Inner>);

struct Inner {
    interface: Arc<dyn InterfaceBackend>,
    /// What each name was the last time.
    last: Mutex<BTreeMap<String, Vec<IpAddr>>>,
}

impl Outside {
    pub(super) fn of(interface: Arc<dyn InterfaceBackend>) -> Self {
        let last = Mutex::default();
        Self(Arc::new(Inner { interface, last }))
    }

    /// A connection to these is to be made.
    pub(super) async fn keep(&self, addresses: &[IpAddr]) {
        if let Err(error) = self.0.interface.keep_outside(addresses).await {
            // It may well be reached through the tunnel.
            let error = log::in_a_line(&error);
            log::later(move || {
                tracing::warn!(error, "the gate may be looked for inside the tunnel");
            });
        }
    }

    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let last = self.last().get(name).cloned();
        let found = tokio::net::lookup_host((name, 0));
        let found = match last {
            None => found.await.map(ips),
            Some(last) => match tokio::time::timeout(AGAIN, found).await {
                Ok(Ok(found)) => Ok(ips(found)),
                Ok(Err(_)) | Err(_) => Ok(last),
            },
        }?;
        self.last().insert(name.to_owned(), found.clone());
        self.keep(&found).await;
        Ok(found)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<IpAddr>>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ips(found: impl Iterator<Item = SocketAddr>) -> Vec<IpAddr> {
    found.map(|address| address.ip()).collect()
}

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let found = this.look_up(name.as_str()).await?;
            let found = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            let found: Addrs = Box::new(found);
            Ok(found)
        })
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}
