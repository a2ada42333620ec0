//! Many callers at once, and two stores that share their contents.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::{Generation, SessionId};
use crate::store::{EndReason, NewSession, OpenOutcome, Renewed, SessionRenewal};

/// What one caller was told.
#[derive(Default)]
struct Told {
    /// Which step of which factor admitted.
    steps: Vec<(u8, u64)>,
    /// Which generation of which peer was given.
    generations: Vec<(u8, u64)>,
    /// Sessions that were ended by this caller.
    closed: Vec<SessionId>,
}

pub(super) async fn callers_at_once_leave_a_consistent_store(store: Store) {
    for n in 1..=4 {
        enrol(&store, n).await;
    }
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        callers.spawn(act(store.clone(), caller, 40));
    }
    check(&store, callers.join_all().await).await;
}

/// A caller's walk: opens, renews, closes and fails, by a generator that its number seeds.
async fn act(store: Store, caller: u8, rounds: u8) -> Told {
    let mut told = Told::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(caller) + 1);
    for round in 0..rounds {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let n = [1, 2, 3, 4][usize::try_from(random >> 62).expect("two bits")];
        let step = (random >> 32) % 64;
        let mut id = [caller; 16];
        id[0] = round;
        let new = NewSession {
            id: SessionId::from_bytes(id),
            ..new_session(0, n, step)
        };
        match store.open_session(new).await.expect("the store works") {
            OpenOutcome::Opened { generation, .. } => {
                told.steps.push((n, step));
                told.generations.push((n, generation.get()));
                let reason = EndReason::Revoked;
                let id = SessionId::from_bytes(id);
                if (random >> 20) & 1 == 0 {
                    renew(&store, id, generation, n, &mut told).await;
                } else {
                    let event = event(AuditKind::Ended { reason });
                    let closed = store.close_session(id, reason, event).await;
                    if closed.expect("the store works") {
                        told.closed.push(id);
                    }
                }
            }
            OpenOutcome::Replayed { .. } | OpenOutcome::Locked { .. } => {
                let reset = store.reset_failures(factor_id(n), event(AuditKind::FailuresReset));
                assert!(reset.await.expect("the store works"));
            }
            OpenOutcome::FactorGone { .. }
            | OpenOutcome::Overtaken { .. }
            | OpenOutcome::CredentialTaken { .. }
            | OpenOutcome::PeerGone
            | OpenOutcome::TooMany => {
                panic!("no one has been disabled, removed or limited")
            }
        }
    }
    told
}

async fn renew(store: &Store, id: SessionId, generation: Generation, n: u8, told: &mut Told) {
    let not_after = secs(9000);
    let renewal = SessionRenewal {
        id,
        generation,
        not_after,
        renewable_until: not_after,
        psk: sealed("fresh"),
        event: event(AuditKind::Renewed { not_after }),
    };
    match store.renew_session(renewal).await.expect("works") {
        Renewed::Renewed(generation) => told.generations.push((n, generation.get())),
        Renewed::Gone => {}
    }
}

async fn check(store: &Store, told: Vec<Told>) {
    let steps: Vec<_> = told.iter().flat_map(|t| &t.steps).collect();
    let once: BTreeSet<_> = steps.iter().collect();
    assert_eq!(once.len(), steps.len(), "no step admitted twice");

    let generations: Vec<_> = told.iter().flat_map(|t| &t.generations).collect();
    let once: BTreeSet<_> = generations.iter().collect();
    assert_eq!(once.len(), generations.len(), "no generation given twice");
    for n in 1..=4 {
        let given = generations.iter().filter(|g| g.0 == n);
        let highest = given.clone().map(|g| g.1).max().unwrap_or(0);
        let count = u64::try_from(given.count()).expect("fits");
        assert_eq!(highest, count, "generations have no gaps");
    }

    let live = store.live_sessions(&location(1)).await.expect("works");
    let peers: BTreeSet<_> = live.iter().map(|session| session.peer).collect();
    assert_eq!(peers.len(), live.len(), "one live session a peer");
    let closed: Vec<_> = told.iter().flat_map(|t| &t.closed).collect();
    assert!(live.iter().all(|session| !closed.contains(&&session.id)));

    let events = events_since(store, 0).await;
    let count = |is: fn(&AuditKind) -> bool| events.iter().filter(|e| is(&e.kind)).count();
    let admissions = count(|kind| matches!(kind, AuditKind::Admitted { .. }));
    assert_eq!(admissions, steps.len(), "each admission has its record");
    let ends = count(|kind| matches!(kind, AuditKind::Ended { .. }));
    assert_eq!(ends + live.len(), admissions, "each session ends once");
}

pub(super) async fn two_stores_admit_a_step_once(a: Store, b: Store) {
    enrol(&a, 1).await;
    let mut calls = JoinSet::new();
    for id in 1..=8 {
        for store in [a.clone(), b.clone()] {
            let new = NewSession {
                id: SessionId::from_bytes([id; 16]),
                ..new_session(0, 1, 7)
            };
            calls.spawn(async move { store.open_session(new).await });
        }
    }
    let outcomes = calls.join_all().await;
    let opened = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(OpenOutcome::Opened { .. })))
        .count();
    assert_eq!(opened, 1, "one code, one admission: {outcomes:?}");
    for store in [&a, &b] {
        let live = store.live_sessions(&location(1)).await.expect("works");
        assert_eq!(live.len(), 1);
    }
}

pub(super) async fn two_stores_write_one_chain(a: Store, b: Store) {
    for n in 1..=4 {
        enrol(&a, n).await;
    }
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let store = if caller % 2 == 0 { &a } else { &b };
        callers.spawn(act(store.clone(), caller, 20));
    }
    let told = callers.join_all().await;
    check(&a, told).await;
    assert_eq!(trail(&a).await, trail(&b).await);
}

pub(super) async fn a_watcher_sees_the_changes_of_the_other_store(a: Store, b: Store) {
    enrol(&a, 1).await;
    let mut watches = [a.watch(), b.watch()];
    admit(&b, new_session(1, 1, 1)).await;
    // Supersedes the session that the other one opened.
    admit(&a, new_session(2, 1, 2)).await;
    let reason = EndReason::Revoked;
    let closed = b
        .close_session(session_id(2), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    put_user(&b, 1, false).await;
    for stream in &mut watches {
        changes_until(stream, |all| {
            let ended = |n| all.sessions.contains(&session_id(n));
            all.users.contains(&user(1)) && ended(1) && ended(2)
        })
        .await;
    }
}
