//! What answers take, and how many sessions a user has.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::SessionId;
use crate::store::{
    Activated, EndReason, Enrolled, FactorEnrolment, FactorRecord, FactorState, FactorUse,
    NewSession, OpenOutcome, Peer, SecretReplacement,
};

async fn open(store: &Store, new: NewSession) -> OpenOutcome {
    store.open_session(new).await.expect("the store works")
}

async fn live(store: &Store) -> usize {
    let live = store.live_sessions(&location(1)).await;
    live.expect("sessions are read").len()
}

/// An answer that puts one secret in the place of another.
fn swapping(factor: u8, from: &str, to: &str) -> FactorUse {
    FactorUse {
        factor: factor_id(factor),
        counter: None,
        replace_secret: Some(SecretReplacement {
            from: sealed(from),
            to: sealed(to),
        }),
        credential: None,
    }
}

pub(super) async fn a_secret_is_swapped_with_its_admission(store: Store) {
    enrol(&store, 1).await;
    let with_step = FactorUse {
        counter: Some(7),
        ..swapping(1, "secret", "fresh")
    };
    admit(&store, new_session_by(1, 1, with_step.clone())).await;
    let swapped = the_factor(&store, 1).await;
    assert_eq!(swapped.sealed, sealed("fresh"));
    assert_eq!(swapped.last_counter, Some(7), "together with the step");

    let before = trail(&store).await.len();
    let late = FactorUse {
        counter: Some(8),
        ..with_step
    };
    let overtaken = open(&store, new_session_by(2, 1, late)).await;
    let factor = factor_id(1);
    assert_eq!(overtaken, OpenOutcome::Overtaken { factor });
    assert_eq!(the_factor(&store, 1).await, swapped, "nothing is changed");
    assert_eq!(store.session(session_id(2)).await.expect("works"), None);
    let events = events_since(&store, before).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, AuditKind::NotEligible, "and not counted");
    assert_eq!(events[0].factor, Some(factor));

    admit(&store, new_session_by(3, 1, swapping(1, "fresh", "next"))).await;
    admit(&store, new_session(4, 1, 9)).await;
    let kept = the_factor(&store, 1).await.sealed;
    assert_eq!(
        kept,
        sealed("next"),
        "an answer without a replacement makes none"
    );
}

pub(super) async fn a_secret_is_swapped_once_in_parallel(store: Store) {
    enrol(&store, 1).await;
    let mut calls = JoinSet::new();
    for id in 1..=16 {
        let store = store.clone();
        let new = new_session_by(id, 1, swapping(1, "secret", &format!("fresh {id}")));
        calls.spawn(async move { (id, store.open_session(new).await) });
    }
    let outcomes = calls.join_all().await;
    let mut opened = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Ok(OpenOutcome::Opened { .. })));
    let (winner, _) = opened.next().expect("one is admitted");
    assert!(opened.next().is_none(), "and one only: {outcomes:?}");
    let expected = sealed(&format!("fresh {winner}"));
    assert_eq!(the_factor(&store, 1).await.sealed, expected);
    assert_eq!(live(&store).await, 1);
    assert_eq!(count(&store, 1).await, 0, "to be overtaken is no failure");
}

pub(super) async fn a_pending_factors_secret_is_swapped_as_it_is_activated(store: Store) {
    put_user(&store, 1, true).await;
    let pending = FactorRecord {
        state: FactorState::Pending,
        ..factor(1, 1)
    };
    add_factor(&store, pending.clone()).await;
    let activate = async |factor_use: &FactorUse| {
        let event = event(AuditKind::FactorActivated);
        let activated = store
            .activate_factor(factor_use.clone(), THROTTLE, event)
            .await;
        activated.expect("the store works")
    };
    let before = trail(&store).await.len();
    let overtaken = activate(&swapping(1, "older", "fresh")).await;
    assert_eq!(overtaken, Activated::Overtaken);
    assert_eq!(the_factor(&store, 1).await, pending);
    let events = events_since(&store, before).await;
    assert_eq!(events[0].kind, AuditKind::NotEligible);
    let activated = activate(&swapping(1, "secret", "fresh")).await;
    assert_eq!(activated, Activated::Activated);
    assert_eq!(the_factor(&store, 1).await.sealed, sealed("fresh"));
}

pub(super) async fn refusals_have_an_order_and_are_an_enrolments_too(store: Store) {
    enrol(&store, 1).await;
    for n in [2, 3] {
        let used = FactorRecord {
            last_counter: Some(9),
            ..factor(n, 1)
        };
        add_factor(&store, used).await;
    }
    for _ in 0..2 {
        let counted = store.record_failure(failure(3, START)).await;
        counted.expect("a failure is counted");
    }
    let (overtaken, spent, locked, gone) = (
        swapping(1, "older", "fresh"),
        factor_use(2, 9),
        factor_use(3, 10),
        factor_use(99, 1),
    );
    let both = async |factor_use: Vec<FactorUse>, most_per_user, token| {
        let session = NewSession {
            factor_uses: factor_use.clone(),
            most_per_user,
            ..new_session(1, 1, 0)
        };
        let factor = FactorEnrolment {
            token,
            factor_uses: factor_use,
            ..with_token(5, 1, 9)
        };
        let enrolled = store.enrol_factor(factor).await;
        (open(&store, session).await, enrolled.expect("works"))
    };
    let all = vec![
        overtaken.clone(),
        spent.clone(),
        locked.clone(),
        gone.clone(),
    ];
    let factor = factor_id(99);
    let expected = (
        OpenOutcome::FactorGone { factor },
        Enrolled::FactorGone { factor },
    );
    let most = Some(0);
    assert_eq!(both(all.clone(), most, None).await, expected);

    let found = both(all[..3].to_vec(), most, Some(token_id(9))).await;
    let factor = factor_id(3);
    let is_locked = matches!(found, (OpenOutcome::Locked { factor: a, .. }, Enrolled::Locked { factor: b, .. })
        if a == factor && b == factor);
    assert!(is_locked, "a lock comes next: {found:?}");
    assert_eq!(count(&store, 2).await, 0, "what it hides is not counted");

    let found = both(all[..2].to_vec(), most, Some(token_id(9))).await;
    let factor = factor_id(2);
    let is_spent = matches!(found, (OpenOutcome::Replayed { factor: a, .. }, Enrolled::Replayed { factor: b, .. })
        if a == factor && b == factor);
    assert!(is_spent, "then a step that was used: {found:?}");
    assert_eq!(count(&store, 2).await, 2, "which counts");

    let found = both(vec![overtaken], most, Some(token_id(9))).await;
    let factor = factor_id(1);
    let expected = (
        OpenOutcome::Overtaken { factor },
        Enrolled::Overtaken { factor },
    );
    assert_eq!(found, expected, "then a secret that was changed");

    let found = both(vec![factor_use(1, 1)], most, Some(token_id(9))).await;
    assert_eq!(found, (OpenOutcome::TooMany, Enrolled::TokenGone));
    let untouched = the_factor(&store, 1).await;
    assert_eq!(
        untouched,
        super::fixture::factor(1, 1),
        "refusals take nothing"
    );

    put_user(&store, 1, false).await;
    let found = both(all, most, Some(token_id(9))).await;
    assert_eq!(
        found,
        (OpenOutcome::PeerGone, Enrolled::PeerGone),
        "before all"
    );
}

/// Peers 1 to `n`, all of user 1, who has one factor.
async fn enrol_peers(store: &Store, n: u8) {
    enrol(store, 1).await;
    for n in 2..=n {
        let theirs = Peer {
            user: user(1),
            ..peer(n)
        };
        put_peer(store, theirs).await;
    }
}

/// An admission of user 1's peer `n` that leaves at most so many sessions.
fn limited(id: u8, n: u8, most: u32) -> NewSession {
    let any = FactorUse {
        factor: factor_id(1),
        counter: None,
        replace_secret: None,
        credential: None,
    };
    NewSession {
        user: user(1),
        factor_uses: vec![any],
        most_per_user: Some(most),
        ..new_session(id, n, 0)
    }
}

pub(super) async fn a_user_has_only_so_many_sessions(store: Store) {
    enrol_peers(&store, 4).await;
    enrol(&store, 9).await;
    admit(&store, new_session(90, 9, 1)).await;
    let elsewhere = Peer {
        location: location(2),
        user: user(1),
        ..peer(4)
    };
    put_peer(&store, elsewhere).await;
    let mut there = limited(91, 4, 1);
    there.location = location(2);
    admit(&store, there).await;

    admit(&store, limited(1, 1, 2)).await;
    admit(&store, limited(2, 2, 2)).await;
    let recorded = trail(&store).await.len();
    let mut third = limited(3, 3, 2);
    third.factor_uses = vec![factor_use(1, 7)];
    assert_eq!(open(&store, third).await, OpenOutcome::TooMany);
    assert_eq!(the_factor(&store, 1).await.last_counter, None);
    let events = events_since(&store, recorded).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, AuditKind::NotEligible);
    assert_eq!(events[0].session, None);
    assert_eq!(live(&store).await, 3, "those that were live are");

    admit(&store, limited(4, 1, 2)).await;
    let reason = EndReason::SignedOut;
    let closed = store
        .close_session(session_id(2), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    admit(&store, limited(5, 3, 2)).await;

    let mut at_the_end = limited(6, 2, 1);
    at_the_end.verified_at = secs(3600);
    admit(&store, at_the_end.clone()).await;
    let mut just_before = limited(7, 4, 3);
    just_before.verified_at = before(secs(3600));
    assert_eq!(
        open(&store, just_before).await,
        OpenOutcome::TooMany,
        "a session counts until its time is over"
    );
    assert_eq!(open(&store, limited(8, 4, 0)).await, OpenOutcome::TooMany);
    let unlimited = NewSession {
        most_per_user: None,
        ..limited(9, 4, 0)
    };
    admit(&store, unlimited).await;
}

pub(super) async fn a_user_has_only_so_many_sessions_in_parallel(store: Store) {
    enrol_peers(&store, 12).await;
    let mut calls = JoinSet::new();
    for n in 1..=12 {
        let store = store.clone();
        calls.spawn(async move { store.open_session(limited(n, n, 3)).await });
    }
    check_limited(&store, calls.join_all().await).await;
}

/// For two stores that share their contents.
pub(super) async fn two_stores_keep_to_a_users_limit(a: Store, b: Store) {
    enrol_peers(&a, 12).await;
    let mut calls = JoinSet::new();
    for n in 1..=12 {
        let store = if n % 2 == 0 { a.clone() } else { b.clone() };
        calls.spawn(async move { store.open_session(limited(n, n, 3)).await });
    }
    check_limited(&b, calls.join_all().await).await;
}

async fn check_limited(
    store: &Store,
    outcomes: Vec<Result<OpenOutcome, crate::store::StoreError>>,
) {
    let count = |is: fn(&OpenOutcome) -> bool| {
        let outcomes = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        outcomes.filter(|outcome| is(outcome)).count()
    };
    let opened = count(|outcome| matches!(outcome, OpenOutcome::Opened { .. }));
    let refused = count(|outcome| *outcome == OpenOutcome::TooMany);
    assert_eq!((opened, refused), (3, 9), "{outcomes:?}");
    assert_eq!(live(store).await, 3);
}

/// For two stores that share their contents.
pub(super) async fn two_stores_swap_a_secret_once(a: Store, b: Store) {
    enrol(&a, 1).await;
    let mut calls = JoinSet::new();
    for id in 1..=8 {
        for (store, id) in [(a.clone(), id), (b.clone(), id + 100)] {
            let new = NewSession {
                id: SessionId::from_bytes([id; 16]),
                ..new_session_by(0, 1, swapping(1, "secret", "fresh"))
            };
            calls.spawn(async move { store.open_session(new).await });
        }
    }
    let outcomes = calls.join_all().await;
    let opened = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(OpenOutcome::Opened { .. })))
        .count();
    assert_eq!(opened, 1, "{outcomes:?}");
}
