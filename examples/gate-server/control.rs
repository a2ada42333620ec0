//! The control address: HTTP, with an end to how long a connection may go without the head of a
//! request. `axum::serve` has none, so that anybody could hold connections.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take, the next one's on an open connection included.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long after a connection could not be taken the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Serves until `stop`, and then what is under way.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    head_time: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let app = app.clone().layer(Extension(ConnectInfo(from)));
                    connections.spawn(converse(stream, app, head_time, stop.clone()));
                }
                // The other end went away, or there are too many open files for now.
                Err(error) => {
                    eprintln!("gate-server: a control connection was not taken: {error}");
                    _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_AGAIN)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn converse(stream: TcpStream, app: Router, head_time: Duration, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    // How a connection ends is its client's affair: nothing is lost by it.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn whoever(ConnectInfo(from): ConnectInfo<SocketAddr>) -> String {
        from.to_string()
    }

    /// What a server that waits so long for a head answers to this, until it closes.
    async fn answer_to(sent: &[u8], head_time: Duration) -> (String, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(whoever));
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, app, head_time, stop.clone()));
        let mut client = TcpStream::connect(at).await.unwrap();
        let from = client.local_addr().unwrap();
        client.write_all(sent).await.unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.expect("the server holds the connection").unwrap();
        stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, server).await;
        ended.expect("the server stops").unwrap().unwrap();
        (answer, from)
    }

    #[tokio::test]
    async fn a_connection_without_the_head_of_a_request_is_closed() {
        for sent in [&b""[..], b"GET / HTTP/1.1\r\n"] {
            let (answer, _) = answer_to(sent, Duration::from_millis(100)).await;
            assert!(!answer.contains(" 200 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_and_who_sent_it_is_known() {
        let request = b"GET / HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
        let (answer, from) = answer_to(request, PATIENCE).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(&from.to_string()), "{answer}");
    }
}
