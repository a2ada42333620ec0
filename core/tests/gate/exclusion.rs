//! Who is shut out is out when a call says so, whatever comes after it.

use std::time::Duration;

use mfagate::audit::EndReason;
use mfagate::code::ErrorCode;
use mfagate::gate::{Gate, Scope};
use mfagate::id::UserId;
use mfagate::policy::Throttle;

use super::office::{Device, Office};

/// No one is on the interface, and there is no session.
async fn is_empty(office: &Office, device: &Device) {
    assert!(office.installed().await.is_empty());
    assert!(office.gate().sessions().is_empty());
    assert!(device.reach().await.is_err());
}

async fn recheck(gate: &Gate, user: &UserId) {
    gate.recheck(Scope::User(user.clone())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_and_enabled_at_once_is_out_when_a_recheck_returns() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let connected = client.connect(&mut office.right_codes()).await.unwrap();

    recheck(office.gate(), &office.user).await;
    assert_eq!(office.gate().sessions().len(), 1, "nothing had changed");

    office.disable_user().await;
    office.registrar.put_user(&office.user, true).await.unwrap();
    recheck(office.gate(), &office.user).await;
    is_empty(&office, &laptop).await;
    let ended = office.ended(connected.session).await;
    assert_eq!(ended, Some(EndReason::Revoked));
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_disabled_is_out_when_a_recheck_returns() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    let location = office.gate().location().clone();

    let key = laptop.key();
    let disabled = office.registrar.enable_peer(&location, &key, false);
    disabled.await.unwrap();
    let rechecked = office.gate().recheck(Scope::Peer(key)).await;
    rechecked.unwrap();
    is_empty(&office, &laptop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_removed_factor_let_in_is_out_when_a_recheck_returns() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    let factor = office.registrar.factors(&office.user).await.unwrap()[0].id;

    let removed = office
        .registrar
        .danger_remove_last_factor(&office.user, factor);
    removed.await.unwrap();
    recheck(office.gate(), &office.user).await;
    is_empty(&office, &laptop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_or_device_that_there_is_not_can_t_be_shut_out() {
    let office = Office::open().await;
    let unknown: UserId = "alise".parse().unwrap();
    let disabled = office.registrar.put_user(&unknown, false).await;
    let is_unknown = matches!(&disabled, Err(error) if error.code().starts_with("store-"));
    assert!(is_unknown, "{disabled:?}");
    assert_eq!(office.registrar.users().await.unwrap().len(), 1);
    let location = office.gate().location().clone();
    let key = office.key().public_key();
    let disabled = office.registrar.enable_peer(&location, &key, false).await;
    assert!(
        matches!(&disabled, Err(error) if error.code() == "enrol-no-peer"),
        "{disabled:?}"
    );
}

/// Failures that a clock noted which was years ahead keep no one out for years.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_far_ahead_leaves_no_wait_of_years() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let year = Duration::from_secs(365 * 24 * 3600);
    let throttle = Throttle::default();
    office.fail(throttle.free + 2, year * 5).await;
    let connected = laptop.client().connect(&mut office.right_codes()).await;
    connected.unwrap();
}
