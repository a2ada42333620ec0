//! Keycloak, with a realm whose user has a password and an authenticator app.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use mfagate::factor::VerifyError;
use mfagate::factor::oidc::{Identity, OidcVerifier, Vouched};
use mfagate::factor::totp::{HashAlgorithm, TotpSecret};

use crate::browser::{Arrived, Browser, Page};
use crate::process::{self, Server};
use crate::{Attempt, at, now, with_another_code};

/// How long the server may take to be there.
const PATIENCE: Duration = Duration::from_secs(600);
/// As in the realm.
const PASSWORD: &str = "correct horse";
const SECRET: &[u8] = b"a-secret-of-20-bytes";

struct Keycloak {
    issuer: String,
    _server: Server,
}

impl Keycloak {
    async fn start() -> Self {
        let folder = process::installed("keycloak");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // `exec`s Java, so that its process is the one that is ended.
        let mut server = process::start(
            Command::new("sh")
                .arg(folder.join("bin/kc.sh"))
                .args([
                    "start",
                    "--optimized",
                    "--import-realm",
                    "--http-enabled=true",
                ])
                .args(["--hostname-strict=false", "--http-host=127.0.0.1"])
                .arg(format!("--http-port={port}"))
                // A server of minutes is not worth compiling well.
                .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let issuer = format!("http://127.0.0.1:{port}/realms/staff");
        let is_there = async {
            while !reqwest::get(&issuer)
                .await
                .is_ok_and(|there| there.status() == 200)
            {
                let ended = server.0.try_wait().unwrap();
                assert!(ended.is_none(), "Keycloak does not start: {ended:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_there)
            .await
            .expect("Keycloak is there in time");
        Self {
            issuer,
            _server: server,
        }
    }
}

/// What the user's authenticator app shows.
fn code() -> String {
    let app = TotpSecret::new(SECRET.to_vec(), HashAlgorithm::Sha1, 6, 30).unwrap();
    app.code(now()).unwrap().expose_secret().to_owned()
}

/// Types the password: the page that asks for the code.
async fn type_password(browser: &mut Browser, page: &Page) -> Page {
    assert!(page.asks_for("username"), "{}", page.text);
    let fields = [("username", "alice"), ("password", PASSWORD)];
    let page = browser.submit(page, &fields).await.page();
    assert!(
        page.asks_for("otp"),
        "Keycloak asks for the code: {}",
        page.text
    );
    page
}

/// The subject that the realm has given to alice: whatever the first login by her address pins.
async fn alice(keycloak: &Keycloak) -> (Attempt, Browser) {
    let by_address = Identity::email(&keycloak.issuer, "alice@example.com");
    let provider = at(&keycloak.issuer, "mfagate")
        .scope("email")
        // As the preset has it, which is for servers with TLS alone.
        .and_then(|provider| provider.amr_proves("mfa", Vouched::UserVerified))
        .unwrap();
    let mut attempt = Attempt::of(&by_address, provider);
    let login = attempt.begin().await;
    let mut browser = Browser::new();
    let page = browser.open(login.url()).await.page();
    let page = type_password(&mut browser, &page).await;
    let page = browser.submit(&page, &[("otp", "000000")]).await.page();
    assert!(
        page.asks_for("otp"),
        "a wrong code does not log in: {}",
        page.text
    );
    let back = browser.submit(&page, &[("otp", &code())]).await.back();
    let answer = login.returned(&back).unwrap();

    let forged = attempt.verify(&with_another_code(&answer)).await;
    assert!(matches!(forged, Err(VerifyError::Wrong)), "{forged:?}");
    let login = attempt.begin().await;
    // The user has logged in a moment ago: Keycloak does not ask again.
    let back = browser.open(login.url()).await.back();
    let answer = login.returned(&back).unwrap();
    let proof = attempt.verify(&answer).await.unwrap();
    let age = now().saturating_since(proof.assurance.authenticated_at);
    assert!(age < Duration::from_secs(300), "{age:?}");
    assert!(proof.assurance.user_verified, "by the method `mfa`");
    let again = attempt.verify(&answer).await;
    assert!(matches!(again, Err(VerifyError::Wrong)), "{again:?}");
    attempt.secret = proof.replace_secret.expect("the subject is pinned");
    (attempt, browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_admits_in_a_browser_and_on_another_device() {
    let keycloak = Keycloak::start().await;
    let (mut attempt, mut browser) = alice(&keycloak).await;

    let address = attempt.begin_on_another_device().await;
    let mut arrived = browser.open(&address).await;
    for _ in 0..3 {
        let page = match arrived {
            Arrived::Page(page) if page.text.contains("<form") => page,
            Arrived::Page(_) | Arrived::Back(_) => break,
        };
        // Confirms the code, and then that the device may know who it is.
        arrived = browser.submit(&page, &[("accept", "Yes")]).await;
    }
    let proof = attempt.poll().await.unwrap();
    assert!(proof.assurance.user_verified, "by the method `mfa`");

    let mut stranger = Attempt::of(
        &Identity::subject(&keycloak.issuer, "someone else"),
        at(&keycloak.issuer, "mfagate"),
    );
    let login = stranger.begin().await;
    let back = browser.open(login.url()).await.back();
    let verdict = stranger.verify(&login.returned(&back).unwrap()).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");

    // A provider that is trusted for nothing has verified no one, whatever it says.
    attempt.verifier = OidcVerifier::new([at(&keycloak.issuer, "mfagate")]).unwrap();
    let login = attempt.begin().await;
    let back = browser.open(login.url()).await.back();
    let proof = attempt
        .verify(&login.returned(&back).unwrap())
        .await
        .unwrap();
    assert!(!proof.assurance.user_verified);
}
