use crate::{Analysis, LexSettings, WhereClause, analyze};

fn classes(cases: &[&str], expected: WhereClause) {
    for condition in cases {
        for sql in [
            format!("UPDATE t SET a = 1 WHERE {condition}"),
            format!("DELETE FROM t WHERE {condition}"),
            format!("WITH w AS (DELETE FROM t WHERE {condition}) SELECT 1"),
        ] {
            let Analysis::Parsed(script) = analyze(&sql, &LexSettings::default()) else {
                panic!("{sql}");
            };
            assert_eq!(script.statements[0].where_clause, expected, "{sql}");
        }
    }
}

#[test]
fn an_upsert_of_what_the_table_itself_holds_is_an_update() {
    let set = "ON CONFLICT (id) DO UPDATE SET a = 'x'";
    for (sql, expected) in [
        ("INSERT INTO t SELECT * FROM t {set}", WhereClause::Missing),
        (
            "WITH s AS (SELECT * FROM t) INSERT INTO t SELECT * FROM s {set}",
            WhereClause::Missing,
        ),
        (
            "INSERT INTO t SELECT * FROM t WHERE true {set}",
            WhereClause::Ineffective,
        ),
        (
            "INSERT INTO t SELECT * FROM t WHERE id = 5 {set}",
            WhereClause::Present,
        ),
        (
            "INSERT INTO t SELECT * FROM t {set} WHERE t.id = 5",
            WhereClause::Present,
        ),
        (
            "INSERT INTO t SELECT * FROM u {set}",
            WhereClause::NotApplicable,
        ),
        (
            "INSERT INTO t SELECT * FROM unnest($1::int[]) {set}",
            WhereClause::NotApplicable,
        ),
        (
            "INSERT INTO t VALUES (1, 'y') {set}",
            WhereClause::NotApplicable,
        ),
        (
            "INSERT INTO t SELECT * FROM t ON CONFLICT DO NOTHING",
            WhereClause::NotApplicable,
        ),
    ] {
        let sql = sql.replace("{set}", set);
        let Analysis::Parsed(script) = analyze(&sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        assert_eq!(script.statements[0].where_clause, expected, "{sql}");
    }
}

#[test]
fn conditions_that_hold_for_every_row_are_ineffective() {
    classes(
        &[
            "TRUE",
            "'t'::bool",
            "1=1",
            "1 = 1.0",
            "'a'='a'",
            "2 > 1",
            "1 < 2 AND 3 = 3",
            "1+1 = 2",
            "NOT false",
            "NOT (1=2)",
            "true AND true",
            "1=1 OR id>0",
            "id>0 OR true",
            "id = id",
            "t.id = id",
            "id >= id",
            "lower(a) = lower(a)",
            "id IS NOT DISTINCT FROM id",
            "$1",
            "$1 = 1",
            "(id, 1) = (id, 1)",
            "tableoid = 't'::regclass",
            "id = id + 0",
            "id * 1 = id",
            "id - id = 0",
            "id / id = 1",
            "id % 1 = 0",
            "id > -2147483648",
            "(id = id) = true",
            "(id IS NULL) IS NOT NULL",
            "(id = 1) IN (true, false)",
            "id <> ALL ('{}'::int[])",
            "id = ANY (ARRAY(SELECT id FROM t))",
            "(id, a) IN (SELECT id, a FROM t)",
            "id IN (SELECT x.id FROM t x WHERE x.id = t.id)",
            "EXISTS (SELECT 1 FROM t x WHERE x.id = t.id)",
            "id IS NOT NULL OR id IS NULL",
            "id = 3 OR id <> 3",
            "id < 3 OR id >= 3",
            "id = 3 OR NOT id = 3",
            "a LIKE '%'",
            "a ILIKE '%%'",
            "a NOT LIKE '%' OR true",
            "1 IN (1)",
            "1 IN (2, 1)",
            "id IN (3, id)",
            "1 NOT IN (2, 3)",
            "ctid IS NOT NULL",
            "t.tableoid IS NOT NULL",
            "coalesce(true)",
            "coalesce(NULL, true)",
            "(1=1) IS TRUE",
            "(id = 1) IS NOT UNKNOWN OR true",
            "EXISTS (SELECT 1)",
            "EXISTS (SELECT 1 FROM t)",
            "id IN (SELECT id FROM t)",
            "random() < 2",
            "now() > '2020-01-01'",
            "5 BETWEEN 1 AND 10",
            "id BETWEEN id AND id",
            "id >= (SELECT min(id) FROM t)",
            "(SELECT max(id) FROM t) >= id",
            "id > (SELECT min(id) - 1 FROM t)",
            "id > (SELECT min(x.id) FROM t x) - 1",
            "id <= (SELECT id FROM t ORDER BY id DESC LIMIT 1)",
            "id BETWEEN (SELECT min(id) FROM t) AND (SELECT max(id) FROM t)",
            "id >= ANY (SELECT id FROM t)",
            "id >= ALL (SELECT min(id) FROM t)",
            "id = $1 OR $2",
            "id = $1 OR $2 = 1",
            "NOT (id = $1 AND $2)",
            "(id = 1 OR now() > '2020-01-01') AND random() < 2",
            "id = id AND $1",
            "id = 1 OR EXISTS (SELECT 1 FROM u WHERE u.x = 5)",
            "(id = $1 OR $2) IS TRUE",
            "EXISTS (SELECT 1 FROM t x WHERE x.id = 5)",
            "(SELECT u.flag FROM u)",
            "CASE WHEN true THEN true END",
            "current_user = 'x' OR 'a' <> 'b'",
            // an operand beside itself, in other clothes
            "id::int = id",
            "coalesce(a, '') = coalesce(a, '')",
            "coalesce(id, id) = id",
            "(SELECT t.id) = id",
            "CASE WHEN a = 'x' THEN id ELSE id END = id",
            "CASE WHEN a = 'x' THEN true ELSE true END",
            "id >= least(id, 5)",
            "greatest(5, id) >= id",
            "id IN (id + 0, 7)",
            "id = ANY (ARRAY[id, 1])",
            "id IN (VALUES (id), (5))",
            "id IN (SELECT t.id)",
            "int4eq(id, id)",
            "a LIKE a",
            "ARRAY[id] @> ARRAY[id]",
            "t = t",
            "NOT (random() + id = random() + id)",
            "random() + id <> random() + id",
            "(id = 5) <> (id IS DISTINCT FROM 5) OR flag IS TRUE OR flag IS NOT TRUE",
            // moved by a constant
            "id + 1 > id",
            "id < id + 1",
            "id <> id + 1",
            "id BETWEEN id - 1 AND id + 1",
            "id BETWEEN SYMMETRIC id AND 1",
            "(t).id = (t).id",
            "array[id] = array[id]",
            "id <> ALL (array[]::int[])",
            "CASE id WHEN 5 THEN true ELSE true END",
            "at < at + interval '1 day'",
            "a || 'x' <> a",
            // bounds of functions, operators and types
            "length(a) >= 0",
            "length(a) > -1",
            "0 <= abs(id)",
            "id * id >= 0",
            "id ^ 2 > -1",
            "id % 10 < 10",
            "id % 2 IN (0, 1)",
            "id & 0 = 0",
            "a >= ''",
            "at > '-infinity'",
            "at <= 'infinity'::timestamptz",
            "ctid >= '(0,0)'",
            "ctid <> '(0,0)'",
            "xmin <> '0'",
            "a COLLATE \"C\" >= ''",
            "id::bigint >= -9223372036854775808",
            "id <> 2147483648",
            "id < 9999999999",
            "id BETWEEN -2147483648 AND 2147483647",
            "id NOT BETWEEN 9999999998 AND 9999999999",
            // patterns
            "a LIKE '%' || '%'",
            "a LIKE '_%'",
            "a LIKE '%' ESCAPE 'x'",
            "a SIMILAR TO '%'",
            "a ~ '.*'",
            "a ~ ''",
            "a ~* '^.*$'",
            "a ^@ ''",
            "starts_with(a, '')",
            "textlike(a, '%')",
            "tags @> '{}'",
            "'{}' <@ tags",
            // halves that make a whole
            "flag IS TRUE OR flag IS NOT TRUE",
            "flag = true OR flag = false",
            "(id = 5) = ANY ('{t,f}')",
            "(id = 5) >= false",
            "(id = 5) <= true",
            "flag OR flag IS NOT TRUE",
            "id < 5 OR id > 3",
            "id <> 1 OR id <> 2",
            "NOT (id = 5 AND id = 6)",
            "NOT (id < 5 AND id > 5)",
            "id IN (1, 2) OR id NOT IN (1, 2)",
            "id BETWEEN 1 AND 5 OR id NOT BETWEEN 1 AND 5",
            "a ~ 'x' OR a !~ 'x'",
            "a IS DISTINCT FROM 'x' OR a IS NOT DISTINCT FROM 'x'",
            // what is never null
            "t IS DISTINCT FROM NULL",
            "t IS NOT NULL",
            "t.* IS NOT NULL",
            "NOT (t IS NULL)",
            "coalesce(a, 'x') IS NOT NULL",
            "(1, ctid) IS NOT NULL",
            // queries over the table itself
            "id IN (SELECT id FROM t LIMIT ALL OFFSET 0)",
            "id IN (SELECT id FROM t UNION SELECT 5)",
            "id IN (SELECT k FROM (SELECT id AS k FROM t) x)",
            "id IN (SELECT k FROM t AS x (k))",
            "id IN (WITH x AS (SELECT * FROM t) SELECT id FROM x)",
            "id IN (SELECT id FROM t WHERE id IN (SELECT id FROM t))",
            "id NOT IN (SELECT id FROM t WHERE false)",
            "NOT EXISTS (SELECT 1 FROM t x WHERE x.id = t.id AND false)",
            "id NOT IN (SELECT id FROM u LIMIT 0)",
            "EXISTS (SELECT 1 FROM t x WHERE x.id = t.id AND true)",
            "EXISTS (SELECT 1 FROM t x WHERE x.id >= t.id)",
            "EXISTS (SELECT 1 FROM (SELECT id AS k FROM t) x WHERE k = t.id)",
            "EXISTS (SELECT 1 FROM t x WHERE x.id <> t.id OR x.id = t.id)",
            "(SELECT true FROM t x WHERE x.id = t.id)",
        ],
        WhereClause::Ineffective,
    );
}

#[test]
fn conditions_on_rows_or_parameters_are_present() {
    classes(
        &[
            "id = 1",
            "id = $1",
            "id > 0 AND true",
            "1=1 AND id > 0",
            "id IN (1, 2)",
            "id IN (SELECT id FROM u)",
            "id IN (SELECT id FROM t WHERE a)",
            "id IN (SELECT max(id) FROM t)",
            "EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
            "a LIKE 'x%'",
            "id IS NULL",
            "id IS NOT NULL",
            "flag",
            "NOT flag",
            "id = other",
            "coalesce(flag, true)",
            "CURRENT OF c",
            "id = 1 OR id = 2",
            "id = (SELECT min(id) FROM t)",
            "id > (SELECT min(id) FROM t)",
            "id >= (SELECT max(id) FROM t)",
            "id >= (SELECT min(id) FROM u)",
            "id >= (SELECT min(id) FROM t WHERE a)",
            "id >= (SELECT min(id) FROM t GROUP BY a)",
            "id < (SELECT max(id) - 100 FROM t)",
            "a >= (SELECT min(id) FROM t)",
            "id = $1 AND ($2 OR flag)",
            "($1 IS NULL OR a = $1) AND id = $2",
            "NOT (id = $1 OR $2)",
            "EXISTS (SELECT 1 FROM u WHERE u.id = a)",
            "id NOT IN (SELECT u.id FROM u)",
            "id = other + 1",
            "id < other",
            "at < now() - interval '30 days'",
            "at + interval '1 day' < now()",
            "at::date = current_date",
            "created_ms < 1700000000000",
            "lower(a) = lower($1)",
            "lower(a) = a",
            "a <> ''",
            "a > ''",
            "a LIKE 'x_%'",
            "a ~ '^x'",
            "a ~ '^.$'",
            "a NOT LIKE '%x%'",
            "length(a) > 0",
            "id % 2 = 0",
            "id = 5 AND id = $1",
            "NOT (id > 5 AND id < 9)",
            "NOT (id = 5 AND other = 6)",
            "(t).id = 5",
            "flag >= true",
            "flag = ANY ('{t}')",
            "id % 10 IN (0, 1)",
            "tags @> '{x}'",
            "tags @> $1",
            "id <> 1",
            "id < 5 OR id > 7",
            "id <= 3 OR id >= 5",
            "flag IS TRUE",
            "flag = true",
            "coalesce(a, 'x') = 'x'",
            "coalesce(deleted_at, at) < now()",
            "CASE WHEN a = 'x' THEN flag ELSE true END",
            "id IN (SELECT id FROM t ORDER BY id LIMIT 100)",
            "id IN (SELECT id FROM t OFFSET 5)",
            "id IN (SELECT other FROM t)",
            "id IN (WITH x AS (SELECT * FROM t WHERE a = 'x') SELECT id FROM x)",
            "id IN (SELECT id FROM t WHERE id IN (SELECT id FROM u))",
            "id IN (VALUES (1), (5))",
            "id = ANY (ARRAY[1, 2])",
            "id = ANY ($1)",
            "EXISTS (SELECT 1 FROM t x WHERE x.id < t.id AND x.a = t.a)",
            "NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
            "ctid = ANY (ARRAY(SELECT ctid FROM t WHERE a = 'x' LIMIT 10))",
            "least(id, 5) = 5",
            "id >= least(other, 5)",
        ],
        WhereClause::Present,
    );
}

#[test]
fn the_worst_part_counts_and_a_merge_is_limited_by_its_join() {
    let cases = [
        ("SELECT 1", WhereClause::NotApplicable),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
            WhereClause::NotApplicable,
        ),
        ("DELETE FROM t", WhereClause::Missing),
        ("UPDATE t SET a = 1 FROM u", WhereClause::Missing),
        (
            "WITH w AS (DELETE FROM t) UPDATE u SET a = 1 WHERE id = 1",
            WhereClause::Missing,
        ),
        (
            "WITH w AS (DELETE FROM t WHERE id = 1) UPDATE u SET a = 1 WHERE true",
            WhereClause::Ineffective,
        ),
        ("EXPLAIN DELETE FROM t", WhereClause::NotApplicable),
        ("EXPLAIN ANALYZE DELETE FROM t", WhereClause::Missing),
        (
            "COPY (DELETE FROM t RETURNING 1) TO STDOUT",
            WhereClause::Missing,
        ),
        (
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            WhereClause::Present,
        ),
        (
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            WhereClause::Ineffective,
        ),
        (
            "MERGE INTO t USING s ON true WHEN MATCHED AND t.a = 1 THEN DELETE",
            WhereClause::Present,
        ),
        (
            "MERGE INTO t USING s ON t.a = s.a WHEN NOT MATCHED BY SOURCE THEN DELETE",
            WhereClause::Missing,
        ),
        (
            "MERGE INTO t USING s ON true WHEN NOT MATCHED THEN INSERT VALUES (1)",
            WhereClause::NotApplicable,
        ),
    ];
    for (sql, expected) in cases {
        let Analysis::Parsed(script) = analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        assert_eq!(script.statements[0].where_clause, expected, "{sql}");
    }
}

#[test]
fn a_row_joined_to_itself_is_not_limited() {
    for sql in [
        "DELETE FROM t USING t o WHERE t.id = o.id",
        "DELETE FROM t o USING t p WHERE o.id = p.id AND true",
        "UPDATE t SET a = 1 FROM t o WHERE o.id = t.id",
        "UPDATE t SET a = 1 FROM (SELECT id FROM t) o WHERE o.id = t.id",
        "UPDATE t SET a = 1 FROM (SELECT id AS k FROM t) o WHERE k = t.id",
        "WITH o AS (SELECT id FROM t) DELETE FROM t USING o WHERE o.id = t.id",
        "WITH o (k) AS (SELECT id FROM t) DELETE FROM t USING o WHERE o.k = t.id",
        "WITH o AS (SELECT id FROM t) DELETE FROM t WHERE id IN (SELECT id FROM o)",
        "WITH o AS (SELECT id FROM t), p AS (TABLE o) DELETE FROM t WHERE id IN (TABLE p)",
        "MERGE INTO t USING t o ON t.id = o.id WHEN MATCHED THEN DELETE",
        "DELETE FROM t USING t o WHERE t.id >= o.id",
    ] {
        let Analysis::Parsed(script) = analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        assert_eq!(
            script.statements[0].where_clause,
            WhereClause::Ineffective,
            "{sql}"
        );
    }
    for sql in [
        "DELETE FROM t USING u WHERE t.id = u.id",
        "UPDATE t SET a = 1 FROM (SELECT id FROM t WHERE b) o WHERE o.id = t.id",
        "WITH o AS (SELECT id FROM t LIMIT 5) DELETE FROM t USING o WHERE o.id = t.id",
        "WITH t AS (SELECT 1 AS id) DELETE FROM t WHERE id IN (SELECT id FROM t)",
        "WITH o AS (SELECT id, other FROM t) DELETE FROM t USING o WHERE o.other = t.id",
        "DELETE FROM t USING t o WHERE t.id = o.parent",
    ] {
        let Analysis::Parsed(script) = analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        assert_eq!(
            script.statements[0].where_clause,
            WhereClause::Present,
            "{sql}"
        );
    }
}

#[test]
fn says_which_columns_must_be_null_for_a_condition_to_limit() {
    let cases: &[(&str, &[&str])] = &[
        ("id IS NOT NULL", &["id"]),
        ("NOT (t.id IS NULL)", &["id"]),
        ("id IS NOT NULL AND a IS NOT NULL", &["id", "a"]),
        ("(id > 0) IS NOT UNKNOWN", &["id"]),
        ("id IS NOT NULL AND a > 1", &[]),
        ("id IS NULL", &[]),
        ("lower(a) IS NOT NULL", &["a"]),
        ("a || b IS NOT NULL", &["a", "b"]),
        ("id::text IS DISTINCT FROM NULL", &["id"]),
        ("NOT (id IS NOT DISTINCT FROM NULL)", &["id"]),
        ("(id, a) IS NOT NULL", &["id", "a"]),
        ("(id IS NULL) = false", &["id"]),
        ("coalesce(a, b) IS NOT NULL", &["a"]),
        ("a -> 'x' IS NOT NULL", &[]),
        ("nullif(a, 'x') IS NOT NULL", &[]),
        ("num_nulls(id, a) = 0", &["id", "a"]),
    ];
    for (condition, expected) in cases {
        let sql = format!("DELETE FROM t WHERE {condition}");
        let Analysis::Parsed(script) = analyze(&sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        let statement = &script.statements[0];
        assert_eq!(statement.where_clause, WhereClause::Present, "{sql}");
        assert_eq!(statement.unless_null, *expected, "{sql}");
    }
}

#[test]
fn a_condition_that_takes_too_long_to_judge_is_no_limit() {
    let mut condition = "id = 1".to_owned();
    for _ in 0..16 {
        condition = format!("id >= ANY (SELECT id FROM t WHERE {condition})");
    }
    let sql = format!("DELETE FROM t WHERE {condition}");
    let Analysis::Parsed(script) = analyze(&sql, &LexSettings::default()) else {
        panic!("{sql}");
    };
    let class = script.statements[0].where_clause;
    assert_eq!(class, WhereClause::Ineffective, "{sql}");
}
