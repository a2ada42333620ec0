//! The transport against real servers on loopback, well-behaved and not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap as Headers, StatusCode as Status, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::channel::MAX_BODY;
use crate::channel::http::PATH;

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// A server that reads a request's head and writes this, then goes on until no one reads.
async fn serve_raw(head: &'static str, then: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        _ = stream.read(&mut buffer).await;
        _ = stream.write_all(head.as_bytes()).await;
        while !then.is_empty() && stream.write_all(then).await.is_ok() {
            count.fetch_add(then.len(), Ordering::SeqCst);
        }
        // Held open: what is missing is waited for.
        _ = stream.read(&mut buffer).await;
    });
    (addr, written)
}

fn transport(addr: SocketAddr) -> HttpTransport {
    HttpTransport::new(&format!("http://{addr}")).unwrap()
}

#[tokio::test]
async fn a_body_goes_there_and_back_as_it_is() {
    let app = Router::new().route(
        PATH,
        post(|headers: Headers, body: Bytes| async move {
            assert_eq!(headers[header::CONTENT_TYPE], CONTENT_TYPE);
            assert!(headers.get(header::COOKIE).is_none());
            let cookie = [(header::SET_COOKIE, "id=1")];
            (cookie, body.iter().rev().copied().collect::<Vec<u8>>())
        }),
    );
    let transport = transport(serve(app).await);

    for _ in 0..2 {
        let body = transport.round_trip(vec![0, 1, 255]).await;
        assert_eq!(body, Ok(vec![255, 1, 0]));
    }
}

#[tokio::test]
async fn a_refusal_of_the_gate_is_a_body_and_a_page_of_a_proxy_is_not() {
    let app = Router::new()
        .route(
            PATH,
            post(|| async {
                let headers = [(header::CONTENT_TYPE, CONTENT_TYPE)];
                (Status::NOT_FOUND, headers, [1, 0, 4])
            }),
        )
        .route(
            "/proxy/mfagate/v1",
            post(|| async { (Status::BAD_GATEWAY, "a page").into_response() }),
        );
    let addr = serve(app).await;

    let refusal = transport(addr).round_trip(vec![1]).await;
    assert_eq!(refusal, Ok(vec![1, 0, 4]));

    let behind = HttpTransport::new(&format!("http://{addr}/proxy/")).unwrap();
    let gate = format!("http://{addr}/proxy/mfagate/v1");
    let status = 502;
    let page = behind.round_trip(vec![1]).await;
    assert_eq!(page, Err(TransportError::BadGateway { gate, status }));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&followed);
    let app = Router::new()
        .route(PATH, post(|| async { Redirect::temporary("/elsewhere") }))
        .route(
            "/elsewhere",
            any(move || {
                count.fetch_add(1, Ordering::SeqCst);
                async { "followed" }
            }),
        );
    let addr = serve(app).await;

    let outcome = transport(addr).round_trip(vec![1]).await;

    assert!(matches!(
        outcome,
        Err(TransportError::BadGateway { status: 307, .. })
    ));
    assert_eq!(followed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_as_long_as_may_be_is_read_and_one_byte_more_is_not() {
    let app = Router::new().route(
        PATH,
        post(|body: Bytes| async move {
            let extra = usize::from(body[0]);
            vec![7; MAX_BODY + extra]
        }),
    );
    let transport = transport(serve(app).await);

    let longest = transport.round_trip(vec![0]).await;
    let longer = transport.round_trip(vec![1]).await;

    assert_eq!(longest.map(|body| body.len()), Ok(MAX_BODY));
    assert!(matches!(longer, Err(TransportError::NotTheGate { .. })));
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    let (addr, written) = serve_raw(head, &[7; 1024]).await;

    let outcome = transport(addr).round_trip(vec![1]).await;

    assert!(matches!(outcome, Err(TransportError::NotTheGate { .. })));
    // What lies in the sockets' buffers has been written as well; without end it is not.
    assert!(written.load(Ordering::SeqCst) < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_timed_out() {
    let (addr, _) = serve_raw("", &[]).await;
    let mut transport = transport(addr);
    transport.client = reqwest::Client::builder()
        .timeout(Duration::from_millis(200))
        .build()
        .unwrap();

    let outcome = transport.round_trip(vec![1]).await;

    assert!(matches!(outcome, Err(TransportError::TimedOut { .. })));
}

#[tokio::test]
async fn where_nothing_listens_the_gate_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);

    let outcome = transport(addr).round_trip(vec![1]).await;

    assert!(matches!(outcome, Err(TransportError::Unreachable { .. })));
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_an_error_and_never_plain_http() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let app = Router::new().fallback(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { "plain" }
    });
    let addr = serve(app).await;
    let transport = HttpTransport::new(&format!("https://{addr}")).unwrap();

    let outcome = transport.round_trip(vec![1]).await;

    assert!(matches!(outcome, Err(TransportError::Unreachable { .. })));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_control_url_is_checked_and_its_password_never_shown() {
    let gate = |url: &str| HttpTransport::new(url).map(|transport| transport.gate().to_owned());
    assert_eq!(
        gate("https://gate.example"),
        Ok("https://gate.example/mfagate/v1".to_owned())
    );
    assert_eq!(
        gate("http://gate.example:7000/mfagate/v1"),
        Ok("http://gate.example:7000/mfagate/v1".to_owned())
    );
    for bad in [
        "gate.example",
        "ftp://gate.example",
        "https://",
        "https://user:secret@gate.example",
        "https://gate.example/?key=secret",
        "user:secret@gate.example",
    ] {
        let error = gate(bad).unwrap_err();
        assert!(matches!(error, TransportError::BadUrl { .. }), "{bad}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{bad}");
    }
}
