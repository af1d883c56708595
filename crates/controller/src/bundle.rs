//! Which objects are in force, and which of them concern a pod.
//!
//! Pure. Invariants: an object that is wrong never stops another; its last good version stays in
//! force. Where there is none, one that can be read stays as it is, since the compiler closes what it
//! cannot take, and one that cannot be read is left out and says so. What concerns a pod errs on the
//! side of too much; secrets go by what is granted, exactly.
//! Refuses: to remember beyond this process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use weir_api::kinds::{LocalSubjectSpec, NameRef, ServiceRef, SubjectSpec, TargetSpec};
use weir_api::{CompileOptions, Diagnostic, References, Resources, Services, Severity, compile};
use weir_policy::{Glob, Subject, SubjectSelector, Timestamp};

use crate::services::Wanted;
use crate::store::kinds::{Id, Object};

/// Rounds of leaving out what does not compile; each makes the rest smaller.
const ROUNDS: usize = 16;

/// The latest version of an object, or what is wrong with it.
pub(crate) type Latest = (Id, Result<Object, Arc<[Diagnostic]>>);

/// Remembers the last good version of each object.
#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    good: BTreeMap<Id, Object>,
}

/// The objects in force, and what there is to say about each.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// In force, by id.
    pub(crate) objects: Vec<Object>,
    /// Whether the latest version of an object is the one in force, and what its author should
    /// know.
    pub(crate) verdicts: BTreeMap<Id, Verdict>,
}

/// What there is to say about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What keeps its latest version from being in force.
    pub(crate) errors: Vec<Diagnostic>,
    /// In force as far as it goes: what it names and is not there.
    pub(crate) unready: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// An earlier version is in force instead.
    pub(crate) earlier: bool,
}

impl Acceptor {
    /// Decides on the latest versions. `resolve` knows where Services are, `now` is milliseconds
    /// since 1970.
    pub(crate) fn accept(
        &mut self,
        latest: impl IntoIterator<Item = Latest>,
        resolve: impl Fn(&Wanted) -> Vec<SocketAddr>,
        now: Timestamp,
    ) -> Accepted {
        let mut verdicts: BTreeMap<Id, Verdict> = BTreeMap::new();
        let mut force: BTreeMap<Id, Object> = BTreeMap::new();
        let mut fallen = BTreeSet::new();
        for (id, object) in latest {
            let verdict = verdicts.entry(Arc::clone(&id)).or_default();
            match object {
                Ok(object) => _ = force.insert(id, object),
                Err(errors) => {
                    verdict.errors = errors.to_vec();
                    fallen.insert(Arc::clone(&id));
                    if let Some(good) = self.good.get(&id) {
                        force.insert(id, good.clone());
                    }
                }
            }
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for (id, errors) in diagnose(&force, &resolve, now, &mut verdicts) {
                if fallen.insert(Arc::clone(&id))
                    && let Some(verdict) = verdicts.get_mut(&id)
                {
                    verdict.errors = errors;
                }
                let other = |good: &&Object| {
                    let held = force.get(&id);
                    held.is_some_and(|held| !Arc::ptr_eq(&held.manifest, &good.manifest))
                };
                if let Some(good) = self.good.get(&id).filter(other) {
                    force.insert(id, good.clone());
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.good.retain(|id, _| verdicts.contains_key(id));
        for id in &fallen {
            if let Some(verdict) = verdicts.get_mut(id) {
                verdict.earlier = self.good.contains_key(id);
            }
        }
        let good = force.iter().filter(|(id, _)| !fallen.contains(*id));
        self.good
            .extend(good.map(|(id, object)| (Arc::clone(id), object.clone())));
        Accepted {
            objects: force.into_values().collect(),
            verdicts,
        }
    }
}

/// Compiles; the errors by object, while everything else goes to the verdicts.
fn diagnose(
    force: &BTreeMap<Id, Object>,
    resolve: &impl Fn(&Wanted) -> Vec<SocketAddr>,
    now: Timestamp,
    verdicts: &mut BTreeMap<Id, Verdict>,
) -> BTreeMap<Id, Vec<Diagnostic>> {
    let all = merge(force.values());
    let services: Services = wanted(&all)
        .into_iter()
        .map(|one| {
            let addresses = resolve(&one);
            let service = ServiceRef {
                namespace: one.namespace,
                name: one.name,
                port: one.port,
            };
            (service, addresses)
        })
        .collect();
    let options = CompileOptions {
        references: References::Lenient,
        services: Some(services),
        now,
        ..CompileOptions::default()
    };
    let diagnostics = match compile(&all, &options) {
        Ok(compiled) => compiled.diagnostics,
        Err(diagnostics) => diagnostics,
    };
    for verdict in verdicts.values_mut() {
        verdict.unready.clear();
        verdict.warnings.clear();
    }
    let mut errors: BTreeMap<Id, Vec<Diagnostic>> = BTreeMap::new();
    for diagnostic in diagnostics {
        let id = Arc::clone(&diagnostic.file);
        let Some(verdict) = verdicts.get_mut(&id) else {
            tracing::error!(%diagnostic, "a finding of the compiler belongs to no object");
            continue;
        };
        match diagnostic.severity {
            Severity::Error => errors.entry(id).or_default().push(diagnostic),
            Severity::Unready => verdict.unready.push(diagnostic),
            Severity::Warning => verdict.warnings.push(diagnostic),
        }
    }
    errors
}

/// The Service ports that Targets name.
pub(crate) fn wanted(resources: &Resources) -> BTreeSet<Wanted> {
    let addresses = resources
        .targets
        .iter()
        .flat_map(|target| &target.spec.addresses);
    addresses
        .filter_map(|address| address.service.as_ref())
        .map(|service| Wanted {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            port: service.port,
        })
        .collect()
}

fn merge<'a>(objects: impl Iterator<Item = &'a Object>) -> Resources {
    let mut all = Resources::default();
    for object in objects {
        all.merge((*object.parsed).clone());
    }
    all
}

/// What concerns one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Selection {
    /// Positions in [`Accepted::objects`].
    objects: Vec<usize>,
    /// Targets that the pod may use, by position.
    granted: Vec<usize>,
}

impl Accepted {
    /// The objects in force, as one set.
    pub(crate) fn resources(&self) -> Resources {
        merge(self.objects.iter())
    }

    /// The Service ports that Targets name.
    pub(crate) fn services(&self) -> BTreeSet<Wanted> {
        wanted(&self.resources())
    }

    /// What concerns a subject: every Target, so that their addresses are governed, every label,
    /// and the policies and exceptions that select it.
    pub(crate) fn concerning(&self, subject: &Subject) -> Selection {
        let mut selection = Selection::default();
        let mut grants: Vec<Glob> = Vec::new();
        for (at, object) in self.objects.iter().enumerate() {
            let one = &object.parsed;
            let cluster = one.cluster_policies.iter();
            let cluster = cluster.filter(|policy| selects(&policy.spec.subjects, subject));
            let globs = cluster.flat_map(|policy| &policy.spec.targets);
            let before = grants.len();
            grants.extend(globs.map(|text| Glob::free(text)));
            let local = one.policies.iter().any(|policy| {
                policy.metadata.namespace == subject.namespace
                    && selects_locally(&policy.spec.subjects, subject)
            });
            let frees = |exception: &weir_api::Resource<weir_api::kinds::PolicyExceptionSpec>| {
                selects(&exception.spec.subjects, subject)
            };
            let everybody = !one.targets.is_empty() || !one.labels.is_empty();
            if everybody || local || grants.len() > before || one.exceptions.iter().any(frees) {
                selection.objects.push(at);
            }
        }
        for (at, object) in self.objects.iter().enumerate() {
            let mut names = object
                .parsed
                .targets
                .iter()
                .map(|target| &target.metadata.name);
            if names.any(|name| grants.iter().any(|glob| glob.matches(name))) {
                selection.granted.push(at);
            }
        }
        selection
    }

    /// The manifests of a selection.
    pub(crate) fn manifests(&self, selection: &Selection) -> Vec<Value> {
        let objects = selection
            .objects
            .iter()
            .filter_map(|at| self.objects.get(*at));
        objects.map(|object| (*object.manifest).clone()).collect()
    }

    /// The names of Secrets and ConfigMaps that the granted Targets of a selection refer to.
    pub(crate) fn references(&self, selection: &Selection) -> BTreeSet<&str> {
        let granted = selection
            .granted
            .iter()
            .filter_map(|at| self.objects.get(*at));
        let targets = granted.flat_map(|object| &object.parsed.targets);
        targets
            .flat_map(|target| references(&target.spec))
            .collect()
    }

    /// The names that any Target refers to.
    pub(crate) fn all_references(&self) -> BTreeSet<&str> {
        let targets = self
            .objects
            .iter()
            .flat_map(|object| &object.parsed.targets);
        targets
            .flat_map(|target| references(&target.spec))
            .collect()
    }
}

fn references(target: &TargetSpec) -> impl Iterator<Item = &str> {
    let client = target.credentials.client.as_ref();
    let password = client.and_then(|client| client.password.as_ref());
    let catalog = target.catalog.credentials.as_ref();
    let all: [Option<&NameRef>; 4] = [
        target.upstream_tls.ca_ref.as_ref(),
        target.credentials.secret_ref.as_ref(),
        password.and_then(|password| password.secret_ref.as_ref()),
        catalog.and_then(|login| login.secret_ref.as_ref()),
    ];
    all.into_iter()
        .flatten()
        .map(|reference| reference.name.as_str())
}

fn globs(texts: &[String]) -> Vec<Glob> {
    texts.iter().map(|text| Glob::free(text)).collect()
}

fn selects(specs: &[SubjectSpec], subject: &Subject) -> bool {
    specs.iter().any(|spec| {
        let claims = spec.claims.iter();
        let selector = SubjectSelector {
            names: globs(&spec.names),
            namespaces: globs(&spec.namespaces),
            service_accounts: globs(&spec.service_accounts),
            pods: globs(&spec.pods),
            groups: globs(&spec.groups),
            claims: claims
                .map(|(key, text)| (key.clone(), Glob::free(text)))
                .collect(),
        };
        selector.selects(subject)
    })
}

fn selects_locally(specs: &[LocalSubjectSpec], subject: &Subject) -> bool {
    specs.is_empty()
        || specs.iter().any(|spec| {
            let selector = SubjectSelector {
                service_accounts: globs(&spec.service_accounts),
                pods: globs(&spec.pods),
                ..SubjectSelector::default()
            };
            selector.selects(subject)
        })
}

#[cfg(test)]
mod tests;
