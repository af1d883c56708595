//! Several policies: the answer does not depend on order, and only gets tighter.

use super::*;

/// A small deterministic generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = usize::try_from(self.roll(i as u64 + 1)).expect("small");
            items.swap(i, j);
        }
    }

    fn rule(&mut self, index: usize) -> Rule {
        let matches = match self.roll(9) {
            0 => effects(&[Effect::Delete]),
            1 => effects(&[Effect::Select]),
            2 => labels(&["pii.ssn"]),
            3 => labels(&["pii.*"]),
            4 => Match {
                where_clause: Some(WhereTest::Missing),
                ..Match::default()
            },
            5 => Match {
                opaque: true,
                ..Match::default()
            },
            6 => Match {
                tables: vec![TablePattern::parse("public.a*").expect("glob")],
                ..Match::default()
            },
            7 => Match {
                uses: [Use::OrderBy].into_iter().collect(),
                ..labels(&["pii.card"])
            },
            _ => Match {
                unproven: true,
                ..Match::default()
            },
        };
        let action = match self.roll(6) {
            0 => Some(Action::Deny),
            1 => Some(Action::RequireApproval),
            2 | 3 => Some(Action::Mask),
            4 => Some(Action::Allow),
            _ => None,
        };
        let limits = vec![LimitSpec {
            per: (self.roll(2) == 0).then(|| Duration::from_secs(3600)),
            rows: Some(self.roll(100)),
            bytes: None,
            statements: None,
            on_exceed: if self.roll(2) == 0 {
                Exceed::Deny
            } else {
                Exceed::RequireApproval
            },
        }];
        Rule {
            limits: if self.roll(3) == 0 {
                limits
            } else {
                Vec::new()
            },
            approval: Some(approval()),
            ..rule(&format!("r{index}"), action, matches)
        }
    }

    fn policy(&mut self, name: &str) -> Policy {
        let count = usize::try_from(self.roll(5)).expect("small");
        Policy {
            mode: if self.roll(4) == 0 {
                Mode::Observe
            } else {
                Mode::Enforce
            },
            default: if self.roll(5) == 0 {
                DefaultAction::Deny
            } else {
                DefaultAction::Allow
            },
            record: [
                RecordLevel::Metadata,
                RecordLevel::Commands,
                RecordLevel::Full,
            ][usize::try_from(self.roll(3)).expect("small")],
            ..policy(name, (0..count).map(|i| self.rule(i)).collect())
        }
    }
}

/// Calls with operations of every kind.
fn each_operation(mut with: impl FnMut(&Operation<'_>)) {
    let relations = [Relation {
        schema: "public",
        name: "accounts",
        access: Access::Write,
    }];
    let uses = [LabelUse {
        label: CARD,
        how: Use::OrderBy,
    }];
    let outputs = [
        vec![],
        vec![Output::Clean, Output::Labelled(&[SSN])],
        vec![Output::Labelled(&[CARD, SSN])],
        vec![Output::Unproven(&[CARD])],
    ];
    for effect in [Effect::Select, Effect::Delete] {
        for outputs in &outputs {
            for where_clause in [WhereClause::NotApplicable, WhereClause::Missing] {
                for opaque in [None, Some("it has a DO block")] {
                    for touched in [false, true] {
                        let sql = SqlOperation {
                            effects: EffectSet::of(&[effect]),
                            outputs,
                            where_clause,
                            opaque,
                            relations: if touched { &relations } else { &[] },
                            label_uses: if touched { &uses } else { &[] },
                            masked_value_written: touched && opaque.is_some(),
                            collects: touched,
                            stores_collected: false,
                            ..SqlOperation::default()
                        };
                        with(&Operation::Sql(&sql));
                    }
                }
            }
        }
    }
    with(&Operation::Opaque { reason: "noise" });
    with(&Operation::FunctionCall);
    with(&Operation::Replication);
    with(&Operation::CopyBoth);
}

fn summary(decision: &Decision) -> String {
    let Decision {
        obligations,
        why,
        would_deny,
        ..
    } = decision;
    let limits: Vec<_> = obligations
        .limits
        .iter()
        .map(|l| (&l.rule, l.rows))
        .collect();
    format!(
        "{} {:?} {limits:?} {:?} {why:?} {would_deny:?}",
        outcome(decision),
        obligations.masks,
        obligations.record
    )
}

/// 0 permitted, 1 held, 2 refused.
fn severity(decision: &Decision) -> u8 {
    match decision.verdict {
        Verdict::Permit(_) => 0,
        Verdict::Hold(_) => 1,
        Verdict::Deny(_) => 2,
    }
}

#[test]
fn the_decision_does_not_depend_on_the_order_of_policies_and_rules() {
    let mut dice = Dice(1);
    for _ in 0..150 {
        let mut policies: Vec<Policy> = ["a", "b", "c"].map(|name| dice.policy(name)).into();
        let before = scope(policies.clone());
        dice.shuffle(&mut policies);
        for policy in &mut policies {
            dice.shuffle(&mut policy.rules);
        }
        let after = scope(policies.clone());
        each_operation(|operation| {
            let first = summary(&before.decide(operation, &NoCounters, NOW));
            let second = summary(&after.decide(operation, &NoCounters, NOW));
            assert_eq!(first, second, "{operation:?} under {policies:#?}");
        });
    }
}

#[test]
fn adding_a_policy_never_permits_more() {
    let mut dice = Dice(2);
    for _ in 0..300 {
        let base = vec![dice.policy("a"), dice.policy("b")];
        let added = dice.policy("c");
        let before = scope(base.clone());
        let after = scope([base, vec![added.clone()]].concat());
        each_operation(|operation| {
            let first = before.decide(operation, &NoCounters, NOW);
            let second = after.decide(operation, &NoCounters, NOW);
            assert!(
                severity(&second) >= severity(&first),
                "{operation:?} with {added:#?}"
            );
            assert!(second.obligations.record >= first.obligations.record);
            assert!(second.obligations.limits.len() >= first.obligations.limits.len());
            for (column, mask) in &first.obligations.masks {
                let tighter = second.obligations.masks.iter().find(|(at, _)| at == column);
                let (_, found) = tighter.expect("a mask never disappears");
                assert_eq!(found.strictest(mask), *found);
            }
        });
    }
}

#[test]
fn any_deny_wins_over_holds_and_permits() {
    let asks = Rule {
        approval: Some(approval()),
        ..rule(
            "asks",
            Some(Action::RequireApproval),
            effects(&[Effect::Drop]),
        )
    };
    let denies = rule("denies", Some(Action::Deny), effects(&[Effect::Drop]));
    let sql = SqlOperation {
        effects: EffectSet::of(&[Effect::Drop]),
        ..SqlOperation::default()
    };
    let operation = Operation::Sql(&sql);
    assert_eq!(
        verdict(vec![policy("a", vec![asks.clone()])], &operation),
        "hold a/asks"
    );
    let both = vec![policy("a", vec![asks]), policy("b", vec![denies])];
    let decision = decide(both, &operation);
    assert_eq!(outcome(&decision), "deny b/denies");
    assert_eq!(
        decision.why,
        [RuleName::new("a", "asks"), RuleName::new("b", "denies")]
    );
}

#[test]
fn every_policy_that_asks_for_approval_must_get_it() {
    let asks = Rule {
        approval: Some(approval()),
        ..rule("asks", Some(Action::RequireApproval), Match::default())
    };
    let policies = vec![policy("a", vec![asks.clone()]), policy("b", vec![asks])];
    let sql = SqlOperation::default();
    let Verdict::Hold(mut hold) = decide(policies, &Operation::Sql(&sql)).verdict else {
        panic!("not held")
    };
    assert_eq!(hold.pending().len(), 2);
    hold.grant(&RuleName::new("a", "asks"), Release::ToEnd);
    let mut hold = hold.into_permit().expect_err("one is still pending");
    hold.grant(&RuleName::new("b", "asks"), Release::Rows(5));
    let [limit] = hold.limits() else {
        panic!("what is granted for five rows is limited to them");
    };
    assert_eq!((limit.rows, limit.rule.rule.as_ref()), (Some(5), "asks"));
    assert_eq!(hold.into_permit().expect("granted").revision(), 7);
}

#[test]
fn the_strictest_mask_wins_in_either_order() {
    let masks = [
        Mask::Partial {
            keep_first: 1,
            keep_last: 4,
        },
        Mask::Partial {
            keep_first: 2,
            keep_last: 0,
        },
        Mask::Token,
        Mask::Constant("a".into()),
        Mask::Constant("b".into()),
        Mask::Null,
    ];
    for a in &masks {
        for b in &masks {
            assert_eq!(a.strictest(b), b.strictest(a));
            for c in &masks {
                assert_eq!(a.strictest(b).strictest(c), a.strictest(&b.strictest(c)));
            }
        }
    }
    assert_eq!(
        masks[0].strictest(&masks[1]),
        Mask::Partial {
            keep_first: 1,
            keep_last: 0
        }
    );
    assert_eq!(masks[2].strictest(&masks[0]), Mask::Token);
    assert_eq!(masks[3].strictest(&masks[2]), masks[3]);
    assert_eq!(masks[3].strictest(&masks[5]), Mask::Null);
}

#[test]
fn the_strongest_audit_of_all_policies_holds_and_observers_count() {
    let weak = policy("a", Vec::new());
    let strong = Policy {
        mode: Mode::Observe,
        record: RecordLevel::Full,
        delivery: Delivery::BlockingStrict,
        ..policy("b", Vec::new())
    };
    let scope = scope(vec![weak, strong]);
    assert_eq!(
        (scope.record(), scope.delivery()),
        (RecordLevel::Full, Delivery::BlockingStrict)
    );
}

#[test]
fn fingerprints_of_all_policies_are_kept_and_need_the_catalog() {
    let asks = |name: &str, glob: &str| Policy {
        fingerprints: vec![Glob::free(glob)],
        ..policy(name, Vec::new())
    };
    let none = scope(vec![policy("a", Vec::new())]);
    assert_eq!(none.fingerprints(), []);
    assert!(!none.needs_catalog());
    let observing = Policy {
        mode: Mode::Observe,
        ..asks("b", "pii.card")
    };
    let both = scope(vec![asks("a", "*.ssn"), observing]);
    let names: Vec<_> = both
        .fingerprints()
        .iter()
        .filter_map(|id| both.label(*id))
        .collect();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["pii.card", "pii.ssn"]
    );
    assert!(both.needs_catalog());
}
