//! A real gate over real HTTP, with a real database and real WireGuard tunnels in this process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop at the first surprise"
)]

mod adoption;
mod attackers;
#[cfg(feature = "device-key")]
mod device_key;
#[cfg(feature = "email-code")]
mod email_code;
#[cfg(all(
    feature = "device-key",
    feature = "email-code",
    feature = "oidc",
    feature = "oidc-login",
    feature = "password",
    feature = "recovery-codes",
    feature = "webauthn"
))]
mod every_factor;
mod exclusion;
#[cfg(feature = "profile")]
mod from_nothing;
mod handover;
#[cfg(all(feature = "password", feature = "recovery-codes"))]
mod knowledge;
mod office;
#[cfg(all(feature = "oidc", feature = "oidc-login"))]
mod oidc;
mod older_store;
mod patience;
mod post;
mod rotation;
#[path = "../support/stubborn.rs"]
mod stubborn;
#[cfg(feature = "webauthn")]
mod webauthn;

use std::time::Duration;

use mfagate::audit;
use mfagate::audit::EndReason;
use mfagate::client::{AttemptFailure, Client, ConnectError};
use mfagate::gate::{Event, Scope};
use mfagate::key::PrivateKey;
use mfagate::testing::{SecretWatch, StoreCall, StoreFault};
use office::{Codes, Office};

#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_opens_the_tunnel_and_a_revoke_shuts_it() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    assert!(laptop.reach().await.is_err());

    let client = laptop.client();
    let connected = client.connect(&mut office.right_codes()).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    assert_eq!(office.gate().sessions().len(), 1);

    let revoked = office
        .gate()
        .revoke(Scope::User(office.user.clone()))
        .await
        .unwrap();
    assert_eq!(revoked, [connected.session]);
    assert!(laptop.reach().await.is_err());
    assert!(office.gate().sessions().is_empty());
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_code_in_parallel_admits_once() {
    let office = Office::open().await;
    let devices = [
        office.device("10.9.0.2/32").await,
        office.device("10.9.0.3/32").await,
    ];
    let clients = devices.each_ref().map(|device| device.client());
    let code = office.right_code();

    let (mut one, mut two) = (Codes::just(&code), Codes::just(&code));
    let (first, second) = tokio::join!(clients[0].connect(&mut one), clients[1].connect(&mut two));

    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(office.gate().sessions().len(), 1);
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_opens_live_sessions_again_and_no_others() {
    let mut office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let phone = office.device("10.9.0.3/32").await;
    let (laptop_client, phone_client) = (laptop.client(), phone.client());
    laptop_client
        .connect(&mut office.right_codes())
        .await
        .unwrap();
    office.clock.advance(Duration::from_secs(30));
    phone_client
        .connect(&mut office.right_codes())
        .await
        .unwrap();
    office
        .gate()
        .revoke(Scope::Peer(phone.key()))
        .await
        .unwrap();

    office.restart().await;

    let live: Vec<_> = office
        .gate()
        .sessions()
        .into_iter()
        .map(|view| view.peer)
        .collect();
    assert_eq!(live, [laptop.key()]);
    assert!(laptop.reach().await.is_ok());
    assert!(phone.reach().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_detaches_leaves_its_session_and_its_tunnel() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();

    client.detach();

    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(office.gate().sessions().len(), 1);
    assert!(laptop.reach().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_7_a_store_whose_changes_panic_is_followed_again() {
    let office = Office::open_with(|store| store.fail_next(StoreCall::Watch, StoreFault::Panic));
    let office = office.await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();

    office.disable_user().await;

    office.until(|gate| gate.sessions().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_on_time_with_nobody_there() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let mut events = office.gate().events();

    office.clock.advance(Duration::from_secs(8 * 3600));
    office.gate().time_changed();

    assert!(office.gate().sessions().is_empty());
    // Comes once the peer is off the interface.
    let ended = loop {
        if let Some(Event::Ended { reason, .. }) = events.next().await {
            break reason;
        }
    };
    assert_eq!(ended, EndReason::Expired);
    assert!(laptop.reach().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_lock_the_factor_and_a_right_one_is_refused_then() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut codes = office.wrong_then_right(5);

    let failed = laptop.client().connect(&mut codes).await.unwrap_err();

    assert_eq!(failed, ConnectError::Failed(AttemptFailure::Cancelled));
    let locked = codes.last_denied().unwrap();
    assert!(
        locked.locked_for_ms.is_some_and(|wait| wait > 20_000),
        "{locked:?}"
    );
    assert!(office.gate().sessions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_peer_is_refused_and_leaves_nothing() {
    let office = Office::open().await;
    let known = office.device("10.9.0.2/32").await;
    let before = office.audit().await.len();
    let mut profile = known.profile.clone();
    profile.private_key = PrivateKey::generate().unwrap();
    let client = Client::builder(profile)
        .interface(known.interface())
        .build()
        .unwrap();

    let refused = client.connect(&mut office.right_codes()).await.unwrap_err();

    assert!(refused.is_denied(), "{refused:?}");
    assert_eq!(office.audit().await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_oversized_body_is_refused_in_so_many_words() {
    let office = Office::open().await;
    let url = format!("{}{}", office.control, mfagate::http::PATH);
    let http = reqwest::Client::new();
    let before = office.audit().await.len();
    for (body, status, refusal) in [
        (vec![], 400, [1, 0, 1]),
        (vec![1, 1, 7], 400, [1, 0, 1]),
        (vec![9, 9], 400, [1, 0, 3]),
        (vec![1; 65_536], 413, [1, 0, 2]),
        (vec![1; 70_000], 413, [1, 0, 2]),
    ] {
        let answer = http.post(&url).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let kind = answer.headers().get("content-type").unwrap();
        assert_eq!(kind, mfagate::http::CONTENT_TYPE);
        // Of a body that was not read, the rest is still on its way.
        let closes = answer.headers().get("connection").is_some();
        assert_eq!(closes, status == 413);
        assert_eq!(*answer.bytes().await.unwrap(), refusal);
    }
    assert_eq!(office.audit().await.len(), before);
    let get = http.get(&url).send().await.unwrap();
    assert_eq!(get.status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log() {
    let watch = SecretWatch::new();
    watch.install();
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut codes = office.wrong_then_right(1);
    let client = laptop.client();
    client.connect(&mut codes).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let psk = office.installed_psk(laptop.key()).await;
    office.gate().shutdown().await;

    assert!(watch.has_seen("Admitted"), "the log is not being read");
    for code in codes.used() {
        watch.secret("a code", code.expose_secret());
    }
    watch.secret("the preshared key", psk.expose_secret());
    let key = laptop.profile.private_key.expose_secret();
    watch.secret("the device's private key", key);
    watch.secret("the gate's private key", office.key().expose_secret());
    watch.secret("the secret of the one-time password", office.totp_bytes());
    watch.assert_clean();
}

#[test]
fn an_exported_audit_trail_verifies_and_a_changed_one_does_not() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let office = Office::open().await;
        let records = office.audit().await;
        let mut exported = Vec::new();
        audit::write_jsonl(&mut exported, &records).unwrap();
        let read: Vec<_> = audit::read_jsonl(&*exported).map(Result::unwrap).collect();
        assert!(audit::verify(&read).is_ok());
        assert!(audit::verify(&read[1..]).is_err());
    });
}
