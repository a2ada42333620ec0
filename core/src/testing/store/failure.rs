//! Failure counts and the limit.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::policy::Lock;
use crate::store::FailureRecorded;

pub(super) async fn failures_are_counted_up_to_the_lock(store: Store) {
    enrol(&store, 1).await;
    add_factor(&store, factor(2, 1)).await;

    let first = store.record_failure(failure(1, START)).await;
    let open = Lock::Open { tries_left: 0 };
    assert_eq!(first.expect("works"), FailureRecorded::Counted(open));
    let second = store.record_failure(failure(1, secs(1))).await;
    let until = Lock::Until(secs(11));
    assert_eq!(second.expect("works"), FailureRecorded::Counted(until));

    let counted = the_factor(&store, 1).await.failures;
    assert_eq!((counted.count, counted.last_at), (2, secs(1)));
    assert_eq!(count(&store, 2).await, 0, "another factor's count stays");

    let gone = store.record_failure(failure(9, START)).await;
    assert_eq!(gone.expect("works"), FailureRecorded::FactorGone);
}

pub(super) async fn a_locked_factor_does_not_count_further(store: Store) {
    enrol(&store, 1).await;
    for at in [0, 1] {
        let counted = store.record_failure(failure(1, secs(at))).await;
        counted.expect("a failure is counted");
    }
    let locked = store.record_failure(failure(1, secs(10))).await;
    let until = Lock::Until(secs(11));
    assert_eq!(locked.expect("works"), FailureRecorded::Locked(until));
    let failures = the_factor(&store, 1).await.failures;
    assert_eq!((failures.count, failures.last_at), (2, secs(1)));

    let over = store.record_failure(failure(1, secs(11))).await;
    let until = Lock::Until(secs(31));
    assert_eq!(
        over.expect("works"),
        FailureRecorded::Counted(until),
        "once the wait is over, the next failure counts and waits longer"
    );
}

pub(super) async fn a_disabled_factor_waits_for_an_administrator(store: Store) {
    enrol(&store, 1).await;
    for n in 0..5 {
        let counted = store.record_failure(failure(1, secs(n * 1000))).await;
        let counted = counted.expect("works");
        assert!(matches!(counted, FailureRecorded::Counted(_)), "{n}");
    }
    let disabled = store.record_failure(failure(1, secs(1_000_000))).await;
    let lock = Lock::Disabled;
    assert_eq!(disabled.expect("works"), FailureRecorded::Locked(lock));

    let reset = |n| store.reset_failures(factor_id(n), event(AuditKind::FailuresReset));
    assert!(reset(1).await.expect("works"));
    assert!(!reset(9).await.expect("works"), "no such factor");
    assert_eq!(count(&store, 1).await, 0);
    admit(&store, new_session(1, 1, 1)).await;
}

pub(super) async fn parallel_failures_are_all_counted_or_refused(store: Store) {
    enrol(&store, 1).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        calls.spawn(async move { store.record_failure(failure(1, START)).await });
    }
    let outcomes = calls.join_all().await;
    let counted = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(FailureRecorded::Counted(_))))
        .count();
    assert_eq!(counted, 2, "the limit is checked where the count is raised");
    assert_eq!(count(&store, 1).await, 2);
}
