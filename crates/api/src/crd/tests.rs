//! Claims about the definitions: they take what the loader takes and refuse what it refuses.

mod agreement;
mod shape;
mod validator;

use serde::Deserialize;
use serde_json::Value;

use super::{Crd, all};
use crate::{CompileOptions, Severity, compile, load_str, tree};

/// Valid documents: the design's, all fields, the reference's, the corpus's policy.
fn accepted() -> Vec<Value> {
    let reference = include_str!("../../../../docs/policy.md");
    let blocks = reference.split("```yaml\n").skip(1);
    let examples: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let corpus = include_str!("../../../../e2e/corpus/pg/target.yaml.in");
    [
        include_str!("tests/accepted.yaml").to_owned(),
        include_str!("../tests/design.yaml").to_owned(),
        include_str!("../tests/other_protocols.yaml").to_owned(),
        examples.join("\n---\n"),
        corpus.replace("${PG_PORT}", "5432"),
        include_str!("../../../../e2e/corpus/pg/labels.yaml").to_owned(),
        include_str!("../../../../e2e/corpus/pg/policy.yaml").to_owned(),
    ]
    .iter()
    .flat_map(|text| documents(text))
    .collect()
}

fn documents(text: &str) -> Vec<Value> {
    let Ok(nodes) = tree::parse(text) else {
        panic!("not YAML: {text}")
    };
    nodes
        .iter()
        .map(|node| Value::deserialize(node).expect("a value"))
        .collect()
}

/// Documents with one defect each: what the loader says, what the API server says, the document.
fn refused() -> Vec<(String, String, Value)> {
    let files = [
        include_str!("tests/refused.yaml"),
        include_str!("tests/refused_rules.yaml"),
    ];
    let documents = files.iter().flat_map(|text| documents(text));
    let with_reasons = |document: Value| {
        let annotations = &document["metadata"]["annotations"];
        let said = |by: &str| annotations[by].as_str().expect("an annotation").to_owned();
        (said("weir.dev/loader"), said("weir.dev/schema"), document)
    };
    documents.map(with_reasons).collect()
}

fn crds() -> Vec<Crd> {
    all().expect("structural")
}

fn crd<'a>(crds: &'a [Crd], document: &Value) -> &'a Crd {
    let kind = document["kind"].as_str().expect("a kind");
    crds.iter().find(|crd| crd.kind == kind).expect(kind)
}

/// What the loader and the compiler say about a document, beside a Target `db` and a label.
fn said(document: &Value) -> Vec<String> {
    let around = "kind: Target
metadata: {name: db}
spec: {protocol: PostgreSQL, addresses: [{host: db.example, port: 5432}]}
---
kind: DataLabel
metadata: {name: pii.ssn}
spec: {columns: [{target: db, table: public.customers, columns: [ssn]}]}
";
    let text = format!("{around}---\n{document}\n");
    let options = CompileOptions {
        ..CompileOptions::default()
    };
    let found = match load_str("x", &text) {
        Err(errors) => errors,
        Ok(resources) => match compile(&resources, &options) {
            Ok(_) => return Vec::new(),
            Err(errors) => errors,
        },
    };
    found
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect()
}
