//! Uses: how labelled columns are touched.

use super::support::{Catalog, trace, uses, with};
use crate::Use;

#[track_caller]
fn all(expected: &[&str], texts: &[&str]) {
    for sql in texts {
        assert_eq!(uses(sql), expected, "{sql}");
    }
}

#[test]
fn an_operator_of_the_databases_own_may_not_be_equality() {
    // The catalog of these tests has such an operator where one is named with its schema.
    let own = "SELECT id FROM customers WHERE ssn = '1' AND id OPERATOR(x.=) 1";
    assert_eq!(uses(own), ["?:Predicate", "ssn:Predicate"]);
    let other = "SELECT id FROM customers WHERE ssn IN ('1', '2') AND id OPERATOR(x.=) 1";
    assert_eq!(uses(other), ["?:Predicate", "ssn:Predicate"]);
}

#[test]
fn equality_with_a_constant_is_its_own_use() {
    all(
        &["ssn:EqualsConstant"],
        &[
            "SELECT id FROM customers WHERE ssn = '1'",
            "SELECT id FROM customers WHERE ssn = $1",
            "SELECT id FROM customers WHERE $1::text = ssn",
            "SELECT id FROM customers WHERE ssn = '1'::varchar AND id > 3",
            "SELECT id FROM customers WHERE ssn IN ('1', '2', $1)",
            "SELECT id FROM customers WHERE ssn = ANY ($1)",
            "SELECT id FROM customers WHERE ssn = ANY (ARRAY['1', '2'])",
            "SELECT id FROM customers WHERE (ssn, id) = ('1', 2)",
            "SELECT id FROM customers WHERE NOT (ssn = '1')",
            "SELECT id FROM customers WHERE ssn IS NOT DISTINCT FROM '1'",
            "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id AND c.ssn = $1",
            "SELECT id FROM (SELECT * FROM customers) t WHERE t.ssn = $1",
            "DELETE FROM customers WHERE ssn = '1'",
        ],
    );
}

#[test]
fn a_constant_that_decides_what_it_is_equal_to_is_none() {
    all(
        &["ssn:Predicate"],
        &[
            "SELECT id FROM customers WHERE ssn = '774--' COLLATE nd",
            "SELECT id FROM customers WHERE ssn = $1 COLLATE x",
            "SELECT id FROM customers WHERE ssn = '774--'::shown",
            "SELECT id FROM customers WHERE ssn = $1::public.text",
            "SELECT id FROM customers WHERE ssn = CAST('1' AS shown)",
        ],
    );
}

#[test]
fn each_value_that_is_compared_with_is_counted() {
    for (comparisons, sql) in [
        (0, "SELECT id FROM customers WHERE ssn LIKE '1%' AND id = 3"),
        (
            1,
            "SELECT id FROM customers WHERE ssn = $1 AND id IN (1, 2, 3)",
        ),
        (3, "SELECT id FROM customers WHERE ssn IN ('1', '2', $1)"),
        (
            2,
            "INSERT INTO customers (id, ssn) VALUES (1, '1'), (2, '2') ON CONFLICT (ssn) DO NOTHING",
        ),
        (
            2,
            "INSERT INTO customers (id, ssn) VALUES (1, '1'), (2, '2') ON CONFLICT DO NOTHING",
        ),
        (
            0,
            "INSERT INTO customers (id, ssn) VALUES (1, '1'), (2, '2') ON CONFLICT (id) DO NOTHING",
        ),
        (
            2,
            "INSERT INTO customers (id, ssn) VALUES (1, '1'), (2, '2') ON CONFLICT (id) DO UPDATE \
             SET name = CASE WHEN customers.ssn IS NOT DISTINCT FROM excluded.ssn THEN customers.name END",
        ),
        (2, "SELECT id FROM customers WHERE ssn = '1' OR ssn = '2'"),
        (
            2,
            "SELECT id FROM customers WHERE ssn = ANY (ARRAY['1', '2'])",
        ),
        (
            2,
            "SELECT id FROM customers WHERE ssn = '1' UNION ALL SELECT id FROM customers WHERE ssn = '2'",
        ),
        (
            2,
            "SELECT count(*) FILTER (WHERE ssn = '1'), count(*) FILTER (WHERE ssn = '2') FROM customers",
        ),
        // As many as there may be.
        (100, "SELECT id FROM customers WHERE ssn = ANY ($1)"),
        (100, "SELECT id FROM customers WHERE ssn = ANY ('{1,2}')"),
        (100, "SELECT id FROM customers WHERE ssn = ANY (ARRAY[$1])"),
        (
            100,
            "SELECT id FROM customers WHERE ssn = ANY (ARRAY['{1,2}'::text[]])",
        ),
    ] {
        assert_eq!(trace(sql).comparisons, comparisons, "{sql}");
    }
}

#[test]
fn other_conditions_are_predicates() {
    all(
        &["ssn:Predicate"],
        &[
            "SELECT id FROM customers WHERE ssn LIKE '7%'",
            "SELECT id FROM customers WHERE ssn ~ '^7'",
            "SELECT id FROM customers WHERE ssn > '7'",
            "SELECT id FROM customers WHERE ssn <> '7'",
            "SELECT id FROM customers WHERE ssn BETWEEN '1' AND '2'",
            "SELECT id FROM customers WHERE left(ssn, 1) = '7'",
            "SELECT id FROM customers WHERE ssn::char(3) = '774'",
            "SELECT id FROM customers WHERE ssn::varchar(3) = '774'",
            "SELECT id FROM customers WHERE ssn = md5(random()::text)",
            "SELECT id FROM customers WHERE (ssn = '7')::int = 1",
            "SELECT id FROM customers WHERE CASE WHEN ssn = '7' THEN true END",
            "SELECT id FROM customers WHERE coalesce(ssn = '7', false)",
            "SELECT id FROM customers WHERE (ssn || '') IS NULL",
            "SELECT 1 FROM (SELECT nullif(ssn, '7') AS x FROM customers) q WHERE q IS NULL",
            "SELECT count(*) FROM customers GROUP BY id HAVING max(ssn) > '7'",
            "SELECT count(*) FILTER (WHERE ssn > '7') FROM customers",
            "SELECT count(nullif(ssn, '7')) FROM customers",
            "SELECT count(x) FROM (SELECT nullif(ssn, '7') AS x FROM customers) t",
            "SELECT id FROM orders LIMIT (SELECT length(ssn) FROM customers LIMIT 1)",
            "SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM customers WHERE ssn LIKE '7%')",
            "SELECT id FROM (SELECT id, 1 / length(ssn) AS x FROM customers) t",
            "WITH q AS (SELECT ssn::int FROM customers) SELECT 1",
            "SELECT EXISTS (SELECT ssn::int FROM customers)",
            "SELECT 1 FROM customers c, generate_series(1, length(c.ssn))",
            "SELECT id FROM customers c WHERE pg_temp.leak(c.ssn)",
        ],
    );
}

#[test]
fn null_tests_and_counts_are_told_apart() {
    all(
        &["ssn:NullTest"],
        &[
            "SELECT id FROM customers WHERE ssn IS NULL",
            "SELECT ssn IS NOT NULL FROM customers",
            "SELECT CASE WHEN ssn IS NULL THEN 1 END FROM customers",
        ],
    );
    all(
        &["ssn:Count"],
        &[
            "SELECT count(ssn) FROM customers",
            "SELECT count(c.ssn) FROM customers c",
        ],
    );
    all(
        &["profile:Count", "salary:Count", "ssn:Count"],
        &["SELECT count(c) FROM customers c"],
    );
    // The catalog of these tests has a count() of its own where leads are named.
    let other = uses("SELECT count(c.ssn) FROM customers c, leads");
    assert_eq!(other, ["ssn:Output"]);
    all(
        &["ssn:Count", "ssn:GroupBy"],
        &["SELECT count(DISTINCT ssn) FROM customers"],
    );
}

#[test]
fn sorting_grouping_and_set_operations_are_uses() {
    all(
        &["ssn:OrderBy"],
        &[
            "SELECT id FROM customers ORDER BY ssn",
            "SELECT array_agg(id ORDER BY ssn) FROM customers",
        ],
    );
    all(
        &["ssn:GroupBy"],
        &[
            "SELECT count(*) FROM customers GROUP BY ssn",
            "SELECT count(*) FROM customers GROUP BY ROLLUP (id, (ssn, name))",
            "SELECT DISTINCT ON (ssn) id FROM customers",
        ],
    );
    all(
        &["ssn:GroupBy", "ssn:Output"],
        &[
            "SELECT DISTINCT ssn FROM customers",
            "SELECT ssn FROM customers UNION SELECT 'a'",
            "SELECT note FROM leads EXCEPT ALL SELECT ssn FROM customers",
            "SELECT lag(id) OVER (PARTITION BY ssn) FROM customers",
        ],
    );
}

#[test]
fn comparison_with_another_column_is_a_join() {
    all(
        &["ssn:Join"],
        &[
            "SELECT l.id FROM leads l JOIN customers c ON l.ssn = c.ssn",
            "SELECT l.id FROM leads l JOIN customers c USING (ssn)",
            "SELECT l.note FROM leads l NATURAL JOIN customers c",
            "SELECT l.id FROM leads l, customers c WHERE c.ssn IN (l.ssn, l.note)",
            "SELECT id FROM customers WHERE ssn = (SELECT '7')",
            "SELECT id FROM leads WHERE ssn IN (SELECT ssn FROM customers)",
        ],
    );
}

#[test]
fn a_tautology_over_a_column_is_not_silent() {
    let found = uses("SELECT id FROM customers WHERE ssn = ssn");
    assert_eq!(found, ["ssn:Join"]);
}

#[test]
fn a_value_given_to_what_keeps_it_is_written_away() {
    for sql in [
        "SELECT id FROM customers WHERE set_config('a.b', ssn, false) IS NOT NULL",
        "SELECT count(remember(ssn)) FROM customers",
        "SELECT EXISTS (SELECT remember(ssn) FROM customers)",
        "SELECT id FROM orders ORDER BY (SELECT remember(ssn) FROM customers LIMIT 1)",
        "SELECT c.id FROM customers c, LATERAL remember(c.ssn) k",
        "SELECT c.id FROM customers c WHERE c.remember",
        "SELECT c.id FROM customers c WHERE (c).remember IS NULL",
        "SELECT id FROM customers GROUP BY id HAVING remember(max(ssn)) > 0",
        "SELECT percentile_disc(remember(ssn)) WITHIN GROUP (ORDER BY id) FROM customers",
    ] {
        assert!(uses(sql).contains(&"ssn:Write".to_owned()), "{sql}");
    }
    // What it reads by itself may be anything.
    let kept = uses("SELECT count(*) FROM orders WHERE spill(memo)");
    assert!(kept.contains(&"spill():Write".to_owned()), "{kept:?}");
    for sql in [
        "SELECT set_config('a.b', $1, false)",
        "SELECT remember(id) FROM customers",
        "SELECT id FROM customers WHERE upper(ssn) = 'X'",
        "SELECT count(*) FROM orders WHERE lookup_ref(id) = 'X'",
    ] {
        let kept = uses(sql);
        assert!(!kept.iter().any(|used| used.contains("Write")), "{kept:?}");
    }
}

#[test]
fn a_whole_row_is_counted_and_tested_however_it_is_written() {
    let row = |how: &str| ["profile", "salary", "ssn"].map(|column| format!("{column}:{how}"));
    let outer = "FROM orders o LEFT JOIN customers c ON c.id = o.customer_id";
    for sql in [
        "SELECT count(c.*) FROM customers c",
        &format!("SELECT count(c.*) {outer}"),
        &format!("SELECT count(c) {outer}"),
    ] {
        assert_eq!(uses(sql), row("Count"), "{sql}");
    }
    for sql in [
        format!("SELECT o.id {outer} WHERE c.* IS NULL"),
        format!("SELECT o.id {outer} WHERE c IS NOT NULL"),
    ] {
        assert_eq!(uses(&sql), row("NullTest"), "{sql}");
    }
    let computed = "SELECT 1 FROM (SELECT nullif(ssn, '1') FROM customers) c WHERE c.* IS NULL";
    assert_eq!(uses(computed), ["ssn:Predicate"]);
}

#[test]
fn what_an_upsert_proposes_is_compared_as_a_constant() {
    let upsert = |source: &str, condition: &str| {
        format!(
            "INSERT INTO customers (id, ssn) {source} ON CONFLICT (id) DO UPDATE \
             SET name = CASE WHEN {condition} THEN customers.name ELSE now()::text END"
        )
    };
    let proposed = "customers.id = excluded.id AND customers.ssn IS NOT DISTINCT FROM excluded.ssn";
    let found = uses(&upsert("VALUES (1, '1')", proposed));
    assert!(
        found.iter().any(|it| it.contains("EqualsConstant")),
        "{found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|it| it.contains("Predicate") || it.contains("Write>")),
        "{found:?}"
    );
    for (source, condition) in [
        ("VALUES (1, '1')", "customers.ssn > excluded.ssn"),
        ("VALUES (1, '1')", "left(customers.ssn, 1) = excluded.ssn"),
        (
            "VALUES (1, '1')",
            "customers.ssn = left(excluded.ssn, 1) || '2'",
        ),
        ("SELECT g, g::text FROM generate_series(1, 9) g", proposed),
        ("SELECT id + 1, ssn FROM customers", proposed),
    ] {
        let found = uses(&upsert(source, condition));
        assert!(
            found
                .iter()
                .any(|it| it.contains("Predicate") || it.contains("Write>")),
            "{source} {condition} {found:?}"
        );
    }
}

#[test]
fn constants_that_are_computed_and_what_differs_from_them() {
    for sql in [
        "SELECT id FROM customers WHERE ssn IS DISTINCT FROM '1'",
        "SELECT id FROM customers WHERE ssn = upper($1)",
        "SELECT id FROM customers WHERE ssn = 'a' || lower('B')",
        "INSERT INTO customers (id, ssn) VALUES (1, '1') ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn \
         WHERE customers.ssn IS DISTINCT FROM excluded.ssn",
    ] {
        let found = uses(sql);
        assert!(
            found.iter().any(|it| it.contains("EqualsConstant")),
            "{sql} {found:?}"
        );
        assert!(
            !found.iter().any(|it| it.contains("Predicate")),
            "{sql} {found:?}"
        );
    }
    for sql in [
        "SELECT ssn IS DISTINCT FROM '1' FROM customers",
        "SELECT id FROM customers WHERE left(ssn, 1) IS DISTINCT FROM '1'",
        "SELECT id FROM customers WHERE ssn = random()::text",
        "SELECT id FROM customers WHERE ssn >= 'a'",
    ] {
        let found = uses(sql);
        assert!(
            found.iter().any(|it| it.contains("Predicate")),
            "{sql} {found:?}"
        );
    }
}

#[test]
fn what_is_called_as_a_proposed_row_is_none() {
    let within = |set: &str| {
        let sql = format!(
            "INSERT INTO customers (id, ssn) VALUES (1, '1') ON CONFLICT (id) DO UPDATE SET name = 'hit' \
             WHERE {set}"
        );
        uses(&sql)
    };
    assert!(within("customers.ssn = excluded.ssn").contains(&"ssn:EqualsConstant".to_owned()));
    for set in [
        "EXISTS (SELECT FROM leads AS excluded WHERE customers.ssn = excluded.ssn)",
        "customers.id IN (SELECT c.id FROM customers c, leads excluded WHERE c.ssn = excluded.ssn)",
    ] {
        let found = within(set);
        assert!(found.contains(&"ssn:Join".to_owned()), "{set}: {found:?}");
    }
}

#[test]
fn a_conflict_tells_of_what_the_server_fills_and_of_unique_columns_only() {
    let labels = |sql: &str, fills: bool| {
        with(sql, |statement| {
            let mut catalog = Catalog::of(statement);
            catalog.fills = fills;
            let traced = statement.lineage.trace(&catalog);
            let guessed = traced
                .uses
                .iter()
                .filter(|it| it.how == Use::EqualsConstant);
            guessed.count()
        })
    };
    let other = "INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING";
    assert_eq!((labels(other, false), labels(other, true)), (0, 1));
    let document = "INSERT INTO customers (id, profile) VALUES (1, '{}') ON CONFLICT DO NOTHING";
    assert_eq!(labels(document, false), 0);
}
