//! `oidc-provider`, a certified provider in Node.js.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};

use mfagate::factor::VerifyError;
use mfagate::factor::oidc::Identity;
use mfagate::seal::SecretBytes;

use crate::browser::{Arrived, Browser};
use crate::process::{self, Server};
use crate::{Attempt, at, now, with_another_code};

struct Node {
    issuer: String,
    /// Kept open: the provider ends when it can't say what it has to say.
    _output: BufReader<ChildStdout>,
    _server: Server,
}

impl Node {
    fn start() -> Self {
        let mut server = process::start(
            Command::new("node")
                .arg("server.mjs")
                .current_dir(process::installed("oidc-provider"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let issuer = output
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .find(|line| line.starts_with("http://"));
        Self {
            issuer: issuer.expect("the provider says its issuer"),
            _output: output,
            _server: server,
        }
    }
}

/// Passes the provider's pages as a user would.
async fn pass(browser: &mut Browser, mut arrived: Arrived, user: &str) -> Arrived {
    for _ in 0..6 {
        let page = match arrived {
            Arrived::Page(page) if page.text.contains("<form") => page,
            done @ (Arrived::Page(_) | Arrived::Back(_)) => return done,
        };
        arrived = if page.asks_for("login") {
            let fields = [("login", user), ("password", "any")];
            browser.submit(&page, &fields).await
        } else {
            browser.submit(&page, &[]).await
        };
    }
    panic!("there is always another page")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_admits_once_and_only_its_own_user() {
    let node = Node::start();
    let identity = Identity::subject(&node.issuer, "alice");
    let mut attempt = Attempt::of(&identity, at(&node.issuer, "mfagate"));
    let login = attempt.begin().await;
    let mut browser = Browser::new();
    let arrived = browser.open(login.url()).await;
    let back = pass(&mut browser, arrived, "alice").await.back();
    let answer = login.returned(&back).unwrap();

    let forged = attempt.verify(&with_another_code(&answer)).await;
    assert!(matches!(forged, Err(VerifyError::Wrong)), "{forged:?}");
    let proof = attempt.verify(&answer).await.unwrap();
    assert!(proof.assurance.replay_resistant && !proof.assurance.user_verified);
    let age = now().saturating_since(proof.assurance.authenticated_at);
    assert!(age.as_secs() < 300, "{age:?}");
    let again = attempt.verify(&answer).await;
    assert!(matches!(again, Err(VerifyError::Wrong)), "{again:?}");

    let login = attempt.begin().await;
    let mut browser = Browser::new();
    let arrived = browser.open(login.url()).await;
    let back = pass(&mut browser, arrived, "mallory").await.back();
    let verdict = attempt.verify(&login.returned(&back).unwrap()).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_address_pins_the_subject_for_a_client_with_a_secret() {
    let node = Node::start();
    let identity = Identity::email(&node.issuer, "alice@example.com");
    let secret = SecretBytes::new(b"a secret with: odd + letters & more".to_vec());
    let provider = at(&node.issuer, "confidential")
        .client_secret(secret)
        .and_then(|provider| provider.scope("email"))
        .unwrap();
    let mut attempt = Attempt::of(&identity, provider);
    let login = attempt.begin().await;
    let mut browser = Browser::new();
    let arrived = browser.open(login.url()).await;
    let back = pass(&mut browser, arrived, "alice").await.back();
    let proof = attempt
        .verify(&login.returned(&back).unwrap())
        .await
        .unwrap();
    let pinned = Identity::subject(&node.issuer, "alice").to_secret();
    assert_eq!(proof.replace_secret, Some(pinned));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_another_device_admits() {
    let node = Node::start();
    let identity = Identity::subject(&node.issuer, "alice");
    let mut attempt = Attempt::of(&identity, at(&node.issuer, "mfagate"));
    let address = attempt.begin_on_another_device().await;
    let mut browser = Browser::new();
    let arrived = browser.open(&address).await;
    let done = pass(&mut browser, arrived, "alice").await.page();
    assert!(done.text.contains("Sign-in Success"), "{}", done.text);
    let proof = attempt.poll().await.unwrap();
    assert!(!proof.assurance.phishing_resistant);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_does_not_want_to_log_in_is_not_logged_in() {
    let node = Node::start();
    let identity = Identity::subject(&node.issuer, "alice");
    let mut attempt = Attempt::of(&identity, at(&node.issuer, "mfagate"));
    let login = attempt.begin().await;
    let mut browser = Browser::new();
    let page = browser.open(login.url()).await.page();
    let (_, cancel) = page.text.split_once("class=\"login-help\"").unwrap();
    let (_, address) = cancel.split_once("href=\"").unwrap();
    let (address, _) = address.split_once('"').unwrap();
    let back = browser.open(address).await.back();
    assert!(back.contains("error=access_denied"), "{back}");
    assert!(login.returned(&back).is_err());
    let (redirect_uri, query) = back.split_once('?').unwrap();
    let verdict = attempt
        .verify(&mfagate::channel::message::Answer::Redirected {
            redirect_uri: redirect_uri.to_owned(),
            query: mfagate::channel::message::SecretString::new(query.to_owned()).unwrap(),
        })
        .await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}
