//! Names of objects, and names in objects.

use std::collections::BTreeMap;

use weir_policy::{Glob, Target};

use super::Report;
use crate::diagnostic::Reason;
use crate::kinds::Metadata;
use crate::tree::Origin;

/// What a resource's name must be.
const RESOURCE: &str =
    "is not a plural in lower case, such as `secrets`: group and subresource stand apart";

pub(super) fn names<S>(resources: &[crate::load::Resource<S>]) -> Vec<(&Metadata, &Origin)> {
    resources
        .iter()
        .map(|resource| (&resource.metadata, &resource.origin))
        .collect()
}

/// A resource of the Kubernetes API is called by its plural: any other name would match nothing.
pub(super) fn check_resource(report: &mut Report, origin: &Origin, field: &str, name: &str) {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    if name.is_empty() || !name.chars().all(is_part) {
        report.error(origin, field, RESOURCE);
    }
}

/// Names are present, well formed and used once; false for the objects whose name is not.
pub(super) fn unique(
    report: &mut Report,
    kind: &str,
    resources: Vec<(&Metadata, &Origin)>,
) -> Vec<bool> {
    let mut good = Vec::with_capacity(resources.len());
    let mut seen: BTreeMap<(&Option<String>, &str), &Origin> = BTreeMap::new();
    for (metadata, origin) in resources {
        let mark = report.mark();
        check_name(report, origin, "metadata.name", &metadata.name);
        let namespaced = kind == "GuardPolicy";
        match (&metadata.namespace, namespaced) {
            (Some(_), false) => {
                let message = format!("a {kind} belongs to no namespace");
                report.error(origin, "metadata.namespace", message);
            }
            (None, true) => {
                report.error(
                    origin,
                    "metadata",
                    "field `namespace` is missing: a GuardPolicy belongs to one",
                );
            }
            _ => {}
        }
        match seen.get(&(&metadata.namespace, metadata.name.as_str())) {
            Some(first) => {
                let (line, _) = first.place("metadata.name");
                let message = format!(
                    "another {kind} is called `{}`, in {} line {line}",
                    metadata.name, first.file
                );
                report.error(origin, "metadata.name", message);
            }
            None => _ = seen.insert((&metadata.namespace, &metadata.name), origin),
        }
        good.push(report.error_since(mark).is_none());
    }
    good
}

/// Names as Kubernetes takes them: lower-case letters, digits, `-` and `.`.
pub(super) fn check_name(report: &mut Report, origin: &Origin, field: &str, name: &str) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= 253
        && name.chars().all(plain)
        && name.starts_with(edge)
        && name.ends_with(edge);
    if !good {
        let message =
            format!("`{name}` is not a name: lower-case letters, digits, `-` and `.`, at most 253");
        report.error(origin, field, message);
    }
}

/// Target names and globs of a list, each checked to mean something.
pub(super) fn target_globs(
    report: &mut Report,
    origin: &Origin,
    field: &str,
    list: &[String],
    targets: &[Target],
) -> Vec<Glob> {
    if list.is_empty() {
        report.error(origin, field, "names no target");
    }
    let mut globs = Vec::new();
    for (i, text) in list.iter().enumerate() {
        let field = format!("{field}[{i}]");
        globs.push(target_glob(report, origin, &field, text, targets));
    }
    globs
}

pub(super) fn target_glob(
    report: &mut Report,
    origin: &Origin,
    field: &str,
    text: &str,
    targets: &[Target],
) -> Glob {
    let glob = Glob::free(text);
    if !targets.iter().any(|target| glob.matches(&target.name)) {
        let known = targets.iter().map(|target| target.name.as_str());
        let suggestion = crate::diagnostic::suggest(text, known);
        let message = format!("no Target is called `{text}`");
        report.reference(origin, field, Reason::UnknownTarget, message, suggestion);
    }
    glob
}
