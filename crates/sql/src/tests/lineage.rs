//! Outputs: what reaches the client, by shape of query.

use super::support::{Catalog, outputs, script, trace};
use crate::*;

#[track_caller]
fn all(expected: &str, texts: &[&str]) {
    for sql in texts {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn follows_plain_columns_through_any_naming() {
    all(
        "=",
        &[
            "SELECT ssn FROM customers",
            "SELECT c.ssn FROM public.customers AS c",
            "SELECT public.customers.ssn FROM public.customers",
            "SELECT U&\"s\\0073n\" FROM customers",
            "SELECT SSN AS name FROM Customers",
            "SELECT t.x FROM (SELECT ssn AS x FROM customers) t",
            "SELECT t.b FROM (SELECT id, ssn FROM customers) t(a, b)",
            "SELECT d FROM customers c(a, b, k, d)",
            "WITH q AS (SELECT ssn FROM customers) SELECT ssn FROM q",
            "WITH q(k) AS MATERIALIZED (SELECT ssn FROM customers) SELECT k FROM q z",
            "SELECT l.x FROM customers c, LATERAL (SELECT c.ssn AS x) l",
            "SELECT ssn FROM customers TABLESAMPLE SYSTEM (50)",
            "SELECT ssn FROM ONLY customers ORDER BY id LIMIT 1",
        ],
    );
}

#[test]
fn knows_the_clean_columns_beside_them() {
    all(
        ".",
        &[
            "SELECT id FROM customers",
            "SELECT ssn FROM leads",
            "SELECT l.ssn FROM leads l, customers c WHERE l.id = c.id",
            "SELECT ctid FROM customers",
            "SELECT c.tableoid FROM customers c",
            "SELECT count(*) FROM customers",
            "SELECT count(ssn) FROM customers",
            "SELECT ssn IS NULL FROM customers",
            "SELECT EXISTS (SELECT ssn FROM customers)",
            "SELECT id FROM (SELECT id, ssn FROM customers) t",
            "SELECT (c).id FROM customers c",
            "SELECT t.column1 FROM (VALUES (1)) t",
            "SELECT CASE WHEN ssn IS NULL THEN 1 ELSE 0 END FROM customers",
        ],
    );
}

#[test]
fn whatever_is_computed_is_derived() {
    all(
        "~",
        &[
            "SELECT upper(ssn) FROM customers",
            "SELECT ssn || '' FROM customers",
            "SELECT ssn::varchar(3) FROM customers",
            "SELECT ssn::text[] FROM customers",
            "SELECT ssn::bpchar FROM customers",
            "SELECT ssn::public.text FROM customers",
            "SELECT (ssn || '')::text FROM customers",
            "SELECT ssn COLLATE \"C\" FROM customers",
            "SELECT ssn COLLATE \"C\" FROM customers",
            "SELECT coalesce(ssn, '') FROM customers",
            "SELECT nullif(ssn, '') FROM customers",
            "SELECT greatest(ssn, 'a') FROM customers",
            "SELECT CASE WHEN id > 0 THEN ssn END FROM customers",
            "SELECT CASE ssn WHEN '1' THEN 'a' END FROM customers",
            "SELECT ARRAY[ssn] FROM customers",
            "SELECT (ARRAY[ssn])[1] FROM customers",
            "SELECT ROW(id, ssn) FROM customers",
            "SELECT max(ssn) FROM customers",
            "SELECT string_agg(ssn, ',' ORDER BY id) FILTER (WHERE id > 0) FROM customers",
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) FROM customers",
            "SELECT first_value(ssn) OVER w FROM customers WINDOW w AS (ORDER BY id)",
            "SELECT row_number() OVER (ORDER BY ssn) FROM customers",
            "SELECT rank() OVER w FROM customers WINDOW w AS (ORDER BY ssn)",
            "SELECT ssn > '5' FROM customers",
            "SELECT ssn = '5' FROM customers",
            "SELECT ssn IN ('5', '6') FROM customers",
            "SELECT ssn BETWEEN '1' AND '2' FROM customers",
            "SELECT (SELECT ssn FROM customers LIMIT 1)",
            "SELECT ARRAY(SELECT ssn FROM customers)",
            "SELECT '1' = ANY (SELECT ssn FROM customers)",
            "SELECT xmlelement(name p, ssn) FROM customers",
            "SELECT xmlforest(ssn AS s) FROM customers",
            "SELECT json_build_object('a', ssn) FROM customers",
            "SELECT JSON_OBJECT('a': ssn) FROM customers",
            "SELECT JSON_ARRAYAGG(ssn) FROM customers",
            "SELECT JSON_ARRAY(SELECT ssn FROM customers)",
            "SELECT JSON_VALUE(profile, '$.a') FROM customers",
            "SELECT profile -> 'a' FROM customers",
            "SELECT profile['a'] FROM customers",
            "SELECT profile IS JSON OBJECT FROM customers",
            "SELECT ssn FROM customers UNION ALL SELECT 'x'",
            "SELECT ssn FROM customers UNION ALL SELECT upper(ssn) FROM customers",
            "SELECT ssn FROM customers INTERSECT ALL SELECT ssn FROM leads",
            "SELECT 'x' UNION ALL SELECT ssn FROM customers",
            "SELECT note FROM leads UNION SELECT ssn FROM customers",
            "VALUES ((SELECT ssn FROM customers LIMIT 1))",
            "SELECT extract(year FROM salary) FROM customers",
        ],
    );
}

#[test]
fn words_that_older_servers_take_for_names_are_those() {
    all(
        "=",
        &[
            "SELECT system_user FROM (SELECT ssn AS \"system_user\" FROM customers) s",
            "SELECT system_user FROM customers c(id, name, email, \"system_user\")",
        ],
    );
    all(
        "~",
        &[
            "SELECT upper(system_user) FROM (SELECT ssn AS \"system_user\" FROM customers) s",
            "SELECT JSON_SCALAR(ssn) FROM customers",
            "SELECT JSON_SERIALIZE(ssn) FROM customers",
        ],
    );
    all(
        ".",
        &["SELECT system_user", "SELECT system_user FROM customers"],
    );
    for (call, name) in [
        ("JSON('{}')", "json"),
        ("JSON_SCALAR(1)", "json_scalar"),
        ("JSON_SERIALIZE('{}')", "json_serialize"),
        ("JSON_ARRAY()", "json_array"),
        ("JSON_ARRAY(SELECT 1)", "json_arrayagg"),
        ("JSON_OBJECT()", "json_object"),
        ("JSON_OBJECT('{a,b}')", "json_object"),
        ("JSON_ARRAYAGG(1)", "json_arrayagg"),
        ("JSON_OBJECTAGG('a': 1)", "json_objectagg"),
        ("JSON_EXISTS('{}', '$')", "json_exists"),
        ("JSON_VALUE('{}', '$')", "json_value"),
        ("JSON_QUERY('{}', '$')", "json_query"),
    ] {
        let script = script(&format!("SELECT {call}"));
        let functions = &script.statements[0].functions;
        let named = |it: &&FunctionRef| it.name == name && it.schema.is_none();
        assert_eq!(functions.iter().filter(named).count(), 1, "{call}");
    }
}

#[test]
fn rows_of_two_labelled_columns_are_shown_as_they_are() {
    all(
        "=",
        &[
            "SELECT ssn FROM customers WHERE id = 1 UNION ALL SELECT ssn FROM customers WHERE id = 2",
            "SELECT ssn FROM customers UNION SELECT salary FROM customers",
            "SELECT ssn FROM customers EXCEPT SELECT c.ssn FROM customers c",
            "SELECT v FROM (SELECT ssn FROM customers UNION SELECT ssn FROM customers) t (v)",
        ],
    );
    all(
        "~",
        &[
            "SELECT ssn FROM customers UNION SELECT reverse(ssn) FROM customers",
            "SELECT left(ssn, 3) FROM customers UNION SELECT ssn FROM customers",
            "SELECT ssn FROM customers INTERSECT SELECT '1'",
        ],
    );
}

#[test]
fn whole_rows_carry_every_label() {
    all(
        "~",
        &[
            "SELECT c FROM customers c",
            "SELECT customers FROM customers",
            "SELECT c.*::text FROM customers c",
            "SELECT row(c) FROM customers c",
            "SELECT ROW(c.*) FROM customers c",
            "SELECT to_jsonb(c) FROM customers c",
            "SELECT ssn(c) FROM customers c",
            "SELECT c.to_jsonb FROM customers c",
            "SELECT (c).ssn FROM customers c",
            "SELECT (to_jsonb(c))['ssn'] FROM customers c",
            "SELECT array_agg(c) FROM customers c",
            "SELECT (SELECT c FROM customers c LIMIT 1)",
            "SELECT (r).x FROM (SELECT c AS r FROM customers c) q",
            "SELECT j FROM (customers c CROSS JOIN orders o) AS j",
        ],
    );
    all("[~]", &["SELECT (c).* FROM (SELECT c FROM customers c) s"]);
}

#[test]
fn stars_expand_in_the_servers_order() {
    let star = "...==.=";
    all(
        star,
        &[
            "SELECT * FROM customers",
            "TABLE customers",
            "SELECT c.* FROM customers c, orders o",
            "SELECT * FROM (SELECT * FROM customers) t",
            "WITH q AS (TABLE customers) TABLE q",
            "COPY customers TO STDOUT",
            "COPY (TABLE customers) TO STDOUT",
        ],
    );
    all("...==.=....", &["SELECT * FROM customers, orders"]);
    all(
        "...==.=...",
        &["SELECT * FROM customers JOIN orders USING (id)"],
    );
    // The merged column comes first.
    all(
        "=.=",
        &[
            "SELECT * FROM (SELECT 1 a, ssn FROM customers) a JOIN (SELECT salary, ssn FROM customers) b USING (ssn)",
        ],
    );
    all(".=", &["COPY customers (id, ssn) TO STDOUT"]);
    all(".[~].", &["SELECT 1, c.*, 2 FROM unknown_table c"]);
}

#[test]
fn natural_joins_merge_what_both_sides_have() {
    // id and ssn are common: merged in the order of the left side.
    all("~", &["SELECT ssn FROM leads NATURAL JOIN customers"]);
    assert_eq!(
        outputs("SELECT * FROM customers NATURAL JOIN orders"),
        "...==.=..."
    );
}

#[test]
fn a_cast_to_the_type_that_a_column_has_is_the_column() {
    all(
        "=",
        &[
            "SELECT ssn::text FROM customers",
            "SELECT CAST(c.ssn AS varchar) FROM customers c",
            "SELECT x::pg_catalog.text FROM (SELECT ssn::character varying AS x FROM customers) t",
            "SELECT salary::decimal FROM customers",
        ],
    );
    all(
        "~",
        &[
            "SELECT salary::numeric(9, 2) FROM customers",
            "SELECT salary::int FROM customers",
        ],
    );
    all(".", &["SELECT id::text FROM customers"]);
}

#[test]
fn functions_that_are_not_trusted_taint_their_results() {
    all(
        "~",
        &["SELECT lookup_ref(7)", "SELECT ssn FROM get_customer(7)"],
    );
    all(
        "[~]",
        &[
            "SELECT * FROM get_customer(7)",
            "SELECT (get_customer(7)).*",
            "CALL lookup_ref(1)",
        ],
    );
    all("[.]", &["SELECT * FROM generate_series(1, 3)"]);
    all(
        ".",
        &["SELECT g FROM generate_series(1, 3) g", "SELECT lower('A')"],
    );
    let traced = trace("SELECT lookup_ref(7)");
    assert_eq!(traced.outputs.column(0, 1).origins, [Origin::Function(0)]);
}

#[test]
fn function_arguments_taint_the_rows_of_functions() {
    all(
        "~",
        &[
            "SELECT x FROM customers c, ROWS FROM (unnest(ARRAY[c.ssn]), generate_series(1, 2)) AS r(x, y)",
            "SELECT r.a FROM customers c, jsonb_to_record(c.profile) AS r(a text)",
            "SELECT value FROM customers c, LATERAL jsonb_each(to_jsonb(c))",
            "SELECT x.v FROM customers c, XMLTABLE('/a' PASSING xmlelement(name a, c.ssn) COLUMNS v text PATH '.') x",
            "SELECT x.v FROM customers c, JSON_TABLE(c.profile, '$' COLUMNS (v text PATH '$.a')) x",
        ],
    );
}

#[test]
fn recursive_ctes_are_followed_to_the_end() {
    all(
        "~",
        &[
            "WITH RECURSIVE r(n, v) AS (SELECT 1, ssn FROM customers UNION ALL SELECT n + 1, v FROM r WHERE n < 3) SELECT v FROM r",
            // The value moves one column to the left in every round.
            "WITH RECURSIVE r(a, b, c) AS (SELECT '', '', ssn FROM customers UNION ALL SELECT b, c, '' FROM r) SELECT a FROM r",
            "WITH RECURSIVE r(a, b) AS (SELECT 1, ssn FROM customers UNION ALL SELECT a, b FROM r) SEARCH DEPTH FIRST BY b SET o SELECT o FROM r",
        ],
    );
    all(
        ".",
        &[
            "WITH RECURSIVE r(a, b, c) AS (SELECT '', '', ssn FROM customers UNION ALL SELECT a, b, c FROM r) SELECT a FROM r",
        ],
    );
    // Forward references are allowed in a recursive WITH.
    all(
        "=",
        &[
            "WITH RECURSIVE a AS (SELECT x FROM b), b AS (SELECT ssn AS x FROM customers) SELECT x FROM a",
        ],
    );
}

#[test]
fn what_cannot_be_resolved_is_not_clean() {
    all(
        "~",
        &[
            "SELECT x FROM unknown_table",
            "SELECT nowhere.x FROM customers",
            "SELECT (1 OPERATOR(evil.+) 2)",
        ],
    );
    let traced = trace("SELECT x FROM unknown_table");
    assert_eq!(traced.outputs.column(0, 1).origins, [Origin::Relation(0)]);
}

#[test]
fn positions_behind_a_star_are_counted_from_the_end() {
    let traced = trace("SELECT u.*, ssn, 1 FROM unknown_table u, customers c");
    let outputs = traced.outputs;
    assert_eq!(outputs.column(0, 4).derivation, Derivation::Derived);
    assert_eq!(outputs.column(2, 4).derivation, Derivation::Direct);
    assert_eq!(outputs.column(3, 4).derivation, Derivation::No);
    assert_eq!(outputs.column(4, 4).origins, [Origin::Unresolved]);
    assert_eq!(
        trace("SELECT 1").outputs.column(0, 2).origins,
        [Origin::Unresolved]
    );
}

#[test]
fn plans_are_no_data_but_their_conditions_count() {
    all(
        ".",
        &[
            "EXPLAIN SELECT ssn FROM customers",
            "EXPLAIN ANALYZE SELECT * FROM customers",
        ],
    );
    all("[.]", &["SHOW search_path"]);
    all("[~]", &["FETCH ALL FROM c", "EXECUTE p"]);
}

#[test]
fn view_definitions_give_the_labels_of_the_view() {
    let view = " SELECT customers.id AS ref,\n    upper(customers.ssn) AS nr,\n    customers.ssn AS raw\n   FROM customers;";
    assert_eq!(outputs(view), ".~=");
}

#[test]
fn a_body_is_judged_by_its_own_lineage() {
    let script = script(
        "PREPARE p AS SELECT ssn FROM customers; DECLARE k BINARY CURSOR WITH HOLD FOR SELECT upper(ssn) FROM customers",
    );
    let prepared = script.statements[0].prepares.as_ref().unwrap();
    let traced = prepared.body.lineage.trace(&Catalog::of(&prepared.body));
    assert_eq!(traced.outputs.column(0, 1).derivation, Derivation::Direct);
    let cursor = script.statements[1].declares.as_ref().unwrap();
    assert!(cursor.hold && cursor.binary);
    let traced = cursor.body.lineage.trace(&Catalog::of(&cursor.body));
    assert_eq!(traced.outputs.column(0, 1).derivation, Derivation::Derived);
}

#[test]
fn a_field_may_be_a_function() {
    for (sql, expected) in [
        ("SELECT o.lookup_ref FROM orders o", "~"),
        ("SELECT (o).lookup_ref FROM orders o", "~"),
        (
            "SELECT (s.o).lookup_ref FROM (SELECT o FROM orders o) s",
            "~",
        ),
        ("SELECT (o).total.lookup_ref FROM orders o", "~"),
        ("SELECT o.label FROM orders o", "."),
        ("SELECT c.label FROM customers c", "~"),
    ] {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn a_plan_shows_what_functions_returned() {
    for (sql, expected) in [
        (
            "EXPLAIN SELECT 1 FROM orders WHERE memo = lookup_ref(7)",
            "~",
        ),
        (
            "EXPLAIN SELECT upper(ssn) FROM customers WHERE lower(ssn) = 'x'",
            ".",
        ),
    ] {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}
