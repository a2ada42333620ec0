//! The life of factors, and what becomes of the sessions that they opened.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::{Generation, Label};
use crate::store::{
    EndReason, FactorChange, FactorRecord, FactorState, LastFactor, NewSession, OpenOutcome, Peer,
    Renewed, SessionRecord, SessionRenewal, StoreError,
};

/// What an administrator does to a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Rename,
    Suspend(LastFactor),
    Resume,
    Remove(LastFactor),
    Reset,
}

use Act::{Remove, Rename, Reset, Resume, Suspend};
use LastFactor::{Danger, Keep};

impl Act {
    fn kind(self) -> AuditKind {
        match self {
            Rename => AuditKind::FactorRenamed,
            Suspend(_) => AuditKind::FactorSuspended,
            Resume => AuditKind::FactorResumed,
            Remove(_) => AuditKind::FactorRemoved,
            Reset => AuditKind::FailuresReset,
        }
    }
}

/// Does it ten seconds after the start.
async fn act(store: &Store, act: Act, n: u8) -> Result<bool, StoreError> {
    let mut event = event(act.kind());
    event.at = secs(10);
    let id = factor_id(n);
    match act {
        Rename => {
            let change = FactorChange::Rename(Label::from_stored(&format!("new label “{n}”")));
            store.change_factor(id, change, event).await
        }
        Suspend(last) => {
            let change = FactorChange::Suspend(last);
            store.change_factor(id, change, event).await
        }
        Resume => store.change_factor(id, FactorChange::Resume, event).await,
        Remove(last) => store.remove_factor(id, last, event).await,
        Reset => store.reset_failures(id, event).await,
    }
}

async fn acts(store: &Store, what: Act, n: u8) -> bool {
    act(store, what, n).await.expect("the store works")
}

pub(super) async fn a_factor_is_renamed_suspended_and_resumed(store: Store) {
    enrol(&store, 1).await;
    let pending = FactorRecord {
        state: FactorState::Pending,
        ..factor(2, 1)
    };
    add_factor(&store, pending.clone()).await;
    add_factor(&store, factor(3, 1)).await;
    let counted = store.record_failure(failure(1, START)).await;
    counted.expect("a failure is counted");
    let recorded = trail(&store).await.len();
    for (what, n) in [
        (Rename, 9),
        (Suspend(Danger), 9),
        (Resume, 9),
        (Suspend(Danger), 2),
        (Resume, 2),
        (Resume, 1),
    ] {
        assert!(!acts(&store, what, n).await, "{what:?} {n}");
    }
    assert_eq!(the_factor(&store, 2).await, pending);
    assert_eq!(trail(&store).await.len(), recorded, "nothing is recorded");

    for n in [1, 2] {
        assert!(acts(&store, Rename, n).await);
        assert_eq!(
            the_factor(&store, n).await.label.as_str(),
            format!("new label “{n}”")
        );
    }
    assert!(acts(&store, Suspend(Keep), 1).await);
    let suspended = the_factor(&store, 1).await;
    assert_eq!(suspended.state, FactorState::Suspended);
    assert_eq!(suspended.failures.count, 1, "its count is kept");
    assert!(!acts(&store, Suspend(Danger), 1).await, "it is suspended");
    let refused = store.open_session(new_session(1, 1, 1)).await;
    let factor = factor_id(1);
    assert_eq!(refused.expect("works"), OpenOutcome::FactorGone { factor });
    assert!(acts(&store, Rename, 1).await, "any may be renamed");

    assert!(acts(&store, Resume, 1).await);
    admit(&store, new_session(1, 1, 1)).await;
    let events = events_since(&store, recorded).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let expected = [
        Rename.kind(),
        Rename.kind(),
        Suspend(Keep).kind(),
        AuditKind::NotEligible,
        Rename.kind(),
        Resume.kind(),
        admitted(),
    ];
    assert_eq!(kinds, expected);
    for event in &events[..3] {
        assert_eq!(event.user, Some(user(1)), "the store fills in whose");
        assert!(event.factor.is_some(), "and which");
    }
}

pub(super) async fn the_last_active_factor_stays(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    for (n, state) in [(3, FactorState::Pending), (4, FactorState::Suspended)] {
        let other = FactorRecord {
            state,
            ..factor(n, 1)
        };
        add_factor(&store, other).await;
    }
    admit(&store, new_session(1, 1, 1)).await;
    let kept = the_factor(&store, 1).await;
    let recorded = trail(&store).await.len();
    for what in [Remove(Keep), Suspend(Keep)] {
        let refused = act(&store, what, 1).await;
        assert!(
            matches!(refused, Err(StoreError::LastFactor)),
            "another user's, a pending and a suspended one don't count: {refused:?}"
        );
    }
    assert_eq!(the_factor(&store, 1).await, kept, "it is as it was");
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert_eq!(live.len(), 1, "and so is its session");
    assert_eq!(trail(&store).await.len(), recorded, "nothing is recorded");

    for n in [3, 4] {
        assert!(acts(&store, Remove(Keep), n).await, "no active one");
    }
    assert!(!acts(&store, Remove(Keep), 9).await, "there is none");
    assert!(acts(&store, Suspend(Danger), 1).await);
    assert!(acts(&store, Remove(Keep), 1).await, "it is not active");
    assert!(acts(&store, Remove(Danger), 2).await);
}

pub(super) async fn removals_in_parallel_leave_the_last_factor(store: Store) {
    enrol(&store, 1).await;
    for n in 2..=12 {
        add_factor(&store, factor(n, 1)).await;
    }
    let mut calls = JoinSet::new();
    for n in 1..=12 {
        let store = store.clone();
        let what = if n % 2 == 0 {
            Remove(Keep)
        } else {
            Suspend(Keep)
        };
        calls.spawn(async move { act(&store, what, n).await });
    }
    let outcomes = calls.join_all().await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(StoreError::LastFactor)))
        .count();
    assert_eq!(refused, 1, "{outcomes:?}");
    let left = store.factors(&user(1)).await.expect("factors are read");
    let active = left.iter().filter(|f| f.state == FactorState::Active);
    assert_eq!(active.count(), 1, "one is left: {left:?}");
}

pub(super) async fn a_changed_factor_ends_what_it_opened_when_removed(store: Store) {
    ends_what_it_opened(store, Remove(Keep)).await;
}

pub(super) async fn a_changed_factor_ends_what_it_opened_when_suspended(store: Store) {
    ends_what_it_opened(store, Suspend(Keep)).await;
}

pub(super) async fn a_changed_factor_ends_what_it_opened_when_reset(store: Store) {
    ends_what_it_opened(store, Reset).await;
}

/// Sessions 1 and 3 were opened by factor 1, among others; 2 and 4 were not.
async fn ends_what_it_opened(store: Store, what: Act) {
    enrol(&store, 1).await;
    enrol(&store, 4).await;
    add_factor(&store, factor(2, 1)).await;
    for n in [2, 3] {
        let theirs = Peer {
            user: user(1),
            ..peer(n)
        };
        put_peer(&store, theirs).await;
    }
    let by = |id: u8, passed: &[u8]| NewSession {
        user: user(1),
        factor_uses: passed.iter().map(|n| factor_use(*n, id.into())).collect(),
        ..new_session(id, id, 0)
    };
    for new in [by(1, &[1]), by(2, &[2]), by(3, &[2, 1])] {
        admit(&store, new).await;
    }
    admit(&store, new_session(4, 4, 1)).await;
    let third = session(&store, 3).await;
    assert_eq!(third.factors, [factor_id(2), factor_id(1)]);
    assert!(acts(&store, Rename, 1).await);
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert_eq!(live.len(), 4, "another label ends nothing");

    let recorded = trail(&store).await.len();
    let mut stream = store.watch();
    assert!(acts(&store, what, 1).await);
    let end = (EndReason::FactorChanged, secs(10));
    for (id, ended) in [(1, Some(end)), (2, None), (3, Some(end)), (4, None)] {
        assert_eq!(session(&store, id).await.ended, ended, "session {id}");
    }
    let mut events = events_since(&store, recorded).await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].kind, what.kind(), "the factor's record is first");
    events[1..].sort_by_key(|event| event.session);
    let reason = EndReason::FactorChanged;
    for (event, n) in events[1..].iter().zip([1, 3]) {
        assert_eq!(event.kind, AuditKind::Ended { reason });
        let found = (event.session, event.peer, event.user.clone());
        assert_eq!(found, (Some(session_id(n)), Some(key(n)), Some(user(1))));
        assert_eq!(event.location, Some(location(1)));
        assert_eq!(event.factor, Some(factor_id(1)), "what ended it");
    }
    changes_until(&mut stream, |all| {
        let told = |n| all.sessions.contains(&session_id(n));
        told(1) && told(3) && all.users.contains(&user(1))
    })
    .await;

    let not_after = secs(9000);
    let renewed = store
        .renew_session(SessionRenewal {
            id: session_id(1),
            generation: Generation::new(1),
            not_after,
            renewable_until: not_after,
            psk: sealed("fresh"),
            event: event(AuditKind::Renewed { not_after }),
        })
        .await;
    assert_eq!(renewed.expect("works"), Renewed::Gone);
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert_eq!(live.len(), 2);
    if what == Reset {
        admit(&store, new_session(5, 1, 9)).await;
    }
}

async fn session(store: &Store, n: u8) -> SessionRecord {
    let found = store.session(session_id(n)).await;
    found.expect("it is read").expect("it is there")
}
