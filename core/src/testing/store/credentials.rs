//! What answers make of their factors' credentials.

use tokio::task::JoinSet;

use super::fixture::*;
use super::passes::pass;
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::id::CredentialId;
use crate::policy::Lock;
use crate::store::{
    Enrolled, FactorEnrolment, FactorRecord, FactorUse, FailureReason, NewSession, OpenOutcome,
    PassOutcome, StoreError,
};

fn credential(n: u8) -> CredentialId {
    CredentialId::new(vec![n; 32]).expect("it is short")
}

/// An answer that shows whose factor `n` is.
fn showing(n: u8, shown: u8) -> FactorUse {
    FactorUse {
        credential: Some(credential(shown)),
        ..factor_use(n, 7)
    }
}

fn with(n: u8, shown: u8) -> FactorRecord {
    FactorRecord {
        credential: Some(credential(shown)),
        ..factor(n, n)
    }
}

fn new_session_showing(id: u8, n: u8, shown: u8) -> NewSession {
    NewSession {
        factor_uses: vec![showing(n, shown)],
        ..new_session(id, n, 0)
    }
}

async fn open(store: &Store, new: NewSession) -> OpenOutcome {
    store.open_session(new).await.expect("the store works")
}

async fn passed(store: &Store, n: u8, shown: u8) -> PassOutcome {
    let passed = store.pass_factor(pass(n, showing(n, shown))).await;
    passed.expect("the store works")
}

/// Users 1 and 2 with a factor each, which has this credential.
async fn enrol_with(store: &Store, shown: [u8; 2]) {
    for (n, shown) in [1, 2].into_iter().zip(shown) {
        put_user(store, n, true).await;
        put_peer(store, peer(n)).await;
        add_factor(store, with(n, shown)).await;
    }
}

pub(super) async fn an_answer_sets_its_factors_credential_with_what_it_lets_in(store: Store) {
    enrol_with(&store, [1, 2]).await;
    admit(&store, new_session_showing(1, 1, 11)).await;
    let now = the_factor(&store, 1).await;
    assert_eq!(
        (now.credential, now.last_counter),
        (Some(credential(11)), Some(7))
    );

    assert_eq!(passed(&store, 2, 12).await, PassOutcome::Recorded);
    assert_eq!(the_factor(&store, 2).await.credential, Some(credential(12)));

    // It is no one's any more, and the new one is the factor's own.
    admit(
        &store,
        NewSession {
            factor_uses: vec![factor_use(1, 8)],
            ..new_session(2, 1, 0)
        },
    )
    .await;
    assert_eq!(the_factor(&store, 1).await.credential, Some(credential(11)));
    let again = FactorUse {
        counter: Some(9),
        ..showing(1, 11)
    };
    admit(
        &store,
        NewSession {
            factor_uses: vec![again],
            ..new_session(3, 1, 0)
        },
    )
    .await;
    let taken = FactorRecord {
        id: factor_id(3),
        ..with(1, 11)
    };
    let refused = store
        .add_factor(taken, event(AuditKind::UserPut { enabled: true }))
        .await;
    assert!(
        matches!(refused, Err(StoreError::CredentialTaken)),
        "{refused:?}"
    );
    add_factor(
        &store,
        FactorRecord {
            id: factor_id(4),
            ..with(1, 1)
        },
    )
    .await;
}

pub(super) async fn a_credential_that_another_factor_has_counts_as_a_failure(store: Store) {
    enrol_with(&store, [1, 2]).await;
    let other_kind = FactorRecord {
        id: factor_id(3),
        kind: FactorKind::PASSWORD,
        ..with(1, 13)
    };
    add_factor(&store, other_kind).await;
    let before = trail(&store).await.len();
    let (factor, lock) = (factor_id(1), Lock::Open { tries_left: 0 });
    let refused = open(&store, new_session_showing(1, 1, 2)).await;
    assert_eq!(refused, OpenOutcome::CredentialTaken { factor, lock });
    assert_eq!(
        passed(&store, 1, 2).await,
        PassOutcome::CredentialTaken(Lock::Until(secs(10)))
    );
    let now = the_factor(&store, 1).await;
    assert_eq!(
        FactorRecord {
            failures: with(1, 1).failures,
            ..now
        },
        with(1, 1),
        "nothing else is changed"
    );
    assert_eq!(store.session(session_id(1)).await.expect("works"), None);
    let events = events_since(&store, before).await;
    let reason = FailureReason::CredentialTaken;
    for told in &events {
        assert_eq!(told.kind, AuditKind::Denied { reason });
        assert_eq!((told.factor, &told.user), (Some(factor), &Some(user(1))));
    }
    assert_eq!(
        (events.len(), count(&store, 1).await, count(&store, 2).await),
        (2, 2, 0)
    );

    let reset = store.reset_failures(factor, event(AuditKind::FailuresReset));
    assert!(reset.await.expect("works"));
    admit(&store, new_session_showing(2, 1, 13)).await; // of another kind
}

pub(super) async fn a_credential_is_taken_after_all_that_is_wrong_with_a_factor(store: Store) {
    enrol_with(&store, [1, 2]).await;
    let factor = factor_id(1);
    let mut new = new_session_showing(1, 1, 2);
    new.most_per_user = Some(0);
    let refused = open(&store, new).await;
    assert!(
        matches!(refused, OpenOutcome::CredentialTaken { .. }),
        "{refused:?}"
    );

    let enrolment = FactorEnrolment {
        token: None,
        factor_uses: vec![showing(1, 2)],
        ..with_token(9, 1, 1)
    };
    let refused = store.enrol_factor(enrolment).await.expect("works");
    assert_eq!(refused, Enrolled::CredentialTaken);
    let locked = open(&store, new_session_showing(1, 1, 2)).await;
    let lock = Lock::Until(secs(10));
    assert_eq!(locked, OpenOutcome::Locked { factor, lock });
}

pub(super) async fn a_credential_is_given_once_in_parallel(store: Store) {
    for n in 1..=12 {
        put_user(&store, n, true).await;
        put_peer(&store, peer(n)).await;
        add_factor(&store, with(n, n)).await;
    }
    let mut calls = JoinSet::new();
    for n in 1..=12 {
        let store = store.clone();
        calls.spawn(async move { open(&store, new_session_showing(n, n, 99)).await });
    }
    let outcomes = calls.join_all().await;
    let opened = outcomes
        .iter()
        .filter(|it| matches!(it, OpenOutcome::Opened { .. }));
    let taken = outcomes
        .iter()
        .filter(|it| matches!(it, OpenOutcome::CredentialTaken { .. }));
    assert_eq!((opened.count(), taken.count()), (1, 11), "{outcomes:?}");
}
