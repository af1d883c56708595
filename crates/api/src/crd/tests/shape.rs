//! The definitions as such.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::patterns;
use super::validator::{compiles, refusals};
use super::{accepted, crd, crds};
use crate::{Size, Span};
use weir_policy::{FunctionPattern, Glob, TablePattern};

/// Every schema within a schema, with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for keyword in ["items", "additionalProperties"] {
        if schema[keyword].is_object() {
            walk(&schema[keyword], &format!("{path}[]"), visit);
        }
    }
}

#[test]
fn every_field_has_a_description_and_every_length_a_bound() {
    let mut fields = 0;
    for crd in crds() {
        walk(crd.schema(), crd.kind, &mut |path, schema| {
            if path.ends_with(".metadata")
                || path.ends_with(".apiVersion")
                || path.ends_with(".kind")
            {
                return;
            }
            fields += 1;
            let about = schema["description"].as_str().unwrap_or("");
            assert!(path.ends_with(']') || about.len() > 3, "{path}: {about:?}");
            assert!(
                !about.contains("[`") && !about.contains('\n'),
                "{path}: {about:?}"
            );
            let bounds: &[&str] = match schema["type"].as_str() {
                Some("string") if schema["enum"].is_null() => &["maxLength"],
                Some("array") => &["maxItems", "x-kubernetes-list-type"],
                Some("object") if !schema["additionalProperties"].is_null() => &["maxProperties"],
                _ => &[],
            };
            for bound in bounds {
                assert!(!schema[*bound].is_null(), "{path} has no {bound}");
            }
        });
    }
    assert!(fields > 300, "{fields} fields");
}

#[test]
fn every_rule_is_cel_and_says_why() {
    let mut rules = 0;
    for crd in crds() {
        walk(crd.schema(), crd.kind, &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                rules += 1;
                assert!(
                    compiles(rule["rule"].as_str().expect("a rule")),
                    "{path}: {rule}"
                );
                assert!(
                    rule["message"].as_str().is_some_and(|text| text.len() > 10),
                    "{path}"
                );
            }
        });
    }
    assert!(rules > 40, "{rules} rules");
}

#[test]
fn kinds_have_status_conditions_short_names_and_columns() {
    let crds = crds();
    let kinds: Vec<&str> = crds.iter().map(|crd| crd.kind).collect();
    assert_eq!(kinds, crate::kinds::KINDS);
    let written = crds.iter().filter(|crd| crd.kind != "AccessRequest");
    let written: Vec<_> = written.map(|crd| (crd.kind, crd.plural)).collect();
    assert_eq!(written, crate::kinds::DECIDING);
    for crd in &crds {
        let version = &crd.definition["spec"]["versions"][0];
        assert_eq!(
            format!(
                "{}/{}",
                super::super::GROUP,
                version["name"].as_str().expect("a name")
            ),
            crate::kinds::API_VERSION
        );
        assert_eq!(version["subresources"], json!({"status": {}}));
        let conditions = &crd.schema()["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        assert_eq!(
            conditions["items"]["required"],
            json!(["type", "status", "reason", "message", "lastTransitionTime"])
        );
        assert!(crd.columns().iter().any(|column| column["name"] == "Age"));
    }
    let shorts: Vec<&str> = crds.iter().map(|crd| crd.short).collect();
    assert_eq!(shorts, ["tgt", "dl", "cgp", "gp", "ar", "px", "qt"]);
    let names = |i: usize| {
        let columns = crds[i].columns().iter();
        columns
            .map(|column| column["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(4)[..4], ["Who", "What", "Target", "State"]);
    assert!(names(0).contains(&"Ready".to_owned()) && names(0).contains(&"Reason".to_owned()));
}

fn request() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessRequest",
        "metadata": {"name": "r", "namespace": "billing"},
        "spec": {
            "requester": {"name": "spiffe://x/ns/billing/sa/reporter", "pod": "p"},
            "summary": ["UPDATE public.orders", "about 12 rows", "blind write"],
            "target": "db", "policy": "reporting", "rule": "bulk",
            "statement": "UPDATE public.orders SET a = $1", "parameters": ["1", null],
            "reason": "held", "deadline": "2027-01-01T00:00:00Z", "groups": ["stewards"], "count": 1,
        },
        "status": {
            "phase": "Pending",
            "decisions": [{"approver": "anna", "decision": "Approve", "at": "2027-01-01T00:00:00Z"}],
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "Waiting", "message": "",
                "lastTransitionTime": "2027-01-01T00:00:00Z",
            }],
        },
    })
}

#[test]
fn the_spec_of_an_access_request_cannot_be_changed_and_its_status_can() {
    let crds = crds();
    let old = request();
    let schema = crd(&crds, &old).schema();
    assert_eq!(refusals(schema, &old, None), Vec::<String>::new());
    let mut decided = old.clone();
    decided["status"]["phase"] = json!("Approved");
    assert_eq!(refusals(schema, &decided, Some(&old)), Vec::<String>::new());
    for (field, value) in [
        ("statement", json!("DROP TABLE x")),
        ("count", json!(2)),
        ("parameters", json!([])),
    ] {
        let mut new = old.clone();
        new["spec"][field] = value;
        assert_eq!(
            refusals(schema, &new, Some(&old)),
            ["spec: what is asked for cannot be changed"],
            "{field}"
        );
    }
    let spec = crate::kinds::AccessRequestSpec::deserialize(&old["spec"]).expect("a request");
    assert_eq!(spec.parameters, [Some("1".to_owned()), None]);
    crate::kinds::AccessRequestStatus::deserialize(&old["status"]).expect("a status");
}

#[test]
fn patterns_take_what_the_parsers_take() {
    let agree = |pattern: &str, texts: &[&str], parses: &dyn Fn(&str) -> bool| {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        for text in texts {
            assert_eq!(pattern.is_match(text), parses(text), "`{text}`");
        }
    };
    let spans = [
        "1s",
        "90m",
        "1h30m",
        "1d2h3m4s5ms",
        "0s",
        "15",
        "m",
        "30m1h",
        "1h1h",
        "1.5h",
        "-1s",
        "1 h",
        "1ms2s",
        "s1",
        "1mss",
        "1s\n",
    ];
    agree(patterns::SPAN, &spans, &|text| Span::parse(text).is_some());
    let sizes = [
        "1", "0", "10Mi", "5M", "1k", "1Ki", "Mi", "10 Mi", "10MiB", "1.5Mi", "-1", "1K", "1m",
    ];
    agree(patterns::SIZE, &sizes, &|text| Size::parse(text).is_some());
    let names = [
        "a.b",
        "*.b",
        "a.*",
        "customers",
        "a.b.c",
        "A.b",
        "a.\"B\"",
        "\"a.b\".\"c\"",
        "\"a\"\"b\".c",
        "\"\".c",
        "\"a",
        "a\"b\".c",
        "\"a\"b.c",
        "a.",
        ".b",
        "a b.c",
        "straße.ö",
        "Ö.a",
        "a$_1?.b",
        "a-b.c",
        "",
        "\"\"\"\".a",
    ];
    agree(&patterns::TABLE, &names, &|text| {
        TablePattern::parse(text).is_ok()
    });
    let functions = |text: &str| FunctionPattern::parse(text).is_ok();
    agree(&patterns::FUNCTION, &names, &functions);
    let identifiers = [
        "a",
        "\"SSN #\"",
        "a.b",
        "tax_*",
        "Ssn",
        "",
        "a b",
        "\"a.b\"",
        "ö",
    ];
    agree(&patterns::COLUMN, &identifiers, &|text| {
        Glob::identifier(text).is_ok()
    });
    let resource = ["x", "x-1.y", "a..b", "X", "-x", "x-", "", "x_y", "1"];
    agree(patterns::NAME, &resource, &|name| {
        let policy = json!({"kind": "DataLabel", "metadata": {"name": name},
            "spec": {"columns": [{"target": "db", "table": "a.b", "columns": ["c"]}]}});
        super::said(&policy).is_empty()
    });
    let plurals = [
        "secrets",
        "gad?et-s1",
        "*",
        "",
        "Secret",
        "a.b",
        "a/b",
        "a b",
        "ö",
    ];
    agree(patterns::RESOURCE, &plurals, &|name| {
        let label = json!({"kind": "DataLabel", "metadata": {"name": "x"},
            "spec": {"kubernetes": [{"resource": name, "fields": ["data.*"]}]}});
        super::said(&label).is_empty()
    });
}

#[test]
fn hosts_and_networks_are_those_of_the_compiler() {
    let crds = crds();
    let texts = [
        "a",
        "a.b-c_d",
        "10.0.0.1",
        "fd00::1",
        "[fd00::1]",
        "[10.0.0.1]",
        "a b",
        "",
        "a:b",
        "[a.b]",
        "ä",
        "10.0.0.0/8",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "fd00::/16",
        "fd00::1/16",
        "::/0",
        "0.0.0.0/0",
        "10.0.0.0/x",
        "/8",
        "fd00::/129",
    ];
    for (field, text) in ["host", "cidr"]
        .iter()
        .flat_map(|f| texts.map(|text| (f, text)))
    {
        let target = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "Target", "metadata": {"name": "x"},
            "spec": {"protocol": "PostgreSQL", "addresses": [{*field: text, "port": 1}]}});
        let found = refusals(crd(&crds, &target).schema(), &target, None);
        assert_eq!(
            found.is_empty(),
            super::said(&target).is_empty(),
            "{field} `{text}`: {found:?}"
        );
    }
}

#[test]
fn the_generator_is_deterministic_and_the_reference_has_every_kind() {
    let page = super::super::reference(&crds());
    assert_eq!(page, super::super::reference(&crds()));
    for document in accepted() {
        let kind = document["kind"].as_str().expect("a kind");
        assert!(page.contains(&format!("\n## {kind}\n")), "{kind}");
    }
    assert!(page.contains("| `spec.rules[].approval.count` | integer | `1` |"));
}
