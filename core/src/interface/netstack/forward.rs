//! TCP connections passed on, from the tunnel to the host and from the host to the tunnel.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{NetListener, Netstack, NetstackError};
use crate::log;

/// How long a target may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener that passes connections on, until it is dropped; the connections end with it.
#[derive(Debug)]
pub struct Forward {
    at: SocketAddr,
    _stop: DropGuard,
}

impl Forward {
    pub(super) fn new(at: SocketAddr) -> (Self, CancellationToken) {
        let stop = CancellationToken::new();
        (
            Self {
                at,
                _stop: stop.clone().drop_guard(),
            },
            stop,
        )
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

/// Binds a listener that only this machine reaches.
pub(super) async fn bind_local(at: SocketAddr) -> Result<TcpListener, NetstackError> {
    if !at.ip().is_loopback() {
        return Err(NetstackError::Exposed { at });
    }
    TcpListener::bind(at)
        .await
        .map_err(|source| NetstackError::AddressInUse { at, source })
}

pub(super) fn local_addr(listener: &TcpListener) -> Result<SocketAddr, NetstackError> {
    listener
        .local_addr()
        .map_err(|error| NetstackError::Device(Box::new(error)))
}

/// From the tunnel to the host.
pub(super) fn into_host(mut listener: NetListener, target: SocketAddr) -> Forward {
    let (forward, stop) = Forward::new(listener.local_addr());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target));
                match connected.await {
                    Ok(Ok(host)) => relay(stream, host).await,
                    Ok(Err(_)) | Err(_) => {
                        log::later(move || {
                            tracing::debug!(%target, "a forward's target does not answer");
                        });
                    }
                }
            }));
        }
    }));
    forward
}

/// From the host to the tunnel.
pub(super) fn into_tunnel(
    netstack: Netstack,
    listener: TcpListener,
    target: SocketAddr,
) -> Result<Forward, NetstackError> {
    let (forward, stop) = Forward::new(local_addr(&listener)?);
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Ok((host, _)) = listener.accept().await {
            let netstack = netstack.clone();
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                match netstack.connect(target).await {
                    Ok(stream) => relay(stream, host).await,
                    Err(error) => log::later(move || {
                        tracing::debug!(%target, %error, "a forward has no way");
                    }),
                }
            }));
        }
    }));
    Ok(forward)
}

/// Copies both ways until both ends have closed, or one breaks.
pub(super) async fn relay(
    mut tunnel: impl AsyncRead + AsyncWrite + Unpin,
    mut host: impl AsyncRead + AsyncWrite + Unpin,
) {
    _ = copy_bidirectional(&mut tunnel, &mut host).await;
}
