"""Names that mean something else to the server than they seem to: attacks that make a name fall through to a labelled
column around it, and words that are names to older servers only. Each runs direct first, where it must succeed."""

from lab.report import equal

from attacks import REAL, TAKEN, function, quiet, work

AROUND = "FROM (SELECT ssn AS note FROM customers WHERE id = 1) x"
INSIDE = f"SELECT (SELECT upper(note) FROM mate LIMIT 1) {AROUND}"
SHIFTED = "SELECT upper(x) FROM (SELECT t.*, ssn, 'a' FROM mate t, customers c WHERE c.id = 1) q(v, w, x, y)"
MATE = ["CREATE TABLE mate (id int, note text)", "INSERT INTO mate VALUES (1, 'a')"]
RENAMES = "ALTER TABLE mate RENAME note TO n2"
SHORTENS = "ALTER TABLE mate DROP COLUMN note"
RUNS = function("mk", f"BEGIN {RENAMES}; RETURN 1; END", "", "int", "plpgsql")
SHIFTS = function("mk", f"BEGIN {SHORTENS}; RETURN 1; END", "", "int", "plpgsql")
FIRES = function("mk", f"BEGIN {RENAMES}; RETURN NEW; END", "", "trigger", "plpgsql")
ON_PLAIN = "AFTER INSERT ON plain {} FOR EACH ROW EXECUTE FUNCTION mk()"
SWAPS = "ALTER SCHEMA public RENAME TO s_tmp; ALTER SCHEMA s1 RENAME TO public; ALTER SCHEMA s_tmp RENAME TO s1"
SPELLED = "; ".join(f"EXECUTE '{part.strip()}'".replace("ALTER", "AL' || 'TER") for part in SWAPS.split(";"))
BESIDE = ["CREATE SCHEMA s1", "CREATE TABLE s1.customers (id int, name text, ssn text)"]
MOVED = "SELECT upper(ssn) FROM s1.customers WHERE id = 1"

# the last step shows the value of customer 1
FALLS = {
    "a temporary table in front of another": [
        *MATE, "CREATE TEMP TABLE mate (z int)", "INSERT INTO pg_temp.mate VALUES (1)", INSIDE],
    "a temporary table in front of another, beside": [
        *MATE, "CREATE TEMP TABLE mate (z int)", "INSERT INTO pg_temp.mate VALUES (1)",
        f"SELECT l.q {AROUND}, LATERAL (SELECT upper(note) q FROM mate) l"],
    "a temporary table with fewer columns": [
        *MATE, "CREATE TEMP TABLE mate (z int)", "INSERT INTO pg_temp.mate VALUES (1)",
        "SELECT upper(w) FROM (SELECT t.*, ssn FROM mate t, customers c WHERE c.id = 1) q(v, w)"],
    "a view, which has no system columns": [
        "SELECT (SELECT upper(ctid) FROM customer_names LIMIT 1) FROM (SELECT ssn FROM customers WHERE id = 1) x(ctid)"],
    "a view of the server's, which has none either": [
        "SELECT (SELECT upper(xmin) FROM pg_tables LIMIT 1) FROM (SELECT ssn FROM customers WHERE id = 1) x(xmin)"],
    "a function of the name of a system column": [
        function("ctid", "SELECT ($1).number", "customer_view"), "SELECT v.ctid FROM customer_view v WHERE id = 1"],
    "a schema in front of a query's name": [
        "SELECT (SELECT upper(public.customers.ssn) FROM (SELECT 'a' AS ssn) customers LIMIT 1) FROM customers WHERE id = 1"],
    "a schema in front of an alias": [
        "SELECT (SELECT upper(public.customers.ssn) FROM plain AS customers LIMIT 1) FROM public.customers WHERE id = 1"],
    "a schema in front of a common table expression": [
        "WITH customers AS (SELECT 'a' AS ssn) SELECT (SELECT upper(public.customers.ssn) FROM customers) "
        "FROM public.customers WHERE id = 1"],
    "a schema in front of a whole row": [
        "SELECT (SELECT public.customers.*::text FROM (SELECT 1 x) customers) FROM customers WHERE id = 1"],
    "a function that renames a column": [*MATE, RUNS, "SELECT mk()", INSIDE],
    "a function that renames a column, in one message": [*MATE, RUNS, f"SELECT mk(); {INSIDE}"],
    "a function that drops a column": [*MATE, "ALTER TABLE mate ADD more text", SHIFTS, "SELECT mk()", SHIFTED],
    "a function that drops a column, in one message": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS, f"SELECT mk(); {SHIFTED}"],
    "a block that renames a column, in one message": [*MATE, f"DO $$ BEGIN {RENAMES}; END $$; {INSIDE}"],
    "a procedure that renames a column": [
        *MATE, f"CREATE PROCEDURE pk() LANGUAGE plpgsql AS $$ BEGIN {RENAMES}; END $$", "CALL pk()", INSIDE],
    "a trigger that renames a column": [
        *MATE, FIRES, f"CREATE TRIGGER t {ON_PLAIN.format('')}", "INSERT INTO plain VALUES (9000, 'a')", INSIDE],
    "a trigger behind a foreign key that renames a column": [
        *MATE, "CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE)",
        "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1)", FIRES.replace("RETURN NEW", "RETURN OLD"),
        "CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION mk()", "DELETE FROM parent", INSIDE],
    "a deferred trigger that renames a column": [
        *MATE, FIRES, f"CREATE CONSTRAINT TRIGGER t {ON_PLAIN.format('DEFERRABLE INITIALLY DEFERRED')}",
        "INSERT INTO plain VALUES (9000, 'a')", "SET CONSTRAINTS ALL IMMEDIATE", INSIDE],
    "a column that is dropped, in one message": [*MATE, f"{SHORTENS}; {INSIDE}"],
    "a column that is dropped for another, in one message": [
        *MATE, "ALTER TABLE mate ADD more text", f"{SHORTENS}; {SHIFTED}"],
    "a column that is taken back, in one message": [
        "CREATE TABLE mate (id int)", "INSERT INTO mate VALUES (1)", "SAVEPOINT a", "ALTER TABLE mate ADD note text",
        f"ROLLBACK TO a; {INSIDE}"],
    "a column that is taken back, in front of others, in one message": [
        "CREATE TABLE mate (id int, a text)", "INSERT INTO mate VALUES (1)", "SAVEPOINT a", "ALTER TABLE mate ADD note text",
        f"ROLLBACK TO a; {SHIFTED}"],
    "a function that swaps schemas": [
        *BESIDE, function("pg_temp.sw", f"BEGIN {SWAPS}; RETURN 1; END", "", "int", "plpgsql"), "SELECT pg_temp.sw()", MOVED],
    "a function that swaps schemas by texts": [
        *BESIDE, function("pg_temp.sw", "BEGIN " + SPELLED + "; RETURN 1; END", "", "int", "plpgsql"), "SELECT pg_temp.sw()", MOVED],
    "a block that swaps schemas by texts, in one message": [*BESIDE, f"DO $$ BEGIN {SPELLED}; END $$; {MOVED}"],
    "a block that swaps schemas, in one message": [*BESIDE, f"DO $$ BEGIN {SWAPS}; END $$; {MOVED}"],
}

LABELLED = "FROM (SELECT ssn AS x FROM customers WHERE id = 1) o"
ROWS = "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r WHERE a < 1)"
OF_RECORD = function("lk", f"BEGIN RETURN ({TAKEN}); END", "record", "text", "plpgsql")
SYSTEM = "FROM (SELECT ssn FROM customers WHERE id = 1) x(ctid)"

# names and places that the text itself leaves open
FALLS |= {
    "values in front of a row that spreads": [
        "SELECT v.a FROM customers c, twin t, LATERAL (VALUES (c.ssn, t.*)) v(a, b, d) WHERE c.id = 1"],
    "values in another list than a row that spreads": [
        "SELECT upper(v.b) FROM customers c, twin t, LATERAL (VALUES (c.id, c.ssn), (t.*)) v(a, b) WHERE c.id = 1"],
    "values beside a composite that spreads": [
        "SELECT upper(v.b) FROM customers c, twin t, LATERAL (VALUES ((t).*, c.ssn)) v(a, b, d) WHERE c.id = 1 "
        "UNION ALL SELECT upper(v.d) FROM customers c, twin t, LATERAL (VALUES ((t).*, c.ssn)) v(a, b, d) WHERE c.id = 1"],
    "a function as the field of a function's row": [
        function("lk", "SELECT ssn FROM customers WHERE id = $1", "int"), "SELECT g.lk FROM generate_series(1, 1) g"],
    "a function as the field of a row without names": [OF_RECORD, "SELECT s.lk FROM (SELECT 1 + 1) s"],
    "a function as the field of values": [OF_RECORD, "SELECT s.lk FROM (VALUES (1)) s"],
    "a function that runs a text as a field": [
        "SELECT g.ts_stat FROM unnest(array['select array_to_tsvector(array[ssn]) from public.customers where id = 1']) g"],
    "a function of the server's as the field of a row with and without names": [
        "SELECT s.row_to_json FROM (SELECT 1 + 1, ssn FROM customers WHERE id = 1) s"],
    "a function called like a system column, of what a join merges": [
        function("ctid", f"BEGIN RETURN ({TAKEN}); END", "record", "text", "plpgsql"),
        "SELECT x.ctid FROM plain JOIN twin USING (id) AS x LIMIT 1"],
    "a star beside the column of a search": [
        f"{ROWS} SEARCH DEPTH FIRST BY a SET s SELECT upper(q.y) FROM (SELECT r.*, c.ssn FROM r, customers c WHERE c.id = 1) q(x, y)"],
    "a star beside the columns of a cycle": [
        f"{ROWS} CYCLE a SET m USING p SELECT upper(q.y) FROM (SELECT r.*, c.ssn FROM r, customers c WHERE c.id = 1) q(x, y)"],
    "a star in one side of a union": [
        f"{ROWS} SEARCH DEPTH FIRST BY a SET s SELECT upper(q.y) FROM "
        "(SELECT 0, 'a' WHERE false UNION ALL SELECT r.*, c.ssn FROM r, customers c WHERE c.id = 1) q(x, y)"],
    "a temporary table without columns": [
        "CREATE TEMP TABLE twin ()", "INSERT INTO twin DEFAULT VALUES",
        "SELECT upper(w) FROM (SELECT t.*, ssn FROM twin t, customers c WHERE c.id = 1) q(w)"],
    "a temporary view with the columns of a table": [
        "CREATE TEMP VIEW twin AS SELECT 1 AS id, 'x'::text AS note",
        f"SELECT (SELECT upper(ctid) FROM twin LIMIT 1) {SYSTEM}"],
    "an alias list that reaches past a composite that spreads": [
        f"SELECT (SELECT upper(x) FROM (SELECT (t).*, 'k' AS x FROM twin t) q(a, b, c) LIMIT 1) {LABELLED}"],
    "an alias list that reaches past a function": [
        "SELECT (SELECT upper(x) FROM (generate_series(1, 1) g CROSS JOIN (SELECT 'k'::text AS x) y) AS j(a, b) LIMIT 1) "
        f"{LABELLED}"],
    "a list of columns that reaches past a composite that spreads": [
        "SELECT l.u FROM (SELECT ssn AS x FROM customers WHERE id = 1) o, "
        "LATERAL (WITH q(a, b, c) AS (SELECT (t).*, 'k' AS x FROM twin t) SELECT upper(x) u FROM q LIMIT 1) l"],
    "a function that drops a column, called by a view that a function reads": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS, "CREATE VIEW vv AS SELECT mk() AS a",
        function("mk3", "SELECT a FROM vv", "", "int"), "SELECT mk3()", SHIFTED],
    "a function that drops a column, as a field": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS.replace("mk()", "mk(int)"),
        "SELECT g.mk FROM generate_series(1, 1) g", SHIFTED],
}

# what SQL functions make by SELECT INTO
FALLS |= {
    "a function that keeps values in a table that it makes by SELECT INTO": [
        function("kp", "SELECT $1 AS z INTO TEMP kept; SELECT 1", "text", "int"),
        "SELECT id FROM customers WHERE id = 1 AND kp(ssn) = 1", "CREATE TABLE later (id int)", "SELECT upper(z) FROM kept"],
    "a function that makes a table by SELECT INTO in front of another": [
        function("mk", "SELECT 1 AS z INTO TEMP twin; SELECT 1", "", "int"), "SELECT mk()",
        "SELECT upper(w) FROM (SELECT t.*, ssn FROM twin t, customers c WHERE c.id = 1) q(v, w)"],
}

# relations that have the names of others
COPIES = "SELECT id, name, ssn{} FROM public.customers"
TURNS = "UPDATE twin SET note = 'off' WHERE id = 'standard_conforming_strings'"
TURNED = r"SELECT '\' || ' || upper(ssn) FROM public.customers WHERE id = 1 --'"
SETTINGS = "SELECT name AS id, setting AS note FROM pg_catalog.pg_settings"
TURNS_OFF = "set_config('standard_conforming_strings', 'off', false)"
FALLS |= {
    "a temporary table of the labelled one's name": [
        f"CREATE TEMP TABLE customers AS {COPIES.format('')}", "SELECT upper(ssn) FROM pg_temp.customers WHERE id = 1"],
    "a temporary table of the labelled one's name, by SELECT INTO": [
        COPIES.format(" INTO TEMP customers"), "SELECT upper(ssn) FROM pg_temp.customers WHERE id = 1"],
    "a temporary table of the labelled one's name, while it is explained": [
        f"EXPLAIN ANALYZE CREATE TEMP TABLE customers AS {COPIES.format('')}",
        "SELECT upper(ssn) FROM pg_temp.customers WHERE id = 1"],
    "a table of the labelled one's name in another schema": [
        "CREATE SCHEMA s1", "SET LOCAL search_path = s1, public", f"CREATE TABLE customers AS {COPIES.format('')}",
        "SELECT upper(ssn) FROM s1.customers WHERE id = 1"],
    "a temporary table of a labelled view's name": [
        "CREATE TEMP TABLE customer_view AS SELECT id, name, number FROM public.customer_view",
        "SELECT upper(number) FROM pg_temp.customer_view WHERE id = 1"],
    "a view over the settings that has the name of a table": [f"CREATE TEMP VIEW twin AS {SETTINGS}", (TURNS, TURNED)],
    "a view that calls what drops a column, and has the name of a table": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS, "CREATE TEMP VIEW twin AS SELECT 1 AS id, mk()::text AS note",
        "SELECT note FROM twin", SHIFTED],
    "a table on which code drops a column, and that has the name of another": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS, "CREATE TEMP TABLE twin (id int, note text DEFAULT mk()::text)",
        "INSERT INTO twin VALUES (1)", SHIFTED],
    "a reading of strings that a function changes through a view": [
        f"CREATE VIEW vv AS SELECT {TURNS_OFF} AS a", function("sf", "SELECT a FROM vv"), ("SELECT sf()", TURNED)],
    "a reading of strings that a function changes through the settings": [
        f"CREATE VIEW tws AS {SETTINGS}",
        function("sf", "BEGIN UPDATE tws SET note = 'off' WHERE id = 'standard_conforming' || '_strings'; RETURN 1; END", "", "int",
                 "plpgsql"), ("SELECT sf()", TURNED)],
    "an encoding that a function changes through the settings": [
        f"CREATE VIEW tws AS {SETTINGS}",
        function("sf", "BEGIN UPDATE tws SET note = 'GBK' WHERE id = 'client_' || 'encoding'; RETURN 1; END", "", "int",
                 "plpgsql"), ("SELECT sf()", "SELECT (SELECT upper(你A) FROM (SELECT 'k'::text AS 你a) q) "
                                             "FROM (SELECT ssn AS 你A FROM customers WHERE id = 1) o")],
    "an encoding that a policy changes": [
        f"CREATE VIEW tws AS {SETTINGS}",
        function("sf", "BEGIN UPDATE tws SET note = 'GBK' WHERE id = 'client_' || 'encoding'; RETURN 1; END", "", "int",
                 "plpgsql"),
        "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (1)", "CREATE POLICY p ON kept USING (sf() = 1)",
        "ALTER TABLE kept ENABLE ROW LEVEL SECURITY", "ALTER TABLE kept FORCE ROW LEVEL SECURITY",
        ("SELECT * FROM kept", "SELECT (SELECT upper(你A) FROM (SELECT 'k'::text AS 你a) q) "
                               "FROM (SELECT ssn AS 你A FROM customers WHERE id = 1) o")],
    "a reading of strings that a function changes as a field": [
        function("sf", f"BEGIN PERFORM {TURNS_OFF}; RETURN 1; END", "int", "int", "plpgsql"),
        ("SELECT g.sf FROM generate_series(1, 1) g", TURNED)],
}

# rows that spread where values are stored, and code that runs unseen
STAR = "UPDATE plain SET (id, body) = ROW({}, 9000, x.ssn) FROM (SELECT) z, (SELECT ssn FROM customers WHERE id = 1) x WHERE plain.id = 2"
FALLS |= {
    "a row that spreads over the columns of an assignment": [
        STAR.format("(z).*"), "SELECT upper(body) FROM plain WHERE id = 9000"],
    "a row that spreads over the columns of a merge": [
        "MERGE INTO plain USING (SELECT) z CROSS JOIN (SELECT ssn FROM customers WHERE id = 1) s ON false "
        "WHEN NOT MATCHED THEN INSERT (id, body) VALUES (z.*, 9000, s.ssn)",
        "SELECT upper(body) FROM plain WHERE id = 9000"],
    "a deferred trigger that drops a column, behind another reading": [
        *MATE, "ALTER TABLE mate ADD more text", FIRES.replace(RENAMES, SHORTENS),
        f"CREATE CONSTRAINT TRIGGER t {ON_PLAIN.format('DEFERRABLE INITIALLY DEFERRED')}",
        "INSERT INTO plain VALUES (9000, 'a')", "SELECT name FROM customers WHERE id = 1", "SET CONSTRAINTS ALL IMMEDIATE", SHIFTED],
    "a policy that drops a column when rows are read": [
        *MATE, "ALTER TABLE mate ADD more text", SHIFTS, "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (1)",
        "CREATE POLICY p ON kept USING (mk() = 1)", "ALTER TABLE kept ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE kept FORCE ROW LEVEL SECURITY", "SELECT * FROM kept", SHIFTED],
}
NESTED = ("SELECT (SELECT upper(w::text) FROM json_table('{\"a\": [1]}', '$' COLUMNS (x int PATH '$.x', "
          "NESTED PATH '$.a[*]' COLUMNS (y int PATH '$'), w int PATH '$.w')) AS j(a, b) LIMIT 1) "
          "FROM (SELECT ssn AS w FROM customers WHERE id = 1) o")
NEWER = {"columns of nested paths, which come last": [NESTED]}

# code that says values by its SQLSTATEs
SAYS = function("f", "BEGIN RAISE {} USING MESSAGE = 'm', ERRCODE = substr(replace(x, '-', ''), 1, 5); RETURN true; END", "x text",
                "bool", "plpgsql")
SAID = {
    "notices": [SAYS.replace("{}", "NOTICE"), "SELECT count(*) FROM customers WHERE f(ssn)"],
    "errors": [SAYS.replace("{}", "EXCEPTION"), "SELECT count(*) FROM customers WHERE id = 1 AND f(ssn)"],
}

# words that are keywords since PostgreSQL 16 or 17: to servers before they are names like any other
OLDER = {
    "a column called like a newer keyword": [
        'SELECT upper(system_user) FROM (SELECT ssn AS "system_user" FROM customers WHERE id = 1) s'],
} | {
    f"a function called {name}, of {args or 'nothing'}": [
        function(f'public."{name}"', TAKEN, "int" if args else ""), f"SELECT {name}({args})"]
    for name, args in (("merge_action", ""), ("json_scalar", "1"), ("json_serialize", "1"), ("json_array", ""),
                       ("json_array", "1"), ("json_object", "1"))
}

# ordinary queries, in some of which an inner name is also that of a column around it
WORK = [
    "SELECT c.id, (SELECT max(id) FROM orders) FROM customers c WHERE c.id < 3",
    "SELECT name FROM customers WHERE EXISTS (SELECT 1 FROM orders WHERE body = 'order 1' AND id = 1) AND id < 3",
    "SELECT id FROM customers c WHERE id IN (SELECT id FROM plain) AND ctid IS NOT NULL",
    "SELECT public.customers.id FROM public.customers WHERE public.customers.id < 3",
    "SELECT public.customers.id FROM customers WHERE public.customers.id < 3",
    "SELECT current_user, session_user",
    "SELECT g.value FROM jsonb_each('{}') g",
    "SELECT q.* FROM (VALUES (1, 'a'), (2, 'b')) q(id, note), twin t WHERE t.id = q.id",
    f"{ROWS} SEARCH DEPTH FIRST BY a SET s SELECT * FROM r ORDER BY s",
]


def committed(scene):
    """What a procedure has committed before it failed is done."""
    fails = ("CREATE OR REPLACE PROCEDURE pk() LANGUAGE plpgsql AS "
             f"$$ BEGIN {SHORTENS}; COMMIT; RAISE EXCEPTION 'enough'; END $$")
    direct = scene.direct()
    try:
        for conn, leaks in ((direct, True), (scene.conn(), False)):
            for step in ("DROP TABLE IF EXISTS mate", *MATE, "ALTER TABLE mate ADD more text", fails):
                equal(direct.query(step).code, None, step)
            conn.query(SHIFTED)
            equal(conn.query("CALL pk()").code, "P0001")
            equal(any(REAL in body for _, body in conn.query(SHIFTED).messages), leaks)
    finally:
        direct.query("DROP TABLE mate")
        direct.query("DROP PROCEDURE pk")


def claims(scene, results):
    """All of them."""
    older = OLDER if scene.server.major < 16 else {}
    newer = NEWER if scene.server.major >= 17 else {}
    for name, steps in (FALLS | older | newer).items():
        results.check(f"names: {name} shows no labelled value", quiet, scene, steps, REAL)
    for name, steps in SAID.items():
        results.check(f"names: {name} say nothing by their codes", quiet, scene, steps, REAL.replace(b"-", b"")[:5])
    for sql in WORK:
        results.check(f"names: works as before: {sql[:60]}", work, scene, sql)
    results.check("names: a procedure that commits and fails has run", committed, scene)
