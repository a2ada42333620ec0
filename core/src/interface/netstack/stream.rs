//! TCP connections through the tunnel, as tokio streams.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::NetstackError;
use super::stack::Stack;

/// A TCP connection through the tunnel. Dropping it closes it.
pub struct NetStream {
    stack: Arc<Stack>,
    handle: SocketHandle,
    remote: SocketAddr,
}

impl NetStream {
    pub(super) async fn connect(stack: &Arc<Stack>, to: SocketAddr) -> Result<Self, NetstackError> {
        let handle = stack.net().connect(to)?;
        stack.poke();
        let stream = Self {
            stack: Arc::clone(stack),
            handle,
            remote: to,
        };
        std::future::poll_fn(|context| {
            let mut net = stream.stack.net();
            let socket = net.tcp(stream.handle);
            match socket.state() {
                tcp::State::SynSent | tcp::State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                tcp::State::Closed => Poll::Ready(Err(NetstackError::Refused { to })),
                tcp::State::Listen
                | tcp::State::Established
                | tcp::State::FinWait1
                | tcp::State::FinWait2
                | tcp::State::CloseWait
                | tcp::State::Closing
                | tcp::State::LastAck
                | tcp::State::TimeWait => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(stream)
    }

    /// The other end's address inside the tunnel.
    pub const fn remote_addr(&self) -> SocketAddr {
        self.remote
    }
}

impl std::fmt::Debug for NetStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetStream")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Drop for NetStream {
    fn drop(&mut self) {
        self.stack.net().orphan(self.handle);
        self.stack.poke();
    }
}

impl AsyncRead for NetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut net = self.stack.net();
        let socket = net.tcp(self.handle);
        if socket.can_recv() {
            let read = socket.recv(|data| {
                let len = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..len]);
                (len, ())
            });
            drop(net);
            self.stack.poke(); // the window has room again
            return Poll::Ready(read.map_err(|_| broken()));
        }
        if socket.may_recv() {
            socket.register_recv_waker(context.waker());
            return Poll::Pending;
        }
        // Closed by the other end in good order, or broken.
        match socket.recv(|_| (0, ())) {
            Err(tcp::RecvError::Finished) | Ok(()) => Poll::Ready(Ok(())),
            Err(tcp::RecvError::InvalidState) => Poll::Ready(Err(broken())),
        }
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut net = self.stack.net();
        let socket = net.tcp(self.handle);
        if !socket.may_send() {
            return Poll::Ready(Err(broken()));
        }
        if !socket.can_send() {
            socket.register_send_waker(context.waker());
            return Poll::Pending;
        }
        let written = socket.send_slice(data).map_err(|_| broken());
        drop(net);
        self.stack.poke();
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stack.net().tcp(self.handle).close();
        self.stack.poke();
        Poll::Ready(Ok(()))
    }
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection through the tunnel is broken",
    )
}

/// Accepts TCP connections at an address inside the tunnel, until it is dropped.
pub struct NetListener {
    stack: Arc<Stack>,
    at: SocketAddr,
    connections: mpsc::Receiver<SocketHandle>,
}

impl NetListener {
    pub(super) fn bind(stack: &Arc<Stack>, at: SocketAddr) -> Result<Self, NetstackError> {
        let connections = stack.net().listen(at)?;
        Ok(Self {
            stack: Arc::clone(stack),
            at,
            connections,
        })
    }

    /// The next connection; `None` when the stack is gone. Cancel safe.
    pub async fn accept(&mut self) -> Option<NetStream> {
        let handle = self.connections.recv().await?;
        let remote = self.stack.net().tcp(handle).remote_endpoint();
        let remote = remote.map_or(self.at, |remote| {
            SocketAddr::new(remote.addr.into(), remote.port)
        });
        Some(NetStream {
            stack: Arc::clone(&self.stack),
            handle,
            remote,
        })
    }

    /// The address inside the tunnel.
    pub const fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

impl std::fmt::Debug for NetListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetListener")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Drop for NetListener {
    fn drop(&mut self) {
        let mut net = self.stack.net();
        net.unlisten(self.at);
        // Connections that were made and not accepted are closed.
        self.connections.close();
        while let Ok(handle) = self.connections.try_recv() {
            net.orphan(handle);
        }
        drop(net);
        self.stack.poke();
    }
}
