//! PolicyExceptions: what they lift, and what of them is refused.

use weir_policy::{
    Effect, EffectSet, NoCounters, Operation, SqlOperation, Subject, Timestamp, Verdict,
};

use super::{errors, lines, with_rules};
use crate::{CompileOptions, Reason, Severity, compile, load_str};

/// 2027-01-31T18:00:00Z.
const END: u64 = 1_801_418_400_000;
const RULES: &str = "  - {name: no-deletes, match: {sql: {effects: [Delete]}}, action: Deny}
  - {name: opaque, match: {opaque: true}, action: Allow}
";

fn exception(spec: &str) -> String {
    let policy = with_rules(RULES);
    format!("{policy}---\nkind: PolicyException\nmetadata: {{name: quarter-end}}\nspec:\n{spec}")
}

fn good() -> String {
    exception(
        "  owner: finance
  reason: closing the books
  expires: 2027-01-31T18:00:00Z
  subjects: [{names: [\"report*\"]}]
  targets: [db]
  rules: [p/no-deletes]
",
    )
}

#[test]
fn an_exception_lifts_the_named_rule_until_it_expires() {
    let resources = load_str("test.yaml", &good()).expect("loads");
    let compiled = compile(&resources, &CompileOptions::default()).expect("compiles");
    let bundle = compiled.bundle;
    let (id, _) = bundle.target_named("db").expect("target");
    let found = &bundle.exceptions()[0];
    assert_eq!(
        (found.owner.as_str(), found.until),
        ("finance", Timestamp(END))
    );
    let delete = SqlOperation {
        effects: EffectSet::of(&[Effect::Delete]),
        ..SqlOperation::default()
    };
    let decide = |now| {
        let scope = bundle.scope(&Subject::named("reporter"), id, Timestamp(now));
        let scope = scope.expect("granted");
        scope.decide(&Operation::Sql(&delete), &NoCounters, Timestamp(now))
    };
    let before = decide(END - 1);
    assert!(matches!(before.verdict, Verdict::Permit(_)));
    assert_eq!(
        before.exceptions[0].to_string(),
        "quarter-end lifts p/no-deletes"
    );
    assert!(matches!(decide(END).verdict, Verdict::Deny(_)));
}

#[test]
fn an_exception_that_is_over_is_a_warning_and_stops_nothing() {
    let resources = load_str("test.yaml", &good()).expect("loads");
    let options = CompileOptions {
        now: Timestamp(END),
        ..CompileOptions::default()
    };
    let found = compile(&resources, &options).expect("compiles").diagnostics;
    assert_eq!(found.len(), 1, "{}", lines(&found));
    assert_eq!(
        (found[0].severity, found[0].reason, found[0].field.as_str()),
        (Severity::Warning, Reason::Expired, "spec.expires")
    );
}

#[test]
fn an_exception_names_owner_reason_end_and_rules_that_exist() {
    for (from, to, field, expected) in [
        (
            "owner: finance",
            "owner: \" \"",
            "spec.owner",
            "names nobody",
        ),
        (
            "closing the books",
            "\"\"",
            "spec.reason",
            "does not say why",
        ),
        ("18:00:00Z", "18:00", "spec.expires", "is not a time"),
        (
            "2027-01-31T18:00:00Z",
            "tomorrow",
            "spec.expires",
            "is not a time",
        ),
        (
            "[db]\n  rules",
            "[dbb]\n  rules",
            "spec.targets[0]",
            "did you mean `db`?",
        ),
        (
            "[db]\n  rules",
            "[]\n  rules",
            "spec.targets",
            "names no target",
        ),
        (
            "[{names: [\"report*\"]}]",
            "[]",
            "spec.subjects",
            "selects nobody",
        ),
        ("[p/no-deletes]", "[]", "spec.rules", "names no rule"),
        (
            "p/no-deletes",
            "p/no-delete",
            "spec.rules[0]",
            "did you mean `p/no-deletes`?",
        ),
        (
            "p/no-deletes",
            "no-deletes",
            "spec.rules[0]",
            "is not a rule's name",
        ),
        (
            "p/no-deletes",
            "p/opaque",
            "spec.rules[0]",
            "nothing to lift",
        ),
        (
            "p/no-deletes",
            "p/(opaque)",
            "spec.rules[0]",
            "an exception cannot lift that",
        ),
    ] {
        let text = good();
        let (policies, exception) =
            text.split_at(text.find("---\nkind: PolicyException").expect("one"));
        assert!(exception.contains(from), "{from}");
        let found = errors(&format!("{policies}{}", exception.replace(from, to)));
        assert_eq!(found.len(), 1, "{to}: {}", lines(&found));
        assert_eq!(found[0].field, field);
        let text = found[0].to_string();
        assert!(text.contains(expected), "{text}");
    }
}
