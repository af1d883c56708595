//! What a rule's names mean when the operation's are unknown or excepted.

use super::*;

#[test]
fn unknown_names_count_as_meant_when_a_rule_restricts() {
    let tables = Match {
        tables: vec![TablePattern::parse("public.customers").expect("pattern")],
        ..Match::default()
    };
    let functions = Match {
        functions: vec![FunctionPattern::parse("pg_catalog.lo_export").expect("pattern")],
        ..Match::default()
    };
    let settings = Match {
        settings: vec![Glob::free("log_*")],
        ..Match::default()
    };
    let deny = |matches: &Match, sql: SqlOperation<'_>| {
        let rules = vec![rule("r", Some(Action::Deny), matches.clone())];
        verdict(vec![policy("p", rules)], &Operation::Sql(&sql)) == "deny p/r"
    };
    let table = |schema, name| {
        let relations = [Relation {
            schema,
            name,
            access: Access::Read,
        }];
        deny(
            &tables,
            SqlOperation {
                relations: &relations,
                ..SqlOperation::default()
            },
        )
    };
    assert!(table("public", "customers") && table("", "customers"));
    assert!(!table("other", "customers") && !table("", "orders"));
    let function = |schema, name| {
        let functions_called = [FunctionRef { schema, name }];
        deny(
            &functions,
            SqlOperation {
                functions: &functions_called,
                ..SqlOperation::default()
            },
        )
    };
    assert!(function(Some("pg_catalog"), "lo_export") && function(None, "lo_export"));
    assert!(!function(Some("public"), "lo_export"));
    let setting = |name: &str| {
        deny(
            &settings,
            SqlOperation {
                settings: &[name],
                ..SqlOperation::default()
            },
        )
    };
    assert!(setting("log_statement") && setting("LOG_Statement") && setting("*"));
    assert!(!setting("timezone"));
}

#[test]
fn excepted_tables_take_a_rule_away_only_when_nothing_else_is_touched() {
    let matches = Match {
        except_tables: vec![TablePattern::parse("pg_temp*.*").expect("pattern")],
        access: Some(Access::Write),
        ..effects(&[Effect::Delete])
    };
    let denied = |relations: &[Relation<'_>]| {
        let sql = SqlOperation {
            effects: EffectSet::of(&[Effect::Delete]),
            relations,
            ..SqlOperation::default()
        };
        let rules = vec![rule("r", Some(Action::Deny), matches.clone())];
        verdict(vec![policy("p", rules)], &Operation::Sql(&sql)) == "deny p/r"
    };
    let relation = |schema, access| Relation {
        schema,
        name: "t",
        access,
    };
    assert!(!denied(&[relation("pg_temp_3", Access::Write)]));
    assert!(!denied(&[
        relation("pg_temp_3", Access::Write),
        relation("public", Access::Read)
    ]));
    assert!(denied(&[
        relation("pg_temp_3", Access::Write),
        relation("public", Access::Write)
    ]));
    assert!(denied(&[relation("", Access::Write)]));
}

#[test]
fn unknown_names_do_not_count_as_meant_when_a_rule_allows() {
    let pattern = |text: &str| TablePattern::parse(text).expect("pattern");
    let permits = |matches: Match, sql: SqlOperation<'_>| {
        let rules = vec![rule("a", Some(Action::Allow), matches)];
        let strict = Policy {
            default: DefaultAction::Deny,
            ..policy("p", rules)
        };
        verdict(vec![strict], &Operation::Sql(&sql)) == "permit"
    };
    let now = FunctionPattern::parse("pg_catalog.now").expect("pattern");
    let function = |schema| {
        let called = [FunctionRef {
            schema,
            name: "now",
        }];
        let matches = Match {
            functions: vec![now.clone()],
            ..Match::default()
        };
        permits(
            matches,
            SqlOperation {
                functions: &called,
                ..SqlOperation::default()
            },
        )
    };
    assert!(function(Some("pg_catalog")));
    assert!(!function(None) && !function(Some("public")));
    let table = |matches: Match, schema| {
        let relations = [Relation {
            schema,
            name: "t",
            access: Access::Read,
        }];
        permits(
            matches,
            SqlOperation {
                relations: &relations,
                ..SqlOperation::default()
            },
        )
    };
    let any = Match {
        tables: vec![pattern("*.t")],
        ..Match::default()
    };
    assert!(table(any.clone(), "public") && !table(any, ""));
    let all_but = Match {
        except_tables: vec![pattern("secret.*")],
        ..Match::default()
    };
    assert!(table(all_but.clone(), "public"));
    assert!(!table(all_but.clone(), "secret") && !table(all_but, ""));
}

#[test]
fn a_column_that_only_a_rule_of_somebody_else_names_is_no_labelled_column_here() {
    let uses = Match {
        uses: [Use::OrderBy].into_iter().collect(),
        ..Match::default()
    };
    let other = Policy {
        subjects: vec![SubjectSelector {
            names: vec![Glob::free("other")],
            ..SubjectSelector::default()
        }],
        ..policy(
            "theirs",
            vec![rule(
                "r",
                Some(Action::Deny),
                Match {
                    columns: vec!["a column of rule theirs/r".into()],
                    ..Match::default()
                },
            )],
        )
    };
    let mine = policy("mine", vec![rule("no-sorting", Some(Action::Deny), uses)]);
    let mut builder = BundleBuilder::new();
    builder
        .target(target("db", "10.0.0.1"))
        .label(Label {
            anonymous: true,
            ..label("a column of rule theirs/r", "phone", Mask::Null)
        })
        .policy(mine)
        .policy(other);
    let bundle = builder.build(1).expect("bundle");
    let label_uses = [LabelUse {
        label: LabelId(0),
        how: Use::OrderBy,
    }];
    let sql = SqlOperation {
        label_uses: &label_uses,
        ..SqlOperation::default()
    };
    let says = |subject: &str| {
        let scope = bundle.scope(&Subject::named(subject), TargetId(0), NOW);
        let scope = scope.expect("selected");
        outcome(&scope.decide(&Operation::Sql(&sql), &NoCounters, NOW))
    };
    assert_eq!(says("reporter"), "permit");
    assert_eq!(says("other"), "deny mine/no-sorting");
}
