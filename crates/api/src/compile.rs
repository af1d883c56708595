//! Resources to a bundle, and to everything that is wrong with them.
//!
//! One compiler for the controller, the sidecar and standalone. Errors: what is contradictory, can
//! never apply, loosens where it may only tighten, or is not enforced by this version. Warnings:
//! what works, but perhaps not as its author thinks. A name of another object that is not there is
//! an error where the set is complete ([`References::Strict`]); in a cluster, where the other object
//! may come later, it leaves the object in force as far as it goes ([`References::Lenient`]).
//!
//! Under `Lenient` nothing stops the compiler, and what is dropped never widens access: an invalid
//! policy that restricts refuses everything that it selects, an invalid Target keeps its addresses
//! and refuses them, an invalid DataLabel keeps the columns that can be read, an invalid
//! PolicyException loosens nothing, an invalid Quarantine cuts off whom it names.

mod exception;
mod label;
mod names;
mod policy;
mod quarantine;
mod report;
mod rule;
mod target;

use std::collections::BTreeMap;

use weir_policy::{Bundle, BundleBuilder, Label, Mask, Places, Target, Timestamp};

use crate::diagnostic::{Diagnostic, Reason, Severity};
use crate::kinds::{DataLabelSpec, ServiceRef, TargetSpec};
use crate::load::{Resource, Resources};

use names::{check_name, names, target_glob, target_globs, unique};
pub(crate) use policy::{cluster_subjects, local_subjects};
pub(crate) use report::Report;

/// What the compiler has to know besides the resources.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// The revision of the bundle; grows with every swap.
    pub revision: u64,
    /// What a name of another object that is not there means.
    pub references: References,
    /// Where the Services are that Targets name; none where nobody can resolve one.
    pub services: Option<Services>,
    /// The time, which exceptions that are over are judged by.
    pub now: Timestamp,
}

/// The places that lead to Services.
pub type Services = BTreeMap<ServiceRef, Vec<Places>>;

/// What a name of another object that is not there means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// The set is complete: it is an error, and there is no bundle.
    #[default]
    Strict,
    /// The object may come later: this one is in force as far as it goes.
    Lenient,
}

/// A bundle, and what its authors should know.
#[derive(Debug)]
pub struct Compiled {
    /// The bundle.
    pub bundle: Bundle,
    /// Warnings; under [`References::Lenient`] also what is not in force, and why.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles all resources.
///
/// # Errors
/// Under [`References::Strict`] any error: there is no bundle, and the errors come with the
/// warnings. Under [`References::Lenient`] only more objects than a bundle can hold.
pub fn compile(
    resources: &Resources,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut report = Report::new(options.references);
    let targets = compile_targets(resources, options, &mut report);
    let mut labels = compile_labels(resources, &targets, &mut report);
    let policies = policy::compile(resources, &targets, &mut labels, &mut report);
    policy::check_granted(resources, &policies, &mut report);
    let exceptions = exception::compile(resources, &targets, &policies, options.now, &mut report);
    let quarantines = quarantine::compile(resources, &mut report);
    for request in &resources.requests {
        let message = "an AccessRequest is made by Weir and is not read from files";
        report.error(&request.origin, "kind", message);
    }

    let mut builder = BundleBuilder::new();
    for target in targets {
        builder.target(target);
    }
    for label in labels {
        builder.label(label);
    }
    for policy in policies {
        builder.policy(policy);
    }
    for exception in exceptions {
        builder.exception(exception);
    }
    for quarantine in quarantines {
        builder.quarantine(quarantine);
    }
    let mut diagnostics = report.finish();
    let failed = |found: &Diagnostic| found.severity == Severity::Error;
    if options.references == References::Strict && diagnostics.iter().any(failed) {
        return Err(diagnostics);
    }
    match builder.build(options.revision) {
        Ok(bundle) => Ok(Compiled {
            bundle,
            diagnostics,
        }),
        Err(error) => {
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                reason: Reason::Invalid,
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

/// A target that cannot be used keeps its addresses: a connection to it is not for others to judge.
fn compile_targets(
    resources: &Resources,
    options: &CompileOptions,
    report: &mut Report,
) -> Vec<Target> {
    let unique = unique(report, "Target", names(&resources.targets));
    let services = options.services.as_ref();
    let compile = |(resource, unique): (&Resource<TargetSpec>, bool)| {
        let mark = report.mark();
        let mut target = target::compile(resource, services, report);
        if !unique {
            target.refused = Some("another target has its name".to_owned());
        } else if let Some(error) = report.error_since(mark) {
            target.refused = Some(format!("its definition cannot be used: {error}"));
        }
        target
    };
    let targets: Vec<Target> = resources.targets.iter().zip(unique).map(compile).collect();
    target::check_overlaps(&resources.targets, &targets, report);
    targets
}

/// A label that is wrong somewhere hides what it names all the more.
fn compile_labels(resources: &Resources, targets: &[Target], report: &mut Report) -> Vec<Label> {
    let unique = unique(report, "DataLabel", names(&resources.labels));
    let compile = |(resource, unique): (&Resource<DataLabelSpec>, bool)| {
        let mark = report.mark();
        let mut label = label::compile(resource, targets, report);
        if !unique || report.error_since(mark).is_some() {
            label.mask = Mask::Null;
        }
        label
    };
    resources.labels.iter().zip(unique).map(compile).collect()
}
