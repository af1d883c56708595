//! Facts: effects, settings, copies, cursors, code.

use super::support::{script, with};
use crate::Effect::*;
use crate::*;

fn effects(sql: &str) -> Vec<Effect> {
    with(sql, |statement| {
        assert_eq!(statement.opaque, None, "{sql}");
        statement.effects.iter().collect()
    })
}

#[test]
fn names_the_effects_of_every_nested_part() {
    let cases: &[(&str, &[Effect])] = &[
        ("SELECT 1", &[Select]),
        ("VALUES (1)", &[Select]),
        ("TABLE t", &[Select]),
        ("SELECT 1 FROM t FOR UPDATE", &[Select, Lock]),
        ("INSERT INTO t VALUES (1)", &[Insert]),
        ("INSERT INTO t SELECT 1", &[Select, Insert]),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", &[Insert]),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
            &[Insert, Update],
        ),
        ("UPDATE t SET a = 1", &[Update]),
        ("DELETE FROM t", &[Delete]),
        (
            "WITH w AS (DELETE FROM t RETURNING *) SELECT 1",
            &[Select, Delete],
        ),
        (
            "WITH w AS (WITH x AS (UPDATE t SET a = 1 RETURNING 1) SELECT 1) SELECT 1",
            &[Select, Update],
        ),
        (
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            &[Delete, Merge],
        ),
        (
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
            &[Insert, Update, Merge],
        ),
        ("EXPLAIN DELETE FROM t", &[Explain]),
        ("EXPLAIN ANALYZE DELETE FROM t", &[Delete, Explain]),
        ("EXPLAIN (\"analyze\") DELETE FROM t", &[Delete, Explain]),
        ("EXPLAIN (ANALYZE off) DELETE FROM t", &[Explain]),
        (
            "EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM t",
            &[Delete, Explain],
        ),
        (
            "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
            &[Select, Create, Explain],
        ),
        ("PREPARE p AS DELETE FROM t", &[Prepare]),
        ("DECLARE c CURSOR FOR SELECT 1", &[Declare]),
        ("EXECUTE p", &[Execute]),
        ("CREATE TABLE x AS EXECUTE p", &[Create, Execute]),
        ("SELECT 1 INTO x", &[Select, Create]),
        ("CREATE VIEW v AS SELECT 1", &[Select, Create]),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", &[Select, Create]),
        (
            "CREATE RULE r AS ON UPDATE TO t DO INSTEAD DELETE FROM u",
            &[Create, Routine],
        ),
        ("COPY t TO STDOUT", &[CopyOut]),
        ("COPY t FROM STDIN", &[CopyIn]),
        ("COPY t TO '/tmp/x'", &[CopyFile]),
        ("COPY t FROM PROGRAM 'id'", &[CopyProgram]),
        (
            "COPY (DELETE FROM t RETURNING *) TO STDOUT",
            &[Delete, CopyOut],
        ),
        ("TRUNCATE a, b", &[Truncate]),
        ("LOCK TABLE a", &[Lock]),
        ("GRANT SELECT ON t TO x", &[Grant]),
        ("REVOKE ALL ON LARGE OBJECT 1 FROM x", &[Grant]),
        ("GRANT a TO b", &[Grant, Role]),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
            &[Grant],
        ),
        ("CREATE ROLE x", &[Role]),
        ("ALTER USER x PASSWORD 'y'", &[Role]),
        ("ALTER ROLE x RENAME TO y", &[Alter, Role]),
        ("DROP ROLE x", &[Role]),
        ("SET ROLE x", &[Role, Set]),
        ("SET SESSION AUTHORIZATION x", &[Role, Set]),
        ("SET a.b = 1", &[Set]),
        ("RESET ALL", &[Set]),
        ("DISCARD TEMP", &[Set]),
        (
            "SELECT set_config('role', 'x', false)",
            &[Select, Role, Set],
        ),
        (
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'y'",
            &[Update, Set],
        ),
        ("ALTER SYSTEM SET a = 1", &[System]),
        ("LOAD 'x'", &[System]),
        ("CREATE EXTENSION x", &[Create, System]),
        ("CREATE LANGUAGE x", &[Create, System]),
        ("CREATE LANGUAGE x HANDLER f", &[Create, System, Routine]),
        ("ALTER DATABASE x SET a = 1", &[System]),
        ("CREATE FOREIGN DATA WRAPPER x", &[Create, Foreign]),
        ("CREATE SERVER x FOREIGN DATA WRAPPER y", &[Create, Foreign]),
        (
            "CREATE FOREIGN TABLE x (a int) SERVER y",
            &[Create, Foreign],
        ),
        (
            "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
            &[Create, Foreign],
        ),
        (
            "CREATE SUBSCRIPTION x CONNECTION '' PUBLICATION y",
            &[Create, Foreign],
        ),
        ("CREATE PUBLICATION x FOR TABLE t", &[Create, Foreign]),
        ("DROP SUBSCRIPTION x", &[Drop, Foreign]),
        ("SECURITY LABEL ON TABLE t IS 'x'", &[Alter]),
        ("COMMENT ON TABLE t IS 'x'", &[Alter]),
        ("DO 'x'", &[Do]),
        ("CALL p(1)", &[Call]),
        ("VACUUM t", &[Maintenance]),
        ("ANALYZE", &[Maintenance]),
        ("REINDEX TABLE t", &[Maintenance]),
        ("CLUSTER t USING i", &[Maintenance]),
        ("CHECKPOINT", &[Maintenance]),
        ("REFRESH MATERIALIZED VIEW v", &[Maintenance]),
        ("LISTEN x", &[Listen]),
        ("UNLISTEN *", &[Listen]),
        ("NOTIFY x", &[Notify]),
        ("BEGIN", &[Transaction]),
        ("PREPARE TRANSACTION 'x'", &[Transaction]),
        ("FETCH ALL FROM c", &[Fetch]),
        ("CLOSE c", &[Fetch]),
        ("DEALLOCATE ALL", &[Deallocate]),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            &[Create, Routine],
        ),
        ("ALTER FUNCTION f() SET a = 1", &[Alter, Routine]),
        ("DROP FUNCTION f", &[Drop, Routine]),
        (
            "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
            &[Create, Routine],
        ),
        (
            "CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION f()",
            &[Create, Routine],
        ),
        (
            "CREATE OPERATOR + (FUNCTION = f, LEFTARG = int, RIGHTARG = int)",
            &[Create, Routine],
        ),
        ("CREATE CAST (a AS b) WITH INOUT", &[Create, Routine]),
        (
            "CREATE AGGREGATE f (int) (SFUNC = g, STYPE = int)",
            &[Create, Routine],
        ),
        (
            "CREATE TRANSFORM FOR a LANGUAGE b (FROM SQL WITH FUNCTION f(internal))",
            &[Create, Routine],
        ),
        ("DROP TABLE t", &[Drop]),
        ("ALTER TABLE t ADD COLUMN a int", &[Alter]),
        (
            "CREATE SCHEMA s CREATE VIEW v AS SELECT 1 GRANT SELECT ON v TO x",
            &[Select, Create, Grant],
        ),
        ("SHOW x", &[Select]),
    ];
    for (sql, expected) in cases {
        assert_eq!(effects(sql), *expected, "{sql}");
    }
}

#[test]
fn finds_what_definitions_name_in_any_corner() {
    let cases = [
        (
            "CREATE TABLE t (a int DEFAULT f(1), CHECK (g(a) > 0))",
            "t",
            "f g",
        ),
        ("CREATE INDEX ON t (f(a)) WHERE g(b)", "t", "f g"),
        (
            "CREATE POLICY p ON t USING (EXISTS (SELECT f(1) FROM u))",
            "t u",
            "f",
        ),
        (
            "ALTER TABLE t ALTER a TYPE text USING f(a), ADD COLUMN b int DEFAULT g()",
            "t",
            "f g",
        ),
        ("CREATE TABLE t () INHERITS (customers)", "t customers", ""),
        (
            "CREATE TABLE t (LIKE customers INCLUDING ALL)",
            "t customers",
            "",
        ),
        (
            "ALTER TABLE t ATTACH PARTITION u FOR VALUES FROM (f(1)) TO (2)",
            "t u",
            "f",
        ),
        (
            "CREATE FUNCTION f(a int DEFAULT g()) RETURNS int LANGUAGE sql RETURN 1",
            "",
            "g",
        ),
        ("CREATE STATISTICS s ON a, f(b) FROM t", "t", "f"),
        ("VACUUM t (a), u", "t u", ""),
        (
            "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW WHEN (f(new.a)) EXECUTE FUNCTION g()",
            "t",
            "g f",
        ),
        ("DROP TABLE a.b, c", "b c", ""),
        ("COMMENT ON COLUMN a.b.c IS ''", "b", ""),
    ];
    for (sql, relations, functions) in cases {
        with(sql, |statement| {
            let found: Vec<&str> = statement
                .relations
                .iter()
                .map(|relation| relation.name.as_str())
                .collect();
            assert_eq!(found.join(" "), relations, "{sql}");
            let found: Vec<&str> = statement
                .functions
                .iter()
                .map(|function| function.name.as_str())
                .collect();
            assert_eq!(found.join(" "), functions, "{sql}");
        });
    }
}

#[test]
fn lists_changes_of_settings() {
    let cases: &[(&str, &str, Option<&str>, bool)] = &[
        ("SET search_path = a, b", "search_path", Some("a, b"), false),
        ("SET LOCAL Work_Mem TO '1MB'", "work_mem", Some("1MB"), true),
        ("SET x.y TO DEFAULT", "x.y", None, false),
        ("RESET search_path", "search_path", None, false),
        ("RESET ALL", "*", None, false),
        ("DISCARD ALL", "*", None, false),
        ("SET TIME ZONE 'UTC'", "timezone", Some("UTC"), false),
        ("SET NAMES 'SJIS'", "client_encoding", Some("SJIS"), false),
        ("SET SCHEMA 'x'", "search_path", Some("x"), false),
        ("SET ROLE x", "role", Some("x"), false),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            "session_authorization",
            None,
            false,
        ),
        (
            "SET TRANSACTION READ ONLY",
            "transaction_read_only",
            Some("1"),
            true,
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "default_transaction_isolation",
            Some("serializable"),
            false,
        ),
        (
            "SELECT set_config('A.b', 'c', true)",
            "a.b",
            Some("c"),
            true,
        ),
        (
            "SELECT pg_catalog.set_config('a', x, false) FROM t",
            "a",
            None,
            false,
        ),
        (
            "SELECT set_config(x, 'y', false) FROM t",
            "*",
            Some("y"),
            false,
        ),
        (
            "SELECT set_config(is_local => true, setting_name => 'a', new_value => 'b')",
            "*",
            None,
            false,
        ),
        ("ALTER ROLE r SET a = 'b'", "a", Some("b"), false),
        ("ALTER SYSTEM SET a = 'b'", "a", Some("b"), false),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET a = 'b' AS ''",
            "a",
            Some("b"),
            false,
        ),
    ];
    for (sql, name, value, local) in cases {
        with(sql, |statement| {
            let found = &statement.settings[0];
            assert_eq!(
                (found.name.as_str(), found.value.as_deref(), found.local),
                (*name, *value, *local),
                "{sql}"
            );
        });
    }
}

#[test]
fn describes_copies() {
    with(
        "COPY s.t (a, b) TO STDOUT WITH (FORMAT Binary)",
        |statement| {
            let copy = statement.copy.as_ref().unwrap();
            assert_eq!(copy.direction, CopyDirection::To);
            assert_eq!(copy.endpoint, CopyEndpoint::Client);
            assert_eq!(copy.columns, ["a", "b"]);
            assert_eq!(copy.format.as_deref(), Some("binary"));
            assert_eq!(statement.relations[copy.relation.unwrap()].name, "t");
        },
    );
    with("COPY t FROM U&'/x\\002ey'", |statement| {
        let endpoint = &statement.copy.as_ref().unwrap().endpoint;
        assert_eq!(*endpoint, CopyEndpoint::File("/x.y".to_owned()));
    });
}

#[test]
fn exposes_code_for_its_own_judge() {
    with("DO LANGUAGE plperl 'x'", |statement| {
        let expected = Code {
            language: Some("plperl".into()),
            text: "x".into(),
            runs_now: true,
        };
        assert_eq!(statement.code, [expected]);
    });
    with(
        "CREATE FUNCTION f() RETURNS int AS $$SELECT 1$$ LANGUAGE SQL",
        |statement| {
            assert_eq!(statement.code[0].language.as_deref(), Some("sql"));
            assert_eq!(statement.code[0].text, "SELECT 1");
        },
    );
    let atomic = "CREATE PROCEDURE p() BEGIN ATOMIC DELETE FROM t; SELECT ssn FROM customers; END";
    with(atomic, |statement| {
        let tags: Vec<&str> = statement.contained.iter().map(|inner| inner.tag).collect();
        assert_eq!(tags, ["DELETE", "SELECT"]);
        assert_eq!(statement.contained[0].where_clause, WhereClause::Missing);
    });
    with(
        "CREATE FUNCTION f() RETURNS text RETURN (SELECT ssn FROM customers)",
        |statement| {
            assert_eq!(statement.contained[0].relations[0].name, "customers");
        },
    );
    with(
        "CREATE RULE r AS ON UPDATE TO t DO ALSO (DELETE FROM u; NOTIFY x)",
        |statement| {
            assert_eq!(statement.contained.len(), 2);
        },
    );
}

#[test]
fn tells_cursors_and_prepared_statements_apart() {
    let script = script(
        "PREPARE p (int) AS SELECT $1; EXECUTE p(1); DEALLOCATE p; DEALLOCATE ALL; FETCH 3 FROM c; MOVE c; CLOSE ALL; CLOSE c; EXPLAIN ANALYZE EXECUTE p",
    );
    let [
        prepare,
        execute,
        one,
        all,
        fetch,
        skip,
        close_all,
        close,
        explain,
    ] = script.statements.as_slice()
    else {
        panic!("nine statements");
    };
    assert_eq!(prepare.prepares.as_ref().unwrap().name, "p");
    assert!(!prepare.returns_rows);
    assert_eq!(execute.executes.as_deref(), Some("p"));
    assert_eq!(one.deallocates, Some(Some("p".to_owned())));
    assert_eq!(all.deallocates, Some(None));
    assert_eq!(
        fetch.fetches,
        Some(crate::Fetch {
            cursor: "c".to_owned(),
            is_move: false
        })
    );
    assert!(fetch.returns_rows && !skip.returns_rows);
    assert_eq!(close_all.closes, Some(None));
    assert_eq!(close.closes, Some(Some("c".to_owned())));
    assert_eq!(explain.executes.as_deref(), Some("p"));
}

#[test]
fn knows_transaction_commands() {
    use crate::Transaction as T;
    let cases = [
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", T::Begin),
        ("END AND CHAIN", T::Commit { chain: true }),
        ("ABORT", T::Rollback { chain: false }),
        ("SAVEPOINT a", T::Savepoint("a".into())),
        ("RELEASE a", T::Release("a".into())),
        ("ROLLBACK TO a", T::RollbackTo("a".into())),
        ("PREPARE TRANSACTION 'g'", T::PrepareTransaction("g".into())),
        ("COMMIT PREPARED 'g'", T::CommitPrepared("g".into())),
        ("ROLLBACK PREPARED 'g'", T::RollbackPrepared("g".into())),
    ];
    for (sql, expected) in cases {
        with(sql, |statement| {
            assert_eq!(statement.transaction, Some(expected))
        });
    }
}

#[test]
fn lists_operators_and_types_that_name_a_schema() {
    with(
        "SELECT 1 OPERATOR(pg_catalog.+) 2, 3 OPERATOR(x.@@) 4, 'a'::s.t, 1::int4",
        |statement| {
            let operators: Vec<_> = statement
                .operators
                .iter()
                .map(|op| op.name.as_str())
                .collect();
            assert_eq!(operators, ["+", "@@"]);
            assert_eq!(statement.types.len(), 1);
        },
    );
}

#[test]
fn ranges_are_bytes_of_the_text() {
    let text = "/* é */ SELECT 'é' ; ; DELETE FROM t -- x\n";
    let script = script(text);
    let parts: Vec<&str> = script
        .statements
        .iter()
        .map(|statement| text[statement.range.clone()].trim())
        .collect();
    assert_eq!(parts, ["SELECT 'é'", "DELETE FROM t -- x"]);
    assert!(self::script(" -- nothing\n;;").statements.is_empty());
}

#[test]
fn fingerprints_ignore_constants_and_normal_text_drops_them() {
    let lex = LexSettings::default();
    let print = |sql: &str| script(sql).fingerprint(sql, &lex);
    assert_eq!(
        print("SELECT 1 FROM t WHERE a = 'x'"),
        print("SELECT 2 FROM t WHERE a = 'y'")
    );
    assert_ne!(print("SELECT a FROM t"), print("SELECT b FROM t"));
    assert!(print("SELECT 1").is_some());
    let normal = normalize("SELECT a FROM t WHERE b = 'secret'", &lex);
    assert_eq!(normal.as_deref(), Some("SELECT a FROM t WHERE b = $1"));
}

#[test]
fn a_new_owner_is_a_grant_and_triggers_are_code() {
    let cases: &[(&str, Effect)] = &[
        ("ALTER TABLE t OWNER TO r", Effect::Grant),
        ("ALTER TABLE t ADD c int, OWNER TO r", Effect::Grant),
        ("ALTER VIEW v OWNER TO r", Effect::Grant),
        ("ALTER SCHEMA s OWNER TO r", Effect::Grant),
        ("ALTER FUNCTION f() OWNER TO r", Effect::Grant),
        ("ALTER TABLE t DISABLE TRIGGER ALL", Effect::Routine),
        ("ALTER TABLE t ENABLE REPLICA TRIGGER x", Effect::Routine),
        ("ALTER TABLE t DISABLE RULE x", Effect::Routine),
    ];
    for (sql, effect) in cases {
        with(sql, |statement| {
            assert!(statement.effects.contains(*effect), "{sql}");
        });
    }
    with("ALTER TABLE t ADD c int", |statement| {
        assert!(!statement.effects.contains(Effect::Grant));
        assert!(!statement.effects.contains(Effect::Routine));
    });
}

/// A name in an expression, and the column that the expression computes.
type Named<'a> = (&'a str, Option<&'a str>);

#[test]
fn lists_what_the_expressions_of_a_definition_name() {
    let cases: &[(&str, &[Named<'_>])] = &[
        (
            "ALTER TABLE t ALTER a TYPE int USING (U&\"\\0062\")::int",
            &[("b", Some("a"))],
        ),
        ("ALTER TABLE t ALTER a TYPE varchar(64)", &[]),
        (
            "ALTER TABLE t ALTER a TYPE text USING a::text",
            &[("a", Some("a"))],
        ),
        ("ALTER TABLE t ALTER a TYPE dd", &[("a", None)]),
        ("ALTER TABLE t ALTER a TYPE text COLLATE nd", &[("a", None)]),
        (
            "ALTER TABLE t ALTER a TYPE text USING nullif(a, '1')",
            &[("a", None), ("a", Some("a"))],
        ),
        (
            "ALTER TABLE t ADD a text GENERATED ALWAYS AS (t.b) STORED, ADD CHECK (c > 0)",
            &[("t", Some("a")), ("b", Some("a")), ("c", None)],
        ),
        (
            "CREATE INDEX ON t (a, lower(b)) WHERE c",
            &[("b", None), ("c", None)],
        ),
        (
            "CREATE POLICY p ON t USING (t.*::text = '')",
            &[("t", None)],
        ),
        (
            "CREATE TABLE s (CHECK (a <> '')) INHERITS (t)",
            &[("a", None)],
        ),
        (
            "CREATE TABLE s PARTITION OF t FOR VALUES IN (1) PARTITION BY LIST (a, left(b, 1))",
            &[("a", None), ("b", None)],
        ),
        ("CLUSTER t USING t_a", &[("t", None)]),
        ("COMMENT ON COLUMN t.a IS ''", &[]),
        ("CALL p((SELECT a FROM t))", &[]),
    ];
    for (sql, expected) in cases {
        with(sql, |statement| {
            let found: Vec<_> = statement
                .columns
                .iter()
                .map(|column| (column.name.as_str(), column.into.as_deref()))
                .collect();
            assert_eq!(found, *expected, "{sql}");
        });
    }
}

#[test]
fn knows_the_setting_that_a_condition_names() {
    let cases: &[(&str, &str)] = &[
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'work_mem'",
            "work_mem",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings s WHERE a AND name = 'A.b'",
            "a.b",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM s WHERE name = 'a'",
            "*",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM public.pg_settings WHERE name = 'a'",
            "*",
        ),
        (
            "WITH pg_settings AS (SELECT 'a' AS name) SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'a'",
            "*",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'a' OR b",
            "*",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings s, t WHERE name = 'a'",
            "*",
        ),
        (
            "SELECT 1 FROM pg_settings WHERE name = 'a' AND set_config(name, 'x', false) = ''",
            "*",
        ),
        (
            "SELECT (SELECT set_config(name, 'x', false) FROM t) FROM pg_settings WHERE name = 'a'",
            "*",
        ),
        (
            "SELECT set_config(other, 'x', false) FROM pg_settings WHERE name = 'a'",
            "*",
        ),
    ];
    for (sql, name) in cases {
        with(sql, |statement| {
            assert_eq!(statement.settings[0].name, *name, "{sql}")
        });
    }
}

#[test]
fn the_columns_of_foreign_keys_are_listed() {
    let keys = |sql| with(sql, |statement| statement.keys.clone());
    for (found, sql) in [
        (
            vec!["ssn", "card"],
            "ALTER TABLE customers ADD FOREIGN KEY (ssn, card) REFERENCES leads",
        ),
        (
            vec!["a", "ssn"],
            "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES customers (ssn) ON DELETE CASCADE",
        ),
        (
            vec!["ssn"],
            "ALTER TABLE t ADD COLUMN s text REFERENCES customers (ssn)",
        ),
        (
            vec!["ssn"],
            "CREATE TABLE t (a text REFERENCES customers (ssn), id int REFERENCES orders)",
        ),
        (
            vec!["ssn"],
            "CREATE TABLE t (ssn text, FOREIGN KEY (ssn) REFERENCES customers (ssn))",
        ),
        (
            vec![],
            "CREATE TABLE t (ssn text PRIMARY KEY, UNIQUE (ssn), CHECK (ssn <> ''))",
        ),
    ] {
        assert_eq!(keys(sql), found, "{sql}");
    }
}

#[test]
fn primary_keys_that_are_referred_to_unnamed() {
    for (found, sql) in [
        (
            vec!["customers"],
            "CREATE TABLE t (x text REFERENCES customers)",
        ),
        (
            vec!["customers"],
            "ALTER TABLE t ADD FOREIGN KEY (x) REFERENCES customers ON DELETE CASCADE",
        ),
        (
            vec![],
            "CREATE TABLE t (x text REFERENCES customers (id), PRIMARY KEY (x))",
        ),
    ] {
        let names = |statement: &Statement| {
            let keys = statement.primary_keys.iter();
            keys.map(|key| key.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(with(sql, names), found, "{sql}");
    }
}

#[test]
fn an_index_sorts_what_stands_behind_a_column() {
    let sorts = |sql| with(sql, |statement| statement.sorts.clone());
    let sorted = |key: &str, behind: &[Option<&str>]| {
        let behind = behind.iter().map(|name| name.map(str::to_owned)).collect();
        (key.to_owned(), behind)
    };
    for (found, sql) in [
        (vec![], "CREATE INDEX ON customers (ssn)"),
        (
            vec![sorted("ssn", &[Some("id")])],
            "CREATE INDEX ON customers (ssn) INCLUDE (id)",
        ),
        (
            vec![sorted("ssn", &[Some("id")])],
            "ALTER TABLE customers ADD UNIQUE (ssn, id)",
        ),
        (
            vec![sorted("ssn", &[None])],
            "CREATE INDEX ON customers (ssn, lower(name))",
        ),
        (vec![], "ALTER TABLE customers ADD CHECK (ssn <> '')"),
    ] {
        assert_eq!(sorts(sql), found, "{sql}");
    }
}
