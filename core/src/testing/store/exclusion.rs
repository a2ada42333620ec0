//! What shuts a user or a peer out: it ends their live sessions with the change itself.

use super::fixture::*;
use crate::audit::AuditKind;
use crate::id::Label;
use crate::store::{ChangeStream, EndReason, Peer, StoreError, User, UserChange};

const OUT: AuditKind = AuditKind::Ended {
    reason: EndReason::Revoked,
};

pub(super) async fn nobody_is_added_by_being_disabled(store: Store) {
    let change = UserChange::Enabled(false);
    let put = event(AuditKind::UserPut { enabled: false });
    let disabled = store.change_user(user(1), change, put).await;
    assert!(matches!(disabled, Err(StoreError::UnknownUser)));
    let users = store.users().await.expect("users are read");
    assert!(users.is_empty(), "a name that was mistyped is no user");
    assert!(trail(&store).await.is_empty(), "and has no record");
}

pub(super) async fn a_disabled_user_is_out_though_enabled_at_once(store: Store) {
    for n in 1..=2 {
        enrol(&store, n).await;
        admit(&store, new_session(n, n, 1)).await;
    }
    let mut stream = store.watch();
    let before = trail(&store).await.len();
    for enabled in [false, true] {
        let put = event(AuditKind::UserPut { enabled });
        let change = UserChange::Enabled(enabled);
        let changed = store.change_user(user(1), change, put).await;
        changed.expect("the store works");
    }
    is_out(&store, &mut stream, 1).await;
    let kinds: Vec<_> = events_since(&store, before).await;
    let kinds: Vec<_> = kinds.into_iter().map(|event| event.kind).collect();
    let put = |enabled| AuditKind::UserPut { enabled };
    assert_eq!(kinds, [put(false), OUT, put(true)]);
    let live = store.live_sessions(&location(1)).await;
    let live: Vec<_> = live.expect("works").iter().map(|s| s.id).collect();
    assert_eq!(live, [session_id(2)], "another's session goes on");
}

pub(super) async fn a_user_put_disabled_is_out(store: Store) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    let mut stream = store.watch();
    let whole = User {
        id: user(1),
        enabled: false,
        groups: Vec::new(),
    };
    let put = store.put_user(whole, event(AuditKind::UserPut { enabled: false }));
    put.await.expect("the store works");
    is_out(&store, &mut stream, 1).await;
}

pub(super) async fn a_peer_that_is_disabled_or_given_away_is_out(store: Store) {
    enrol(&store, 1).await;
    put_user(&store, 2, true).await;
    let changes = [
        Peer {
            enabled: false,
            ..peer(1)
        },
        Peer {
            user: user(2),
            ..peer(1)
        },
        Peer {
            allowed_ips: peer(1).allowed_ips.split_off(1),
            ..peer(1)
        },
    ];
    for (n, changed) in (1..).zip(changes) {
        admit(&store, new_session(n, 1, n.into())).await;
        let mut stream = store.watch();
        put_peer(&store, changed).await;
        put_peer(&store, peer(1)).await;
        is_out(&store, &mut stream, n).await;
    }
    admit(&store, new_session(4, 1, 4)).await;
    let renamed = Peer {
        label: Label::from_stored("another"),
        ..peer(1)
    };
    put_peer(&store, renamed).await;
    let live = store.live_sessions(&location(1)).await;
    assert_eq!(live.expect("works").len(), 1, "a label takes nothing away");
}

/// Session `n` has ended, and those who watch are told.
async fn is_out(store: &Store, stream: &mut ChangeStream, n: u8) {
    let session = store.session(session_id(n)).await.expect("works");
    let ended = session.and_then(|session| session.ended);
    assert_eq!(ended, Some((EndReason::Revoked, START)));
    changes_until(stream, |all| all.sessions.contains(&session_id(n))).await;
}
