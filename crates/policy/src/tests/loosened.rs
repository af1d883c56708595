//! Claims about what loosens a bundle.

use super::*;
use crate::loosened;

fn limited(rows: u64, on_exceed: Exceed) -> Rule {
    let limit = LimitSpec {
        per: None,
        rows: Some(rows),
        bytes: None,
        statements: None,
        on_exceed,
    };
    Rule {
        limits: vec![limit],
        approval: Some(approval()),
        ..rule("bulk", None, Match::default())
    }
}

fn before() -> Vec<Policy> {
    let deny = rule("no-drop", Some(Action::Deny), effects(&[Effect::Drop]));
    let hide = rule("hide", Some(Action::Mask), labels(&["pii.*"]));
    vec![policy(
        "p",
        vec![deny, hide, limited(100, Exceed::RequireApproval)],
    )]
}

/// What is said of a change.
fn said(change: impl FnOnce(&mut Vec<Policy>)) -> Vec<String> {
    let mut after = before();
    change(&mut after);
    loosened(&bundle(before()), &bundle(after))
}

#[test]
fn each_way_to_let_more_through_is_said() {
    assert_eq!(said(Vec::clear), ["policy p was removed"]);
    assert_eq!(
        said(|all| all[0].mode = Mode::Observe),
        ["policy p went from Enforce to Observe"]
    );
    assert_eq!(
        said(|all| _ = all[0].rules.remove(0)),
        ["rule p/no-drop was removed"]
    );
    assert_eq!(
        said(|all| all[0].rules[0].action = Some(Action::RequireApproval)),
        ["rule p/no-drop does RequireApproval instead of Deny"]
    );
    assert_eq!(
        said(|all| all[0].rules[0].matches = effects(&[Effect::Truncate])),
        ["rule p/no-drop matches something else"]
    );
    for change in [
        limited(101, Exceed::RequireApproval),
        limited(100, Exceed::Throttle { rows_per_second: 1 }),
        rule("bulk", None, Match::default()),
    ] {
        assert_eq!(
            said(|all| all[0].rules[2] = change),
            ["rule p/bulk has higher limits or milder ones"]
        );
    }
    let more = |approval: &mut Approval| approval.groups.push("everybody".into());
    assert_eq!(
        said(|all| all[0].rules[2].approval.iter_mut().for_each(more)),
        ["rule p/bulk is approved more easily"]
    );
    assert_eq!(
        said(|all| all[0].subjects.clear()),
        ["policy p is about other subjects or targets"]
    );
    let allow = rule("more", Some(Action::Allow), Match::default());
    assert_eq!(
        said(|all| all[0].rules.push(allow)),
        ["rule p/more is new and allows"]
    );
    assert_eq!(
        said(|all| all.push(policy("q", Vec::new()))),
        ["policy q is new and lets subjects reach targets"]
    );
}

#[test]
fn what_only_tightens_is_not_said() {
    assert_eq!(said(|_| {}).len(), 0);
    assert_eq!(said(|all| all[0].record = RecordLevel::Full).len(), 0);
    let tighter = [
        limited(99, Exceed::RequireApproval),
        limited(100, Exceed::Deny),
    ];
    for change in tighter {
        assert_eq!(said(|all| all[0].rules[2] = change).len(), 0);
    }
    let deny = rule("more", Some(Action::Deny), effects(&[Effect::Truncate]));
    assert_eq!(said(|all| all[0].rules.push(deny)).len(), 0);
    assert_eq!(
        said(|all| all[0].rules[1].action = Some(Action::Deny)).len(),
        0
    );
    let tightening = Policy {
        grants: false,
        ..policy("q", Vec::new())
    };
    assert_eq!(said(|all| all.push(tightening)).len(), 0);
}

#[test]
fn labels_and_exceptions_are_looked_at_too() {
    let build = |mask: Mask, columns: &[&str], until: Option<Timestamp>| {
        let mut builder = BundleBuilder::new();
        builder.target(target("db", "10.0.0.1"));
        let mut one = label("pii.ssn", "ssn", mask);
        one.columns = columns
            .iter()
            .flat_map(|column| label("x", column, Mask::Null).columns)
            .collect();
        builder.label(one);
        if let Some(until) = until {
            builder.exception(crate::Exception {
                name: "e".into(),
                owner: "jane".into(),
                reason: "migration".into(),
                until,
                subjects: Vec::new(),
                targets: vec![Glob::any()],
                rules: vec!["p/no-drop".into()],
            });
        }
        builder.build(1).expect("bundle")
    };
    let partial = || Mask::Partial {
        keep_first: 0,
        keep_last: 4,
    };
    let old = build(Mask::Null, &["ssn", "tax"], None);
    let masked_less = build(partial(), &["ssn", "tax"], None);
    assert_eq!(
        loosened(&old, &masked_less),
        ["label pii.ssn is masked less"]
    );
    assert_eq!(loosened(&masked_less, &old).len(), 0);
    let fewer = build(Mask::Null, &["ssn"], None);
    assert_eq!(loosened(&old, &fewer), ["label pii.ssn is in fewer places"]);
    let lifted = build(Mask::Null, &["ssn", "tax"], Some(NOW));
    assert_eq!(
        loosened(&old, &lifted),
        ["exception e of jane lifts p/no-drop: migration"]
    );
    assert_eq!(loosened(&lifted, &lifted).len(), 0);
}

#[test]
fn fewer_fingerprints_are_said_and_more_are_not() {
    let with = |globs: &[&str]| {
        let globs = globs.iter().map(|glob| Glob::free(glob)).collect();
        let mut all = before();
        all[0].fingerprints = globs;
        bundle(all)
    };
    let (some, more) = (with(&["pii.ssn"]), with(&["pii.ssn", "pii.card"]));
    assert!(loosened(&some, &more).is_empty());
    assert_eq!(
        loosened(&more, &some),
        ["policy p keeps fingerprints of fewer labels"]
    );
}
