//! Holds of the cluster: AccessRequests, made for sidecars and decided by people.
//!
//! Invariants: the requester is who was attested, whatever the sidecar says; a ruling follows from
//! the decisions that admission let through, by the same pure function on every replica, and is
//! told by whichever replica holds the pod's watch; phases are written by the leader only.
//! Refuses: to judge who may approve. That is admission's.

mod notify;
pub(crate) mod phase;
mod reconcile;
mod room;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, Requester};
use weir_api::shortened;
pub(crate) use weir_injection::OWNER;
use weir_telemetry::{Counters, Label, Registry};
use weir_uplink::control::{AccessRequestOpened, RequestRuling};

pub(crate) use self::notify::Notifier;
use self::phase::{Terms, phase, ruling};
use self::reconcile::patch;
use self::room::{Making, Room, waiting, weight};
use crate::identity::workload;
use crate::peer::Peer;
use crate::sessions::Sessions;
use crate::store::follow::{Key, Table, follow};
use crate::store::kinds::api_resource;
use crate::store::pods::PodEntry;
use crate::text::{time, why};

/// Says which pod a request is of.
const POD_UID: &str = "weir.dev/pod-uid";
/// Requests of one pod that may wait at once, and what they may weigh together, in bytes.
const WAITING_PER_POD: usize = 64;
const WEIGHT_PER_POD: usize = 4 << 20;
/// Rulings that a pod which connects again is told of.
const PAST: usize = 64;
const SUMMARY_LINES: usize = 3;
const SUMMARY_CHARS: usize = 256;
const REASON_CHARS: usize = 1024;

/// What is kept of a request.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    name: String,
    uid: String,
    pod_uid: String,
    version: Option<String>,
    generation: Option<i64>,
    created: Option<Timestamp>,
    /// None for what cannot be read.
    terms: Option<Terms>,
    status: Option<AccessRequestStatus>,
    /// About how many bytes it takes.
    weight: usize,
    /// Of what it asks for.
    digest: [u8; 32],
    /// A ruling on it was told by this replica.
    told: bool,
}

/// Why a request could not be made or withdrawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The sidecar's.
    #[error("{0}")]
    Invalid(String),
    #[error("no such request")]
    NotFound,
    #[error("{WAITING_PER_POD} requests of this pod wait already")]
    TooMany,
    #[error(
        "the requests of this pod that wait are too large together: {WEIGHT_PER_POD} bytes may wait"
    )]
    TooLarge,
    /// Ours.
    #[error("the API server: {}", why(.0))]
    Api(#[from] kube::Error),
}

/// What happened to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Opened,
    Withdrawn,
    Told,
    Failed,
}

impl Label for Happened {
    const NAME: &'static str = "event";
    const ALL: &'static [Self] = &[Self::Opened, Self::Withdrawn, Self::Told, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Withdrawn => "withdrawn",
            Self::Told => "told",
            Self::Failed => "failed",
        }
    }
}

/// The requests of the cluster. Clones are one.
#[derive(Clone)]
pub(crate) struct Requests {
    client: Client,
    sessions: Sessions,
    table: Arc<Mutex<Table<Entry>>>,
    changed: Arc<watch::Sender<u64>>,
    events: Counters<Happened>,
    making: Making,
}

impl Requests {
    pub(crate) fn new(
        client: Client,
        sessions: Sessions,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            client,
            sessions,
            table: Arc::default(),
            making: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
            events: registry.counters(
                "weir_controller_access_requests_total",
                "AccessRequests opened and withdrawn by sidecars here, and rulings told to them.",
            )?,
        })
    }

    /// Watches requests and tells rulings. Never returns.
    pub(crate) async fn run(&self) {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource());
        follow(api, Config::default(), "accessrequests", |event| {
            self.take(event)
        })
        .await;
    }

    /// Makes a request for a pod.
    pub(crate) async fn open(
        &self,
        peer: &Peer,
        pod: &PodEntry,
        spec: AccessRequestSpec,
    ) -> Result<AccessRequestOpened, RequestError> {
        let opened = self.create(peer, pod, spec).await;
        self.events.inc(match opened {
            Ok(_) => Happened::Opened,
            Err(_) => Happened::Failed,
        });
        opened
    }

    async fn create(
        &self,
        peer: &Peer,
        pod: &PodEntry,
        spec: AccessRequestSpec,
    ) -> Result<AccessRequestOpened, RequestError> {
        let workload = match &pod.owner {
            Some((kind, name)) => Some(workload(&self.client, &peer.namespace, kind, name).await),
            None => None,
        };
        let spec = of_peer(spec, peer, workload);
        let _room = self.room(&peer.uid, weight(&spec))?;
        let terms = Terms::of(&spec).map_err(RequestError::Invalid)?;
        if terms.deadline <= Timestamp::now() {
            return Err(RequestError::Invalid("its deadline is over".to_owned()));
        }
        let object = manifest(peer, pod, &spec);
        let api = self.api(&peer.namespace);
        let made = api.create(&PostParams::default(), &object).await;
        let made = made.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 422 => {
                RequestError::Invalid(status.message.clone())
            }
            error => error.into(),
        })?;
        let name = made.metadata.name.unwrap_or_default();
        tracing::info!(namespace = %peer.namespace, %name, pod = %peer.pod, "a request was made");
        Ok(AccessRequestOpened { name })
    }

    /// Ends a request of a pod: nobody waits for it any more, or something else took its place. It
    /// stays as evidence.
    pub(crate) async fn withdraw(
        &self,
        peer: &Peer,
        name: &str,
        superseded: bool,
    ) -> Result<(), RequestError> {
        let Some(entry) = self.waiting_of(peer, name).await? else {
            return Ok(());
        };
        let phase = if superseded {
            AccessRequestPhase::Superseded
        } else {
            AccessRequestPhase::Withdrawn
        };
        let api = self.api(&peer.namespace);
        let patch = patch(&entry, phase, Timestamp::now());
        let params = PatchParams::default();
        match api.patch_status(name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => self.events.inc(Happened::Withdrawn),
            // Somebody decided meanwhile: the decision stands.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Says how many more wait for a request of a pod.
    pub(crate) async fn repeated(
        &self,
        peer: &Peer,
        name: &str,
        repeats: u32,
    ) -> Result<(), RequestError> {
        let Some(entry) = self.waiting_of(peer, name).await? else {
            return Ok(());
        };
        let known = entry.status.as_ref().map_or(0, |status| status.repeats);
        let patch = json!({
            "metadata": {"resourceVersion": entry.version},
            "status": {
                "phase": AccessRequestPhase::Pending,
                "repeats": repeats.max(known),
            },
        });
        let params = PatchParams::default();
        let patched = self
            .api(&peer.namespace)
            .patch_status(name, &params, &Patch::Merge(&patch))
            .await;
        match patched {
            // The sidecar says it again with the next one.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            patched => Ok(patched.map(drop)?),
        }
    }

    /// A request of a pod, if it waits.
    async fn waiting_of(&self, peer: &Peer, name: &str) -> Result<Option<Entry>, RequestError> {
        let api = self.api(&peer.namespace);
        let found = api.get_opt(name).await?.ok_or(RequestError::NotFound)?;
        let entry = entry(found, None);
        if entry.pod_uid != peer.uid {
            return Err(RequestError::NotFound);
        }
        let phase = entry.status.as_ref().map(|status| status.phase);
        let waits = matches!(phase, None | Some(AccessRequestPhase::Pending));
        Ok(waits.then_some(entry))
    }

    /// The last rulings on a pod's requests.
    pub(crate) fn past(&self, uid: &str) -> Vec<RequestRuling> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let of_pod = table.iter().filter(|(_, entry)| entry.pod_uid == uid);
        let mut rulings: Vec<_> = of_pod
            .filter_map(|(_, entry)| Some((entry.created, ruled(entry)?)))
            .collect();
        rulings.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        rulings.truncate(PAST);
        rulings.into_iter().map(|(_, ruling)| ruling).collect()
    }

    /// Whether there is a request of that name that asks for exactly that.
    pub(crate) fn asks(&self, namespace: &str, name: &str, spec: &Value) -> bool {
        let digest: [u8; 32] = Sha256::digest(spec.to_string()).into();
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let found = table.get(namespace, name);
        found.is_some_and(|entry| entry.digest == digest)
    }

    /// Requests that wait, the oldest first, and then those that are over, the newest first; whether each
    /// waits.
    pub(crate) fn keys(&self, closed: bool, now: Timestamp) -> Vec<(Key, bool)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let all = table.iter().filter_map(|(key, entry)| {
            let now = phase(entry.terms?, entry.status.as_ref(), now);
            let waits = now == AccessRequestPhase::Pending;
            (waits || closed).then(|| (key.clone(), waits, entry.created))
        });
        let mut all: Vec<_> = all.collect();
        drop(table);
        all.sort_by(|(_, a_waits, a), (_, b_waits, b)| {
            let order = if *a_waits { a.cmp(b) } else { b.cmp(a) };
            b_waits.cmp(a_waits).then(order)
        });
        all.into_iter()
            .map(|(key, waits, _)| (key, waits))
            .collect()
    }

    fn entries(&self) -> Vec<(Key, Entry)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let all = table
            .iter()
            .map(|(key, entry)| (key.clone(), entry.clone()));
        all.collect()
    }

    /// Room for one more request of a pod, beside those that wait and those that are being made.
    fn room(&self, uid: &str, weight: usize) -> Result<Room, RequestError> {
        let now = Timestamp::now();
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let of_pod = table.iter().filter(|(_, entry)| entry.pod_uid == uid);
        let waiting = waiting(of_pod.map(|(_, entry)| entry), now);
        drop(table);
        Room::take(&self.making, uid, weight, waiting)
    }

    fn take(&self, event: Event<DynamicObject>) {
        let mut tell: Vec<(String, RequestRuling)> = Vec::new();
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.apply(event, |object, before| {
                let mut entry = entry(object, before);
                if !entry.told
                    && let Some(ruling) = ruled(&entry)
                {
                    entry.told = true;
                    tell.push((entry.pod_uid.clone(), ruling));
                }
                entry
            });
        }
        for (uid, ruling) in tell {
            if self.sessions.tell(&uid, &ruling) {
                self.events.inc(Happened::Told);
            }
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }
}

pub(crate) fn resource() -> kube::api::ApiResource {
    api_resource("AccessRequest", "accessrequests")
}

/// The part of a request that decides when it is over.
#[derive(Deserialize)]
struct Asked {
    deadline: String,
    count: u32,
}

fn entry(object: DynamicObject, before: Option<&Entry>) -> Entry {
    let metadata = object.metadata;
    let labels = metadata.labels.unwrap_or_default();
    let asked = object.data.get("spec").map(Asked::deserialize);
    let terms = asked.and_then(Result::ok).and_then(|asked| {
        let deadline = asked.deadline.parse().ok()?;
        Some(Terms {
            deadline,
            count: asked.count,
        })
    });
    let spec = object.data.get("spec").map(Value::to_string);
    let spec = spec.unwrap_or_default();
    let status = object
        .data
        .get("status")
        .map(AccessRequestStatus::deserialize);
    Entry {
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        pod_uid: labels.get(POD_UID).cloned().unwrap_or_default(),
        version: metadata.resource_version,
        generation: metadata.generation,
        created: metadata.creation_timestamp.as_ref().and_then(time),
        terms,
        status: status.and_then(Result::ok),
        weight: spec.len(),
        digest: Sha256::digest(&spec).into(),
        told: before.is_some_and(|before| before.told),
    }
}

fn ruled(entry: &Entry) -> Option<RequestRuling> {
    let (ending, decisions) = ruling(entry.terms?, entry.status.as_ref())?;
    let approvers = decisions.iter().map(|one| one.approver.clone()).collect();
    Some(RequestRuling {
        name: entry.name.clone(),
        ending,
        approvers,
        decisions,
    })
}

/// A request as its pod may make it.
fn of_peer(
    mut spec: AccessRequestSpec,
    peer: &Peer,
    workload: Option<String>,
) -> AccessRequestSpec {
    spec.requester = Requester {
        name: peer.name.clone(),
        namespace: Some(peer.namespace.clone()),
        service_account: Some(peer.service_account.clone()),
        pod: Some(peer.pod.clone()),
        workload,
    };
    spec.summary.truncate(SUMMARY_LINES);
    for line in &mut spec.summary {
        *line = shortened(line, SUMMARY_CHARS);
    }
    spec.reason = shortened(&spec.reason, REASON_CHARS);
    spec
}

fn manifest(peer: &Peer, pod: &PodEntry, spec: &AccessRequestSpec) -> DynamicObject {
    let spec = serde_json::to_value(spec).unwrap_or(Value::Null);
    let mut object = DynamicObject::new("", &resource())
        .within(&peer.namespace)
        .data(json!({"spec": without_nulls(spec)}));
    object.metadata.name = None;
    object.metadata.generate_name = Some("weir-".to_owned());
    object.metadata.labels = Some([(POD_UID.to_owned(), peer.uid.clone())].into());
    // Whoever made the pod answers for it, and may not approve what it asks for. Controllers of
    // the cluster make pods for others.
    let person = pod.created_by.as_deref();
    let person = person.filter(|name| !name.starts_with("system:"));
    let owners = person.into_iter().chain(pod.owned_by.as_deref());
    let owners: Vec<&str> = owners.filter(|owner| !owner.trim().is_empty()).collect();
    object.metadata.annotations =
        (!owners.is_empty()).then(|| [(OWNER.to_owned(), owners.join(","))].into());
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": peer.pod, "uid": peer.uid}]);
    object.metadata.owner_references = serde_json::from_value(owner).ok();
    object
}

/// The API server takes an absent field for what a null means to us; parameters may be null.
fn without_nulls(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    spec
}

#[cfg(test)]
mod tests;
