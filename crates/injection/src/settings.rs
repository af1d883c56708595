//! What differs between installations, and nothing that differs between pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an installation injects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The version of Weir that injects.
    pub version: String,
    /// The namespace of the controller; pods in it are never injected.
    pub namespace: String,
    /// The image of sidecar and probe.
    pub image: String,
    /// Where the controller is, as its Service says; the sidecar looks its name up where none answers,
    /// and needs no resolver that knows the cluster's names where one does.
    #[serde(default)]
    pub controller_addresses: Vec<String>,
    /// When the image is pulled.
    #[serde(default = "if_not_present")]
    pub pull_policy: String,
    /// The trust domain of identities.
    #[serde(default = "cluster_local")]
    pub trust_domain: String,
    /// The root that the sidecar trusts for the controller, in PEM, byte for byte as in the
    /// ConfigMap `weir-admission`.
    pub ca: String,
    /// Resources of the sidecar, and of the probe.
    #[serde(default)]
    pub resources: Resources,
    /// The size of the sidecar's memory volume; it counts against the memory limit.
    #[serde(default = "state_size")]
    pub state_size: String,
    /// Whether the sidecar stands before the Kubernetes API, and then keeps the service account's token.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
}

/// What is known of the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// The audiences that it takes tokens of. A token without an audience is always for it.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Whether the pod's programs may keep their token, if the pod asks for it: a PolicyException says so.
    /// The only setting that differs between pods.
    #[serde(skip)]
    pub may_keep: bool,
}

impl Kubernetes {
    /// Whether a token that is asked for with this audience is for the API server.
    pub(crate) fn takes(&self, audience: &str) -> bool {
        audience.is_empty() || self.audiences.iter().any(|taken| taken == audience)
    }
}

fn if_not_present() -> String {
    "IfNotPresent".to_owned()
}

fn cluster_local() -> String {
    "cluster.local".to_owned()
}

fn state_size() -> String {
    "64Mi".to_owned()
}

impl Settings {
    /// The controller's name as sidecars dial it.
    #[must_use]
    pub fn controller(&self) -> String {
        format!("weir-controller.{}.svc", self.namespace)
    }
}

/// Requests and limits as Kubernetes writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What the scheduler reserves. What only `limits` names is requested in full.
    #[serde(default)]
    pub requests: BTreeMap<String, String>,
    /// What the container may use.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        Self {
            requests: map(&[("cpu", "10m"), ("memory", "16Mi")]),
            limits: map(&[("cpu", "1"), ("memory", "128Mi")]),
        }
    }
}
