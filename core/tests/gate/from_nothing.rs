//! From nothing to a tunnel: a gate on a folder, a new user in one file, a tunnel in one call.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Code, DeniedReason};
use mfagate::client::{
    AttemptFailure, AuthChallenge, Client, ConnectError, Onboarding, Response, Tunnel, UpError,
    prompt_fn,
};
use mfagate::code::ErrorCode;
use mfagate::enrol::Registrar;
use mfagate::factor::totp::{HashAlgorithm, TotpSecret, TotpVerifier};
use mfagate::gate::Gate;
use mfagate::id::{Label, UserId};
use mfagate::interface::InterfaceBackend;
use mfagate::interface::netstack::Netstack;
use mfagate::testing::SimClock;
use mfagate::time::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WEB: &str = "10.9.0.1:80";

/// A gate on a folder, with a page behind it.
struct Office {
    gate: Gate,
    inside: Netstack,
    clock: SimClock,
    user: UserId,
}

impl Office {
    async fn open(folder: &Path) -> Self {
        let clock = SimClock::default();
        clock.step_wall_to(SystemClock::new().now().timestamp);
        let office = Gate::open(folder, "office".parse().unwrap()).unwrap();
        let inside = Netstack::builder(office.private_key().clone())
            .listen("127.0.0.1:0".parse().unwrap())
            .address("10.9.0.1/24".parse().unwrap())
            .build()
            .await
            .unwrap();
        let control = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = office
            .interface(inside.clone())
            .verifier(TotpVerifier::new())
            .clock(clock.clone())
            .address("10.9.0.1/24".parse().unwrap())
            .endpoint(inside.local_addr())
            .control(format!("http://{}", control.local_addr().unwrap()))
            .start()
            .await
            .unwrap();
        let never = std::future::pending();
        tokio::spawn(mfagate::http::serve(control, gate.clone(), never));
        let mut web = inside.listen(WEB.parse().unwrap()).unwrap();
        tokio::spawn(async move {
            while let Some(mut stream) = web.accept().await {
                stream.write_all(b"inside").await.unwrap();
            }
        });
        Self {
            gate,
            inside,
            clock,
            user: "alice".parse().unwrap(),
        }
    }

    async fn onboard(&self) -> Onboarding {
        let registrar = self.gate.registrar().unwrap();
        let (user, laptop) = (&self.user, label("laptop"));
        let onboarding =
            registrar.onboard(user, &laptop, &[], FactorKind::TOTP, Registrar::TOKEN_TTL);
        onboarding.await.unwrap()
    }

    async fn up(&self, app: &App, start: Onboarding) -> Result<Tunnel, UpError> {
        let clock = &self.clock;
        let mut prompt = prompt_fn(async |asked| app.answer(asked, clock));
        Client::up(start, &mut prompt).await
    }

    async fn until_no_one_is_in(&self) {
        let wait = async {
            while !self.gate.sessions().is_empty() || !self.inside.list().await.unwrap().is_empty()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(20), wait).await;
        left.expect("someone stays");
    }
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

/// An authenticator app that learns its secret at the enrolment. Its user mistypes
/// the first one at each sign-in.
#[derive(Default)]
struct App {
    secret: Mutex<Option<TotpSecret>>,
    denied: Mutex<Vec<DeniedReason>>,
}

impl App {
    fn answer(&self, asked: AuthChallenge, clock: &SimClock) -> Option<Response> {
        let now = clock.now().timestamp;
        let mut secret = self.secret.lock().unwrap();
        let code = if let Challenge::RegisterTotp { uri, .. } = asked.challenge {
            secret.insert(read(uri.expose_secret())).code(now).unwrap()
        } else {
            assert!(matches!(asked.challenge, Challenge::Code { .. }));
            // The present code was used to enrol.
            let next = now + Duration::from_secs(30);
            let right = secret.as_ref()?.code(next).unwrap();
            match asked.denied {
                None => mistyped(&right),
                Some(denied) => {
                    self.denied.lock().unwrap().push(denied.reason);
                    right
                }
            }
        };
        Some(Answer::Code { code }.into())
    }

    fn denied(&self) -> Vec<DeniedReason> {
        self.denied.lock().unwrap().clone()
    }
}

/// The secret of an `otpauth://` URI.
fn read(uri: &str) -> TotpSecret {
    let uri = url::Url::parse(uri).unwrap();
    let (_, secret) = uri
        .query_pairs()
        .find(|(name, _)| name == "secret")
        .unwrap();
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes());
    TotpSecret::new(secret.unwrap(), HashAlgorithm::Sha1, 6, 30).unwrap()
}

/// With another last digit.
fn mistyped(code: &Code) -> Code {
    let (head, last) = code.expose_secret().split_at(5);
    let last = if last == "0" { "1" } else { "0" };
    format!("{head}{last}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_comes_from_one_file_to_a_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let file = folder.path().join("laptop.toml");
    office.onboard().await.write(&file).unwrap();
    let app = App::default();

    let tunnel = office
        .up(&app, Onboarding::read(&file).unwrap())
        .await
        .unwrap();

    assert_eq!(app.denied(), [DeniedReason::Wrong]);
    let addresses = ["10.9.0.2/32".parse().unwrap()];
    assert_eq!(tunnel.connected().addresses, addresses);
    let mut page = tunnel.dial(WEB.parse().unwrap()).await.unwrap();
    let mut text = [0; 6];
    page.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"inside");
    assert_eq!(office.gate.sessions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_tunnel_ends_its_session_and_its_streams() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let tunnel = office.up(&App::default(), office.onboard().await).await;
    let tunnel = tunnel.unwrap();
    let mut page = tunnel.dial(WEB.parse().unwrap()).await.unwrap();

    drop(tunnel);

    office.until_no_one_is_in().await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), page.read_to_end(&mut rest)).await;
    read.expect("the stream is still open").ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_tunnel_returns_when_the_gate_knows() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let tunnel = office.up(&App::default(), office.onboard().await).await;

    tunnel.unwrap().close().await.unwrap();

    assert!(office.gate.sessions().is_empty());
    office.until_no_one_is_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_token_is_used_still_connects() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let (app, start) = (App::default(), office.onboard().await);
    let first = office.up(&app, start.clone()).await.unwrap();
    first.close().await.unwrap();
    office.clock.advance(Duration::from_secs(30));

    let again = office.up(&app, start).await.unwrap();

    assert_eq!(office.gate.sessions().len(), 1);
    assert!(again.dial(WEB.parse().unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_back_enrols_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let start = office.onboard().await;
    let registrar = office.gate.registrar().unwrap();
    for token in registrar.tokens(&office.user).await.unwrap() {
        registrar
            .remove_token(&office.user, token.id)
            .await
            .unwrap();
    }

    let refused = office.up(&App::default(), start).await.unwrap_err();

    let expected = ConnectError::Failed(AttemptFailure::BadToken);
    assert!(
        matches!(&refused, UpError::Connect(error) if *error == expected),
        "{refused:?}"
    );
    assert!(registrar.factors(&office.user).await.unwrap().is_empty());
    assert!(office.gate.sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_get_addresses_and_keys_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("office")).await;
    let registrar = office.gate.registrar().unwrap();
    let (laptop, phone) = (label("laptop"), label("phone"));
    let unknown = registrar.enrol_device(&office.user, &laptop, &[]).await;
    assert!(matches!(&unknown, Err(error) if error.code().starts_with("store-")));

    registrar.put_user(&office.user, true).await.unwrap();
    let (laptop, phone) = tokio::join!(
        registrar.enrol_device(&office.user, &laptop, &[]),
        registrar.enrol_device(&office.user, &phone, &[]),
    );
    let (laptop, phone) = (laptop.unwrap(), phone.unwrap());

    assert_ne!(laptop.addresses, phone.addresses);
    assert_ne!(laptop.private_key, phone.private_key);
    let networks = ["10.9.0.0/24".parse().unwrap()];
    for profile in [laptop, phone] {
        assert_eq!(profile.location_key, office.gate.public_key());
        assert_eq!(profile.allowed_ips, networks);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_has_its_folder_until_it_has_shut_down() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("office");
    let office = Office::open(&folder).await;
    let location = || "office".parse().unwrap();
    let second = Gate::open(&folder, location());
    assert!(matches!(&second, Err(error) if error.code() == "folder-in-use"));
    office.onboard().await;
    let key = office.gate.public_key();

    // The server still has a handle of the gate's.
    office.gate.shutdown().await;

    let next = Office::open(&folder).await;
    assert_eq!(next.gate.public_key(), key);
    let peers = next
        .gate
        .registrar()
        .unwrap()
        .peers(next.gate.location())
        .await;
    assert_eq!(peers.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_without_an_interface_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("office");
    let office = Gate::open(&folder, "office".parse().unwrap()).unwrap();
    let refused = office.verifier(TotpVerifier::new()).start().await;
    assert!(matches!(&refused, Err(error) if error.code() == "start-no-interface"));
}
