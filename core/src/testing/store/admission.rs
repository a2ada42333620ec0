//! `open_session`.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::Generation;
use crate::policy::Lock;
use crate::store::{
    EndReason, FactorRecord, FactorState, FactorUse, NewSession, OpenOutcome, Peer, SessionRecord,
    StoreError,
};

async fn open(store: &Store, new: NewSession) -> OpenOutcome {
    store.open_session(new).await.expect("the store works")
}

async fn live(store: &Store) -> Vec<SessionRecord> {
    let live = store.live_sessions(&location(1)).await;
    live.expect("sessions are read")
}

pub(super) async fn an_admission_reads_back_as_it_was_given(store: Store) {
    enrol(&store, 1).await;
    let new = new_session(1, 1, 7);
    let opened = open(&store, new.clone()).await;
    let generation = Generation::new(1);
    let superseded = None;
    assert_eq!(
        opened,
        OpenOutcome::Opened {
            generation,
            superseded
        }
    );

    let expected = SessionRecord {
        id: new.id,
        location: new.location,
        peer: new.peer,
        user: new.user,
        allowed_ips: new.allowed_ips,
        generation,
        verified_at: new.verified_at,
        not_after: new.not_after,
        renewable_until: new.renewable_until,
        psk: new.psk,
        assurance: new.assurance,
        factors: vec![factor_id(1)],
        ended: None,
    };
    let found = store.session(session_id(1)).await.expect("it is read");
    assert_eq!(found.as_ref(), Some(&expected));
    assert_eq!(live(&store).await, [expected]);
    assert_eq!(the_factor(&store, 1).await.last_counter, Some(7));
    let no_session = store.session(session_id(2)).await.expect("it is read");
    assert_eq!(no_session, None);
}

pub(super) async fn a_step_admits_once(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 7)).await;
    for (id, step) in [(2, 7), (3, 6)] {
        let replayed = open(&store, new_session(id, 1, step)).await;
        assert!(matches!(replayed, OpenOutcome::Replayed { factor, .. } if factor == factor_id(1)));
    }
    assert_eq!(count(&store, 1).await, 2, "a replayed step is a failure");
    let ids: Vec<_> = live(&store).await.into_iter().map(|s| s.id).collect();
    assert_eq!(ids, [session_id(1)], "the session that was live stays");

    let locked = open(&store, new_session(4, 1, 8)).await;
    let lock = Lock::Until(secs(10));
    let factor = factor_id(1);
    assert_eq!(
        locked,
        OpenOutcome::Locked { factor, lock },
        "replays lead to the lock"
    );
    let mut later = new_session(5, 1, u64::MAX);
    later.verified_at = START;
    later.event.at = secs(10);
    admit(&store, later).await;
    let greatest = the_factor(&store, 1).await.last_counter;
    assert_eq!(greatest, Some(u64::MAX), "steps have 64 bits");

    let stepless = NewSession {
        factor_uses: vec![FactorUse {
            factor: factor_id(1),
            counter: None,
            replace_secret: None,
            credential: None,
        }],
        ..new_session(6, 1, 0)
    };
    admit(&store, stepless).await;
    let kept = the_factor(&store, 1).await.last_counter;
    assert_eq!(kept, greatest, "an answer without a step takes none");
}

pub(super) async fn a_step_admits_once_in_parallel(store: Store) {
    enrol(&store, 1).await;
    let mut calls = JoinSet::new();
    for id in 1..=16 {
        let store = store.clone();
        calls.spawn(async move { store.open_session(new_session(id, 1, 7)).await });
    }
    let outcomes = calls.join_all().await;
    let opened = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(OpenOutcome::Opened { .. })))
        .count();
    assert_eq!(opened, 1, "one code, one admission: {outcomes:?}");
    assert_eq!(live(&store).await.len(), 1);
}

pub(super) async fn the_right_code_past_the_limit_is_refused(store: Store) {
    enrol(&store, 1).await;
    for _ in 0..2 {
        let counted = store.record_failure(failure(1, START)).await;
        counted.expect("a failure is counted");
    }
    let refused = open(&store, new_session(1, 1, 7)).await;
    let (factor, lock) = (factor_id(1), Lock::Until(secs(10)));
    assert_eq!(refused, OpenOutcome::Locked { factor, lock });
    assert_eq!(count(&store, 1).await, 2, "the count stays");
    let factor = the_factor(&store, 1).await;
    assert_eq!(factor.last_counter, None, "the step is not consumed");
    assert!(live(&store).await.is_empty());
    assert_eq!(store.session(session_id(1)).await.expect("works"), None);
}

pub(super) async fn success_clears_the_count_of_its_own_factor_only(store: Store) {
    enrol(&store, 1).await;
    add_factor(&store, factor(2, 1)).await;
    for n in [1, 2] {
        let counted = store.record_failure(failure(n, START)).await;
        counted.expect("a failure is counted");
    }
    admit(&store, new_session(1, 1, 7)).await;
    assert_eq!(count(&store, 1).await, 0, "its own");
    assert_eq!(count(&store, 2).await, 1, "and no other");
    assert_eq!(the_factor(&store, 2).await.last_counter, None);
}

pub(super) async fn a_newer_session_supersedes_the_older(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    admit(&store, new_session(1, 1, 1)).await;
    admit(&store, new_session(9, 2, 1)).await;

    let mut newer = new_session(2, 1, 2);
    newer.event.at = secs(5);
    let opened = open(&store, newer).await;
    let generation = Generation::new(2);
    let superseded = Some(session_id(1));
    assert_eq!(
        opened,
        OpenOutcome::Opened {
            generation,
            superseded
        }
    );
    let old = store.session(session_id(1)).await.expect("it is read");
    let ended = old.expect("an ended session is kept").ended;
    assert_eq!(ended, Some((EndReason::Superseded, secs(5))));
    let mut ids: Vec<_> = live(&store).await.into_iter().map(|s| s.id).collect();
    ids.sort();
    assert_eq!(ids, [session_id(2), session_id(9)], "others are untouched");

    let reason = EndReason::Revoked;
    let closed = store
        .close_session(session_id(2), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    put_peer(&store, peer(1)).await;
    let after_all = admit(&store, new_session(3, 1, 3)).await;
    assert_eq!(after_all, 3, "generations never start again");
}

pub(super) async fn who_is_disabled_or_gone_is_not_admitted(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    let gone = async |new: NewSession, who: &str| {
        assert_eq!(open(&store, new).await, OpenOutcome::PeerGone, "{who}");
    };
    gone(new_session(1, 3, 1), "an unknown peer").await;
    let mut elsewhere = new_session(1, 1, 1);
    elsewhere.location = location(2);
    gone(elsewhere, "a peer of another location").await;
    let mut stolen = new_session(1, 1, 1);
    stolen.user = user(2);
    stolen.factor_uses = vec![factor_use(2, 1)];
    gone(stolen, "another user's peer").await;

    put_user(&store, 1, false).await;
    gone(new_session(1, 1, 1), "a disabled user").await;
    put_user(&store, 1, true).await;
    let disabled = Peer {
        enabled: false,
        ..peer(1)
    };
    put_peer(&store, disabled).await;
    gone(new_session(1, 1, 1), "a disabled peer").await;
    put_peer(&store, peer(1)).await;

    assert!(live(&store).await.is_empty());
    let untouched = the_factor(&store, 1).await;
    assert_eq!(untouched, factor(1, 1), "a refusal changes nothing");
    let generation = admit(&store, new_session(1, 1, 1)).await;
    assert_eq!(generation, 1, "nor does it use a generation up");
}

pub(super) async fn a_factor_must_be_active_and_the_users_own(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    let pending = FactorRecord {
        state: FactorState::Pending,
        ..factor(3, 1)
    };
    add_factor(&store, pending).await;
    for n in [2, 3, 9] {
        let new = NewSession {
            factor_uses: vec![factor_use(1, 1), factor_use(n, 1)],
            ..new_session(1, 1, 1)
        };
        let factor = factor_id(n);
        assert_eq!(open(&store, new).await, OpenOutcome::FactorGone { factor });
    }
    assert_eq!(the_factor(&store, 1).await.last_counter, None);
    assert!(live(&store).await.is_empty());
}

pub(super) async fn a_refusal_of_one_factor_leaves_the_others_alone(store: Store) {
    enrol(&store, 1).await;
    add_factor(&store, factor(2, 1)).await;
    let both = |id, one, two| NewSession {
        factor_uses: vec![factor_use(1, one), factor_use(2, two)],
        ..new_session(id, 1, 0)
    };
    admit(&store, both(1, 5, 5)).await;
    let counted = store.record_failure(failure(1, START)).await;
    counted.expect("a failure is counted");

    let replayed = open(&store, both(2, 6, 5)).await;
    assert!(matches!(replayed, OpenOutcome::Replayed { factor, .. } if factor == factor_id(2)));
    let fresh = the_factor(&store, 1).await;
    assert_eq!(fresh.last_counter, Some(5), "the fresh step is still good");
    assert_eq!(fresh.failures.count, 1, "its count is neither cleared");
    assert_eq!(count(&store, 2).await, 1, "nor raised; the other's is");

    let counted = store.record_failure(failure(2, START)).await;
    counted.expect("a failure is counted");
    let locked = open(&store, both(3, 5, 9)).await;
    assert!(
        matches!(locked, OpenOutcome::Locked { factor, .. } if factor == factor_id(2)),
        "a lock comes before a replay: {locked:?}"
    );
    assert_eq!(count(&store, 1).await, 1, "which is then not counted");
}

pub(super) async fn ids_and_factors_are_named_once(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    let before = trail(&store).await.len();
    let twice = NewSession {
        factor_uses: vec![factor_use(1, 2), factor_use(1, 3)],
        ..new_session(2, 1, 2)
    };
    for new in [new_session(1, 1, 2), twice] {
        let conflict = store.open_session(new).await;
        assert!(matches!(conflict, Err(StoreError::Conflict)));
    }
    assert_eq!(the_factor(&store, 1).await.last_counter, Some(1));
    assert_eq!(trail(&store).await.len(), before, "and nothing is recorded");
}
