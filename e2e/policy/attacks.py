"""Attacks of several steps: a labelled value is put where no label is, and read there; many
records are put into one row. Each runs direct first, where it must succeed."""

import time

from lab import wire
from lab.report import equal, lacks

REAL = b"811-12-1001"

KEEP = """CREATE FUNCTION keep(x text) RETURNS bool LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO plain VALUES (9000, x); RETURN true; END $$"""
QUIET = "CREATE FUNCTION keep(x text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$"
SPY = """CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO plain VALUES (9000, NEW.ssn); RETURN NEW; END $$"""
ON_CUSTOMERS = "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION"
TOUCH = "UPDATE customers SET region = region WHERE id = 1"
KEPT = "SELECT body FROM plain WHERE id = 9000"
ROWS = "ALTER TABLE customers ENABLE ROW LEVEL SECURITY; ALTER TABLE customers FORCE ROW LEVEL SECURITY"

# the steps; the last one shows the value of customer 1
VALUES = {
    "a setting": ["SELECT id FROM customers WHERE id = 1 AND set_config('a.b', ssn, false) <> ''", "SHOW a.b"],
    "a setting, by a count": ["SELECT count(set_config('a.b', ssn, false)) FROM customers WHERE id = 1", "SHOW a.b"],
    "a setting, by an order": ["SELECT id FROM customers WHERE id = 1 ORDER BY set_config('a.b', ssn, false)",
                               "SHOW a.b"],
    "a large object": ["SELECT count(lo_from_bytea(4711, ssn::bytea)) FROM customers WHERE id = 1",
                       "SELECT convert_from(lo_get(4711), 'UTF8')"],
    "a function that stores": [KEEP, "SELECT id FROM customers WHERE id = 1 AND keep(ssn)", KEPT],
    "a function that is called as a field": [
        KEEP.replace("x text", "x customers").replace(", x)", ", x.ssn)"),
        "SELECT c.id FROM customers c WHERE id = 1 AND c.keep", KEPT],
    "a field that is a function": [
        "CREATE FUNCTION peek(p plain) RETURNS text LANGUAGE sql AS $$ SELECT ssn FROM customers WHERE id = 1 $$",
        "SELECT p.peek FROM plain p WHERE id = 1"],
    "a function whose text ends with the table's name": [
        "CREATE FUNCTION keep() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM customers'", "SELECT keep()"],
    "a function that copies by itself": [
        "CREATE FUNCTION keep() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO plain SELECT 9000, ssn "
        "FROM customers WHERE id = 1; RETURN true; END $$", "SELECT 1 WHERE keep()", KEPT],
    "a cursor that nobody reads": [
        KEEP, "DECLARE c CURSOR FOR SELECT id FROM customers WHERE id = 1 AND keep(ssn)", "MOVE ALL IN c", KEPT],
    "an operator": [KEEP.replace("x text", "x text, y int"),
                    "CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = int, FUNCTION = keep)",
                    "SELECT id FROM customers WHERE id = 1 AND ssn @@@ 1", KEPT],
    "an operator whose function changes": [
        QUIET.replace("x text", "x text, y int"),
        "CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = int, FUNCTION = keep)",
        KEEP.replace("x text", "x text, y int").replace("CREATE", "CREATE OR REPLACE"),
        "SELECT id FROM customers WHERE id = 1 AND ssn @@@ 1", KEPT],
    "a domain": [KEEP, "CREATE DOMAIN d AS text CHECK (keep(VALUE))",
                 "SELECT id FROM customers WHERE id = 1 AND ssn::d <> ''", KEPT],
    "a check": ["DELETE FROM customers_2020 WHERE id = 2001", "DELETE FROM customers WHERE id <> 1",
                KEEP, "ALTER TABLE customers ADD CHECK (keep(ssn))", KEPT],
    "a trigger": [SPY, f"{ON_CUSTOMERS} spy()", TOUCH, KEPT],
    "a trigger that moves a column": [
        SPY.replace("INSERT INTO plain VALUES (9000, NEW.ssn)", "NEW.region := NEW.ssn"),
        f"{ON_CUSTOMERS} spy()", TOUCH, "SELECT region FROM customers WHERE id = 1"],
    "a trigger whose function changes": [
        SPY.replace("INSERT INTO plain VALUES (9000, NEW.ssn);", ""), f"{ON_CUSTOMERS} spy()",
        SPY.replace("CREATE", "CREATE OR REPLACE"), TOUCH, KEPT],
    "a policy that raises a notice": [
        QUIET.replace("RETURN true", "RAISE NOTICE '%', x; RETURN true"), ROWS,
        "CREATE POLICY p ON customers USING (keep(ssn))", "SELECT id FROM customers"],
    "a policy that fails": [ROWS, "CREATE POLICY p ON customers USING (id <> 1 OR ssn::int > 0)",
                            "SELECT id FROM customers"],
}

# code that was harmless when it was put there, and what the server does by itself
TAKEN = "SELECT ssn FROM customers WHERE id = 1"


def function(name, body, args="", returns="text", language="sql", more=""):
    """A definition, again if it is there."""
    return f"CREATE OR REPLACE FUNCTION {name}({args}) RETURNS {returns} LANGUAGE {language} {more} AS $f$ {body} $f$"


def trigger(body):
    """A function that runs on rows."""
    return function("f", f"BEGIN {body}; RETURN NEW; END", "", "trigger", "plpgsql")


STASH = ["CREATE TABLE stash (x text, id int)", function("f", "SELECT x FROM stash WHERE id = 1", "int, int"),
         "CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = f)"]
BECOMES_STASH = ["ALTER TABLE stash RENAME TO stash2", "ALTER TABLE customers RENAME COLUMN ssn TO x",
                 "ALTER TABLE customers RENAME TO stash"]
KEY = "FOREIGN KEY (id, a) REFERENCES customers (id, ssn) ON UPDATE CASCADE"
REDEFINES = r"CREATE OR REPLACE FUNCTION g() RETURNS text LANGUAGE sql AS E'SELECT ssn FROM \x63ustomers WHERE id = 1'"
KEEPING = function("keep", "BEGIN INSERT INTO plain VALUES (9000, $1); RETURN true; END", "text, int", "bool", "plpgsql")
KEEP_OPERATOR = "CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = int, FUNCTION = keep)"
CURSOR = "DECLARE c CURSOR FOR SELECT name || '' FROM customers"
HARMLESS = "SELECT 'x'::text"
CALLS_F = "SELECT 1 WHERE f() = 1"


def does(body):
    """A function that does something and says nothing."""
    return function("f", f"{body} RETURN 1; END", "", "int", "plpgsql")


TAKES_NAME = ["ALTER TABLE customers RENAME TO customers_old", "ALTER TABLE shadow RENAME TO customers",
              "INSERT INTO customers SELECT * FROM customers_old WHERE id = 1"]

VALUES |= {
    "a type that is changed in place under a partial mask": [
        """ALTER TABLE anschriften ALTER COLUMN "straße" TYPE text USING "straße" || 'x'""", 'SELECT "straße" FROM anschriften'],
    "a trigger that is there before the name": [
        "CREATE TABLE shadow (LIKE customers)", SPY, "CREATE TRIGGER t BEFORE INSERT ON shadow FOR EACH ROW EXECUTE FUNCTION spy()",
        *TAKES_NAME, KEPT],
    "a rule that is there before the name": [
        "CREATE TABLE shadow (LIKE customers)", "ALTER TABLE shadow RENAME ssn TO s",
        "CREATE RULE r AS ON INSERT TO shadow DO ALSO INSERT INTO plain VALUES (9000, NEW.s)",
        "ALTER TABLE shadow RENAME s TO ssn", *TAKES_NAME, KEPT],
    "a count of the session's own": [
        "CREATE AGGREGATE public.count(text) (sfunc = text_larger, stype = text)",
        "SELECT count(ssn) FROM customers WHERE id = 1"],
    "an operator whose table changes its name": [*STASH, *BECOMES_STASH, "SELECT 1 @@@ 2"],
    "an operator whose table becomes a parent": [
        "CREATE TABLE stash (id int, ssn text)", function("f", "SELECT ssn FROM stash WHERE id = 1", "int, int"),
        STASH[2], "ALTER TABLE customers INHERIT stash", "SELECT 1 @@@ 2"],
    "a trigger elsewhere whose function changes": [
        trigger("NEW.body := 'x'"), "CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION f()",
        trigger(f"NEW.body := ({TAKEN})"), "INSERT INTO plain VALUES (9000, 'a') RETURNING body"],
    "a trigger whose column comes later": [
        trigger("NEW.region := NEW.foo"), f"{ON_CUSTOMERS} f()", "ALTER TABLE customers RENAME COLUMN ssn TO foo",
        "UPDATE customers SET name = name WHERE id = 1", "SELECT region FROM customers WHERE id = 1"],
    "a default whose function changes": [
        function("f", HARMLESS), "CREATE TABLE t (id int, a text DEFAULT f())", function("f", TAKEN),
        "INSERT INTO t (id) VALUES (1) RETURNING a"],
    "a domain's default whose function changes": [
        function("f", HARMLESS), "CREATE DOMAIN d AS text DEFAULT f()", "CREATE TABLE t (id int, a d)",
        function("f", TAKEN), "INSERT INTO t (id) VALUES (1) RETURNING a"],
    "a view whose function changes": [
        function("g", HARMLESS), "CREATE VIEW v AS SELECT g() AS x", function("g", TAKEN), "SELECT x || '' FROM v"],
    "a view whose rows were stored": [
        function("g", HARMLESS), "CREATE MATERIALIZED VIEW v AS SELECT g() AS x", function("g", TAKEN),
        "REFRESH MATERIALIZED VIEW v", function("g", HARMLESS), "SELECT x || '' FROM v"],
    "a function whose name is no word": [
        function('"a-b"', TAKEN), function("g", 'SELECT "a-b"()'), "SELECT g()"],
    "a table whose name is no word": [
        'ALTER TABLE customers RENAME TO "c\U0001f642"', function("g", "SELECT ssn FROM C\U0001f642 WHERE id = 1"),
        "SELECT g()"],
    "a foreign key that cascades": [
        "ALTER TABLE customers ADD UNIQUE (id, ssn)", "INSERT INTO customers (id, name, ssn) VALUES (9000, 'z', 'A')",
        f"CREATE TABLE x (a text, id int, CONSTRAINT k {KEY})", "INSERT INTO x VALUES ('A', 9000)",
        f"UPDATE customers SET ssn = ({TAKEN}) WHERE id = 9000", "SELECT a || '' FROM x"],
    "a generated column of a child": [
        "CREATE TABLE ch (g text GENERATED ALWAYS AS (ssn || '') STORED) INHERITS (customers)",
        "INSERT INTO ch (id, name, ssn) SELECT 9000, 'x', ssn FROM customers WHERE id = 1", "SELECT g || '' FROM ch"],
    "a block that defines a function": [
        function("g", HARMLESS), f"DO $d$ BEGIN {REDEFINES}; END $d$; SELECT g()"],
    "a function that defines a function": [
        function("g", HARMLESS), does(f"BEGIN {REDEFINES};"), "SELECT g()", "SELECT f()", "SELECT g()"],
    "a block that defines an operator": [
        KEEPING, f"DO $d$ BEGIN {KEEP_OPERATOR}; END $d$", "SELECT id FROM customers WHERE id = 1 AND ssn @@@ 1", KEPT],
    "a cursor whose table is another now": [
        "ALTER TABLE customers RENAME TO foo", "DECLARE c CURSOR FOR SELECT ssn || '' FROM foo WHERE id = 1",
        "ALTER TABLE foo RENAME TO bar", "CREATE TABLE foo (id int, ssn text)", "FETCH ALL c"],
    "a cursor that a function opens again": [
        does(f"DECLARE c refcursor := 'c'; BEGIN CLOSE c; OPEN c FOR {TAKEN};"), CURSOR, CALLS_F, "FETCH ALL c"],
    "a cursor that a function in SQL declares": [
        function("f", f"CLOSE c; DECLARE c CURSOR FOR {TAKEN}; SELECT 1", "", "int"), CURSOR, CALLS_F, "FETCH ALL c"],
    "a cursor that is explained": [
        does("BEGIN INSERT INTO plain SELECT 9000, ssn FROM customers WHERE id = 1;"),
        "EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT f()", KEPT],
    "a statement that a function prepares": [
        "PREPARE p1 AS SELECT name || '' FROM customers",
        does(f"BEGIN DEALLOCATE p1; PREPARE p1 AS {TAKEN};"), CALLS_F, "EXECUTE p1"],
    "a name that is taken back": [
        "ALTER TABLE customers RENAME COLUMN ssn TO foo", "SAVEPOINT s", "ALTER TABLE customers RENAME COLUMN foo TO bar",
        "ALTER TABLE customers ADD COLUMN foo text", "ROLLBACK TO s", "SELECT foo || '' FROM customers WHERE id = 1"],
}

# several statements in one message: all are judged before the first one runs
ON_PLAIN = "CREATE TRIGGER t BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION f()"
SWAPPED = "ALTER TABLE customers RENAME COLUMN region TO r; ALTER TABLE customers RENAME COLUMN ssn TO region"
TEXT_AND_INT = "(LEFTARG = text, RIGHTARG = int, FUNCTION = {})"


def together(*steps):
    """One message."""
    return "; ".join(steps)


VALUES |= {
    f"in one message: {name}": steps for name, steps in {
        "a function": [together(function("f", TAKEN), "SELECT f()")],
        "a function in FROM": [together(function("f", TAKEN, returns="SETOF text"), "SELECT * FROM f()")],
        "a function that is stored": [together(function("f", TAKEN), "CREATE TABLE t AS SELECT f() AS a"),
                                      "SELECT a || '' FROM t"],
        "a function that is explained": [
            together(function("f", TAKEN, more="IMMUTABLE"), "EXPLAIN VERBOSE SELECT f()")],
        "a procedure": [together("CREATE PROCEDURE p(INOUT v text) LANGUAGE plpgsql AS "
                                 f"$$ BEGIN v := ({TAKEN}); END $$", "CALL p('')")],
        "a function's new name": [function("g", TAKEN), together("ALTER FUNCTION g() RENAME TO f", "SELECT f()")],
        "a trigger on the rows": [together(trigger("NEW.region := NEW.ssn"), f"{ON_CUSTOMERS} f()"), TOUCH,
                                  "SELECT region FROM customers WHERE id = 1"],
        "a trigger elsewhere": [together(trigger(f"NEW.body := ({TAKEN})"), ON_PLAIN),
                                "UPDATE plain SET id = id WHERE id = 1 RETURNING body"],
        "a default": [together(function("f", TAKEN), "CREATE TABLE t (id int, a text DEFAULT f())"),
                      "INSERT INTO t (id) VALUES (1) RETURNING a"],
        "a default whose function changes": [
            function("f", HARMLESS), together("CREATE TABLE t (id int, a text DEFAULT f())", function("f", TAKEN)),
            "INSERT INTO t (id) VALUES (1) RETURNING a"],
        "an operator": [together(function("f", TAKEN, "text, int"), f"CREATE OPERATOR @@@ {TEXT_AND_INT.format('f')}"),
                        "SELECT 'x'::text @@@ 1"],
        "an operator that keeps": [together(KEEPING, KEEP_OPERATOR),
                                   "SELECT id FROM customers WHERE id = 1 AND ssn @@@ 1", KEPT],
        "a function that keeps": [together(KEEPING, "SELECT id FROM customers WHERE id = 1 AND keep(ssn, 1)"), KEPT],
        "a cast": [together("CREATE TYPE w AS (v text)", function("f", f"SELECT ROW(({TAKEN}))::w", "int", "w"),
                            "CREATE CAST (int AS w) WITH FUNCTION f(int)", "SELECT 1::w")],
        "a column's new name": [together(SWAPPED, "UPDATE customers SET name = region WHERE id = 1"),
                                "SELECT name FROM customers WHERE id = 1"],
        "a column's new name, returned": [
            together(SWAPPED, "UPDATE customers SET name = 'n' WHERE id = 1 RETURNING region || ''")],
        "a table's new name and a function": [
            "CREATE TABLE stash (ssn text, id int)", function("f", "SELECT ssn FROM stash WHERE id = 1"),
            together("ALTER TABLE stash RENAME TO s2", "ALTER TABLE customers RENAME TO stash", "SELECT f()")],
        "a table's new name and a block": [
            together("ALTER TABLE customers RENAME TO stash",
                     "DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM stash WHERE id = 1); END $$")],
        "a table's new name and a definition": [
            together("ALTER TABLE customers RENAME TO stash", function("f", "SELECT ssn FROM stash WHERE id = 1"),
                     "SELECT f()")],
        "a definition and a table's new name": [
            "CREATE TABLE stash (x text, id int)",
            together(function("f", "SELECT x FROM stash WHERE id = 1"), "CREATE TABLE t (id int, a text DEFAULT f())",
                     *BECOMES_STASH), "INSERT INTO t (id) VALUES (1) RETURNING a"],
        "another schema": [
            together("CREATE SCHEMA z", "ALTER TABLE customers SET SCHEMA z",
                     "CREATE VIEW v AS SELECT ssn || '' AS a FROM z.customers"), "SELECT a FROM v"],
        "another schema's name": [
            "CREATE SCHEMA z", "CREATE TABLE z.customers (id int, ssn text)",
            together("ALTER SCHEMA z RENAME TO y", "ALTER SCHEMA public RENAME TO z",
                     "SELECT ssn || '' FROM z.customers WHERE id = 1")],
    }.items()
}

CAUGHT = "EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; INSERT INTO plain VALUES (9000, d)"
BESIDE = ["CREATE VIEW vk AS SELECT id, region FROM customers", "ALTER TABLE customers ADD CHECK (region <> 'XX')"]
FAILS = "UPDATE vk SET region = 'XX' WHERE id = 1"
FETCHES = "FETCH c INTO r; INSERT INTO plain VALUES (9000, r.ssn)"
OPENED = "DECLARE c1 CURSOR FOR SELECT ssn FROM customers WHERE id = 1"
SPELLED = r"DO E'BEGIN INSERT INTO plain SELECT 9000, ssn FROM \x63ustomers WHERE id = 1; END'"

# what code is given without naming it
VALUES |= {
    "a block that catches what the server says": [
        *BESIDE, f"DO $$ DECLARE d text; BEGIN {FAILS}; {CAUGHT}; END $$", KEPT],
    "a function that catches what the server says": [
        *BESIDE, does(f"DECLARE d text; BEGIN BEGIN {FAILS}; {CAUGHT}; END;"), CALLS_F, KEPT],
    "a function that catches what another one is told": [
        *BESIDE, function("g", f"BEGIN {FAILS}; RETURN 1; END", "", "int", "plpgsql"),
        does(f"DECLARE d text; BEGIN BEGIN PERFORM g(); {CAUGHT}; END;"), CALLS_F, KEPT],
    "a block that reads a cursor": [
        OPENED, f"DO $$ DECLARE c refcursor := 'c1'; r record; BEGIN {FETCHES}; END $$", KEPT],
    "a function that reads a cursor": [
        OPENED, does(f"DECLARE c refcursor := 'c1'; r record; BEGIN {FETCHES};"), CALLS_F, KEPT],
    "a block in a block": [f"DO $$ BEGIN {SPELLED}; END $$", KEPT],
    "a block in a function": [does(f"BEGIN {SPELLED};"), CALLS_F, KEPT],
}

PARENT = ["CREATE TABLE base (id int, region text)", "ALTER TABLE customers INHERIT base",
          "ALTER TABLE customers ADD UNIQUE (region, ssn)",
          "INSERT INTO customers (id, name, region, ssn) SELECT 9000, 'n', 'YY', ssn FROM customers WHERE id = 1"]
REGIONS = ["CREATE TABLE regions (code text PRIMARY KEY)", "INSERT INTO regions VALUES ('EU'), ('US'), ('ZZ')",
           "UPDATE customers SET region = 'ZZ' WHERE id = 1"]
VIEWED = "SELECT number FROM customer_view WHERE id = 1"
ANOTHER = "CREATE OR REPLACE VIEW customer_view AS SELECT id, name, name AS number FROM customers"

# what is masked or withheld and not refused; the last step shows the value of customer 1
QUIETLY = {
    "a cursor over a view that is another now": [f"DECLARE c CURSOR FOR {VIEWED}", ANOTHER, "FETCH ALL c"],
    "a cursor over such a view that outlives its transaction": [
        f"DECLARE c CURSOR WITH HOLD FOR {VIEWED}", "COMMIT; BEGIN", ANOTHER, "FETCH ALL c", "CLOSE c"],
    "a foreign key that is set to null": [
        *REGIONS, "ALTER TABLE customers ADD FOREIGN KEY (region) REFERENCES regions ON DELETE SET NULL",
        "ALTER TABLE customers ADD CHECK (region IS NOT NULL) NO INHERIT", "DELETE FROM regions WHERE code = 'ZZ'"],
    "a foreign key that cascades into a check": [
        *REGIONS, BESIDE[1], "ALTER TABLE customers ADD FOREIGN KEY (region) REFERENCES regions ON UPDATE CASCADE",
        "UPDATE regions SET code = 'XX' WHERE code = 'ZZ'"],
    "a parent without labels": [*PARENT, "UPDATE base SET region = 'YY' WHERE id = 1"],
    "a view's condition": ["CREATE VIEW vz AS SELECT id FROM customers WHERE id <> 1 OR ssn::int > 0", "SELECT id FROM vz"],
    "a block that fails": [*BESIDE, f"DO $$ DECLARE x int; BEGIN {FAILS}; END $$"],
    "a block that only runs a statement and fails": [*BESIDE, f"DO $$ BEGIN {FAILS}; END $$"],
    "a function that fails": [*BESIDE, does(f"BEGIN {FAILS};"), CALLS_F],
    "a trigger elsewhere that fails": [
        *BESIDE, trigger(FAILS), "CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION f()",
        "INSERT INTO plain VALUES (9000, 'a')"],
    "a child that takes its parent's name": [
        "CREATE TABLE base2 (ssn text)", "ALTER TABLE customers INHERIT base2", "CREATE TABLE c2 () INHERITS (base2)",
        "INSERT INTO c2 SELECT ssn FROM customers WHERE id = 1", "ALTER TABLE customers NO INHERIT base2",
        "ALTER TABLE c2 NO INHERIT base2", "ALTER TABLE base2 RENAME TO base3", "ALTER TABLE c2 RENAME TO base2",
        "SELECT ssn FROM base2"],
}

PACKED = "SELECT string_agg(body, ',') FROM orders WHERE id <= 12000"
LAST = b"order 12000"

# the steps; the last one shows more records than the limit has rows
RECORDS = {
    "notifications": ["LISTEN c1", "SELECT count(pg_notify('c1', body)) FROM orders WHERE id <= 12000", "COMMIT; BEGIN",
                      "SELECT 1"],
    "an aggregate": [PACKED],
    "a view": ["CREATE VIEW w AS SELECT * FROM orders", "SELECT body FROM w WHERE id <= 12000 ORDER BY id"],
    "a view of the same message": [
        "CREATE TEMP VIEW tv AS SELECT * FROM orders; SELECT * FROM tv WHERE id <= 12000 ORDER BY id"],
    "a view over a view of the same message": [
        "CREATE TEMP VIEW tv AS SELECT * FROM orders; CREATE TEMP VIEW tw AS TABLE tv; SELECT * FROM tw ORDER BY id LIMIT 12000"],
    "a block that joins": [
        "DO $$ DECLARE r record; acc text := ''; BEGIN FOR r IN SELECT * FROM orders WHERE id <= 12000 ORDER BY id LOOP "
        "acc := textcat(acc, r.body); END LOOP; INSERT INTO plain VALUES (9000, acc); END $$", KEPT],
    "an array of a subquery": ["SELECT ARRAY(SELECT body FROM orders WHERE id <= 12000)"],
    "a new table": [f"CREATE TABLE packed AS {PACKED}", "SELECT * FROM packed"],
    "an insert": [f"INSERT INTO plain SELECT 9000, ({PACKED})", KEPT],
    "an update": [f"UPDATE plain SET body = ({PACKED}) WHERE id = 1", "SELECT body FROM plain WHERE id = 1"],
    "recursion": ["WITH RECURSIVE r(n, s) AS (SELECT 0, ''::text UNION ALL SELECT n + 1, s || ',' || "
                  "(SELECT body FROM orders o WHERE o.id = n + 1) FROM r WHERE n < 12000) SELECT max(s) FROM r"],
}

# the same, by code that names no table: under a limit for every statement
BY_CODE = {
    "a function that reads a view": [
        "CREATE VIEW av AS " + PACKED.replace(" FROM", " AS a FROM"),
        function("pk", "SELECT a FROM av"), "SELECT pk()"],
    "a function as a field": [function("pk", PACKED, "int"), "SELECT g.pk FROM generate_series(1, 1) g"],
    "an aggregate as a field": ["SELECT o.json_agg FROM orders o WHERE id <= 12000"],
    "an operator": [function("pk", PACKED, "int, int"), "CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = pk)",
                    "SELECT 1 ### 2"],
    "a cast": ["CREATE TYPE ct AS (a int)", function("pk", PACKED, "ct"), "CREATE CAST (ct AS text) WITH FUNCTION pk(ct)",
               "SELECT ROW(1)::ct::text"],
    "a default": [function("pk", PACKED), "CREATE TABLE dt (x int, y text DEFAULT pk())", "INSERT INTO dt VALUES (1) RETURNING y"],
    "a trigger": [
        trigger("NEW.y := (" + PACKED + ")"), "CREATE TABLE dt (x int, y text)",
        "CREATE TRIGGER t BEFORE INSERT ON dt FOR EACH ROW EXECUTE FUNCTION f()", "INSERT INTO dt VALUES (1) RETURNING y"],
}

# what the same means must still be able to do
WORK = [
    "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.region := 'EU'; RETURN NEW; END $$; "
    f"{ON_CUSTOMERS} stamp(); {TOUCH}",
    "CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO twin VALUES (7, NEW.body); "
    "RETURN NEW; END $$; CREATE TRIGGER t BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION log(); "
    "UPDATE plain SET body = 'x' WHERE id = 1",
    "CREATE TABLE a (id int, x text); INSERT INTO a SELECT id, body FROM plain; CREATE INDEX ON a (x); "
    "CREATE VIEW v AS SELECT id FROM a; SELECT count(*) FROM v; SELECT x FROM a LIMIT 3",
    "ALTER TABLE plain ADD COLUMN k int; UPDATE plain SET k = id WHERE id = 1; SELECT k FROM plain WHERE id = 1",
    "ALTER TABLE customers ADD COLUMN k int; UPDATE customers SET k = 1 WHERE id = 1; CREATE INDEX ON customers (k)",
    "SELECT lo_from_bytea(4711, '\\x6162'); SELECT lo_get(4711)",
    "SELECT set_config('app.tenant', 'x', false), pg_try_advisory_xact_lock(7)",
    "CREATE DOMAIN mail AS text CHECK (VALUE ~ '@')",
    "CREATE TABLE t (id serial PRIMARY KEY, at text); INSERT INTO t (at) VALUES ('a')",
    "SELECT region, string_agg(name, ',') FROM customers GROUP BY region",
    "SELECT json_agg(o) FROM orders o WHERE id <= 100",
    "UPDATE orders SET body = 'x' WHERE id = ANY (ARRAY(SELECT id FROM orders WHERE id < 5))",
]

# what does not exist, and what the server says of it
MISTAKES = {"UPDATE customers SET nope = 1 WHERE id = 1": "42703", "SELECT nope FROM customers": "42703",
            "SELECT upper(c.nope) FROM customers c": "42703",
            "SELECT x.id FROM customers": "42P01"}


def shown(conn, steps, wanted):
    """Whether the steps, in a transaction that is rolled back, show it; and what was refused. A step is a text, or
    several that are sent as one batch."""
    codes, found = [], False
    for step in ["BEGIN", *steps, "ROLLBACK"]:
        answer = conn.query(step) if isinstance(step, str) else conn.pipeline(*map(wire.extended, step))
        codes.append(answer.code)
        found |= any(wanted in body for _, body in answer.messages)
    return found, codes


def attack(scene, steps, wanted):
    """It works on the server, and not through Weir, which says so."""
    found, codes = shown(scene.direct(), steps, wanted)
    equal((found, [c for c in codes if c and c != "22P02"]), (True, []), "the control")
    conn = scene.conn()
    found, codes = shown(conn, steps, wanted)
    equal((found, "42501" in codes), (False, True), f"through Weir: {codes}")
    equal(conn.query("SELECT 1").rows, [[b"1"]], "the session")
    conn.close()


def quiet(scene, steps, wanted):
    """It works on the server, and through Weir the value is masked or withheld."""
    equal(shown(scene.direct(), steps, wanted)[0], True, "the control")
    conn = scene.conn()
    equal(shown(conn, steps, wanted)[0], False, "through Weir")
    equal(conn.query("SELECT 1").rows, [[b"1"]], "the session")
    conn.close()


PORTAL = [wire.parse(VIEWED.replace("id = 1", "id < 4")) + wire.bind(portal="p"),
          wire.parse(ANOTHER) + wire.bind() + wire.execute(),
          wire.describe("P", "p") + wire.execute(portal="p") + wire.message(b"S")]


def portal(scene, together, begun):
    """A portal is shown by what its view was when it was bound, however late it is described."""
    def tell(conn):
        conn.query("BEGIN")
        # With some rows of it read already.
        pieces = [PORTAL[0] + wire.execute(1, "p"), *PORTAL[1:]] if begun else PORTAL
        if together:
            conn.send(b"".join(pieces))
        else:
            for piece in pieces:
                conn.send(piece + wire.message(b"H"))
                time.sleep(0.3)
        heard = repr(conn.until_ready())
        conn.query("ROLLBACK")
        conn.close()
        return heard

    value = REAL.decode() if not begun else "812-12-1002"
    equal(value in tell(scene.direct()), True, "the control")
    lacks(tell(scene.conn()), value, "through Weir")


def limited(scene, w, steps):
    """It works on the server; through Weir the limit on rows stops it, as nobody approves more."""
    equal(shown(scene.direct(), steps, LAST)[0], True, "the control")
    conn = scene.conn(w, timeout=60)
    found, codes = shown(conn, steps, LAST)
    equal((found, bool([c for c in codes if c and c != "25P02"])), (False, True), f"through Weir: {codes}")
    conn.close()


def work(scene, sql):
    """Ordinary work by the same means gives what it gives on the server."""
    answers = []
    for conn in (scene.direct(), scene.conn()):
        conn.query("BEGIN")
        answer = conn.query(sql)
        answers.append((answer.errors, answer.tags))
        conn.query("ROLLBACK")
        conn.close()
    equal(answers[1], answers[0], sql)


def mistake(scene, sql, code):
    """A name that does not exist is answered by the server, alone and in a transaction."""
    direct, conn = scene.direct(), scene.conn()
    for first in ("ROLLBACK", "BEGIN"):
        direct.query(first)
        conn.query(first)
        wanted, answer = direct.query(sql), conn.query(sql)
        equal((answer.code, answer.errors, answer.status), (code, wanted.errors, wanted.status), sql)
    conn.close()


def claims(scene, results):
    """All attacks, and what must not suffer."""
    for name, steps in VALUES.items():
        results.check(f"attack: {name} does not carry a labelled value away", attack, scene, steps, REAL)
    for name, steps in QUIETLY.items():
        results.check(f"attack: {name} shows no labelled value", quiet, scene, steps, REAL)
    for together in (True, False):
        for begun in (False, True):
            how = f"{'at once' if together else 'in pieces'}, {'begun' if begun else 'untouched'}"
            results.check(f"attack: a portal over a view that is another now: {how}", portal, scene, together, begun)
    hurried = scene.start(scene.hurried())
    for name, steps in RECORDS.items():
        results.check(f"attack: {name} does not pack records past a limit", limited, scene, hurried, steps)
    hurried.stop()
    ordered = "    match: {sql: {tables: [public.orders]}}\n    limits: {statement: {rows: 10000}"
    equal(scene.hurried().count(ordered), 1, "the limit")
    hurried = scene.start(scene.hurried().replace(ordered, ordered.split("\n")[1]))
    for name, steps in BY_CODE.items():
        results.check(f"attack: {name} does not pack records past a limit", limited, scene, hurried, steps)
    hurried.stop()
    for sql in WORK:
        results.check(f"attack: works as before: {sql[:60]}", work, scene, sql)
    for sql, code in MISTAKES.items():
        results.check(f"attack: the server answers {sql!r}", mistake, scene, sql, code)
