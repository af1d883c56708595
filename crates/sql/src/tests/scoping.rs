//! Names: which relation and which column a name means.

use super::support::{Catalog, outputs, with};

fn relations(sql: &str) -> String {
    with(sql, |statement| {
        let names = statement
            .relations
            .iter()
            .map(|relation| match &relation.schema {
                Some(schema) => format!("{schema}.{}", relation.name),
                None => relation.name.clone(),
            });
        names.collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn a_schema_in_front_of_a_name_means_a_relation_without_an_alias() {
    let cases = [
        (
            "SELECT (SELECT public.customers.ssn FROM (SELECT 'a' AS ssn) customers) FROM public.customers",
            "~",
        ),
        (
            "SELECT (SELECT public.customers.ssn FROM leads AS customers) FROM customers",
            "~",
        ),
        (
            "WITH customers AS (SELECT 'a' AS ssn) SELECT (SELECT public.customers.ssn FROM customers) FROM public.customers",
            "~",
        ),
        ("SELECT public.customers.ssn FROM customers", "="),
        ("SELECT x.customers.ssn FROM public.customers", "~"),
    ];
    for (sql, expected) in cases {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn what_the_catalog_names_may_be_gone_and_mean_what_is_around() {
    let cases = [
        // `note` of leads may be dropped by now, and then it is the one outside.
        (
            "SELECT (SELECT note FROM leads LIMIT 1) FROM (SELECT ssn AS note FROM customers) x",
            "~",
        ),
        (
            "SELECT (SELECT note FROM leads LIMIT 1) FROM (SELECT id AS note FROM customers) x",
            ".",
        ),
        (
            "SELECT (SELECT note FROM leads LIMIT 1) FROM customers note",
            "~",
        ),
        // What the text itself names is there.
        (
            "SELECT (SELECT note FROM (SELECT 1 AS note) l) FROM (SELECT ssn AS note FROM customers) x",
            ".",
        ),
        (
            "SELECT (SELECT l.note FROM leads l LIMIT 1) FROM (SELECT ssn AS note FROM customers) x",
            ".",
        ),
        // `scratch` may be a view, which has no system columns.
        (
            "SELECT (SELECT ctid FROM scratch LIMIT 1) FROM (SELECT ssn FROM customers) x(ctid)",
            "~",
        ),
        (
            "SELECT (SELECT ctid FROM leads LIMIT 1) FROM (SELECT ssn FROM customers) x(ctid)",
            ".",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn what_spreads_leaves_no_place_certain() {
    let cases = [
        "SELECT v.a FROM customers c, leads t, LATERAL (VALUES (c.ssn, t.*)) v(a, b, d)",
        "SELECT v.b FROM customers c, leads t, LATERAL (VALUES (c.id, c.ssn), (t.*)) v(a, b)",
        "SELECT v.b FROM customers c, leads t, LATERAL (VALUES (c.id), ((t).*, c.ssn)) v(a, b)",
        // An alias list that reaches past what spreads gives other names to what is behind it.
        "SELECT (SELECT x FROM (SELECT (t).*, 'k' AS x FROM leads t) q(a, b, c)) FROM (SELECT ssn AS x FROM customers) o",
        "SELECT (SELECT x FROM (generate_series(1, 1) g CROSS JOIN (SELECT 'k' AS x) y) AS j(a, b)) \
         FROM (SELECT ssn AS x FROM customers) o",
        // What the catalog names may be more or less by now.
        "SELECT w FROM (SELECT t.*, ssn FROM leads t, customers c) q(v, w)",
        "WITH q(v, w) AS (SELECT * FROM leads t, customers c) SELECT v FROM q",
        "SELECT max(v) FROM (SELECT 0 AS v, 'a' AS w UNION ALL SELECT t.*, ssn FROM leads t, customers) q",
        "SELECT j.d FROM (customers c CROSS JOIN orders o) AS j(a, b, c, d)",
        // `*` has no columns of SEARCH and CYCLE in a query within.
        "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) SEARCH DEPTH FIRST BY a SET s \
         SELECT upper(q.y) FROM (SELECT r.*, c.ssn FROM r, customers c) q(x, y)",
        "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) CYCLE a SET m USING p \
         SELECT (SELECT max(y) FROM (SELECT *, c.ssn FROM r) q(x, y)) FROM customers c",
    ];
    for sql in cases {
        assert_eq!(outputs(sql), "~", "{sql}");
    }
    let beside = "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) SEARCH DEPTH FIRST BY a SET s \
                  SELECT r.*, ssn FROM r, customers";
    assert_eq!(outputs(beside), "..=", "{beside}");
}

#[test]
fn a_name_behind_a_qualifier_calls_a_function_where_there_is_no_such_column() {
    let cases = [
        ("SELECT g.lookup_ref FROM generate_series(1, 1) g", "~"),
        ("SELECT s.lookup_ref FROM (SELECT 1 + 1) s", "~"),
        (
            "SELECT s.row_to_json FROM (SELECT 1 + 1, ssn FROM customers) s",
            "~",
        ),
        (
            "SELECT x.xmin FROM leads JOIN customers USING (id) AS x",
            ".",
        ),
        ("SELECT g.value FROM jsonb_each('{}') g", "."),
        (
            "SELECT s.length FROM (SELECT 1 + 1, id FROM customers) s",
            ".",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
    let named = |sql: &str| {
        with(sql, |statement| {
            let traced = statement.lineage.trace(&Catalog::of(statement));
            let fields = statement.fields.iter().map(String::as_str);
            let called = traced.called.iter().map(String::as_str);
            (
                fields.collect::<Vec<_>>().join(" "),
                called.collect::<Vec<_>>().join(" "),
            )
        })
    };
    let cases = [
        (
            "SELECT l.id, (l).note, s.leads.ssn, x FROM s.leads l",
            "id note ssn",
            "ssn",
        ),
        (
            "SELECT l.lo_code FROM (SELECT id AS lo_code FROM leads) l",
            "lo_code",
            "",
        ),
        ("SELECT (0.1).pg_sleep", "pg_sleep", "pg_sleep"),
        ("SELECT o.json_agg FROM orders o", "json_agg", "json_agg"),
        ("SELECT g.value FROM jsonb_each('{}') g", "value", "value"),
        ("CREATE INDEX i ON t ((t.lo_get))", "lo_get t", ""),
    ];
    for (sql, fields, called) in cases {
        assert_eq!(named(sql), (fields.to_owned(), called.to_owned()), "{sql}");
    }
}

#[test]
fn a_cte_hides_a_table_within_its_scope_only() {
    let cases = [
        ("WITH c AS (SELECT 1) SELECT * FROM c", ""),
        ("WITH c AS (SELECT 1) SELECT * FROM public.c", "public.c"),
        (
            "WITH customers AS (SELECT * FROM customers) SELECT * FROM customers",
            "customers",
        ),
        (
            "WITH RECURSIVE customers AS (SELECT 1 UNION SELECT * FROM customers) TABLE customers",
            "",
        ),
        (
            "SELECT (WITH c AS (SELECT 1) SELECT 1 FROM c), x FROM c",
            "c",
        ),
        (
            "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b",
            "b",
        ),
        (
            "SELECT * FROM (WITH c AS (SELECT 1) SELECT * FROM c) t, c",
            "c",
        ),
        (
            "WITH c AS (SELECT 1) SELECT * FROM (SELECT * FROM (SELECT * FROM c) x) y",
            "",
        ),
        ("WITH c AS (SELECT 1) INSERT INTO c SELECT * FROM c", "c"),
        (
            "WITH c AS (SELECT 1) UPDATE c SET x = 1 WHERE x IN (SELECT * FROM c)",
            "c",
        ),
        ("SELECT * FROM ONLY customers", "customers"),
        (
            "SELECT 'customers'::regclass, f(1) FROM generate_series(1, 2)",
            "",
        ),
        (
            "(WITH c AS (SELECT 1) SELECT * FROM c) UNION SELECT * FROM c",
            "c",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(relations(sql), expected, "{sql}");
    }
}

#[test]
fn nested_ctes_shadow_each_other() {
    let inner = "WITH q AS (SELECT 1 AS ssn) SELECT ssn FROM (WITH q AS (SELECT ssn FROM customers) SELECT ssn FROM q) t";
    assert_eq!(outputs(inner), "=");
    let outer = "WITH q AS (SELECT ssn FROM customers) SELECT ssn FROM (WITH q AS (SELECT 1 AS ssn) SELECT ssn FROM q) t";
    assert_eq!(outputs(outer), ".");
}

#[test]
fn an_inner_alias_does_not_rebind_an_outer_one() {
    let sql =
        "SELECT c.ssn, t.ssn FROM customers c, customers t WHERE EXISTS (SELECT 1 FROM orders t)";
    assert_eq!(outputs(sql), "==");
    assert_eq!(
        outputs("SELECT (SELECT t.note FROM leads t) FROM customers t"),
        "."
    );
    assert_eq!(
        outputs("SELECT (SELECT t.ssn FROM leads x) FROM customers t"),
        "~"
    );
    assert_eq!(
        outputs("SELECT (SELECT salary FROM leads x LIMIT 1) FROM customers t"),
        "~"
    );
}

#[test]
fn an_alias_hides_the_name_of_the_table() {
    // `customers` here is the alias of leads.
    assert_eq!(outputs("SELECT customers.ssn FROM leads customers"), ".");
    assert_eq!(outputs("SELECT leads.ssn FROM customers leads"), "=");
    assert_eq!(outputs("SELECT name, ssn AS name FROM customers"), ".=");
}

#[test]
fn only_lateral_subqueries_see_their_siblings() {
    // Not lateral: `ssn` means the outer customers, not the sibling leads.
    let sql = "SELECT (SELECT q.v FROM leads l, (SELECT ssn AS v) q LIMIT 1) FROM customers";
    assert_eq!(outputs(sql), "~");
    let lateral = "SELECT q.v FROM leads l, LATERAL (SELECT l.ssn AS v) q";
    assert_eq!(outputs(lateral), ".");
    let joined = "SELECT q.v FROM orders o LEFT JOIN customers c ON true LEFT JOIN LATERAL (SELECT c.ssn AS v) q ON true";
    assert_eq!(outputs(joined), "=");
}

#[test]
fn a_join_alias_hides_its_sides_and_a_using_alias_does_not() {
    assert_eq!(
        outputs("SELECT j.ssn FROM customers a JOIN customers b USING (id, ssn) AS j"),
        "="
    );
    assert_eq!(
        outputs("SELECT a.ssn FROM customers a JOIN leads b USING (id) AS j"),
        "="
    );
    assert_eq!(
        outputs("SELECT a.ssn FROM (customers a JOIN leads b USING (id)) AS j"),
        "~"
    );
}

#[test]
fn identifiers_are_cut_at_63_bytes() {
    let long = "x".repeat(80);
    let cut = "x".repeat(63);
    let sql = format!("SELECT a.{cut} FROM (SELECT ssn AS {long} FROM customers) a");
    assert_eq!(outputs(&sql), "=");
    // Two bytes a letter: cut at a letter, not within one.
    let long = "é".repeat(40);
    let cut = "é".repeat(31);
    let sql = format!("SELECT a.\"{cut}\" FROM (SELECT ssn AS \"{long}\" FROM customers) a");
    assert_eq!(outputs(&sql), "=");
}

#[test]
fn a_view_may_have_columns_named_like_system_columns() {
    assert_eq!(
        outputs("SELECT ctid FROM (SELECT ssn AS ctid FROM customers) t"),
        "="
    );
    assert_eq!(outputs("SELECT ctid FROM unknown_table"), "~");
}

#[test]
fn sort_keys_prefer_outputs_and_group_keys_inputs() {
    use super::support::uses;
    let sort = uses("SELECT ssn AS id FROM customers ORDER BY id");
    assert_eq!(sort, ["ssn:OrderBy", "ssn:Output"]);
    let group = uses("SELECT count(ssn) AS id FROM customers GROUP BY id");
    assert_eq!(group, ["ssn:Count"]);
    let alias = uses("SELECT upper(ssn) AS u FROM customers GROUP BY u ORDER BY 1");
    assert_eq!(alias, ["ssn:GroupBy", "ssn:OrderBy", "ssn:Output"]);
}
