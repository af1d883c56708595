//! `docs/crds.md`: every field with type, default, meaning and constraint.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Crd, GROUP, VERSION};

/// The reference of all kinds, in Markdown.
pub fn reference(crds: &[Crd]) -> String {
    let mut page = format!(
        "<!-- Generated from the types in crates/api by `make generated`. Do not edit. -->\n\
         # Resources: `{GROUP}/{VERSION}`\n\n\
         Every field of every kind, as the API server of a cluster checks it. What the fields mean \
         together is in [policy.md](policy.md).\n\n\
         - **Required** fields are marked `*`. A field without a default may be left out and then \
         means nothing, an empty list, or what its description says.\n\
         - `[]` is an entry of a list, `.*` a value of a map.\n\
         - Lengths and numbers of entries are bounded in a cluster only: files of standalone are \
         bounded as a whole (4 MiB).\n\
         - What needs another object (a Target that does not exist, a label that lies nowhere) is no \
         part of the schema: the controller refuses it, or reports it in `status.conditions`.\n\n\
         | kind | short name | scope | URL name |\n|---|---|---|---|\n"
    );
    for crd in crds {
        let scope = if crd.namespaced {
            "namespace"
        } else {
            "cluster"
        };
        let (kind, anchor) = (crd.kind, crd.kind.to_lowercase());
        _ = writeln!(
            page,
            "| [{kind}](#{anchor}) | `{}` | {scope} | `{}` |",
            crd.short,
            crd.name()
        );
    }
    page.push_str("\n`kubectl get weir` lists all kinds.\n");
    for crd in crds {
        kind(crd, &mut page);
    }
    page
}

fn kind(crd: &Crd, page: &mut String) {
    let about = text(crd.schema(), "description");
    let columns: Vec<String> = crd
        .columns()
        .iter()
        .map(|column| {
            let wide = column.get("priority").is_some();
            format!(
                "{}{}",
                text(column, "name"),
                if wide { " (wide)" } else { "" }
            )
        })
        .collect();
    _ = write!(
        page,
        "\n## {}\n\n{about}\n\nColumns of `kubectl get {}`: {}.\n\n\
         | field | type | default | description | constraint |\n|---|---|---|---|---|\n",
        crd.kind,
        crd.short,
        columns.join(", ")
    );
    for part in ["spec", "status"] {
        if let Some(schema) = crd.schema().pointer(&format!("/properties/{part}")) {
            fields(part, schema, part == "spec", page);
        }
    }
}

/// The row of a field, then those of what is in it.
fn fields(path: &str, schema: &Value, required: bool, page: &mut String) {
    let default = schema
        .get("default")
        .map_or(String::new(), |default| format!("`{default}`"));
    _ = writeln!(
        page,
        "| `{path}`{} | {} | {default} | {} | {} |",
        if required { " *" } else { "" },
        type_of(schema),
        cell(text(schema, "description")),
        cell(&constraints(schema).join("; ")),
    );
    below(path, schema, page);
}

fn below(path: &str, schema: &Value, page: &mut String) {
    let needed = |name: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|entry| entry == name))
    };
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.unwrap_or(&empty) {
        fields(&format!("{path}.{name}"), property, needed(name), page);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        let Some(inner) = schema.get(keyword) else {
            continue;
        };
        let path = format!("{path}{suffix}");
        // an entry is worth a row of its own only if there is something to say about it
        let known = ["maxLength 253".to_owned()];
        let constraints = constraints(inner);
        if inner.get("description").is_some() || !constraints.iter().all(|c| known.contains(c)) {
            fields(&path, inner, false, page);
        } else {
            below(&path, inner, page);
        }
    }
}

fn type_of(schema: &Value) -> String {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".to_owned();
    }
    let kind = text(schema, "type");
    match (
        kind,
        schema.get("items"),
        schema.get("additionalProperties"),
    ) {
        ("array", Some(items), _) => format!("list of {}", type_of(items)),
        ("object", _, Some(values)) => format!("map to {}", type_of(values)),
        _ => kind.to_owned(),
    }
}

fn constraints(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        let names: Vec<String> = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"))
            .collect();
        found.push(format!("one of {}", names.join(", ")));
    }
    for keyword in [
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
    ] {
        if let Some(bound) = schema.get(keyword) {
            found.push(format!("{keyword} {bound}"));
        }
    }
    for keyword in ["pattern", "format"] {
        let value = text(schema, keyword);
        if !value.is_empty() && !value.starts_with("int") {
            found.push(format!("{keyword} `{value}`"));
        }
    }
    if schema.get("nullable").is_some() {
        found.push("may be null".to_owned());
    }
    let keys = schema.get("x-kubernetes-list-map-keys");
    if let Some(key) = keys.and_then(|keys| keys.get(0)).and_then(Value::as_str) {
        found.push(format!("`{key}` is unique"));
    }
    let rules = schema.get("x-kubernetes-validations");
    let rules = rules.and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        found.push(format!("refused: {}", text(rule, "message")));
    }
    found
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

/// Text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", " ")
}
