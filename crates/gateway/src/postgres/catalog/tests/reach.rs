//! What writes reach, and what names and labels stand for besides themselves.

use super::*;

/// A row about a column: whether it is in the primary key, is unique, and has a default.
fn column(
    oid: u32,
    table: (&str, &str),
    at: usize,
    name: &str,
    marks: [bool; 3],
) -> Vec<Option<Box<str>>> {
    let (schema, table) = table;
    let [primary, unique, default] = marks.map(|mark| cell(&mark.to_string()));
    let own = [
        cell(&oid.to_string()),
        cell(schema),
        cell(table),
        cell(&at.to_string()),
        cell(name),
    ];
    own.into_iter()
        .chain([cell("false"), cell("text"), primary, unique, default])
        .collect()
}

fn catalog(tables: [query::Table; 6]) -> Catalog {
    let tables = Vec::from(tables);
    Catalog::build(&Rows { tables }, &rules(), &mut Pins::default()).unwrap()
}

fn with<T>(catalog: &Catalog, sql: &str, read: impl FnOnce(&Oracle<'_>) -> T) -> T {
    let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
        panic!("{sql}");
    };
    read(&catalog.oracle(&script.statements[0], false))
}

/// `regions` is referred to by `customers`, `base` is its parent, a trigger of `log` writes to `names`, a view over it.
fn tables() -> [query::Table; 6] {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "public", "regions", &["code"]),
        (20_002, "public", "base", &["id"]),
        (20_003, "public", "log", &["id"]),
        (20_004, "public", "names", &["id"]),
        (20_005, "public", "orders", &["id"]),
        (20_006, "public", "grand", &["id"]),
    ]);
    let inherits = [("20000", "20002"), ("20002", "20006")]
        .map(|(child, parent)| vec![cell(child), cell(parent)]);
    let views = vec![vec![cell("20004"), cell("SELECT id FROM customers")]];
    let function =
        |name: &str, source: &str| vec![cell(name), cell("plpgsql"), cell(source), cell("false")];
    let functions = vec![
        function("renames", "BEGIN UPDATE names SET id = 1; RETURN NEW; END"),
        function("calls", "BEGIN PERFORM renames(); END"),
        function(
            "hears",
            "BEGIN PERFORM renames(); EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END",
        ),
        function("reads", "BEGIN RETURN (SELECT count(*) FROM names); END"),
        function("counts", "BEGIN RETURN (SELECT count(*) FROM orders); END"),
    ];
    let attached = vec![vec![
        cell("20003"),
        cell(
            "CREATE TRIGGER t BEFORE INSERT ON public.log FOR EACH ROW EXECUTE FUNCTION renames()",
        ),
    ]];
    let key = vec![vec![
        cell("20000"),
        cell("1"),
        cell("20001"),
        cell("1"),
        None,
    ]];
    [columns, inherits.into(), views, functions, attached, key]
}

#[test]
fn a_write_reaches_rows_by_keys_parents_views_and_code() {
    let catalog = catalog(tables());
    let reports = |name: &str| {
        let sql = format!("UPDATE {name} SET id = 1");
        with(&catalog, &sql, |oracle| oracle.reports_rows(0))
    };
    for name in ["customers", "regions", "base", "grand", "log", "names"] {
        assert!(reports(name), "{name}");
    }
    assert!(!reports("orders"));
    let functions = &catalog.functions;
    let fails = |name: &str| functions.fails_with_rows(name);
    assert!(fails("renames") && fails("calls") && fails("hears"));
    // The conditions of a view run over what lies behind it.
    assert!(fails("reads") && !fails("counts"));
    let trusted = |name: &str| functions.is_trusted(None, name);
    assert!(trusted("renames") && trusted("calls") && trusted("reads") && !trusted("hears"));
    for (code, reports) in [
        ("BEGIN INSERT INTO regions VALUES (1); END", true),
        ("BEGIN PERFORM calls(); END", true),
        ("BEGIN PERFORM 1 FROM names; END", true),
        ("BEGIN REINDEX INDEX i; END", true),
        ("BEGIN INSERT INTO orders VALUES (1); END", false),
    ] {
        assert_eq!(catalog.reports_rows(code), reports, "{code}");
    }
}

#[test]
fn what_changes_a_parent_changes_its_children() {
    let catalog = catalog(tables());
    let kin = |name: &str| {
        let Resolved::One(found) = catalog.resolve(None, name) else {
            panic!("{name}");
        };
        catalog.kin_of(found).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["customers", "base", "grand", "names"] {
        assert_eq!(kin(name), ["customers", "base", "grand"], "{name}");
    }
    assert!(kin("orders").is_empty());
}

#[test]
fn what_the_server_says_of_labelled_rows_is_known_by_their_table() {
    let catalog = catalog(tables());
    let holds = |schema, name| catalog.may_hold_labelled(schema, name);
    assert!(holds("public", "customers") && holds("public", "names") && holds("public", "unknown"));
    assert!(!holds("public", "orders") && !holds("public", "regions"));
}

#[test]
fn code_that_runs_text_or_reads_cursors_is_not_read() {
    let catalog = catalog(tables());
    let harmless = |text: &str| {
        catalog.is_harmless(&weir_sql::Code {
            language: Some("plpgsql".into()),
            text: text.into(),
            runs_now: true,
        })
    };
    for code in [
        "BEGIN INSERT INTO orders VALUES (1) ON CONFLICT DO NOTHING; END",
        "BEGIN INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2; END",
        "BEGIN RAISE NOTICE 'nothing to do here'; END",
        "BEGIN PERFORM 1 FROM orders FETCH FIRST 5 ROWS ONLY; END",
        "BEGIN PERFORM 1 FROM orders FETCH NEXT ROW ONLY; END",
        "BEGIN PERFORM sum(id) OVER (ROWS CURRENT ROW) FROM orders; END",
        "BEGIN RAISE EXCEPTION 'no'; END",
        "BEGIN UPDATE orders SET id = 1; EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
    ] {
        assert!(harmless(code), "{code}");
    }
    for code in [
        "BEGIN DO 'BEGIN END'; END",
        "BEGIN do $x$ BEGIN END $x$; END",
        "BEGIN DO\n\tE'BEGIN END'; END",
        "BEGIN DO U&'BEGIN END'; END",
        "BEGIN DO/**/E'BEGIN END'; END",
        "BEGIN DO -- nothing\n E'BEGIN END'; END",
        "BEGIN DO LANGUAGE plpgsql 'BEGIN END'; END",
        "DECLARE c refcursor := 'x'; BEGIN FETCH c INTO r; END",
        "DECLARE c refcursor := 'x'; BEGIN FETCH FIRST FROM c INTO r; END",
        "DECLARE c refcursor := 'x'; BEGIN FETCH NEXT IN c INTO r; END",
        "BEGIN MOVE c; END",
        "BEGIN UPDATE orders SET id = 1 WHERE CURRENT OF c; END",
        "BEGIN UPDATE names SET id = 1; EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
        "BEGIN PERFORM renames(); EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
        "BEGIN PERFORM 1 FROM names; EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
        "BEGIN REINDEX INDEX i; EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
        "BEGIN SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN others THEN RAISE NOTICE '%', SQLERRM; END",
    ] {
        assert!(!harmless(code), "{code}");
    }
}

#[test]
fn a_name_without_a_schema_may_be_another_than_the_server_s_own() {
    let columns = relations(&[
        (1_000, "pg_catalog", "pg_am", &["oid"]),
        (20_000, "public", "pg_am", &["a"]),
        (20_001, "pg_temp_3", "victim", &["a"]),
        (20_002, "public", "victim", &["a"]),
        (20_003, "one", "orders", &["a"]),
        (20_004, "two", "orders", &["a"]),
    ]);
    let catalog = catalog([columns, vec![], vec![], vec![], vec![], vec![]]);
    let others = |sql: &str| {
        with(&catalog, sql, |oracle| {
            let others = oracle.namesakes(0).into_iter();
            others.map(|one| one.schema.to_string()).collect::<Vec<_>>()
        })
    };
    assert_eq!(others("TABLE pg_am"), ["public"]);
    assert_eq!(others("TRUNCATE victim"), ["public"]);
    assert_eq!(others("TABLE orders"), ["two"]);
    for sql in ["TABLE pg_catalog.pg_am", "TABLE public.victim"] {
        assert!(others(sql).is_empty(), "{sql}");
    }
}

#[test]
fn keys_and_defaults_and_partitions_tell_of_their_columns() {
    let customers = ("public", "customers");
    let columns = vec![
        column(20_000, customers, 1, "id", [false, true, false]),
        column(20_000, customers, 2, "ssn", [true, true, true]),
        column(20_001, ("public", "names"), 1, "id", [false, false, false]),
        column(20_002, ("public", "orders"), 1, "id", [true, true, true]),
    ];
    let views = vec![vec![cell("20001"), cell("SELECT id FROM customers")]];
    let partitions = vec![vec![cell("20000"), cell("RANGE (ssn)")]];
    let catalog = catalog([columns, vec![], views, vec![], partitions, vec![]]);
    with(&catalog, "TABLE customers", |oracle| {
        use weir_sql::Oracle as _;
        assert!(oracle.fills(0, Some(1)) && !oracle.fills(0, Some(0)) && !oracle.fills(0, None));
        assert!(oracle.is_unique(0, 1));
        assert!(oracle.has_type(0, 1, "varchar") && !oracle.has_type(0, 1, "int4"));
        assert!(oracle.places_by(0, "ssn") && !oracle.places_by(0, "id"));
        assert_eq!(oracle.labels_of_key(None, "customers").len(), 1);
        assert!(oracle.labels_of_key(Some("public"), "orders").is_empty());
    });
    with(&catalog, "TABLE names", |oracle| {
        use weir_sql::Oracle as _;
        assert!(oracle.fills(0, None) && oracle.is_unique(0, 0));
    });
}

#[test]
fn what_came_from_a_parent_stays_whatever_the_child_is_called() {
    let family = [
        CUSTOMERS,
        (20_001, "public", "base", &["ssn"]),
        (20_002, "public", "c2", &["ssn"]),
    ];
    let inherits = [("20000", "20001"), ("20002", "20001")]
        .map(|(child, parent)| vec![cell(child), cell(parent)]);
    let mut pins = Pins::default();
    build(
        [relations(&family), inherits.into(), vec![], vec![]],
        &mut pins,
    );
    let renamed = [
        CUSTOMERS,
        (20_001, "public", "base3", &["ssn"]),
        (20_002, "public", "base", &["ssn"]),
    ];
    let catalog = build([relations(&renamed), vec![], vec![], vec![]], &mut pins);
    assert!(is_labelled(&catalog, 20_002, 1));
}
