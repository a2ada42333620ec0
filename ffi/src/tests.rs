//! The app's traits, implemented as badly as an app can: what is thrown, hangs or comes after the
//! end is a failure, and the tunnel is down.
#![expect(
    clippy::disallowed_methods,
    reason = "a test that is bounded in time measures it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::authenticators::Authenticators;
use crate::call::Cancellation;
use crate::callback::CallbackError;
use crate::client::Client;
use crate::error::MfagateError;
use crate::phase::Phase;
use crate::profile::Profile;
use crate::secret::{Code, SecretBytes};
use crate::settings::ClientSettings;
use crate::transport::{HttpResponse, Transport};
use crate::tunnel::{Traffic, Tunnel, TunnelConfig};

const PROFILE: &str = r#"
location = "office"
location_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
control = ["http://127.0.0.1:1"]
endpoint = "127.0.0.1:51820"
private_key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
addresses = ["10.9.0.2/32"]
allowed_ips = ["10.9.0.0/24"]
"#;

/// How an app's code misbehaves.
#[derive(Debug, Clone, Copy)]
enum App {
    Throws,
    Hangs,
    Panics,
    AnswersNonsense,
}

#[async_trait::async_trait]
impl Transport for App {
    async fn post(&self, _: String, _: String, _: Vec<u8>) -> Result<HttpResponse, CallbackError> {
        match self {
            Self::Throws => Err(CallbackError::NotAvailable),
            Self::Hangs => std::future::pending().await,
            Self::Panics => panic!("the app's code"),
            Self::AnswersNonsense => Ok(HttpResponse {
                status: 200,
                content_type: None,
                body: vec![0; 1 << 20],
            }),
        }
    }
}

/// A tunnel that counts how often it was taken down.
#[derive(Debug, Default)]
struct Wire {
    downs: AtomicUsize,
}

#[async_trait::async_trait]
impl Tunnel for Wire {
    async fn up(&self, _: Arc<TunnelConfig>) -> Result<(), CallbackError> {
        Ok(())
    }

    async fn renew(&self, _: Arc<TunnelConfig>) -> Result<(), CallbackError> {
        Ok(())
    }

    async fn down(&self) -> Result<(), CallbackError> {
        self.downs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn traffic(&self) -> Result<Option<Traffic>, CallbackError> {
        Ok(None)
    }
}

fn client(app: App) -> Arc<Client> {
    let profile = Profile::from_toml(PROFILE.to_owned()).unwrap();
    let settings = ClientSettings {
        warn_before_ms: None,
        renews_automatically: true,
        is_quiet: false,
        callback_timeout_ms: Some(50),
        sign_out_timeout_ms: Some(2_000),
        posture: None,
    };
    Client::new(profile, Arc::new(app), Arc::new(Wire::default()), settings).unwrap()
}

fn no_one() -> Authenticators {
    Authenticators {
        code: None,
        device_key: None,
        passkey: None,
        browser: None,
    }
}

/// As the executor of another language polls: outside of our runtime.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn code_of(error: &MfagateError) -> &str {
    match error {
        MfagateError::UserCancelled { code, .. }
        | MfagateError::TimedOut { code, .. }
        | MfagateError::NotAvailable { code, .. }
        | MfagateError::LockedOut { code, .. }
        | MfagateError::Denied { code, .. }
        | MfagateError::Fault { code, .. } => code,
    }
}

/// Closes a client whose gate can't be told: it is closed, and may say so.
fn close(client: &Client) {
    if let Err(error) = wait_for(client.shut_down()) {
        assert_eq!(code_of(&error), "sign-out-attempt-open");
    }
}

#[test]
fn a_transport_that_fails_in_any_way_connects_no_one() {
    for app in [App::Throws, App::Panics, App::AnswersNonsense] {
        let client = client(app);
        let refused = wait_for(client.connect(no_one(), None)).unwrap_err();
        let is_failure = !matches!(refused, MfagateError::UserCancelled { .. });
        assert!(is_failure, "{app:?}: {refused}");
        assert_eq!(client.status().unwrap(), Phase::Idle, "{app:?}");
        close(&client);
    }
}

#[test]
fn a_cancellation_ends_a_call_also_before_it_began() {
    let client = client(App::Hangs);
    let cancellation = Cancellation::new().unwrap();
    cancellation.cancel().unwrap();
    let ended = wait_for(client.connect(no_one(), Some(Arc::clone(&cancellation))));
    assert_eq!(code_of(&ended.unwrap_err()), "user-cancelled");
    let ended = wait_for(client.next_event(Some(cancellation)));
    assert_eq!(code_of(&ended.unwrap_err()), "user-cancelled");
}

#[test]
fn closing_ends_calls_under_way_and_those_that_come_later() {
    let client = client(App::Hangs);
    let hanging = Arc::clone(&client);
    let hanging = std::thread::spawn(move || wait_for(hanging.connect(no_one(), None)));
    while client.status().unwrap() == Phase::Idle && !hanging.is_finished() {
        std::thread::yield_now();
    }
    close(&client);
    let ended = hanging.join().unwrap().unwrap_err();
    assert_eq!(code_of(&ended), "client-stopped");

    assert_eq!(client.status().unwrap(), Phase::Closed);
    let late = wait_for(client.connect(no_one(), None)).unwrap_err();
    assert_eq!(code_of(&late), "client-stopped");
    while wait_for(client.next_event(None)).unwrap().is_some() {}
    close(&client);
}

#[test]
fn two_threads_share_one_client() {
    let client = client(App::Hangs);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let client = Arc::clone(&client);
            std::thread::spawn(move || wait_for(client.connect(no_one(), None)))
        })
        .collect();
    // One attempt is under way; the other call is told so.
    while !threads.iter().any(std::thread::JoinHandle::is_finished) {
        std::thread::yield_now();
    }
    client.cancel().unwrap();
    let ended: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap().unwrap_err())
        .collect();
    assert!(
        ended
            .iter()
            .any(|error| code_of(error) == "attempt-under-way"),
        "{ended:?}"
    );
    close(&client);
}

#[test]
fn ten_thousand_clients_leave_memory_flat() {
    const ALONE: &str = "MFAGATE_TEST_ALONE";
    const NAME: &str = "tests::ten_thousand_clients_leave_memory_flat";
    // In a process of its own: this one's memory is that of all tests which run at the same time.
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let alone = alone.args([NAME, "--exact"]).env(ALONE, "1");
        let ended = alone.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let open_and_close = |count: usize| {
        for _ in 0..count {
            wait_for(client(App::Throws).shut_down()).unwrap();
        }
    };
    let started = Instant::now();
    open_and_close(1_000);
    let before = resident_kib();
    // A slow machine makes fewer: a leak of one client in ten would show in them as well.
    let mut made = 0;
    while made < 9_000 && (made < 1_000 || started.elapsed() < Duration::from_secs(20)) {
        open_and_close(100);
        made += 100;
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 4_096, "{grown} KiB more after {made} clients");
}

/// What this process keeps in memory of its own, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn no_secret_prints_itself() {
    let profile = Profile::from_toml(PROFILE.to_owned()).unwrap();
    let secret = SecretBytes::from_text("BwcHBw".to_owned()).unwrap();
    let code = Code::parse("123 456".to_owned()).unwrap();
    let refused = Code::parse("12345x".to_owned()).unwrap_err();
    let broken = Profile::from_toml(PROFILE.replace("Bwc=", "Bwc")).unwrap_err();
    let printed =
        format!("{profile:?} {secret:?} {code:?} {refused:?} {refused} {broken:?} {broken}");
    for secret in ["BwcHBw", "123456", "12345x"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(
        profile
            .expose_toml()
            .unwrap()
            .expose_text()
            .unwrap()
            .contains("BwcHBw")
    );
}
