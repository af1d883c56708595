//! Exceptions: they take single rules away, until a moment, and every decision says so.

use super::*;

const HOUR: u64 = 3_600_000;
const LATER: Timestamp = Timestamp(NOW.0 + HOUR);

fn exception(rules: &[&str]) -> Exception {
    Exception {
        name: "quarter-end".into(),
        owner: "finance".into(),
        reason: "closing the books".into(),
        until: LATER,
        subjects: vec![SubjectSelector {
            names: vec![Glob::free("report*")],
            ..SubjectSelector::default()
        }],
        targets: vec![Glob::free("d*")],
        rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
    }
}

fn with(policies: Vec<Policy>, exceptions: Vec<Exception>) -> Bundle {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("db", "10.0.0.1"))
        .label(label("pii.ssn", "ssn", Mask::Constant("***".into())))
        .label(label("pii.card", "card", Mask::Null));
    for policy in policies {
        builder.policy(policy);
    }
    for exception in exceptions {
        builder.exception(exception);
    }
    builder.build(7).expect("bundle")
}

fn scope_at(bundle: &Bundle, subject: &str, now: Timestamp) -> Option<std::sync::Arc<Scope>> {
    bundle.scope(&Subject::named(subject), TargetId(0), now)
}

fn says(bundle: &Bundle, subject: &str, operation: &Operation<'_>, now: Timestamp) -> String {
    let scope = scope_at(bundle, subject, now).expect("selected");
    let decision = scope.decide(operation, &NoCounters, now);
    let lifted: Vec<String> = decision
        .exceptions
        .iter()
        .map(ToString::to_string)
        .collect();
    format!("{} [{}]", outcome(&decision), lifted.join(", "))
}

fn deletes() -> SqlOperation<'static> {
    SqlOperation {
        effects: EffectSet::of(&[Effect::Delete]),
        ..SqlOperation::default()
    }
}

fn no_deletes(name: &str) -> Policy {
    policy(
        name,
        vec![rule(
            "no-deletes",
            Some(Action::Deny),
            effects(&[Effect::Delete]),
        )],
    )
}

#[test]
fn a_named_rule_does_not_bind_until_the_moment_at_which_the_exception_ends() {
    let bundle = with(vec![no_deletes("p")], vec![exception(&["p/no-deletes"])]);
    let sql = deletes();
    let delete = Operation::Sql(&sql);
    let lifted = "permit [quarter-end lifts p/no-deletes]";
    let denied = "deny p/no-deletes []";
    assert_eq!(says(&bundle, "reporter", &delete, NOW), lifted);
    let last = Timestamp(LATER.0 - 1);
    assert_eq!(says(&bundle, "reporter", &delete, last), lifted);
    assert_eq!(says(&bundle, "reporter", &delete, LATER), denied);
    assert_eq!(says(&bundle, "somebody", &delete, NOW), denied);
}

#[test]
fn a_scope_says_when_it_is_over_and_never_lifts_after_that() {
    let bundle = with(vec![no_deletes("p")], vec![exception(&["p/no-deletes"])]);
    let scope = scope_at(&bundle, "reporter", NOW).expect("selected");
    assert_eq!(scope.expires(), Some(LATER));
    assert!(scope.is_current(NOW) && !scope.is_current(LATER));
    let sql = deletes();
    let late = scope.decide(&Operation::Sql(&sql), &NoCounters, LATER);
    assert_eq!(outcome(&late), "deny p/no-deletes");
    assert!(late.exceptions.is_empty());
    let other = scope_at(&bundle, "somebody", NOW).expect("selected");
    assert_eq!(other.expires(), None);
}

#[test]
fn an_exception_lifts_no_rule_of_another_policy_and_grants_nothing() {
    let bundle = with(
        vec![no_deletes("p"), no_deletes("q")],
        vec![exception(&["p/no-deletes", "r/unknown"])],
    );
    let sql = deletes();
    assert_eq!(
        says(&bundle, "reporter", &Operation::Sql(&sql), NOW),
        "deny q/no-deletes [quarter-end lifts p/no-deletes]"
    );
    let local = Policy {
        grants: false,
        ..no_deletes("billing:p")
    };
    let ungranted = with(vec![local], vec![exception(&["billing:p/no-deletes"])]);
    assert!(scope_at(&ungranted, "reporter", NOW).is_none());
}

#[test]
fn an_exception_elsewhere_changes_nothing() {
    let mut elsewhere = exception(&["p/no-deletes"]);
    elsewhere.targets = vec![Glob::free("other")];
    let mut nobody = exception(&["p/no-deletes"]);
    nobody.subjects = Vec::new();
    let bundle = with(vec![no_deletes("p")], vec![elsewhere, nobody]);
    let sql = deletes();
    assert_eq!(
        says(&bundle, "reporter", &Operation::Sql(&sql), NOW),
        "deny p/no-deletes []"
    );
}

#[test]
fn lifting_a_mask_a_limit_and_a_hold_is_said() {
    let mut capped = rule("cap", None, Match::default());
    capped.limits = vec![LimitSpec {
        per: None,
        rows: Some(10),
        bytes: None,
        statements: None,
        on_exceed: Exceed::Deny,
    }];
    let mut asks = rule("ask", Some(Action::RequireApproval), Match::default());
    asks.approval = Some(approval());
    let rules = vec![
        rule("hide", Some(Action::Mask), labels(&["pii.*"])),
        capped,
        asks,
    ];
    let bundle = with(
        vec![policy("p", rules)],
        vec![exception(&["p/hide", "p/cap", "p/ask"])],
    );
    let outputs = [Output::Labelled(&[SSN])];
    let sql = SqlOperation {
        effects: EffectSet::of(&[Effect::Select]),
        outputs: &outputs,
        ..SqlOperation::default()
    };
    let decide = |now| {
        let scope = scope_at(&bundle, "reporter", now).expect("selected");
        scope.decide(&Operation::Sql(&sql), &NoCounters, now)
    };
    let lifted = decide(NOW);
    assert_eq!(outcome(&lifted), "permit");
    assert!(lifted.obligations.masks.is_empty() && lifted.obligations.limits.is_empty());
    let named: Vec<String> = lifted
        .exceptions
        .iter()
        .map(|l| l.rule.to_string())
        .collect();
    assert_eq!(named, ["p/ask", "p/cap", "p/hide"]);
    assert!(lifted.is_standing());
    let bound = decide(LATER);
    assert_eq!(outcome(&bound), "hold p/ask");
    assert_eq!(bound.obligations.masks.len(), 1);
    assert_eq!(bound.obligations.limits.len(), 1);
}

#[test]
fn what_is_not_understood_passes_only_if_every_rule_that_needs_it_is_lifted() {
    let rules = || {
        vec![
            rule("no-deletes", Some(Action::Deny), effects(&[Effect::Delete])),
            rule("no-drops", Some(Action::Deny), effects(&[Effect::Drop])),
        ]
    };
    let opaque = Operation::Opaque { reason: "odd" };
    let some = with(
        vec![policy("p", rules())],
        vec![exception(&["p/no-deletes"])],
    );
    assert_eq!(says(&some, "reporter", &opaque, NOW), "deny p/(opaque) []");
    let all = exception(&["p/no-deletes", "p/no-drops"]);
    let all = with(vec![policy("p", rules())], vec![all]);
    assert_eq!(
        says(&all, "reporter", &opaque, NOW),
        "permit [quarter-end lifts p/no-deletes, quarter-end lifts p/no-drops]"
    );
    assert_eq!(says(&all, "reporter", &opaque, LATER), "deny p/(opaque) []");
    let implicit = with(vec![policy("p", rules())], vec![exception(&["p/(opaque)"])]);
    assert_eq!(
        says(&implicit, "reporter", &opaque, NOW),
        "deny p/(opaque) []"
    );
}

#[test]
fn of_an_allow_rule_only_the_limits_are_lifted() {
    let mut allowed = rule("reads", Some(Action::Allow), effects(&[Effect::Select]));
    allowed.limits = vec![LimitSpec {
        per: None,
        rows: Some(10),
        bytes: None,
        statements: None,
        on_exceed: Exceed::Deny,
    }];
    let list = Policy {
        default: DefaultAction::Deny,
        ..policy("p", vec![allowed])
    };
    let bundle = with(vec![list], vec![exception(&["p/reads"])]);
    let sql = SqlOperation {
        effects: EffectSet::of(&[Effect::Select]),
        ..SqlOperation::default()
    };
    let scope = scope_at(&bundle, "reporter", NOW).expect("selected");
    let decision = scope.decide(&Operation::Sql(&sql), &NoCounters, NOW);
    assert_eq!(outcome(&decision), "permit");
    assert!(decision.obligations.limits.is_empty());
    let sql = deletes();
    assert_eq!(
        says(&bundle, "reporter", &Operation::Sql(&sql), NOW),
        "deny p/(default) []"
    );
}

#[test]
fn explain_names_the_exception_of_each_lifted_rule() {
    let bundle = with(vec![no_deletes("p")], vec![exception(&["p/no-deletes"])]);
    let scope = scope_at(&bundle, "reporter", NOW).expect("selected");
    let sql = deletes();
    let traces = scope.explain(&Operation::Sql(&sql), NOW);
    assert_eq!(traces[0].exception.as_deref(), Some("quarter-end"));
    assert_eq!(
        scope.explain(&Operation::Sql(&sql), LATER)[0].exception,
        None
    );
}

#[test]
fn a_target_that_is_refused_is_granted_to_nobody() {
    let mut builder = BundleBuilder::new();
    builder
        .target(Target {
            refused: Some("its protocol is not enforced".into()),
            ..target("db", "10.0.0.1")
        })
        .policy(no_deletes("p"));
    let bundle = builder.build(1).expect("bundle");
    assert!(scope_at(&bundle, "reporter", NOW).is_none());
    assert_eq!(bundle.granted(&Subject::named("reporter")).count(), 0);
}
