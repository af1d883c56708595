//! What the collector asks on behalf of people.
//!
//! Invariants
//! - A person sees what the cluster's RBAC lets them list, and decides where it lets them update
//!   `accessrequests/status`.
//! - A decision is about the one request with the UID that the person saw, in the version that was
//!   judged. The bearer of a Kubernetes token writes it as themselves, so that admission judges it again
//!   and stamps it; the controller writes it for the bearer of an ID token that it verified.
//! - Whom only the collector has seen reads, and decides nothing.

mod coverage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_api::kinds::{
    AccessRequestPhase, AccessRequestSpec, AccessRequestStatus, ApproverDecision, Binding,
    DecisionVia, RequestDecision,
};
use weir_oidc::Verifier;
use weir_uplink::control::{
    CoverageAsked, DecisionAsked, DecisionTaken, RequestView, RequestsAsked, RequestsListed,
};

use super::access::{Access, Remembering, Right, may_act_as};
use super::proof::{Proof, prove};
use super::rules::{self, Refused, Request, Reviewer, actor, may_decide, within};
use crate::requests::phase::{Terms, phase};
use crate::requests::{OWNER, Requests, resource};
use crate::store::Store;
use crate::store::follow::Key;
use crate::store::pods::Pods;
use crate::text::{time, why};

/// Requests of one answer that are over.
const CLOSED: usize = 200;
/// Requests of one answer that wait.
const WAITING: usize = 500;
/// Bytes of all statements and parameters of one answer; half of what the collector takes.
const BYTES: usize = 16 << 20;
/// Requests that are read at once.
const AT_ONCE: usize = 16;
/// How often a decision is tried anew because the request changed in between.
const TRIES: usize = 5;
/// Namespaces that a person is tried in who may not see all.
const NAMESPACES: usize = 64;
/// Characters of a reason.
const REASON: usize = 1024;

/// Why a person does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeopleError {
    /// The credential proves nobody.
    #[error("{0}")]
    Unauthenticated(String),
    /// This person may not.
    #[error("{0}")]
    Forbidden(String),
    #[error("no such request")]
    NotFound,
    /// It is over, or not the request that they saw.
    #[error("{0}")]
    Conflict(String),
    /// The decision.
    #[error("{0}")]
    Invalid(String),
    /// Ours.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Refused> for PeopleError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Forbidden(text) => Self::Forbidden(text),
            Refused::Over(text) => Self::Conflict(text),
            Refused::Invalid(text) => Self::Invalid(text),
        }
    }
}

fn unavailable(error: &kube::Error) -> PeopleError {
    PeopleError::Unavailable(format!("the API server: {}", why(error)))
}

/// People, as the collector speaks for them.
pub(crate) struct People {
    pub(crate) client: Client,
    /// How the API server is reached; others' tokens go there too.
    pub(crate) cluster: kube::Config,
    pub(crate) requests: Requests,
    pub(crate) verifier: Option<Verifier>,
    /// Asked anew each time: for decisions.
    pub(crate) access: Arc<dyn Access>,
    /// For whoever only looks.
    pub(crate) looking: Remembering,
    pub(crate) store: Store,
    pub(crate) pods: Pods,
    /// Namespaces that are never governed.
    pub(crate) never: [String; 2],
}

/// A request that was read.
struct Read {
    object: DynamicObject,
    spec: AccessRequestSpec,
    status: Option<AccessRequestStatus>,
    owners: String,
}

impl Read {
    fn new(object: DynamicObject) -> Option<Self> {
        let part = |field: &str| object.data.get(field);
        let spec = AccessRequestSpec::deserialize(part("spec")?).ok()?;
        let status = part("status").map(AccessRequestStatus::deserialize);
        let annotations = object.metadata.annotations.as_ref();
        let owners = annotations.and_then(|all| all.get(OWNER)).cloned();
        Some(Self {
            spec,
            status: status.and_then(Result::ok),
            owners: owners.unwrap_or_default(),
            object,
        })
    }

    fn request(&self) -> Request<'_> {
        Request {
            spec: &self.spec,
            status: self.status.as_ref(),
            owners: &self.owners,
        }
    }

    fn namespace(&self) -> &str {
        self.object
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    fn created(&self) -> Option<Timestamp> {
        self.object
            .metadata
            .creation_timestamp
            .as_ref()
            .and_then(time)
    }

    /// About how many bytes it takes in an answer.
    fn weight(&self) -> usize {
        let parameters = self.spec.parameters.iter().flatten().map(String::len);
        let shape = self.spec.shape.as_deref().map_or(0, str::len);
        let detail = self.spec.detail.as_deref().map_or(0, str::len);
        4096 + self.spec.statement.len() + shape + detail + parameters.sum::<usize>()
    }

    /// As its decisions have it: the leader writes the phase that follows from them a little later.
    fn view(mut self, now: Timestamp, may: Result<(), String>) -> RequestView {
        if let (Some(status), Ok(terms)) = (&mut self.status, Terms::of(&self.spec)) {
            status.phase = phase(terms, Some(&*status), now);
        }
        RequestView {
            namespace: self.namespace().to_owned(),
            uid: self.uid().to_owned(),
            created: self.created().map(|at| at.to_string()).unwrap_or_default(),
            name: self.object.metadata.name.unwrap_or_default(),
            spec: self.spec,
            status: self.status,
            may_decide: may.is_ok(),
            why_not: may.err(),
        }
    }
}

/// Whose requests somebody sees.
enum Visible {
    All,
    In(BTreeSet<String>),
}

/// Whose requests these are: namespace, service account, pod.
type Asker = (String, Option<String>, Option<String>);

impl People {
    /// The requests that a person may see.
    pub(crate) async fn requests(
        &self,
        asked: RequestsAsked,
    ) -> Result<RequestsListed, PeopleError> {
        let proved = prove(&self.client, self.verifier.as_ref(), asked.person).await?;
        let user = proved.user;
        let now = Timestamp::now();
        let visible = self.visible(&user, asked.namespace).await?;
        let mut keys = self.requests.keys(asked.closed, now);
        keys.retain(|((namespace, _), _)| match &visible {
            Visible::All => true,
            Visible::In(namespaces) => namespaces.contains(namespace),
        });
        let (waiting, closed): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, waits)| *waits);
        let most = waiting.len().min(WAITING) + closed.len().min(CLOSED);
        let mut left_out = waiting.len() + closed.len() - most;
        let chosen = waiting.into_iter().take(WAITING);
        let chosen = chosen.chain(closed.into_iter().take(CLOSED));
        let chosen: Vec<Key> = chosen.map(|(key, _)| key).collect();
        let mut known = HashMap::new();
        let (mut requests, mut bytes) = (Vec::new(), 0);
        for read in self.read(chosen).await? {
            bytes += read.weight();
            if bytes > BYTES {
                left_out += 1;
                continue;
            }
            let may = self.may(&user, &read, now, &mut known).await?;
            requests.push(read.view(now, may));
        }
        Ok(RequestsListed {
            user: name_of(&user).to_owned(),
            groups: user.groups.unwrap_or_default(),
            requests,
            left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
        })
    }

    /// Reads requests, in this order; those that are gone are left out.
    async fn read(&self, keys: Vec<Key>) -> Result<Vec<Read>, PeopleError> {
        let mut found: BTreeMap<usize, Read> = BTreeMap::new();
        let mut reading = JoinSet::new();
        let mut keys = keys.into_iter().enumerate();
        loop {
            while reading.len() < AT_ONCE
                && let Some((place, (namespace, name))) = keys.next()
            {
                let api = self.api(self.client.clone(), &namespace);
                reading.spawn(async move { (place, api.get_opt(&name).await) });
            }
            let Some(read) = reading.join_next().await else {
                return Ok(found.into_values().collect());
            };
            let (place, object) =
                read.map_err(|error| PeopleError::Unavailable(error.to_string()))?;
            let object = object.map_err(|error| unavailable(&error))?;
            found.extend(object.and_then(Read::new).map(|read| (place, read)));
        }
    }

    async fn visible(
        &self,
        user: &UserInfo,
        namespace: Option<String>,
    ) -> Result<Visible, PeopleError> {
        let sees = async |namespace: Option<String>| {
            let right = Right::SeeRequests(namespace);
            let may = self.looking.may(user, &right).await;
            may.map_err(PeopleError::Unavailable)
        };
        if let Some(namespace) = namespace {
            return if sees(Some(namespace.clone())).await? {
                Ok(Visible::In([namespace].into()))
            } else {
                Err(PeopleError::Forbidden(format!(
                    "{} may not list accessrequests in {namespace}",
                    name_of(user)
                )))
            };
        }
        if sees(None).await? {
            return Ok(Visible::All);
        }
        let keys = self.requests.keys(true, Timestamp::now());
        let tried: BTreeSet<String> = keys
            .into_iter()
            .map(|((namespace, _), _)| namespace)
            .collect();
        let mut seen = BTreeSet::new();
        for namespace in tried.into_iter().take(NAMESPACES) {
            if sees(Some(namespace.clone())).await? {
                seen.insert(namespace);
            }
        }
        if seen.is_empty() {
            return Err(PeopleError::Forbidden(format!(
                "{} may not list accessrequests cluster-wide, nor in a namespace that has any",
                name_of(user)
            )));
        }
        Ok(Visible::In(seen))
    }

    /// Whether a person who looks may decide, and why not.
    async fn may(
        &self,
        user: &UserInfo,
        read: &Read,
        now: Timestamp,
        known: &mut HashMap<Asker, Option<String>>,
    ) -> Result<Result<(), String>, PeopleError> {
        if let Err(refused) = judged(read, user, now) {
            return Ok(Err(refused.to_string()));
        }
        // The same for all requests of a pod.
        let key = (
            read.namespace().to_owned(),
            read.spec.requester.service_account.clone(),
            read.spec.requester.pod.clone(),
        );
        let why_not = match known.get(&key) {
            Some(why_not) => why_not.clone(),
            None => {
                let why_not = self.rights(&self.looking, user, read).await;
                let why_not = match why_not {
                    Ok(()) => None,
                    Err(PeopleError::Forbidden(why)) => Some(why),
                    Err(error) => return Err(error),
                };
                known.insert(key, why_not.clone());
                why_not
            }
        };
        Ok(why_not.map_or(Ok(()), Err))
    }

    /// Whether RBAC lets somebody decide on a request, and not act as its requester.
    async fn rights(
        &self,
        access: &dyn Access,
        user: &UserInfo,
        read: &Read,
    ) -> Result<(), PeopleError> {
        let namespace = read.namespace();
        let right = Right::Decide(namespace.to_owned());
        let may = access.may(user, &right).await;
        if !may.map_err(PeopleError::Unavailable)? {
            return Err(PeopleError::Forbidden(format!(
                "{} may not update accessrequests/status in {namespace}",
                name_of(user)
            )));
        }
        let acts = may_act_as(access, user, actor(&read.spec)).await;
        if let Some(how) = acts.map_err(PeopleError::Unavailable)? {
            return Err(PeopleError::Forbidden(rules::acts_as(name_of(user), &how)));
        }
        Ok(())
    }

    /// Takes a person's decision.
    pub(crate) async fn decide(&self, asked: DecisionAsked) -> Result<DecisionTaken, PeopleError> {
        let proved = prove(&self.client, self.verifier.as_ref(), asked.person.clone()).await?;
        let (client, via) = match proved.by {
            Proof::Token(token) => (self.bearing(&token)?, DecisionVia::Kubernetes),
            Proof::IdToken => (self.client.clone(), DecisionVia::Oidc),
            Proof::Collector => {
                return Err(PeopleError::Forbidden(
                    "a decision needs a token: a client certificate proves who you are to the \
                     collector only. `kubectl weir approve` decides with your kubeconfig"
                        .to_owned(),
                ));
            }
        };
        self.decide_by(&client, via, &proved.user, asked).await
    }

    /// Takes the decision of somebody who was proved otherwise, and is written by the controller.
    pub(super) async fn decide_for(
        &self,
        user: &UserInfo,
        via: DecisionVia,
        asked: DecisionAsked,
    ) -> Result<DecisionTaken, PeopleError> {
        self.decide_by(&self.client, via, user, asked).await
    }

    async fn decide_by(
        &self,
        client: &Client,
        via: DecisionVia,
        user: &UserInfo,
        asked: DecisionAsked,
    ) -> Result<DecisionTaken, PeopleError> {
        let decided = self.decide_as(client, via, user, asked).await;
        if let Err(error) = &decided {
            let (user, error) = (name_of(user), error.to_string());
            tracing::info!(user, error, "a decision was refused");
        }
        decided
    }

    /// Takes the decision of somebody who was proved, written by `client`.
    async fn decide_as(
        &self,
        client: &Client,
        via: DecisionVia,
        user: &UserInfo,
        asked: DecisionAsked,
    ) -> Result<DecisionTaken, PeopleError> {
        let decision = decision(user, via, &asked)?;
        for _ in 0..TRIES {
            let own = self.api(self.client.clone(), &asked.namespace);
            let object = own.get_opt(&asked.name).await;
            let object = object.map_err(|error| unavailable(&error))?;
            let right = Right::Decide(asked.namespace.clone());
            let may = self.access.may(user, &right).await;
            let may = may.map_err(PeopleError::Unavailable)?;
            // Nobody learns the names of requests that they may not decide on.
            let read = object.and_then(Read::new).filter(|_| may);
            let read = read.ok_or_else(|| {
                if may {
                    PeopleError::NotFound
                } else {
                    PeopleError::Forbidden(format!(
                        "{} may not update accessrequests/status in {}",
                        name_of(user),
                        asked.namespace
                    ))
                }
            })?;
            if read.uid() != asked.uid {
                return Err(PeopleError::Conflict(
                    "this is not the request that was decided on: look at it again".to_owned(),
                ));
            }
            judged(&read, user, Timestamp::now())?;
            within(&read.spec, &decision)?;
            self.rights(&*self.access, user, &read).await?;
            let patch = patch(&read, &decision);
            let api = self.api(client.clone(), &asked.namespace);
            let patched = api
                .patch_status(&asked.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            let object = match patched {
                Ok(object) => object,
                Err(kube::Error::Api(status)) if status.is_conflict() => continue,
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(PeopleError::Forbidden(status.message.clone()));
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                    return Err(PeopleError::Invalid(status.message.clone()));
                }
                Err(error) => return Err(unavailable(&error)),
            };
            return self.taken(object, user, via);
        }
        Err(PeopleError::Unavailable(
            "the request changes too often to be decided on: try again".to_owned(),
        ))
    }

    /// The decision as it was stored; one that bears another name than its maker's does not count.
    fn taken(
        &self,
        object: DynamicObject,
        user: &UserInfo,
        via: DecisionVia,
    ) -> Result<DecisionTaken, PeopleError> {
        let read = Read::new(object);
        let read = read.ok_or_else(|| PeopleError::Unavailable("it cannot be read".to_owned()))?;
        let mine = read.status.as_ref().and_then(|it| it.decisions.last());
        let stamped =
            mine.is_some_and(|mine| mine.approver == name_of(user) && mine.via == Some(via));
        if !stamped {
            return Err(PeopleError::Unavailable(
                "the decision came back without its maker: Weir's admission webhook did not see it, so \
                 it does not count"
                    .to_owned(),
            ));
        }
        tracing::info!(
            user = name_of(user),
            namespace = read.namespace(),
            name = read.object.metadata.name,
            "a decision was taken"
        );
        let over = "you have decided".to_owned();
        Ok(DecisionTaken {
            request: read.view(Timestamp::now(), Err(over)),
        })
    }

    /// A client that is somebody else.
    fn bearing(&self, token: &str) -> Result<Client, PeopleError> {
        let auth_info = serde_json::from_value(json!({"token": token}));
        let auth_info = auth_info.map_err(|error| PeopleError::Unavailable(error.to_string()))?;
        let mut config = self.cluster.clone();
        config.auth_info = auth_info;
        Client::try_from(config).map_err(|error| unavailable(&error))
    }

    /// Which pods are governed.
    pub(crate) async fn coverage(
        &self,
        asked: CoverageAsked,
    ) -> Result<weir_uplink::control::Coverage, PeopleError> {
        let proved = prove(&self.client, self.verifier.as_ref(), asked.person).await?;
        let mut coverage = coverage::of(&self.store, &self.pods, &self.never);
        let reads = async |namespace: Option<String>| {
            let right = Right::ReadEvidence(namespace);
            let may = self.looking.may(&proved.user, &right).await;
            may.map_err(PeopleError::Unavailable)
        };
        if reads(None).await? {
            return Ok(coverage);
        }
        let mut seen = Vec::new();
        for one in coverage.namespaces.drain(..).take(NAMESPACES) {
            if reads(Some(one.namespace.clone())).await? {
                seen.push(one);
            }
        }
        if seen.is_empty() {
            return Err(PeopleError::Forbidden(format!(
                "{} may list auditevents in no namespace",
                name_of(&proved.user)
            )));
        }
        coverage.namespaces = seen;
        Ok(coverage)
    }

    fn api(&self, client: Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client, namespace, &resource())
    }
}

fn name_of(user: &UserInfo) -> &str {
    user.username.as_deref().unwrap_or_default()
}

fn judged(read: &Read, user: &UserInfo, now: Timestamp) -> Result<(), Refused> {
    let none = BTreeMap::new();
    let reviewer = Reviewer {
        name: name_of(user),
        groups: user.groups.as_deref().unwrap_or_default(),
        extra: user.extra.as_ref().unwrap_or(&none),
    };
    may_decide(read.request(), reviewer, now)
}

/// The decision that is asked for, in the words of a request's status.
fn decision(
    user: &UserInfo,
    via: DecisionVia,
    asked: &DecisionAsked,
) -> Result<ApproverDecision, PeopleError> {
    if asked.uid.is_empty() {
        let text = "a decision names the UID of the request that it is about";
        return Err(PeopleError::Invalid(text.to_owned()));
    }
    let reason = asked.reason.as_deref().map(str::trim);
    let reason = reason.filter(|reason| !reason.is_empty());
    if asked.decision == RequestDecision::Deny && reason.is_none() {
        let text = "a denial needs a reason: the client is told";
        return Err(PeopleError::Invalid(text.to_owned()));
    }
    if reason.is_some_and(|reason| reason.chars().count() > REASON) {
        let text = format!("a reason has at most {REASON} characters");
        return Err(PeopleError::Invalid(text));
    }
    let approves = asked.decision == RequestDecision::Approve;
    Ok(ApproverDecision {
        approver: name_of(user).to_owned(),
        decision: asked.decision,
        at: Timestamp::now().to_string(),
        reason: reason.map(str::to_owned),
        rows: asked.rows.filter(|_| approves),
        binding: asked.binding.filter(|binding| *binding == Binding::Shape),
        minutes: asked.minutes,
        via: Some(via),
    })
}

/// The request's decisions with one more, bound to the version that was judged.
fn patch(read: &Read, decision: &ApproverDecision) -> Value {
    let status = read.status.as_ref();
    let mut decisions = status.map_or_else(Vec::new, |status| status.decisions.clone());
    decisions.push(decision.clone());
    let phase = status.map_or(AccessRequestPhase::Pending, |status| status.phase);
    json!({
        "metadata": {"resourceVersion": read.object.metadata.resource_version},
        "status": {"phase": phase, "decisions": decisions},
    })
}

#[cfg(test)]
mod tests;
