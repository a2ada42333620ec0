//! Browsers that come back, and others that knock.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::channel::message::Workload;

const APP: &str = "com.example.app:/callback";

fn challenge() -> Challenge {
    challenge_at("https://id.example.com/authorize?state=abc&nonce=def")
}

fn challenge_at(authorize: &str) -> Challenge {
    Challenge::OpenId {
        issuer: "https://id.example.com".to_owned(),
        authorize: Some(authorize.to_owned()),
        redirects: vec![
            Redirect::Exact {
                uri: APP.to_owned(),
            },
            Redirect::Loopback {
                path: "/callback".to_owned(),
            },
        ],
        device: true,
        workload: None,
    }
}

fn query_of(answer: &Answer) -> &str {
    let Answer::Redirected { query, .. } = answer else {
        panic!("{answer:?}")
    };
    query.expose_secret()
}

/// Knocks at a listener with these bytes: what it says.
async fn knock(loopback: &str, request: &[u8]) -> String {
    let address = Url::parse(loopback).unwrap();
    let port = address.port().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // It may have heard enough before all is said.
    _ = stream.write_all(request).await;
    let mut said = Vec::new();
    _ = stream.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

#[test]
fn an_app_opens_the_address_and_answers_what_comes_back() {
    let login = Login::begin(&challenge(), APP).unwrap();
    let url = Url::parse(login.url()).unwrap();
    assert_eq!(*parameter(&url, "redirect_uri").unwrap(), APP);
    let answer = login
        .returned("com.example.app:/callback?code=x&state=abc")
        .unwrap();
    assert_eq!(query_of(&answer), "code=x&state=abc");
    assert!(!format!("{login:?}").contains("abc"));
}

#[test]
fn another_logins_return_is_foreign_and_a_refusal_is_told() {
    let login = Login::begin(&challenge(), APP).unwrap();
    for foreign in [
        "com.example.app:/callback?code=x&state=other",
        "com.example.app:/callback?code=x",
        "com.example.app:/callback?code=x&state=abc&state=abc",
        "com.example.app:/callback",
        "com.example.app:/elsewhere?code=x&state=abc",
        "com.example.other:/callback?code=x&state=abc",
        "https://id.example.com/?code=x&state=abc",
        "",
    ] {
        let returned = login.returned(foreign);
        assert!(
            matches!(returned, Err(LoginError(LoginFault::Foreign))),
            "{foreign}: {returned:?}"
        );
    }
    let declined = login.returned("com.example.app:/callback?error=access_denied&state=abc");
    assert!(
        matches!(declined, Err(LoginError(LoginFault::Declined))),
        "{declined:?}"
    );
    let long = format!(
        "com.example.app:/callback?code={}&state=abc",
        "x".repeat(16_384)
    );
    assert!(matches!(
        login.returned(&long),
        Err(LoginError(LoginFault::TooLong))
    ));
}

#[test]
fn a_browser_is_sent_only_to_a_provider_and_only_as_the_gate_offers() {
    for bad in [
        "javascript:alert(1)?state=abc",
        "file:///etc/passwd?state=abc",
        "http://id.example.com/authorize?state=abc",
        "nonsense",
    ] {
        let begun = Login::begin(&challenge_at(bad), APP);
        assert!(
            matches!(begun, Err(LoginError(LoginFault::Unsafe))),
            "{bad}: {begun:?}"
        );
    }
    for bad in [
        "com.example.app:/other",
        "http://127.0.0.1:1/other",
        "http://evil.example/callback",
    ] {
        let begun = Login::begin(&challenge(), bad);
        assert!(
            matches!(begun, Err(LoginError(LoginFault::NotOffered))),
            "{bad}: {begun:?}"
        );
    }
    let begun = Login::begin(&Challenge::Password {}, APP);
    assert!(
        matches!(begun, Err(LoginError(LoginFault::NotAsked))),
        "{begun:?}"
    );
}

#[tokio::test]
async fn a_listener_hears_its_login_whatever_else_knocks_before() {
    let loopback = Loopback::listen(&challenge()).await.unwrap();
    let back = loopback.redirect_uri().to_owned();
    let login = Login::begin(&challenge(), &back).unwrap();
    let waiting = loopback.wait(&login, Duration::from_secs(60));
    let knocking = async {
        // One that says nothing holds no one up.
        let port = Url::parse(&back).unwrap().port().unwrap();
        let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for stray in [
            get("/favicon.ico"),
            get("/callback"),
            get("/callback?code=x&state=guessed"),
            get("/other?code=x&state=abc"),
            b"POST /callback?code=x&state=abc HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let said = knock(&back, &stray).await;
            assert!(said.starts_with("HTTP/1.1 404"), "{said}");
        }
        for nonsense in [b"\x16\x03\x01\x00\xff\r\n\r\n".to_vec(), vec![b'x'; 40_000]] {
            let said = knock(&back, &nonsense).await;
            assert!(said.is_empty(), "{said}");
        }
        let said = knock(&back, &get("/callback?code=x&state=abc&iss=y")).await;
        assert!(
            said.starts_with("HTTP/1.1 200") && said.contains("close this window"),
            "{said}"
        );
    };
    let (answer, ()) = tokio::join!(waiting, knocking);
    let answer = answer.unwrap();
    assert_eq!(query_of(&answer), "code=x&state=abc&iss=y");
    let Answer::Redirected { redirect_uri, .. } = answer else {
        panic!("a redirect")
    };
    assert_eq!(redirect_uri, back);
}

#[tokio::test]
async fn a_listener_that_is_not_needed_stops() {
    let loopback = Loopback::listen(&challenge()).await.unwrap();
    let back = loopback.redirect_uri().to_owned();
    let login = Login::begin(&challenge(), &back).unwrap();
    let waited = loopback.wait(&login, Duration::ZERO).await;
    assert!(
        matches!(waited, Err(LoginError(LoginFault::TimedOut))),
        "{waited:?}"
    );
    let port = Url::parse(&back).unwrap().port().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn a_device_without_a_browser_shows_a_code_and_polls() {
    let begun = DeviceLogin::begin(&challenge()).unwrap();
    assert_eq!(begun, Answer::BeginDeviceGrant {});
    let shown = DeviceLogin::read(&Challenge::DeviceGrant {
        verification_uri: "https://id.example.com/device".to_owned(),
        verification_uri_complete: None,
        user_code: "WDJB-MJHT".to_owned(),
        interval_ms: 1,
    })
    .unwrap();
    assert_eq!(
        shown.to_string(),
        "On another device, open https://id.example.com/device and type WDJB-MJHT"
    );
    assert_eq!(shown.poll().await, Answer::Poll {});
    assert!(DeviceLogin::begin(&Challenge::Password {}).is_err());
    assert!(DeviceLogin::read(&challenge()).is_err());
}

/// A source that gives what it is asked for, or nothing.
struct Tokens(bool);

#[async_trait::async_trait]
impl TokenSource for Tokens {
    async fn token(&self, wanted: &Workload) -> Result<SecretString, TokenSourceError> {
        if !self.0 {
            return Err("there is no metadata service here".into());
        }
        SecretString::new(format!("token for {}", wanted.audience)).ok_or_else(|| "too long".into())
    }
}

#[tokio::test]
async fn a_workload_brings_the_token_that_it_is_asked_for() {
    let asks = Challenge::OpenId {
        issuer: "https://id.example.com".to_owned(),
        authorize: None,
        redirects: Vec::new(),
        device: false,
        workload: Some(Workload {
            audience: "this attempt".to_owned(),
            nonce: "n".to_owned(),
        }),
    };
    let answer = bring_token(&asks, &Tokens(true)).await.unwrap();
    let Answer::IdToken { token } = answer else {
        panic!("a token")
    };
    assert_eq!(token.expose_secret(), "token for this attempt");
    let none = bring_token(&asks, &Tokens(false)).await;
    assert!(
        matches!(none, Err(LoginError(LoginFault::NoToken(_)))),
        "{none:?}"
    );
    let not_asked = bring_token(&challenge(), &Tokens(true)).await;
    assert!(
        matches!(not_asked, Err(LoginError(LoginFault::NotAsked))),
        "{not_asked:?}"
    );
}
