"""Masks: on every way a labelled column can be named with a provable origin."""

import re
import time

from lab import proc, weir, wire
from lab.report import contains, equal, lacks

REAL = "811-12-1001"

# queries with one labelled column as their first; its real value must never be there
SSN = {
    "plain": "SELECT ssn FROM customers WHERE id = 1",
    "alias": "SELECT ssn AS harmless FROM customers WHERE id = 1",
    "table alias": "SELECT x.ssn AS a FROM customers AS x WHERE id = 1",
    "subquery": "SELECT a FROM (SELECT ssn AS a, id FROM customers) s WHERE id = 1",
    "CTE": "WITH c AS (SELECT ssn AS a, id FROM customers) SELECT a FROM c WHERE id = 1",
    "join": "SELECT c.ssn FROM customers c JOIN plain p ON p.id = c.id WHERE c.id = 1",
    "view": "SELECT number FROM customer_view WHERE id = 1",
    "distinct": "SELECT DISTINCT ssn FROM customers WHERE id = 1",
    "star": "SELECT ssn, c.* FROM customers c WHERE id = 1",
    "update returning": "UPDATE customers SET name = name WHERE id = 1 RETURNING ssn",
    "lateral": "SELECT s.a FROM plain p, LATERAL (SELECT ssn AS a FROM customers c WHERE c.id = p.id) s WHERE p.id = 1",
    "column alias list": "SELECT z FROM customers AS c(a, b, z) WHERE a = 1",
}


def masked_rows(answer, what):
    """Only the last four characters are left."""
    equal(answer.errors, [], what)
    equal(len(answer.rows), 1, f"{what}: rows")
    cell = answer.rows[0][0]
    if cell is None or not cell.endswith(b"1001") or REAL[:6].encode() in cell:
        raise AssertionError(f"{what}: {cell!r}")
    for row in answer.rows:
        lacks(str(row), REAL, what)


def everywhere(scene, sql):
    """Simple, extended text, extended binary, cursor, PREPARE: the same mask."""
    conn = scene.conn()
    masked_rows(conn.query(sql), "simple")
    masked_rows(conn.pipeline(wire.extended(sql)), "extended text")
    masked_rows(conn.pipeline(wire.extended(sql, binary=True)), "extended binary")
    # Describe once, Execute many
    conn.pipeline(wire.parse(sql, "s"), wire.describe("S", "s"))
    for _ in range(3):
        masked_rows(conn.pipeline(wire.bind(name="s"), wire.execute()), "described once")
    masked_rows(conn.pipeline(wire.bind(name="s"), wire.execute(1)), "partial Execute")
    conn.query(f"PREPARE p AS {sql}")
    masked_rows(conn.query("EXECUTE p"), "PREPARE")
    if not sql.startswith("UPDATE"):
        conn.query(f"BEGIN; DECLARE c CURSOR FOR {sql}")
        masked_rows(conn.query("FETCH 1 FROM c"), "cursor")
        conn.query("COMMIT")
    conn.close()


def kinds(scene):
    """Constant, null and token masks, in text and binary; unlabelled columns untouched."""
    conn, real = scene.conn(), scene.direct()
    sql = "SELECT id, name, card, salary, email FROM customers ORDER BY id LIMIT 3"
    for binary in (False, True):
        ours = conn.pipeline(wire.extended(sql, binary=binary)).rows
        theirs = real.pipeline(wire.extended(sql, binary=binary)).rows
        equal([r[:2] for r in ours], [r[:2] for r in theirs], "unlabelled columns")
        equal([r[2] for r in ours], [b"[card]"] * 3, "constant")
        equal([r[3] for r in ours], [None] * 3, "null")
        for mine, own in zip(ours, theirs):
            if mine[4] == own[4] or not mine[4]:
                raise AssertionError(f"token: {mine[4]!r}")
    again = scene.conn().query(sql).rows
    equal([r[4] for r in again], [r[4] for r in conn.query(sql).rows], "equal values have equal tokens")
    equal(len({r[4] for r in again}), 3, "different values have different tokens")


def row_description_is_the_servers(scene):
    """Types and names are as the server says: only values change."""
    def description(conn):
        return [wire.row_description(b) for k, b in
                conn.pipeline(wire.extended("SELECT ssn AS a, salary, id FROM customers")).messages if k == "T"]
    equal(description(scene.conn()), description(scene.direct()))


def follows_rename(scene):
    """The label follows (OID, attnum) across RENAME and SET SCHEMA by others."""
    conn = scene.conn()
    conn.query("SELECT ssn FROM customers WHERE id = 1")
    scene.server.psql("ALTER TABLE customers RENAME COLUMN ssn TO zahl; ALTER TABLE customers RENAME TO kunden;"
                      "CREATE SCHEMA other AUTHORIZATION app; ALTER TABLE kunden SET SCHEMA other", "shop")
    try:
        for c in (conn, scene.conn()):
            answer = c.query("SELECT zahl FROM other.kunden WHERE id = 1")
            lacks(str(answer.rows), REAL, "after the rename")
    finally:
        scene.server.psql("ALTER TABLE other.kunden SET SCHEMA public; ALTER TABLE kunden RENAME TO customers;"
                          "ALTER TABLE customers RENAME COLUMN zahl TO ssn; DROP SCHEMA other", "shop")


def others_change_the_schema(scene):
    """What a view of others shows is masked once the interval is over, and a table of others is known at once, on a
    connection that has been there all along and knows only the extended protocol."""
    admin = "SET ROLE app; CREATE OR REPLACE VIEW shown AS SELECT id, {} FROM customers"
    scene.server.psql(admin.format("name"), "shop")
    w = scene.start()
    w.write("target.yaml", weir.target_yaml(scene.server.port, client_tls="Refuse") + "  catalog: {refreshInterval: 2s}\n")
    try:
        proc.wait_until(lambda: len(w.events(kind="policy_changed")) > 1, "the interval is in force", 20)
        conn = scene.conn(w)
        read = "SELECT name FROM shown WHERE id = 1"
        conn.pipeline(wire.parse(read, "s"), wire.describe("S", "s"))
        equal(conn.pipeline(wire.bind(name="s"), wire.execute()).rows, [[b"Person 1"]])
        scene.server.psql(admin.format("ssn AS name"), "shop")
        time.sleep(2.1)
        masked_rows(conn.pipeline(wire.bind(name="s"), wire.execute()), "prepared before")
        masked_rows(conn.pipeline(wire.extended(read)), "prepared now")
        # The catalog is read before a batch, not in it: some commands must be alone in theirs.
        time.sleep(2.1)
        equal(conn.pipeline(wire.extended("VACUUM plain")).errors, [], "a command that must be alone")
        time.sleep(1.1)
        scene.server.psql("SET ROLE app; CREATE TABLE new AS SELECT 1 AS id, 'made by others' AS body", "shop")
        made = conn.pipeline(wire.extended("SELECT body FROM new"))
        equal((made.errors, made.rows), ([], [[b"made by others"]]))
        time.sleep(1.1)
        scene.server.psql("SET ROLE app; CREATE VIEW newer AS SELECT id, ssn FROM customers", "shop")
        masked_rows(conn.query("SELECT ssn FROM newer WHERE id = 1"), "a view of others")
    finally:
        w.stop()
        scene.server.psql("DROP VIEW IF EXISTS shown, newer; DROP TABLE IF EXISTS new", "shop")


def sessions_beside_change_the_schema(scene):
    """What one session redefines is known to the others at once, however long the interval: outside of a transaction,
    in one that was begun before, and for a statement prepared before."""
    w = scene.start()
    scene.server.psql("SET ROLE app; CREATE VIEW beside AS SELECT id, name FROM customers;"
                      "CREATE VIEW hidden AS SELECT id, ssn AS name FROM customers", "shop")
    read = "SELECT name || '' AS known FROM beside WHERE id = 1"
    try:
        plain, extended, in_one, maker = (scene.conn(w) for _ in range(4))
        extended.pipeline(wire.parse(read, "s"), wire.describe("S", "s"))
        for answer in (plain.query(read), in_one.query(read), extended.pipeline(wire.bind(name="s"), wire.execute())):
            equal(answer.rows, [[b"Person 1"]], "before")
        # Having read it there would keep others from changing it.
        equal(in_one.query("BEGIN; SELECT body FROM plain WHERE id = 3").errors, [])
        for change in ("ALTER VIEW beside RENAME TO former", "ALTER VIEW hidden RENAME TO beside"):
            equal(maker.query(change).errors, [], change)
        equal(scene.direct().query(read).rows, [[REAL.encode()]], "control: what the server shows")
        for what, answer in (("outside of a transaction", plain.query(read)), ("in a transaction", in_one.query(read)),
                             ("prepared before", extended.pipeline(wire.bind(name="s"), wire.execute()))):
            equal((answer.rows, [error["C"] for error in answer.errors]), ([], ["42501"]), what)
    finally:
        w.stop()
        scene.server.psql("DROP VIEW IF EXISTS beside, former, hidden", "shop")


def unread_catalogs_refuse(scene):
    """Where the catalog cannot be read before a batch, the batch shows nothing that needs it."""
    w, holder = scene.start(), scene.direct()
    scene.server.psql("SET ROLE app; CREATE OR REPLACE VIEW shown AS SELECT id, name FROM customers", "shop")
    w.write("target.yaml", weir.target_yaml(scene.server.port, client_tls="Refuse") + "  catalog: {refreshInterval: 1s}\n")
    try:
        proc.wait_until(lambda: len(w.events(kind="policy_changed")) > 1, "the interval is in force", 20)
        conn = scene.conn(w)
        read = "SELECT name FROM shown WHERE id = 1"
        equal(conn.pipeline(wire.extended(read)).rows, [[b"Person 1"]], "before")
        for sql in ("BEGIN", "ALTER VIEW customer_names SET (security_barrier = false)"):
            equal(holder.query(sql).errors, [], "a lock on what must be read")
        scene.server.psql("SET ROLE app; CREATE OR REPLACE VIEW shown AS SELECT id, ssn AS name FROM customers", "shop")
        for _ in range(20):
            time.sleep(1.1)
            answer = conn.pipeline(wire.extended(read))
            for row in answer.rows:
                lacks(str(row), REAL, "a row")
            if answer.errors:
                break
        equal(answer.errors[0]["C"], "55P03", "refused")
        contains(answer.errors[0]["M"], "definition", "why")
    finally:
        holder.close()
        w.stop()
        scene.server.psql("DROP VIEW IF EXISTS shown", "shop")


def search_path(scene):
    """The label holds whatever the search path says."""
    conn = scene.conn()
    conn.query("SET search_path = pg_catalog")
    masked_rows(conn.query("SELECT ssn FROM public.customers WHERE id = 1"), "qualified")
    conn.query("SET search_path = public")
    masked_rows(conn.query("SELECT ssn FROM customers WHERE id = 1"), "found again")


def errors_carry_no_values(scene):
    """Errors and notices of statements that touch labels keep SQLSTATE and lose their values."""
    conn = scene.conn()
    answer = conn.query("INSERT INTO customers (id, ssn) SELECT 1, ssn FROM customers WHERE id = 1")
    for field in "MDHW":
        lacks(answer.errors[0].get(field, "") if answer.errors else "", REAL, f"field {field}")
    answer = conn.query(f"SELECT ssn FROM customers WHERE id = 1 AND ssn::int > 0")
    for error in answer.errors:
        lacks(str(error), "811-12", "the cast's error")
    # a violated constraint shows the whole row, and a definition computes over the rows
    for sql in ("UPDATE customers SET name = '' WHERE id = 1", "UPDATE customer_names SET name = '' WHERE id = 1",
                "WITH u AS (UPDATE customers SET name = '' WHERE id = 1 RETURNING 1) SELECT * FROM u",
                "ALTER TABLE customers ADD CHECK (ssn::int > 0)", "CREATE INDEX ON customers ((ssn::int))",
                "CREATE UNIQUE INDEX ON customers ((length(ssn)), (CASE WHEN true THEN left(ssn, 3) END))"):
        answer = scene.direct().query(f"BEGIN; {sql}")
        if "8" not in str(answer.errors) or not re.search(r"8\d\d", str(answer.errors)):
            raise AssertionError(f"control: {sql}: {answer.errors}")
        for error in conn.query(sql).errors:
            lacks(re.sub(r"'C': '\w+'", "", str(error)), "8", sql)


def deferred_errors_carry_no_values(scene):
    """What is checked at the end of a transaction that touched labels, too."""
    scene.server.psql("ALTER TABLE customers ADD CONSTRAINT late UNIQUE (ssn, region) DEFERRABLE INITIALLY DEFERRED",
                      "shop")
    copy = "INSERT INTO customers (id, ssn, region) SELECT 9000, ssn, region FROM customers WHERE id = 1"
    try:
        for run in (lambda c: [c.query("BEGIN"), c.query(copy), c.query("COMMIT")],
                    lambda c: [c.query("BEGIN"), c.query(copy), c.query("SET CONSTRAINTS ALL IMMEDIATE"),
                               c.query("ROLLBACK")],
                    lambda c: [c.query(copy + "; SELECT 1")], lambda c: [c.pipeline(wire.extended(copy))]):
            errors = [e for answer in run(scene.direct()) for e in answer.errors]
            if REAL not in str(errors):
                raise AssertionError(f"control: {errors}")
            errors = [e for answer in run(scene.conn()) for e in answer.errors]
            equal(len(errors), 1, "one error")
            lacks(str(errors), REAL, "deferred")
    finally:
        scene.server.psql("ALTER TABLE customers DROP CONSTRAINT late", "shop")


def follows_what_is_taken_off(scene):
    """A child or partition that is taken off its parent keeps its labels."""
    conn = scene.conn()
    conn.query("SELECT ssn FROM customers_2020")
    equal(conn.query("ALTER TABLE customers_2020 NO INHERIT customers").errors, [], "taken off")
    try:
        for c in (conn, scene.conn()):
            answer = c.query("SELECT ssn FROM customers_2020")
            equal(len(answer.rows), 1, "rows")
            lacks(str(answer.rows), REAL, "after it was taken off")
    finally:
        scene.server.psql("ALTER TABLE customers_2020 INHERIT customers", "shop")


def psql_display(scene):
    """psql shows the mask under an alias."""
    out = scene.psql("-At", "-c", "SELECT ssn AS harmless FROM customers WHERE id = 1").stdout.strip()
    if not re.fullmatch(r"\*+1001|\S*\*\S*1001", out):
        raise AssertionError(out)


def one_message(scene):
    """What a message prepares or declares for itself is known behind it, and masked."""
    conn = scene.conn()
    for sql in ("BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM customers WHERE id = 1; FETCH 2 FROM c; CLOSE c; COMMIT",
                "PREPARE p AS SELECT ssn FROM customers WHERE id = $1; EXECUTE p(1); DEALLOCATE p"):
        masked_rows(conn.query(sql), sql)
    answer = conn.query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM customers WHERE id = 1; CLOSE c; FETCH 1 FROM c")
    equal(answer.code, "42501", "what may be gone")
    conn.query("ROLLBACK")
    conn.close()


def names_that_come_to_mean_others(scene):
    """A prepared statement that is described once runs on while somebody else makes its names mean a
    labelled column: what counts is the column that the server reads now."""
    conn, real = scene.conn(), scene.direct()
    conn.pipeline(wire.parse("SELECT note FROM twin WHERE id = 1", "s"), wire.describe("S", "s"))
    equal(conn.pipeline(wire.bind(name="s"), wire.execute()).rows, [[b"harmless"]])
    equal(real.query("ALTER TABLE twin RENAME TO twin_old; ALTER TABLE customers RENAME COLUMN ssn TO note;"
                     "ALTER TABLE customers RENAME TO twin").errors, [])
    try:
        equal(real.query("SELECT note FROM twin WHERE id = 1").rows, [[REAL.encode()]], "the control")
        for _ in range(2):
            masked_rows(conn.pipeline(wire.bind(name="s"), wire.execute()), "described once")
    finally:
        real.query("ALTER TABLE twin RENAME TO customers; ALTER TABLE customers RENAME COLUMN note TO ssn;"
                   "ALTER TABLE twin_old RENAME TO twin")
    conn.close()


def claims(scene, results):
    """All claims of this file."""
    for name, sql in SSN.items():
        results.check(f"mask: {name}", everywhere, scene, sql)
    for test in (kinds, row_description_is_the_servers, search_path, errors_carry_no_values, psql_display,
                 deferred_errors_carry_no_values, follows_what_is_taken_off, follows_rename, others_change_the_schema,
                 sessions_beside_change_the_schema, unread_catalogs_refuse,
                 names_that_come_to_mean_others, one_message):
        results.check(f"mask: {test.__name__.replace('_', ' ')}", test, scene)
