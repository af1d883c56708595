//! The policy in force, from what the controller sends.
//!
//! Invariants: a snapshot is taken whole or not at all, and the last good one stays; each swap has
//! a revision of its own; while everything is suspended, the bundle in force has targets and no
//! policy, so that connections are still recognised and refused in their own protocol.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use weir_api::kinds::ServiceRef;
use weir_api::{CompileOptions, Diagnostic, References, Resources, Services};
use weir_gateway::Unmatched;
use weir_gateway::ports::Policies;
use weir_policy::{Bundle, BundleBuilder};
use weir_uplink::AuditHandle;
use weir_uplink::control::{Settings, Snapshot, UnmatchedSetting};

use crate::adapters::announce;

/// The policy in force.
pub struct SnapshotPolicies {
    audit: AuditHandle,
    in_force: RwLock<InForce>,
}

struct InForce {
    snapshot: Arc<Snapshot>,
    bundle: Arc<Bundle>,
    suspended: Option<Arc<str>>,
    refused: Option<String>,
}

impl SnapshotPolicies {
    /// The first policy.
    ///
    /// # Errors
    /// It does not compile; nothing can be served then.
    pub fn new(snapshot: Snapshot, audit: AuditHandle) -> Result<Self, String> {
        let bundle = Arc::new(compile(&load(&snapshot)?, &snapshot, 1)?);
        announce(&bundle, None, &audit);
        let in_force = InForce {
            snapshot: Arc::new(snapshot),
            bundle,
            suspended: None,
            refused: None,
        };
        Ok(Self {
            audit,
            in_force: RwLock::new(in_force),
        })
    }

    /// Takes a snapshot over; true if the policy in force changed.
    ///
    /// # Errors
    /// It does not compile; what is in force stays, and this is recorded.
    pub fn take(&self, snapshot: Snapshot) -> Result<bool, String> {
        let (unchanged, revision) = self.read(|now| {
            let known = now.snapshot.digest == snapshot.digest;
            (known && now.suspended.is_none(), now.bundle.revision() + 1)
        });
        if unchanged {
            self.write(|now| {
                now.refused = None;
                now.snapshot = Arc::new(snapshot);
            });
            return Ok(false);
        }
        let compiled = load(&snapshot).and_then(|loaded| compile(&loaded, &snapshot, revision));
        match compiled {
            Ok(bundle) => {
                let bundle = Arc::new(bundle);
                announce(&bundle, None, &self.audit);
                self.write(|now| {
                    *now = InForce {
                        snapshot: Arc::new(snapshot),
                        bundle,
                        suspended: None,
                        refused: None,
                    };
                });
                Ok(true)
            }
            Err(reason) => {
                self.refuse(&reason);
                Err(reason)
            }
        }
    }

    /// Records that a newer snapshot is not in force, and why.
    pub fn refuse(&self, reason: &str) {
        self.write(|now| now.refused = Some(reason.to_owned()));
        announce(&self.current(), Some(reason), &self.audit);
    }

    /// Permits nothing from here on.
    pub fn suspend(&self, reason: &str) {
        let (snapshot, revision) =
            self.read(|now| (Arc::clone(&now.snapshot), now.bundle.revision() + 1));
        self.write(|now| now.suspended = Some(reason.into()));
        match without_policies(&snapshot, revision) {
            Ok(bundle) => {
                let bundle = Arc::new(bundle);
                announce(&bundle, Some(reason), &self.audit);
                self.write(|now| now.bundle = bundle);
            }
            Err(reason) => tracing::error!(%reason, "only new sessions are refused"),
        }
    }

    /// Puts the last snapshot in force again, if everything is suspended.
    pub fn resume(&self) {
        if self.suspended().is_some() {
            let last = self.read(|now| Snapshot::clone(&now.snapshot));
            if let Err(reason) = self.take(last) {
                tracing::error!(%reason, "the last policy cannot be put in force again");
            }
        }
    }

    /// The snapshot in force, or the last one that was.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.read(|now| Arc::clone(&now.snapshot))
    }

    /// How to run.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.read(|now| now.snapshot.settings.clone())
    }

    /// Why the newest snapshot is not in force, if it is not.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        self.read(|now| now.refused.clone())
    }

    fn read<T>(&self, with: impl FnOnce(&InForce) -> T) -> T {
        with(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, with: impl FnOnce(&mut InForce)) {
        with(
            &mut self
                .in_force
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Policies for SnapshotPolicies {
    fn current(&self) -> Arc<Bundle> {
        self.read(|now| Arc::clone(&now.bundle))
    }

    fn unmatched(&self) -> Unmatched {
        self.read(|now| match now.snapshot.settings.unmatched {
            UnmatchedSetting::Relay => Unmatched::Relay,
            UnmatchedSetting::Refuse => Unmatched::Refuse,
        })
    }

    fn suspended(&self) -> Option<Arc<str>> {
        self.read(|now| now.suspended.clone())
    }
}

/// The resources of a snapshot. One that this version cannot read refuses the snapshot: what it
/// would have restricted is not known.
fn load(snapshot: &Snapshot) -> Result<Resources, String> {
    let mut all = Resources::default();
    for resource in &snapshot.resources {
        let text = |path: &str| resource.pointer(path).and_then(|value| value.as_str());
        let kind = text("/kind").unwrap_or("resource");
        let origin = format!("{kind}/{}", text("/metadata/name").unwrap_or_default());
        let loaded = weir_api::load_str(&origin, &resource.to_string());
        all.merge(loaded.map_err(|errors| render(&errors))?);
    }
    Ok(all)
}

fn compile(resources: &Resources, snapshot: &Snapshot, revision: u64) -> Result<Bundle, String> {
    let options = CompileOptions {
        revision,
        references: References::Lenient,
        services: Some(services(snapshot)),
        now: weir_policy::Timestamp(millis(SystemTime::now())),
    };
    let compiled = weir_api::compile(resources, &options).map_err(|errors| render(&errors))?;
    // The controller tells the authors; here it is for whoever looks into one pod.
    for diagnostic in &compiled.diagnostics {
        tracing::debug!("{diagnostic}");
    }
    Ok(compiled.bundle)
}

fn services(snapshot: &Snapshot) -> Services {
    let services = snapshot.services.iter().map(|service| {
        let name = ServiceRef {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            port: service.port,
        };
        (name, service.places.clone())
    });
    services.collect()
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Targets and labels alone; nothing at all if they need their policies.
fn without_policies(snapshot: &Snapshot, revision: u64) -> Result<Bundle, String> {
    let bare = load(snapshot).and_then(|mut resources| {
        resources.cluster_policies.clear();
        resources.policies.clear();
        resources.exceptions.clear();
        compile(&resources, snapshot, revision)
    });
    bare.or_else(|reason| {
        tracing::warn!(%reason, "targets without policies do not compile");
        let nothing = BundleBuilder::new().build(revision);
        nothing.map_err(|error| error.to_string())
    })
}

fn render(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
