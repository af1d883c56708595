//! Keeps the inputs of snapshots right: whatever changes is in the next ones within 20 ms.
//!
//! Invariants: nothing is published before every list was seen once; equal inputs are published
//! once. Resources are judged only when resources changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use weir_api::kinds::ServiceRef;
use weir_policy::{Places, Timestamp};
use weir_telemetry::{IntCounter, IntGauge, Registry};
use weir_uplink::control::{ResolvedService, Settings, UnmatchedSetting};

use crate::bundle::{Accepted, Acceptor, Latest};
use crate::services::Services;
use crate::snapshot::{Content, Inputs, OWN};
use crate::store::kinds::Kind;
use crate::store::pods::Pods;
use crate::store::{Store, Tables};

/// Changes that come together are taken over together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Clocks are set; a moment that is far away is not waited for in one go.
const LOOK: Duration = Duration::from_secs(60);
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
            objects: registry.gauge("weir_controller_objects", "Objects that are known.")?,
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
    pods: Pods,
    namespace: String,
    settings: Settings,
    metrics: BundleMetrics,
    current: watch::Sender<Option<Arc<Inputs>>>,
}

impl Bundles {
    /// `namespace` is Weir's own. `settings` are those of all pods; the token key and the collector's
    /// addresses are filled in.
    pub(crate) fn new(
        store: Store,
        pods: Pods,
        namespace: String,
        settings: Settings,
        metrics: BundleMetrics,
    ) -> Self {
        Self {
            store,
            pods,
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
        let mut moves = self.pods.moves();
        let mut acceptor = Acceptor::default();
        let mut latest: Vec<Latest> = Vec::new();
        let mut judged: Option<Judged> = None;
        loop {
            let due = judged.as_ref().and_then(|judged| judged.until);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                moved = moves.changed() => if moved.is_err() { return },
                () = reached(due) => {}
            }
            let since = Instant::now();
            tokio::time::sleep(DEBOUNCE).await;
            let now = *changes.borrow_and_update();
            moves.mark_unchanged();
            if !self.store.read(Tables::is_complete) || !self.pods.is_complete() {
                continue;
            }
            let at = time();
            let unchanged = judged.take().filter(|judged| {
                judged.at == now.resources && judged.until.is_none_or(|until| at < until)
            });
            if unchanged.is_none() {
                latest = self.latest();
            }
            let services = self.resolve(&acceptor.services(&latest));
            let accepted = match unchanged {
                Some(judged) if judged.services == services => judged.accepted,
                _ => {
                    let places = services.iter().map(places).collect();
                    Arc::new(acceptor.accept(latest.clone(), &places, at))
                }
            };
            judged = Some(Judged {
                at: now.resources,
                until: expiry(&latest, at),
                services: services.clone(),
                accepted: Arc::clone(&accepted),
            });
            self.publish(since, accepted, services);
        }
    }

    fn latest(&self) -> Vec<Latest> {
        self.store.read(|tables| {
            let kinds = Kind::ALL
                .iter()
                .filter_map(|kind| tables.resources.get(kind));
            let all = kinds.flat_map(|table| table.iter());
            all.map(|(_, held)| Latest::from(held)).collect()
        })
    }

    fn resolve(&self, wanted: &BTreeSet<ServiceRef>) -> Vec<ResolvedService> {
        let pods = self.pods.namespaces();
        self.store.read(|tables| {
            let services = Services::new(
                tables.services.iter(),
                tables.slices.iter(),
                tables.nodes.iter().map(|(_, node)| node),
                &pods,
            );
            wanted.iter().map(|one| services.resolve(one)).collect()
        })
    }

    fn publish(&self, since: Instant, accepted: Arc<Accepted>, services: Vec<ResolvedService>) {
        let (revision, content) = self
            .store
            .read(|tables| (tables.revision, self.content(tables, &accepted, services)));
        let Some(content) = content else {
            tracing::info!("waiting for the token key");
            return;
        };
        let refused = accepted.verdicts.values().filter(|v| !v.errors.is_empty());
        self.metrics.refused.set(count(refused.count()));
        self.metrics.objects.set(count(accepted.verdicts.len()));
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

    fn content(
        &self,
        tables: &Tables,
        accepted: &Accepted,
        mut services: Vec<ResolvedService>,
    ) -> Option<Content> {
        services.retain(|service| accepted.names(service));
        let find = |name: &str| {
            let secret = tables.secrets.get(&self.namespace, name);
            let either = secret.or_else(|| tables.config_maps.get(&self.namespace, name));
            either.cloned()
        };
        let token_key = find(TOKEN_KEY.0)?.get(TOKEN_KEY.1)?.clone();
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
            services,
            material,
            refusing,
            settings: Settings {
                token_key,
                collector_addresses: tables.cluster_ips(host(&self.settings.collector)),
                ..self.settings.clone()
            },
        })
    }
}

/// What was decided last.
struct Judged {
    /// Of which resources.
    at: u64,
    /// The first moment at which it is to be decided anew: an exception is over.
    until: Option<Timestamp>,
    services: Vec<ResolvedService>,
    accepted: Arc<Accepted>,
}

/// The first moment after `now` at which an exception is over.
fn expiry(latest: &[Latest], now: Timestamp) -> Option<Timestamp> {
    let read = latest.iter().filter_map(|one| one.object.as_ref().ok());
    let exceptions = read.flat_map(|object| &object.parsed.exceptions);
    let ends = exceptions.filter_map(|one| {
        let end: jiff::Timestamp = one.spec.expires.parse().ok()?;
        u64::try_from(end.as_millisecond()).ok().map(Timestamp)
    });
    ends.filter(|end| *end > now).min()
}

/// Waits for a moment, or wakes earlier to look at the clock; for ever, if there is none.
async fn reached(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => {
            let left = Duration::from_millis(moment.0.saturating_sub(time().0));
            tokio::time::sleep(left.min(LOOK)).await;
        }
        None => std::future::pending().await,
    }
}

/// The host of `host:port`.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn places(service: &ResolvedService) -> (ServiceRef, Vec<Places>) {
    let reference = ServiceRef {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        port: service.port,
    };
    (reference, service.places.clone())
}

fn time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(since).unwrap_or(u64::MAX))
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::kinds::held;
    use crate::store::kinds::tests::dynamic;

    fn exception(name: &str, expires: &str) -> Latest {
        let spec = json!({"owner": "o", "reason": "r", "expires": expires,
            "subjects": [{"names": ["x"]}], "targets": ["*"], "rules": ["a/b"]});
        let object = dynamic(Kind::PolicyException, None, name, spec);
        Latest::from(&held(Kind::PolicyException, object, None))
    }

    #[test]
    fn what_is_in_force_is_judged_anew_when_the_next_exception_is_over() {
        let latest = [
            exception("later", "1970-01-01T00:00:09Z"),
            exception("over", "1970-01-01T00:00:01Z"),
            exception("next", "1970-01-01T00:00:05Z"),
            exception("odd", "tomorrow"),
        ];
        let after = |now| expiry(&latest, Timestamp(now)).map(|end| end.0);
        assert_eq!(after(1000), Some(5000));
        assert_eq!(after(4999), Some(5000));
        assert_eq!(after(5000), Some(9000));
        assert_eq!(after(9000), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_is_far_away_is_looked_at_every_minute() {
        let begun = tokio::time::Instant::now();
        reached(Some(Timestamp(u64::MAX))).await;
        assert_eq!(begun.elapsed(), LOOK);
        reached(Some(Timestamp(0))).await;
        assert!(begun.elapsed() < LOOK + Duration::from_secs(1));
    }
}
