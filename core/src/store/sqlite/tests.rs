//! What is particular to SQLite: grouping, undoing, failing and closing.

mod addresses;
mod migration;

use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::audit::AuditKind;
use crate::time::Timestamp;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

fn store_in(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(directory.path().join("gate.db")).expect("the store opens")
}

fn event() -> AuditEvent {
    AuditEvent::new(Timestamp::from_millis(1), AuditKind::Fenced)
}

fn reason(error: StoreError) -> SqliteFault {
    let StoreError::Backend(source) = error else {
        panic!("should have come from the engine: {error:?}");
    };
    source.downcast::<SqliteError>().expect("one of SQLite's").0
}

fn open_error(path: impl AsRef<Path>) -> SqliteFault {
    reason(SqliteStore::open(path).expect_err("should not open"))
}

/// Keeps the writer busy until the sender is dropped, so that a queue builds up.
fn hold(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let queues = store.queues().expect("it is open");
    let work = move |_: &mut Tx<'_>| {
        begun.send(()).expect("the test waits");
        // An error: the test has dropped its end.
        let _: Result<(), _> = held.recv();
        Ok(())
    };
    drop(HELD.with(|keep| keep.replace(queues.write.push(work).ok())));
    has_begun.recv().expect("the writer begins");
    release
}

#[test]
fn a_statement_is_planned_once_whatever_is_bound() {
    let directory = directory();
    drop(store_in(&directory));
    let path = directory.path().join("gate.db");
    let reader = schema::open_reader(&path).expect("it opens for reading");
    let sql = "SELECT seq FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?";
    let mut statement = reader.prepare(sql).expect("it is planned");
    for (from, limit) in [(1, 10), (2, 20), (3, 30)] {
        let mut rows = statement.query((from, limit)).expect("it runs");
        while rows.next().expect("a row").is_some() {}
    }
    let planned_anew = statement.get_status(rusqlite::StatementStatus::RePrepare);
    assert_eq!(planned_anew, 0);
}

thread_local! {
    /// The outcome that no one waits for; dropped early, the writer would skip the work.
    static HELD: std::cell::RefCell<Option<oneshot::Receiver<Result<(), StoreError>>>> =
        const { std::cell::RefCell::new(None) };
}

/// Lets spawned tasks run until this many calls are queued.
async fn until_queued(store: &SqliteStore, calls: usize) {
    while store.queues().expect("it is open").write.waiting() < calls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_queued_together_is_flushed_together() {
    let directory = directory();
    let store = Arc::new(store_in(&directory));
    let release = hold(&store);
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.append_audit(event()).await });
    }
    until_queued(&store, 64).await;
    drop(release);
    for outcome in calls.join_all().await {
        outcome.expect("each is told that it is durable");
    }
    assert_eq!(store.flushes(), 1, "the one that was held changed nothing");
    assert_eq!(store.audit(1, 100).await.expect("works").len(), 64);
}

#[tokio::test]
async fn a_call_alone_is_one_flush_and_a_refusal_none() {
    let directory = directory();
    let store = store_in(&directory);
    for n in 1..=3 {
        store.append_audit(event()).await.expect("works");
        assert_eq!(store.flushes(), n);
    }
    let id = SessionId::from_bytes([1; 16]);
    let closed = store.close_session(id, EndReason::Revoked, event()).await;
    assert!(!closed.expect("works"));
    assert_eq!(store.flushes(), 3);
}

#[tokio::test]
async fn an_error_or_a_panic_undoes_its_own_intent_only() {
    let directory = directory();
    let store = store_in(&directory);
    let release = hold(&store);
    let before = store.append_audit(event());
    let failing = store.write(|tx| {
        tx.append(event())?;
        Err::<(), _>(StoreError::Conflict)
    });
    let panicking = store.write::<()>(|tx| {
        tx.append(event())?;
        panic!("a fault that the test asked for")
    });
    let after = store.append_audit(event());
    let calls = async { tokio::join!(before, failing, panicking, after) };
    let releasing = async {
        until_queued(&store, 4).await;
        drop(release);
    };
    let ((before, failing, panicking, after), ()) = tokio::join!(calls, releasing);

    before.expect("works");
    after.expect("works");
    assert!(matches!(failing, Err(StoreError::Conflict)));
    let panicking = reason(panicking.expect_err("it panicked"));
    assert!(matches!(panicking, SqliteFault::Panicked));
    let records = store.audit(1, 10).await.expect("works");
    assert_eq!(records.len(), 2);
    crate::audit::verify(&records).expect("the chain knows nothing of what was undone");
    assert_eq!(store.flushes(), 1);
}

#[tokio::test]
async fn a_full_disk_fails_every_call_of_its_transaction_and_heals() {
    let directory = directory();
    let store = store_in(&directory);
    store.append_audit(event()).await.expect("works");
    // SQLite answers as it does on a full disk when the file may not grow.
    let limit = |pages: i64| {
        store.write(move |tx| {
            tx.connection
                .pragma_query_value(None, "max_page_count", |row| row.get::<_, i64>(0))
                .and_then(|_| {
                    let sql = format!("PRAGMA max_page_count = {pages}");
                    tx.connection
                        .query_row(&sql, [], |row| row.get::<_, i64>(0))
                })
                .map_err(engine)
        })
    };
    limit(1).await.expect("the limit is set");
    let full = loop {
        // One call at a time first, until there is no room.
        if let Err(error) = store.append_audit(event()).await {
            break reason(error);
        }
    };
    assert!(
        matches!(full, SqliteFault::Full | SqliteFault::TransactionLost),
        "{full:?}"
    );
    let kept = store.audit(1, 10_000).await.expect("reading works").len();

    let release = hold(&store);
    let calls = async { tokio::join!(store.append_audit(event()), store.append_audit(event())) };
    let releasing = async {
        until_queued(&store, 2).await;
        drop(release);
    };
    let ((one, two), ()) = tokio::join!(calls, releasing);
    assert!(one.is_err() && two.is_err(), "{one:?} {two:?}");

    limit(1_000_000).await.expect("the limit is lifted");
    store
        .append_audit(event())
        .await
        .expect("there is room again");
    let records = store.audit(1, 10_000).await.expect("works");
    crate::audit::verify(&records).expect("the chain verifies");
    assert_eq!(records.len(), kept + 1, "what failed left nothing");
}

#[tokio::test]
async fn a_commit_that_fails_is_an_error_to_every_caller() {
    let directory = directory();
    let store = store_in(&directory);
    let release = hold(&store);
    // A deferred foreign key is checked at the commit, and makes it fail.
    let breaking = store.write(|tx| {
        tx.connection
            .execute_batch(
                "CREATE TABLE child (user TEXT REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED);
                 INSERT INTO child VALUES ('no one');",
            )
            .map_err(engine)
    });
    let innocent = store.append_audit(event());
    let calls = async { tokio::join!(breaking, innocent) };
    let releasing = async {
        until_queued(&store, 2).await;
        drop(release);
    };
    let ((breaking, innocent), ()) = tokio::join!(calls, releasing);
    assert!(matches!(
        reason(breaking.expect_err("no commit")),
        SqliteFault::TransactionLost
    ));
    assert!(matches!(
        reason(innocent.expect_err("no commit")),
        SqliteFault::TransactionLost
    ));

    assert!(store.audit(1, 10).await.expect("works").is_empty());
    store
        .append_audit(event())
        .await
        .expect("the next transaction works");
    assert_eq!(store.flushes(), 1);
}

#[tokio::test]
async fn closing_finishes_what_is_queued_and_ends_the_rest() {
    let directory = directory();
    let store = store_in(&directory);
    let mut watch = store.watch();
    let release = hold(&store);
    let queued = store.append_audit(event());
    let closing = async {
        until_queued(&store, 1).await;
        let close = store.close();
        drop(release);
        close.await;
    };
    let (queued, ()) = tokio::join!(queued, closing);
    queued.expect("it was queued before");

    let late = reason(store.append_audit(event()).await.expect_err("it is closed"));
    assert!(matches!(late, SqliteFault::Closed));
    let late = reason(store.users().await.expect_err("it is closed"));
    assert!(matches!(late, SqliteFault::Closed));
    let end = std::future::poll_fn(|cx| watch.as_mut().poll_next(cx)).await;
    assert!(matches!(end, Some(Err(_))), "a watch ends with an error");
    let mut late = store.watch();
    let end = std::future::poll_fn(|cx| late.as_mut().poll_next(cx)).await;
    assert!(
        matches!(end, Some(Err(_))),
        "and so does one of a closed store"
    );
    store.close().await;

    let again = store_in(&directory);
    assert_eq!(again.audit(1, 10).await.expect("works").len(), 1);
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_not_begun() {
    let directory = directory();
    let store = store_in(&directory);
    let release = hold(&store);
    let call = tokio::time::timeout(Duration::ZERO, store.append_audit(event())).await;
    assert!(call.is_err(), "the writer is held");
    drop(release);
    store.append_audit(event()).await.expect("works");
    assert_eq!(store.audit(1, 10).await.expect("works").len(), 1);
}

#[tokio::test]
async fn a_trail_that_was_cut_ends_the_watch() {
    let directory = directory();
    let store = store_in(&directory);
    store.append_audit(event()).await.expect("works");
    let mut watch = store.watch();
    // Someone with access to the file, past all triggers.
    let intruder = Connection::open(directory.path().join("gate.db")).expect("it opens");
    intruder
        .execute_batch("DROP TRIGGER audit_is_never_cut; DELETE FROM audit;")
        .expect("nothing stops them");
    let end = std::future::poll_fn(|cx| watch.as_mut().poll_next(cx)).await;
    let Some(Err(StoreError::Replaced)) = end else {
        panic!("should have ended: {end:?}");
    };
}

#[tokio::test]
async fn a_record_that_is_not_byte_for_byte_as_written_is_not_read() {
    let directory = directory();
    let store = store_in(&directory);
    for _ in 0..2 {
        store.append_audit(event()).await.expect("works");
    }
    let intruder = Connection::open(directory.path().join("gate.db")).expect("it opens");
    // Means the same as JSON, and is not what was hashed.
    intruder
        .execute_batch(
            "DROP TRIGGER audit_is_never_changed;
             UPDATE audit SET event = replace(event, ',', ', ') WHERE seq = 2;",
        )
        .expect("nothing stops them");
    let read = store.audit(1, 10).await;
    assert!(
        matches!(
            read,
            Err(StoreError::Corrupt {
                what: "an audit record"
            })
        ),
        "{read:?}"
    );
    let before = store.audit(1, 1).await.expect("the first is as it was");
    crate::audit::verify(&before).expect("the chain verifies");
}

#[test]
fn the_trail_is_append_only_in_the_file_too() {
    let directory = directory();
    drop(store_in(&directory));
    let db = Connection::open(directory.path().join("gate.db")).expect("it opens");
    let row = "INSERT INTO audit VALUES (1, zeroblob(32), '{}', zeroblob(32))";
    db.execute_batch(row).expect("a row");
    for sql in ["DELETE FROM audit", "UPDATE audit SET event = ''"] {
        db.execute_batch(sql).expect_err("the trigger refuses");
    }
}

#[test]
fn one_live_session_a_peer_by_the_index() {
    let directory = directory();
    drop(store_in(&directory));
    let db = Connection::open(directory.path().join("gate.db")).expect("it opens");
    let insert = |id: u8| {
        let sql = "INSERT INTO sessions (id, location, peer, user, allowed_ips, generation,
                     verified_at, not_after, psk, assurance)
                   VALUES (?, 'l', zeroblob(32), 'u', '[]', 1, 1, 1, x'', '[]')";
        db.execute(sql, [[id; 16]])
    };
    insert(1).expect("the first");
    insert(2).expect_err("a second while the first is live");
    db.execute_batch("UPDATE sessions SET ended_at = 1, end_reason = 'revoked'")
        .expect("it ends");
    insert(2).expect("a second after the first");
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_an_error_and_never_left_out() {
    let directory = directory();
    let store = store_in(&directory);
    let db = Connection::open(directory.path().join("gate.db")).expect("it opens");
    db.execute_batch(
        "INSERT INTO sessions (id, location, peer, user, allowed_ips, generation, verified_at,
           not_after, psk, assurance)
         VALUES (zeroblob(16), 'l', zeroblob(32), 'u', 'not JSON', 1, 1, 1, x'', '[]')",
    )
    .expect("a row");
    let location = "l".parse().expect("a name");
    let live = store.live_sessions(&location).await;
    assert!(
        matches!(live, Err(StoreError::Corrupt { what: "a session" })),
        "{live:?}"
    );
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let directory = directory();
    let text = directory.path().join("text");
    std::fs::write(
        &text,
        "this is not a database, but a text of some length\n".repeat(100),
    )
    .expect("it is written");
    assert!(matches!(open_error(&text), SqliteFault::NotAStore));

    let other = directory.path().join("other.db");
    let db = Connection::open(&other).expect("it opens");
    db.execute_batch("CREATE TABLE theirs (x)")
        .expect("a table");
    assert!(matches!(open_error(&other), SqliteFault::NotAStore));

    let newer = directory.path().join("newer.db");
    drop(SqliteStore::open(&newer).expect("it opens"));
    let db = Connection::open(&newer).expect("it opens");
    db.pragma_update(None, "user_version", 99)
        .expect("it is set");
    let error = open_error(&newer);
    assert!(matches!(
        error,
        SqliteFault::NewerSchema {
            found: 99,
            known: 4
        }
    ));
    assert!(error.to_string().contains("update the program"), "{error}");
}

#[test]
fn where_no_file_can_be_the_error_says_so() {
    let directory = directory();
    let absent = directory.path().join("no such directory").join("gate.db");
    assert!(matches!(open_error(absent), SqliteFault::CannotOpen));
    assert!(matches!(
        open_error(directory.path()),
        SqliteFault::CannotOpen
    ));
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    let _store = store_in(&directory);
    let files = std::fs::read_dir(directory.path()).expect("it is read");
    for file in files {
        let file = file.expect("it is read");
        let mode = file.metadata().expect("it is read").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", file.file_name());
    }
}
