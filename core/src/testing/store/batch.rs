//! Many changes in one transaction.

use super::fixture::*;
use crate::audit::{AuditEvent, AuditKind};
use crate::store::{Peer, Put, StoreError, User, UserChange};

fn a_user(n: u8, enabled: bool) -> (Put, AuditEvent) {
    let user = User {
        id: user(n),
        enabled,
        groups: vec!["staff".parse().expect("a name")],
    };
    (Put::User(user), event(AuditKind::UserPut { enabled }))
}

fn a_peer(peer: Peer) -> (Put, AuditEvent) {
    (Put::Peer(peer), event(AuditKind::PeerPut { enabled: true }))
}

pub(super) async fn many_are_put_in_one_transaction(store: Store) {
    enrol(&store, 3).await;
    admit(&store, new_session(3, 3, 1)).await;
    let before = trail(&store).await.len();
    let all = vec![
        a_user(1, true),
        a_peer(peer(1)),
        (Put::Token(token(1, 1)), issued(1)),
        a_user(2, true),
        a_peer(peer(2)),
        a_user(3, false),
    ];
    store.put_all(all).await.expect("the store works");

    let enrolment = store.enrolment(&location(1), &key(1)).await;
    let enrolment = enrolment.expect("works").expect("it is there");
    assert_eq!(enrolment.peer, peer(1));
    assert_eq!(enrolment.user.groups.len(), 1);
    assert_eq!(enrolment.tokens, [token(1, 1)]);
    assert_eq!(store.users().await.expect("works").len(), 3);
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert!(live.is_empty(), "each does what the call of its name does");
    let events = events_since(&store, before).await;
    assert_eq!(events.len(), 7, "a record for each, and for the end");
    let of: Vec<_> = events.iter().map(|event| event.user.clone()).collect();
    let users = [1, 1, 1, 2, 2, 3, 3].map(|n| Some(user(n)));
    assert_eq!(of, users, "in their order");
}

pub(super) async fn groups_among_many_leave_a_user_disabled(store: Store) {
    let off = UserChange::Enabled(false);
    enrol(&store, 1).await;
    let disabled = event(AuditKind::UserPut { enabled: false });
    let changed = store.change_user(user(1), off, disabled).await;
    changed.expect("the user is known");
    let staff = || vec!["staff".parse().expect("a name")];
    let groups = |n| {
        let kind = AuditKind::GroupsPut { groups: staff() };
        (Put::Groups(user(n), staff()), event(kind))
    };

    let put = store.put_all(vec![groups(1)]).await;
    put.expect("the user is known");

    let users = store.users().await.expect("works");
    let one = users.first().expect("they are there");
    assert_eq!(one.groups, staff());
    assert!(!one.enabled, "they were disabled");
    let refused = store.put_all(vec![groups(2)]).await;
    let Err(StoreError::Refused { faults }) = refused else {
        panic!("should have been refused: {refused:?}");
    };
    assert!(matches!(&*faults, [(0, StoreError::UnknownUser)]));
    assert_eq!(store.users().await.expect("works").len(), 1);
}

pub(super) async fn one_fault_among_many_puts_none(store: Store) {
    enrol(&store, 3).await;
    admit(&store, new_session(3, 3, 1)).await;
    let before = trail(&store).await.len();
    let taken = Peer {
        allowed_ips: peer(3).allowed_ips,
        ..peer(1)
    };
    let all = vec![
        a_user(1, true),
        a_peer(taken),
        a_peer(peer(2)),
        a_peer(peer(1)),
        a_user(3, false),
    ];
    let refused = store.put_all(all).await;
    let Err(StoreError::Refused { faults }) = refused else {
        panic!("should have been refused: {refused:?}");
    };
    let [
        (1, StoreError::AddressTaken { .. }),
        (2, StoreError::UnknownUser),
    ] = &*faults
    else {
        panic!("every fault, and no other: {faults:?}");
    };
    assert_eq!(store.users().await.expect("works").len(), 1);
    assert_eq!(store.peers(&location(1)).await.expect("works"), [peer(3)]);
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert_eq!(live.len(), 1, "and no one is out");
    assert_eq!(trail(&store).await.len(), before, "and has no record");
    let put = store.put_all(vec![a_user(1, true), a_peer(peer(1))]).await;
    put.expect("nothing is left of it");
}
