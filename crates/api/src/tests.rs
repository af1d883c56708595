//! Claims about the resources: what loads, what is refused, and where the error points.

use weir_policy::{
    Access, ClientLogin, ClientTls, Credentials, Effect, EffectSet, Mask, NoCounters, Operation,
    Output, Relation, SqlOperation, Subject, Timestamp, Use, Verdict, WhereClause,
};

use crate::{CompileOptions, Compiled, Diagnostic, Severity, Size, Span, compile, load_str};

mod cluster;
mod concern;
mod exceptions;
mod quarantines;
mod refusals;

const DESIGN: &str = include_str!("tests/design.yaml");

fn compiled(text: &str) -> Compiled {
    let resources = load_str("test.yaml", text).expect("loads");
    compile(&resources, &CompileOptions::default())
        .unwrap_or_else(|errors| panic!("does not compile: {}", lines(&errors)))
}

fn errors(text: &str) -> Vec<Diagnostic> {
    match load_str("test.yaml", text) {
        Err(errors) => errors,
        Ok(resources) => match compile(&resources, &CompileOptions::default()) {
            Ok(_) => Vec::new(),
            Err(found) => found
                .into_iter()
                .filter(|found| found.severity == Severity::Error)
                .collect(),
        },
    }
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

const TARGET: &str = "kind: Target
metadata: {name: db}
spec:
  protocol: PostgreSQL
  addresses: [{host: 127.0.0.1, port: 5432}]
  upstreamTLS: {mode: Disable}
";

/// A target, a label and a policy with these rules.
fn with_rules(rules: &str) -> String {
    let rules = if rules.is_empty() { "    []\n" } else { rules };
    format!(
        "{TARGET}---
kind: DataLabel
metadata: {{name: pii.ssn}}
spec:
  columns: [{{target: db, table: public.customers, columns: [ssn]}}]
---
kind: ClusterGuardPolicy
metadata: {{name: p}}
spec:
  subjects: [{{names: [reporter]}}]
  targets: [db]
  rules:
{rules}"
    )
}

#[test]
fn the_examples_of_the_design_load_and_compile_as_they_stand() {
    let Compiled { bundle, .. } = compiled(DESIGN);
    let (id, target) = bundle.target_named("orders-db").expect("target");
    assert_eq!(target.client_tls, ClientTls::Offer);
    assert!(matches!(
        target.credentials,
        Credentials::Brokered {
            client: ClientLogin::Any,
            ..
        }
    ));
    let labels = bundle.labels(id).expect("labels");
    let ssn = labels.of_column("public", "customers", "tax_id");
    assert_eq!(ssn.len(), 1);
    assert_eq!(labels.of_column("public", "customers", "name"), []);

    let subject = Subject {
        namespace: Some("billing".into()),
        service_account: Some("reporter".into()),
        ..Subject::named("spiffe://x/ns/billing/sa/reporter")
    };
    let now = Timestamp(0);
    let scope = bundle.scope(&subject, id, now).expect("selected");
    assert!(bundle.scope(&Subject::named("other"), id, now).is_none());
    let outputs = [Output::Clean, Output::Labelled(&ssn)];
    let read = SqlOperation {
        effects: EffectSet::of(&[Effect::Select]),
        outputs: &outputs,
        ..SqlOperation::default()
    };
    let decision = scope.decide(&Operation::Sql(&read), &NoCounters, Timestamp(0));
    assert!(matches!(decision.verdict, Verdict::Permit(_)));
    assert_eq!(
        decision.obligations.masks,
        [(
            1,
            Mask::Partial {
                keep_first: 0,
                keep_last: 4
            }
        )]
    );
    assert_eq!(decision.obligations.limits.len(), 2);
    assert_eq!(decision.obligations.limits[0].rows, Some(10_000));
    assert_eq!(decision.obligations.limits[0].bytes, Some(10 << 20));

    let blind = SqlOperation {
        effects: EffectSet::of(&[Effect::Delete]),
        where_clause: WhereClause::Missing,
        relations: &[Relation {
            schema: "public",
            name: "x",
            access: Access::Write,
        }],
        ..SqlOperation::default()
    };
    let decision = scope.decide(&Operation::Sql(&blind), &NoCounters, Timestamp(0));
    let Verdict::Deny(denial) = decision.verdict else {
        panic!("not denied")
    };
    assert_eq!(denial.rule.to_string(), "reporting/no-blind-writes");
    assert_eq!(
        denial.reason,
        "DELETE without a WHERE clause is not allowed"
    );
}

#[test]
fn in_files_the_text_any_stands_for_any_login() {
    let login = "secretRef: {name: orders-login}";
    for client in ["Any", "{any: {}}"] {
        let text = DESIGN.replace(login, &format!("{login}, client: {client}"));
        assert_eq!(
            compiled(&text).bundle.digest(),
            compiled(DESIGN).bundle.digest()
        );
    }
    for client in ["any", "None", "{}", "{Any: {}}"] {
        let text = DESIGN.replace(login, &format!("{login}, client: {client}"));
        let loaded = load_str("design.yaml", &text);
        let refused = loaded.map(|loaded| compile(&loaded, &CompileOptions::default()).is_err());
        assert!(refused.unwrap_or(true), "{client}");
    }
}

#[test]
fn detection_by_an_own_pattern_is_refused() {
    let own = DESIGN.replace(
        "detectors: [ssn]",
        "patterns: [{name: x, regex: 'X-[0-9]+'}]",
    );
    assert_ne!(own, DESIGN);
    let resources = load_str("design.yaml", &own).expect("loads");
    let errors = compile(&resources, &CompileOptions::default()).expect_err("refused");
    let texts = lines(&errors);
    assert!(
        texts.contains("spec.patterns: detection by an own pattern is not enforced"),
        "unexpected: {texts}"
    );
}

#[test]
fn the_digest_depends_on_content_and_not_on_order() {
    let (target, rest) = DESIGN.split_once("---").expect("documents");
    let swapped = format!("{rest}\n---\n{target}");
    assert_eq!(
        compiled(DESIGN).bundle.digest(),
        compiled(&swapped).bundle.digest()
    );
    let changed = DESIGN.replace("rows: 50000", "rows: 50001");
    assert_ne!(
        compiled(DESIGN).bundle.digest(),
        compiled(&changed).bundle.digest()
    );
}

#[test]
fn a_path_into_a_document_labels_the_whole_column_and_says_so() {
    let text = with_rules("  - {name: hide, match: {labels: [pii.ssn]}, action: Mask}\n").replace(
        "[ssn]",
        r#"["profile->tax_id", "body_xml//ssn", '"a->b"', '"SSN #"']"#,
    );
    let Compiled {
        bundle,
        diagnostics: warnings,
    } = compiled(&text);
    let (id, _) = bundle.target_named("db").expect("target");
    let labels = bundle.labels(id).expect("labels");
    for column in ["profile", "body_xml", "a->b", "SSN #"] {
        assert_eq!(
            labels.of_column("public", "customers", column).len(),
            1,
            "{column}"
        );
    }
    assert_eq!(warnings.len(), 2, "{}", lines(&warnings));
    assert_eq!(warnings[0].severity, Severity::Warning);
    assert_eq!(warnings[0].field, "spec.columns[0].columns[0]");
    assert!(
        warnings[0]
            .message
            .contains("the whole column `profile` is labelled")
    );
}

#[test]
fn a_rule_on_columns_needs_no_label() {
    let text = with_rules(
        "  - {name: no-sort, match: {columns: [{table: public.customers, columns: [salary]}], uses: [OrderBy]}, action: Deny}\n",
    );
    let Compiled { bundle, .. } = compiled(&text);
    let (id, _) = bundle.target_named("db").expect("target");
    let labels = bundle
        .labels(id)
        .expect("labels")
        .of_column("public", "customers", "salary");
    let scope = bundle
        .scope(&Subject::named("reporter"), id, Timestamp(0))
        .expect("scope");
    let denied = |how| {
        let uses = [weir_policy::LabelUse {
            label: labels[0],
            how,
        }];
        let sql = SqlOperation {
            label_uses: &uses,
            ..SqlOperation::default()
        };
        let decision = scope.decide(&Operation::Sql(&sql), &NoCounters, Timestamp(0));
        matches!(decision.verdict, Verdict::Deny(_))
    };
    assert!(denied(Use::OrderBy));
    assert!(!denied(Use::EqualsConstant));
}

#[test]
fn every_function_class_compiles() {
    for class in weir_policy::FunctionClass::ALL {
        let rule = format!(
            "  - {{name: no, match: {{sql: {{functions: [\"class:{}\"]}}}}, action: Deny}}\n",
            class.name()
        );
        compiled(&with_rules(&rule));
    }
}

#[test]
fn durations_and_sizes_are_strict() {
    let seconds = |text| Span::parse(text).map(|span| span.0.as_secs());
    assert_eq!(seconds("15m"), Some(900));
    assert_eq!(seconds("1h30m"), Some(5400));
    assert_eq!(seconds("2d"), Some(172_800));
    for bad in [
        "",
        "15",
        "m",
        "30m1h",
        "1h1h",
        "1.5h",
        "-1s",
        "1 h",
        "99999999999999999999s",
    ] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
    assert_eq!(
        Span::parse("90m").map(|span| span.to_string()),
        Some("1h30m".into())
    );
    let bytes = |text| Size::parse(text).map(|size| size.0);
    assert_eq!(bytes("10Mi"), Some(10 << 20));
    assert_eq!(bytes("5M"), Some(5_000_000));
    assert_eq!(bytes("512"), Some(512));
    for bad in ["", "Mi", "10 Mi", "10MiB", "1.5Mi", "-1", "99999999Ti"] {
        assert_eq!(bytes(bad), None, "{bad}");
    }
}

/// The policy that the evasion corpus runs under.
fn corpus() -> Compiled {
    let target =
        include_str!("../../../e2e/corpus/pg/target.yaml.in").replace("${PG_PORT}", "5432");
    let labels = include_str!("../../../e2e/corpus/pg/labels.yaml");
    let policy = include_str!("../../../e2e/corpus/pg/policy.yaml");
    let resources = load_str("corpus.yaml", &[&target, labels, policy].join("\n---\n"))
        .unwrap_or_else(|errors| panic!("does not load: {}", lines(&errors)));
    compile(&resources, &CompileOptions::default())
        .unwrap_or_else(|errors| panic!("does not compile: {}", lines(&errors)))
}

#[test]
fn the_corpus_policy_compiles_with_nothing_but_warnings_about_document_paths() {
    let Compiled {
        bundle,
        diagnostics: warnings,
    } = corpus();
    assert_eq!(warnings.len(), 3, "{}", lines(&warnings));
    assert!(
        warnings
            .iter()
            .all(|warning| warning.message.contains("the whole column"))
    );
    let (id, _) = bundle.target_named("shop").expect("target");
    let labels = bundle.labels(id).expect("labels");
    for (schema, table, column) in [
        ("public", "customers", "profile"),
        ("public", "docs", "body_xml"),
        ("legal", "Tax Ids", "SSN #"),
        ("payroll", "salaries", "amount"),
    ] {
        assert_eq!(
            labels.of_column(schema, table, column).len(),
            1,
            "{schema}.{table}.{column}"
        );
    }
    assert_eq!(labels.of_column("public", "leads", "ssn"), []);
    assert_eq!(labels.of_column("public", "customers", "email"), []);
}

#[test]
fn the_corpus_policy_lets_temporary_tables_go_and_others_not() {
    let bundle = corpus().bundle;
    let (id, _) = bundle.target_named("shop").expect("target");
    let scope = bundle
        .scope(&Subject::named("corpus"), id, Timestamp(0))
        .expect("scope");
    let denied_by = |sql: SqlOperation<'_>| match scope
        .decide(&Operation::Sql(&sql), &NoCounters, Timestamp(0))
        .verdict
    {
        Verdict::Deny(denial) => Some(denial.rule.rule.to_string()),
        _ => None,
    };
    let drop = |schema| {
        denied_by(SqlOperation {
            effects: EffectSet::of(&[Effect::Drop]),
            relations: &[Relation {
                schema,
                name: "w",
                access: Access::Write,
            }],
            ..SqlOperation::default()
        })
    };
    assert_eq!(drop("pg_temp_3"), None);
    assert_eq!(drop("public").as_deref(), Some("no-drop"));
    assert_eq!(drop("").as_deref(), Some("no-drop"));
    let functions = [weir_policy::FunctionRef {
        schema: None,
        name: "pg_read_file",
    }];
    let read = SqlOperation {
        functions: &functions,
        ..SqlOperation::default()
    };
    assert_eq!(denied_by(read).as_deref(), Some("no-server-file-functions"));
    let set = |name: &'static str| {
        denied_by(SqlOperation {
            settings: &[name],
            ..SqlOperation::default()
        })
    };
    assert_eq!(set("log_statement").as_deref(), Some("no-audit-tampering"));
    assert_eq!(set("*").as_deref(), Some("no-audit-tampering"));
    assert_eq!(set("timezone"), None);
}

#[test]
fn the_examples_of_the_reference_compile() {
    let page = include_str!("../../../docs/policy.md");
    let examples = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let text = examples.collect::<Vec<_>>().join("\n---\n");
    let resources = load_str("policy.md", &text).expect("loads");
    let compiled = compile(&resources, &CompileOptions::default())
        .unwrap_or_else(|errors| panic!("does not compile: {}", lines(&errors)));
    assert_eq!(
        compiled.diagnostics.len(),
        1,
        "{}",
        lines(&compiled.diagnostics)
    );
}
