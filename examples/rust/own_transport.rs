//! A transport of one's own: the control channel over a Unix socket, one body to a connection and end.
//! What carries the bodies is not trusted: it sees ciphertext, and what it changes is refused.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use mfagate::Gate;
use mfagate::channel::{MAX_BODY, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A body, up to where the other end closes its half.
async fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    // One byte too many shows that it is too long, and is refused.
    let most = u64::try_from(MAX_BODY + 1).map_err(io::Error::other)?;
    stream.take(most).read_to_end(&mut body).await?;
    Ok(body)
}

async fn send(stream: &mut UnixStream, body: &[u8]) -> io::Result<()> {
    stream.write_all(body).await?;
    stream.shutdown().await
}

/// The client's end. The client bounds each call in time, and repeats what failed.
pub(crate) struct Socket(pub(crate) PathBuf);

#[async_trait]
impl Transport for Socket {
    fn gate(&self) -> &str {
        "this machine's gate"
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.0).await?;
            send(&mut stream, &body).await?;
            receive(&mut stream).await
        };
        let failed = |_: io::Error| TransportError::Unreachable {
            gate: self.gate().to_owned(),
        };
        exchange.await.map_err(failed)
    }
}

/// The gate's end. A refusal is a body as well.
pub(crate) async fn serve(listener: UnixListener, gate: Gate) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let gate = gate.clone();
        tokio::spawn(async move {
            let reply = gate.handle(receive(&mut stream).await?, None).await;
            let reply = reply.unwrap_or_else(|refusal| refusal.to_body());
            send(&mut stream, &reply).await
        });
    }
}
