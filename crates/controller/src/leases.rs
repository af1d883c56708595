//! Window budgets, shared by all sidecars and replicas.
//!
//! The authoritative ledger of a budget is one ConfigMap, replaced with the version that it was
//! read at. Invariants: nothing is granted before it is written; a pod asks only for budgets of
//! its own identity, over windows that policies have, and not for any number of them; what cannot be
//! read or written grants nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;
use weir_policy::Timestamp;
use weir_telemetry::{Counters, Label, Registry};
use weir_uplink::LeaseLedger;
use weir_uplink::control::{Lease, LeaseAsk, LeaseRequest, Leases};

use crate::peer::Peer;
use crate::store::BUDGET_LABEL;
use crate::text::{hex, why};

/// Budgets in one request.
const MAX_BUDGETS: usize = 256;
/// Budgets of one identity that are kept at once: a window over a Target or a label, for each that its policies name.
const PER_IDENTITY: u32 = 512;
/// How long an identity that has so many is taken at its word.
const FULL: Duration = Duration::from_secs(60);
/// Says of which identity a budget is, by a digest of its name.
const IDENTITY_LABEL: &str = "weir.dev/budget-of";
/// A lost race is run again this often.
const TRIES: usize = 8;
/// Budgets that are remembered; forgotten ones are read again.
const KNOWN: usize = 4096;
/// How often old ledgers are looked for.
const TIDY: Duration = Duration::from_secs(3600);
/// Where the ledger lies in its ConfigMap.
const DATA: &str = "ledger";

/// Why nothing was leased.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The sidecar's.
    #[error("more than {MAX_BUDGETS} budgets")]
    TooMany,
    #[error("budget `{0}` is not one of this identity")]
    Foreign(String),
    #[error("no policy has a window of {0} ms")]
    NoWindow(u64),
    #[error("{PER_IDENTITY} budgets of this identity are kept already")]
    Full,
    /// Ours.
    #[error("the ledger of a budget cannot be read: {0}")]
    Ledger(#[from] serde_json::Error),
    #[error("the ledger of a budget cannot be kept: {}", why(.0))]
    Api(#[from] kube::Error),
    #[error("the ledger of a budget is written by too many at once")]
    Contended,
}

/// How asking for a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Granted,
    Exhausted,
    Failed,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Granted, Self::Exhausted, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
        }
    }
}

/// A budget's ConfigMap as it was written last.
type Known = Arc<Mutex<Option<ConfigMap>>>;

/// The budgets.
pub(crate) struct Budgets {
    api: Api<ConfigMap>,
    known: StdMutex<HashMap<String, Known>>,
    /// Identities that had as many as they may, and when.
    full: StdMutex<HashMap<String, Instant>>,
    outcomes: Counters<Outcome>,
}

impl Budgets {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            api: Api::namespaced(client, namespace),
            known: StdMutex::default(),
            full: StdMutex::default(),
            outcomes: registry.counters(
                "weir_controller_leases_total",
                "Parts of window budgets that sidecars asked for.",
            )?,
        })
    }

    /// Settles and leases every budget of a request, in its order. `counts`: whether a policy has a window of a length.
    pub(crate) async fn lease(
        &self,
        peer: &Peer,
        request: &LeaseRequest,
        counts: impl Fn(u64) -> bool,
    ) -> Result<Leases, LeaseError> {
        if request.budgets.len() > MAX_BUDGETS {
            return Err(LeaseError::TooMany);
        }
        if let Some(foreign) = request.budgets.iter().find(|ask| !is_own(peer, ask)) {
            return Err(LeaseError::Foreign(foreign.key.clone()));
        }
        let mut budgets = Vec::with_capacity(request.budgets.len());
        for ask in &request.budgets {
            let lease = self.one(peer, ask, &counts).await;
            self.outcomes.inc(match &lease {
                Ok(lease) if lease.granted.is_zero() => Outcome::Exhausted,
                Ok(_) => Outcome::Granted,
                Err(_) => Outcome::Failed,
            });
            budgets.push(match lease {
                Ok(lease) => lease,
                Err(error) if request.budgets.len() == 1 => return Err(error),
                // The others must not suffer for one that is broken.
                Err(error) => {
                    tracing::error!(%error, key = ask.key, "a budget could not be leased");
                    Lease {
                        key: ask.key.clone(),
                        failed: Some(error.to_string()),
                        ..Lease::default()
                    }
                }
            });
        }
        Ok(Leases { budgets })
    }

    /// Deletes the ledgers of budgets that are over. The leader's; never returns.
    pub(crate) async fn tidy(&self) {
        loop {
            if let Err(error) = self.tidy_once().await {
                tracing::warn!(%error, "old budgets could not be deleted");
            }
            tokio::time::sleep(TIDY).await;
        }
    }

    async fn tidy_once(&self) -> Result<(), LeaseError> {
        let budgets = ListParams::default().labels(BUDGET_LABEL);
        for map in self.api.list(&budgets).await? {
            let ledger: LeaseLedger = serde_json::from_str(text(&map))?;
            let (Some(name), true) = (&map.metadata.name, ledger.is_over(now())) else {
                continue;
            };
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    resource_version: map.metadata.resource_version.clone(),
                    uid: None,
                }),
                ..DeleteParams::default()
            };
            match self.api.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
                outcome => _ = outcome?,
            }
        }
        Ok(())
    }

    /// Whether one more budget of an identity may be made. Nothing of what a sidecar says of it is believed but that
    /// some policy has such a window.
    async fn room(
        &self,
        peer: &Peer,
        ask: &LeaseAsk,
        counts: impl Fn(u64) -> bool,
    ) -> Result<(), LeaseError> {
        if !counts(ask.per_ms) {
            return Err(LeaseError::NoWindow(ask.per_ms));
        }
        let full = || self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full().retain(|_, at| at.elapsed() < FULL);
        if full().contains_key(&peer.name) {
            return Err(LeaseError::Full);
        }
        let of = format!("{IDENTITY_LABEL}={}", digest(&peer.name));
        let of = ListParams::default().labels(&of).limit(PER_IDENTITY);
        let made = self.api.list_metadata(&of).await?.items.len();
        if made >= PER_IDENTITY as usize {
            full().insert(peer.name.clone(), Instant::now());
            return Err(LeaseError::Full);
        }
        Ok(())
    }

    async fn one(
        &self,
        peer: &Peer,
        ask: &LeaseAsk,
        counts: impl Fn(u64) -> bool,
    ) -> Result<Lease, LeaseError> {
        let name = name(&ask.key);
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= KNOWN {
                all.retain(|_, known| Arc::strong_count(known) > 1);
            }
            Arc::clone(all.entry(name.clone()).or_default())
        };
        let mut known = known.lock().await;
        for _ in 0..TRIES {
            let before = match known.take() {
                Some(map) => Some(map),
                None => self.api.get_opt(&name).await?,
            };
            if before.is_none() {
                self.room(peer, ask, &counts).await?;
            }
            let mut ledger = match before.as_ref().map(text) {
                Some(text) => serde_json::from_str(text)?,
                None => LeaseLedger::default(),
            };
            let lease = ledger.lease(&peer.uid, ask, now());
            let ledger = serde_json::to_string(&ledger)?;
            let next = config_map(&name, &peer.name, before.as_ref(), &ledger);
            let params = PostParams::default();
            let written = match before {
                Some(_) => self.api.replace(&name, &params, &next).await,
                None => self.api.create(&params, &next).await,
            };
            match written {
                Ok(map) => {
                    *known = Some(map);
                    return Ok(lease);
                }
                // Another replica was first, or somebody deleted it: look again.
                Err(kube::Error::Api(status))
                    if status.is_conflict()
                        || status.is_already_exists()
                        || status.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LeaseError::Contended)
    }
}

/// Budgets are counted by subject, and their keys start with it.
fn is_own(peer: &Peer, ask: &LeaseAsk) -> bool {
    let rest = ask.key.strip_prefix(&peer.name);
    rest.is_some_and(|rest| rest.starts_with('|') && rest.ends_with(&format!("|{}ms", ask.per_ms)))
}

fn name(key: &str) -> String {
    format!("weir-budget-{}", digest(key))
}

fn digest(text: &str) -> String {
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(40);
    digest
}

fn text(map: &ConfigMap) -> &str {
    let text = map.data.as_ref().and_then(|data| data.get(DATA));
    // Not a ledger: reading it fails, and nothing is granted.
    text.map_or("", String::as_str)
}

fn config_map(name: &str, identity: &str, before: Option<&ConfigMap>, ledger: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    let labels = [
        (BUDGET_LABEL.to_owned(), "true".to_owned()),
        (IDENTITY_LABEL.to_owned(), digest(identity)),
    ];
    map.metadata.labels = Some(labels.into());
    map.metadata.resource_version =
        before.and_then(|before| before.metadata.resource_version.clone());
    map.data = Some([(DATA.to_owned(), ledger.to_owned())].into());
    map
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_for_budgets_of_its_own_identity_only() {
        let peer = Peer::new("cluster.local", "billing", "reporter", "p", "1");
        let ask = |key: &str| LeaseAsk {
            key: key.to_owned(),
            per_ms: 1000,
            ..LeaseAsk::default()
        };
        let own = "spiffe://cluster.local/ns/billing/sa/reporter|target:orders|*|1000ms";
        assert!(is_own(&peer, &ask(own)));
        for foreign in [
            "spiffe://cluster.local/ns/billing/sa/admin|target:orders|*|1000ms",
            "spiffe://cluster.local/ns/billing/sa/reporter2|target:orders|*|1000ms",
            "spiffe://cluster.local/ns/billing/sa/reporter|target:orders|*|3600000ms",
        ] {
            assert!(!is_own(&peer, &ask(foreign)), "{foreign}");
        }
    }

    #[test]
    fn a_map_without_a_ledger_is_an_error_and_not_an_empty_ledger() {
        assert!(serde_json::from_str::<LeaseLedger>(text(&ConfigMap::default())).is_err());
    }
}
