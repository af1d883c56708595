use weir_policy::LabelRules;
use weir_sql::{Analysis, LexSettings};

use super::*;

mod code;
mod operations;
mod reach;
mod together;

use code::function_row;

const RESOURCES: &str = r#"
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: shop}
spec:
  protocol: PostgreSQL
  addresses: [{host: 127.0.0.1, port: 5432}]
  upstreamTLS: {mode: Disable}
---
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: pii.ssn}
spec:
  columns: [{target: shop, table: public.customers, columns: [ssn]}]
  mask: {constant: "***"}
"#;

fn cell(text: &str) -> Option<Box<str>> {
    Some(text.into())
}

/// Rows for relations `(oid, schema, name, columns)`.
fn relations(list: &[(u32, &str, &str, &[&str])]) -> query::Table {
    let mut rows = Vec::new();
    for (oid, schema, name, columns) in list {
        for (at, column) in columns.iter().enumerate() {
            let (oid, number) = (oid.to_string(), (at + 1).to_string());
            rows.push(vec![
                cell(&oid),
                cell(schema),
                cell(name),
                cell(&number),
                cell(column),
            ]);
        }
    }
    rows
}

fn rules() -> Arc<LabelRules> {
    rules_of(RESOURCES)
}

fn rules_of(resources: &str) -> Arc<LabelRules> {
    let resources = weir_api::load_str("test", resources).unwrap();
    let options = weir_api::CompileOptions::default();
    let bundle = weir_api::compile(&resources, &options).unwrap().bundle;
    let (target, _) = bundle.target_named("shop").unwrap();
    Arc::clone(bundle.labels(target).unwrap())
}

const CUSTOMERS: (u32, &str, &str, &[&str]) = (20_000, "public", "customers", &["id", "ssn"]);

fn build(tables: [query::Table; 4], pins: &mut Pins) -> Catalog {
    let mut tables = Vec::from(tables);
    tables.extend([Vec::new(), Vec::new()]);
    Catalog::build(&Rows { tables }, &rules(), pins).unwrap()
}

fn is_labelled(catalog: &Catalog, oid: u32, attribute: i16) -> bool {
    catalog
        .origin(oid, attribute)
        .is_some_and(|labels| !labels.ids.is_empty())
}

#[test]
fn views_through_views_carry_labels_and_say_whether_they_compute() {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "public", "support", &["ref", "national"]),
        (20_002, "public", "nested", &["up", "ref"]),
    ]);
    let views = vec![
        vec![
            cell("20002"),
            cell("SELECT upper(national) AS up, ref FROM support"),
        ],
        vec![
            cell("20001"),
            cell("SELECT id AS ref, ssn AS national FROM customers"),
        ],
    ];
    let catalog = build([columns, vec![], views, vec![]], &mut Pins::default());
    assert!(!is_labelled(&catalog, 20_001, 1));
    assert_eq!(
        catalog.origin(20_001, 2).map(|labels| labels.derived),
        Some(false)
    );
    assert_eq!(
        catalog.origin(20_002, 1).map(|labels| labels.derived),
        Some(true)
    );
    assert!(!is_labelled(&catalog, 20_002, 2));
}

#[test]
fn an_operator_that_looks_like_equality_is_known() {
    let Analysis::Parsed(script) = weir_sql::analyze("SELECT 1", &LexSettings::default()) else {
        panic!("SELECT 1");
    };
    for (operators, own) in [(vec![], false), (vec![vec![cell("=")]], true)] {
        let mut tables = vec![relations(&[CUSTOMERS])];
        tables.resize_with(6, Vec::new);
        tables.push(operators);
        let catalog = Catalog::build(&Rows { tables }, &rules(), &mut Pins::default()).unwrap();
        let oracle = catalog.oracle(&script.statements[0], false);
        assert_eq!(weir_sql::Oracle::has_own_equality(&oracle), own);
    }
}

#[test]
fn a_view_that_cannot_be_read_is_labelled_whole() {
    let columns = relations(&[CUSTOMERS, (20_001, "public", "odd", &["x"])]);
    let views = vec![vec![cell("20001"), cell("SELECT FROM WHERE")]];
    let catalog = build([columns, vec![], views, vec![]], &mut Pins::default());
    assert!(is_labelled(&catalog, 20_001, 1));
}

#[test]
fn partitions_and_parents_share_labels() {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "public", "customers_archive", &["ssn", "id"]),
        (20_002, "public", "everyone", &["id", "ssn"]),
    ]);
    let inherits = vec![
        vec![cell("20001"), cell("20000")],
        vec![cell("20000"), cell("20002")],
    ];
    let catalog = build([columns, inherits, vec![], vec![]], &mut Pins::default());
    assert!(is_labelled(&catalog, 20_001, 1) && !is_labelled(&catalog, 20_001, 2));
    assert!(is_labelled(&catalog, 20_002, 2));
}

#[test]
fn a_label_follows_its_column_through_renames() {
    let mut pins = Pins::default();
    build([relations(&[CUSTOMERS]), vec![], vec![], vec![]], &mut pins);
    let renamed = relations(&[(20_000, "hidden", "c2", &["id", "innocent"])]);
    let catalog = build([renamed, vec![], vec![], vec![]], &mut pins);
    assert!(is_labelled(&catalog, 20_000, 2));
    assert!(!is_labelled(&catalog, 20_000, 1));
}

#[test]
fn a_label_follows_its_column_across_a_restart() {
    let mut pins = Pins::default();
    build([relations(&[CUSTOMERS]), vec![], vec![], vec![]], &mut pins);
    let kept = pins.take_changed().unwrap();
    assert!(!kept.is_empty() && pins.take_changed().is_none());
    let renamed = relations(&[(20_000, "hidden", "c2", &["id", "innocent"])]);
    let mut pins = Pins::from_kept(kept);
    let catalog = build([renamed, vec![], vec![], vec![]], &mut pins);
    assert!(is_labelled(&catalog, 20_000, 2));
}

#[test]
fn a_pin_goes_when_the_configuration_no_longer_labels_the_name() {
    let column = |name: &str| crate::ports::PinnedColumn {
        oid: 20_001,
        attribute: 1,
        label: "pii.ssn".into(),
        name: name.into(),
    };
    let other = || relations(&[(20_001, "public", "other", &["note"])]);
    for (name, labelled) in [("public.other.note", false), ("public.people.ssn", true)] {
        let mut pins = Pins::from_kept(vec![column(name)]);
        let catalog = build([other(), vec![], vec![], vec![]], &mut pins);
        assert_eq!(is_labelled(&catalog, 20_001, 1), labelled, "{name}");
        assert_eq!(pins.take_changed().is_some(), !labelled, "{name}");
    }
}

#[test]
fn functions_are_trusted_by_what_their_source_names() {
    let function = |name: &str, language: &str, source: &str, extension: &str| {
        vec![cell(name), cell(language), cell(source), cell(extension)]
    };
    let functions = vec![
        function("order_count", "sql", "SELECT count(*) FROM orders", "false"),
        function(
            "lookup",
            "plpgsql",
            "BEGIN RETURN (SELECT ssn FROM Customers); END",
            "false",
        ),
        function("outer_lookup", "sql", "SELECT lookup()", "false"),
        function("dynamic", "plpgsql", "BEGIN EXECUTE q; END", "false"),
        function("native", "c", "", "false"),
        function("similarity", "c", "", "true"),
        function("dblink", "c", "", "true"),
    ];
    let columns = relations(&[CUSTOMERS]);
    let catalog = build([columns, vec![], vec![], functions], &mut Pins::default());
    let trusted = |name| catalog.functions.is_trusted(None, name);
    assert!(trusted("order_count") && trusted("similarity") && trusted("upper"));
    for name in [
        "lookup",
        "outer_lookup",
        "dynamic",
        "native",
        "dblink",
        "query_to_xml",
    ] {
        assert!(!trusted(name), "{name}");
    }
}

#[test]
fn a_name_is_looked_up_in_every_schema() {
    let columns = relations(&[CUSTOMERS, (20_001, "other", "customers", &["id", "ssn"])]);
    let catalog = build([columns, vec![], vec![], vec![]], &mut Pins::default());
    assert!(matches!(
        catalog.resolve(None, "customers"),
        Resolved::Ambiguous(_)
    ));
    assert!(matches!(
        catalog.resolve(Some("other"), "customers"),
        Resolved::One(_)
    ));
    assert!(matches!(
        catalog.resolve(None, "nothing"),
        Resolved::Unknown
    ));
}

#[test]
fn the_planner_s_samples_carry_every_label() {
    let columns = relations(&[
        CUSTOMERS,
        (
            12_000,
            "pg_catalog",
            "pg_stats",
            &["tablename", "most_common_vals"],
        ),
    ]);
    let catalog = build([columns, vec![], vec![], vec![]], &mut Pins::default());
    assert!(!is_labelled(&catalog, 12_000, 1) && is_labelled(&catalog, 12_000, 2));
}

#[test]
fn a_child_that_is_taken_off_keeps_its_labels() {
    let tables = [CUSTOMERS, (20_001, "public", "archive", &["id", "ssn"])];
    let inherits = vec![vec![cell("20001"), cell("20000")]];
    let mut pins = Pins::default();
    let attached = build([relations(&tables), inherits, vec![], vec![]], &mut pins);
    assert!(is_labelled(&attached, 20_001, 2));
    let detached = build([relations(&tables), vec![], vec![], vec![]], &mut pins);
    assert!(is_labelled(&detached, 20_001, 2) && !is_labelled(&detached, 20_001, 1));
}

#[test]
fn a_view_that_shows_no_labelled_column_lies_over_labelled_rows() {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "public", "safe", &["id"]),
        (20_002, "public", "safer", &["id"]),
        (20_003, "public", "orders", &["id"]),
    ]);
    let views = vec![
        vec![cell("20002"), cell("SELECT id FROM safe")],
        vec![cell("20001"), cell("SELECT id FROM customers")],
    ];
    let catalog = build([columns, vec![], views, vec![]], &mut Pins::default());
    let holds = |sql| {
        let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        catalog
            .oracle(&script.statements[0], false)
            .holds_labelled(0)
    };
    assert!(holds("UPDATE safer SET id = 1 WHERE id = 2"));
    assert!(!holds("UPDATE orders SET id = 1 WHERE id = 2"));
    let Analysis::Parsed(script) = weir_sql::analyze("TABLE safer", &LexSettings::default()) else {
        panic!("it does not parse");
    };
    let oracle = catalog.oracle(&script.statements[0], false);
    let behind = oracle.behind(0).iter().map(|(_, name)| &**name);
    assert_eq!(behind.collect::<Vec<_>>(), ["customers", "safe"]);
}

fn with_copies(columns: query::Table, copies: query::Table, pins: &mut Pins) -> Catalog {
    let tables = vec![columns, vec![], vec![], vec![], vec![], copies];
    Catalog::build(&Rows { tables }, &rules(), pins).unwrap()
}

#[test]
fn what_the_server_fills_carries_the_labels_of_what_it_is_filled_from() {
    let columns = || {
        relations(&[
            CUSTOMERS,
            (20_001, "public", "child", &["id", "ref", "sum"]),
        ])
    };
    let key = [cell("20001"), cell("2"), cell("20000"), cell("2"), None];
    let sum = [
        cell("20001"),
        cell("3"),
        cell("0"),
        cell("0"),
        cell("(ref || 'x'::text)"),
    ];
    let copies = vec![Vec::from(key), Vec::from(sum)];
    let mut pins = Pins::default();
    let catalog = with_copies(columns(), copies, &mut pins);
    assert!(is_labelled(&catalog, 20_001, 2) && is_labelled(&catalog, 20_001, 3));
    assert!(!is_labelled(&catalog, 20_001, 1));
    assert_eq!(
        catalog.origin(20_001, 3).map(|labels| labels.derived),
        Some(true)
    );
    // The values stay when the key goes.
    let later = with_copies(columns(), vec![], &mut pins);
    assert!(is_labelled(&later, 20_001, 2) && is_labelled(&later, 20_001, 3));
}

#[test]
fn a_view_over_a_function_that_is_not_trusted_may_show_anything() {
    let columns = relations(&[
        CUSTOMERS,
        (20_001, "public", "told", &["x"]),
        (20_002, "public", "stored", &["x"]),
    ]);
    let views = |called: &str| {
        let view = |oid: &str, stored: &str| {
            let text = format!("SELECT {called}() AS x");
            vec![cell(oid), cell(&text), cell(stored)]
        };
        vec![view("20001", "false"), view("20002", "true")]
    };
    let lookup = || function_row("lookup", "sql", "SELECT ssn FROM customers", "false");
    let mut pins = Pins::default();
    let at_first = build([columns.clone(), vec![], views("now"), lookup()], &mut pins);
    assert!(!is_labelled(&at_first, 20_001, 1) && !is_labelled(&at_first, 20_002, 1));
    let then = build(
        [columns.clone(), vec![], views("lookup"), lookup()],
        &mut pins,
    );
    assert!(is_labelled(&then, 20_001, 1) && is_labelled(&then, 20_002, 1));
    let again = build([columns, vec![], views("now"), lookup()], &mut pins);
    assert!(!is_labelled(&again, 20_001, 1) && is_labelled(&again, 20_002, 1));
}

#[test]
fn a_view_of_the_settings_sets_them() {
    let settings: (u32, &str, &str, &[&str]) = (12_000, "pg_catalog", "pg_settings", &["name"]);
    let columns = relations(&[
        CUSTOMERS,
        settings,
        (20_001, "public", "own", &["name"]),
        (20_002, "public", "other", &["id"]),
    ]);
    let views = vec![
        vec![
            cell("20001"),
            cell("SELECT name FROM pg_settings"),
            cell("false"),
        ],
        vec![
            cell("20002"),
            cell("SELECT id FROM customers"),
            cell("false"),
        ],
    ];
    let catalog = build([columns, vec![], views, vec![]], &mut Pins::default());
    let sets = |sql: &str| {
        let Analysis::Parsed(script) = weir_sql::analyze(sql, &LexSettings::default()) else {
            panic!("{sql}");
        };
        catalog
            .oracle(&script.statements[0], false)
            .writes_settings()
    };
    assert!(sets("UPDATE own SET name = 'a' WHERE name = 'b'"));
    assert!(!sets("UPDATE other SET id = 1 WHERE id = 2") && !sets("SELECT name FROM own"));
}
