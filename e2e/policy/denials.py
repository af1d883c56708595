"""Refusals: what is refused, how it reads, and that client and server agree afterwards."""

import re

from lab import wire
from lab.report import contains, equal, lacks

# name: statement that the policy refuses; each must work on the server
REFUSED = {
    "DELETE without WHERE": "DELETE FROM plain",
    "UPDATE without WHERE": "UPDATE plain SET body = 'x'",
    "a column computed from a labelled one": "ALTER TABLE customers ADD COLUMN y text; ALTER TABLE customers ALTER COLUMN y TYPE text USING ssn",
    "a generated copy of a labelled column": "ALTER TABLE customers ADD COLUMN x text GENERATED ALWAYS AS (ssn) STORED",
    "a column computed from a labelled one, in other letters": "ALTER TABLE customers ALTER COLUMN region TYPE text USING U&\"s\\0073n\"",
    "code that names a labelled relation by code points": "DO $$ BEGIN PERFORM ssn FROM U&\"\\0063ustomers\"; END $$",
    "code that names a labelled relation that needs quotes": "DO $$ BEGIN PERFORM 1 FROM \"tax ids\"; END $$",
    "a parameter of EXECUTE": "PREPARE q(text) AS SELECT $1; EXECUTE q(leak())",
    "a default that reads a labelled column": "CREATE TABLE t (a text DEFAULT leak()); INSERT INTO t DEFAULT VALUES RETURNING a",
    "a rule that reads a labelled column": "CREATE RULE r AS ON UPDATE TO plain DO ALSO INSERT INTO plain SELECT id + 7000, ssn FROM customers",
    "a trigger that reads a labelled column": "CREATE TRIGGER r BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION spill()",
    "UPDATE with an ineffective WHERE": "UPDATE plain SET body = 'x' WHERE true",
    "DELETE inside WITH": "WITH x AS (DELETE FROM plain RETURNING id) SELECT count(*) FROM x",
    "UPDATE inside WITH of an INSERT": "WITH x AS (UPDATE plain SET body = 'x' RETURNING id) INSERT INTO plain SELECT id + 1000, 'y' FROM x",
    "EXPLAIN ANALYZE of a DELETE": "EXPLAIN (ANALYZE) DELETE FROM plain",
    "EXPLAIN with a quoted option": 'EXPLAIN ("analyze") DELETE FROM plain',
    "a denied statement behind an allowed one": "SELECT 1; DELETE FROM plain",
    "a denied statement before an allowed one": "DELETE FROM plain; SELECT 1",
    "a comment that hides a line": "SELECT 1; --\rDELETE FROM plain",
    "DELETE … RETURNING": "DELETE FROM plain RETURNING id",
    "DROP": "DROP TABLE plain",
    "TRUNCATE": "TRUNCATE plain",
    "PREPARE of a DELETE and EXECUTE": "PREPARE d AS DELETE FROM plain; EXECUTE d",
    "DO with a DELETE inside": "DO $$ BEGIN DELETE FROM plain; END $$",
    "UNION over a labelled column": "SELECT ssn FROM customers UNION SELECT 'x'",
    "an expression of a labelled column": "SELECT upper(ssn) FROM customers",
    "concatenation of a labelled column": "SELECT name || ssn FROM customers",
    "a whole row": "SELECT customers FROM customers",
    "a whole row as JSON": "SELECT to_jsonb(c) FROM customers c",
    "an aggregate of a labelled column": "SELECT string_agg(ssn, ',') FROM customers",
    "a function that reads a labelled column": "SELECT leak()",
    "COPY TO of a labelled table": "COPY customers TO STDOUT",
    "COPY TO of a labelled query": "COPY (SELECT ssn FROM customers) TO STDOUT",
    "a view's labelled column in an expression": "SELECT lower(number) FROM customer_view",
    "a labelled column in CASE": "SELECT CASE WHEN true THEN ssn END FROM customers",
    "a cast of a labelled column": "SELECT ssn::varchar(5) FROM customers",
    "a new table of labelled data": "CREATE TABLE copied AS SELECT ssn FROM customers",
    "INSERT … SELECT of labelled data": "INSERT INTO plain SELECT id + 5000, ssn FROM customers",
}

ALLOWED = ("SELECT 1", "SELECT id, name FROM customers ORDER BY id LIMIT 2", "SELECT count(*) FROM customers",
           "UPDATE plain SET body = 'changed' WHERE id = 1", "DELETE FROM plain WHERE id = 99999",
           "COPY plain TO STDOUT", "SELECT upper(body) FROM plain WHERE id = 2",
           "EXPLAIN SELECT * FROM plain", "SHOW server_version")


def undo(sql):
    """The statement within a transaction that is rolled back."""
    return f"BEGIN; {sql}; ROLLBACK"


def controls(scene, results):
    """Without Weir every statement that it refuses works."""
    def works(sql):
        answer = scene.direct().query(undo(sql))
        if answer.errors:
            raise AssertionError(answer.errors[0])
    for name, sql in REFUSED.items():
        results.check(f"control: {name} works on the server", works, sql)


def refused(answer, status="I"):
    """The one shape of a denial."""
    equal(answer.code, "42501", f"SQLSTATE of {answer.errors}")
    equal(len(answer.errors), 1, "errors")
    error = answer.errors[0]
    if not re.match(r'denied by policy "[^"]+" rule "[^"]+": \S', error["M"]):
        raise AssertionError(f"text: {error['M']!r}")
    contains(error.get("D", ""), "audit id", "DETAIL")
    equal(answer.rows, [], "rows")
    equal(answer.status, status, "transaction status")
    return error


def rows_of_plain(scene):
    """What the server has, asked directly."""
    return scene.server.query("SELECT count(*), md5(string_agg(id || body, ',' ORDER BY id)) FROM plain", "shop")


def simple(scene, sql):
    """Refused over the simple protocol, nothing changed, the session lives on."""
    before = rows_of_plain(scene)
    conn = scene.conn()
    error = refused(conn.query(sql))
    for value in ("810-12-1001", "811-12"):
        lacks(str(error), value, "data in the error")
    equal(conn.query("SELECT 1").rows, [[b"1"]], "the session")
    equal(rows_of_plain(scene), before, "the table")
    conn.close()


def extended(scene, sql):
    """Refused over the extended protocol: at Parse, at Describe or at Execute, before it runs."""
    if ";" in sql.replace("END $$", "") and not sql.startswith("DO"):
        return  # several statements have no extended form
    before = rows_of_plain(scene)
    conn = scene.conn()
    refused(conn.pipeline(wire.extended(sql)))
    refused(conn.pipeline(wire.parse(sql, "named"), wire.bind(name="named"), wire.execute()))
    equal(conn.query("SELECT 1").rows, [[b"1"]], "the session")
    equal(rows_of_plain(scene), before, "the table")
    conn.close()


def in_transaction(scene):
    """Within a transaction: it is aborted, on both sides; ROLLBACK ends it; nothing stays."""
    conn = scene.conn()
    conn.query("BEGIN")
    conn.query("INSERT INTO plain VALUES (777, 'in a transaction')")
    refused(conn.query("DELETE FROM plain"), "E")
    answer = conn.query("SELECT 1")
    equal((answer.code, answer.status), ("25P02", "E"), "the aborted transaction")
    equal(scene.server.query("SELECT state FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in%'"),
          "idle in transaction (aborted)", "what the server thinks")
    answer = conn.query("COMMIT")
    equal((answer.tags, answer.status), (["ROLLBACK"], "I"))
    equal(conn.query("SELECT count(*) FROM plain WHERE id = 777").rows, [[b"0"]])
    conn.close()


def savepoint(scene):
    """ROLLBACK TO SAVEPOINT after a denial brings the transaction back."""
    conn = scene.conn()
    conn.query("BEGIN; INSERT INTO plain VALUES (778, 'kept'); SAVEPOINT s")
    refused(conn.query("DELETE FROM plain"), "E")
    answer = conn.query("ROLLBACK TO s")
    equal((answer.code, answer.status), (None, "T"))
    conn.query("COMMIT")
    equal(conn.query("DELETE FROM plain WHERE id = 778").tags, ["DELETE 1"])
    conn.close()


def pipeline(scene):
    """In a pipeline: what came before is answered, what follows is skipped to Sync, and the
    next segment works."""
    conn = scene.conn()
    conn.send(wire.extended("SELECT 1") + wire.extended("DELETE FROM plain") + wire.extended("SELECT 2") + wire.SYNC
              + wire.extended("SELECT 3") + wire.SYNC)
    first, second = (wire.Answer(conn.until_ready()) for _ in range(2))
    equal((first.rows, first.code, first.status), ([[b"1"]], "42501", "I"))
    equal((second.rows, second.code), ([[b"3"]], None))
    conn.query("BEGIN")
    conn.send(wire.extended("SELECT 1") + wire.extended("DELETE FROM plain") + wire.SYNC + wire.extended("SELECT 2")
              + wire.SYNC + wire.query("ROLLBACK"))
    first, second, third = (wire.Answer(conn.until_ready()) for _ in range(3))
    equal((first.code, first.status), ("42501", "E"))
    equal((second.code, second.status), ("25P02", "E"))
    equal(third.status, "I")
    conn.close()


def implicit_transaction(scene):
    """A denial in a pipeline rolls back what the same segment did before it, as an error would."""
    conn = scene.conn()
    answer = conn.pipeline(wire.extended("INSERT INTO plain VALUES (779, 'x')"), wire.extended("DELETE FROM plain"))
    equal(answer.code, "42501")
    equal(conn.query("SELECT count(*) FROM plain WHERE id = 779").rows, [[b"0"]], "rolled back")
    conn.close()


def syntax_error(scene):
    """Text that the grammar rejects is answered as the server would, and never forwarded."""
    ours, theirs = scene.conn(), scene.direct()
    for sql in ("SELEC 1", "SELECT FROM WHERE", "SELECT 'unterminated", "SELECT 1 +", "DELETE FROM plain WHERE"):
        mine, real = ours.query(sql).errors[0], theirs.query(sql).errors[0]
        for field in ("S", "V", "C", "M", "P"):
            equal(mine.get(field), real.get(field), f"{sql!r} field {field}")
    ours.query("BEGIN")
    equal(ours.query("SELEC 1").status, "E", "the transaction is aborted")
    equal(ours.query("ROLLBACK").status, "I")


def allowed(scene, sql):
    """What is not refused gives the server's own answer."""
    ours, theirs = scene.conn().query(undo(sql)), scene.direct().query(undo(sql))
    equal((ours.rows, ours.tags, ours.errors), (theirs.rows, theirs.tags, theirs.errors))


def copy_from(scene):
    """COPY FROM of an allowed table works; refused COPY leaves the session usable."""
    conn = scene.conn()
    conn.send(wire.query("COPY plain FROM STDIN") + wire.message(b"d", b"900\tnew\n") + wire.message(b"c"))
    equal(wire.Answer(conn.until_ready()).tags, ["COPY 1"])
    conn.query("DELETE FROM plain WHERE id = 900")
    refused(conn.query("COPY customers TO STDOUT"))
    equal(conn.query("SELECT 1").rows, [[b"1"]])
    conn.close()


def function_call(scene):
    """The FunctionCall message is refused unless a policy allows it."""
    conn = scene.conn()
    oid = int(scene.server.query("SELECT 'pg_backend_pid'::regproc::oid"))
    conn.send(wire.message(b"F", oid.to_bytes(4, "big") + b"\0\0\0\0\0\0"))
    refused(wire.Answer(conn.until_ready()))
    conn.close()


def replication(scene):
    """A replication session is refused unless a policy allows it."""
    try:
        conn = scene.conn(options={"replication": "database"})
    except wire.Refused as error:
        equal(error.fields["C"], "42501")
        return
    refused(conn.query("IDENTIFY_SYSTEM"))


def psql_text(scene):
    """What a person sees in psql."""
    done = scene.psql("-c", "DELETE FROM plain", "-c", "SELECT 'alive'")
    contains(done.stderr, 'ERROR:  denied by policy "shop" rule "no-blind-writes":')
    contains(done.stderr, "DETAIL:")
    contains(done.stdout, "alive")


def claims(scene, results):
    """All claims of this file."""
    for name, sql in REFUSED.items():
        results.check(f"{name} is refused (simple)", simple, scene, sql)
        results.check(f"{name} is refused (extended)", extended, scene, sql)
    for sql in ALLOWED:
        results.check(f"allowed: {sql}", allowed, scene, sql)
    for test in (in_transaction, savepoint, pipeline, implicit_transaction, syntax_error, copy_from, function_call,
                 replication, psql_text):
        results.check(f"denial: {test.__name__.replace('_', ' ')}", test, scene)
