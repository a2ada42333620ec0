//! The internal page of the stories, on both sides of the tunnel.

use std::io;

use mfagate::interface::netstack::{NetStream, Netstack, NetstackError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where it is, inside the tunnel.
pub const PAGE: &str = "10.9.0.1:80";

/// Serves the page on the gate's side.
///
/// # Errors
/// Where something else listens there.
pub fn serve_page(inside: &Netstack) -> Result<(), NetstackError> {
    let at = PAGE.parse().unwrap_or_else(|_| unreachable!("an address"));
    let mut page = inside.listen(at)?;
    tokio::spawn(async move {
        while let Some(mut stream) = page.accept().await {
            // A client that went away is no concern of the next one.
            _ = stream.read(&mut [0; 1024]).await;
            _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nInside").await;
        }
    });
    Ok(())
}

/// Fetches the page over a connection through the tunnel.
///
/// # Errors
/// When the connection breaks.
pub async fn fetch(mut stream: NetStream) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}
