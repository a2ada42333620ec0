//! What outlives the store's owner.

use super::fixture::*;
use super::passes;
use crate::audit::AuditKind;
use crate::id::CredentialId;
use crate::store::{
    Enrolled, FactorRecord, FactorState, FailureRecorded, OpenOutcome, PassOutcome, User,
};

pub(super) async fn everything_is_there_after_reopening(open: &impl AsyncFn(&str) -> Store) {
    let store = open("everything").await;
    for n in 1..=3 {
        enrol(&store, n).await;
        admit(&store, new_session(n, n, 1)).await;
    }
    admit(&store, new_session(4, 1, 2)).await;
    let whole = User {
        id: user(4),
        enabled: false,
        groups: vec!["staff".parse().expect("a name")],
    };
    let put = store.put_user(whole, event(AuditKind::UserPut { enabled: false }));
    put.await.expect("a user is put");
    let suspended = FactorRecord {
        state: FactorState::Suspended,
        credential: CredentialId::new(vec![0xff; 1023]),
        ..factor(5, 4)
    };
    add_factor(&store, suspended).await;
    put_token(&store, token(1, 4)).await;
    put_token(&store, token(2, 3)).await;
    let enrolled = store.enrol_factor(with_token(6, 3, 2)).await;
    assert_eq!(enrolled.expect("works"), Enrolled::Enrolled);
    let before = snapshot(&store).await;
    drop(store);

    let store = open("everything").await;
    assert_eq!(snapshot(&store).await, before);
    assert_eq!(
        admit(&store, new_session(5, 1, 3)).await,
        3,
        "generations go on where they were"
    );
    trail(&store).await;
    let used = store.enrol_factor(with_token(7, 3, 2)).await;
    assert_eq!(used.expect("works"), Enrolled::TokenGone);
}

/// All that a store can be asked for.
async fn snapshot(store: &Store) -> String {
    let mut all = format!(
        "{:?} {:?} {:?} {:?}",
        store.users().await.expect("works"),
        store.peers(&location(1)).await.expect("works"),
        store.live_sessions(&location(1)).await.expect("works"),
        trail(store).await,
    );
    for n in 1..=4 {
        let factors = store.factors(&user(n)).await.expect("works");
        let tokens = store.tokens(&user(n)).await.expect("works");
        let session = store.session(session_id(n)).await.expect("works");
        all.push_str(&format!("{factors:?} {tokens:?} {session:?}"));
    }
    all
}

pub(super) async fn counts_and_steps_outlive_the_store(open: &impl AsyncFn(&str) -> Store) {
    let store = open("counts").await;
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 7)).await;
    let counted = store.record_failure(failure(1, START)).await;
    counted.expect("a failure is counted");
    drop(store);

    let store = open("counts").await;
    assert_eq!(count(&store, 1).await, 1);
    let replayed = store.open_session(new_session(2, 1, 7)).await;
    assert!(matches!(replayed, Ok(OpenOutcome::Replayed { .. })));
    drop(store);

    let store = open("counts").await;
    add_factor(&store, factor(2, 1)).await;
    let passed = store.pass_factor(passes::pass(1, factor_use(2, 7))).await;
    assert!(matches!(passed, Ok(PassOutcome::Recorded)));
    drop(store);

    let store = open("counts").await;
    let replayed = store.pass_factor(passes::pass(1, factor_use(2, 7))).await;
    assert!(matches!(replayed, Ok(PassOutcome::Replayed(_))));
    let locked = store.record_failure(failure(1, START)).await;
    assert!(matches!(locked, Ok(FailureRecorded::Locked(_))));
}
