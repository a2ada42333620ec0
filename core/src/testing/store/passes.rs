//! `pass_factor`.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::policy::Lock;
use crate::store::{
    Enrolled, FactorEnrolment, FactorPass, FactorRecord, FactorState, FactorUse, FailureReason,
    NewSession, OpenOutcome, PassOutcome, Peer, SecretReplacement, StoreError,
};

/// What user `n` passes at peer `n`.
pub(super) fn pass(n: u8, factor_use: FactorUse) -> FactorPass {
    let kind = FactorKind::TOTP;
    FactorPass {
        location: location(1),
        peer: key(n),
        user: user(n),
        factor_use,
        throttle: THROTTLE,
        event: event(AuditKind::FactorPassed { kind }),
    }
}

async fn passed(store: &Store, pass: FactorPass) -> PassOutcome {
    store.pass_factor(pass).await.expect("the store works")
}

/// What an admission or an enrolment names of a factor that was passed before.
const fn taken(factor: u8) -> FactorUse {
    FactorUse {
        factor: factor_id(factor),
        counter: None,
        replace_secret: None,
        credential: None,
    }
}

pub(super) async fn a_pass_takes_what_its_answer_takes_and_admits_nobody(store: Store) {
    enrol(&store, 1).await;
    add_factor(&store, factor(2, 1)).await;
    for n in [1, 2] {
        let counted = store.record_failure(failure(n, START)).await;
        counted.expect("a failure is counted");
    }
    let other = the_factor(&store, 2).await;
    let before = trail(&store).await.len();
    let replacement = SecretReplacement {
        from: sealed("secret"),
        to: sealed("fresh"),
    };
    let answer = FactorUse {
        replace_secret: Some(replacement),
        ..factor_use(1, 7)
    };
    assert_eq!(passed(&store, pass(1, answer)).await, PassOutcome::Recorded);

    let expected = FactorRecord {
        last_counter: Some(7),
        sealed: sealed("fresh"),
        ..factor(1, 1)
    };
    assert_eq!(the_factor(&store, 1).await, expected, "and its count is 0");
    assert_eq!(the_factor(&store, 2).await, other, "the other is as it was");
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert!(live.is_empty());
    let events = events_since(&store, before).await;
    let kind = FactorKind::TOTP;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, AuditKind::FactorPassed { kind });
    assert_eq!(events[0].location, Some(location(1)), "the store fills in");
    assert_eq!(events[0].peer, Some(key(1)));
    assert_eq!(events[0].user, Some(user(1)));
    assert_eq!(events[0].factor, Some(factor_id(1)));
    assert_eq!(events[0].session, None);

    assert_eq!(
        passed(&store, pass(1, taken(1))).await,
        PassOutcome::Recorded
    );
    let kept = the_factor(&store, 1).await;
    assert_eq!(kept, expected, "an answer that takes nothing takes nothing");
}

pub(super) async fn a_step_that_was_passed_is_spent_for_whatever_comes(store: Store) {
    enrol(&store, 1).await;
    let first = passed(&store, pass(1, factor_use(1, 7))).await;
    assert_eq!(first, PassOutcome::Recorded);
    let before = trail(&store).await.len();

    let again = passed(&store, pass(1, factor_use(1, 7))).await;
    let open = Lock::Open { tries_left: 0 };
    assert_eq!(again, PassOutcome::Replayed(open));
    let opened = store.open_session(new_session(1, 1, 6)).await;
    let lock = Lock::Until(secs(10));
    let factor = factor_id(1);
    assert_eq!(
        opened.expect("works"),
        OpenOutcome::Replayed { factor, lock }
    );
    assert_eq!(count(&store, 1).await, 2, "each is a failure");
    let enrols = |at: u64, step: u64| FactorEnrolment {
        token: None,
        factor_uses: vec![factor_use(1, step)],
        at: secs(at),
        ..with_token(5, 1, 0)
    };
    let enrolled = store.enrol_factor(enrols(10, 7)).await;
    let enrolled = enrolled.expect("works");
    assert!(
        matches!(enrolled, Enrolled::Replayed { .. }),
        "{enrolled:?}"
    );
    let events = events_since(&store, before).await;
    let reason = FailureReason::Replayed;
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|it| it.kind == AuditKind::Denied { reason })
    );

    let mut next = pass(1, factor_use(1, 8));
    next.event.at = secs(30);
    assert_eq!(passed(&store, next).await, PassOutcome::Recorded);
    assert_eq!(count(&store, 1).await, 0);
}

pub(super) async fn a_pass_keeps_to_the_limit_as_of_its_record(store: Store) {
    enrol(&store, 1).await;
    for _ in 0..2 {
        let counted = store.record_failure(failure(1, START)).await;
        counted.expect("a failure is counted");
    }
    let locked = the_factor(&store, 1).await;
    let before = trail(&store).await.len();
    let at = |at| {
        let mut pass = pass(1, factor_use(1, 7));
        pass.event.at = at;
        pass
    };
    let refused = passed(&store, at(super::fixture::before(secs(10)))).await;
    assert_eq!(refused, PassOutcome::Locked(Lock::Until(secs(10))));
    assert_eq!(the_factor(&store, 1).await, locked, "nothing is taken");
    let events = events_since(&store, before).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, AuditKind::LockedOut);
    assert_eq!(passed(&store, at(secs(10))).await, PassOutcome::Recorded);
}

pub(super) async fn a_pass_is_for_an_active_factor_of_an_enabled_peers_owner(store: Store) {
    for n in [1, 2] {
        enrol(&store, n).await;
    }
    for (n, state) in [(3, FactorState::Pending), (4, FactorState::Suspended)] {
        let unfit = FactorRecord {
            state,
            ..factor(n, 1)
        };
        add_factor(&store, unfit).await;
    }
    let before = trail(&store).await.len();
    let mut refused = 0;
    let mut gone = async |pass: FactorPass, who: &str| {
        assert_eq!(passed(&store, pass).await, PassOutcome::Gone, "{who}");
        refused += 1;
        let events = events_since(&store, before).await;
        assert_eq!(events.len(), refused, "{who}");
        assert_eq!(events[refused - 1].kind, AuditKind::NotEligible, "{who}");
    };
    gone(pass(1, factor_use(2, 1)), "another user's factor").await;
    gone(pass(1, factor_use(3, 1)), "a pending factor").await;
    gone(pass(1, factor_use(4, 1)), "a suspended factor").await;
    gone(pass(1, factor_use(9, 1)), "an unknown factor").await;
    gone(pass(7, factor_use(1, 1)), "an unknown peer").await;
    let mut elsewhere = pass(1, factor_use(1, 1));
    elsewhere.location = location(2);
    gone(elsewhere, "a peer of another location").await;
    let mut stolen = pass(1, factor_use(2, 1));
    stolen.user = user(2);
    gone(stolen, "another user's peer").await;

    put_user(&store, 1, false).await;
    assert_eq!(
        passed(&store, pass(1, factor_use(1, 1))).await,
        PassOutcome::Gone
    );
    put_user(&store, 1, true).await;
    let disabled = Peer {
        enabled: false,
        ..peer(1)
    };
    put_peer(&store, disabled).await;
    assert_eq!(
        passed(&store, pass(1, factor_use(1, 1))).await,
        PassOutcome::Gone
    );
    put_peer(&store, peer(1)).await;
    let untouched = the_factor(&store, 1).await;
    assert_eq!(untouched, factor(1, 1), "a refusal takes nothing");
    let passed = passed(&store, pass(1, factor_use(1, 1))).await;
    assert_eq!(passed, PassOutcome::Recorded);
}

pub(super) async fn a_pass_whose_secret_was_changed_is_overtaken_and_not_counted(store: Store) {
    enrol(&store, 1).await;
    let late = FactorUse {
        replace_secret: Some(SecretReplacement {
            from: sealed("older"),
            to: sealed("fresh"),
        }),
        ..factor_use(1, 7)
    };
    let before = trail(&store).await.len();
    assert_eq!(passed(&store, pass(1, late)).await, PassOutcome::Overtaken);
    assert_eq!(the_factor(&store, 1).await, factor(1, 1));
    let events = events_since(&store, before).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, AuditKind::NotEligible);
    assert_eq!(events[0].factor, Some(factor_id(1)));
}

pub(super) async fn what_was_passed_is_named_by_what_follows_and_judged_once_more(store: Store) {
    enrol(&store, 1).await;
    add_factor(&store, factor(2, 1)).await;
    let both = |id, step| NewSession {
        factor_uses: vec![taken(1), factor_use(2, step)],
        ..new_session(id, 1, 0)
    };
    let first = passed(&store, pass(1, factor_use(1, 7))).await;
    assert_eq!(first, PassOutcome::Recorded);
    admit(&store, both(1, 1)).await;
    let session = store.session(session_id(1)).await.expect("works");
    let factors = session.expect("it is there").factors;
    assert_eq!(factors, [factor_id(1), factor_id(2)]);
    assert_eq!(the_factor(&store, 1).await.last_counter, Some(7));

    for _ in 0..2 {
        let counted = store.record_failure(failure(1, START)).await;
        counted.expect("a failure is counted");
    }
    let locked = store.open_session(both(2, 2)).await.expect("works");
    let (factor, lock) = (factor_id(1), Lock::Until(secs(10)));
    assert_eq!(locked, OpenOutcome::Locked { factor, lock });
    assert_eq!(the_factor(&store, 2).await.last_counter, Some(1));
}

pub(super) async fn a_step_is_passed_once_in_parallel(store: Store) {
    enrol(&store, 1).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        calls.spawn(async move { store.pass_factor(pass(1, factor_use(1, 7))).await });
    }
    is_passed_once(&calls.join_all().await);
}

/// For two stores that share their contents.
pub(super) async fn two_stores_pass_a_step_once(a: Store, b: Store) {
    enrol(&a, 1).await;
    let mut calls = JoinSet::new();
    for n in 0..16 {
        let store = if n % 2 == 0 { a.clone() } else { b.clone() };
        calls.spawn(async move { store.pass_factor(pass(1, factor_use(1, 7))).await });
    }
    is_passed_once(&calls.join_all().await);
}

fn is_passed_once(outcomes: &[Result<PassOutcome, StoreError>]) {
    let passed = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(PassOutcome::Recorded)))
        .count();
    assert_eq!(passed, 1, "one code, one success: {outcomes:?}");
}
