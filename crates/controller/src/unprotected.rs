//! The leader's part: pods that run without Weir where it is enforced are findings.
//!
//! Admission lets none in; what is found here was there before the label, or came while there were no
//! admission policies. Each pod is found once by each leader.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_audit::FindingCode;
use weir_telemetry::{IntGauge, Registry};

use crate::evidence::Findings;
use crate::store::Store;
use crate::store::pods::{PodEntry, Pods};

/// How late one may be found.
const PERIOD: Duration = Duration::from_secs(5);
/// Namespace label: whoever runs there runs with Weir.
const ENFORCE: (&str, &str) = (weir_injection::ENFORCE, "true");

/// Looks for them.
pub(crate) struct Unprotected {
    store: Store,
    pods: Pods,
    findings: Findings,
    /// Namespaces that are never governed.
    never: [String; 2],
    gauge: IntGauge,
}

/// Only the leader counts.
struct Counted<'a>(&'a IntGauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Unprotected {
    /// `own` is Weir's namespace.
    pub(crate) fn new(
        store: Store,
        pods: Pods,
        findings: Findings,
        own: &str,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            store,
            pods,
            findings,
            never: [own.to_owned(), "kube-system".to_owned()],
            gauge: registry.gauge(
                "weir_controller_unprotected_pods",
                "Pods that run without Weir in namespaces that enforce it; counted by the leader.",
            )?,
        })
    }

    /// Looks while this replica leads. Never returns.
    pub(crate) async fn run(&self) {
        let counted = Counted(&self.gauge);
        let mut told: BTreeSet<String> = BTreeSet::new();
        loop {
            if self.pods.is_complete() {
                let found = self.look(&mut told);
                counted.0.set(i64::try_from(found).unwrap_or(i64::MAX));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn look(&self, told: &mut BTreeSet<String>) -> usize {
        let enforced = self.store.read(|tables| {
            let all = tables.namespaces.iter();
            let enforced = all.filter(|((_, name), entry)| {
                let label = entry.labels.get(ENFORCE.0).map(String::as_str);
                label == Some(ENFORCE.1) && !self.never.contains(name)
            });
            enforced
                .map(|((_, name), _)| name.clone())
                .collect::<BTreeSet<_>>()
        });
        let found = self
            .pods
            .unprotected(|namespace| enforced.contains(namespace));
        let now: BTreeSet<&str> = found.iter().map(|(_, pod)| pod.uid.as_str()).collect();
        told.retain(|uid| now.contains(uid.as_str()));
        for ((namespace, name), pod) in &found {
            if told.insert(pod.uid.clone()) {
                let text = text(namespace, name, pod);
                self.findings.report(FindingCode::UnprotectedPod, text);
            }
        }
        found.len()
    }
}

fn text(namespace: &str, name: &str, pod: &PodEntry) -> String {
    let owner = match &pod.owner {
        Some((kind, owner)) => format!(" of {kind}/{owner}"),
        None => String::new(),
    };
    format!(
        "pod {namespace}/{name} ({}){owner} runs without Weir, and its namespace enforces it",
        pod.uid
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_the_pod_and_what_made_it() {
        let pod = PodEntry {
            uid: "1".to_owned(),
            owner: Some(("ReplicaSet".to_owned(), "app-7d9f".to_owned())),
            ..PodEntry::default()
        };
        assert_eq!(
            text("billing", "app-7d9f-x", &pod),
            "pod billing/app-7d9f-x (1) of ReplicaSet/app-7d9f runs without Weir, and its \
             namespace enforces it"
        );
    }
}
