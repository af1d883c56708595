"""The scenario with stock psql; ``psql.py MAJOR``. Prints a canonical transcript."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from lab import install  # noqa: E402

MAJOR = int(sys.argv[1])
PSQL, EXTRA = install.psql(MAJOR)
ENV = dict(os.environ, **EXTRA, PSQL_HISTORY="/dev/null")

COMMON = r"""
\set VERBOSITY verbose
\encoding
SHOW server_version; SHOW TimeZone; SHOW client_encoding;
PREPARE q(int, int) AS SELECT * FROM items WHERE id BETWEEN $1 AND $2 ORDER BY id;
EXECUTE q(1, 3);
EXECUTE q(7, 14);
SELECT * FROM items WHERE id = 7 \gdesc
SELECT 1 \; SELECT 2 AS two \; SELECT 3 WHERE false;
DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'a hint', DETAIL = 'a detail'; END $$;
SELEC 1;
SELECT nosuch FROM items;
BEGIN;
INSERT INTO ledger VALUES (1, 10);
SELECT 1/0;
SELECT count(*) FROM ledger;
\errverbose
ROLLBACK;
SELECT count(*) FROM ledger;
BEGIN; SAVEPOINT s; INSERT INTO ledger VALUES (1, -1); ROLLBACK TO s; SELECT 'alive'; COMMIT;
TRUNCATE inbox;
COPY inbox FROM STDIN;
1	one
2	two äöü
3	\N
\.
COPY inbox FROM STDIN CSV;
4,"four, quoted"
x,bad
\.
SELECT * FROM inbox ORDER BY id;
COPY (SELECT id, name, data FROM items WHERE id < 6 ORDER BY id) TO STDOUT;
COPY (SELECT id, name, data FROM items WHERE id < 6 ORDER BY id) TO STDOUT (FORMAT csv, HEADER);
DELETE FROM inbox WHERE id = 1 RETURNING *;
UPDATE inbox SET body = 'changed' WHERE id = 2 RETURNING body;
SELECT set_config('application_name', 'renamed', false);
SET client_min_messages = debug1; SET client_min_messages = notice;
SET TIME ZONE 'Asia/Tokyo'; SELECT at FROM items WHERE id = 1; RESET TIME ZONE;
LISTEN news; NOTIFY news, 'a payload'; SELECT 'after notify';
\conninfo
"""

PSQL18 = r"""
SELECT id, name FROM items WHERE id = $1 \bind 5 \g
SELECT id, name FROM items WHERE id = $1 \parse st
\bind_named st 6 \g
\bind_named st 8 \g
\close_prepared st
\startpipeline
SELECT $1::int \bind 1 \sendpipeline
SELECT 1/$1 \bind 0 \sendpipeline
SELECT $1::int \bind 2 \sendpipeline
\syncpipeline
SELECT $1::text \bind three \sendpipeline
\flushrequest
\getresults
\endpipeline
"""


def section(title):
    print(f"== {title}", flush=True)


def psql(script, *argv, raw=False):
    done = subprocess.run([PSQL, "-X", "-a" if not raw else "-q", *argv], input=script.encode(), env=ENV,
                          capture_output=True, timeout=180)
    if raw:
        return done
    for line in (done.stdout + b"--stderr\n" + done.stderr).decode(errors="replace").splitlines():
        print(normal(line))
    print("exit", done.returncode)
    return done


def normal(line):
    line = re.sub(r"with PID \d+", "with PID N", line)
    line = re.sub(r"(Backend PID\s*\| )\d+", r"\1N", line)
    line = re.sub(r"(port|Port|Server Port)(\W+)\"?\d+\"?", r"\1\2PORT", line)
    # the cipher is between the client and whoever terminates its TLS
    # About the leg to Weir, which answers logins itself where it brokers and speaks ALPN to all.
    line = re.sub(r"^( ALPN\s*\||\s*Password Used\s*\|).*", r"\1 of this leg", line)
    return re.sub(r"^(SSL connection|SSL |TLS ).*", "TLS line", line)


def digest(data):
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()}"


section("script")
psql(COMMON)
if MAJOR >= 18:
    section("extended")
    psql(PSQL18)
section("binary copy")
out = psql("COPY (SELECT * FROM items ORDER BY id) TO STDOUT (FORMAT binary);", raw=True)
print(digest(out.stdout), out.stderr.decode())
psql("TRUNCATE inbox;\n", "-q")
copy = psql("", "-c", "\\copy inbox from pstdin", raw=True)
back = subprocess.run([PSQL, "-X", "-q", "-c", "COPY inbox FROM STDIN", "-c", "SELECT count(*), sum(id), md5(string_agg(body, ',' ORDER BY id)) FROM inbox"],
                      input=b"".join(b"%d\tline %d\n" % (i, i) for i in range(50000)), env=ENV, capture_output=True, timeout=120)
print(back.stdout.decode(), back.stderr.decode(), back.returncode)
section("cursor")
rows = psql("\\set FETCH_COUNT 777\nSELECT g, md5(g::text) FROM generate_series(1,100000) g;", "-At", raw=True)
print(digest(rows.stdout), rows.stderr.decode(), rows.returncode)
section("cancel")
child = subprocess.Popen([PSQL, "-X", "-v", "VERBOSITY=verbose", "-c", "SELECT 'before'", "-c", "SELECT pg_sleep(30)", "-c", "SELECT 'after'"],
                         env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
time.sleep(1.0)
start = time.monotonic()
child.send_signal(signal.SIGINT)
print(child.communicate(timeout=40)[0], child.returncode, "quick" if time.monotonic() - start < 5 else "slow")
section("login errors")
for variables in ({"PGPASSWORD": "wrong"}, {"PGDATABASE": "nosuch"}, {"PGUSER": "nobody_here"},
                  {"PGOPTIONS": "-c nosuch.thing=1 -c work_mem=banana"}, {"PGOPTIONS": "-c work_mem=7MB -c search_path=pg_catalog"}):
    if variables.get("PGUSER", variables.get("PGPASSWORD")) and os.environ.get("WEIR_BROKERED"):
        continue
    done = subprocess.run([PSQL, "-X", "-Atc", "SHOW work_mem; SHOW search_path"], env=dict(ENV, **variables),
                          capture_output=True, text=True, timeout=60)
    print(variables, done.returncode, done.stdout, re.sub(r"port \d+", "port PORT", done.stderr))
