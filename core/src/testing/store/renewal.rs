//! Renewing, closing and listing sessions.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::Generation;
use crate::store::{EndReason, Peer, Renewed, SessionRenewal};

fn renewal(id: u8, generation: u64) -> SessionRenewal {
    let not_after = secs(7200);
    SessionRenewal {
        id: session_id(id),
        generation: Generation::new(generation),
        not_after,
        renewable_until: secs(8000),
        psk: sealed("fresh"),
        event: event(AuditKind::Renewed { not_after }),
    }
}

async fn renew(store: &Store, renewal: SessionRenewal) -> Renewed {
    store.renew_session(renewal).await.expect("the store works")
}

async fn close(store: &Store, id: u8) -> bool {
    let reason = EndReason::SignedOut;
    let mut event = event(AuditKind::Ended { reason });
    event.at = secs(60);
    let closed = store.close_session(session_id(id), reason, event).await;
    closed.expect("the store works")
}

pub(super) async fn a_renewal_needs_the_generation_it_names(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    for (id, generation) in [(1, 0), (1, 2), (2, 1)] {
        assert_eq!(renew(&store, renewal(id, generation)).await, Renewed::Gone);
    }
    let before = store.session(session_id(1)).await.expect("it is read");
    let before = before.expect("it is there");
    assert_eq!(
        before.not_after,
        secs(3600),
        "what was refused changes nothing"
    );

    let renewed = renew(&store, renewal(1, 1)).await;
    assert_eq!(renewed, Renewed::Renewed(Generation::new(2)));
    let after = store.session(session_id(1)).await.expect("it is read");
    let after = after.expect("it is there");
    assert_eq!(
        (after.not_after, after.renewable_until, &after.psk),
        (secs(7200), secs(8000), &sealed("fresh"))
    );
    assert_eq!(after.generation, Generation::new(2));
    assert_eq!(
        after.verified_at, before.verified_at,
        "no one verified again"
    );

    assert_eq!(
        admit(&store, new_session(2, 1, 2)).await,
        3,
        "renewals and admissions share their generations"
    );
    let superseded = renew(&store, renewal(1, 2)).await;
    assert_eq!(superseded, Renewed::Gone, "an ended session");
}

pub(super) async fn a_renewal_needs_an_enabled_peer_and_owner(store: Store) {
    enrol(&store, 1).await;
    put_user(&store, 2, true).await;
    admit(&store, new_session(1, 1, 1)).await;

    put_user(&store, 1, false).await;
    assert_eq!(renew(&store, renewal(1, 1)).await, Renewed::Gone);
    put_user(&store, 1, true).await;
    let changes = [
        Peer {
            allowed_ips: peer(1).allowed_ips.split_off(1),
            ..peer(1)
        },
        Peer {
            enabled: false,
            ..peer(1)
        },
        Peer {
            user: user(2),
            ..peer(1)
        },
    ];
    for (n, changed) in (2..).zip(changes) {
        let generation = admit(&store, new_session(n, 1, n.into())).await;
        put_peer(&store, changed).await;
        let renewed = renew(&store, renewal(n, generation)).await;
        assert_eq!(renewed, Renewed::Gone);
        put_peer(&store, peer(1)).await;
        let renewed = renew(&store, renewal(n, generation)).await;
        assert_eq!(renewed, Renewed::Gone, "it had ended");
    }
    let generation = admit(&store, new_session(5, 1, 5)).await;
    put_peer(&store, peer(1)).await;
    let renewed = renew(&store, renewal(5, generation)).await;
    let next = Generation::new(generation + 1);
    assert_eq!(renewed, Renewed::Renewed(next), "nothing was taken away");
}

pub(super) async fn parallel_renewals_of_one_generation_renew_once(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        calls.spawn(async move { renew(&store, renewal(1, 1)).await });
    }
    let outcomes = calls.join_all().await;
    let renewed = outcomes.iter().filter(|o| **o != Renewed::Gone).count();
    assert_eq!(renewed, 1, "{outcomes:?}");
}

pub(super) async fn a_session_is_closed_once(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    assert!(close(&store, 1).await);
    assert!(!close(&store, 1).await, "it is closed");
    assert!(!close(&store, 2).await, "there is none");
    let closed = store.session(session_id(1)).await.expect("it is read");
    let ended = closed.expect("an ended session is kept").ended;
    assert_eq!(ended, Some((EndReason::SignedOut, secs(60))));
    let live = store.live_sessions(&location(1)).await.expect("works");
    assert!(live.is_empty());
    assert_eq!(renew(&store, renewal(1, 1)).await, Renewed::Gone);
}

pub(super) async fn live_sessions_are_complete_and_of_their_location(store: Store) {
    for n in 1..=200 {
        enrol(&store, n).await;
        admit(&store, new_session(n, n, 1)).await;
    }
    for n in 1..=20 {
        assert!(close(&store, n).await);
    }
    let elsewhere = Peer {
        location: location(2),
        ..peer(1)
    };
    put_peer(&store, elsewhere).await;
    let mut new = new_session(250, 1, 2);
    new.location = location(2);
    // Its end has passed, and no one has closed it.
    new.not_after = START;
    admit(&store, new).await;

    let mut here = store.live_sessions(&location(1)).await.expect("works");
    here.sort_by_key(|session| session.id);
    let ids: Vec<_> = here.iter().map(|session| session.id).collect();
    assert_eq!(ids, (21..=200).map(session_id).collect::<Vec<_>>());
    let there = store.live_sessions(&location(2)).await.expect("works");
    let ids: Vec<_> = there.iter().map(|session| session.id).collect();
    assert_eq!(ids, [session_id(250)], "live means not closed");
}
