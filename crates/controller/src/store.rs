//! What the controller knows of the cluster, kept right by watches.
//!
//! Invariants: Secrets and ConfigMaps are read in Weir's own namespace and nowhere else; objects
//! are kept in our own terms, without what nobody asks for; a malformed object is an entry with
//! its errors, not the end of a watch.
//! Refuses: to decide. It only says that something changed.

pub(crate) mod follow;
pub(crate) mod kinds;
pub(crate) mod pods;
pub(crate) mod sidecar;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use weir_uplink::control::UnmatchedSetting;

use self::follow::{Table, follow};
use self::kinds::{Held, Kind};
use crate::services::{NodeEntry, ServiceEntry, SliceEntry, named, node};
use crate::text::version;

/// What a namespace or pod says about connections that no Target covers.
const UNMATCHED: &str = "weir.dev/unmatched";
/// ConfigMaps that the controller itself writes all the time.
pub(crate) const BUDGET_LABEL: &str = "weir.dev/budget";

/// Contents of a Secret or ConfigMap, in Base64 by key.
pub(crate) type Material = BTreeMap<String, String>;

/// What is kept of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceEntry {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) unmatched: UnmatchedSetting,
}

/// Everything that snapshots are made from.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// The highest resource version of what is in here.
    pub(crate) revision: u64,
    pub(crate) resources: BTreeMap<Kind, Table<Held>>,
    pub(crate) services: Table<ServiceEntry>,
    pub(crate) slices: Table<SliceEntry>,
    pub(crate) nodes: Table<NodeEntry>,
    pub(crate) namespaces: Table<NamespaceEntry>,
    pub(crate) secrets: Table<Material>,
    pub(crate) config_maps: Table<Material>,
}

impl Tables {
    /// The cluster IPs of the Service that a name in the cluster's DNS stands for.
    pub(crate) fn cluster_ips(&self, host: &str) -> Vec<IpAddr> {
        let service = named(host).and_then(|(namespace, name)| self.services.get(namespace, name));
        service
            .map(|entry| entry.cluster.clone())
            .unwrap_or_default()
    }

    /// Whether every list was seen once.
    pub(crate) fn is_complete(&self) -> bool {
        self.resources.len() == Kind::ALL.len()
            && self.resources.values().all(Table::is_complete)
            && self.services.is_complete()
            && self.slices.is_complete()
            && self.nodes.is_complete()
            && self.namespaces.is_complete()
            && self.secrets.is_complete()
            && self.config_maps.is_complete()
    }
}

/// How often what changed; two equal values mean that nothing did in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) resources: u64,
    pub(crate) network: u64,
    pub(crate) rest: u64,
}

/// The store. Clones are one.
#[derive(Clone)]
pub(crate) struct Store {
    tables: Arc<Mutex<Tables>>,
    changes: Arc<watch::Sender<Changes>>,
}

#[derive(Clone, Copy)]
enum Part {
    Resources,
    Network,
    Rest,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            tables: Arc::default(),
            changes: Arc::new(watch::Sender::new(Changes::default())),
        }
    }

    /// Sees every change.
    pub(crate) fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Looks at the tables. `look` must be short: watches wait for it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.lock())
    }

    /// Watches everything. Never returns.
    pub(crate) async fn run(&self, client: &Client, namespace: &str) {
        let own_secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        // Charts keep their releases in Secrets of up to a megabyte.
        let secrets = Config::default().fields("type!=helm.sh/release.v1");
        let own_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let maps = Config::default().labels(&format!("!{BUDGET_LABEL}"));
        let all = Config::default;
        tokio::join!(
            self.run_kinds(client),
            follow(Api::all(client.clone()), all(), "services", |event| {
                self.take(Part::Network, event, |tables, event| {
                    tables
                        .services
                        .apply(event, |object: Service, _| (&object).into())
                });
            }),
            follow(Api::all(client.clone()), all(), "endpointslices", |event| {
                self.take(Part::Network, event, |tables, event| {
                    tables
                        .slices
                        .apply(event, |object: EndpointSlice, _| (&object).into())
                });
            }),
            follow(Api::all(client.clone()), all(), "nodes", |event| {
                self.take(Part::Network, event, |tables, event| {
                    tables.nodes.apply(event, |object: Node, _| node(&object))
                });
            }),
            follow(Api::all(client.clone()), all(), "namespaces", |event| {
                self.take(Part::Rest, event, |tables, event| {
                    tables
                        .namespaces
                        .apply(event, |object: Namespace, _| namespace_entry(&object))
                });
            }),
            follow(own_secrets, secrets, "secrets", |event| {
                self.take(Part::Rest, event, |tables, event| {
                    tables
                        .secrets
                        .apply(event, |object: Secret, _| secret(&object))
                });
            }),
            follow(own_maps, maps, "configmaps", |event| {
                self.take(Part::Rest, event, |tables, event| {
                    tables
                        .config_maps
                        .apply(event, |object: ConfigMap, _| config_map(&object))
                });
            }),
        );
    }

    async fn run_kinds(&self, client: &Client) {
        let one = |kind: Kind| {
            let api = Api::all_with(client.clone(), &kind.resource());
            follow(api, Config::default(), kind.plural(), move |event| {
                self.take(Part::Resources, event, |tables, event| {
                    let table = tables.resources.entry(kind).or_default();
                    table.apply(event, |object, before| kinds::held(kind, object, before))
                });
            })
        };
        futures_util::future::join_all(Kind::ALL.map(one)).await;
    }

    fn take<K: Resource>(
        &self,
        part: Part,
        event: Event<K>,
        apply: impl FnOnce(&mut Tables, Event<K>) -> bool,
    ) {
        let seen = match &event {
            Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => {
                version(object.meta().resource_version.as_deref())
            }
            Event::Init | Event::InitDone => 0,
        };
        let changed = {
            let mut tables = self.lock();
            let changed = apply(&mut tables, event);
            tables.revision = tables.revision.max(seen);
            changed
        };
        if changed {
            self.changes.send_modify(|changes| match part {
                Part::Resources => changes.resources += 1,
                Part::Network => changes.network += 1,
                Part::Rest => changes.rest += 1,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // An entry is converted before it is stored: no panic leaves a table half changed.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn namespace_entry(namespace: &Namespace) -> NamespaceEntry {
    NamespaceEntry {
        labels: namespace.metadata.labels.clone().unwrap_or_default(),
        unmatched: unmatched(namespace.metadata.annotations.as_ref()),
    }
}

/// What annotations say about connections that no Target covers.
fn unmatched(annotations: Option<&BTreeMap<String, String>>) -> UnmatchedSetting {
    match annotations
        .and_then(|all| all.get(UNMATCHED))
        .map(String::as_str)
    {
        None | Some("Relay") => UnmatchedSetting::Relay,
        // What is not understood is refused, as what is asked for.
        Some(_) => UnmatchedSetting::Refuse,
    }
}

fn secret(secret: &Secret) -> Material {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), STANDARD.encode(&value.0)))
        .collect()
}

fn config_map(map: &ConfigMap) -> Material {
    let text = map.data.iter().flatten();
    let text = text.map(|(key, value)| (key.clone(), STANDARD.encode(value)));
    let binary = map.binary_data.iter().flatten();
    let binary = binary.map(|(key, value)| (key.clone(), STANDARD.encode(&value.0)));
    text.chain(binary).collect()
}
