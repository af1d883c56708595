"""Where a client wants Weir and the server to mean different things: names of statements, portals and
cursors, changes of how texts are read, and what is said while a statement is planned. Each works direct."""

from attacks import CALLS_F, HARMLESS, REAL, TAKEN, does, function
from lab import wire
from lab.report import equal, lacks

CLEAN = "SELECT name || '' FROM customers WHERE id = 1"
DIRTY = "SELECT ssn || '' FROM customers WHERE id = 1"
LONG = "n" * 63
# with escapes the string ends later, and what was a comment is none
ESCAPED = f"SELECT '\\' /*', ({DIRTY}) AS x --*/"
# in Shift JIS the two bytes before the quote are one character, which escapes nothing
ENCODED = f"SELECT E'\u3043\\', ({DIRTY.replace(chr(39) * 2, '$$$$')}) AS x --'"
SAYS = function("f", f"BEGIN RAISE LEVEL '%', ({TAKEN}); RETURN 1; END", "", "int", "plpgsql", "IMMUTABLE")


def run(sql):
    """One statement of the extended protocol."""
    return wire.parse(sql) + wire.bind() + wire.execute()


def close(kind, name):
    """A Close message."""
    return wire.message(b"C", kind + wire.cstr(name))


def bound(sql, portal, name="s"):
    """A statement with a name, and a portal of it."""
    return wire.parse(sql, name) + wire.bind(name=name, portal=portal) + wire.describe("P", portal)


# texts are Queries, bytes go with a Sync; the last step shows the value
SESSIONS = {
    "names that differ behind what the server keeps": [
        wire.parse(CLEAN, LONG + "x"), close(b"S", LONG + "y"), wire.parse(DIRTY, LONG + "z"),
        wire.bind(name=LONG + "x") + wire.execute()],
    "a cursor in the place of a portal": [
        "BEGIN", bound(CLEAN, "p"), "CLOSE p", f"DECLARE p CURSOR FOR {TAKEN}", wire.execute(portal="p")],
    "a cursor in the place of a portal that was rolled back": [
        "BEGIN", "SAVEPOINT s", bound(CLEAN, "p"), "ROLLBACK TO s", f"DECLARE p CURSOR FOR {TAKEN}",
        wire.execute(portal="p")],
    "a cursor in the place of a suspended portal": [
        "BEGIN", bound("SELECT name FROM customers", "p") + wire.execute(1, "p"), "CLOSE ALL",
        f"DECLARE p CURSOR FOR {TAKEN}", wire.execute(portal="p")],
    "escapes, in one batch": [run("SET standard_conforming_strings = off") + run(ESCAPED)],
    "escapes by a function, in one batch": [
        does("BEGIN SET standard_conforming_strings = off;"), run(CALLS_F) + run(ESCAPED)],
    "escapes that come back, in one batch": [
        "SET standard_conforming_strings = off", "BEGIN", "SET LOCAL standard_conforming_strings = on",
        run("ROLLBACK") + run(ESCAPED)],
    "an encoding, in one batch": [run("SET client_encoding = 'SJIS'") + run(ENCODED)],
    "a name in two encodings": [
        f"PREPARE \u00e4 AS {DIRTY}", "SET client_encoding = 'LATIN1'", wire.parse(CLEAN, "\u00e4"),
        "SET client_encoding = 'UTF8'", "EXECUTE \u00e4"],
    "a catalog in another encoding": [
        "SET client_encoding = 'LATIN1'", "CREATE TEMP TABLE t (id int)", "SELECT * FROM anschriften"],
    "a catalog in an encoding that is changed, in one batch": [
        run("CREATE TEMP TABLE t (id int)") + run("SET client_encoding = 'LATIN1'") + run("SELECT * FROM anschriften")],
    "a notice while it is planned": [SAYS.replace("LEVEL", "NOTICE"), run("SELECT 1 WHERE f() = 2")],
    "an error while it is planned": [SAYS.replace("LEVEL", "EXCEPTION"), run("SELECT 1 WHERE f() = 2")],
    "a transaction that was prepared": [
        function("g", HARMLESS), "BEGIN", function("g", TAKEN), "PREPARE TRANSACTION 'weir'", "SELECT g()",
        "COMMIT PREPARED 'weir'", "SELECT g()"],
}

# what waits for people is shown unasked
HELD = {
    "a portal in the place of a cursor": [
        "BEGIN", "DECLARE p CURSOR FOR SELECT id FROM plain", close(b"P", "p"),
        bound("SELECT secret FROM vault", "p"), "FETCH ALL FROM p"],
    "a portal in the place of a cursor that was rolled back": [
        "BEGIN", "SAVEPOINT s", "DECLARE p CURSOR FOR SELECT id FROM plain", "ROLLBACK TO s",
        bound("SELECT secret FROM vault", "p"), "FETCH ALL FROM p"],
    "a cursor that was explained": [
        "BEGIN", "DECLARE p CURSOR FOR SELECT secret FROM vault", "EXPLAIN DECLARE p CURSOR FOR SELECT id FROM plain",
        "FETCH ALL FROM p"],
}


def shown(conn, steps, wanted):
    """Whether the steps show it."""
    found = False
    try:
        for step in steps:
            answer = conn.query(step) if isinstance(step, str) else conn.pipeline(step)
            found |= any(wanted in body for _, body in answer.messages)
    except wire.Closed:
        pass
    conn.close()
    return found


def attack(scene, steps, wanted, w=None):
    """It works on the server, and not through Weir."""
    for conn, works in ((scene.direct(), True), (scene.conn(w, timeout=60), False)):
        equal(shown(conn, steps, wanted), works, "through Weir" if not works else "the control")
        direct = scene.direct()
        direct.query("DROP FUNCTION IF EXISTS f(); DROP FUNCTION IF EXISTS g()")
        direct.close()


def of_others(scene):
    """What another session has for itself alone is in nobody else's way."""
    other = scene.conn()
    equal(other.query("CREATE TEMP TABLE customers (zz int)").errors, [])
    equal(other.query("CREATE FUNCTION pg_temp.count(x text) RETURNS int LANGUAGE sql AS 'SELECT 1'").errors, [])
    conn, fresh = scene.conn(), scene.conn()
    equal(conn.query("CREATE TEMP TABLE own (x int)").errors, [])
    for one in (conn, fresh):
        equal(one.query("SELECT id, name FROM customers WHERE id = 1").code, None, "a table of the same name")
        equal(one.query("SELECT count(name) FROM customers WHERE id = 1").rows, [[b"1"]], "a function of the same name")
    equal(conn.query("SELECT x FROM own").rows, [], "its own")
    for one in (other, conn, fresh):
        one.close()


def reserved(scene):
    """There is no name that a client can give so that Weir runs what waits for people."""
    conn = scene.conn()
    conn.query("BEGIN")
    conn.pipeline(bound("UPDATE vault SET secret = 'changed'", "weir_refused"))
    conn.pipeline(wire.parse("DELETE FROM plain", "t"))
    equal(conn.pipeline(wire.bind(name="t") + wire.execute()).code, "26000", "the refusal")
    conn.query("COMMIT")
    equal(scene.direct().query("SELECT secret FROM vault").rows, [[b"opened"]], "the vault")


def portals(scene):
    """Rows of portals that are suspended, or never end, count against a window as others do."""
    w = scene.start()
    seen = 0
    for _ in range(2):
        conn = scene.conn(w)
        conn.query("BEGIN")
        for number in range(4):
            conn.pipeline(bound("SELECT id FROM metered", f"p{number}", f"s{number}"))
        for _ in range(3):
            for number in range(4):
                answer = conn.pipeline(wire.execute(15, f"p{number}"))
                seen += len(answer.rows)
                if answer.code:
                    conn.query("ROLLBACK")
                    break
        conn.close()
    w.stop()
    equal(seen, 100, "rows")


HOLDS = f"DECLARE c CURSOR WITH HOLD FOR {TAKEN} UNION ALL {TAKEN}"
UNNAMED = {
    "a Bind that fails": [
        HOLDS, wire.parse("SET a.b = 1") + wire.bind(portal="c") + wire.SYNC + wire.execute(portal="c") + wire.SYNC],
    "a Bind that is skipped": [
        HOLDS, run("SELECT 1 / 0") + wire.parse(CLEAN) + wire.bind(portal="c") + wire.SYNC
        + wire.execute(portal="c") + wire.SYNC],
    "a Close and a Bind behind which a cursor is read": [
        "BEGIN", f"DECLARE c CURSOR FOR {CLEAN}",
        close(b"P", "c") + wire.parse(f"{TAKEN} UNION ALL {TAKEN}") + wire.bind(portal="c") + wire.SYNC
        + wire.query("FETCH ALL c")],
    "a Close and a Parse behind which a statement is run": [
        f"PREPARE p AS {CLEAN}",
        close(b"S", "p") + wire.parse(f"{TAKEN} UNION ALL {TAKEN}", "p") + wire.SYNC + wire.query("EXECUTE p")],
}


def pipelined(scene, steps):
    """What a name means when a later batch is judged is what it means to the server, however the one before ended."""
    def tell(conn):
        for sql in steps[:-1]:
            conn.query(sql)
        conn.send(steps[-1])
        heard = repr([conn.until_ready(), conn.until_ready()])
        conn.close()
        return heard

    equal(REAL.decode() in tell(scene.direct()), True, "the control")
    lacks(tell(scene.conn()), REAL.decode(), "through Weir")


def claims(scene, results):
    """All of it."""
    for name, steps in SESSIONS.items():
        results.check(f"session: {name} shows no labelled value", attack, scene, steps, REAL)
    for name, steps in UNNAMED.items():
        results.check(f"session: {name} shows no labelled value", pipelined, scene, steps)
    w = scene.start(scene.hurried())
    for name, steps in HELD.items():
        results.check(f"session: {name} is held", attack, scene, steps, b"opened", w)
    w.stop()
    results.check("session: a window counts the rows of every portal", portals, scene)
    results.check("session: a name of Weir's own runs nothing", reserved, scene)
    results.check("session: temporary objects of others are in nobody's way", of_others, scene)
