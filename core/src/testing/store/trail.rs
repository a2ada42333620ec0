//! The audit trail and the changes told from it.

use super::fixture::*;
use crate::audit::{AuditEvent, AuditKind, AuditRecord, Head};
use crate::id::{FactorId, Generation};
use crate::store::{
    Activated, ChangeSet, EndReason, FactorRecord, FactorState, FailureReason, LastFactor,
    NewSession, OpenOutcome, Renewed, SessionRenewal, StoreError,
};

/// What happened, and to which user, session and factor.
type Line = (AuditKind, Option<u8>, Option<u8>, Option<u8>);

fn line(event: &AuditEvent) -> Line {
    let number = |n: &[u8]| n.first().copied();
    let user = event.user.as_ref().and_then(|id| {
        let text = id.as_str().strip_prefix("user")?;
        text.strip_suffix("@example.org")?.parse().ok()
    });
    (
        event.kind.clone(),
        user,
        event.session.and_then(|id| number(id.as_bytes())),
        event.factor.and_then(|id| number(id.as_bytes())),
    )
}

fn remove_factor(store: &Store, id: FactorId) -> impl Future<Output = Result<bool, StoreError>> {
    store.remove_factor(id, LastFactor::Danger, event(AuditKind::FactorRemoved))
}

pub(super) async fn every_outcome_has_its_record(store: Store) {
    let before = trail(&store).await.len();
    let enabled = true;
    let kind = factor(1, 1).kind;
    let reason = FailureReason::Replayed;
    let mut expected: Vec<Line> = Vec::new();

    enrol(&store, 1).await;
    expected.push((AuditKind::UserPut { enabled }, Some(1), None, None));
    expected.push((AuditKind::PeerPut { enabled }, Some(1), None, None));
    let added = AuditKind::FactorAdded { kind };
    expected.push((added.clone(), Some(1), None, Some(1)));
    let pending = FactorRecord {
        state: FactorState::Pending,
        ..factor(2, 1)
    };
    add_factor(&store, pending).await;
    expected.push((added, Some(1), None, Some(2)));

    let activate = |n| {
        let event = event(AuditKind::FactorActivated);
        store.activate_factor(factor_use(n, 4), THROTTLE, event)
    };
    assert_eq!(activate(2).await.expect("works"), Activated::Activated);
    expected.push((AuditKind::FactorActivated, Some(1), None, Some(2)));
    assert_eq!(activate(9).await.expect("works"), Activated::NotPending);
    expected.push((AuditKind::NotEligible, None, None, Some(9)));

    admit(&store, new_session(1, 1, 1)).await;
    expected.push((admitted(), Some(1), Some(1), None));
    let replayed = store.open_session(new_session(2, 1, 1)).await;
    assert!(matches!(replayed, Ok(OpenOutcome::Replayed { .. })));
    expected.push((AuditKind::Denied { reason }, Some(1), None, Some(1)));
    let counted = store.record_failure(failure(1, START)).await;
    counted.expect("a failure is counted");
    expected.push((wrong().kind, Some(1), None, Some(1)));
    let locked = store.record_failure(failure(1, START)).await;
    locked.expect("a locked factor's failure is recorded");
    expected.push((AuditKind::LockedOut, Some(1), None, Some(1)));
    let locked = store.open_session(new_session(2, 1, 2)).await;
    assert!(matches!(locked, Ok(OpenOutcome::Locked { .. })));
    expected.push((AuditKind::LockedOut, Some(1), None, Some(1)));
    let gone = store.record_failure(failure(9, START)).await;
    gone.expect("an unknown factor's failure is recorded");
    expected.push((AuditKind::NotEligible, None, None, Some(9)));

    let reset = store.reset_failures(factor_id(1), event(AuditKind::FailuresReset));
    assert!(reset.await.expect("works"));
    expected.push((AuditKind::FailuresReset, Some(1), None, Some(1)));
    let reason = EndReason::FactorChanged;
    expected.push((AuditKind::Ended { reason }, Some(1), Some(1), Some(1)));
    let unknown_factor = NewSession {
        factor_uses: vec![factor_use(9, 1)],
        ..new_session(2, 1, 2)
    };
    let refused = store.open_session(unknown_factor).await;
    assert!(matches!(refused, Ok(OpenOutcome::FactorGone { .. })));
    expected.push((AuditKind::NotEligible, Some(1), None, Some(9)));
    let refused = store.open_session(new_session(2, 7, 2)).await;
    assert!(matches!(refused, Ok(OpenOutcome::PeerGone)));
    expected.push((AuditKind::NotEligible, Some(7), None, None));

    admit(&store, new_session(3, 1, 2)).await;
    expected.push((admitted(), Some(1), Some(3), None));
    admit(&store, new_session(2, 1, 3)).await;
    let reason = EndReason::Superseded;
    expected.push((AuditKind::Ended { reason }, Some(1), Some(3), None));
    expected.push((admitted(), Some(1), Some(2), None));

    let not_after = secs(9000);
    let renewed = AuditKind::Renewed { not_after };
    let renew = || {
        store.renew_session(SessionRenewal {
            id: session_id(2),
            generation: Generation::new(3),
            not_after,
            renewable_until: not_after,
            psk: sealed("fresh"),
            event: event(renewed.clone()),
        })
    };
    assert!(matches!(renew().await, Ok(Renewed::Renewed(_))));
    assert!(matches!(renew().await, Ok(Renewed::Gone)));
    expected.push((renewed.clone(), Some(1), Some(2), None));
    expected.push((AuditKind::NotEligible, Some(1), Some(2), None));

    let reason = EndReason::Expired;
    let ended = AuditKind::Ended { reason };
    let closed = store
        .close_session(session_id(2), reason, event(ended.clone()))
        .await;
    assert!(closed.expect("works"));
    expected.push((ended, Some(1), Some(2), None));
    let removed = remove_factor(&store, factor_id(2)).await;
    assert!(removed.expect("works"));
    expected.push((AuditKind::FactorRemoved, Some(1), None, Some(2)));
    let appended = store.append_audit(event(AuditKind::Fenced)).await;
    appended.expect("a record is appended");
    expected.push((AuditKind::Fenced, None, None, None));

    let events = events_since(&store, before).await;
    let lines: Vec<Line> = events.iter().map(line).collect();
    assert_eq!(lines, expected);
    let admission = events.iter().find(|e| e.session == Some(session_id(1)));
    let admission = admission.expect("it was found above");
    assert_eq!(admission.location, Some(location(1)));
    assert_eq!(admission.peer, Some(key(1)), "the store fills in the rest");
}

pub(super) async fn what_changes_nothing_leaves_no_record(store: Store) {
    enrol(&store, 1).await;
    let before = trail(&store).await;
    let reason = EndReason::Revoked;
    let close = store.close_session(session_id(9), reason, event(AuditKind::Ended { reason }));
    assert!(!close.await.expect("works"));
    let remove = remove_factor(&store, factor_id(9));
    assert!(!remove.await.expect("works"));
    let reset = store.reset_failures(factor_id(9), event(AuditKind::FailuresReset));
    assert!(!reset.await.expect("works"));
    let from = sealed("secret");
    let reseal = store.reseal_factor(factor_id(1), &from, sealed("fresh"));
    assert!(reseal.await.expect("works"));
    assert_eq!(trail(&store).await, before);
}

pub(super) async fn the_trail_is_read_in_pages(store: Store) {
    for n in 0..10 {
        let mut event = event(AuditKind::Fenced);
        event.at = secs(n);
        event.source = Some("2001:db8::1".parse().expect("an address"));
        store.append_audit(event).await.expect("works");
    }
    let whole = trail(&store).await;
    assert_eq!(whole.len(), 10);
    assert_eq!(whole[0].seq, 1, "the first record has number 1");
    for (from, limit) in [
        (1, 3),
        (4, 3),
        (8, 30),
        (11, 3),
        (u64::MAX, 1),
        (0, 2),
        (3, 0),
    ] {
        let page = store.audit(from, limit).await.expect("works");
        let expected: Vec<_> = whole.iter().filter(|r| r.seq >= from).take(limit).collect();
        assert_eq!(page.iter().collect::<Vec<_>>(), expected, "{from} {limit}");
    }
}

pub(super) async fn a_watcher_sees_every_change(store: Store) {
    let mut stream = store.watch();
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    admit(&store, new_session(2, 1, 2)).await;
    changes_until(&mut stream, |all| {
        all.users.contains(&user(1))
            && all.peers.contains(&key(1))
            && all.sessions.contains(&session_id(1))
    })
    .await;

    let reason = EndReason::Revoked;
    let closed = store
        .close_session(session_id(2), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    let is_session_2 = |all: &ChangeSet| all.sessions.contains(&session_id(2));
    changes_until(&mut stream, is_session_2).await;
    let removed = remove_factor(&store, factor_id(1)).await;
    assert!(removed.expect("works"));
    changes_until(&mut stream, |all| all.users.contains(&user(1))).await;

    let mut second = store.watch();
    put_user(&store, 3, false).await;
    for stream in [&mut stream, &mut second] {
        changes_until(stream, |all| all.users.contains(&user(3))).await;
    }
}

pub(super) async fn a_watcher_hears_of_sessions_that_ended_and_of_no_others(store: Store) {
    for n in [1, 2] {
        enrol(&store, n).await;
    }
    let mut stream = store.watch();
    admit(&store, new_session(1, 1, 1)).await;
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
    assert!(matches!(renewed, Ok(Renewed::Renewed(_))));
    admit(&store, new_session(2, 1, 2)).await;
    admit(&store, new_session(3, 2, 1)).await;
    let reason = EndReason::SignedOut;
    let closed = store
        .close_session(session_id(3), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    put_user(&store, 4, true).await;

    let ended = [session_id(1), session_id(3)];
    let seen = changes_until(&mut stream, |all| {
        ended.iter().all(|id| all.sessions.contains(id)) && all.users.contains(&user(4))
    })
    .await;
    assert!(
        seen.sessions.iter().all(|id| ended.contains(id)),
        "a gate need not look at what was opened or renewed: {seen:?}"
    );
}

pub(super) async fn a_watcher_starts_when_it_is_asked_for(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    // Not polled before the change: it counts from the call.
    let mut stream = store.watch();
    let reason = EndReason::Revoked;
    let closed = store
        .close_session(session_id(1), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    changes_until(&mut stream, |all| all.sessions.contains(&session_id(1))).await;
}

pub(super) async fn the_head_is_that_of_the_last_record(store: Store) {
    let head = async || store.head().await.expect("the head is read");
    assert_eq!(head().await, Head::EMPTY, "of a chain without records");
    for n in 1..=3 {
        put_user(&store, n, true).await;
        let records = trail(&store).await;
        let last = records.last().and_then(AuditRecord::head);
        assert_eq!(Some(head().await), last);
    }
}
