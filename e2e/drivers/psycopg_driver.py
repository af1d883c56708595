"""The scenario with psycopg 3. Prints a canonical transcript."""

import hashlib
import os
import threading
import time

import psycopg
from psycopg import pq

NAMES = ("severity", "severity_nonlocalized", "sqlstate", "message_primary", "message_detail",
         "message_hint", "statement_position", "context", "schema_name", "table_name",
         "constraint_name", "source_file", "source_function")


def show(title, *values):
    print(f"{title}:", *values, flush=True)


def diagnostics(diag):
    return {n: getattr(diag, n) for n in NAMES if getattr(diag, n) is not None}


def failing(title, call):
    try:
        call()
        show(title, "no error")
    except psycopg.Error as error:
        show(title, type(error).__name__, diagnostics(error.diag))


def connect(**kwargs):
    # libpq reads the PG* variables
    return psycopg.connect("", autocommit=True, **kwargs)


def _basics(conn):
    for name in (b"server_version", b"server_encoding", b"client_encoding", b"DateStyle", b"TimeZone",
                 b"IntervalStyle", b"standard_conforming_strings", b"is_superuser", b"session_authorization",
                 b"integer_datetimes", b"in_hot_standby", b"default_transaction_read_only", b"application_name",
                 b"scram_iterations", b"search_path"):
        show("parameter", name, conn.pgconn.parameter_status(name))
    show("pid is the server's", conn.execute("SELECT pg_backend_pid()").fetchone()[0] == conn.pgconn.backend_pid)
    notices = []
    conn.add_notice_handler(lambda d: notices.append(diagnostics(d)))

    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        for low, high in ((1, 3), (7, 14), (11, 11), (2000, 2001)):
            cur.execute("SELECT * FROM items WHERE id BETWEEN %s AND %s ORDER BY id", (low, high), prepare=True)
            result = cur.pgresult
            show("columns", [(result.fname(i), result.ftable(i) > 0, result.ftablecol(i), result.ftype(i), result.fmod(i),
                              result.fsize(i), result.fformat(i)) for i in range(result.nfields)])
            for row in range(result.ntuples):
                show("row", [result.get_value(row, i) for i in range(result.nfields)])
            show("values", cur.fetchall(), cur.statusmessage)
    cur = conn.cursor()
    cur.executemany("INSERT INTO ledger VALUES (%s, %s)", [(i, i + 1) for i in range(100, 150)])
    show("executemany", cur.rowcount)
    failing("constraint", lambda: conn.execute("INSERT INTO ledger VALUES (100, 1)"))
    show("delete", conn.execute("DELETE FROM ledger WHERE id >= 100 RETURNING id").fetchall())
    failing("syntax", lambda: conn.execute("SELEC 1"))
    failing("column", lambda: conn.execute("SELECT nosuch FROM items"))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'h', DETAIL = 'd'; RAISE WARNING 'w'; END $$")
    show("notices", notices)
    cur = conn.execute("SELECT 1; SELECT 2, 3; SELECT 4 WHERE false")
    while True:
        show("multi", cur.fetchall(), cur.statusmessage)
        if not cur.nextset():
            break

    def transaction():
        with conn.transaction():
            conn.execute("INSERT INTO ledger VALUES (1, 10)")
            try:
                conn.execute("SELECT 1/0")
            except psycopg.Error as error:
                show("in transaction", diagnostics(error.diag), conn.info.transaction_status)
            conn.execute("SELECT 1")
    failing("transaction", transaction)
    show("status", conn.info.transaction_status, conn.execute("SELECT count(*) FROM ledger").fetchone())
    with conn.transaction():
        conn.execute("INSERT INTO ledger VALUES (2, 10)")
        failing("savepoint", lambda: _inner(conn))
        show("after savepoint", conn.info.transaction_status, conn.execute("SELECT count(*) FROM ledger").fetchone())
        conn.execute("DELETE FROM ledger WHERE id = 2")


def _pipeline(conn):
    """An error inside of a pipeline. Which call raises it depends on when the answer arrives: psycopg
    takes what is there whenever it sends."""
    states = []
    def step(act):
        try:
            return act()
        except psycopg.Error as error:
            states.append(error.diag.sqlstate)
    with conn.pipeline() as pipe:
        first = conn.execute("SELECT %s::int", (1,))
        show("pipeline", first.fetchall())
        step(lambda: conn.execute("SELECT 1/%s::int", (0,)))
        step(lambda: conn.execute("SELECT 3"))
        step(pipe.sync)
    show("pipeline", [state for state in states if state], conn.execute("SELECT 4").fetchone())


def _copy(conn):
    cur = conn.cursor()
    for options in ("", "(FORMAT csv, HEADER)", "(FORMAT binary)"):
        digest = hashlib.sha256()
        with cur.copy(f"COPY (SELECT * FROM items ORDER BY id) TO STDOUT {options}") as copy:
            for block in copy:
                digest.update(block)
        show("copy out", options, digest.hexdigest(), cur.statusmessage)
    conn.execute("TRUNCATE inbox")
    with cur.copy("COPY inbox FROM STDIN") as copy:
        for i in range(50000):
            copy.write_row((i, f"line {i} ä"))
    show("copy in", cur.statusmessage)
    with cur.copy("COPY inbox FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        for i in range(50000, 50100):
            copy.write_row((i, f"binary {i}"))
    show("copy in binary", cur.statusmessage, conn.execute("SELECT count(*), md5(string_agg(body, ',' ORDER BY id)) FROM inbox").fetchone())

    def bad():
        with cur.copy("COPY inbox FROM STDIN") as copy:
            copy.write("1000000\tfine\nx\tbad\n")
    failing("copy bad row", bad)

    def given_up():
        with cur.copy("COPY inbox FROM STDIN") as copy:
            copy.write("1000001\tfine\n")
            raise ValueError("the client gives up")
    try:
        given_up()
    except ValueError as error:
        show("copy given up", error, conn.info.transaction_status)
    show("inbox", conn.execute("SELECT count(*) FROM inbox").fetchone())


def _cancel(conn):
    threading.Timer(0.5, conn.cancel_safe).start()
    start = time.monotonic()
    failing("cancel", lambda: conn.execute("SELECT pg_sleep(30)"))
    show("quick", time.monotonic() - start < 5, conn.execute("SELECT 'alive'").fetchone())
    threading.Timer(0.5, conn.cancel_safe).start()

    def burst():
        for _ in conn.execute("SELECT g, pg_sleep(0.001) FROM generate_series(1,100000) g"):
            pass
    failing("cancel mid-result", burst)
    for _ in range(5):
        conn.cancel_safe()
    time.sleep(0.3)
    show("late cancels harm nobody", conn.execute("SELECT 'alive'").fetchone())


def _notify(conn):
    conn.execute("LISTEN news")
    with connect() as other:
        other.execute("NOTIFY news, 'from another'")
        got = list(conn.notifies(timeout=5, stop_after=1))
        show("notification", [(n.channel, n.payload, n.pid == other.pgconn.backend_pid) for n in got])
    conn.execute("SELECT pg_notify('news', 'own')")
    show("own", [(n.channel, n.payload, n.pid == conn.pgconn.backend_pid) for n in conn.notifies(timeout=5, stop_after=1)])


def _cursor(conn):
    for binary in (False, True):
        digest, count = hashlib.sha256(), 0
        with conn.transaction(), conn.cursor("c", binary=binary) as cur:
            cur.execute("SELECT g, md5(g::text), g::numeric / 7 FROM generate_series(1,100000) g")
            while rows := cur.fetchmany(4999):
                count += len(rows)
                digest.update(repr(rows).encode())
        show("cursor", binary, count, digest.hexdigest())
    digest, count = hashlib.sha256(), 0
    for row in conn.cursor().stream("SELECT g, md5(g::text) FROM generate_series(1,100000) g"):
        count += 1
        digest.update(repr(row).encode())
    show("stream", count, digest.hexdigest())


def _inner(conn):
    with conn.transaction():
        conn.execute("INSERT INTO ledger VALUES (3, -1)")


def _terminated():
    with connect() as conn, connect() as killer:
        killer.execute("SELECT pg_terminate_backend(%s)", (conn.pgconn.backend_pid,))
        time.sleep(0.2)
        failing("terminated", lambda: conn.execute("SELECT 1"))
        show("status", conn.pgconn.status == pq.ConnStatus.BAD)


if __name__ == "__main__":
    with connect() as conn:
        _basics(conn)
        _pipeline(conn)
        _copy(conn)
        _cancel(conn)
        _notify(conn)
        _cursor(conn)
        conn.execute("SET application_name = 'renamed'")
        show("application_name", conn.pgconn.parameter_status(b"application_name"))
        conn.execute("SET TIME ZONE 'Asia/Tokyo'")
        show("TimeZone", conn.pgconn.parameter_status(b"TimeZone"))
    _terminated()
    with connect(options="-c statement_timeout=300 -c work_mem=9MB") as conn:
        show("options", conn.execute("SHOW work_mem").fetchone())
        failing("timeout", lambda: conn.execute("SELECT pg_sleep(5)"))
    show("done", os.environ.get("PGSSLMODE"))
