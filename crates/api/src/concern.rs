//! What of all resources concerns one subject: what its engine is told, and nothing else.
//!
//! Invariant: on every target, a bundle of what concerns a subject decides for that subject as a
//! bundle of everything does. Every Target stays, since a connection to one that no policy grants
//! must be refused and not relayed; how Weir logs in to it stays only where it is granted.

use std::collections::BTreeSet;

use weir_policy::{
    Bundle, ClientLogin, ClientTls, Credentials, Glob, Login, Protocol, Source, Subject,
    SubjectSelector, Target,
};

use crate::compile::{References, Report, cluster_subjects, local_subjects};
use crate::kinds::{
    CatalogSpec, CredentialMode, CredentialsSpec, DataLabelSpec, RuleSpec, TargetSpec,
    UpstreamTlsSpec,
};
use crate::load::{Resource, Resources};

/// Policies, exceptions and quarantines that select the subject, every Target, and the DataLabels that lie on
/// the targets of those policies or that their rules name.
pub fn concerning(resources: &Resources, subject: &Subject) -> Resources {
    // What is wrong with a selector is the compiler's to say.
    let mut report = Report::new(References::Lenient);
    let selected =
        |selectors: Vec<SubjectSelector>| selectors.iter().any(|one| one.selects(subject));
    let mut kept = Resources::default();
    for policy in &resources.cluster_policies {
        let subjects = cluster_subjects(&policy.spec.subjects, &policy.origin, &mut report);
        if selected(subjects) {
            kept.cluster_policies.push(policy.clone());
        }
    }
    for policy in &resources.policies {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let subjects = local_subjects(
            namespace,
            &policy.spec.subjects,
            &policy.origin,
            &mut report,
        );
        if selected(subjects) {
            kept.policies.push(policy.clone());
        }
    }
    for exception in &resources.exceptions {
        let subjects = cluster_subjects(&exception.spec.subjects, &exception.origin, &mut report);
        if selected(subjects) {
            kept.exceptions.push(exception.clone());
        }
    }
    for quarantine in &resources.quarantines {
        let subjects = cluster_subjects(&quarantine.spec.subjects, &quarantine.origin, &mut report);
        if selected(subjects) {
            kept.quarantines.push(quarantine.clone());
        }
    }
    let granted = globs(
        kept.cluster_policies
            .iter()
            .map(|policy| &policy.spec.targets),
    );
    let mut meant = granted.clone();
    meant.extend(globs(
        kept.policies.iter().map(|policy| &policy.spec.targets),
    ));
    kept.targets = resources.targets.clone();
    for target in &mut kept.targets {
        if !names(&granted, &target.metadata.name) {
            strip(&mut target.spec);
        }
    }
    let rules = kept
        .cluster_policies
        .iter()
        .flat_map(|policy| &policy.spec.rules)
        .chain(kept.policies.iter().flat_map(|policy| &policy.spec.rules));
    let named = globs(rules.map(|rule: &RuleSpec| &rule.matches.labels));
    let on: Vec<&str> = resources
        .targets
        .iter()
        .map(|target| target.metadata.name.as_str())
        .filter(|name| names(&meant, name))
        .collect();
    let labels = resources.labels.iter().cloned();
    kept.labels = labels.filter(|label| matters(label, &on, &named)).collect();
    kept
}

/// The objects in Weir's own namespace, by name, that the targets which are granted to the subject
/// refer to: logins, placeholders, CAs.
pub fn granted_objects(bundle: &Bundle, subject: &Subject) -> BTreeSet<String> {
    let objects = |target: &Target| {
        let mut objects = Vec::new();
        let mut source = |source: &Source| match source {
            Source::Ref(name) => objects.push(name.clone()),
            Source::File(_) => {}
        };
        target.upstream_tls.ca.iter().for_each(&mut source);
        target.ssh.known_hosts.iter().for_each(&mut source);
        if let Credentials::Brokered { login, client } = &target.credentials {
            if let ClientLogin::Password(password) = client {
                source(password);
            }
            if let Login::Ref(name) | Login::Token(Source::Ref(name)) = login {
                objects.push(name.clone());
            }
        }
        if let Some(Login::Ref(name)) = &target.catalog.login {
            objects.push(name.clone());
        }
        objects
    };
    bundle.granted(subject).flat_map(objects).collect()
}

/// Whether a label lies on one of these targets, or is named and found by value.
fn matters(label: &Resource<DataLabelSpec>, on: &[&str], named: &[Glob]) -> bool {
    let lies_on = |glob: Glob| on.iter().any(|name| glob.matches(name));
    let mut entries = label.spec.columns.iter();
    let by_value = !label.spec.detectors.is_empty() || !label.spec.patterns.is_empty();
    let mut fields = label.spec.kubernetes.iter();
    entries.any(|entry| entry.target.as_deref().map(Glob::free).is_none_or(lies_on))
        || fields.any(|entry| entry.target.as_deref().map(Glob::free).is_none_or(lies_on))
        || (by_value && names(named, &label.metadata.name))
}

/// How Weir connects and logs in, taken away; what clients see of the target stays.
fn strip(spec: &mut TargetSpec) {
    spec.client_tls.get_or_insert(match spec.credentials.mode {
        _ if spec.protocol == Protocol::Kubernetes => ClientTls::Offer,
        CredentialMode::PassThrough => ClientTls::Refuse,
        CredentialMode::Brokered => ClientTls::Offer,
    });
    spec.credentials = CredentialsSpec::default();
    spec.upstream_tls = UpstreamTlsSpec::default();
    spec.catalog = CatalogSpec::default();
}

fn globs<'a>(lists: impl Iterator<Item = &'a Vec<String>>) -> Vec<Glob> {
    lists.flatten().map(|text| Glob::free(text)).collect()
}

fn names(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}
