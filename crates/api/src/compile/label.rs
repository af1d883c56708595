//! `DataLabel` to [`weir_policy::Label`].

use weir_policy::{Glob, Label, LabelledColumns, LabelledField, Mask, TablePattern, Target};

use super::names::check_resource;
use super::{Report, target_glob};
use crate::diagnostic::suggest;
use crate::kinds::{ColumnsSpec, DataLabelSpec, KubernetesFieldsSpec, MaskSpec};
use crate::load::Resource;
use crate::tree::Origin;

pub(super) fn compile(
    resource: &Resource<DataLabelSpec>,
    targets: &[Target],
    report: &mut Report,
) -> Label {
    let (spec, origin) = (&resource.spec, &resource.origin);
    let by_value = !spec.detectors.is_empty() || !spec.patterns.is_empty();
    if spec.columns.is_empty() && spec.kubernetes.is_empty() && !by_value {
        report.error(
            origin,
            "spec",
            "labels nothing: no columns, fields, detectors or patterns",
        );
    }
    if !spec.patterns.is_empty() {
        report.unenforced(origin, "spec.patterns", "detection by an own pattern");
    }
    for (i, detector) in spec.detectors.iter().enumerate() {
        if !detectors().any(|known| known == detector) {
            let field = format!("spec.detectors[{i}]");
            let known = suggest(detector, detectors());
            report.error_with(
                origin,
                &field,
                format!("no detector is called `{detector}`"),
                known,
            );
        }
    }
    let mut columns = Vec::new();
    for (i, entry) in spec.columns.iter().enumerate() {
        let field = format!("spec.columns[{i}]");
        let target = match &entry.target {
            Some(name) => target_glob(report, origin, &format!("{field}.target"), name, targets),
            None => {
                report.error(origin, &field, "field `target` is missing");
                continue;
            }
        };
        columns.extend(compile_columns(entry, &[target], &field, origin, report));
    }
    let mut fields = Vec::new();
    for (i, entry) in spec.kubernetes.iter().enumerate() {
        let field = format!("spec.kubernetes[{i}]");
        fields.extend(compile_fields(entry, &field, origin, targets, report));
    }
    Label {
        fields,
        name: resource.metadata.name.clone(),
        anonymous: false,
        mask: spec
            .mask
            .as_ref()
            .and_then(|mask| compile_mask(mask, "spec.mask", origin, report))
            .unwrap_or(Mask::Null),
        columns,
        detectors: spec
            .detectors
            .iter()
            .filter(|name| detectors().any(|known| known == *name))
            .cloned()
            .collect(),
        patterns: spec
            .patterns
            .iter()
            .map(|pattern| pattern.regex.clone())
            .collect(),
        honey: spec.honey,
    }
}

/// Fields of Kubernetes objects of one entry.
fn compile_fields(
    entry: &KubernetesFieldsSpec,
    field: &str,
    origin: &Origin,
    targets: &[Target],
    report: &mut Report,
) -> Vec<LabelledField> {
    let target = match &entry.target {
        Some(name) => target_glob(report, origin, &format!("{field}.target"), name, targets),
        None => Glob::free("*"),
    };
    check_resource(
        report,
        origin,
        &format!("{field}.resource"),
        &entry.resource,
    );
    if entry.fields.is_empty() {
        report.error(origin, &format!("{field}.fields"), "names no field");
    }
    for (i, text) in entry.fields.iter().enumerate() {
        if let Err(error) = weir_wire_kube::FieldPattern::parse(text) {
            report.error(origin, &format!("{field}.fields[{i}]"), error);
        }
    }
    let labelled = |text: &String| LabelledField {
        target: target.clone(),
        group: Glob::free(&entry.group),
        resource: Glob::free(&entry.resource),
        field: text.clone(),
    };
    entry.fields.iter().map(labelled).collect()
}

fn detectors() -> impl Iterator<Item = &'static str> {
    weir_detect::Kind::ALL.iter().map(|kind| kind.name())
}

/// Columns of one entry, for each of the targets.
pub(super) fn compile_columns(
    entry: &ColumnsSpec,
    targets: &[Glob],
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Vec<LabelledColumns> {
    let table = match TablePattern::parse(&entry.table) {
        Ok(table) => table,
        Err(error) => {
            report.error(origin, &format!("{field}.table"), error.to_string());
            return Vec::new();
        }
    };
    if entry.columns.is_empty() {
        report.error(origin, &format!("{field}.columns"), "names no column");
    }
    let mut labelled = Vec::new();
    for (i, text) in entry.columns.iter().enumerate() {
        let field = format!("{field}.columns[{i}]");
        let (name, path) = split_path(text);
        if let Some(path) = path {
            let message = format!(
                "`{path}` is a part of a document: the whole column `{name}` is labelled, since \
                 parts are not told apart"
            );
            report.warning(origin, &field, message);
        }
        match Glob::identifier(name) {
            Ok(column) => labelled.extend(targets.iter().map(|target| LabelledColumns {
                target: target.clone(),
                table: table.clone(),
                column: column.clone(),
            })),
            Err(error) => report.error(origin, &field, error.to_string()),
        }
    }
    labelled
}

/// Splits `column->path` and `column//path` at the first arrow or slashes outside quotes.
fn split_path(text: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        quoted ^= c == '"';
        let (name, rest) = text.split_at(i);
        if !quoted && (rest.starts_with("->") || rest.starts_with("//")) {
            return (name.trim_end(), Some(rest));
        }
    }
    (text, None)
}

pub(super) fn compile_mask(
    spec: &MaskSpec,
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Option<Mask> {
    let mut masks = Vec::new();
    masks.extend(spec.nullify.map(|_| Mask::Null));
    masks.extend(spec.constant.clone().map(Mask::Constant));
    masks.extend(spec.token.map(|_| Mask::Token));
    masks.extend(spec.partial.map(|partial| Mask::Partial {
        keep_first: partial.keep_first,
        keep_last: partial.keep_last,
    }));
    match masks.as_slice() {
        [mask] => Some(mask.clone()),
        _ => {
            let message = "exactly one of `nullify`, `constant`, `token` and `partial` is needed";
            report.error(origin, field, message);
            None
        }
    }
}
