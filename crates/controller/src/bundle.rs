//! Which objects are in force, and what of them concerns a pod.
//!
//! Pure. Invariants: an object that is wrong never stops another; its last version that was right
//! stays in force, and where there is none the compiler keeps of it what refuses and nothing that
//! grants. Logins and certificates go by what is granted, exactly.
//! Refuses: to remember beyond this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use weir_api::kinds::{NameRef, ServiceRef, TargetSpec};
use weir_api::{
    CompileOptions, Diagnostic, References, Resources, Services, Severity, compile, concerning,
    granted_objects,
};
use weir_policy::{Bundle, Subject, Timestamp};
use weir_uplink::control::ResolvedService;

use crate::store::kinds::{Held, Id, Object};

/// The latest version of an object.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    pub(crate) id: Id,
    pub(crate) generation: Option<i64>,
    /// What was read, or what is wrong with it.
    pub(crate) object: Result<Object, Arc<[Diagnostic]>>,
}

impl From<&Held> for Latest {
    fn from(held: &Held) -> Self {
        Self {
            id: Arc::clone(&held.id),
            generation: held.generation,
            object: held.object.clone(),
        }
    }
}

/// Remembers the last good version of each object.
#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    good: BTreeMap<Id, Object>,
}

/// The objects in force, and what there is to say about each.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// In force. The origin of each is called as its id.
    pub(crate) resources: Resources,
    /// By id.
    pub(crate) verdicts: BTreeMap<Id, Verdict>,
    bundle: Option<Bundle>,
    /// The lengths of all windows, in milliseconds.
    windows: BTreeSet<u64>,
    /// What the snapshots are equal by.
    manifests: Vec<Arc<Value>>,
}

/// What there is to say about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Which version it is about.
    pub(crate) generation: Option<i64>,
    /// What keeps its latest version from being in force.
    pub(crate) errors: Vec<Diagnostic>,
    /// An earlier version is in force instead.
    pub(crate) earlier: bool,
    /// What keeps the version in force from being all that it says.
    pub(crate) unready: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Acceptor {
    /// Decides on the latest versions. `services` are the addresses of what Targets name.
    pub(crate) fn accept(
        &mut self,
        latest: impl IntoIterator<Item = Latest>,
        services: &Services,
        now: Timestamp,
    ) -> Accepted {
        let mut verdicts: BTreeMap<Id, Verdict> = BTreeMap::new();
        let mut force: BTreeMap<Id, Object> = BTreeMap::new();
        for Latest {
            id,
            generation,
            object,
        } in latest
        {
            let verdict = verdicts.entry(Arc::clone(&id)).or_default();
            verdict.generation = generation;
            match (object, self.good.get(&id)) {
                (Ok(object), _) => _ = force.insert(id, object),
                (Err(errors), good) => {
                    verdict.errors = errors.to_vec();
                    verdict.earlier = good.is_some();
                    force.extend(good.map(|good| (id, good.clone())));
                }
            }
        }
        let (mut bundle, mut found) = judge(&force, services, now);
        let mut replaced = false;
        for (id, errors) in &found.errors {
            let (Some(verdict), Some(object)) = (verdicts.get_mut(id), force.get_mut(id)) else {
                continue;
            };
            verdict.errors.clone_from(errors);
            if let Some(good) = self.good.get(id).filter(|good| !same(good, object)) {
                *object = good.clone();
                verdict.earlier = true;
                replaced = true;
            }
        }
        if replaced {
            (bundle, found) = judge(&force, services, now);
        }
        for (id, verdict) in &mut verdicts {
            verdict.unready = found.unready.remove(id).unwrap_or_default();
            verdict.warnings = found.warnings.remove(id).unwrap_or_default();
        }
        self.good.retain(|id, _| verdicts.contains_key(id));
        let right = force
            .iter()
            .filter(|(id, _)| !found.errors.contains_key(*id));
        self.good
            .extend(right.map(|(id, object)| (Arc::clone(id), object.clone())));
        let resources = merge(force.values());
        Accepted {
            windows: windows(&resources),
            resources,
            verdicts,
            bundle,
            manifests: force.into_values().map(|object| object.manifest).collect(),
        }
    }

    /// Every Service that a Target names, in its latest or its last good version.
    pub(crate) fn services(&self, latest: &[Latest]) -> BTreeSet<ServiceRef> {
        let latest = latest.iter().filter_map(|one| one.object.as_ref().ok());
        let targets = latest
            .chain(self.good.values())
            .flat_map(|object| &object.parsed.targets);
        let addresses = targets.flat_map(|target| &target.spec.addresses);
        addresses
            .filter_map(|address| address.service.clone())
            .collect()
    }
}

fn same(one: &Object, other: &Object) -> bool {
    Arc::ptr_eq(&one.manifest, &other.manifest)
}

/// Diagnostics by object.
#[derive(Default)]
struct Found {
    errors: BTreeMap<Id, Vec<Diagnostic>>,
    unready: BTreeMap<Id, Vec<Diagnostic>>,
    warnings: BTreeMap<Id, Vec<Diagnostic>>,
}

fn judge(
    force: &BTreeMap<Id, Object>,
    services: &Services,
    now: Timestamp,
) -> (Option<Bundle>, Found) {
    let options = CompileOptions {
        references: References::Lenient,
        services: Some(services.clone()),
        now,
        ..CompileOptions::default()
    };
    let (bundle, diagnostics) = match compile(&merge(force.values()), &options) {
        Ok(compiled) => (Some(compiled.bundle), compiled.diagnostics),
        Err(diagnostics) => (None, diagnostics),
    };
    let mut found = Found::default();
    for diagnostic in diagnostics {
        if !force.contains_key(&diagnostic.file) {
            tracing::error!(%diagnostic, "the compiler blames no object");
            continue;
        }
        let list = match diagnostic.severity {
            Severity::Error => &mut found.errors,
            Severity::Unready => &mut found.unready,
            Severity::Warning => &mut found.warnings,
        };
        let id = Arc::clone(&diagnostic.file);
        list.entry(id).or_default().push(diagnostic);
    }
    (bundle, found)
}

fn merge<'a>(objects: impl Iterator<Item = &'a Object>) -> Resources {
    let mut all = Resources::default();
    for object in objects {
        all.merge((*object.parsed).clone());
    }
    all
}

/// The lengths of the windows over which policies count, in milliseconds.
fn windows(resources: &Resources) -> BTreeSet<u64> {
    let cluster = resources.cluster_policies.iter().map(|one| &one.spec.rules);
    let local = resources.policies.iter().map(|one| &one.spec.rules);
    let limits = cluster
        .chain(local)
        .flatten()
        .filter_map(|rule| rule.limits.as_ref());
    let windows = limits.filter_map(|limits| limits.window);
    windows
        .map(|window| u64::try_from(window.per.0.as_millis()).unwrap_or(u64::MAX))
        .collect()
}

impl Accepted {
    /// Whether some policy counts over a window of that length.
    pub(crate) fn counts_over(&self, per_ms: u64) -> bool {
        self.windows.contains(&per_ms)
    }

    /// What was compiled from it, if it could be.
    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// Whether the same is in force.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.manifests == other.manifests
    }

    /// Whether policies tell pods of one service account apart.
    pub(crate) fn knows_pods(&self) -> bool {
        let all = &self.resources;
        let cluster = all
            .cluster_policies
            .iter()
            .flat_map(|one| &one.spec.subjects);
        let exceptions = all.exceptions.iter().flat_map(|one| &one.spec.subjects);
        let quarantines = all.quarantines.iter().flat_map(|one| &one.spec.subjects);
        let mut local = all.policies.iter().flat_map(|one| &one.spec.subjects);
        cluster
            .chain(exceptions)
            .chain(quarantines)
            .any(|subject| !subject.pods.is_empty())
            || local.any(|subject| !subject.pods.is_empty())
    }

    /// Whether a Target in force names a Service.
    pub(crate) fn names(&self, service: &ResolvedService) -> bool {
        let targets = self.resources.targets.iter();
        let mut addresses = targets.flat_map(|target| &target.spec.addresses);
        addresses.any(|address| {
            address.service.as_ref().is_some_and(|named| {
                named.namespace == service.namespace
                    && named.name == service.name
                    && named.port == service.port
            })
        })
    }

    /// The manifests of what concerns a subject.
    pub(crate) fn manifests(&self, subject: &Subject) -> Result<Vec<Value>, serde_json::Error> {
        concerning(&self.resources, subject).manifests()
    }

    /// The names of Secrets and ConfigMaps that Targets granted to a subject refer to.
    pub(crate) fn references(&self, subject: &Subject) -> BTreeSet<String> {
        let bundle = self.bundle.as_ref();
        bundle
            .map(|bundle| granted_objects(bundle, subject))
            .unwrap_or_default()
    }

    /// The names that any Target refers to.
    pub(crate) fn all_references(&self) -> BTreeSet<&str> {
        let targets = self.resources.targets.iter();
        targets
            .flat_map(|target| references(&target.spec))
            .collect()
    }
}

fn references(target: &TargetSpec) -> impl Iterator<Item = &str> {
    let client = target.credentials.client.as_ref();
    let password = client.and_then(|client| client.password.as_ref());
    let catalog = target.catalog.credentials.as_ref();
    let all: [Option<&NameRef>; 5] = [
        target.upstream_tls.ca_ref.as_ref(),
        target.credentials.secret_ref.as_ref(),
        password.and_then(|password| password.secret_ref.as_ref()),
        catalog.and_then(|login| login.secret_ref.as_ref()),
        target
            .ssh
            .as_ref()
            .and_then(|ssh| ssh.known_hosts_ref.as_ref()),
    ];
    all.into_iter()
        .flatten()
        .map(|reference| reference.name.as_str())
}

#[cfg(test)]
mod tests;
