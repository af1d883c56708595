//! The schema and the loader agree.

use serde_json::{Value, json};

use super::validator::{fill, refusals};
use super::{accepted, crd, crds, refused, said};
use crate::load_str;

#[test]
fn what_the_loader_takes_the_api_server_takes() {
    let crds = crds();
    let documents = accepted();
    assert!(documents.len() > 25, "{} documents", documents.len());
    for document in &documents {
        load_str("x", &document.to_string()).expect("loads");
        let found = refusals(crd(&crds, document).schema(), document, None);
        assert!(found.is_empty(), "{}: {found:?}", document["metadata"]);
    }
}

#[test]
fn what_the_loader_refuses_by_structure_the_api_server_refuses_for_the_same_reason() {
    let crds = crds();
    let cases = refused();
    assert!(cases.len() > 75, "{} cases", cases.len());
    for (loader, schema, document) in &cases {
        let errors = said(document);
        assert!(
            errors.iter().any(|error| error.contains(loader)),
            "expected `{loader}` from the loader for {document}, got {errors:?}"
        );
        let found = refusals(crd(&crds, document).schema(), document, None);
        assert_eq!(
            found.len(),
            1,
            "expected `{schema}` for {document}, got {found:?}"
        );
        assert!(
            found[0].contains(schema),
            "expected `{schema}` for {document}, got {found:?}"
        );
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_loader() {
    let crds = crds();
    for document in accepted() {
        let mut filled = document.clone();
        fill(crd(&crds, &document).schema(), &mut filled);
        let specs = |document: &Value| {
            let r = load_str("x", &document.to_string()).expect("loads");
            format!(
                "{:?}{:?}{:?}{:?}",
                r.targets.iter().map(|r| &r.spec).collect::<Vec<_>>(),
                r.labels.iter().map(|r| &r.spec).collect::<Vec<_>>(),
                r.cluster_policies
                    .iter()
                    .map(|r| &r.spec)
                    .collect::<Vec<_>>(),
                r.policies.iter().map(|r| &r.spec).collect::<Vec<_>>(),
            )
        };
        assert_eq!(specs(&document), specs(&filled), "{}", document["metadata"]);
    }
}

/// Every way to change one place of a value: a field more, a field less, another type, nothing.
fn mutations(value: &Value) -> Vec<Value> {
    let mut changed = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("zzz".to_owned(), json!(1));
            changed.push(Value::Object(more));
            for (name, field) in fields {
                let mut less = fields.clone();
                less.remove(name);
                changed.push(Value::Object(less));
                for inner in mutations(field) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), inner);
                    changed.push(Value::Object(fields));
                }
            }
            changed.push(json!({}));
        }
        Value::Array(items) => {
            changed.push(json!([]));
            changed.push(json!({}));
            changed.push(json!("x"));
            for (i, item) in items.iter().enumerate() {
                for inner in mutations(item) {
                    let mut items = items.clone();
                    items[i] = inner;
                    changed.push(Value::Array(items));
                }
            }
        }
        Value::String(_) => {
            changed.extend([json!(7), json!(true), json!([]), json!("zZ z"), json!("")])
        }
        Value::Number(_) => {
            changed.extend([json!("7"), json!(-1), json!(0), json!(1.5), json!({})])
        }
        Value::Bool(_) => changed.extend([json!("true"), json!(1)]),
        Value::Null => {}
    }
    changed
}

#[test]
fn a_change_of_a_valid_document_is_refused_by_both_or_by_neither() {
    let crds = crds();
    let (mut both, mut neither) = (0, 0);
    for document in accepted() {
        let schema = crd(&crds, &document).schema();
        let before = said(&document);
        for spec in mutations(&document["spec"]) {
            let mut changed = document.clone();
            changed["spec"] = spec;
            let by_schema = refusals(schema, &changed, None);
            let by_load = load_str("x", &changed.to_string()).is_err();
            if by_load {
                assert!(!by_schema.is_empty(), "only the loader refuses {changed}");
            }
            let after = said(&changed);
            if by_schema.is_empty() {
                neither += 1;
            } else {
                let news = by_load || after.iter().any(|error| !before.contains(error));
                assert!(news, "only the schema refuses {changed}: {by_schema:?}");
                both += 1;
            }
        }
    }
    assert!(
        both > 3000 && neither > 500,
        "{both} refused, {neither} taken"
    );
}
