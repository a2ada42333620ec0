//! No secret of a session is in a program's memory once the session is over.

use std::fs::File;
use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE32_NOPAD;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::client::{AuthChallenge, Client, Profile, Prompt, PromptFailed, Response};
use mfagate::factor::totp::TotpSecret;
use mfagate::id::LocationId;
use mfagate::interface::netstack::Netstack;
use mfagate::seal::{AssociatedData, KeyRing};
use mfagate::store::{PeerStore, SqliteStore};
use zeroize::Zeroizing;

use crate::app::code;
use crate::factors::reaches_the_page;
use crate::json_client::command;
use crate::memory::copies;
use crate::network::{HERE, Host, in_new_network};
use crate::report::enrol;
use crate::site::{CONNECT, PAGE, Running, Site};
use crate::system::{INSIDE, run_on_a_tun_device};

const STEPS: &str = "[{ any_of = [\"password\"] }, { any_of = [\"totp\"] }]";
/// How long the page may take.
const SOON: Duration = Duration::from_secs(10);

/// The preshared key of the one session that is live, as the store has it.
async fn preshared_key(site: &Site) -> Vec<u8> {
    let state = site.path().join("state");
    let store = SqliteStore::open(state.join("gate.db")).unwrap();
    let ring = KeyRing::read(&state.join("ring.keys")).unwrap();
    let location: LocationId = "office".parse().unwrap();
    let live = store.live_sessions(&location).await.unwrap();
    let [session] = live.as_slice() else {
        panic!("not one session: {live:?}");
    };
    let psk = ring
        .open(&AssociatedData::from(session), &session.psk)
        .unwrap();
    psk.expose_secret().to_vec()
}

/// Sets a password that stands in no program.
fn set_password(site: &Site) -> String {
    let password = format!("{:032x}", fastrand::u128(..));
    let add = ["factor", "add-password", "--user", "alice"];
    let mut adding = Running::start(&mut site.server(&add));
    adding.enter(&password);
    adding.wait_for("is active");
    assert_eq!(adding.status(), Some(0));
    password
}

/// What is in a process's memory of these secrets, within a moment: nothing, or what was left.
fn left(pid: u32, secrets: &[(&'static str, Vec<u8>)]) -> Vec<(&'static str, usize)> {
    let mut looks = 20;
    loop {
        let left: Vec<_> = secrets
            .iter()
            .map(|(name, secret)| (*name, copies(pid, secret)))
            .filter(|(_, copies)| *copies > 0)
            .collect();
        looks -= 1;
        if left.is_empty() || looks == 0 {
            return left;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What the user knows and has, which the gate sees or opens while the user signs in.
fn of_the_user(app: &TotpSecret, password: &str, code: &str) -> Vec<(&'static str, Vec<u8>)> {
    let key = BASE32_NOPAD.decode(app.expose_base32().as_bytes());
    let code = format!("\"code\":\"{code}\"");
    vec![
        ("the password", password.as_bytes().to_vec()),
        ("the app's secret", key.unwrap()),
        ("the code in its message", code.into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_gate_s_memory_afterwards_on_netstack() {
    let site = Site::new();
    site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", STEPS));
    let app = enrol(&site);
    let password = set_password(&site);
    let gate = site.run();
    let mut connect = Running::start(&mut command(&site));
    let code = code(&app);
    connect.enter(&password);
    connect.enter(&code);
    reaches_the_page(&mut connect);

    let psk = preshared_key(&site).await;
    let pid = gate.child.id();
    assert!(copies(pid, &psk) > 0, "a live session's key is there");
    site.admin(&["revoke", "--user", "alice"]);

    let mut secrets = of_the_user(&app, &password, &code);
    secrets.push(("the preshared key", psk));
    assert_eq!(left(pid, &secrets), []);
}

/// Neither the password nor what was made of it is kept, from the prompt on.
#[test]
fn no_password_is_in_the_client_s_memory_once_it_is_in() {
    let site = Site::new();
    site.configure(|text| text.replace("any_of = [\"totp\"]", "any_of = [\"password\"]"));
    site.admin(&["user", "add", "alice"]);
    let peer = ["peer", "add", "--user", "alice", "--label", "laptop"];
    site.admin(&[peer.as_slice(), &["--address", "10.9.0.2/32"]].concat());
    let password = set_password(&site);
    let _gate = site.run();
    let mut connect = Running::start(&mut command(&site));
    connect.enter(&password);
    reaches_the_page(&mut connect);

    let secrets = [("the password", password.into_bytes())];
    assert_eq!(left(connect.child.id(), &secrets), []);
}

#[test]
fn no_secret_is_in_the_gate_s_memory_afterwards_on_userspace() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = Site::at(HERE);
        site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", STEPS));
        let app = enrol(&site);
        let password = set_password(&site);
        let gate = run_on_a_tun_device(&site);
        let mut connect = host.command(CONNECT);
        let profile = site.path().join("profile.toml");
        let mut connect = Running::start(connect.arg(profile).args(["--backend", "userspace"]));
        let code = code(&app);
        connect.enter(&password);
        connect.enter(&code);
        connect.wait_for("Connected");
        assert!(host.reaches(INSIDE, 10));

        let psk = preshared_key(&site).await;
        let pid = gate.child.id();
        assert!(copies(pid, &psk) > 0, "a live session's key is there");
        site.admin(&["revoke", "--user", "alice"]);

        let mut secrets = of_the_user(&app, &password, &code);
        secrets.push(("the preshared key", psk));
        assert_eq!(left(pid, &secrets), []);
    });
}

/// What tells a test that it is the app whose memory is looked at, and where its folder is.
const APP: &str = "MFAGATE_TEST_APP";

/// Answers with what was typed, a line each.
struct Lines;

#[async_trait]
impl Prompt for Lines {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let line = typed();
        let text = line.trim();
        let answer = if matches!(question.challenge, Challenge::Password {}) {
            Answer::Password {
                password: SecretString::new(text.to_owned()).unwrap(),
            }
        } else {
            Answer::Code {
                code: text.parse().unwrap(),
            }
        };
        Ok(Some(answer.into()))
    }
}

/// A line of the standard input, past the buffer that the standard library keeps for it.
fn typed() -> Zeroizing<String> {
    let mut input = File::open("/dev/stdin").unwrap();
    let mut line = Zeroizing::new(String::with_capacity(256));
    let mut byte = Zeroizing::new([0; 1]);
    while input.read(&mut *byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    line
}

/// An app that signs in, reaches the page, signs out at a word, and goes on.
async fn be_an_app(folder: &str) {
    let profile = Profile::read(format!("{folder}/profile.toml")).unwrap();
    let mut netstack = Netstack::builder(profile.private_key.clone());
    for address in &profile.addresses {
        netstack = netstack.address(*address);
    }
    let netstack = Arc::new(netstack.build().await.unwrap());
    let client = Client::builder(profile)
        .interface(netstack.clone())
        .build()
        .unwrap();
    client.connect(&mut Lines).await.unwrap();
    let reached = netstack.connect_within(PAGE.parse().unwrap(), SOON).await;
    let place = if reached.is_ok() { "in" } else { "out" };
    println!("the app is {place}");
    drop(reached);
    drop(typed());
    client.sign_out().await.unwrap();
    println!("the app is out");
    drop(typed());
}

#[test]
fn no_secret_of_a_session_is_in_an_app_s_memory_after_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(folder) = std::env::var(APP) {
        runtime.block_on(be_an_app(&folder));
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let site = Site::new();
    site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", STEPS));
    let app = enrol(&site);
    let password = set_password(&site);
    let _gate = site.run();
    let mut running = Running::start(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(APP, site.path()),
    );
    let code = code(&app);
    running.enter(&password);
    running.enter(&code);
    running.wait_for("the app is in");

    let psk = runtime.block_on(preshared_key(&site));
    let pid = running.child.id();
    assert!(copies(pid, &psk) > 0, "a live session's key is there");
    running.enter("sign out");
    running.wait_for("the app is out");

    let mut secrets = of_the_user(&app, &password, &code);
    secrets.push(("the preshared key", psk));
    assert_eq!(left(pid, &secrets), []);
}
