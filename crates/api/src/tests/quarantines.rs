//! Quarantines: whom they cut off, also where something about them is wrong.

use weir_policy::{Subject, TargetId, Timestamp};

use super::{errors, with_rules};
use crate::{CompileOptions, References, compile, concerning, load_str};

fn set(quarantine: &str) -> String {
    let policy = with_rules("  - {name: opaque, match: {opaque: true}, action: Allow}\n");
    format!("{policy}---\nkind: Quarantine\nmetadata: {{name: night}}\nspec: {quarantine}\n")
}

fn is_cut_off(text: &str, references: References, name: &str) -> bool {
    let resources = load_str("test.yaml", text).expect("loads");
    let options = CompileOptions {
        references,
        ..CompileOptions::default()
    };
    let subject = Subject::named(name);
    // What concerns the subject alone decides as everything does.
    let own = concerning(&resources, &subject);
    let scope = |resources| {
        let bundle = compile(resources, &options).expect("compiles").bundle;
        bundle.scope(&subject, TargetId(0), Timestamp(0)).is_some()
    };
    assert_eq!(scope(&resources), scope(&own), "{name}");
    !scope(&resources)
}

fn says(text: &str, wanted: &str) -> bool {
    let found = errors(text);
    found.iter().any(|error| error.message.contains(wanted))
}

#[test]
fn an_order_cuts_off_whom_it_names_until_it_is_lifted() {
    let order = set("{subjects: [{names: [\"report*\"]}], reason: reads at night}");
    assert!(is_cut_off(&order, References::Strict, "reporter"));
    let other = set("{subjects: [{names: [\"billing*\"]}], reason: reads at night}");
    assert!(!is_cut_off(&other, References::Strict, "reporter"));
    let lifted = set(
        "{subjects: [{names: [\"*\"]}], reason: reads at night, lifted: {reason: a drill, by: joe}}",
    );
    assert!(!is_cut_off(&lifted, References::Strict, "reporter"));
}

#[test]
fn an_order_that_says_no_reason_is_wrong_and_cuts_off_all_the_same() {
    let silent = set("{subjects: [{names: [reporter]}], reason: \" \"}");
    assert!(says(&silent, "does not say why"));
    assert!(is_cut_off(&silent, References::Lenient, "reporter"));
}

#[test]
fn an_order_names_somebody() {
    assert!(says(&set("{subjects: [], reason: r}"), "selects nobody"));
}
