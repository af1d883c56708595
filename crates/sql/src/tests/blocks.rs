//! Blocks of PL/pgSQL that only run statements.

use super::support::with;
use crate::*;

#[test]
fn blocks_that_only_run_statements_are_their_statements() {
    let block = |body: &str| {
        let tags = |statement: &Statement| -> Option<Vec<&str>> {
            let block = statement.block.as_ref()?;
            Some(block.iter().map(|inner| inner.tag).collect())
        };
        with(&format!("DO $do$ {body} $do$"), tags)
    };
    for (tags, body) in [
        (
            &["ALTER TABLE"][..],
            "BEGIN\n ALTER TABLE orders ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES customers (id) \
             ON DELETE no action ON UPDATE no action;\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND",
        ),
        (
            &["UPDATE", "INSERT"],
            "begin update t set a = 'x;' || $$end;$$ where id = 1; insert into t values (1); end;",
        ),
        (
            &["CREATE TABLE"],
            "BEGIN CREATE TABLE t (a int); EXCEPTION WHEN duplicate_table OR unique_violation THEN NULL; \
             WHEN others THEN NULL; END;",
        ),
    ] {
        assert_eq!(block(body).as_deref(), Some(tags), "{body}");
    }
    for body in [
        "BEGIN END",
        "BEGIN NULL; END",
        "BEGIN PERFORM f(); END",
        "BEGIN SELECT a INTO b FROM t; END",
        "BEGIN EXECUTE x; END",
        "BEGIN CALL p(); END",
        "BEGIN SET role TO x; END",
        "BEGIN COMMIT; END",
        "BEGIN INSERT INTO t VALUES (1) RETURNING a; END",
        "BEGIN UPDATE t SET a = 1 RETURNING a INTO b; END",
        "DECLARE a int; BEGIN UPDATE t SET a = 1; END",
        "BEGIN IF true THEN UPDATE t SET a = 1; END IF; END",
        "BEGIN UPDATE t SET a = 1; BEGIN UPDATE t SET a = 2; END; END",
        "BEGIN UPDATE t SET a = 1; EXCEPTION WHEN others THEN UPDATE t SET a = 2; END",
        "BEGIN UPDATE t SET a = 1; EXCEPTION WHEN others THEN NULL; EXECUTE x; END",
        "BEGIN UPDATE t SET a = 1; EXCEPTION WHEN SQLSTATE '23505' THEN NULL; END",
        "BEGIN UPDATE t SET a = 1; END; UPDATE t SET a = 2; END",
        "BEGIN UPDATE t SET a = 1; END label",
        "BEGIN UPDATE t SET a = 1 -- ;\n; END",
        "BEGIN UPDATE t SET a = 1 /* ; */; END",
        "BEGIN UPDATE t SET a = E'\\'; END",
        "<<l>> BEGIN UPDATE t SET a = 1; END",
        "#variable_conflict use_column BEGIN UPDATE t SET a = 1; END",
        "BEGIN CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; END",
    ] {
        assert_eq!(block(body), None, "{body}");
    }
    let other = |statement: &Statement| statement.block.is_none();
    assert!(with(
        "DO LANGUAGE plperl 'BEGIN UPDATE t SET a = 1; END'",
        other
    ));
}
