//! The leader's part: phases follow decisions and deadlines, and old requests go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use weir_api::kinds::AccessRequestPhase;

use super::phase::phase;
use super::{Entry, Requests};
use crate::store::follow::Key;
use crate::text::why;

/// How late an expiry may be written.
const PERIOD: Duration = Duration::from_secs(1);
/// How long decided requests stay; the evidence of them is with the collector.
const RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many of them stay of one pod.
const KEPT_PER_POD: usize = 200;

impl Requests {
    /// Writes phases while this replica leads. Never returns.
    pub(crate) async fn reconcile(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let now = Timestamp::now();
            let entries = self.entries();
            let surplus = surplus(&entries, now);
            for (key, entry) in entries {
                let goes = surplus.contains(&key);
                let outcome = self.settle(&key, &entry, now, goes).await;
                if let Err(error) = outcome {
                    let (namespace, name) = key;
                    let error = why(&error);
                    tracing::warn!(%namespace, %name, error, "a request could not be settled");
                }
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn settle(
        &self,
        key: &Key,
        entry: &Entry,
        now: Timestamp,
        goes: bool,
    ) -> Result<(), kube::Error> {
        let Some(terms) = entry.terms else {
            return Ok(());
        };
        let (namespace, name) = key;
        let phase = phase(terms, entry.status.as_ref(), now);
        if entry.status.as_ref().map(|status| status.phase) != Some(phase) {
            let patch = patch(entry, phase, now);
            let api = self.api(namespace);
            let patched = api
                .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            return gone_or_newer(patched.map(drop));
        }
        let old = entry
            .created
            .is_some_and(|created| now.duration_since(created) > RETENTION);
        if phase != AccessRequestPhase::Pending && (old || goes) {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    resource_version: entry.version.clone(),
                    uid: None,
                }),
                ..DeleteParams::default()
            };
            let deleted = self.api(namespace).delete(name, &params).await;
            return gone_or_newer(deleted.map(drop));
        }
        Ok(())
    }
}

/// Requests that are over and go before their time: of each pod all but the newest. Who has not been told
/// how they ended is told of those that stay.
pub(super) fn surplus(entries: &[(Key, Entry)], now: Timestamp) -> BTreeSet<Key> {
    let mut over: BTreeMap<&str, Vec<(Timestamp, &Key)>> = BTreeMap::new();
    for (key, entry) in entries {
        let (Some(terms), Some(created)) = (entry.terms, entry.created) else {
            continue;
        };
        if phase(terms, entry.status.as_ref(), now) != AccessRequestPhase::Pending {
            let of_pod = over.entry(entry.pod_uid.as_str()).or_default();
            of_pod.push((created, key));
        }
    }
    let mut surplus = BTreeSet::new();
    for of_pod in over.values_mut() {
        of_pod.sort_unstable_by(|a, b| b.cmp(a));
        let rest = of_pod.iter().skip(KEPT_PER_POD);
        surplus.extend(rest.map(|(_, key)| (*key).clone()));
    }
    surplus
}

/// The watch will say what is there instead.
pub(super) fn gone_or_newer(outcome: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

/// The patch that brings a request into a phase, if it still is as it was read.
pub(super) fn patch(entry: &Entry, phase: AccessRequestPhase, now: Timestamp) -> Value {
    let pending = phase == AccessRequestPhase::Pending;
    let message = match phase {
        AccessRequestPhase::Pending => "it waits for people to decide",
        AccessRequestPhase::Approved => "it was granted",
        AccessRequestPhase::Denied => "it was refused",
        AccessRequestPhase::Expired => "nobody decided in time",
        AccessRequestPhase::Withdrawn => "the requester went away",
        AccessRequestPhase::Superseded => "nobody has to decide it any more",
    };
    json!({
        "metadata": {"resourceVersion": entry.version},
        "status": {
            "phase": phase,
            "observedGeneration": entry.generation,
            "conditions": [{
                "type": "Ready",
                "status": if pending { "False" } else { "True" },
                "reason": phase,
                "message": message,
                "observedGeneration": entry.generation,
                "lastTransitionTime": now.to_string(),
            }],
        },
    })
}
