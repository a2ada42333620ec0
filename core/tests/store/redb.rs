//! The example of a store of one's own, held to what the stores of the crate are held to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mfagate::audit::verify;
use mfagate::store::PeerStore;
use mfagate::store::keyed::Keyed;
use mfagate::testing::store::{conformance, durability};

use super::{CHILD, Paths, acknowledged_before_a_kill, write_until_killed};

#[path = "../../examples/redb_store.rs"]
#[expect(dead_code, reason = "its program is not run here")]
mod redb_store;

use redb_store::RedbBackend;

async fn open(path: PathBuf) -> Keyed<RedbBackend> {
    let backend = RedbBackend::open(path).expect("the file opens");
    Keyed::open(backend).await.expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_over_redb_conforms() {
    let paths = Paths::new();
    conformance(|| open(paths.fresh())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_over_redb_keeps_everything() {
    let paths = Paths::new();
    durability(paths.0.path(), open).await;
}

/// Not a test of its own: the process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_to_redb_until_it_is_killed() {
    if let Ok(path) = std::env::var(CHILD) {
        write_until_killed(Arc::new(open(path.into()).await)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_redb_acknowledged() {
    let paths = Paths::new();
    let path: &Path = &paths.fresh();
    let mut acknowledged = BTreeSet::new();
    for round in 0..6_u64 {
        let wanted = usize::try_from(1 + round * 7 % 30).expect("fits");
        let then = Duration::from_micros(round * 331 % 2000);
        let child = "redb::child_that_writes_to_redb_until_it_is_killed";
        acknowledged.append(&mut acknowledged_before_a_kill(path, child, wanted, then));

        let store = open(path.to_owned()).await;
        let users = store.users().await.expect("users are read").into_iter();
        let kept: BTreeSet<String> = users.map(|user| user.id.to_string()).collect();
        for n in &acknowledged {
            assert!(kept.contains(&format!("user{n}")), "{n} was acknowledged");
        }
        let records = store.audit(1, usize::MAX).await.expect("it is read");
        verify(&records).expect("the chain verifies");
        assert_eq!(records.len(), kept.len(), "a user and a record, or neither");
    }
}
