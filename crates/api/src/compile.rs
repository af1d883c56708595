//! Resources to a bundle, or to everything that is wrong with them.
//!
//! One compiler for the controller and for standalone. Errors: what is unknown, contradictory, can
//! never apply, loosens where it may only tighten, or is not enforced by this version. Warnings:
//! what works, but perhaps not as its author thinks.

mod label;
mod policy;
mod rule;
mod target;

use std::collections::BTreeMap;

use weir_policy::{Bundle, BundleBuilder, Glob, Label, Target};

use crate::diagnostic::{Diagnostic, Severity};
use crate::kinds::Metadata;
use crate::load::{Resources, at};
use crate::tree::Origin;

/// What the compiler has to know besides the resources.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// The revision of the bundle; grows with every swap.
    pub revision: u64,
}

/// A bundle, and what its authors should know.
#[derive(Debug)]
pub struct Compiled {
    /// The bundle.
    pub bundle: Bundle,
    /// Warnings only.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles all resources. With any error there is no bundle; the errors come with the warnings.
pub fn compile(
    resources: &Resources,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut report = Report::default();
    unique(&mut report, "Target", names(&resources.targets));
    unique(&mut report, "DataLabel", names(&resources.labels));
    unique(
        &mut report,
        "ClusterGuardPolicy",
        names(&resources.cluster_policies),
    );
    unique(&mut report, "GuardPolicy", names(&resources.policies));

    let targets: Vec<Target> = resources
        .targets
        .iter()
        .map(|resource| target::compile(resource, &mut report))
        .collect();
    target::check_overlaps(&resources.targets, &targets, &mut report);
    let mut labels: Vec<Label> = resources
        .labels
        .iter()
        .map(|resource| label::compile(resource, &targets, &mut report))
        .collect();
    let policies = policy::compile(resources, &targets, &mut labels, &mut report);
    policy::check_granted(resources, &policies, &mut report);
    refuse_unsupported(resources, &mut report);

    let mut builder = BundleBuilder::new();
    targets
        .into_iter()
        .for_each(|target| _ = builder.target(target));
    labels
        .into_iter()
        .for_each(|label| _ = builder.label(label));
    policies
        .into_iter()
        .for_each(|policy| _ = builder.policy(policy));
    let mut diagnostics = report.diagnostics;
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(diagnostics);
    }
    match builder.build(options.revision) {
        Ok(bundle) => Ok(Compiled {
            bundle,
            warnings: diagnostics,
        }),
        Err(error) => {
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                file: "".into(),
                line: 0,
                column: 0,
                field: String::new(),
                message: error.to_string(),
                suggestion: None,
            });
            Err(diagnostics)
        }
    }
}

fn refuse_unsupported(resources: &Resources, report: &mut Report) {
    for request in &resources.requests {
        let message = "an AccessRequest is made by Weir and is not read from files";
        report.error(&request.origin, "kind", message);
    }
    for exception in &resources.exceptions {
        report.unenforced(&exception.origin, "kind", "PolicyException");
    }
}

/// Collects findings.
#[derive(Debug, Default)]
struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    fn error(&mut self, origin: &Origin, field: &str, message: impl Into<String>) {
        self.diagnostics
            .push(at(origin, field, Severity::Error, message.into(), None));
    }

    fn warning(&mut self, origin: &Origin, field: &str, message: impl Into<String>) {
        self.diagnostics
            .push(at(origin, field, Severity::Warning, message.into(), None));
    }

    fn error_with(
        &mut self,
        origin: &Origin,
        field: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        self.diagnostics.push(at(
            origin,
            field,
            Severity::Error,
            message.into(),
            suggestion,
        ));
    }

    /// The schema can say it, this version cannot do it.
    fn unenforced(&mut self, origin: &Origin, field: &str, what: &str) {
        self.error(
            origin,
            field,
            format!("{what} is not enforced by this version of Weir"),
        );
    }
}

fn names<S>(resources: &[crate::load::Resource<S>]) -> Vec<(&Metadata, &Origin)> {
    resources
        .iter()
        .map(|resource| (&resource.metadata, &resource.origin))
        .collect()
}

/// Names are present, well formed and used once.
fn unique(report: &mut Report, kind: &str, resources: Vec<(&Metadata, &Origin)>) {
    let mut seen: BTreeMap<(&Option<String>, &str), &Origin> = BTreeMap::new();
    for (metadata, origin) in resources {
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
    }
}

/// Names as Kubernetes takes them: lower-case letters, digits, `-` and `.`.
fn check_name(report: &mut Report, origin: &Origin, field: &str, name: &str) {
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
fn target_globs(
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

fn target_glob(
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
        report.error_with(
            origin,
            field,
            format!("no Target is called `{text}`"),
            suggestion,
        );
    }
    glob
}
