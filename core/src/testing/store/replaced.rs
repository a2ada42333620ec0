//! A store that is not the one any more that was opened.

use super::fixture::*;
use crate::store::{StoreError, UserChange};

/// What was acknowledged after the copy is gone: a session was revoked, a user disabled.
pub(super) async fn a_store_that_is_replaced_says_so_for_good(
    store: Store,
    keep: impl AsyncFnOnce(),
    put_back: impl AsyncFnOnce(),
) {
    enrol(&store, 1).await;
    admit(&store, new_session(1, 1, 1)).await;
    keep().await;
    put_user(&store, 1, false).await;
    let mut stream = store.watch();
    put_back().await;

    // A change finds it out by itself, before anybody is told.
    let change = store.append_audit(wrong()).await;
    assert!(matches!(change, Err(StoreError::Replaced)), "{change:?}");
    loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(StoreError::Replaced) => break,
            Err(other) => panic!("should have said that it is another: {other:?}"),
        }
    }
    let mut again = store.watch();
    let told = next(&mut again).await;
    assert!(matches!(told, Err(StoreError::Replaced)), "{told:?}");

    let admitted = store.open_session(new_session(2, 1, 2)).await;
    assert!(matches!(admitted, Err(StoreError::Replaced)));
    let counted = store.record_failure(failure(1, START)).await;
    assert!(matches!(counted, Err(StoreError::Replaced)));
    let enabled = UserChange::Enabled(true);
    let changed = store.change_user(user(1), enabled, wrong()).await;
    assert!(matches!(changed, Err(StoreError::Replaced)));
    let enrolment = store.enrolment(&location(1), &key(1)).await;
    assert!(
        matches!(enrolment, Err(StoreError::Replaced)),
        "not even read"
    );
    let head = store.head().await;
    assert!(matches!(head, Err(StoreError::Replaced)));
}
