//! Writes: flows into relations, and what RETURNING sends back.

use super::support::{outputs, uses};

#[test]
fn flows_into_columns_are_reported_with_their_target() {
    let cases: &[(&str, &[&str])] = &[
        (
            "INSERT INTO scratch (b, a) SELECT id, ssn FROM customers",
            &["ssn:Write>scratch.a"],
        ),
        (
            "INSERT INTO scratch SELECT id, ssn FROM customers",
            &["ssn:Write>scratch.a"],
        ),
        (
            "INSERT INTO elsewhere SELECT ssn FROM customers",
            &["ssn:Write>elsewhere.?"],
        ),
        (
            "INSERT INTO scratch (a) VALUES ((SELECT upper(ssn) FROM customers))",
            &["ssn:Write>scratch.a"],
        ),
        (
            "UPDATE customers SET notes = ssn WHERE id = 1",
            &["ssn:Write>customers.notes"],
        ),
        (
            "UPDATE scratch SET (a, b) = (SELECT ssn, name FROM customers) WHERE id = 1",
            &["ssn:Write>scratch.a", "ssn:Write>scratch.b"],
        ),
        (
            "UPDATE scratch SET (a, b) = (c.name, c.ssn) FROM customers c",
            &["ssn:Write>scratch.b"],
        ),
        (
            "CREATE TABLE t AS SELECT id, ssn AS x FROM customers",
            &["ssn:Write>t.?"],
        ),
        (
            "CREATE TABLE t (u, v) AS SELECT id, ssn AS x FROM customers",
            &["ssn:Write>t.?"],
        ),
        (
            "UPDATE scratch SET (a, b) = ROW(z.*, 1, ssn) FROM customers, leads z",
            &["ssn:Write>scratch.a", "ssn:Write>scratch.b"],
        ),
        (
            "MERGE INTO scratch USING customers c ON false WHEN NOT MATCHED THEN INSERT (id, a) VALUES (c.*)",
            &[
                "profile:Write>scratch.?",
                "salary:Write>scratch.?",
                "ssn:Write>scratch.?",
            ],
        ),
        (
            "INSERT INTO scratch (id, a) SELECT l.*, ssn FROM leads l, customers",
            &["ssn:Write>scratch.?"],
        ),
        ("SELECT ssn INTO t FROM customers", &["ssn:Write>t.?"]),
        (
            "CREATE VIEW v (a) AS SELECT ssn FROM customers",
            &["ssn:Write>v.a"],
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT ssn FROM customers",
            &["ssn:Write>v.?"],
        ),
        (
            "MERGE INTO scratch s USING customers c ON s.id = c.id WHEN NOT MATCHED THEN INSERT (a) VALUES (c.ssn) WHEN MATCHED THEN UPDATE SET b = c.ssn",
            &["ssn:Write>scratch.a", "ssn:Write>scratch.b"],
        ),
        (
            "WITH w AS (INSERT INTO scratch (a) SELECT ssn FROM customers) SELECT 1",
            &["ssn:Write>scratch.a"],
        ),
    ];
    for (sql, expected) in cases {
        let mut found = uses(sql);
        found.retain(|text| text.contains("Write>") && !text.starts_with('e'));
        assert_eq!(found, *expected, "{sql}");
    }
}

#[test]
fn labelled_targets_are_reported() {
    let cases: &[(&str, &[&str])] = &[
        (
            "INSERT INTO customers (id, ssn) VALUES ($1, $2)",
            &["ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers VALUES (1, 'n', 'e', 's')",
            &["ssn:WriteTo"],
        ),
        (
            "UPDATE customers SET salary = 1 WHERE id = 1",
            &["salary:WriteTo"],
        ),
        ("COPY customers (id, ssn) FROM STDIN", &["ssn:WriteTo"]),
        (
            "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET ssn = $1",
            &["ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) VALUES (1, 'a') ON CONFLICT (ssn) DO NOTHING",
            &["ssn:EqualsConstant", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) VALUES (1, 'a') ON CONFLICT DO NOTHING",
            &["ssn:EqualsConstant", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) SELECT g, g::text FROM generate_series(1, 9) g ON CONFLICT (ssn) DO NOTHING",
            &["ssn:Join", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) SELECT g, g::text FROM generate_series(1, 9) g ON CONFLICT DO NOTHING",
            &["ssn:Join", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) VALUES (1, unnest($1)) ON CONFLICT (ssn) DO NOTHING",
            &["ssn:Join", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) VALUES (1, trim(unnest($1)) || 'x') ON CONFLICT (ssn) DO NOTHING",
            &["ssn:Join", "ssn:WriteTo"],
        ),
        (
            "INSERT INTO customers (id, ssn) VALUES (1, lower($1)) ON CONFLICT (ssn) DO NOTHING",
            &["ssn:EqualsConstant", "ssn:WriteTo"],
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(uses(sql), *expected, "{sql}");
    }
}

#[test]
fn a_labelled_value_that_is_made_anew_tells_of_itself_where_it_may_be_null() {
    for (told, texts) in [
        (
            true,
            &[
                "INSERT INTO customers (id, ssn) SELECT id, nullif(left(ssn, 1), '7') FROM customers",
                "INSERT INTO customers (id, ssn) SELECT id, left(ssn, 1) FROM customers",
                "UPDATE customers SET ssn = nullif(ssn, '7')",
                "UPDATE customers SET ssn = nullif(left(ssn, 1), '7') || 'x'",
                "UPDATE customers SET ssn = substring(ssn from '^7')",
                "UPDATE customers SET ssn = (regexp_match(ssn, '^7'))[1]",
                "UPDATE customers SET ssn = lookup_ref(ssn)",
                "UPDATE customers SET ssn = left(ssn, 1)",
                "UPDATE customers SET ssn = ssn::varchar(2)",
                "UPDATE customers SET ssn = ssn::own_type",
                "UPDATE customers SET ssn = substr('   1null', right(ssn, 1)::int, 4)::jsonb::int::text",
                "UPDATE customers SET ssn = ssn::jsonb::int::text",
                "UPDATE customers SET ssn = coalesce($1, ssn::json)::numeric::text",
                "UPDATE customers SET ssn = CASE WHEN left(ssn, 1) = '7' THEN NULL ELSE ssn END",
                "UPDATE customers SET ssn = CASE WHEN ssn = '7' THEN NULL ELSE ssn END",
                "UPDATE customers SET ssn = CASE left(ssn, 1) WHEN '7' THEN NULL ELSE ssn END",
                "UPDATE customers SET ssn = CASE WHEN id = 1 THEN nullif(ssn, '7') ELSE ssn END",
                "UPDATE customers c SET ssn = CASE WHEN s.x = '7' THEN NULL ELSE c.ssn END FROM (SELECT ssn AS x FROM customers) s",
                "MERGE INTO customers c USING leads l ON c.id = l.id WHEN MATCHED THEN UPDATE SET ssn = nullif(c.ssn, '7')",
            ][..],
        ),
        (
            false,
            &[
                "INSERT INTO customers (id, ssn) SELECT id + 1, ssn FROM customers",
                "INSERT INTO customers (id, ssn) SELECT id, nullif(note, '7') FROM leads",
                "INSERT INTO customers (id, ssn) VALUES (1, nullif($1, '7'))",
                "UPDATE customers SET ssn = lower(trim(ssn)) || '-' || $1",
                "UPDATE customers SET ssn = replace(ssn::text, '-', '')",
                "UPDATE customers SET name = nullif(name, '')",
                "UPDATE customers SET ssn = coalesce($1, ssn)",
                "UPDATE customers SET ssn = (CASE WHEN id = 1 THEN '0' WHEN id IN (2, 3) AND name IS NULL THEN $1 ELSE ssn END)",
                "UPDATE customers SET ssn = CASE id WHEN 1 THEN '0' ELSE NULL END",
                "UPDATE customers SET salary = salary * 1.1 + 100",
                "UPDATE customers SET salary = (salary * 1.1)::numeric",
                "UPDATE customers SET ssn = (ssn || $1)::text",
            ],
        ),
    ] {
        for sql in texts {
            let uses = uses(sql);
            let predicate = uses.iter().any(|found| found == "ssn:Predicate");
            assert_eq!(predicate, told, "{sql}: {uses:?}");
        }
    }
}

#[test]
fn returning_sends_back_what_was_written() {
    let cases = [
        ("INSERT INTO scratch (a) VALUES ('x') RETURNING a", "."),
        (
            "INSERT INTO scratch (a) SELECT ssn FROM customers RETURNING a",
            "~",
        ),
        (
            "INSERT INTO scratch (a) SELECT ssn FROM customers RETURNING b",
            ".",
        ),
        (
            "UPDATE scratch SET a = c.ssn FROM customers c RETURNING scratch.a",
            "~",
        ),
        (
            "UPDATE scratch SET a = 'x' FROM customers c RETURNING c.ssn",
            "=",
        ),
        (
            "UPDATE customers SET notes = 'x' WHERE id = 1 RETURNING *",
            "...==.=",
        ),
        ("DELETE FROM customers WHERE id = 1 RETURNING ssn", "="),
        (
            "UPDATE customers SET salary = salary + 1 RETURNING salary",
            "=",
        ),
        ("UPDATE customers SET ssn = left(ssn, 3) RETURNING ssn", "~"),
        (
            "DELETE FROM customers WHERE id = 1 RETURNING old.ssn, new.id",
            "=.",
        ),
        (
            "UPDATE customers SET ssn = 'x' RETURNING WITH (OLD AS o, NEW AS n) o.ssn, n.id",
            "=.",
        ),
        (
            "UPDATE scratch SET a = ssn FROM customers RETURNING new.a, old.a",
            "~.",
        ),
        (
            "WITH w AS (INSERT INTO scratch (a) SELECT ssn FROM customers RETURNING a) SELECT a FROM w",
            "~",
        ),
        (
            "INSERT INTO scratch (a) SELECT ssn FROM customers ON CONFLICT (id) DO UPDATE SET b = excluded.a RETURNING b",
            "~",
        ),
        (
            "MERGE INTO scratch s USING customers c ON s.id = c.id WHEN MATCHED THEN UPDATE SET a = c.ssn RETURNING merge_action(), s.a, c.name",
            ".~.",
        ),
        (
            "COPY (DELETE FROM customers WHERE id = 1 RETURNING ssn) TO STDOUT",
            "=",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(outputs(sql), expected, "{sql}");
    }
}

#[test]
fn an_upsert_of_a_label_onto_itself_is_no_flow_of_data() {
    let found = uses(
        "INSERT INTO customers (id, ssn) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
    );
    assert_eq!(found, ["ssn:WriteTo"]);
}

#[test]
fn a_text_that_is_turned_or_cut_before_it_is_written_is_altered() {
    let altered = |sql: &str| {
        let uses = super::support::trace(sql).uses;
        let mut into = uses.iter().filter_map(|used| used.into.as_ref());
        into.any(|into| into.altered)
    };
    for sql in [
        "UPDATE customers SET ssn = reverse(ssn) WHERE id = 1",
        "UPDATE customers SET ssn = ssn || 'x' WHERE id = 1",
        "UPDATE customers SET ssn = ssn::varchar(5) WHERE id = 1",
        "UPDATE customers SET ssn = COALESCE($1, left(ssn, 5)) WHERE id = 1",
        "UPDATE customers SET ssn = CASE WHEN ssn LIKE '8%' THEN 'a' ELSE 'b' END",
        "UPDATE customers c SET ssn = s.v FROM (SELECT id, reverse(ssn) v FROM customers) s WHERE s.id = c.id",
        "INSERT INTO customers (id, ssn) SELECT id + 1, left(ssn, 3) FROM customers",
        "INSERT INTO customers (ssn) SELECT left(ssn, 3) FROM customers ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
    ] {
        assert!(altered(sql), "{sql}");
    }
    for sql in [
        "UPDATE customers SET ssn = COALESCE($1, ssn) WHERE id = 1",
        "UPDATE customers SET ssn = CASE WHEN id = 1 THEN $1 ELSE ssn END WHERE id IN (1, 2)",
        "UPDATE customers SET salary = salary * 1.1 + 1000 WHERE id = 1",
        "UPDATE customers c SET ssn = s.ssn FROM customers s WHERE s.id = c.id",
        "INSERT INTO customers (id, ssn) SELECT id + 1, ssn FROM customers ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
    ] {
        assert!(!altered(sql), "{sql}");
    }
}
