//! Many who may not get in, beside one who is: they change nothing for that one.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::client::Client;
use mfagate::gate::{Closed, Scope};
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::time::SystemClock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::office::{Device, Office};

/// What an attacker has.
enum With {
    /// Nothing: bodies that are no messages.
    Nothing,
    /// A key that is not enrolled.
    OwnKey,
    /// The private key of the device that is in, and guesses.
    StolenKey,
    /// An enrolled device of the same user's, and guesses.
    Device,
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_attackers_do_not_touch_a_live_session_nor_its_end() {
    let office = Office::open().await;
    let (laptop, phone) = (
        office.device("10.9.0.2/32").await,
        office.device("10.9.0.3/32").await,
    );
    let client = laptop.client();
    let connected = client.connect(&mut office.right_codes()).await.unwrap();

    let mut attackers = JoinSet::new();
    for n in 0..64_u8 {
        let with = match n % 4 {
            0 => With::Nothing,
            1 => With::OwnKey,
            2 => With::StolenKey,
            _ => With::Device,
        };
        attack(&office, &laptop, &phone, with, &mut attackers);
    }
    // While they are at it.
    assert!(laptop.reach().await.is_ok());
    assert!(attackers.join_all().await.into_iter().all(|is_out| is_out));

    assert!(laptop.reach().await.is_ok());
    assert_eq!(office.installed().await, [laptop.key()]);
    let ended = office.gate().revoke(Scope::Peer(laptop.key())).await;
    assert_eq!(ended.unwrap(), [connected.session]);
    assert!(office.installed().await.is_empty());
    office.verify_audit().await;
}

/// Tries once; `true` says that no one was let in.
fn attack(
    office: &Office,
    laptop: &Device,
    phone: &Device,
    with: With,
    attackers: &mut JoinSet<bool>,
) {
    let url = format!("{}{}", office.control, mfagate::http::PATH);
    let mut codes = office.wrong_then_right(3);
    codes.give_up_before_the_last();
    let mut profile = match with {
        With::Device => phone.profile.clone(),
        With::Nothing | With::OwnKey | With::StolenKey => laptop.profile.clone(),
    };
    if matches!(with, With::OwnKey) {
        profile.private_key = PrivateKey::generate().unwrap();
    }
    let interface = phone.interface();
    attackers.spawn(async move {
        if matches!(with, With::Nothing) {
            let body = vec![1; 300];
            let answer = reqwest::Client::new().post(&url).body(body).send().await;
            return answer.is_ok_and(|answer| answer.status().is_client_error());
        }
        let client = Client::builder(profile)
            .interface(interface)
            .build()
            .unwrap();
        client.connect(&mut codes).await.is_err()
    });
}

/// An interface that removes no one any more, once it is told so.
struct Stubborn {
    inner: Arc<dyn InterfaceBackend>,
    refuses: Arc<AtomicBool>,
}

#[async_trait]
impl InterfaceBackend for Stubborn {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.inner.install(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(InterfaceError::Backend("it refuses".into()));
        }
        self.inner.remove(peers).await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.inner.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.inner.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.inner.fence().await
    }
}

/// Connections with garbage, as many as there is time for, until this is dropped.
struct Flood(Arc<AtomicBool>);

impl Flood {
    fn on(control: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let at = control.trim_start_matches("http://").to_owned();
        for _ in 0..2 {
            let (stop, at) = (Arc::clone(&stop), at.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let stream = TcpStream::connect(&at);
                    // It may be closed already.
                    _ = stream.and_then(|mut stream| stream.write_all(&[1; 4096]));
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whatever the interface: when to fence is the gate's decision.
#[tokio::test(flavor = "multi_thread")]
async fn an_attack_holds_up_no_fence() {
    const FENCE_AFTER: Duration = Duration::from_secs(2);
    // Removals are tried every half a second, and the fence is one of those times.
    const LATEST: Duration = Duration::from_millis(2_000 + 500 + 1_000);
    let refuses = Arc::<AtomicBool>::default();
    let told = Arc::clone(&refuses);
    let office = Office::open_configured(move |config| {
        config.clock = Arc::new(SystemClock::new());
        config.policy.fence_after = FENCE_AFTER;
        config.interface = Arc::new(Stubborn {
            inner: Arc::clone(&config.interface),
            refuses: Arc::clone(&told),
        });
    })
    .await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let flood = Flood::on(&office.control);
    tokio::time::sleep(Duration::from_secs(1)).await; // until it has used up what it can

    refuses.store(true, Ordering::SeqCst);
    let revoked = Instant::now();
    let (_, why) = tokio::join!(office.gate().revoke(Scope::All), office.gate().closed());
    let took = revoked.elapsed();

    println!("fenced {took:?} after the revocation");
    assert_eq!(why, Closed::Fenced);
    assert!(took < LATEST, "fenced too late: {took:?}");
    assert!(laptop.reach().await.is_err());
    drop(flood);
}
