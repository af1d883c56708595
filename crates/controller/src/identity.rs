//! Who a pod is: a service-account token and a key in, a certificate out.
//!
//! Invariants: a token is believed only if the cluster's keys *and* its API server vouch for it,
//! both name the same pod, and that pod exists with that UID and runs as that service account; a
//! certificate says what was attested and nothing that was asked for.
//! Refuses: tokens of other audiences and clusters, tokens that are bound to no pod, pods that are
//! gone, recreated, ended or past their grace, and pods whose first init container is not Weir's sidecar. Every lookup that fails refuses.

mod keys;
mod owner;
mod rate;
mod review;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weir_audit::{FindingCode, Names};
use weir_telemetry::{Counters, IntCounter, Label, Registry};
use weir_uplink::control::{Attested, Enrolment};

use self::keys::Keys;
pub(crate) use self::owner::workload;
use self::rate::Rates;
pub(crate) use self::review::user_of;
use self::token::{Claims, TokenError};
use crate::authority::{Authority, IDENTITY_LIFE, Request};
use crate::evidence::Findings;
use crate::peer::Peer;
use crate::store::pods::{PodEntry, Pods};
use crate::store::sidecar::Ours;
use crate::text::why;

/// Enrolments at once; each costs the API server two requests.
const AT_ONCE: usize = 32;

/// What tokens must be like, and who the collector is.
#[derive(Clone, Debug)]
pub(crate) struct IdentityConfig {
    pub(crate) trust_domain: String,
    pub(crate) audience: String,
    /// Asked from the API server where it is not given.
    pub(crate) issuer: Option<String>,
    /// Namespace and service account of the collector.
    pub(crate) collector: (String, String),
    /// The names that its certificate carries.
    pub(crate) collector_names: Vec<String>,
    pub(crate) ours: Ours,
}

/// Why no identity was granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// The token is not good.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The API server does not vouch for it.
    #[error("the API server does not vouch for the token: {0}")]
    Review(String),
    /// The pod is not, or no longer, the one that the token names.
    #[error("{0}")]
    Pod(&'static str),
    /// The request is not one.
    #[error("{0}")]
    Request(crate::authority::CertificateError),
    /// The pod asks all the time.
    #[error("this pod enrols too often")]
    TooOften,
    /// Ours.
    #[error("the token cannot be verified now: {0}")]
    Unavailable(String),
}

impl EnrolError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Token(_) => Outcome::BadToken,
            Self::Review(_) => Outcome::NotVouchedFor,
            Self::Pod(_) => Outcome::BadPod,
            Self::Request(_) => Outcome::BadRequest,
            Self::TooOften => Outcome::TooOften,
            Self::Unavailable(_) => Outcome::Failed,
        }
    }
}

/// How enrolments end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted,
    BadToken,
    NotVouchedFor,
    BadPod,
    BadRequest,
    TooOften,
    Failed,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[
        Self::Granted,
        Self::BadToken,
        Self::NotVouchedFor,
        Self::BadPod,
        Self::BadRequest,
        Self::TooOften,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::BadToken => "bad_token",
            Self::NotVouchedFor => "not_vouched_for",
            Self::BadPod => "bad_pod",
            Self::BadRequest => "bad_request",
            Self::TooOften => "too_often",
            Self::Failed => "failed",
        }
    }
}

/// Grants identities.
pub(crate) struct Enrolments {
    client: Client,
    config: IdentityConfig,
    authority: Authority,
    pods: Pods,
    keys: Keys,
    slots: Semaphore,
    /// The key that each pod enrolled with, by UID.
    known: Mutex<HashMap<String, String>>,
    rates: Mutex<Rates>,
    findings: Findings,
    outcomes: Counters<Outcome>,
    second_keys: IntCounter,
}

impl Enrolments {
    pub(crate) fn new(
        client: Client,
        config: IdentityConfig,
        authority: Authority,
        pods: Pods,
        findings: Findings,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            keys: Keys::new(client.clone(), config.issuer.clone()),
            client,
            config,
            authority,
            pods,
            slots: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            rates: Mutex::default(),
            findings,
            outcomes: registry.counters(
                "weir_controller_enrolments_total",
                "Identities asked for, by outcome.",
            )?,
            second_keys: registry.counter(
                "weir_controller_second_keys_total",
                "Pods that enrolled with another key than before.",
            )?,
        })
    }

    /// Grants an identity to the holder of `token` for the key of `csr`.
    pub(crate) async fn enrol(&self, token: &str, csr: &str) -> Result<Enrolment, EnrolError> {
        let granted = self.grant(token, csr).await;
        match &granted {
            Ok(enrolment) => {
                self.outcomes.inc(Outcome::Granted);
                let who = &enrolment.identity;
                tracing::info!(identity = %who.name, pod = who.pod.as_deref(), "enrolled");
            }
            Err(error) => {
                self.outcomes.inc(error.outcome());
                tracing::warn!(%error, "an enrolment was refused");
            }
        }
        granted
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(uid);
        self.rates().forget(uid);
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn grant(&self, token: &str, csr: &str) -> Result<Enrolment, EnrolError> {
        let slot = self.slots.acquire().await;
        let claims = self.keys.verify(token, &self.config.audience).await?;
        if !self.rates().take(&claims.uid, Instant::now()) {
            return Err(EnrolError::TooOften);
        }
        review::vouch(&self.client, token, &self.config.audience, &claims).await?;
        let pod = self.pod(&claims).await?;
        drop(slot);
        let request = Request::parse(csr).map_err(EnrolError::Request)?;
        let peer = Peer::new(
            &self.config.trust_domain,
            &claims.namespace,
            &claims.service_account,
            &claims.pod,
            &claims.uid,
        );
        self.remember(&peer, request.key_digest());
        let identity = self.attested(&peer, &pod).await;
        let names = if self.is_collector(&peer) {
            self.config.collector_names.as_slice()
        } else {
            &[]
        };
        let root = self.authority.root();
        let now = SystemTime::now();
        let certificate = root
            .identity(request, &peer, names, now)
            .map_err(|error| EnrolError::Unavailable(error.to_string()))?;
        let life = root.expires().duration_since(now).unwrap_or_default();
        Ok(Enrolment {
            certificate,
            roots: root.bundle(),
            expires_in_seconds: life.min(IDENTITY_LIFE).as_secs(),
            identity,
        })
    }

    /// Whether this is the collector.
    pub(crate) fn is_collector(&self, peer: &Peer) -> bool {
        let (namespace, service_account) = &self.config.collector;
        peer.namespace == *namespace && peer.service_account == *service_account
    }

    /// The pod of a certificate, if it still is.
    pub(crate) async fn alive(&self, peer: &Peer) -> Result<PodEntry, EnrolError> {
        let claims = Claims {
            namespace: peer.namespace.clone(),
            service_account: peer.service_account.clone(),
            pod: peer.pod.clone(),
            uid: peer.uid.clone(),
        };
        self.pod(&claims).await
    }

    /// The pod, from the watch or, where the watch has not seen it yet, from the API server.
    async fn pod(&self, claims: &Claims) -> Result<PodEntry, EnrolError> {
        let now = Timestamp::now();
        if let Some(pod) = self.pods.get(&claims.namespace, &claims.pod)
            && self.judge(&pod, claims, now).is_ok()
        {
            return Ok(pod);
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &claims.namespace);
        let pod = api.get_opt(&claims.pod).await;
        let pod = pod.map_err(|error| EnrolError::Unavailable(why(&error)))?;
        let pod = pod.ok_or(EnrolError::Pod("the pod of the token does not exist"))?;
        let pod = PodEntry::from(&pod);
        self.judge(&pod, claims, now).map_err(EnrolError::Pod)?;
        Ok(pod)
    }

    /// Whether a pod may have an identity: it is the one that the token names, and has Weir's sidecar, or is the collector.
    fn judge(&self, pod: &PodEntry, claims: &Claims, now: Timestamp) -> Result<(), &'static str> {
        judge(pod, claims, now)?;
        let (namespace, account) = &self.config.collector;
        if claims.namespace == *namespace && claims.service_account == *account {
            return Ok(());
        }
        let sidecar = pod.sidecar.as_ref();
        let sidecar = sidecar.ok_or("the first init container of the pod is not Weir's sidecar")?;
        let root = self.authority.root();
        let roots: Vec<&str> = [root.certificate()]
            .into_iter()
            .chain(root.previous())
            .collect();
        sidecar.judge(&self.config.ours, &roots)
    }

    fn remember(&self, peer: &Peer, key: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(peer.uid.clone(), key.clone());
        if before.is_some_and(|before| before != key) {
            self.second_keys.inc();
            let text = format!(
                "pod {}/{} ({}) of {} enrolled with a second key: somebody else may have its token",
                peer.namespace, peer.pod, peer.uid, peer.name
            );
            self.findings.report(FindingCode::SecondKey, text);
        }
    }

    async fn attested(&self, peer: &Peer, pod: &PodEntry) -> Attested {
        let workload = match &pod.owner {
            Some((kind, name)) => {
                Some(owner::workload(&self.client, &peer.namespace, kind, name).await)
            }
            None => None,
        };
        let arc = |text: &str| -> Option<Arc<str>> { Some(text.into()) };
        Attested {
            namespace: arc(&peer.namespace),
            service_account: arc(&peer.service_account),
            pod: arc(&peer.pod),
            uid: arc(&peer.uid),
            workload: workload.map(Arc::from),
            node: pod.node.as_deref().map(Arc::from),
            images: pod.images.iter().map(String::as_str).collect::<Names>(),
            ..Attested::named(peer.name.as_str())
        }
    }
}

/// Whether a pod is the one that a token names, and may still have an identity.
fn judge(pod: &PodEntry, claims: &Claims, now: Timestamp) -> Result<(), &'static str> {
    if pod.uid != claims.uid {
        return Err("the pod of the token was replaced by another of its name");
    }
    if pod.service_account != claims.service_account {
        return Err("the pod of the token runs as another service account");
    }
    if pod.ended {
        return Err("the pod of the token has ended");
    }
    if pod.deadline.is_some_and(|deadline| deadline < now) {
        return Err("the pod of the token should be gone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            namespace: "billing".into(),
            service_account: "reporter".into(),
            pod: "p".into(),
            uid: "1".into(),
        }
    }

    fn pod() -> PodEntry {
        PodEntry {
            uid: "1".into(),
            service_account: "reporter".into(),
            ..PodEntry::default()
        }
    }

    #[test]
    fn only_the_very_pod_of_the_token_while_it_lives_gets_an_identity() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(judge(&pod(), &claims(), now), Ok(()));
        let at = |second| Timestamp::from_second(second).ok();
        let within = PodEntry {
            deadline: at(1_000_030),
            ..pod()
        };
        assert_eq!(judge(&within, &claims(), now), Ok(()));
        let refused = [
            PodEntry {
                uid: "2".into(),
                ..pod()
            },
            PodEntry {
                service_account: "admin".into(),
                ..pod()
            },
            PodEntry {
                ended: true,
                ..pod()
            },
            PodEntry {
                deadline: at(999_999),
                ..pod()
            },
        ];
        for pod in refused {
            assert!(judge(&pod, &claims(), now).is_err(), "{pod:?}");
        }
    }
}
