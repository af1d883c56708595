//! The inputs of one moment, and the snapshot of a pod made from them.
//!
//! Pure. Invariants: the digest covers everything but the revision; secrets are of granted Targets
//! only, by keys that a Target can mean, and never Weir's own; pods that share what concerns them
//! share the rendered bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Bytes;
use weir_uplink::control::{
    ControlError, Push, ResolvedService, Settings, Snapshot, UnmatchedSetting,
};

use crate::bundle::Accepted;
use crate::peer::Peer;
use crate::store::Material;

/// The keys that a Target can mean.
const KEYS: [&str; 8] = [
    "ca.crt",
    "username",
    "password",
    "token",
    "ssh-privatekey",
    "ssh-privatekey-cert.pub",
    "ssh-ca-key",
    "known_hosts",
];
/// Weir's own objects, which no Target can name.
pub(crate) const OWN: [&str; 3] = ["weir-ca", "weir-token-key", "weir-admission"];

/// Everything that snapshots are made from, at one moment.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) revision: u64,
    /// When the change that led to this was noticed.
    pub(crate) since: Instant,
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) content: Content,
    rendered: Mutex<HashMap<Concern, Arc<Rendered>>>,
}

/// The part that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) services: Vec<ResolvedService>,
    /// What Targets refer to, by name.
    pub(crate) material: BTreeMap<String, Material>,
    /// Namespaces that refuse what no Target covers.
    pub(crate) refusing: Vec<String>,
    pub(crate) settings: Settings,
}

/// Pods for which this is equal have equal snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Concern {
    /// The identity: namespace and service account.
    name: String,
    /// Only where policies tell pods apart.
    pod: Option<String>,
    /// What no Target covers is refused.
    refuses: bool,
}

/// A snapshot as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) digest: String,
    /// A [`Push`] and a newline.
    pub(crate) line: Bytes,
}

impl Inputs {
    pub(crate) fn new(
        revision: u64,
        since: Instant,
        accepted: Arc<Accepted>,
        content: Content,
    ) -> Self {
        Self {
            revision,
            since,
            accepted,
            content,
            rendered: Mutex::default(),
        }
    }

    /// Whether both lead to the same snapshots.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.content == other.content && self.accepted.same(&other.accepted)
    }

    /// The snapshot of a pod. `refuses`: the pod itself refuses what no Target covers.
    pub(crate) fn rendered(
        &self,
        peer: &Peer,
        refuses: bool,
    ) -> Result<Arc<Rendered>, SnapshotError> {
        let key = Concern {
            name: peer.name.clone(),
            pod: self.accepted.knows_pods().then(|| peer.pod.clone()),
            refuses: refuses || self.content.refusing.binary_search(&peer.namespace).is_ok(),
        };
        let cache = || self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache().get(&key) {
            return Ok(Arc::clone(known));
        }
        let snapshot = self.snapshot(peer, key.refuses)?;
        let digest = snapshot.digest.clone();
        let mut line = serde_json::to_vec(&Push::Snapshot(Box::new(snapshot)))?;
        line.push(b'\n');
        let rendered = Arc::new(Rendered {
            digest,
            line: line.into(),
        });
        cache().insert(key, Arc::clone(&rendered));
        Ok(rendered)
    }

    fn snapshot(&self, peer: &Peer, refuses: bool) -> Result<Snapshot, SnapshotError> {
        let subject = peer.subject();
        let references = self.accepted.references(&subject).into_iter();
        let references = references.filter(|name| !OWN.contains(&name.as_str()));
        let secrets = references.filter_map(|name| {
            let material = self.content.material.get(&name)?.iter();
            let material = material.filter(|(key, _)| KEYS.contains(&key.as_str()));
            let material = material.map(|(key, value)| (key.clone(), value.clone()));
            Some((name, material.collect()))
        });
        let mut settings = self.content.settings.clone();
        if refuses {
            settings.unmatched = UnmatchedSetting::Refuse;
        }
        let mut snapshot = Snapshot {
            revision: self.revision,
            digest: String::new(),
            resources: self.accepted.manifests(&subject)?,
            services: self.content.services.clone(),
            secrets: secrets.collect(),
            settings,
        };
        snapshot.digest = snapshot.content_digest()?;
        Ok(snapshot)
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("a snapshot cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a snapshot has no digest: {0}")]
    Digest(#[from] ControlError),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::Acceptor;
    use crate::store::kinds::tests::dynamic;
    use crate::store::kinds::{Kind, held};

    fn objects(login: &str) -> Arc<Accepted> {
        let target = json!({
            "protocol": "PostgreSQL",
            "addresses": [{"host": "10.0.0.1", "port": 5432}],
            "upstreamTLS": {"mode": "Disable"},
            "credentials": {"mode": "Brokered", "secretRef": {"name": login}},
        });
        let grant = json!({"subjects": [{"namespaces": ["billing"]}], "targets": ["orders"]});
        let all = [
            (Kind::Target, "orders", target),
            (Kind::ClusterGuardPolicy, "g", grant),
        ];
        let latest = all.map(|(kind, name, spec)| {
            let held = held(kind, dynamic(kind, None, name, spec), None);
            crate::bundle::Latest::from(&held)
        });
        let accepted = Acceptor::default().accept(
            latest,
            &weir_api::Services::new(),
            weir_policy::Timestamp(0),
        );
        Arc::new(accepted)
    }

    fn inputs(revision: u64, login: &str) -> Inputs {
        let keys = ["username", "password", "tls.key"];
        let material: Material = keys.map(|key| (key.to_owned(), "eA==".to_owned())).into();
        let content = Content {
            material: [(login.to_owned(), material)].into(),
            refusing: vec!["strict".to_owned()],
            ..Content::default()
        };
        Inputs::new(revision, Instant::now(), objects(login), content)
    }

    fn snapshot(inputs: &Inputs, namespace: &str) -> Snapshot {
        let peer = Peer::new("cluster.local", namespace, "sa", "p", "u");
        let line = inputs.rendered(&peer, false).unwrap().line.clone();
        assert!(line.ends_with(b"\n"));
        match serde_json::from_slice(&line).unwrap() {
            Push::Snapshot(snapshot) => *snapshot,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_digest_is_that_of_the_content_whatever_the_revision() {
        let (one, two) = (
            snapshot(&inputs(1, "l"), "billing"),
            snapshot(&inputs(2, "l"), "billing"),
        );
        assert_eq!((one.revision, two.revision), (1, 2));
        assert_eq!(one.digest, two.digest);
        assert_eq!(one.digest, one.content_digest().unwrap());
        assert_ne!(one.digest, snapshot(&inputs(1, "m"), "billing").digest);
    }

    #[test]
    fn only_who_is_granted_a_target_gets_its_login_and_only_keys_that_a_login_has() {
        let inputs = inputs(1, "orders-login");
        let granted = snapshot(&inputs, "billing");
        let keys: Vec<_> = granted.secrets["orders-login"].keys().collect();
        assert_eq!(keys, ["password", "username"]);
        let other = snapshot(&inputs, "web");
        assert!(other.secrets.is_empty());
        let names: Vec<&Value> = other
            .resources
            .iter()
            .map(|r| &r["metadata"]["name"])
            .collect();
        assert_eq!(names, ["orders"]);
        assert!(!other.resources[0].to_string().contains("orders-login"));
    }

    #[test]
    fn a_target_cannot_name_an_object_of_weirs_own() {
        let inputs = inputs(1, "weir-ca");
        assert!(snapshot(&inputs, "billing").secrets.is_empty());
    }

    #[test]
    fn a_namespace_may_refuse_what_no_target_covers() {
        let inputs = inputs(1, "l");
        let unmatched = |namespace| snapshot(&inputs, namespace).settings.unmatched;
        assert_eq!(unmatched("strict"), UnmatchedSetting::Refuse);
        assert_eq!(unmatched("billing"), UnmatchedSetting::Relay);
    }

    #[test]
    fn pods_that_share_what_concerns_them_share_the_bytes() {
        let inputs = inputs(1, "l");
        let of = |pod: &str| {
            let peer = Peer::new("cluster.local", "billing", "sa", pod, pod);
            inputs.rendered(&peer, false).unwrap()
        };
        assert!(Arc::ptr_eq(&of("a"), &of("b")));
    }
}
