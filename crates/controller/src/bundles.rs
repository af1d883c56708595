//! Keeps the inputs of snapshots right: whatever changes is in the next ones within 20 ms.
//!
//! Invariants: nothing is published before every list was seen once; equal inputs are published
//! once. Resources are judged only when they, or Services, changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use weir_policy::Timestamp;
use weir_telemetry::{IntCounter, IntGauge, Registry};
use weir_uplink::control::{Settings, UnmatchedSetting};

use crate::bundle::{Accepted, Acceptor, Latest, wanted};
use crate::services::{Services, Wanted};
use crate::snapshot::{Content, Inputs, OWN};
use crate::store::kinds::Kind;
use crate::store::{Store, Tables};

/// Changes that come together are taken over together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The Secret that holds what keyed tokens are made with, and its key.
pub(crate) const TOKEN_KEY: (&str, &str) = ("weir-token-key", "key");

/// Metrics of the inputs.
#[derive(Clone)]
pub(crate) struct BundleMetrics {
    published: IntCounter,
    objects: IntGauge,
    refused: IntGauge,
    revision: IntGauge,
}

impl BundleMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            published: registry.counter(
                "weir_controller_publications_total",
                "Changes of what snapshots are made from.",
            )?,
            objects: registry.gauge("weir_controller_objects", "Objects in force.")?,
            refused: registry.gauge(
                "weir_controller_objects_refused",
                "Objects whose latest version is not in force.",
            )?,
            revision: registry.gauge(
                "weir_controller_revision",
                "Revision of the inputs that were published last.",
            )?,
        })
    }
}

/// The inputs in force, once there are any.
pub(crate) type Current = watch::Receiver<Option<Arc<Inputs>>>;

/// Makes inputs from the store.
pub(crate) struct Bundles {
    store: Store,
    namespace: String,
    settings: Settings,
    metrics: BundleMetrics,
    current: watch::Sender<Option<Arc<Inputs>>>,
}

impl Bundles {
    /// `namespace` is Weir's own. `settings` are those of all pods; the token key is filled in.
    pub(crate) fn new(
        store: Store,
        namespace: String,
        settings: Settings,
        metrics: BundleMetrics,
    ) -> Self {
        Self {
            store,
            namespace,
            settings,
            metrics,
            current: watch::Sender::new(None),
        }
    }

    /// The inputs in force.
    pub(crate) fn current(&self) -> Current {
        self.current.subscribe()
    }

    /// Publishes. Returns only when the store is gone.
    pub(crate) async fn run(self) {
        let mut changes = self.store.changes();
        let mut acceptor = Acceptor::default();
        let mut judged: Option<((u64, u64), Arc<Accepted>)> = None;
        while changes.changed().await.is_ok() {
            let since = Instant::now();
            tokio::time::sleep(DEBOUNCE).await;
            let now = *changes.borrow_and_update();
            if !self.store.read(Tables::is_complete) {
                continue;
            }
            let at = (now.resources, now.network);
            let accepted = match &judged {
                Some((judged, accepted)) if *judged == at => Arc::clone(accepted),
                _ => {
                    let (latest, known) = self.latest();
                    let resolve = |one: &Wanted| known.get(one).cloned().unwrap_or_default();
                    let accepted = Arc::new(acceptor.accept(latest, resolve, wall_clock()));
                    judged = Some((at, Arc::clone(&accepted)));
                    accepted
                }
            };
            self.publish(since, accepted);
        }
    }

    /// The latest version of each object, and where the Services are that these name.
    fn latest(&self) -> (Vec<Latest>, BTreeMap<Wanted, Vec<SocketAddr>>) {
        self.store.read(|tables| {
            let kinds = Kind::ALL
                .iter()
                .filter_map(|kind| tables.resources.get(kind));
            let all = kinds.flat_map(|table| table.iter());
            let latest: Vec<Latest> = all
                .map(|(_, held)| (Arc::clone(&held.id), held.object.clone()))
                .collect();
            let services = services(tables);
            let read = latest.iter().filter_map(|(_, object)| object.as_ref().ok());
            let known = read
                .flat_map(|object| wanted(&object.parsed))
                .map(|one| {
                    let endpoints = services.resolve(&one).endpoints;
                    (one, endpoints)
                })
                .collect();
            (latest, known)
        })
    }

    fn publish(&self, since: Instant, accepted: Arc<Accepted>) {
        let (revision, content) = self
            .store
            .read(|tables| (tables.revision, self.content(tables, &accepted)));
        let Some(content) = content else {
            tracing::info!("waiting for the token key");
            return;
        };
        let refused = accepted.verdicts.values().filter(|v| !v.errors.is_empty());
        self.metrics.refused.set(count(refused.count()));
        self.metrics.objects.set(count(accepted.objects.len()));
        let inputs = Inputs::new(revision, since, accepted, content);
        let published = self.current.send_if_modified(|current| {
            let same = current
                .as_ref()
                .is_some_and(|current| current.same(&inputs));
            // Verdicts may differ where snapshots do not: statuses follow them.
            let verdicts = current
                .as_ref()
                .is_some_and(|current| current.accepted.verdicts == inputs.accepted.verdicts);
            if same && verdicts {
                return false;
            }
            *current = Some(Arc::new(inputs));
            true
        });
        if published {
            self.metrics.published.inc();
            self.metrics
                .revision
                .set(i64::try_from(revision).unwrap_or(i64::MAX));
            tracing::info!(revision, "published");
        }
    }

    fn content(&self, tables: &Tables, accepted: &Accepted) -> Option<Content> {
        let find = |name: &str| {
            let secret = tables.secrets.get(&self.namespace, name);
            let either = secret.or_else(|| tables.config_maps.get(&self.namespace, name));
            either.cloned()
        };
        let token_key = find(TOKEN_KEY.0)?.get(TOKEN_KEY.1)?.clone();
        let services = services(tables);
        let wanted = accepted.services();
        let names = accepted.all_references().into_iter();
        let names = names.filter(|name| !OWN.contains(name));
        let material: BTreeMap<_, _> = names
            .filter_map(|name| Some((name.to_owned(), find(name)?)))
            .collect();
        let refusing = tables.namespaces.iter();
        let refusing = refusing.filter(|(_, entry)| entry.unmatched == UnmatchedSetting::Refuse);
        let mut refusing: Vec<String> = refusing.map(|((_, name), _)| name.clone()).collect();
        refusing.sort_unstable();
        Some(Content {
            services: wanted.iter().map(|one| services.resolve(one)).collect(),
            material,
            refusing,
            settings: Settings {
                token_key,
                ..self.settings.clone()
            },
        })
    }
}

fn services(tables: &Tables) -> Services<'_> {
    Services::new(
        tables.services.iter(),
        tables.slices.iter(),
        tables.nodes.iter().map(|(_, node)| node),
    )
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
