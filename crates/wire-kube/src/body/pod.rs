//! What workloads do, by the names of their fields wherever a pod's template may stand.

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

/// A walk over a body.
#[derive(Debug, Default)]
pub(super) struct Pod {
    pub(super) reads_secrets: bool,
    pub(super) privileged: bool,
    pub(super) service_account: Option<ServiceAccount>,
    pub(super) secret_type: Option<String>,
    pub(super) dry_run: bool,
    /// The data of the object is text, whatever its names say.
    text: bool,
    /// The object is a volume of the cluster.
    volume: bool,
}

impl Pod {
    pub(super) fn new(resource: &Resource) -> Pod {
        let core = |names: &[&str]| {
            resource.group.is_empty() && names.contains(&resource.resource.as_str())
        };
        Pod {
            text: core(&["secrets", "configmaps"]),
            volume: core(&["persistentvolumes"]),
            ..Pod::default()
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
            _ => {}
        }
    }

    fn member(&mut self, names: &[&str], name: &str, value: &Value) {
        let is = |name: &str| names.contains(&name);
        let on = !matches!(value, Value::Null | Value::Bool(false));
        let some = on && !is_empty(value);
        match name {
            "secretKeyRef" | "nodePublishSecretRef" => self.reads_secrets |= on,
            // Of a volume, its driver is given what the Secret holds.
            "secretRef" if is("envFrom") || is("volumes") => self.reads_secrets |= on,
            "secretName" if is("volumes") => self.reads_secrets |= some,
            "secret" if is("volumes") || is("sources") => self.reads_secrets |= on,
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

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
