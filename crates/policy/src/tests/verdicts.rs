//! One policy at a time: what each kind of rule does.

use super::*;

fn select<'a>(outputs: &'a [Output<'a>]) -> SqlOperation<'a> {
    SqlOperation {
        effects: EffectSet::of(&[Effect::Select]),
        outputs,
        ..SqlOperation::default()
    }
}

const STREAMS: [(Operation<'static>, Effect, &str); 3] = [
    (
        Operation::FunctionCall,
        Effect::FunctionCall,
        "(function-call)",
    ),
    (Operation::Replication, Effect::Replication, "(replication)"),
    (Operation::CopyBoth, Effect::CopyBoth, "(copy-both)"),
];
const OPAQUE: Operation<'static> = Operation::Opaque {
    reason: "it is nested too deeply",
};

#[test]
fn nobody_selected_means_no_scope() {
    let mut other = policy("p", Vec::new());
    other.subjects = vec![SubjectSelector {
        names: vec![Glob::Literal("somebody".into())],
        ..SubjectSelector::default()
    }];
    assert!(
        bundle(vec![other])
            .scope(&Subject::named("reporter"), TargetId(0), NOW)
            .is_none()
    );
    assert!(
        bundle(Vec::new())
            .scope(&Subject::named("reporter"), TargetId(0), NOW)
            .is_none()
    );
    let empty = Policy {
        subjects: vec![SubjectSelector::default()],
        ..policy("p", Vec::new())
    };
    assert!(
        bundle(vec![empty])
            .scope(&Subject::named("reporter"), TargetId(0), NOW)
            .is_none()
    );
}

#[test]
fn a_policy_that_only_tightens_grants_nothing() {
    let tightens = Policy {
        grants: false,
        ..policy("ns:p", Vec::new())
    };
    assert!(
        bundle(vec![tightens])
            .scope(&Subject::named("reporter"), TargetId(0), NOW)
            .is_none()
    );
}

#[test]
fn selected_and_not_forbidden_is_permitted() {
    let sql = select(&[]);
    assert_eq!(
        verdict(vec![policy("p", Vec::new())], &Operation::Sql(&sql)),
        "permit"
    );
    assert_eq!(verdict(vec![policy("p", Vec::new())], &OPAQUE), "permit");
}

#[test]
fn a_write_inside_a_cte_is_denied_like_any_write() {
    let no_writes = rule("no-writes", Some(Action::Deny), effects(&[Effect::Delete]));
    let sql = SqlOperation {
        effects: EffectSet::of(&[Effect::Select, Effect::Delete]),
        ..SqlOperation::default()
    };
    assert_eq!(
        verdict(vec![policy("p", vec![no_writes])], &Operation::Sql(&sql)),
        "deny p/no-writes"
    );
}

#[test]
fn where_is_judged_as_asked() {
    use WhereClause::{Ineffective, Missing, NotApplicable, Present};
    for (test, clause, denied) in [
        (WhereTest::Missing, Missing, true),
        (WhereTest::Missing, Ineffective, true),
        (WhereTest::Missing, Present, false),
        (WhereTest::Ineffective, Ineffective, true),
        (WhereTest::Ineffective, Missing, false),
        (WhereTest::MissingOrIneffective, Missing, true),
        (WhereTest::MissingOrIneffective, Ineffective, true),
        (WhereTest::MissingOrIneffective, Present, false),
        (WhereTest::MissingOrIneffective, NotApplicable, false),
    ] {
        let matches = Match {
            where_clause: Some(test),
            ..effects(&[Effect::Delete])
        };
        let sql = SqlOperation {
            effects: EffectSet::of(&[Effect::Delete]),
            where_clause: clause,
            ..SqlOperation::default()
        };
        let got = verdict(
            vec![policy("p", vec![rule("r", Some(Action::Deny), matches)])],
            &Operation::Sql(&sql),
        );
        assert_eq!(got == "deny p/r", denied, "{test:?} {clause:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused_where_there_is_something_to_lose() {
    let limited = Rule {
        limits: vec![LimitSpec {
            per: None,
            rows: Some(1),
            bytes: None,
            statements: None,
            on_exceed: Exceed::Deny,
        }],
        ..rule("r", None, Match::default())
    };
    let asks = Rule {
        approval: Some(approval()),
        ..rule("r", Some(Action::RequireApproval), effects(&[Effect::Drop]))
    };
    for governing in [
        rule("r", Some(Action::Deny), effects(&[Effect::Drop])),
        rule("r", Some(Action::Mask), labels(&["pii.*"])),
        limited,
        asks,
    ] {
        assert_eq!(
            verdict(vec![policy("p", vec![governing.clone()])], &OPAQUE),
            "deny p/(opaque)"
        );
        assert!(!scope(vec![policy("p", vec![governing.clone()])]).permits_opaque());
        let partly = SqlOperation {
            opaque: Some("it has a DO block"),
            ..SqlOperation::default()
        };
        assert_eq!(
            verdict(
                vec![policy("p", vec![governing.clone()])],
                &Operation::Sql(&partly)
            ),
            "deny p/(opaque)"
        );
        let named = rule(
            "a",
            Some(Action::Allow),
            Match {
                opaque: true,
                ..Match::default()
            },
        );
        let both = vec![policy("p", vec![governing, named])];
        assert!(scope(both.clone()).permits_opaque());
        assert_ne!(verdict(both, &OPAQUE), "deny p/(opaque)");
    }
}

#[test]
fn streams_that_bypass_sql_need_a_policy_that_names_them() {
    for (operation, effect, implicit) in STREAMS {
        assert_eq!(
            verdict(vec![policy("p", Vec::new())], &operation),
            format!("deny p/{implicit}")
        );
        let named = rule("a", Some(Action::Allow), effects(&[effect]));
        assert_eq!(
            verdict(vec![policy("p", vec![named.clone()])], &operation),
            "permit"
        );
        // Another policy that has something to lose must name them itself.
        let guards = rule("d", Some(Action::Deny), effects(&[Effect::Drop]));
        let policies = vec![policy("a", vec![named]), policy("b", vec![guards])];
        assert_eq!(verdict(policies, &operation), format!("deny b/{implicit}"));
    }
}

#[test]
fn an_allow_never_lifts_a_deny() {
    let (operation, effect, _) = STREAMS[0];
    let rules = vec![
        rule("a", Some(Action::Allow), effects(&[effect])),
        rule("d", Some(Action::Deny), effects(&[effect])),
    ];
    assert_eq!(verdict(vec![policy("p", rules)], &operation), "deny p/d");
}

#[test]
fn observing_lets_everything_pass_and_says_what_it_would_have_done() {
    let rules = vec![
        rule("d", Some(Action::Deny), effects(&[Effect::Select])),
        rule("m", Some(Action::Mask), labels(&["pii.*"])),
    ];
    let observe = Policy {
        mode: Mode::Observe,
        ..policy("p", rules)
    };
    let outputs = [Output::Labelled(&[SSN]), Output::Unproven(&[CARD])];
    let sql = select(&outputs);
    let decision = decide(vec![observe.clone()], &Operation::Sql(&sql));
    assert_eq!(outcome(&decision), "permit");
    assert_eq!(decision.obligations.masks, []);
    let names: Vec<String> = decision
        .would_deny
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["p/d", "p/m"]);
    for operation in [OPAQUE, STREAMS[0].0, STREAMS[1].0, STREAMS[2].0] {
        let decision = decide(vec![observe.clone()], &operation);
        assert_eq!(outcome(&decision), "permit");
        assert!(!decision.would_deny.is_empty(), "{operation:?}");
    }
    assert!(scope(vec![observe]).observe_only());
}

#[test]
fn default_deny_makes_the_allow_rules_the_list() {
    let list = rule(
        "reads",
        Some(Action::Allow),
        Match {
            tables: vec![TablePattern::parse("public.*").expect("pattern")],
            ..effects(&[Effect::Select])
        },
    );
    let strict = Policy {
        default: DefaultAction::Deny,
        ..policy("p", vec![list])
    };
    let read = |schema, name| Relation {
        schema,
        name,
        access: Access::Read,
    };
    for (effect_list, relations, expected) in [
        (vec![Effect::Select], vec![read("public", "a")], "permit"),
        (vec![Effect::Select], vec![], "permit"),
        (
            vec![Effect::Select],
            vec![read("public", "a"), read("secret", "b")],
            "deny p/(default)",
        ),
        (
            vec![Effect::Select],
            vec![read("", "a")],
            "deny p/(default)",
        ),
        (
            vec![Effect::Select, Effect::Delete],
            vec![read("public", "a")],
            "deny p/(default)",
        ),
    ] {
        let sql = SqlOperation {
            effects: EffectSet::of(&effect_list),
            relations: &relations,
            ..SqlOperation::default()
        };
        let got = verdict(vec![strict.clone()], &Operation::Sql(&sql));
        assert_eq!(got, expected, "{effect_list:?} {relations:?}");
    }
    assert_eq!(verdict(vec![strict], &OPAQUE), "deny p/(default)");
}

#[test]
fn a_proven_column_is_masked_and_an_unproven_one_refused() {
    let hide = rule("hide", Some(Action::Mask), labels(&["pii.*"]));
    let outputs = [
        Output::Clean,
        Output::Labelled(&[SSN]),
        Output::Labelled(&[CARD, SSN]),
    ];
    let sql = select(&outputs);
    let decision = decide(vec![policy("p", vec![hide.clone()])], &Operation::Sql(&sql));
    let constant = Mask::Constant("***".into());
    assert_eq!(
        decision.obligations.masks,
        [(1, constant.clone()), (2, constant)]
    );
    assert_eq!(decision.why, [RuleName::new("p", "hide")]);

    let outputs = [Output::Clean, Output::Unproven(&[SSN])];
    let sql = select(&outputs);
    let decision = decide(vec![policy("p", vec![hide.clone()])], &Operation::Sql(&sql));
    let Verdict::Deny(denial) = decision.verdict else {
        panic!("permitted")
    };
    assert_eq!(
        denial.reason,
        "where the value of result column 2 comes from cannot be proven, and it may carry pii.ssn"
    );

    let outputs = [
        Output::Kept(&[CARD]),
        Output::Clean,
        Output::Unproven(&[SSN]),
    ];
    let sql = select(&outputs);
    let reasons = |label: &str| {
        let hide = rule("hide", Some(Action::Mask), labels(&[label]));
        match decide(vec![policy("p", vec![hide])], &Operation::Sql(&sql)).verdict {
            Verdict::Deny(denial) => denial.reason,
            _ => panic!("not denied"),
        }
    };
    assert_eq!(
        reasons("pii.card"),
        "what it would store or define may carry pii.card, where nothing masks it"
    );
    assert_eq!(
        reasons("pii.ssn"),
        "where the value of result column 2 comes from cannot be proven, and it may carry pii.ssn"
    );
    let outputs = [Output::Clean, Output::Unproven(&[SSN])];
    let sql = select(&outputs);

    let named = Match {
        unproven: true,
        ..labels(&["pii.ssn"])
    };
    let lifted = vec![policy(
        "p",
        vec![hide, rule("a", Some(Action::Allow), named)],
    )];
    assert_eq!(verdict(lifted.clone(), &Operation::Sql(&sql)), "permit");
    let outputs = [Output::Unproven(&[SSN, CARD])];
    assert_eq!(
        verdict(lifted, &Operation::Sql(&select(&outputs))),
        "deny p/hide"
    );
}

#[test]
fn a_label_that_no_mask_rule_names_is_shown() {
    let hide = rule("hide", Some(Action::Mask), labels(&["pii.card"]));
    let outputs = [Output::Labelled(&[SSN])];
    let decision = decide(
        vec![policy("p", vec![hide])],
        &Operation::Sql(&select(&outputs)),
    );
    assert_eq!(decision.obligations.masks, []);
}

#[test]
fn a_rules_own_mask_only_tightens() {
    let own = |mask| Rule {
        mask: Some(mask),
        ..rule("m", Some(Action::Mask), labels(&["pii.*"]))
    };
    let outputs = [Output::Labelled(&[SSN])];
    let masked = |mask| {
        let decision = decide(
            vec![policy("p", vec![own(mask)])],
            &Operation::Sql(&select(&outputs)),
        );
        decision.obligations.masks[0].1.clone()
    };
    assert_eq!(masked(Mask::Null), Mask::Null);
    assert_eq!(
        masked(Mask::Partial {
            keep_first: 9,
            keep_last: 9
        }),
        Mask::Constant("***".into())
    );
}

#[test]
fn predicates_on_labels_are_judged_by_their_use() {
    let matches = Match {
        uses: [Use::Predicate, Use::OrderBy, Use::GroupBy, Use::Join]
            .into_iter()
            .collect(),
        ..labels(&["pii.*"])
    };
    let no_guess = rule("no-guess", Some(Action::Deny), matches);
    for how in Use::ALL {
        let uses = [LabelUse {
            label: SSN,
            how: *how,
        }];
        let sql = SqlOperation {
            label_uses: &uses,
            ..SqlOperation::default()
        };
        let denied = matches!(
            how,
            Use::Predicate | Use::OrderBy | Use::GroupBy | Use::Join
        );
        let got = verdict(
            vec![policy("p", vec![no_guess.clone()])],
            &Operation::Sql(&sql),
        );
        assert_eq!(got == "deny p/no-guess", denied, "{how:?}");
    }
}

#[test]
fn a_masked_value_is_not_written_back() {
    let hide = rule("hide", Some(Action::Mask), labels(&["pii.*"]));
    let sql = SqlOperation {
        masked_value_written: true,
        ..SqlOperation::default()
    };
    assert_eq!(
        verdict(vec![policy("p", vec![hide])], &Operation::Sql(&sql)),
        "deny p/hide"
    );
    assert_eq!(
        verdict(vec![policy("p", Vec::new())], &Operation::Sql(&sql)),
        "permit"
    );
}

#[test]
fn an_explanation_names_the_field_that_failed() {
    let rules = vec![
        rule("drops", Some(Action::Deny), effects(&[Effect::Drop])),
        rule("pii", Some(Action::Mask), labels(&["pii.*"])),
        rule("all", Some(Action::Deny), effects(&[Effect::Select])),
    ];
    let traces = scope(vec![policy("p", rules)]).explain(&Operation::Sql(&select(&[])), NOW);
    let outcomes: Vec<Outcome> = traces.iter().map(|trace| trace.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::NotMatched(Field::Effects),
            Outcome::NotMatched(Field::Labels),
            Outcome::Matched
        ]
    );
}

#[test]
fn a_rule_on_columns_matches_no_label_glob() {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("db", "10.0.0.1"))
        .label(Label {
            anonymous: true,
            ..label("a column of p/r", "ssn", Mask::Null)
        })
        .policy(policy(
            "p",
            vec![rule("all", Some(Action::Deny), labels(&["*"]))],
        ));
    let bundle = builder.build(1).expect("bundle");
    let scope = bundle
        .scope(&Subject::named("x"), TargetId(0), NOW)
        .expect("scope");
    let outputs = [Output::Labelled(&[LabelId(0)])];
    let decision = scope.decide(&Operation::Sql(&select(&outputs)), &NoCounters, NOW);
    assert_eq!(outcome(&decision), "permit");
}
