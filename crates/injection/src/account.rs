//! The service account's token stays with the sidecar; what other containers mount stands in for it.
//!
//! Every volume with a token for the API server is taken away, whoever made it, and each mount of it is
//! one of the volume that the sidecar fills. That volume has the files that Kubernetes' own has. Where
//! a pod's author chose other names, a directory of its own has those, and an annotation tells the sidecar
//! which. Tokens of other audiences stay.
//! Refuses: a volume that holds such a token among other things, since the sidecar has only its own; and a
//! certificate that would do what the token does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::names::{
    KUBE_TOKEN_VOLUME, KUBE_VOLUME, KUBE_VOLUMES, PROBE, ROOT_CA, SIDECAR, TOKEN_PATH,
};
use crate::refusal::Refusal;
use crate::settings::Kubernetes;
use crate::trust;

/// What signers of the cluster's own are called; those whom its API server takes are among them.
const RESERVED: &str = "kubernetes.io/";

/// What the files are called that Kubernetes' own volume has; each holds what it is called.
const STANDARD: [&str; 3] = ["token", "ca.crt", "namespace"];

/// By file: which of [`STANDARD`] it holds.
type Files = BTreeMap<String, &'static str>;

/// The volumes of a pod that hold a token for the API server, by name.
#[derive(Debug, Default)]
pub(crate) struct Accounts(BTreeMap<String, Files>);

impl Accounts {
    /// Takes them out of a pod.
    pub(crate) fn take(
        spec: &mut Map<String, Value>,
        kubernetes: Option<&Kubernetes>,
    ) -> Result<Self, Refusal> {
        let mut accounts = Self::default();
        let Some(kubernetes) = kubernetes else {
            return Ok(accounts);
        };
        let volumes =
            trust::list(spec, "volumes").ok_or(Refusal::NotAPod("volumes is not a list"))?;
        let mut kept = Vec::with_capacity(volumes.len());
        for volume in volumes.drain(..) {
            let name = text(&volume, "name").to_owned();
            match files(&volume, kubernetes)? {
                Some(files) if name != KUBE_TOKEN_VOLUME => _ = accounts.0.insert(name, files),
                _ => kept.push(volume),
            }
        }
        *volumes = kept;
        Ok(accounts)
    }

    /// Mounts what stands in for them in a container.
    pub(crate) fn stand_in(
        &self,
        container: &mut Map<String, Value>,
        name: &str,
    ) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mounts = trust::list(container, "volumeMounts");
        let mounts = mounts.ok_or(Refusal::NotAPod("volumeMounts is not a list"))?;
        for mount in mounts {
            let volume = text(mount, "name").to_owned();
            let Some(files) = self.0.get(&volume) else {
                continue;
            };
            let refuse = |why: String| Refusal::Part {
                container: name.to_owned(),
                volume: volume.clone(),
                why,
            };
            if mount.get("subPathExpr").is_some() {
                return Err(refuse("subPathExpr cannot be followed".to_owned()));
            }
            let part = text(mount, "subPath").trim_end_matches('/');
            if !part.is_empty() && !files.keys().any(|file| is_at_or_below(file, part)) {
                return Err(refuse(format!("it has nothing at `{part}`")));
            }
            let home = if is_standard(files) {
                String::new()
            } else {
                format!("{KUBE_VOLUMES}/{volume}")
            };
            let place = [home.as_str(), part];
            let place = place.into_iter().filter(|part| !part.is_empty());
            let place = place.collect::<Vec<_>>().join("/");
            let path = mount.get("mountPath").cloned().unwrap_or_default();
            *mount = json!({"name": KUBE_VOLUME, "mountPath": path, "readOnly": true});
            if let (Some(mount), false) = (mount.as_object_mut(), place.is_empty()) {
                mount.insert("subPath".to_owned(), json!(place));
            }
        }
        Ok(())
    }

    /// What the annotation says afterwards: what it said of volumes that are still mounted, and what was
    /// found now. Nothing where Kubernetes' own names suffice.
    pub(crate) fn told(&self, before: Option<&str>, spec: &Map<String, Value>) -> Option<String> {
        let mounted = mounted(spec);
        let before: Map<String, Value> = before
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut all: BTreeMap<&str, Value> = before
            .iter()
            .filter(|(name, _)| mounted.contains(name.as_str()))
            .map(|(name, files)| (name.as_str(), files.clone()))
            .collect();
        let found = self.0.iter().filter(|(_, files)| !is_standard(files));
        all.extend(found.map(|(name, files)| (name.as_str(), json!(files))));
        (!all.is_empty()).then(|| json!(all).to_string())
    }
}

/// Mounts the stand-in where Kubernetes would mount the service account, for pods that have not been
/// through its admission: what it would add there later could not be taken away without a webhook.
/// A pod that wants no token gets none.
pub fn give_account(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if spec.get("automountServiceAccountToken") == Some(&json!(false)) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if matches!(text(container, "name"), SIDECAR | PROBE) {
                continue;
            }
            let mounts = container
                .as_object_mut()
                .and_then(|container| trust::list(container, "volumeMounts"));
            if let Some(mounts) = mounts
                && !mounts
                    .iter()
                    .any(|mount| text(mount, "mountPath") == TOKEN_PATH)
            {
                mounts
                    .push(json!({"name": KUBE_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true}));
            }
        }
    }
}

/// The files of a volume that holds a token for the API server.
fn files(volume: &Value, kubernetes: &Kubernetes) -> Result<Option<Files>, Refusal> {
    let sources = volume
        .pointer("/projected/sources")
        .and_then(Value::as_array);
    let Some(sources) = sources else {
        return Ok(None);
    };
    for source in sources {
        let certificate = source.get("podCertificate");
        let signer = certificate.map_or("", |certificate| text(certificate, "signerName"));
        if signer.starts_with(RESERVED) {
            return Err(Refusal::Certificate {
                volume: text(volume, "name").to_owned(),
                signer: signer.to_owned(),
            });
        }
    }
    let is_ours = |source: &Value| {
        let token = source.get("serviceAccountToken");
        token.is_some_and(|token| kubernetes.takes(text(token, "audience")))
    };
    if !sources.iter().any(is_ours) {
        return Ok(None);
    }
    let mixed = |what: String| Refusal::Mixed {
        volume: text(volume, "name").to_owned(),
        what,
    };
    let mut files = Files::new();
    for source in sources {
        for (kind, source) in source.as_object().into_iter().flatten() {
            match kind.as_str() {
                "serviceAccountToken" if kubernetes.takes(text(source, "audience")) => {
                    files.insert(text(source, "path").to_owned(), "token");
                }
                "serviceAccountToken" => {
                    let audience = text(source, "audience");
                    return Err(mixed(format!("a token of the audience {audience}")));
                }
                "configMap" if text(source, "name") == ROOT_CA => {
                    files.extend(
                        items(source, "ca.crt", |item| text(item, "key") == "ca.crt")
                            .map_err(mixed)?,
                    );
                }
                "downwardAPI" => {
                    let namespace = |item: &Value| {
                        let path = item.pointer("/fieldRef/fieldPath");
                        path.and_then(Value::as_str) == Some("metadata.namespace")
                    };
                    files.extend(items(source, "namespace", namespace).map_err(mixed)?);
                }
                "configMap" | "secret" => {
                    return Err(mixed(format!(
                        "files of the {kind} {}",
                        text(source, "name")
                    )));
                }
                other => return Err(mixed(format!("files of a {other}"))),
            }
        }
    }
    Ok(Some(files))
}

/// The files of a source that may hold one thing only; else what it holds besides.
fn items(
    source: &Value,
    holds: &'static str,
    right: impl Fn(&Value) -> bool,
) -> Result<Vec<(String, &'static str)>, String> {
    match source.get("items").and_then(Value::as_array) {
        None if holds == "ca.crt" => Ok(vec![(holds.to_owned(), holds)]),
        None => Ok(Vec::new()),
        Some(items) => match items.iter().find(|item| !right(item)) {
            Some(other) => Err(format!("something else at `{}`", text(other, "path"))),
            None => Ok(items
                .iter()
                .map(|item| (text(item, "path").to_owned(), holds))
                .collect()),
        },
    }
}

fn is_standard(files: &Files) -> bool {
    files
        .iter()
        .all(|(path, holds)| path == holds && STANDARD.contains(holds))
}

/// The volumes whose directories are mounted.
fn mounted(spec: &Map<String, Value>) -> BTreeSet<&str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let containers = lists
        .filter_map(|list| spec.get(list)?.as_array())
        .flatten();
    let mounts = containers.filter_map(|container| container.get("volumeMounts")?.as_array());
    let parts = mounts
        .flatten()
        .filter(|mount| text(mount, "name") == KUBE_VOLUME)
        .filter_map(|mount| {
            text(mount, "subPath")
                .strip_prefix(KUBE_VOLUMES)?
                .strip_prefix('/')
        });
    parts.filter_map(|part| part.split('/').next()).collect()
}

fn is_at_or_below(file: &str, part: &str) -> bool {
    let below = file.strip_prefix(part);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
