//! Which pods run with Weir, and which do not.

use std::collections::BTreeMap;

use weir_uplink::control::{Coverage, NamespaceCoverage};

use crate::store::Store;
use crate::store::pods::{PodEntry, Pods};

/// Names of pods of one namespace that are listed.
const NAMED: usize = 100;

/// How a namespace takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Enforced,
    Injected,
    /// Weir's own, and the cluster's.
    Excluded,
    Open,
}

impl Mode {
    fn of(labels: &BTreeMap<String, String>, excluded: bool) -> Self {
        let is = |label: &str, value: &str| labels.get(label).is_some_and(|have| have == value);
        if excluded {
            Self::Excluded
        } else if is(weir_injection::ENFORCE, "true") {
            Self::Enforced
        } else if is(weir_injection::INJECT, "enabled") {
            Self::Injected
        } else {
            Self::Open
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Injected => "injected",
            Self::Excluded => "excluded",
            Self::Open => "open",
        }
    }

    /// Whether a pod without the sidecar should have had one.
    fn asks_for(self, pod: &PodEntry) -> bool {
        match self {
            Self::Enforced => true,
            Self::Injected => pod.wish != Some(false),
            Self::Open => pod.wish == Some(true),
            Self::Excluded => false,
        }
    }
}

/// All namespaces, by name.
pub(super) fn of(store: &Store, pods: &Pods, never: &[String]) -> Coverage {
    let mut namespaces: BTreeMap<String, (Mode, Vec<(String, PodEntry)>)> = store.read(|tables| {
        let all = tables.namespaces.iter();
        let all = all.map(|((_, name), entry)| {
            let mode = Mode::of(&entry.labels, never.contains(name));
            (name.clone(), (mode, Vec::new()))
        });
        all.collect()
    });
    for ((namespace, name), pod) in pods.running() {
        if let Some((_, pods)) = namespaces.get_mut(&namespace) {
            pods.push((name, pod));
        }
    }
    let namespaces = namespaces.into_iter();
    let namespaces = namespaces.map(|(namespace, (mode, pods))| count(namespace, mode, pods));
    Coverage {
        namespaces: namespaces.collect(),
    }
}

fn count(namespace: String, mode: Mode, mut pods: Vec<(String, PodEntry)>) -> NamespaceCoverage {
    pods.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut found = NamespaceCoverage {
        namespace,
        mode: mode.as_str().to_owned(),
        ..NamespaceCoverage::default()
    };
    let mut more: usize = 0;
    for (name, pod) in pods {
        if pod.governed && pod.serving {
            found.governed += 1;
        } else if pod.governed {
            found.not_ready += 1;
        } else if !mode.asks_for(&pod) {
            found.opted_out += 1;
        } else if found.unprotected.len() < NAMED {
            found.unprotected.push(name);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        found.unprotected.push(format!("… and {more} more"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(governed: bool, serving: bool, wish: Option<bool>) -> PodEntry {
        PodEntry {
            governed,
            serving,
            wish,
            ..PodEntry::default()
        }
    }

    fn counted(mode: Mode) -> (u32, u32, u32, Vec<String>) {
        let pods = [
            ("a", pod(true, true, None)),
            ("b", pod(true, false, None)),
            ("c", pod(false, false, None)),
            ("d", pod(false, false, Some(false))),
            ("e", pod(false, false, Some(true))),
        ];
        let pods = pods.map(|(name, pod)| (name.to_owned(), pod));
        let found = count("shop".to_owned(), mode, pods.into());
        (
            found.governed,
            found.not_ready,
            found.opted_out,
            found.unprotected,
        )
    }

    #[test]
    fn a_pod_is_unprotected_where_something_asks_for_weir() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(counted(Mode::Enforced), (1, 1, 0, names(&["c", "d", "e"])));
        assert_eq!(counted(Mode::Injected), (1, 1, 1, names(&["c", "e"])));
        assert_eq!(counted(Mode::Open), (1, 1, 2, names(&["e"])));
        assert_eq!(counted(Mode::Excluded), (1, 1, 3, names(&[])));
    }

    #[test]
    fn what_is_not_named_is_counted() {
        let pods = (0..NAMED + 5).map(|n| (format!("pod-{n:03}"), pod(false, false, None)));
        let found = count("shop".to_owned(), Mode::Enforced, pods.collect());
        assert_eq!(found.unprotected.len(), NAMED + 1);
        assert_eq!(found.unprotected[NAMED], "… and 5 more");
    }

    #[test]
    fn labels_say_how_a_namespace_takes_part() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let enforced = labels(&[(weir_injection::ENFORCE, "true")]);
        assert_eq!(Mode::of(&enforced, false), Mode::Enforced);
        assert_eq!(Mode::of(&enforced, true), Mode::Excluded);
        let injected = labels(&[(weir_injection::INJECT, "enabled")]);
        assert_eq!(Mode::of(&injected, false), Mode::Injected);
        assert_eq!(Mode::of(&labels(&[]), false), Mode::Open);
    }
}
