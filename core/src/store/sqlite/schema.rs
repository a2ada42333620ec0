//! Opening a connection, and the tables.
//!
//! `user_version` counts the migrations that a file has been through; each runs in a transaction
//! of its own. A file with a greater number than ours is left alone.
//!
//! Unsigned 64-bit numbers are kept bit for bit in SQLite's signed ones and never compared in SQL.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::SqliteFault;

/// How long to wait for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// "mfag": says whose file this is.
const APPLICATION_ID: i64 = 0x6d66_6167;

const MIGRATIONS: &[&str] = &[V1, V2, V3, V4];

const V1: &str = "
CREATE TABLE users (
  id TEXT NOT NULL PRIMARY KEY,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE peers (
  location TEXT NOT NULL,
  key BLOB NOT NULL CHECK (length(key) = 32),
  user TEXT NOT NULL REFERENCES users (id),
  allowed_ips TEXT NOT NULL,
  label TEXT NOT NULL,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  generation INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (location, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE addresses (
  location TEXT NOT NULL,
  first BLOB NOT NULL,
  last BLOB NOT NULL CHECK (last >= first),
  key BLOB NOT NULL,
  PRIMARY KEY (location, first),
  FOREIGN KEY (location, key) REFERENCES peers (location, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_of_peer ON addresses (location, key);

CREATE TABLE factors (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  user TEXT NOT NULL REFERENCES users (id),
  kind TEXT NOT NULL,
  label TEXT NOT NULL,
  sealed BLOB NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'active')),
  last_step INTEGER,
  failures INTEGER NOT NULL CHECK (failures >= 0),
  last_failure INTEGER NOT NULL
) STRICT;
CREATE INDEX factors_of_user ON factors (user, ordinal);

CREATE TABLE sessions (
  ordinal INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  location TEXT NOT NULL,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  user TEXT NOT NULL,
  allowed_ips TEXT NOT NULL,
  generation INTEGER NOT NULL,
  verified_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  psk BLOB NOT NULL,
  assurance TEXT NOT NULL,
  end_reason TEXT,
  ended_at INTEGER,
  CHECK ((end_reason IS NULL) = (ended_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX one_live_session ON sessions (location, peer) WHERE ended_at IS NULL;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY CHECK (seq > 0),
  previous BLOB NOT NULL CHECK (length(previous) = 32),
  event TEXT NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
";

/// Groups, credentials, suspended factors, enrolment tokens, and which factors opened a session.
/// A check of a column can't be changed, so the factors move to a new table.
const V2: &str = "
ALTER TABLE users ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';

CREATE TABLE factors_2 (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  user TEXT NOT NULL REFERENCES users (id),
  kind TEXT NOT NULL,
  label TEXT NOT NULL,
  credential BLOB CHECK (length(credential) BETWEEN 1 AND 1023),
  sealed BLOB NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'suspended')),
  last_step INTEGER,
  failures INTEGER NOT NULL CHECK (failures >= 0),
  last_failure INTEGER NOT NULL
) STRICT;
INSERT INTO factors_2
  (ordinal, id, user, kind, label, sealed, state, last_step, failures, last_failure)
  SELECT ordinal, id, user, kind, label, sealed, state, last_step, failures, last_failure
  FROM factors;
DROP TABLE factors;
ALTER TABLE factors_2 RENAME TO factors;
CREATE INDEX factors_of_user ON factors (user, ordinal);
CREATE UNIQUE INDEX one_credential ON factors (kind, credential) WHERE credential IS NOT NULL;

ALTER TABLE sessions ADD COLUMN factors TEXT NOT NULL DEFAULT '[]';
CREATE INDEX live_sessions_of_user ON sessions (user, location) WHERE ended_at IS NULL;

CREATE TABLE tokens (
  ordinal INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  user TEXT NOT NULL REFERENCES users (id),
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  kinds TEXT NOT NULL,
  not_after INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_of_user ON tokens (user, ordinal);
";

/// Until when a session can be renewed. Of those that are there it was not sealed: they end when
/// they would.
const V3: &str = "
ALTER TABLE sessions ADD COLUMN renewable_until INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET renewable_until = not_after;
";

/// Which factor goes when a token is used.
const V4: &str = "
ALTER TABLE tokens ADD COLUMN replaces BLOB CHECK (length(replaces) = 16);
";

/// Opens the file for writing, makes it if it is absent, and brings its tables up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, SqliteFault> {
    let mut connection = connect(path)?;
    // Where it may not write the file, SQLite opens it for reading and says nothing.
    if connection.is_readonly("main")? {
        return Err(SqliteFault::ReadOnly);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Four times the usual: the same few pages change again and again, and are copied less often.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // 16 MiB: the pages that admissions touch stay in the cache, however many sessions have ended.
    connection.pragma_update(None, "cache_size", -16_384)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the file, which a writer has opened before, for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, SqliteFault> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, SqliteFault> {
    // Ours is the only thread that uses the connection; a path is a path and never a URI.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // A statement is planned once. Else SQLite would plan again for values that are bound to a range
    // or a limit, at half the cost of the reading.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Makes the file with access for its owner only; SQLite gives its companions the same.
#[cfg(unix)]
pub(super) fn create_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    // Where it exists it stays as it is; where it can't be made, opening it says why.
    drop(made);
}

#[cfg(not(unix))]
pub(super) fn create_private(_path: &Path) {}

fn migrate(connection: &mut Connection) -> Result<(), SqliteFault> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    loop {
        // Other processes may be opening the file too: look inside of the transaction.
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = pragma(&tx, "user_version")?;
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        let is_ours = pragma(&tx, "application_id")? == APPLICATION_ID;
        if !is_ours && (found != 0 || tables != 0) {
            return Err(SqliteFault::NotAStore);
        }
        if found > known || found < 0 {
            return Err(SqliteFault::NewerSchema { found, known });
        }
        let Some(migration) = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n)) else {
            return Ok(());
        };
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, SqliteFault> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}
