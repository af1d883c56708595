//! Functions, and code that runs by itself.

use super::*;

#[test]
fn code_is_harmless_only_if_it_cannot_spell_a_labelled_name() {
    let columns = relations(&[CUSTOMERS, (20_001, "legal", "Tax \"Ids", &["ssn"])]);
    let rows = Rows {
        tables: vec![columns, vec![], vec![], vec![], vec![], vec![]],
    };
    let resources = RESOURCES.replace(
        "columns: [{",
        "columns: [{target: shop, table: 'legal.\"Tax \"\"Ids\"', columns: [ssn]}, {",
    );
    let labels = rules_of(&resources);
    let catalog = Catalog::build(&rows, &labels, &mut Pins::default()).unwrap();
    let harmless = |text: &str| {
        catalog.is_harmless(&weir_sql::Code {
            language: Some("plpgsql".into()),
            text: text.into(),
            runs_now: true,
        })
    };
    assert!(harmless("BEGIN PERFORM 1 FROM orders; END"));
    for code in [
        "BEGIN PERFORM 1 FROM CUSTOMERS; END",
        "BEGIN PERFORM 1 FROM legal.\"Tax \"\"Ids\"; END",
        "BEGIN PERFORM 1 FROM U&\"\\0063ustomers\"; END",
    ] {
        assert!(!harmless(code), "{code}");
    }
}

pub(super) fn function_row(
    name: &str,
    language: &str,
    source: &str,
    extension: &str,
) -> query::Table {
    vec![vec![
        cell(name),
        cell(language),
        cell(source),
        cell(extension),
    ]]
}

pub(super) fn with_code(functions: Vec<query::Table>, attached: &[(&str, &str)]) -> Catalog {
    let code = attached
        .iter()
        .map(|(oid, code)| vec![cell(oid), cell(code)]);
    let orders = (20_001, "public", "orders", &["id", "memo"] as &[&str]);
    let tables = vec![
        relations(&[CUSTOMERS, orders]),
        vec![],
        vec![],
        functions.concat(),
        code.collect(),
        vec![],
    ];
    Catalog::build(&Rows { tables }, &rules(), &mut Pins::default()).unwrap()
}

#[test]
fn a_function_that_may_leave_what_it_is_given_keeps_it() {
    let functions = vec![
        function_row(
            "remember",
            "plpgsql",
            "CREATE OR REPLACE FUNCTION public.remember(x text) AS 'INSERT INTO t VALUES (x)'",
            "false",
        ),
        function_row("outer_one", "sql", "SELECT remember(x)", "false"),
        function_row(
            "settings",
            "sql",
            "SELECT set_config('a.b', x, false)",
            "false",
        ),
        function_row("native", "c", "", "false"),
        function_row("similarity", "c", "", "true"),
        function_row(
            "plain",
            "plpgsql",
            "CREATE OR REPLACE FUNCTION public.plain(x text) AS 'SELECT lower(x)'",
            "false",
        ),
    ];
    let catalog = with_code(functions, &[]);
    let keeps = |name| catalog.functions.keeps(None, name);
    for name in [
        "remember",
        "outer_one",
        "settings",
        "native",
        "set_config",
        "pg_notify",
        "pg_try_advisory_lock",
        "setseed",
        "lo_from_bytea",
    ] {
        assert!(keeps(name), "{name}");
    }
    for name in ["similarity", "plain", "lower", "current_setting", "now"] {
        assert!(!keeps(name), "{name}");
    }
}

#[test]
fn code_that_runs_by_itself_on_labelled_values_keeps_and_tells_nothing() {
    let functions = vec![
        function_row(
            "harmless",
            "plpgsql",
            "BEGIN RETURN inner_one(x); END",
            "false",
        ),
        function_row("inner_one", "plpgsql", "BEGIN RETURN true; END", "false"),
        function_row(
            "stamp",
            "plpgsql",
            "BEGIN NEW.memo := now(); RETURN NEW; END",
            "false",
        ),
        function_row(
            "copy_out",
            "plpgsql",
            "BEGIN NEW.memo := NEW.SSN; RETURN NEW; END",
            "false",
        ),
        function_row(
            "whole",
            "plpgsql",
            "BEGIN NEW.memo := NEW::text; RETURN NEW; END",
            "false",
        ),
        function_row(
            "audit",
            "plpgsql",
            "BEGIN INSERT INTO t VALUES (NEW.id); END",
            "false",
        ),
    ];
    let attached = [("0", "harmless"), ("20001", "EXECUTE FUNCTION audit()")];
    let catalog = with_code(functions, &attached);
    let attaches = |sql: &str| {
        let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        catalog.oracle(&script.statements[0], false).attaches()
    };
    let body = "RETURNS bool LANGUAGE plpgsql AS";
    for sql in [
        "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION copy_out()",
        "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION whole()",
        "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE POLICY p ON customers USING (ssn::int > 0)",
        "CREATE POLICY p ON customers USING (audit())",
        "CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = audit)",
        "CREATE CAST (text AS w) WITH FUNCTION audit(text)",
        "CREATE DOMAIN d AS text CHECK (audit(VALUE))",
        "ALTER TABLE customers ADD CHECK (audit(ssn))",
        "CREATE INDEX ON customers (set_config('a.b', ssn, false))",
        &format!("CREATE OR REPLACE FUNCTION harmless(x text) {body} 'BEGIN INSERT INTO t; END'"),
        &format!("CREATE OR REPLACE FUNCTION inner_one(x text) {body} 'BEGIN EXECUTE x; END'"),
        "ALTER FUNCTION other(text) RENAME TO inner_one",
    ] {
        assert!(attaches(sql), "{sql}");
    }
    for sql in [
        "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION stamp()",
        "CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE POLICY p ON customers USING (id = 1)",
        "CREATE POLICY p ON orders USING (audit())",
        "CREATE OPERATOR @@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = harmless)",
        "CREATE DOMAIN d AS text CHECK (VALUE ~ '@')",
        "ALTER TABLE customers ADD COLUMN n int DEFAULT nextval('s')",
        "ALTER TABLE customers ADD CHECK (length(ssn) > 3)",
        &format!("CREATE OR REPLACE FUNCTION harmless(x text) {body} 'BEGIN RETURN x = 1; END'"),
        &format!("CREATE OR REPLACE FUNCTION audit() {body} 'BEGIN INSERT INTO u; END'"),
        "ALTER FUNCTION other(text) RENAME TO another",
    ] {
        assert!(!attaches(sql), "{sql}");
    }
}

#[test]
fn functions_that_put_many_records_into_one_value_are_known() {
    let functions = vec![
        function_row("pack", "sql", "SELECT string_agg(a, ',') FROM t", "false"),
        function_row("outer_one", "sql", "SELECT pack()", "false"),
        function_row(
            "piecewise",
            "plpgsql",
            "BEGIN FOR r IN SELECT a FROM t LOOP s := s || r.a; END LOOP; RETURN s; END",
            "false",
        ),
        function_row(
            "counts",
            "plpgsql",
            "BEGIN FOR r IN SELECT a FROM t LOOP n := n + 1; END LOOP; RETURN n; END",
            "false",
        ),
        function_row("joined", "sql", "SELECT a || b FROM t", "false"),
    ];
    let catalog = with_code(functions, &[]);
    let collects = |name| catalog.functions.collects(name);
    assert!(collects("pack") && collects("outer_one") && collects("piecewise"));
    assert!(!collects("counts") && !collects("joined"));
}

fn attaches(catalog: &Catalog, sql: &str) -> bool {
    let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
        panic!("{sql}");
    };
    catalog.oracle(&script.statements[0], false).attaches()
}

#[test]
fn code_that_runs_by_itself_anywhere_comes_to_name_nothing_labelled() {
    let functions = vec![
        function_row("stamp", "plpgsql", "BEGIN NEW.memo := foo(); END", "false"),
        function_row("foo", "sql", "SELECT x FROM stash", "false"),
    ];
    let attached = [("20001", "EXECUTE FUNCTION stamp()")];
    let catalog = with_code(functions, &attached);
    let body = "RETURNS text LANGUAGE sql AS";
    for sql in [
        &format!("CREATE OR REPLACE FUNCTION stamp() {body} 'SELECT ssn FROM customers'"),
        &format!("CREATE OR REPLACE FUNCTION foo() {body} 'SELECT ssn FROM customers'"),
        "ALTER FUNCTION other() RENAME TO foo",
        "ALTER TABLE customers RENAME TO stash",
        "ALTER TABLE customers INHERIT stash",
        "CREATE TABLE stash () INHERITS (customers)",
    ] {
        assert!(attaches(&catalog, sql), "{sql}");
    }
    for sql in [
        &format!("CREATE OR REPLACE FUNCTION stamp() {body} 'SELECT memo FROM orders'"),
        &format!("CREATE OR REPLACE FUNCTION other() {body} 'SELECT ssn FROM customers'"),
        "ALTER TABLE customers RENAME TO people",
        "ALTER TABLE orders RENAME TO stash",
        "ALTER TABLE customers RENAME COLUMN ssn TO memo",
        "CREATE TABLE customers_2026 () INHERITS (customers)",
    ] {
        assert!(!attaches(&catalog, sql), "{sql}");
    }
}

#[test]
fn a_table_that_views_read_gets_no_labelled_child_or_parent() {
    let parent = |oid, name| (oid, "public", name, &["id", "ssn"] as &[&str]);
    let tables = vec![
        relations(&[
            CUSTOMERS,
            parent(20_001, "viewed"),
            parent(20_002, "plain"),
            (20_003, "public", "v", &["id"]),
            (20_004, "public", "w", &["id"]),
        ]),
        vec![],
        vec![
            vec![
                cell("20003"),
                cell("SELECT id FROM viewed WHERE ssn LIKE '1%'"),
            ],
            vec![cell("20004"), cell("SELECT id FROM v")],
        ],
        vec![],
        vec![],
        vec![],
    ];
    let catalog = Catalog::build(&Rows { tables }, &rules(), &mut Pins::default()).unwrap();
    for sql in [
        "ALTER TABLE customers INHERIT viewed",
        "ALTER TABLE viewed INHERIT customers",
        "ALTER TABLE viewed ATTACH PARTITION customers DEFAULT",
    ] {
        assert!(attaches(&catalog, sql), "{sql}");
    }
    for sql in [
        "ALTER TABLE customers INHERIT plain",
        "ALTER TABLE plain INHERIT customers",
        "CREATE TABLE customers_2026 () INHERITS (customers)",
    ] {
        assert!(!attaches(&catalog, sql), "{sql}");
    }
}

#[test]
fn a_table_whose_conditions_look_at_a_labelled_column_gets_no_labelled_child_or_parent() {
    let table = |oid, name| (oid, "public", name, &["id", "ssn"] as &[&str]);
    let tables = vec![
        relations(&[
            CUSTOMERS,
            table(20_001, "routed"),
            table(20_002, "by_date"),
            table(20_003, "watched"),
        ]),
        vec![],
        vec![],
        vec![],
        vec![
            vec![cell("20001"), cell("RANGE (ssn)")],
            vec![cell("20002"), cell("RANGE (id)")],
            vec![cell("20003"), cell("(ssn ~~ '1%'::text) ")],
        ],
        vec![],
    ];
    let catalog = Catalog::build(&Rows { tables }, &rules(), &mut Pins::default()).unwrap();
    for sql in [
        "ALTER TABLE routed ATTACH PARTITION customers FOR VALUES FROM ('1') TO ('2')",
        "ALTER TABLE customers ATTACH PARTITION routed DEFAULT",
        "ALTER TABLE watched INHERIT customers",
        "ALTER TABLE customers INHERIT watched",
    ] {
        assert!(attaches(&catalog, sql), "{sql}");
    }
    for sql in [
        "ALTER TABLE by_date ATTACH PARTITION customers DEFAULT",
        "ALTER TABLE customers ATTACH PARTITION by_date DEFAULT",
    ] {
        assert!(!attaches(&catalog, sql), "{sql}");
    }
}

#[test]
fn a_column_does_not_get_a_name_that_a_trigger_moves() {
    let functions = vec![function_row(
        "move_it",
        "plpgsql",
        "BEGIN NEW.id := NEW.foo; RETURN NEW; END",
        "false",
    )];
    let catalog = with_code(functions, &[("20000", "EXECUTE FUNCTION move_it()")]);
    assert!(attaches(
        &catalog,
        "ALTER TABLE customers RENAME COLUMN ssn TO foo"
    ));
    assert!(!attaches(
        &catalog,
        "ALTER TABLE customers RENAME COLUMN ssn TO bar"
    ));
    assert!(!attaches(
        &catalog,
        "ALTER TABLE customers RENAME COLUMN id TO foo"
    ));
}

#[test]
fn the_server_s_own_trigger_copies_no_labelled_column() {
    let catalog = with_code(vec![], &[]);
    let trigger = |column: &str| {
        format!(
            "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION \
             tsvector_update_trigger(tsv, 'pg_catalog.simple', {column})"
        )
    };
    assert!(attaches(&catalog, &trigger("ssn")));
    assert!(!attaches(&catalog, &trigger("id")));
}

#[test]
fn functions_are_known_by_names_that_are_no_words() {
    let functions = vec![
        function_row("a-b", "sql", "SELECT ssn FROM customers", "false"),
        function_row("leak\u{1f600}", "sql", "SELECT ssn FROM customers", "false"),
        function_row("by_quotes", "sql", "SELECT \"a-b\"()", "false"),
        function_row("folded", "sql", "SELECT LEAK\u{1f600}()", "false"),
        function_row("plain", "sql", "SELECT a - b", "false"),
    ];
    let catalog = with_code(functions, &[]);
    let trusted = |name| catalog.functions.is_trusted(None, name);
    assert!(trusted("plain") && !trusted("by_quotes") && !trusted("folded"));
}

#[test]
fn what_every_definition_begins_with_is_not_what_a_function_does() {
    let define = |name, head: &str, body: &str| {
        let head = format!(
            "CREATE OR REPLACE FUNCTION public.{name}({head})\n RETURNS text\n LANGUAGE sql"
        );
        function_row(name, "sql", &format!("{head}\n STABLE{body}"), "false")
    };
    let reads = "\nAS $function$SELECT ssn FROM customers$function$";
    let functions = vec![
        define("replace", "a text", reads),
        define("function", "a text", reads),
        define("language", "a text", reads),
        define("returns", "a text", reads),
        define(
            "counts",
            "a text",
            "\nAS $function$SELECT count(*) FROM orders$function$",
        ),
        define("standard", "a text", "\nRETURN (a || 'x'::text)\n"),
        define("atomic", "a text", "\nBEGIN ATOMIC\n SELECT 1;\nEND\n"),
        define("calls", "a text", "\nRETURN replace(a)\n"),
        define(
            "by_default",
            "a text DEFAULT replace('x'::text)",
            "\nRETURN a\n",
        ),
        define(
            "behind_a_quote",
            "a text DEFAULT ('\n RETURNS '::text || replace('x'::text))",
            "\nRETURN a\n",
        ),
    ];
    let catalog = with_code(functions, &[]);
    let trusted = |name| catalog.functions.is_trusted(None, name);
    for name in ["counts", "standard", "atomic"] {
        assert!(trusted(name), "{name}");
    }
    for name in ["replace", "calls", "by_default", "behind_a_quote"] {
        assert!(!trusted(name), "{name}");
    }
}

#[test]
fn a_name_beside_a_dollar_quote_is_found() {
    let define = |name, quote: &str, body: &str| {
        let head = format!(
            "CREATE OR REPLACE FUNCTION public.{name}()\n RETURNS SETOF text\n LANGUAGE sql"
        );
        function_row(
            name,
            "sql",
            &format!("{head}\nAS {quote}{body}{quote}\n"),
            "false",
        )
    };
    let functions = vec![
        define("at_the_end", "$function$", "SELECT ssn FROM customers"),
        define("at_the_start", "$function$", "customers"),
        define(
            "longer",
            "$functionx$",
            "SELECT '$function$' FROM customers",
        ),
        define(
            "within",
            "$function$",
            "SELECT query_to_xml($q$TABLE customers$q$, true, true, '')",
        ),
        define("of_a_call", "$function$", "TABLE at_the_end"),
        define("plain", "$function$", "SELECT memo FROM orders"),
    ];
    let catalog = with_code(functions, &[]);
    let trusted = |name| catalog.functions.is_trusted(None, name);
    for name in [
        "at_the_end",
        "at_the_start",
        "longer",
        "within",
        "of_a_call",
    ] {
        assert!(!trusted(name), "{name}");
    }
    assert!(trusted("plain"));
    let names = |source| words(source).collect::<Vec<_>>();
    assert!(
        names("$f$customers$f$")
            .iter()
            .any(|word| word == "customers")
    );
    assert!(names("a$b").iter().any(|word| word == "a$b"));
}

#[test]
fn code_that_defines_code_is_not_trusted() {
    let head = "CREATE OR REPLACE FUNCTION public.plain() RETURNS trigger ";
    let create = "BEGIN CREATE OR REPLACE FUNCTION g() RETURNS int AS E'SELECT \\x31'; END";
    let functions = vec![
        function_row("definer", "plpgsql", create, "false"),
        function_row("again", "plpgsql", "BEGIN DEALLOCATE p; END", "false"),
        function_row(
            "tables",
            "plpgsql",
            "BEGIN CREATE TABLE t (a int); END",
            "false",
        ),
        function_row(
            "plain",
            "plpgsql",
            &format!("{head}\nAS $f$ BEGIN END"),
            "false",
        ),
        function_row(
            "keeper",
            "plpgsql",
            "BEGIN INSERT INTO t VALUES (1); END",
            "false",
        ),
    ];
    let catalog = with_code(functions, &[]);
    let trusted = |name| catalog.functions.is_trusted(None, name);
    assert!(!trusted("definer") && !trusted("again") && trusted("tables") && trusted("plain"));
    let harmless = |text: &str| {
        catalog.is_harmless(&weir_sql::Code {
            language: Some("plpgsql".into()),
            text: text.into(),
            runs_now: true,
        })
    };
    assert!(harmless("BEGIN CREATE TABLE t (a int); END"));
    assert!(harmless(
        "BEGIN CREATE DOMAIN d AS text CHECK (VALUE <> ''); END"
    ));
    assert!(!harmless(
        "BEGIN CREATE DOMAIN d AS text CHECK (keeper(VALUE)); END"
    ));
    assert!(!harmless(
        "BEGIN CREATE OPERATOR @@@ (FUNCTION = plain); END"
    ));
}

#[test]
fn what_makes_cursors_and_statements_for_the_session_keeps_them() {
    let functions = vec![
        function_row(
            "opens",
            "plpgsql",
            "BEGIN OPEN c FOR SELECT 1; END",
            "false",
        ),
        function_row(
            "declares",
            "sql",
            "CLOSE c; DECLARE c CURSOR FOR SELECT 1",
            "false",
        ),
        function_row(
            "prepares",
            "plpgsql",
            "BEGIN PREPARE p AS SELECT 1; END",
            "false",
        ),
        function_row(
            "reads",
            "plpgsql",
            "DECLARE r text; BEGIN RETURN r; END",
            "false",
        ),
    ];
    let catalog = with_code(functions, &[]);
    let keeps = |name| catalog.functions.keeps(None, name);
    assert!(keeps("opens") && keeps("declares") && keeps("prepares") && !keeps("reads"));
}
