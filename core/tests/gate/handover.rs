//! A session that another client of the same device goes on with, through a real gate and tunnel.

use mfagate::client::{Client, HandoverKey, Phase, ResumeError, SavedSession, SessionEnd};
use mfagate::gate::Scope;

use crate::office::{Device, Office};

/// Signs in, saves the session, and ends without a sign-out.
async fn left_behind(office: &Office, laptop: &Device, key: &HandoverKey) -> SavedSession {
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let saved = client.save_session(key).await.unwrap();
    client.detach();
    while client.next_event().await.is_some() {}
    saved
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_session_goes_on_without_a_sign_in_until_it_is_revoked() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let key = HandoverKey::generate().unwrap();
    let saved = left_behind(&office, &laptop, &key).await;
    let before = laptop.interface().list().await.unwrap();
    let session = office.gate().sessions()[0].session;

    let resumed = laptop.builder().resume(&saved, &key).await.unwrap();

    assert_eq!(resumed.outcome.unwrap().session, session);
    assert!(laptop.reach().await.is_ok());
    assert_eq!(laptop.interface().list().await.unwrap(), before);
    let sessions = office.gate().sessions();
    assert!(sessions.len() == 1 && sessions[0].session == session);

    resumed.client.detach();
    while resumed.client.next_event().await.is_some() {}
    let peer = Scope::Peer(laptop.key());
    office.gate().revoke(peer).await.unwrap();
    let resumed = laptop.builder().resume(&saved, &key).await.unwrap();

    let ended = ResumeError::Ended(SessionEnd::Revoked);
    assert_eq!(resumed.outcome, Err(ended));
    assert!(laptop.interface().list().await.unwrap().is_empty());
    assert_eq!(resumed.client.status(), Phase::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_in_a_new_process_whose_tunnel_went_with_the_old() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let key = HandoverKey::generate().unwrap();
    let saved = left_behind(&office, &laptop, &key).await;
    let after = laptop.restarted().await;

    let resumed = after.builder().resume(&saved, &key).await.unwrap();

    assert!(resumed.outcome.is_ok(), "{:?}", resumed.outcome);
    assert!(after.reach().await.is_ok());
    assert_eq!(office.gate().sessions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_session_that_was_altered_or_is_of_before_is_refused() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let key = HandoverKey::generate().unwrap();
    let old = left_behind(&office, &laptop, &key).await;
    let mut altered = old.as_bytes().to_vec();
    *altered.last_mut().unwrap() ^= 1;

    let altered = SavedSession::from_bytes(altered);
    let resumed = laptop.builder().resume(&altered, &key).await.unwrap();

    assert_eq!(resumed.outcome, Err(ResumeError::NotOpened));
    assert!(laptop.interface().list().await.unwrap().is_empty());

    // A session that a newer one of this device has taken the place of.
    let client: Client = resumed.client;
    office.clock.advance(std::time::Duration::from_secs(30));
    client.connect(&mut office.right_codes()).await.unwrap();
    client.detach();
    while client.next_event().await.is_some() {}
    let resumed = laptop.builder().resume(&old, &key).await.unwrap();

    let ended = ResumeError::Ended(SessionEnd::Superseded);
    assert_eq!(resumed.outcome, Err(ended));
    assert!(laptop.interface().list().await.unwrap().is_empty());
}
