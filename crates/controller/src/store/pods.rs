//! The pods of the cluster, as far as identities and the addresses of Services need them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use weir_uplink::control::UnmatchedSetting;

use super::follow::{Key, Table, follow};
use super::sidecar::Sidecar;
use crate::requests::OWNER;
use crate::services::PodNamespaces;
use crate::text::time;

/// Stamped at admission.
const CREATED_BY: &str = "weir.dev/created-by";

/// What is kept of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodEntry {
    pub(crate) uid: String,
    pub(crate) service_account: String,
    pub(crate) node: Option<String>,
    /// Kind and name of the controller that owns it.
    pub(crate) owner: Option<(String, String)>,
    /// Images of its containers, with digests once they are known.
    pub(crate) images: Vec<String>,
    /// When it has to be gone.
    pub(crate) deadline: Option<Timestamp>,
    /// It refuses connections that no Target covers, whatever its namespace says.
    pub(crate) refuses: bool,
    /// Who made it, as the API server authenticated them.
    pub(crate) created_by: Option<String>,
    /// Whether all its containers have ended for good.
    pub(crate) ended: bool,
    /// Whether it has the sidecar. That it is exactly Weir's is admission's to judge.
    pub(crate) governed: bool,
    /// That sidecar, as far as the pod's identity hangs on it.
    pub(crate) sidecar: Option<Sidecar>,
    /// Whether that sidecar is ready.
    pub(crate) serving: bool,
    /// What the pod itself says of being governed.
    pub(crate) wish: Option<bool>,
    /// Who answers for it, as it says itself.
    pub(crate) owned_by: Option<String>,
    /// Its own addresses: none once it has ended, and none of a pod in its node's network.
    pub(crate) addresses: Vec<IpAddr>,
}

impl From<&Pod> for PodEntry {
    fn from(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let annotations = pod.metadata.annotations.as_ref();
        let mut owner = pod.owner_references().iter();
        let owner = owner.find(|owner| owner.controller == Some(true));
        let phase = status.and_then(|status| status.phase.as_deref());
        let sidecar = spec.and_then(Sidecar::of);
        Self {
            uid: pod.uid().unwrap_or_default(),
            service_account: spec
                .and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
            node: spec.and_then(|spec| spec.node_name.clone()),
            owner: owner.map(|owner| (owner.kind.clone(), owner.name.clone())),
            images: images(pod),
            deadline: pod.metadata.deletion_timestamp.as_ref().and_then(time),
            refuses: super::unmatched(annotations) == UnmatchedSetting::Refuse,
            created_by: annotations.and_then(|all| all.get(CREATED_BY)).cloned(),
            ended: matches!(phase, Some("Succeeded" | "Failed")),
            governed: sidecar.is_some(),
            sidecar,
            serving: status.is_some_and(|status| {
                let mut inits = status.init_container_statuses.iter().flatten();
                inits.any(|one| one.name == weir_injection::SIDECAR && one.ready)
            }),
            wish: wish(pod),
            owned_by: annotations.and_then(|all| all.get(OWNER)).cloned(),
            addresses: addresses(pod),
        }
    }
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let on_the_node = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let Some(status) = pod.status.as_ref().filter(|_| !on_the_node) else {
        return Vec::new();
    };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let all = status.pod_ips.iter().flatten().map(|one| &one.ip);
    let all = all.chain(&status.pod_ip);
    let mut all: Vec<IpAddr> = all
        .filter_map(|ip| ip.parse().ok().map(|ip: IpAddr| ip.to_canonical()))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What a pod says about injection; its label goes first.
fn wish(pod: &Pod) -> Option<bool> {
    let labels = pod.metadata.labels.as_ref();
    let annotations = pod.metadata.annotations.as_ref();
    let said = |all: Option<&BTreeMap<String, String>>| all?.get(weir_injection::INJECT).cloned();
    match said(labels).or_else(|| said(annotations))?.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

/// Images of init containers and containers; where the kubelet has said which it runs, by digest.
fn images(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let status = pod.status.as_ref();
    let running = status.into_iter().flat_map(|status| {
        let inits = status.init_container_statuses.iter().flatten();
        inits.chain(status.container_statuses.iter().flatten())
    });
    let running: Vec<_> = running.collect();
    let image = |container: &Container| {
        let named = container.image.clone().unwrap_or_default();
        let status = running
            .iter()
            .find(|status| status.name == container.name)?;
        let (_, digest) = status.image_id.split_once('@')?;
        let without = named
            .split_once('@')
            .map_or(named.as_str(), |(name, _)| name);
        Some(format!("{without}@{digest}"))
    };
    let inits = spec.init_containers.iter().flatten();
    let mut images: Vec<String> = inits
        .chain(&spec.containers)
        .map(|one| image(one).unwrap_or_else(|| one.image.clone().unwrap_or_default()))
        .collect();
    images.dedup();
    images
}

/// All pods. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Pods {
    table: Arc<Mutex<Table<PodEntry>>>,
    moves: Arc<watch::Sender<u64>>,
}

impl Pods {
    /// Watches all pods; tells `gone` of every UID that is no more. Never returns.
    pub(crate) async fn run(&self, client: Client, gone: impl Fn(&str)) {
        let pods = Api::<Pod>::all(client);
        follow(pods, Config::default(), "pods", |event| {
            for uid in self.take(event) {
                gone(&uid);
            }
        })
        .await;
    }

    /// Takes an event over; the UIDs that are no more.
    fn take(&self, event: Event<Pod>) -> Vec<String> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<(Key, String)> = match &event {
            Event::InitDone => {
                let all = table.iter();
                all.map(|(key, pod)| (key.clone(), pod.uid.clone()))
                    .collect()
            }
            Event::Apply(pod) | Event::Delete(pod) => {
                let key = super::follow::key(pod);
                let known = table.get(&key.0, &key.1);
                known
                    .map(|known| (key, known.uid.clone()))
                    .into_iter()
                    .collect()
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        };
        let moved = Self::moves_addresses(&table, &event);
        table.apply(event, |pod, _| (&pod).into());
        if moved {
            self.moves.send_modify(|moves| *moves += 1);
        }
        let still = |((namespace, name), uid): &(Key, String)| {
            table
                .get(namespace, name)
                .is_some_and(|pod| pod.uid == *uid)
        };
        let gone = before.into_iter().filter(|one| !still(one));
        gone.map(|(_, uid)| uid).collect()
    }

    /// Whether other addresses are those of pods after an event.
    fn moves_addresses(table: &Table<PodEntry>, event: &Event<Pod>) -> bool {
        let (pod, after) = match event {
            Event::Init | Event::InitApply(_) => return false,
            Event::InitDone => return true,
            Event::Apply(pod) => (pod, addresses(pod)),
            Event::Delete(pod) => (pod, Vec::new()),
        };
        let (namespace, name) = super::follow::key(pod);
        let before = table.get(&namespace, &name);
        let before = before.map(|before| before.addresses.as_slice());
        before.unwrap_or_default() != after.as_slice()
    }

    /// Sees every change of addresses.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moves.subscribe()
    }

    /// The namespaces of pods by their addresses.
    pub(crate) fn namespaces(&self) -> PodNamespaces {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = PodNamespaces::new();
        for ((namespace, _), pod) in table.iter() {
            for address in &pod.addresses {
                all.entry(*address).or_default().insert(namespace.clone());
            }
        }
        all
    }

    /// Whether an address is a pod's, but for those of namespaces of which `except` is true.
    pub(crate) fn is_pod(&self, address: IpAddr, except: impl Fn(&str) -> bool) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .iter()
            .any(|((namespace, _), pod)| pod.addresses.contains(&address) && !except(namespace))
    }

    /// A pod, if the watch has seen it.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<PodEntry> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(namespace, name).cloned()
    }

    /// Pods that run without the sidecar in namespaces of which `enforced` is true.
    pub(crate) fn unprotected(&self, enforced: impl Fn(&str) -> bool) -> Vec<(Key, PodEntry)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let bare = table
            .iter()
            .filter(|((namespace, _), pod)| !pod.governed && !pod.ended && enforced(namespace));
        bare.map(|(key, pod)| (key.clone(), pod.clone())).collect()
    }

    /// Pods that have not ended.
    pub(crate) fn running(&self) -> Vec<(Key, PodEntry)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let running = table.iter().filter(|(_, pod)| !pod.ended);
        running
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect()
    }

    /// Whether a complete list was seen.
    pub(crate) fn is_complete(&self) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.is_complete()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "billing", "name": name, "uid": uid, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Odd", "name": "x", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reporter-7d9f", "uid": "2",
                 "controller": true}]},
            "spec": {"nodeName": "n1", "serviceAccountName": "reporter", "containers": [
                {"name": "app", "image": "registry.example/app:1"},
                {"name": "late", "image": "registry.example/late:1"}]},
            "status": {"containerStatuses": [
                {"name": "app", "image": "x", "ready": true, "restartCount": 0,
                 "imageID": "registry.example/app@sha256:aa"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_knows_its_owner_node_and_images_by_digest() {
        let entry = PodEntry::from(&pod("p", "u"));
        assert_eq!(
            entry.owner,
            Some(("ReplicaSet".into(), "reporter-7d9f".into()))
        );
        assert_eq!(entry.node.as_deref(), Some("n1"));
        assert_eq!(
            entry.images,
            [
                "registry.example/app:1@sha256:aa",
                "registry.example/late:1"
            ]
        );
    }

    #[test]
    fn pods_without_the_sidecar_are_found_where_it_is_enforced_while_they_run() {
        let pods = Pods::default();
        let mut governed = pod("governed", "2");
        let spec = governed.spec.as_mut().unwrap();
        let sidecar = json!({"name": "weir-sidecar"});
        spec.init_containers = Some(vec![serde_json::from_value(sidecar).unwrap()]);
        let mut ended = pod("ended", "3");
        ended.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
        for pod in [pod("bare", "1"), governed, ended] {
            pods.take(Event::Apply(pod));
        }
        let found = |enforced: bool| {
            let found = pods.unprotected(|namespace| enforced && namespace == "billing");
            found.into_iter().map(|(key, _)| key.1).collect::<Vec<_>>()
        };
        assert_eq!(found(true), ["bare"]);
        assert!(found(false).is_empty());
    }

    #[test]
    fn addresses_are_those_of_pods_that_run_in_a_network_of_their_own() {
        let pods = Pods::default();
        let moves = pods.moves();
        let at = |name: &str, phase: &str, on_the_node: bool| {
            let mut pod = pod(name, name);
            pod.spec.as_mut().unwrap().host_network = Some(on_the_node);
            let status = pod.status.as_mut().unwrap();
            status.phase = Some(phase.to_owned());
            status.pod_ip = Some("10.244.1.5".to_owned());
            let ips = json!([{"ip": "10.244.1.5"}, {"ip": "fd00::5"}]);
            status.pod_ips = Some(serde_json::from_value(ips).unwrap());
            pod
        };
        for (phase, on_the_node) in [("Running", true), ("Succeeded", false), ("Failed", false)] {
            pods.take(Event::Apply(at("p", phase, on_the_node)));
            assert!(pods.namespaces().is_empty(), "{phase} {on_the_node}");
        }
        assert_eq!(*moves.borrow(), 0);
        for _ in 0..2 {
            pods.take(Event::Apply(at("p", "Running", false)));
        }
        assert_eq!(*moves.borrow(), 1, "nothing moved the second time");
        let found = pods.namespaces();
        assert_eq!(found.len(), 2);
        assert!(pods.is_pod("10.244.1.5".parse().unwrap(), |_| false));
        assert!(
            !pods.is_pod("10.244.1.5".parse().unwrap(), |namespace| namespace
                == "billing")
        );
        assert!(!pods.is_pod("10.244.1.6".parse().unwrap(), |_| false));
        let here = &found[&"fd00::5".parse().unwrap()];
        assert!(here.contains("billing") && here.len() == 1);
        pods.take(Event::Delete(at("p", "Running", false)));
        assert_eq!(*moves.borrow(), 2);
        assert!(pods.namespaces().is_empty());
    }

    #[test]
    fn deleted_recreated_and_unlisted_pods_are_gone() {
        let pods = Pods::default();
        let gone = |event| pods.take(event);
        assert!(gone(Event::Apply(pod("a", "1"))).is_empty());
        assert!(gone(Event::Apply(pod("a", "1"))).is_empty());
        assert_eq!(gone(Event::Apply(pod("a", "2"))), ["1"]);
        assert_eq!(gone(Event::Delete(pod("a", "2"))), ["2"]);
        assert!(gone(Event::Apply(pod("b", "3"))).is_empty());
        assert!(gone(Event::Init).is_empty());
        assert_eq!(gone(Event::InitDone), ["3"]);
    }
}
