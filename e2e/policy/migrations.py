"""A migration that stays open while others work: who does not touch its tables goes on, and what cannot be judged
meanwhile is refused at once."""

import time

from attacks import REAL
from lab import proc, weir, wire
from lab.report import equal, lacks

COUNT = "SELECT count(*) FROM plain"
MASKED = "SELECT ssn FROM customers WHERE id = 1"
CLEAN_UP = """DROP TABLE IF EXISTS made; DROP TABLE IF EXISTS own;
ALTER TABLE customers DROP COLUMN IF EXISTS added"""


def start(scene):
    """Weir with a catalog that is read again every second."""
    w = scene.start()
    target = weir.target_yaml(scene.server.port, client_tls="Refuse")
    w.write("target.yaml", target + "  catalog: {refreshInterval: 1s}\n")
    proc.wait_until(lambda: len(w.events(kind="policy_changed")) > 1, "the interval is in force", 20)
    return w


def works(conn, sql, rows=None):
    """It is answered without an error, by both protocols."""
    for answer in (conn.query(sql), conn.pipeline(wire.extended(sql))):
        equal(answer.errors, [], sql)
        if rows is not None:
            equal(answer.rows, rows, sql)


def fails(conn, sql):
    """It is refused because of a lock, by both protocols."""
    equal(conn.query(sql).code, "55P03", sql)
    equal(conn.pipeline(wire.extended(sql)).code, "55P03", sql)


def is_masked(conn):
    """The value that the server has does not arrive."""
    answer = conn.query(MASKED)
    equal(answer.errors, [], MASKED)
    equal(len(answer.rows), 1, "rows")
    lacks(str(answer.rows), REAL.decode(), "the value")


def migration(scene):
    """An open ALTER TABLE is in nobody's way who does not touch the table, except where a catalog that has changed
    must be read."""
    w = start(scene)
    migrating, other, making = conns = [scene.conn(w, timeout=30) for _ in range(3)]
    try:
        works(other, COUNT, [[b"100"]])
        equal(migrating.query("BEGIN").errors, [])
        equal(migrating.query("ALTER TABLE customers ADD COLUMN added int").errors, [])
        time.sleep(1.1)
        works(other, "SELECT 1", [[b"1"]])
        works(other, COUNT, [[b"100"]])
        works(scene.conn(w, timeout=30), COUNT, [[b"100"]])
        equal(making.query("CREATE TABLE made (a int)").errors, [])
        works(making, "SELECT 1", [[b"1"]])
        fails(making, COUNT)
        works(making, "SHOW lock_timeout", [[b"0"]])
        equal(making.query("BEGIN").errors, [])
        equal(making.query(COUNT).code, "55P03")
        equal(making.query("ROLLBACK").errors, [])
        equal(migrating.query("COMMIT").errors, [])
        works(making, COUNT, [[b"100"]])
        works(other, COUNT, [[b"100"]])
        works(making, "SHOW lock_timeout", [[b"0"]])
        is_masked(making)
        is_masked(other)
    finally:
        for conn in conns:
            conn.close()
        w.stop()
        scene.server.psql("SET ROLE app;" + CLEAN_UP, "shop")


def prepared(scene):
    """COMMIT PREPARED waits for nothing that waits for it."""
    w = start(scene)
    migrating, other = conns = [scene.conn(w, timeout=30) for _ in range(2)]
    try:
        for commit in (other.query, lambda sql: other.pipeline(wire.extended(sql))):
            time.sleep(1.1)
            works(other, COUNT, [[b"100"]])
            for sql in ("BEGIN", "ALTER TABLE customers ADD COLUMN added int", "PREPARE TRANSACTION 'migration'"):
                equal(migrating.query(sql).errors, [], sql)
            works(other, COUNT, [[b"100"]])
            equal(commit("COMMIT PREPARED 'migration'").errors, [])
            is_masked(other)
            scene.server.psql("SET ROLE app;" + CLEAN_UP, "shop")
    finally:
        for conn in conns:
            conn.close()
        w.stop()
        scene.server.psql("ROLLBACK PREPARED 'migration'", "shop", check=False)
        scene.server.psql("SET ROLE app;" + CLEAN_UP, "shop")


def settings(scene):
    """What bounds Weir's own wait is not the client's: neither in a transaction nor in a batch."""
    conn = scene.conn()
    for sql in ("SET lock_timeout = '7s'", "BEGIN", "SAVEPOINT s", "CREATE TABLE own (a int)", COUNT):
        equal(conn.query(sql).errors, [], sql)
    equal(conn.query("SHOW lock_timeout").rows, [[b"7s"]], "in a transaction")
    equal(conn.query("ROLLBACK TO s").errors, [], "the client's savepoint")
    equal(conn.query("COMMIT").errors, [])
    batch = [wire.extended(sql) for sql in ("CREATE TABLE own (a int)", COUNT, "SHOW lock_timeout")]
    answer = conn.pipeline(*batch)
    equal((answer.errors, answer.rows), ([], [[b"100"], [b"7s"]]), "in a batch")
    equal(conn.query("SHOW lock_timeout").rows, [[b"7s"]], "behind all")
    conn.close()
    scene.server.psql("SET ROLE app;" + CLEAN_UP, "shop")


def hurried(scene):
    """What bounds the client's statements does not bound Weir's reading, and leaves no transaction behind."""
    for setting in ("statement_timeout = 1", "statement_timeout = 5", "statement_timeout = 40"):
        for _ in range(8):
            scene.direct().query("COMMENT ON TABLE plain IS NULL")
            conn = scene.conn()
            for sql in (f"SET {setting}", "CREATE TEMP TABLE own (a int)", MASKED):
                answer = conn.query(sql)
                equal((answer.code in (None, "57014"), answer.status), (True, "I"), f"{setting}: {sql}: {answer.errors}")
            conn.close()


def namesake(scene):
    """A table that others make under a name that another schema has: one answer is withheld, and disturbs nothing
    that comes behind it; the next ones are given."""
    direct = scene.direct()
    try:
        for schema in ("tenant_a", "tenant_b"):
            equal(direct.query(f"CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO PUBLIC").code, None)
        made = "CREATE TABLE {}.bills (id int, note text); GRANT SELECT ON {}.bills TO PUBLIC"
        direct.query(made.format("tenant_a", "tenant_a"))
        time.sleep(1.1)
        conn = scene.conn()
        equal(conn.query("SELECT id, note FROM tenant_a.bills").code, None)
        equal(conn.query("SET search_path = tenant_b").code, None)
        direct.query(made.format("tenant_b", "tenant_b"))
        time.sleep(1.1)
        for turn in range(20):
            codes = [conn.query(sql).code for sql in ("SELECT id, note FROM bills", "SELECT count(*) FROM bills")]
            equal(codes, ["42501" if turn == 0 else None, None], f"turn {turn}")
        conn.close()
    finally:
        direct.query("DROP SCHEMA tenant_a, tenant_b CASCADE")


def claims(scene, results):
    """All of it."""
    results.check("migration: what others make under a known name is read at the second try", namesake, scene)
    results.check("migration: who does not touch its table goes on", migration, scene)
    results.check("migration: COMMIT PREPARED waits for nothing that waits for it", prepared, scene)
    results.check("migration: the client's statement_timeout is its own statements'", hurried, scene)
    results.check("migration: the client's lock_timeout stays what it was", settings, scene)
