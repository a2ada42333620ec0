//! Bodies that come slowly, too long or not at all, over a socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::runtime::GateConfig;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gate that waits so long for a body, and a connection to it.
async fn connect(body_time: Duration) -> (Gate, TcpStream) {
    let gate = Gate::start(GateConfig::of_an_office()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = router_within(gate.clone(), body_time);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (gate, TcpStream::connect(at).await.unwrap())
}

/// Sends the head of a request and the beginning of its body, and gives what comes back until the
/// server closes.
async fn answer_to(mut connection: TcpStream, head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: gate\r\n{head}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    // What the server did not read may reset the connection, after the answer.
    _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the server holds the connection");
    answer
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    for (head, body) in [
        ("content-length: 100", &b"\x01\x01"[..]),
        ("content-length: 100", b""),
        ("transfer-encoding: chunked", b"2\r\n\x01\x01\r\n"),
    ] {
        let (_gate, connection) = connect(Duration::from_millis(100)).await;
        let answer = answer_to(connection, head, body).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{head}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_by_its_head_is_refused_unread() {
    let (gate, connection) = connect(PATIENCE).await;
    let answer = answer_to(connection, "content-length: 65536", b"").await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{answer:?}");
    assert!(answer.ends_with(b"\r\n\r\n\x01\x00\x02"), "{answer:?}");
    assert_eq!(gate.open_attempts(), 0);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_once_it_is_too_long() {
    let (gate, connection) = connect(PATIENCE).await;
    let chunk = [b"10000\r\n", &[1; 65_536][..], b"\r\n"].concat();
    let answer = answer_to(connection, "transfer-encoding: chunked", &chunk).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{answer:?}");
    assert!(answer.ends_with(b"\r\n\r\n\x01\x00\x02"), "{answer:?}");
    assert_eq!(gate.open_attempts(), 0);
}
