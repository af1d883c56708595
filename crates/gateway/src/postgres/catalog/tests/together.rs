//! Several statements in one message, which are all judged before the first one runs.

use super::code::{function_row, with_code};
use super::*;
use crate::postgres::operation::{Earlier, Judged, View};

/// Whether the last of these statements is refused because of those before it.
fn is_behind(sql: &str) -> bool {
    let functions = vec![
        function_row("own", "sql", "SELECT x FROM stash", "false"),
        function_row("stamp", "plpgsql", "BEGIN RETURN NEW; END", "false"),
    ];
    let catalog = with_code(functions, &[]);
    let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
        panic!("{sql}");
    };
    let mut earlier = Earlier::default();
    let mut last = false;
    for statement in &script.statements {
        let view = View {
            catalog: Some(&catalog),
            earlier: &earlier,
        };
        let judged = Judged::new(statement, &[], &view);
        last = judged.is_behind;
        earlier.add(&judged.leaves);
    }
    last
}

const SHOWS: &str = "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers'";
const KEEPS: &str =
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log; END'";
const QUIET: &str =
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";
const ON: &str = "FOR EACH ROW EXECUTE FUNCTION f()";

#[test]
fn what_an_earlier_statement_may_have_changed_is_not_known() {
    for sql in [
        &format!("{SHOWS}; SELECT f()"),
        &format!("{SHOWS}; SELECT 1 === 1"),
        &format!("{SHOWS}; CREATE TABLE t (a text DEFAULT f())"),
        &format!("{SHOWS}; CREATE TRIGGER t BEFORE UPDATE ON orders {ON}"),
        &format!("{KEEPS}; CREATE TRIGGER t BEFORE UPDATE ON customers {ON}"),
        &format!("{KEEPS}; CREATE DOMAIN d AS text CHECK (f(VALUE))"),
        &format!("{KEEPS}; SELECT id FROM customers WHERE f(ssn)"),
        &format!("CREATE TABLE t (a text DEFAULT own()); {SHOWS}"),
        &format!(
            "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION stamp(); {KEEPS}"
        ),
        "ALTER FUNCTION a() RENAME TO f; SELECT f()",
        "ALTER TABLE customers RENAME TO stash; SELECT own()",
        "ALTER TABLE customers RENAME COLUMN ssn TO x; UPDATE customers SET id = 1 RETURNING x",
        "ALTER TABLE customers RENAME TO stash; DO $$ BEGIN PERFORM 1 FROM stash; END $$",
        "ALTER TABLE customers SET SCHEMA z; CREATE VIEW v AS SELECT ssn FROM z.customers",
        &format!("{QUIET}; ALTER TABLE customers RENAME TO stash"),
        "CREATE TABLE z.customers (ssn text); SELECT ssn FROM customers",
        "CREATE TABLE t (a int); SELECT ssn FROM customers JOIN t ON id = a",
        "CREATE TABLE t (a int) INHERITS (customers); SELECT ssn FROM t",
        "ALTER TABLE orders ADD FOREIGN KEY (memo) REFERENCES customers (ssn); SELECT memo || '' FROM orders",
        "ALTER TABLE customers ADD PRIMARY KEY (ssn); CREATE TABLE t (a text REFERENCES customers)",
        "ALTER SCHEMA public RENAME TO p; ALTER SCHEMA z RENAME TO public; SELECT id FROM public.orders",
        "ALTER SCHEMA public RENAME TO p; ALTER SCHEMA z RENAME TO public; UPDATE orders SET id = 1",
        "CREATE TABLE z.t (a int); ALTER SCHEMA z RENAME TO p; SELECT a FROM z.t",
        "CREATE TABLE t (a int); SELECT a FROM s",
        "CREATE TABLE z.t (a int); SELECT a FROM t",
    ] {
        assert!(is_behind(sql), "{sql}");
    }
}

#[test]
fn what_earlier_statements_leave_as_it_was_is_judged_as_if_alone() {
    for sql in [
        "CREATE TABLE t (a int); INSERT INTO t SELECT id FROM orders; SELECT a FROM t",
        "CREATE TABLE t (a int); SELECT ssn FROM customers",
        "CREATE INDEX i ON orders (memo); SELECT id FROM customers WHERE id = 1",
        "CREATE TABLE t (a int); INSERT INTO t SELECT id FROM customers",
        "CREATE TABLE t (a int); CREATE TABLE s (a int REFERENCES customers (id))",
        "CREATE TABLE t (a int REFERENCES customers (id)); ALTER TABLE t ADD b int REFERENCES customers (id)",
        "CREATE TABLE IF NOT EXISTS t (a int); SELECT a FROM t",
        "CREATE TABLE IF NOT EXISTS t (a int); CREATE TABLE IF NOT EXISTS s (a int REFERENCES t (a))",
        "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; SELECT a FROM v",
        "ALTER TABLE orders ADD COLUMN k int; UPDATE orders SET k = id; SELECT k FROM orders",
        "DROP TABLE IF EXISTS t; CREATE TABLE t (a int); SELECT a FROM t",
        "ALTER TABLE customers ADD COLUMN k int; UPDATE customers SET k = 1",
        "BEGIN; CREATE TABLE t (a int); COMMIT",
        &format!("{SHOWS}; CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        &format!("{KEEPS}; CREATE TRIGGER t BEFORE UPDATE ON orders {ON}"),
        &format!(
            "{QUIET}; CREATE TRIGGER t BEFORE UPDATE ON customers {ON}; UPDATE customers SET id = 1"
        ),
    ] {
        assert!(!is_behind(sql), "{sql}");
    }
}
