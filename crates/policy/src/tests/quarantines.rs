//! Quarantines: whatever policies say, who is cut off reaches nothing.

use super::*;

fn quarantine(names: &str) -> Quarantine {
    Quarantine {
        name: "night".into(),
        reason: "reads at night".into(),
        by: "jane".into(),
        subjects: vec![SubjectSelector {
            names: vec![Glob::free(names)],
            ..SubjectSelector::default()
        }],
        lifted: None,
    }
}

fn bundle(quarantine: Option<Quarantine>) -> Bundle {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("db", "10.0.0.1"))
        .policy(policy("p", Vec::new()));
    if let Some(quarantine) = quarantine {
        builder.quarantine(quarantine);
    }
    builder.build(7).expect("bundle")
}

fn reaches(bundle: &Bundle, name: &str) -> bool {
    let subject = Subject::named(name);
    let scope = bundle.scope(&subject, TargetId(0), NOW);
    let granted = bundle.granted(&subject).next();
    assert_eq!(scope.is_some(), granted.is_some(), "{name}");
    scope.is_some()
}

#[test]
fn who_is_cut_off_has_no_scope_and_no_credentials_and_others_have() {
    let bundle = bundle(Some(quarantine("report*")));
    assert!(!reaches(&bundle, "reporter"));
    assert!(reaches(&bundle, "billing"));
    let found = bundle.quarantine(&Subject::named("reporter"));
    assert_eq!(found.map(|one| one.by.as_str()), Some("jane"));
}

#[test]
fn one_that_was_lifted_cuts_nobody_off_and_still_says_who_lifted_it() {
    let lifted = Quarantine {
        lifted: Some(Lifting {
            by: "joe".into(),
            reason: "a drill".into(),
        }),
        ..quarantine("*")
    };
    let bundle = bundle(Some(lifted));
    assert!(reaches(&bundle, "reporter"));
    let kept = bundle.quarantine_named("night").expect("kept");
    assert_eq!(kept.lifted.as_ref().map(|one| one.by.as_str()), Some("joe"));
}

#[test]
fn an_order_changes_the_digest() {
    let without = bundle(None);
    let with = bundle(Some(quarantine("*")));
    assert_ne!(without.digest(), with.digest());
}
