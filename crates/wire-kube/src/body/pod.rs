//! What workloads do, by the names of their fields wherever a pod's template may stand.
//!
//! Which custom resources make pods is not known: of what they name, a Secret counts as read that is given to a pod by
//! a name or a shape that says so, and not one that a controller reads or writes itself (`tls.secretName`,
//! `privateKeySecretRef`, `secretStoreRef`). Whatever seems to be the name of one is named.

use serde_json::Value;

use super::Step;
use crate::Resource;

/// Whom a workload runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccount {
    /// The service account of this name.
    Named(String),
    /// Several, or it cannot be said which.
    Any,
}

/// Secrets that a volume's driver is given.
const OF_DRIVERS: [&str; 5] = [
    "controllerExpandSecretRef",
    "controllerPublishSecretRef",
    "nodeExpandSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
];
/// What a member's name ends in, in lower case, below which a Secret becomes files or variables of a pod:
/// `extraVolumes`, `valueFrom`.
const OF_PODS: [&str; 5] = ["volumes", "volume", "env", "envfrom", "valuefrom"];
/// Keys of Secrets by which a workflow's pods fetch and store what they work on.
const OF_WORKFLOWS: [&str; 16] = [
    "accessKeySecret",
    "accountKeySecret",
    "caSecret",
    "clientCertSecret",
    "clientIDSecret",
    "clientKeySecret",
    "clientSecretSecret",
    "krbCCacheSecret",
    "krbKeytabSecret",
    "passwordSecret",
    "secretKeySecret",
    "serverSideCustomerKeySecret",
    "serviceAccountKeySecret",
    "sessionTokenSecret",
    "sshPrivateKeySecret",
    "usernameSecret",
];

/// A walk over a body.
#[derive(Debug, Default)]
pub(super) struct Pod {
    pub(super) reads_secrets: bool,
    pub(super) reads_configs: bool,
    pub(super) names_secrets: bool,
    pub(super) privileged: bool,
    pub(super) service_account: Option<ServiceAccount>,
    pub(super) secret_type: Option<String>,
    pub(super) dry_run: bool,
    /// The data of the object is text, whatever its names say.
    text: bool,
    /// The object is a volume of the cluster, or holds one.
    volume: bool,
    /// The object says how volumes are made.
    class: bool,
    /// The object is a Secret of its own kind, or becomes one: what it names is written, not mounted.
    writes: bool,
}

impl Pod {
    pub(super) fn new(resource: &Resource) -> Pod {
        let core = |names: &[&str]| {
            resource.group.is_empty() && names.contains(&resource.resource.as_str())
        };
        Pod {
            text: core(&["secrets", "configmaps"]),
            volume: core(&["persistentvolumes"]) || resource.resource == "volumeattachments",
            class: resource.group.ends_with("storage.k8s.io"),
            writes: resource.resource.ends_with("secrets"),
            ..Pod::default()
        }
    }

    /// Something in the object is not known at all.
    pub(super) fn may_do_anything(&mut self) {
        if !self.text {
            self.reads_secrets = true;
            self.reads_configs = true;
            self.names_secrets = true;
            self.privileged = true;
            self.service_account = Some(ServiceAccount::Any);
        }
    }

    /// A value at a place; true stands for one that is not known.
    pub(super) fn piece(&mut self, at: &[Step], value: &Value) {
        let mut names: Vec<&str> = Vec::new();
        for (index, step) in at.iter().enumerate() {
            let last = index + 1 == at.len();
            if let Step::Member(name) | Step::Either(name) = step {
                // What stands between is there; what it is, is not known.
                let value = if last { value } else { &Value::Bool(true) };
                if self.skips(&names, name) {
                    return;
                }
                self.member(&names, name, value);
                names.push(name);
            }
        }
        self.walk(&mut names, value);
    }

    /// Whether no workload can stand there.
    fn skips(&self, names: &[&str], name: &str) -> bool {
        let data = matches!(name, "data" | "stringData" | "binaryData");
        names.is_empty() && (name == "metadata" || self.text && data)
    }

    fn walk<'v>(&mut self, names: &mut Vec<&'v str>, value: &'v Value) {
        match value {
            Value::Object(members) => {
                let mounted = |name: &str| members.get(name).is_some_and(|it| !is_empty(it));
                self.reads_secrets |= members.contains_key("mountPath") && mounted("secretName");
                for (name, value) in members {
                    if self.skips(names, name) {
                        continue;
                    }
                    self.member(names, name, value);
                    names.push(name);
                    self.walk(names, value);
                    names.pop();
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.walk(names, item);
                }
            }
            Value::String(text) => self.names_secrets |= is_manifest(text),
            _ => {}
        }
    }

    fn member(&mut self, names: &[&str], name: &str, value: &Value) {
        let is = |name: &str| names.contains(&name);
        let on = !matches!(value, Value::Null | Value::Bool(false));
        let some = on && !is_empty(value);
        // Of a volume, its driver is given what the Secret holds.
        let of_pod = || self.volume || names.iter().any(|above| ends_in(above, &OF_PODS));
        let parent = || {
            let mut above = names.iter().rev().copied();
            above.find(|name| !is_index(name)).unwrap_or_default()
        };
        let kind = name == "kind" && !names.is_empty() && value.as_str() == Some("Secret");
        self.names_secrets |= kind || some && !self.writes && says_secret(name);
        match name {
            "configMapKeyRef" => self.reads_configs |= on,
            "configMapRef" if of_pod() => self.reads_configs |= on,
            "configMap" if of_pod() || is("sources") => self.reads_configs |= on,
            "secretKeyRef" => self.reads_secrets |= on,
            _ if OF_DRIVERS.contains(&name) => self.reads_secrets |= on,
            "secretRef" if of_pod() => self.reads_secrets |= on,
            "secretName" if of_pod() || parent() == "secret" => self.reads_secrets |= some,
            "secret" if of_pod() || is("sources") => self.reads_secrets |= on,
            "secrets" if !self.writes && ends_in(parent(), &["spec"]) => {
                self.reads_secrets |= lists_names(value);
            }
            "path" | "mountPath" if parent() == "secrets" => self.reads_secrets |= some,
            "key" if OF_WORKFLOWS.contains(&parent()) => self.reads_secrets |= some,
            _ if self.class && parent() == "parameters" && names_secret(name) => {
                self.reads_secrets |= some;
            }
            _ if !self.writes && mounts(name) => self.reads_secrets |= some,
            // The driver that mounts what an external store holds.
            "driver" if is("csi") => {
                let plain = value
                    .as_str()
                    .is_some_and(|driver| !driver.contains("secret"));
                self.reads_secrets |= on && !plain;
            }
            "targetContainerName" => self.reads_secrets |= some,
            "volumeMounts" if is("ephemeralContainers") => self.reads_secrets |= some,
            "privileged" | "hostNetwork" | "hostPID" | "hostIPC" | "hostProcess" | "hostPath" => {
                self.privileged |= on;
            }
            // A directory or a device of the node, as `hostPath` is.
            "local" if self.volume && names == ["spec"] => self.privileged |= on,
            "add" if names.last() == Some(&"capabilities") => self.privileged |= some,
            "procMount" => self.privileged |= some && value.as_str() != Some("Default"),
            "serviceAccountName" | "serviceAccount" if some => self.account(value),
            "type" if names.is_empty() => self.secret_type = value.as_str().map(str::to_owned),
            "dryRun" if names.is_empty() => self.dry_run = some,
            _ => {}
        }
    }

    fn account(&mut self, value: &Value) {
        let named = value
            .as_str()
            .map(|name| ServiceAccount::Named(name.to_owned()));
        let named = named.unwrap_or(ServiceAccount::Any);
        self.service_account = match self.service_account.take() {
            Some(before) if before != named => Some(ServiceAccount::Any),
            _ => Some(named),
        };
    }
}

/// Whether a name ends in one of these, whatever their case.
fn ends_in(name: &str, ends: &[&str]) -> bool {
    let mut ends = ends.iter();
    ends.any(|end| {
        let at = name.len().checked_sub(end.len());
        at.and_then(|at| name.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    })
}

/// Whether a step of a patch's path is an item of a list.
fn is_index(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// Whether it is a list of names, or may be one.
fn lists_names(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(Value::is_string),
        value => *value == Value::Bool(true),
    }
}

/// Whether a parameter names a Secret: `csi.storage.k8s.io/node-stage-secret-name`, `adminSecretName`.
fn names_secret(parameter: &str) -> bool {
    ends_in(parameter, &["secretname", "secret-name"])
}

/// Whether a member's name says that a Secret is mounted, or becomes variables: `extraSecretMounts`,
/// `envFromSecrets`, `envSecretKeyRefs`.
fn mounts(name: &str) -> bool {
    let (mut secret, mut mount) = (false, false);
    for word in words(name) {
        match word.as_str() {
            "secret" => secret = true,
            "mount" | "mounted" | "volume" | "env" | "environment" => mount = true,
            _ => {}
        }
    }
    secret && mount
}

/// Whether a member's name says that it names a Secret: `existingSecret`, `secretRef`, `fromSecret`. What a place to
/// keep them, or their shape, is called does not.
fn says_secret(name: &str) -> bool {
    let other = |word: &String| matches!(word.as_str(), "store" | "template" | "type" | "class");
    words(name).any(|word| word == "secret") && !words(name).any(|word| other(&word))
}

/// Whether a text is a manifest that names a Secret, or may be one.
fn is_manifest(text: &str) -> bool {
    let mut names = ["secretKeyRef", "secretName", "secretRef"].iter();
    names.any(|name| text.contains(name))
}

/// The words of a member's name, in lower case and in the singular; none of a name that is not made of them.
fn words(name: &str) -> impl Iterator<Item = String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric());
    let begins = |(at, b): (usize, u8)| (at == 0 || b.is_ascii_uppercase()).then_some(at);
    let begins = name.bytes().enumerate().filter_map(begins);
    begins.filter(move |_| plain).map(|at| {
        let word = name.get(at..).unwrap_or_default();
        let rest = word.get(1..).unwrap_or_default();
        let end = rest.find(|c: char| c.is_ascii_uppercase());
        let word = end.map_or(word, |end| word.get(..=end).unwrap_or(word));
        let word = word.to_ascii_lowercase();
        word.strip_suffix('s').unwrap_or(&word).to_owned()
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
