//! A stop that means to come back.

use mfagate::gate::Scope;
use mfagate::testing::fake_interface::{Fault, Operation};

use super::{Site, is_granted, is_unavailable};

#[tokio::test(start_paused = true)]
async fn a_restart_leaves_live_peers_where_leases_end_by_themselves() {
    let site = Site::open().await;
    site.interface.end_leases();
    assert!(is_granted(&site.alice.sign_in(true).await));
    let calls = site.interface.calls().len();

    assert!(site.gate.shutdown_keeping_peers().await);

    assert_eq!(site.installed(), [site.alice.peer()]);
    assert_eq!(site.interface.calls().len(), calls, "she is left alone");
    assert!(site.interface.is_left());
    assert_eq!(site.live().await, [site.alice.peer()]);
    assert!(is_unavailable(&site.bob.sign_in(true).await));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_left_for_a_restart_can_be_revoked_still() {
    let site = Site::open().await;
    site.interface.end_leases();
    assert!(is_granted(&site.alice.sign_in(true).await));
    assert!(site.gate.shutdown_keeping_peers().await);

    let ended = site.gate.revoke(Scope::Peer(site.alice.peer())).await;

    assert_eq!(ended.unwrap().len(), 1);
    assert!(site.installed().is_empty() && site.live().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_every_peer_off_where_nothing_else_ends_leases() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));

    assert!(!site.gate.shutdown_keeping_peers().await);

    assert!(site.installed().is_empty() && !site.interface.is_left());
    assert_eq!(site.live().await, [site.alice.peer()]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_leaves_nobody_who_is_on_their_way_off() {
    let site = Site::open().await;
    site.interface.end_leases();
    for visitor in [&site.alice, &site.bob] {
        assert!(is_granted(&visitor.sign_in(true).await));
    }
    site.interface.fail_always(Operation::Remove, Fault::Fail);
    let revoked = site.gate.revoke(Scope::Peer(site.bob.peer()));
    let (revoked, kept) = tokio::join!(revoked, site.gate.shutdown_keeping_peers());

    // What can't be removed is fenced, and then no one is kept.
    assert!(!kept && site.interface.is_fenced());
    drop(revoked); // done or not: the interface is down
}
