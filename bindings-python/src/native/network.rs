//! What goes through a tunnel inside this process.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mfagate::interface::netstack::{self, NetStream, Netstack};
use pyo3::prelude::*;
use tokio::io::copy_bidirectional;

use crate::native::failure::Failure;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(30);

/// A network inside this process.
#[derive(Clone)]
pub(crate) struct Network(Netstack);

impl Network {
    pub(crate) const fn new(netstack: Netstack) -> Self {
        Self(netstack)
    }

    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    pub(crate) async fn dial(&self, to: SocketAddr) -> Result<Stream, Failure> {
        self.dial_within(to, CONNECT).await
    }

    pub(crate) async fn dial_within(
        &self,
        to: SocketAddr,
        limit: Duration,
    ) -> Result<Stream, Failure> {
        let stream = self.0.connect_within(to, limit).await?;
        Stream::over(stream).map_err(no_socket)
    }

    pub(crate) async fn forward_local(
        &self,
        at: SocketAddr,
        target: SocketAddr,
    ) -> Result<Forward, Failure> {
        Ok(Forward::new(self.0.forward_local(at, target).await?))
    }

    /// From the tunnel to a target outside. Within the runtime.
    pub(crate) fn forward(&self, at: SocketAddr, target: SocketAddr) -> Result<Forward, Failure> {
        Ok(Forward::new(self.0.forward(at, target)?))
    }

    pub(crate) async fn socks5(&self, at: SocketAddr) -> Result<Forward, Failure> {
        Ok(Forward::new(self.0.socks5(at).await?))
    }
}

fn no_socket(error: std::io::Error) -> Failure {
    Failure::own("no-socket", format!("the system gives no socket: {error}"))
}

/// A connection through the tunnel, as one end of a pair of sockets. The other end is this side's, and
/// passes on what comes.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct Stream(Mutex<Option<UnixStream>>);

impl Stream {
    fn over(mut stream: NetStream) -> std::io::Result<Self> {
        let (theirs, ours) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut ours = tokio::net::UnixStream::from_std(ours)?;
        tokio::spawn(async move {
            // How it ends shows at the ends of both connections.
            _ = copy_bidirectional(&mut ours, &mut stream).await;
        });
        Ok(Self(Mutex::new(Some(theirs))))
    }
}

#[pymethods]
impl Stream {
    /// The file descriptor, which is the caller's to close from then on; once.
    fn detach(&self) -> PyResult<i32> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.take().ok_or_else(|| {
            Failure::own("stream-is-taken", "the stream's socket was taken already")
        })?;
        Ok(socket.into_raw_fd())
    }
}

/// A listener that passes connections on until it is closed.
#[pyclass(frozen, module = "mfagate._native")]
pub(crate) struct Forward {
    at: SocketAddr,
    forward: Mutex<Option<netstack::Forward>>,
}

impl Forward {
    fn new(forward: netstack::Forward) -> Self {
        Self {
            at: forward.local_addr(),
            forward: Mutex::new(Some(forward)),
        }
    }
}

#[pymethods]
impl Forward {
    /// Where it listens: a host and a port.
    #[getter]
    fn address(&self) -> (String, u16) {
        (self.at.ip().to_string(), self.at.port())
    }

    fn close(&self) {
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        drop(forward.take());
    }
}
