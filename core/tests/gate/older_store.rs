//! A store that was deleted, replaced or put back to an older copy: under a running gate, and
//! between two.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mfagate::audit::HeadFile;
use mfagate::code::ErrorCode;
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Event, Gate, GateConfig, Scope, StartError};
use mfagate::key::PrivateKey;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::{PeerStore, SqliteStore};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::time::{Clock, SystemClock};

use super::office::Office;
use super::patience::{Visitor, is_granted, location};

/// How the file of a store comes to be another, given an older copy.
type Way = (&'static str, fn(&Path, &Path));

const WAYS: [Way; 3] = [
    ("deleted", |database, _| {
        std::fs::remove_file(database).unwrap();
    }),
    ("replaced", |database, copy| {
        std::fs::rename(copy, database).unwrap();
    }),
    ("written over", |database, copy| {
        for companion in ["db-wal", "db-shm"] {
            std::fs::remove_file(database.with_extension(companion)).unwrap();
        }
        // By another process: to close the file in this one would drop the engine's locks on it.
        let mut cp = std::process::Command::new("cp");
        assert!(cp.arg(copy).arg(database).status().unwrap().success());
    }),
];

fn copy(database: &Path, to: &Path) {
    let db = rusqlite::Connection::open(database).unwrap();
    db.execute("VACUUM INTO ?", [to.to_str().unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_store_admits_no_one_and_ends_no_session() {
    for (way, replace) in WAYS {
        let office = Office::open().await;
        let (laptop, phone) = (
            office.device("10.9.0.2/32").await,
            office.device("10.9.0.3/32").await,
        );
        let older = office.database().with_extension("older");
        copy(&office.database(), &older);
        let client = laptop.client();
        client.connect(&mut office.right_codes()).await.unwrap();
        let mut events = office.gate().events();

        replace(&office.database(), &older);
        let told = async { while !matches!(events.next().await, Some(Event::StoreReplaced)) {} };
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        told.unwrap_or_else(|_| panic!("{way}: it was not told"));

        office.clock.advance(Duration::from_secs(30));
        let client = phone.client();
        let mut codes = office.right_codes();
        let tried = tokio::time::timeout(Duration::from_secs(5), client.connect(&mut codes));
        assert!(!matches!(tried.await, Ok(Ok(_))), "{way}: it admits");
        assert_eq!(office.installed().await, [laptop.key()], "{way}");
        assert!(laptop.reach().await.is_ok(), "{way}: the lease goes on");

        office.clock.advance(Duration::from_secs(8 * 3600));
        office.gate().time_changed();
        assert!(office.gate().sessions().is_empty(), "{way}: to its end");
        office.until_nobody_is_in().await;
    }
}

/// What stays the same over starts.
struct Site {
    folder: tempfile::TempDir,
    interface: Arc<FakeInterface>,
    key: PrivateKey,
    ring: KeyRing,
}

impl Site {
    fn store(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(self.folder.path().join("gate.db")).unwrap())
    }

    async fn start(
        &self,
        store: Arc<SqliteStore>,
        accepts_older: bool,
    ) -> Result<Gate, StartError> {
        let mut config = GateConfig::new(
            location(),
            self.key.clone(),
            self.ring.clone(),
            store,
            self.interface.clone(),
        );
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        config.head_file = Some(HeadFile::new(self.folder.path().join("audit.head")));
        config.danger_accept_older_store = accepts_older;
        Gate::start(config).await
    }
}

#[tokio::test]
async fn a_start_on_an_older_store_needs_a_word_and_ends_all() {
    let site = Site {
        folder: tempfile::tempdir().unwrap(),
        interface: Arc::new(FakeInterface::new()),
        key: PrivateKey::generate().unwrap(),
        ring: KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap()),
    };
    let (database, older) = (
        site.folder.path().join("gate.db"),
        site.folder.path().join("older.db"),
    );
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = site.store();
    let gate = site.start(store.clone(), false).await.unwrap();
    let registrar = Registrar::new(store.clone(), site.ring.clone(), clock.clone());
    let alice = Visitor::enrol(&registrar, gate.clone(), clock, "alice").await;
    assert!(is_granted(&alice.sign_in(true).await));
    copy(&database, &older);
    gate.revoke(Scope::All).await.unwrap();
    let peers = site.interface.installed();
    assert!(peers.is_empty());
    gate.shutdown().await;
    store.close().await;

    // The same store starts as ever.
    let store = site.store();
    site.start(store.clone(), false)
        .await
        .unwrap()
        .shutdown()
        .await;
    store.close().await;

    for companion in ["db-wal", "db-shm"] {
        _ = std::fs::remove_file(database.with_extension(companion)); // closed, it has none
    }
    std::fs::rename(&older, &database).unwrap();
    let store = site.store();
    let refused = site.start(store.clone(), false).await;
    let is_older = matches!(&refused, Err(error) if error.code() == "start-older-store");
    assert!(is_older, "{refused:?}");
    assert!(site.interface.installed().is_empty());

    let gate = site.start(store.clone(), true).await.unwrap();
    assert!(gate.sessions().is_empty(), "it had been revoked");
    gate.shutdown().await;
    let live = store.live_sessions(&location()).await.unwrap();
    assert!(live.is_empty());
    site.start(store.clone(), false)
        .await
        .unwrap()
        .shutdown()
        .await;
}
