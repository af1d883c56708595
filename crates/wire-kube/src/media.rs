//! Media types: what a client accepts, and what a body is.
//!
//! The server negotiates with the first `Accept` header only, by exact and case-sensitive names
//! (`k8s.io/apiserver/pkg/endpoints/handlers/negotiation`), and with `goautoneg`, which knows no quotes.
//! Where objects are to be read on their way they have to come as JSON: [`accept_json`] leaves nothing
//! else to choose.

#[cfg(test)]
mod tests;

/// The longest header and the most alternatives that are read.
const MAX_ACCEPT: usize = 8 * 1024;
const MAX_CLAUSES: usize = 64;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// A client that takes objects in no form that can be given here. The reply is 406.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("objects are passed on as application/json or application/yaml only")]
pub struct NotAcceptable;

/// The `Accept` header to send where the answer has to be JSON: alternatives that are JSON stay, with
/// their parameters (`as`, `g`, `v`, `stream`, `q`) and in their order; wildcards and a missing header
/// become JSON; everything else is dropped. `values` are the header's lines in order. None: the one line
/// that there is can be sent as it is.
///
/// # Errors
/// Where nothing is left.
pub fn accept_json<'a>(
    mut values: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, NotAcceptable> {
    // Further lines are not looked at by the server: they may say anything.
    let Some(first) = values.next().filter(|value| !value.trim().is_empty()) else {
        return Ok(Some(JSON.to_owned()));
    };
    let (mut kept, mut wild) = (Vec::new(), Vec::new());
    let mut changed = values.next().is_some();
    for clause in clauses(first)? {
        let parameters = clause.parameters;
        match clause.range {
            Some(JSON) => kept.push(clause.whole.to_owned()),
            Some("*/*" | "application/*" | "*") => {
                changed = true;
                wild.push(format!("{JSON}{parameters}"));
            }
            _ => changed = true,
        }
    }
    // A wildcard repeats what is already named as JSON with the same parameters.
    for clause in wild {
        if !kept.iter().any(|kept| same(kept, &clause)) {
            kept.push(clause);
        }
    }
    if kept.is_empty() {
        return Err(NotAcceptable);
    }
    Ok(changed.then(|| kept.join(",")))
}

/// The same for a client that takes no JSON, and is answered in YAML that is made of it: alternatives that are
/// YAML become JSON.
///
/// # Errors
/// Where nothing is left.
pub fn accept_yaml<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<String, NotAcceptable> {
    let first = values.next().unwrap_or_default();
    let yaml = clauses(first)?.into_iter();
    let yaml = yaml.filter(|clause| clause.range == Some(YAML));
    let kept: Vec<String> = yaml
        .map(|clause| format!("{JSON}{}", clause.parameters))
        .collect();
    match kept.is_empty() {
        true => Err(NotAcceptable),
        false => Ok(kept.join(",")),
    }
}

/// One alternative of a line.
struct Clause<'a> {
    whole: &'a str,
    /// Its media range, where every reader takes it the same way.
    range: Option<&'a str>,
    /// What follows that, from the first semicolon on.
    parameters: &'a str,
}

fn clauses(line: &str) -> Result<Vec<Clause<'_>>, NotAcceptable> {
    if line.len() > MAX_ACCEPT || line.split(',').count() > MAX_CLAUSES {
        return Err(NotAcceptable);
    }
    let clauses = line.split(',').map(str::trim).map(|whole| {
        let (range, parameters) = whole.split_at(whole.find(';').unwrap_or(whole.len()));
        let plain = whole
            .bytes()
            .all(|b| matches!(b, b' ' | b'!'..=b'~') && !matches!(b, b'"' | b'\\'));
        Clause {
            whole,
            range: plain.then(|| range.trim()),
            parameters,
        }
    });
    Ok(clauses.collect())
}

/// Whether two alternatives differ in their quality only.
fn same(a: &str, b: &str) -> bool {
    let parameters = |clause: &str| -> Vec<String> {
        clause
            .split(';')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.starts_with("q="))
            .collect()
    };
    parameters(a) == parameters(b)
}

/// What the body of a request is, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// `application/json`, and what the server takes for it: no type at all.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
    /// `application/cbor`.
    Cbor,
    /// `application/json-patch+json`, RFC 6902.
    JsonPatch,
    /// `application/merge-patch+json`, RFC 7386.
    MergePatch,
    /// `application/strategic-merge-patch+json`.
    StrategicPatch,
    /// `application/apply-patch+yaml`.
    ApplyYaml,
    /// `application/apply-patch+cbor`.
    ApplyCbor,
    /// Anything else, which the server refuses as a body of an object.
    Other,
}

impl BodyKind {
    /// Whether it is a server-side apply.
    #[must_use]
    pub fn applies(self) -> bool {
        matches!(self, BodyKind::ApplyYaml | BodyKind::ApplyCbor)
    }
}

/// The kind of a body with this `Content-Type`; None: the header is missing.
pub fn body_kind(content_type: Option<&str>) -> BodyKind {
    let content_type = content_type.unwrap_or_default();
    let range = content_type.split(';').next().unwrap_or_default().trim();
    match range.to_ascii_lowercase().as_str() {
        "" if content_type.trim().is_empty() => BodyKind::Json,
        JSON => BodyKind::Json,
        "application/yaml" => BodyKind::Yaml,
        "application/vnd.kubernetes.protobuf" => BodyKind::Protobuf,
        "application/cbor" => BodyKind::Cbor,
        "application/json-patch+json" => BodyKind::JsonPatch,
        "application/merge-patch+json" => BodyKind::MergePatch,
        "application/strategic-merge-patch+json" => BodyKind::StrategicPatch,
        "application/apply-patch+yaml" => BodyKind::ApplyYaml,
        "application/apply-patch+cbor" => BodyKind::ApplyCbor,
        _ => BodyKind::Other,
    }
}
