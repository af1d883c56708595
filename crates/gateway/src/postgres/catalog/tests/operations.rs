//! What statements do, in policy's terms.

use weir_policy::{Operation, SqlOperation, Use};

use super::*;
use crate::postgres::operation::{Earlier, Judged, View};

/// What is read of an operation.
fn judged<T>(sql: &str, read: impl FnOnce(&SqlOperation<'_>) -> T) -> T {
    judged_by(&rules(), sql, read)
}

/// The same where these columns are labelled.
fn judged_by<T>(rules: &LabelRules, sql: &str, read: impl FnOnce(&SqlOperation<'_>) -> T) -> T {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "pg_temp_3", "mine", &["id"]),
        (20_002, "public", "orders", &["id", "memo"]),
    ]);
    let views = vec![vec![cell("20001"), cell("SELECT id FROM customers")]];
    let tables = vec![columns, vec![], views, vec![], vec![], vec![]];
    let catalog = Catalog::build(&Rows { tables }, rules, &mut Pins::default()).unwrap();
    let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
        panic!("{sql}");
    };
    let view = View {
        catalog: Some(&catalog),
        earlier: &Earlier::default(),
    };
    let judged = Judged::new(&script.statements[0], &[], &view);
    judged.operation(|operation| {
        let Operation::Sql(sql) = operation else {
            panic!("{operation:?}");
        };
        read(sql)
    })
}

fn relations_of(sql: &str) -> Vec<String> {
    judged(sql, |sql| {
        let found = sql.relations.iter();
        found
            .map(|one| format!("{}.{}", one.schema, one.name))
            .collect()
    })
}

fn uses_of(sql: &str) -> Vec<Use> {
    judged(sql, |sql| {
        sql.label_uses.iter().map(|used| used.how).collect()
    })
}

#[test]
fn a_view_that_is_dropped_leaves_what_lies_behind_it() {
    assert_eq!(relations_of("DROP VIEW pg_temp_3.mine"), ["pg_temp_3.mine"]);
    let read = relations_of("SELECT id FROM pg_temp_3.mine");
    assert_eq!(read, ["pg_temp_3.mine", "public.customers"]);
}

#[test]
fn a_foreign_key_compares_columns() {
    for sql in [
        "CREATE TABLE t (s text REFERENCES customers (ssn))",
        "ALTER TABLE orders ADD FOREIGN KEY (memo) REFERENCES customers (ssn)",
        "ALTER TABLE customers ADD FOREIGN KEY (ssn) REFERENCES orders (memo)",
    ] {
        assert_eq!(uses_of(sql), [Use::Join], "{sql}");
    }
    for sql in [
        "CREATE TABLE t (c int REFERENCES customers (id), ssn text)",
        "CREATE TABLE t (ssn int, FOREIGN KEY (ssn) REFERENCES customers (id))",
        "ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES customers (id)",
    ] {
        assert_eq!(uses_of(sql), [], "{sql}");
    }
}

#[test]
fn what_a_definition_makes_of_the_rows_that_are_there_tells_of_them() {
    for sql in [
        "ALTER TABLE customers ALTER ssn TYPE own_domain",
        "ALTER TABLE customers ALTER ssn TYPE text COLLATE own",
        "ALTER TABLE customers ALTER ssn TYPE text USING nullif(ssn, '1')",
        "CREATE TABLE c (CHECK (ssn NOT LIKE '1%')) INHERITS (customers)",
        "CREATE TABLE c PARTITION OF customers FOR VALUES IN (1) PARTITION BY LIST (ssn)",
        "CLUSTER customers USING customers_ssn",
    ] {
        assert!(uses_of(sql).contains(&Use::Predicate), "{sql}");
    }
    for sql in [
        "ALTER TABLE customers ALTER ssn TYPE varchar(32)",
        "ALTER TABLE customers ALTER ssn TYPE text USING ssn::text",
        "ALTER TABLE customers ALTER name TYPE own_domain",
        "CREATE TABLE c () INHERITS (customers)",
        "CREATE TABLE c (ssn text, CHECK (ssn <> '')) PARTITION BY LIST (ssn)",
        "CREATE TABLE c PARTITION OF customers FOR VALUES IN (1) PARTITION BY LIST (id)",
        "CLUSTER orders USING orders_pkey",
    ] {
        assert!(!uses_of(sql).contains(&Use::Predicate), "{sql}");
    }
}

#[test]
fn a_text_is_not_turned_under_a_mask_that_shows_its_ends() {
    let partial = rules_of(&RESOURCES.replace("{constant: \"***\"}", "{partial: {keepLast: 4}}"));
    let flows = |rules: &LabelRules, sql: &str| {
        judged_by(rules, sql, |sql| {
            sql.label_uses.iter().any(|used| used.how == Use::Write) && !sql.outputs.is_empty()
        })
    };
    let turned = "UPDATE customers SET ssn = reverse(ssn) WHERE id = 1";
    assert!(flows(&partial, turned));
    assert!(!flows(&rules(), turned));
    for sql in [
        "UPDATE customers SET ssn = $1 WHERE id = 1",
        "UPDATE customers SET ssn = COALESCE($1, ssn) WHERE id = 1",
        "UPDATE customers SET ssn = lower(ssn) WHERE id = 1",
    ] {
        assert!(!flows(&partial, sql), "{sql}");
    }
}

#[test]
fn a_lock_stores_no_records() {
    fn stores(sql: &str) -> bool {
        judged(sql, |operation| operation.stores_collected)
    }
    let queue = "WITH RECURSIVE q AS (SELECT id FROM orders UNION ALL SELECT id + 1 FROM q) SELECT id FROM q WHERE";
    assert!(!stores(&format!("{queue} pg_try_advisory_lock(id)")));
    assert!(stores(&format!("{queue} lo_put(id, 0, 'x') IS NULL")));
}

#[test]
fn a_block_does_what_its_statements_do() {
    use weir_policy::{Effect, EffectSet, WhereClause};
    let facts = |body: &str| {
        judged(&format!("DO $do$ BEGIN {body} END $do$"), |sql| {
            let uses: Vec<Use> = sql.label_uses.iter().map(|used| used.how).collect();
            (
                sql.effects,
                sql.settings.len(),
                sql.where_clause,
                uses,
                sql.opaque.is_some(),
            )
        })
    };
    let does = |effect| EffectSet::of(&[Effect::Do, effect]);
    assert_eq!(
        facts("UPDATE orders SET memo = 'x' WHERE id = 1;"),
        (does(Effect::Update), 0, WhereClause::Present, vec![], false)
    );
    assert_eq!(
        facts("UPDATE orders SET memo = 'x';").2,
        WhereClause::Missing
    );
    let key = "ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES customers";
    let handled = "EXCEPTION WHEN duplicate_object THEN null;";
    assert_eq!(
        facts(&format!("{key} (id); {handled}")),
        (
            does(Effect::Alter),
            0,
            WhereClause::NotApplicable,
            vec![],
            false
        )
    );
    assert_eq!(facts(&format!("{key} (ssn); {handled}")).3, [Use::Join]);
    assert_eq!(
        facts("DELETE FROM customers WHERE ssn LIKE '7%';").3,
        [Use::Predicate]
    );
    let copies = |body: &str| {
        let copied = |sql: &SqlOperation<'_>| {
            let mut outputs = sql.outputs.iter();
            outputs.any(|one| matches!(one, weir_policy::Output::Kept(_)))
        };
        judged(&format!("DO $do$ BEGIN {body} END $do$"), copied)
    };
    assert!(copies(
        "INSERT INTO orders (memo) SELECT ssn FROM customers;"
    ));
    assert!(!copies(
        "INSERT INTO orders (memo) SELECT 'x' FROM customers;"
    ));
    // What the first one does to names is not known when the second one is judged.
    let swapped = "DROP TABLE customers; INSERT INTO orders (memo) SELECT ssn FROM customers;";
    let unproven = |sql: &SqlOperation<'_>| {
        let mut outputs = sql.outputs.iter();
        outputs.any(|one| matches!(one, weir_policy::Output::Unproven(_)))
    };
    assert!(judged(
        &format!("DO $do$ BEGIN {swapped} END $do$"),
        unproven
    ));
    // What is put together as it runs is still read by its words, where they say enough.
    assert!(facts("EXECUTE 'DELETE FROM ' || 'customers';").4);
}
