//! Users, peers and factors.

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::{GroupId, Label};
use crate::store::{
    Activated, Enrolment, FactorRecord, FactorState, FactorUse, LastFactor, Peer, StoreError, User,
    UserChange,
};

pub(super) async fn users_and_peers_read_back(store: Store) {
    put_user(&store, 1, true).await;
    put_user(&store, 2, true).await;
    put_peer(&store, peer(1)).await;
    put_peer(&store, peer(2)).await;
    let elsewhere = Peer {
        location: location(2),
        ..peer(1)
    };
    put_peer(&store, elsewhere.clone()).await;

    put_user(&store, 2, false).await;
    let changed = Peer {
        enabled: false,
        label: Label::from_stored("a label"),
        allowed_ips: Vec::new(),
        ..peer(2)
    };
    put_peer(&store, changed.clone()).await;

    let mut users = store.users().await.expect("users are read");
    users.sort_by(|a, b| a.id.cmp(&b.id));
    let expected = [(1, true), (2, false)].map(|(n, enabled)| User {
        id: user(n),
        enabled,
        groups: Vec::new(),
    });
    assert_eq!(users, expected, "users are added and replaced");

    let mut here = store.peers(&location(1)).await.expect("peers are read");
    here.sort_by_key(|peer| peer.key);
    assert_eq!(here, [peer(1), changed], "peers are added and replaced");
    let there = store.peers(&location(2)).await.expect("peers are read");
    assert_eq!(there, [elsewhere], "a key may be enrolled in two locations");
    let nowhere = store.peers(&location(3)).await.expect("peers are read");
    assert!(nowhere.is_empty(), "no peers where none was put");
}

async fn change_user(store: &Store, n: u8, change: UserChange) -> Result<(), StoreError> {
    let kind = match &change {
        UserChange::Enabled(enabled) => AuditKind::UserPut { enabled: *enabled },
        UserChange::Groups(groups) => AuditKind::GroupsPut {
            groups: groups.clone(),
        },
    };
    store.change_user(user(n), change, event(kind)).await
}

pub(super) async fn a_user_is_changed_one_thing_at_a_time(store: Store) {
    let groups = |names: &[&str]| -> Vec<GroupId> {
        let names = names.iter().map(|name| name.parse().expect("a name"));
        names.collect()
    };
    let staff = groups(&["staff", "on call"]);
    let unknown = change_user(&store, 1, UserChange::Groups(staff.clone())).await;
    assert!(matches!(unknown, Err(StoreError::UnknownUser)));
    assert!(trail(&store).await.is_empty(), "and has no record");

    let change = async |change: UserChange| {
        let changed = change_user(&store, 1, change).await;
        changed.expect("the store works");
        store.users().await.expect("users are read")
    };
    let is = |enabled, groups: &[GroupId]| User {
        id: user(1),
        enabled,
        groups: groups.to_vec(),
    };
    let added = change(UserChange::Enabled(true)).await;
    assert_eq!(added, [is(true, &[])], "an unknown user is added");
    let mut stream = store.watch();
    let grouped = change(UserChange::Groups(staff.clone())).await;
    assert_eq!(grouped, [is(true, &staff)], "in their order");
    changes_until(&mut stream, |all| all.users.contains(&user(1))).await;
    let disabled = change(UserChange::Enabled(false)).await;
    assert_eq!(disabled, [is(false, &staff)], "the groups are kept");
    let fewer = groups(&["guests"]);
    let regrouped = change(UserChange::Groups(fewer.clone())).await;
    assert_eq!(regrouped, [is(false, &fewer)], "no one is enabled by it");

    put_peer(&store, peer(1)).await;
    let enrolment = store.enrolment(&location(1), &key(1)).await;
    let enrolment = enrolment.expect("it is read").expect("it is there");
    assert_eq!(enrolment.user, is(false, &fewer));
    let whole = is(true, &staff);
    let put = store.put_user(whole.clone(), event(AuditKind::UserPut { enabled: true }));
    put.await.expect("the store works");
    let users = store.users().await.expect("users are read");
    assert_eq!(users, [whole], "a user that is put is replaced whole");
}

pub(super) async fn a_peer_or_factor_needs_a_known_user(store: Store) {
    put_user(&store, 2, true).await;
    let before = trail(&store).await.len();
    let enabled = true;
    let kind = factor(1, 1).kind;

    let put = store.put_peer(peer(1), event(AuditKind::PeerPut { enabled }));
    assert!(matches!(put.await, Err(StoreError::UnknownUser)));
    let add = store.add_factor(factor(1, 1), event(AuditKind::FactorAdded { kind }));
    assert!(matches!(add.await, Err(StoreError::UnknownUser)));

    let peers = store.peers(&location(1)).await.expect("peers are read");
    assert!(peers.is_empty(), "a refused peer is not there");
    assert_eq!(trail(&store).await.len(), before, "and has no record");
}

/// Peer `n` with other addresses.
fn peer_at(n: u8, addresses: &[&str]) -> Peer {
    let addresses = addresses.iter().map(|text| text.parse().expect("a prefix"));
    Peer {
        allowed_ips: addresses.collect(),
        ..peer(n)
    }
}

async fn try_put(store: &Store, peer: Peer) -> Result<(), StoreError> {
    let enabled = peer.enabled;
    store
        .put_peer(peer, event(AuditKind::PeerPut { enabled }))
        .await
}

pub(super) async fn an_address_is_one_peers(store: Store) {
    put_user(&store, 1, true).await;
    put_user(&store, 2, true).await;
    let wide = ["10.1.0.0/16", "10.1.2.3/32", "10.2.0.0/16", "fd00:1::/32"];
    let disabled = Peer {
        enabled: false,
        ..peer_at(1, &wide)
    };
    put_peer(&store, disabled).await;
    put_peer(&store, peer_at(2, &["192.0.2.1/32"])).await;
    let before = trail(&store).await.len();

    for taken in [
        "10.1.0.0/16",
        "10.1.255.255/32",
        "10.1.2.3/32",
        "10.2.7.9/24", // its host bits don't matter
        "10.0.0.0/8",
        "0.0.0.0/0",
        "fd00:1:2::3/128",
        "::/0",
    ] {
        let put = try_put(&store, peer_at(2, &["192.0.2.9/32", taken])).await;
        let refused = matches!(put, Err(StoreError::AddressTaken { address, by })
            if address == taken.parse().expect("a prefix") && by == key(1));
        assert!(refused, "{taken} is taken: {put:?}");
    }
    let here = store.peers(&location(1)).await.expect("peers are read");
    let kept = here.contains(&peer_at(2, &["192.0.2.1/32"]));
    assert!(kept, "a refused change leaves the peer as it was");
    assert_eq!(trail(&store).await.len(), before, "and has no record");

    let free = ["10.0.255.255/32", "10.3.0.0/32", "fd00:2::/32"];
    put_peer(&store, peer_at(2, &free)).await;
    let elsewhere = Peer {
        location: location(2),
        ..peer_at(2, &wide)
    };
    put_peer(&store, elsewhere).await;
    put_peer(&store, peer_at(1, &["10.1.0.0/17"])).await;
    put_peer(&store, peer_at(2, &["10.1.128.0/17", "10.2.0.0/16"])).await;
    let back = try_put(&store, peer_at(1, &wide)).await;
    assert!(matches!(back, Err(StoreError::AddressTaken { by, .. }) if by == key(2)));
}

pub(super) async fn an_address_is_given_once_in_parallel(store: Store) {
    put_user(&store, 1, true).await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 1..=16 {
        let store = std::sync::Arc::clone(&store);
        let peer = Peer {
            user: user(1),
            ..peer_at(n, &["10.1.0.0/16"])
        };
        callers.spawn(async move { try_put(&store, peer).await });
    }
    let given = callers.join_all().await;
    let given = given.iter().filter(|put| put.is_ok()).count();
    assert_eq!(given, 1, "of callers at once, one gets the address");
    let here = store.peers(&location(1)).await.expect("peers are read");
    assert_eq!(here.len(), 1);
}

pub(super) async fn factors_keep_their_order_and_their_ids(store: Store) {
    put_user(&store, 1, true).await;
    put_user(&store, 2, true).await;
    let full = FactorRecord {
        last_counter: Some(u64::MAX - 1),
        failures: crate::policy::Failures {
            count: 3,
            last_at: secs(9),
        },
        state: FactorState::Pending,
        sealed: sealed("\0\u{ff}\n"),
        ..factor(9, 1)
    };
    add_factor(&store, full.clone()).await;
    add_factor(&store, factor(3, 1)).await;
    add_factor(&store, factor(4, 2)).await;
    add_factor(&store, factor(5, 1)).await;

    let kind = full.kind.clone();
    let again = store.add_factor(factor(3, 2), event(AuditKind::FactorAdded { kind }));
    assert!(
        matches!(again.await, Err(StoreError::Conflict)),
        "an id is new, no matter who has it"
    );

    let theirs = store.factors(&user(1)).await.expect("factors are read");
    let expected = [full, factor(3, 1), factor(5, 1)];
    assert_eq!(theirs, expected, "in the order of enrolment, whole");
}

pub(super) async fn an_enrolment_is_a_peer_with_its_owner_and_factors(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    put_user(&store, 2, false).await;
    add_factor(&store, factor(7, 2)).await;

    let found = store.enrolment(&location(1), &key(2)).await;
    let expected = Enrolment {
        peer: peer(2),
        user: User {
            id: user(2),
            enabled: false,
            groups: Vec::new(),
        },
        factors: vec![factor(2, 2), factor(7, 2)],
        tokens: Vec::new(),
    };
    assert_eq!(found.expect("it is read"), Some(expected));
    for (place, key) in [(location(2), key(2)), (location(1), key(3))] {
        let found = store.enrolment(&place, &key).await.expect("it is read");
        assert_eq!(found, None, "not enrolled is not an error");
    }
}

async fn activate(store: &Store, factor_use: FactorUse) -> Activated {
    let event = event(AuditKind::FactorActivated);
    let activated = store.activate_factor(factor_use, THROTTLE, event).await;
    activated.expect("the store works")
}

async fn add_pending(store: &Store) {
    put_user(store, 1, true).await;
    let pending = FactorRecord {
        state: FactorState::Pending,
        ..factor(1, 1)
    };
    add_factor(store, pending).await;
}

pub(super) async fn a_pending_factor_is_activated_once(store: Store) {
    add_pending(&store).await;
    put_peer(&store, peer(1)).await;
    store
        .record_failure(failure(1, START))
        .await
        .expect("a pending factor's failure is counted");

    assert_eq!(
        activate(&store, factor_use(1, 8)).await,
        Activated::Activated
    );
    let active = the_factor(&store, 1).await;
    assert_eq!(active.state, FactorState::Active);
    assert_eq!(
        active.last_counter,
        Some(8),
        "the confirming step is consumed"
    );
    assert_eq!(active.failures.count, 0, "and the count cleared");

    assert_eq!(
        activate(&store, factor_use(1, 9)).await,
        Activated::NotPending
    );
    assert_eq!(
        activate(&store, factor_use(2, 9)).await,
        Activated::NotPending
    );
    let unchanged = the_factor(&store, 1).await.last_counter;
    assert_eq!(unchanged, Some(8), "what was refused consumes no step");

    let replay = store.open_session(new_session(1, 1, 8)).await;
    assert!(
        matches!(replay, Ok(crate::store::OpenOutcome::Replayed { .. })),
        "the confirming code admits no one"
    );
}

pub(super) async fn activation_keeps_to_the_limit(store: Store) {
    add_pending(&store).await;
    for _ in 0..2 {
        let counted = store.record_failure(failure(1, START)).await;
        counted.expect("a failure is counted");
    }
    let locked = activate(&store, factor_use(1, 8)).await;
    assert!(
        matches!(locked, Activated::Locked(crate::policy::Lock::Until(until)) if until == secs(10)),
        "a right code past the limit activates nothing: {locked:?}"
    );
    assert_eq!(the_factor(&store, 1).await.state, FactorState::Pending);
    assert_eq!(count(&store, 1).await, 2, "and is not counted");

    let spent = FactorRecord {
        id: factor_id(2),
        state: FactorState::Pending,
        last_counter: Some(8),
        ..factor(2, 1)
    };
    add_factor(&store, spent).await;
    let replayed = activate(&store, factor_use(2, 8)).await;
    assert!(matches!(replayed, Activated::Replayed(_)), "{replayed:?}");
    assert_eq!(the_factor(&store, 2).await.state, FactorState::Pending);
    assert_eq!(count(&store, 2).await, 1, "a step used before is a failure");
}

pub(super) async fn a_removed_factor_is_gone(store: Store) {
    enrol(&store, 1).await;
    let remove = || {
        let event = event(AuditKind::FactorRemoved);
        store.remove_factor(factor_id(1), LastFactor::Danger, event)
    };
    assert!(remove().await.expect("the store works"));
    assert!(!remove().await.expect("the store works"), "it is gone");
    let left = store.factors(&user(1)).await.expect("factors are read");
    assert!(left.is_empty());
}

pub(super) async fn resealing_is_a_compare_and_set(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    let (old, new, other) = (sealed("secret"), sealed("fresh"), sealed("other"));

    let reseal = |from, to| store.reseal_factor(factor_id(1), from, to);
    assert!(!reseal(&other, new.clone()).await.expect("works"));
    assert!(reseal(&old, new.clone()).await.expect("works"));
    assert!(!reseal(&old, other.clone()).await.expect("works"));
    assert_eq!(the_factor(&store, 1).await.sealed, new);
    let gone = store.reseal_factor(factor_id(9), &new, other.clone());
    assert!(!gone.await.expect("works"));

    let psk = sealed("psk");
    let reseal = |from, to| store.reseal_session(session_id(1), from, to);
    assert!(!reseal(&other, new.clone()).await.expect("works"));
    assert!(reseal(&psk, new.clone()).await.expect("works"));
    assert!(!reseal(&psk, other.clone()).await.expect("works"));
    let session = store.session(session_id(1)).await.expect("works");
    let session = session.expect("the session is there");
    assert_eq!(session.psk, new);
    assert_eq!(session.generation.get(), 1, "its generation stays");

    let reason = crate::store::EndReason::Revoked;
    let closed = store
        .close_session(session_id(1), reason, event(AuditKind::Ended { reason }))
        .await;
    assert!(closed.expect("works"));
    assert!(
        !store
            .reseal_session(session_id(1), &new, other)
            .await
            .expect("works"),
        "an ended session is left alone"
    );
}
