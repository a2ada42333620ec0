//! The stores of this crate, each through the conformance suite, and what SQLite's must do
//! as well: shared by processes, and killed at any moment.
#![cfg(all(feature = "testing", feature = "sqlite"))]

mod keyed;
mod redb;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mfagate::audit::{AuditEvent, AuditKind, verify};
use mfagate::store::{AdminStore, MemoryStore, PeerStore, SqliteStore, StoreError, User};
use mfagate::testing::store::{conformance, durability, replaced, sharing};
use mfagate::time::Timestamp;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_conforms() {
    conformance(|| async { MemoryStore::new() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_of_the_store_in_memory_act_as_one() {
    let both = || async {
        let store = MemoryStore::new();
        (store.clone(), store)
    };
    sharing(both).await;
}

/// Paths in a directory that lasts as long as this.
struct Paths(tempfile::TempDir, AtomicU32);

impl Paths {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        Self(directory, AtomicU32::new(0))
    }

    fn fresh(&self) -> PathBuf {
        let n = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.path().join(format!("{n}.db"))
    }
}

fn open(path: impl AsRef<Path>) -> SqliteStore {
    SqliteStore::open(path).expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_conforms() {
    let paths = Paths::new();
    conformance(|| async { open(paths.fresh()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_keeps_everything() {
    let paths = Paths::new();
    durability(paths.0.path(), |path| async { open(path) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sqlite_stores_on_one_file_act_as_one() {
    let paths = Paths::new();
    let both = || async {
        let path = paths.fresh();
        (open(&path), open(&path))
    };
    sharing(both).await;
}

/// The files of a store that is open, to be made another's.
struct Files {
    database: PathBuf,
    older: PathBuf,
}

impl Files {
    /// Takes a copy, as an operator's backup does.
    fn keep(&self) {
        let db = rusqlite::Connection::open(&self.database).expect("it opens");
        let older = self.older.to_str().expect("a path of ours");
        db.execute("VACUUM INTO ?", [older]).expect("it is copied");
    }

    fn remove_companions(&self) {
        for companion in ["db-wal", "db-shm"] {
            std::fs::remove_file(self.database.with_extension(companion)).expect("it is there");
        }
    }
}

/// How a store comes to be another.
type Way = (&'static str, fn(&Files));

const WAYS: [Way; 5] = [
    ("deleted", |files| {
        std::fs::remove_file(&files.database).expect("it is there");
        files.remove_companions();
    }),
    ("without its log", |files| files.remove_companions()),
    ("replaced by an older copy", |files| {
        std::fs::rename(&files.older, &files.database).expect("it is there");
    }),
    ("written over with an older copy", |files| {
        files.remove_companions();
        // By another process: to close the file in this one would drop the engine's locks on it.
        let mut copy = Command::new("cp");
        let copied = copy.arg(&files.older).arg(&files.database).status();
        assert!(copied.expect("cp runs").success());
    }),
    ("put back by the engine", |files| {
        let db = rusqlite::Connection::open(&files.database).expect("it opens");
        let older = files.older.to_str().expect("a path of ours");
        db.execute("ATTACH ? AS older", [older]).expect("it opens");
        db.execute_batch(
            "DROP TRIGGER audit_is_never_cut;
             DELETE FROM audit WHERE seq > (SELECT max(seq) FROM older.audit);
             UPDATE users SET enabled = (SELECT enabled FROM older.users WHERE id = users.id);",
        )
        .expect("nothing stops them");
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_store_that_is_replaced_says_so_for_good() {
    for (way, put_back) in WAYS {
        println!("{way}");
        let paths = Paths::new();
        let database = paths.fresh();
        let files = Files {
            older: database.with_extension("older"),
            database,
        };
        let store = open(&files.database);
        replaced(store, async || files.keep(), async || put_back(&files)).await;
    }
}

/// Where the child finds its store; its presence makes this test binary the child.
const CHILD: &str = "MFAGATE_TEST_STORE";

/// Where the child finds the store that it may not write.
const READ_ONLY: &str = "MFAGATE_TEST_READ_ONLY";

/// Not a test of its own: the process of `a_store_that_may_not_be_written_does_not_open`.
#[test]
fn child_that_may_not_write() {
    let Ok(path) = std::env::var(READ_ONLY) else {
        return;
    };
    match SqliteStore::open(path) {
        Err(StoreError::Backend(source)) => println!("refused: {source}"),
        other => println!("opened: {other:?}"),
    }
}

/// What a process without the right to write the file says of opening it. Root may write anything,
/// so under root the process is another user's.
#[cfg(unix)]
fn opened_without_the_right_to_write(directory: &Path, path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    // Where another user may run it, whatever the path to this one allows.
    let program = directory.join("child");
    if !program.exists() {
        let this = std::env::current_exe().expect("this binary");
        std::fs::copy(this, &program).expect("it is copied");
    }
    let mut command = Command::new(&program);
    command
        .args(["--exact", "child_that_may_not_write", "--nocapture"])
        .env(READ_ONLY, path);
    if std::fs::metadata(path).expect("it is there").uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let mut tries = 0;
    let output = loop {
        match command.output() {
            // Another test's child held the copy open for a moment, between its fork and its exec.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < 100 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other.expect("the child runs"),
        }
    };
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(unix)]
#[test]
fn a_store_that_may_not_be_written_does_not_open() {
    use std::os::unix::fs::PermissionsExt;
    let paths = Paths::new();
    let directory = paths.0.path();
    let mode = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("it is ours");
    };
    mode(directory, 0o755);
    let path = paths.fresh();
    drop(open(&path));
    mode(&path, 0o444);
    let said = opened_without_the_right_to_write(directory, &path);
    assert!(
        said.contains("refused: the store can't be written"),
        "{said}"
    );

    // The same while another process has it open, and its companions are there.
    let _open = open(&path);
    for companion in ["db-wal", "db-shm"] {
        mode(&path.with_extension(companion), 0o444);
    }
    let said = opened_without_the_right_to_write(directory, &path);
    assert!(
        said.contains("refused: the store can't be written"),
        "{said}"
    );
}

fn numbered(n: u64) -> (User, AuditEvent) {
    let id = format!("user{n}").parse().expect("a name");
    let kind = AuditKind::UserPut { enabled: true };
    let user = User {
        id,
        enabled: true,
        groups: Vec::new(),
    };
    (user, AuditEvent::new(Timestamp::from_millis(n), kind))
}

/// Not a test of its own: the process that `a_kill_loses_nothing_acknowledged` kills. It writes
/// users from eight callers at once and prints the number of each one that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    write_until_killed(Arc::new(open(path))).await;
}

async fn write_until_killed(store: Arc<dyn AdminStore>) {
    let first = u64::try_from(store.users().await.expect("users are read").len()).expect("fits");
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for n in 0.. {
                // The factor of 1000 keeps clear of the users of earlier rounds.
                let n = first * 1000 + n * 8 + caller;
                let (user, event) = numbered(n);
                store.put_user(user, event).await.expect("the store works");
                // One write per line, so that a kill can't leave half of one.
                let line = format!("ack {n}\n");
                let mut out = std::io::stdout();
                out.write_all(line.as_bytes()).expect("the parent reads");
                out.flush().expect("the parent reads");
            }
        });
    }
    callers.join_all().await;
}

/// Lets a child write until some of its writes are acknowledged, and a little longer; kills it.
fn acknowledged_before_a_kill(
    path: &Path,
    child: &str,
    wanted: usize,
    then: Duration,
) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", child, "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let out = child.stdout.take().expect("it is piped");
    let mut acknowledged = BTreeSet::new();
    let mut killed = false;
    for line in BufReader::new(out).lines() {
        let line = line.expect("the child prints text");
        let Some((_, n)) = line.rsplit_once("ack ") else {
            continue;
        };
        acknowledged.insert(n.parse().expect("a number"));
        if acknowledged.len() >= wanted && !killed {
            std::thread::sleep(then);
            child.kill().expect("SIGKILL");
            killed = true;
        }
    }
    child.wait().expect("it has ended");
    assert!(killed, "the child ended by itself");
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_acknowledged() {
    let paths = Paths::new();
    let path = paths.fresh();
    let mut acknowledged = BTreeSet::new();
    for round in 0..12_u64 {
        let wanted = usize::try_from(1 + round * 37 % 200).expect("fits");
        let then = Duration::from_micros(round * 331 % 2000);
        let child = "child_that_writes_until_it_is_killed";
        acknowledged.append(&mut acknowledged_before_a_kill(&path, child, wanted, then));

        let store = open(&path);
        let users = store.users().await.expect("users are read").into_iter();
        let kept: BTreeSet<String> = users.map(|user| user.id.to_string()).collect();
        for n in &acknowledged {
            assert!(kept.contains(&format!("user{n}")), "{n} was acknowledged");
        }
        let records = store.audit(1, usize::MAX).await.expect("it is read");
        verify(&records).expect("the chain verifies");
        assert_eq!(
            records.len(),
            kept.len(),
            "a user and its record, or neither"
        );
        store.close().await;
    }
}
