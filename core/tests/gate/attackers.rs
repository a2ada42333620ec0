//! Many who may not get in, beside one who is: they change nothing for that one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mfagate::client::Client;
use mfagate::gate::{Closed, Scope};
use mfagate::key::PrivateKey;
use mfagate::time::SystemClock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::office::{Device, Office};
use super::stubborn::{FENCE_AFTER, FENCED_BY, Flood, Stubborn};

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

/// Whatever the interface: when to fence is the gate's decision.
#[tokio::test(flavor = "multi_thread")]
async fn an_attack_holds_up_no_fence() {
    let (tell, told) = mpsc::channel();
    let office = Office::open_configured(move |config| {
        config.clock = Arc::new(SystemClock::new());
        config.policy.fence_after = FENCE_AFTER;
        let (stubborn, refuses) = Stubborn::around(Arc::clone(&config.interface));
        config.interface = stubborn;
        tell.send(refuses).unwrap();
    })
    .await;
    let refuses = told.recv().unwrap();
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let control = office.control.trim_start_matches("http://");
    let flood = Flood::on(control.parse().unwrap(), Duration::ZERO);

    refuses.store(true, Ordering::SeqCst);
    let revoked = Instant::now();
    let (_, why) = tokio::join!(office.gate().revoke(Scope::All), office.gate().closed());
    let took = revoked.elapsed();

    println!("fenced {took:?} after the revocation");
    assert_eq!(why, Closed::Fenced);
    assert!(took < FENCED_BY, "fenced too late: {took:?}");
    assert!(laptop.reach().await.is_err());
    drop(flood);
}
