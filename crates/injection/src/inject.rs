//! A pod in, the governed pod out.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::account::Accounts;
use crate::container::{probe, sidecar, volumes};
use crate::names::{
    DEFAULT_CONTAINER, IDENTITY_VOLUME, INJECT, KUBE_FILES, KUBE_TOKEN, KUBE_TOKEN_VOLUME,
    KUBE_VOLUME, LEFT_ALONE, MAX_CONTAINERS, OWNER, PREFIX, PROBE, PROBE_UID, SIDECAR, SIDECAR_UID,
    STATE_VOLUME, STATUS, TRUST_VOLUME, UNMATCHED,
};
use crate::opt_in::{Governed, Namespace, governed};
use crate::refusal::Refusal;
use crate::room;
use crate::settings::{Kubernetes, Settings};
use crate::trust::{self, Covers};

/// A pod after injection.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The pod: governed, or as it was.
    pub pod: Value,
    /// Whether it is governed, and if not, why.
    pub governed: Governed,
    /// What its author should know.
    pub notes: Vec<String>,
}

/// Injects a pod, or says why it stays as it is, or refuses it.
///
/// The same pod comes out when the result is injected again.
pub fn inject(
    pod: &Value,
    namespace: &Namespace,
    settings: &Settings,
) -> Result<Injected, Refusal> {
    let governed = governed(pod, namespace, settings)?;
    let enforced = governed == Governed::Enforced;
    let mut notes = Vec::new();
    match governed {
        Governed::Enforced | Governed::Asked => {}
        Governed::NotAsked | Governed::Not(_) => {
            if let Governed::Not(why) = governed {
                notes.push(why.to_owned());
            }
            return Ok(Injected {
                pod: pod.clone(),
                governed,
                notes,
            });
        }
    }
    check_count(pod)?;
    let mut pod = pod.clone();
    let annotations = pod.pointer("/metadata/annotations").cloned();
    let covers = covers(annotations.as_ref(), &mut notes)?;
    let kubernetes = settings.kubernetes.as_ref();
    let keeps = keeps(annotations.as_ref(), kubernetes, &mut notes)?;
    note_pod_security(namespace, &mut notes);
    let spec = pod
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .ok_or(Refusal::NotAPod("it has no spec"))?;
    check_uid(spec, "spec.securityContext.runAsUser")?;

    let ours = [sidecar(settings, enforced), probe(settings)];
    let volumes = volumes(settings);
    let hash = hash(&json!([ours, volumes]));
    let accounts = Accounts::take(spec, kubernetes.filter(|_| !keeps))?;
    let mut left = Vec::new();
    let inits = trust::list(spec, "initContainers")
        .ok_or(Refusal::NotAPod("initContainers is not a list"))?;
    let anew = !inits.iter().any(is_ours);
    inits.retain(|container| !is_ours(container));
    for container in inits.iter_mut() {
        left.extend(prepare(container, &accounts, &covers, enforced)?);
    }
    inits.splice(0..0, ours);
    let apps =
        trust::list(spec, "containers").ok_or(Refusal::NotAPod("containers is not a list"))?;
    apps.retain(|container| !is_ours(container));
    for container in apps {
        left.extend(prepare(container, &accounts, &covers, enforced)?);
    }
    if anew {
        room::make(spec, &settings.resources);
    }
    let list = trust::list(spec, "volumes").ok_or(Refusal::NotAPod("volumes is not a list"))?;
    for volume in volumes {
        match list
            .iter_mut()
            .find(|found| found.get("name") == volume.get("name"))
        {
            Some(found) => *found = volume,
            None => list.push(volume),
        }
    }
    let before = annotations
        .as_ref()
        .and_then(|all| all.get(KUBE_FILES)?.as_str());
    let files = accounts.told(before, spec);
    if let Some(only) = only(spec) {
        let meant = annotations
            .as_ref()
            .and_then(|all| all.get(DEFAULT_CONTAINER)?.as_str());
        annotate(
            &mut pod,
            DEFAULT_CONTAINER,
            Some(meant.unwrap_or(&only).to_owned()),
        )?;
    }
    let status = json!({"version": settings.version, "hash": hash}).to_string();
    annotate(&mut pod, STATUS, Some(status))?;
    annotate(&mut pod, KUBE_FILES, files)?;
    annotate(
        &mut pod,
        LEFT_ALONE,
        (!left.is_empty()).then(|| left.join("; ")),
    )?;
    Ok(Injected {
        pod,
        governed,
        notes,
    })
}

/// What the pod's annotations ask for: files to cover. What loosens is refused, what is unknown is
/// noted.
fn covers<'a>(
    annotations: Option<&'a Value>,
    notes: &mut Vec<String>,
) -> Result<Covers<'a>, Refusal> {
    let mut covers = Covers::default();
    let all = annotations.and_then(Value::as_object);
    for (name, value) in all.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match name.as_str() {
            UNMATCHED if value == "Refuse" => {}
            UNMATCHED => {
                return Err(Refusal::Annotation {
                    name: UNMATCHED,
                    why: format!(
                        "`{value}`: an annotation may only tighten; the one value is Refuse"
                    ),
                });
            }
            name if Covers::is_named(name) => covers.add(name, value)?,
            INJECT | STATUS | LEFT_ALONE | KUBE_FILES | KUBE_TOKEN | OWNER => {}
            _ if name.starts_with(PREFIX) => {
                notes.push(format!("annotation {name} means nothing to Weir"));
            }
            _ => {}
        }
    }
    Ok(covers)
}

/// Whether the pod's programs keep the token of their service account: it asks, and may.
fn keeps(
    annotations: Option<&Value>,
    kubernetes: Option<&Kubernetes>,
    notes: &mut Vec<String>,
) -> Result<bool, Refusal> {
    let asked = annotations.and_then(|all| all.get(KUBE_TOKEN));
    let (Some(asked), Some(kubernetes)) = (asked, kubernetes) else {
        return Ok(false);
    };
    let refuse = |why: String| {
        Err(Refusal::Annotation {
            name: KUBE_TOKEN,
            why,
        })
    };
    match asked.as_str() {
        Some("keep") if kubernetes.may_keep => {
            notes.push(
                "the service account's token is left to the pod's programs, by PolicyException"
                    .to_owned(),
            );
            Ok(true)
        }
        Some("keep") => refuse(format!(
            "no PolicyException names the rule `{KUBE_TOKEN}` for this namespace and service account"
        )),
        _ => refuse("the one value is keep".to_owned()),
    }
}

/// The Pod Security level of a namespace that the sidecar's capabilities exceed.
fn note_pod_security(namespace: &Namespace, notes: &mut Vec<String>) {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    if let Some(level @ ("baseline" | "restricted")) =
        namespace.labels.get(LABEL).map(String::as_str)
    {
        notes.push(format!(
            "namespace {} has {LABEL}={level}, which refuses the sidecar's NET_ADMIN: \
             Weir needs `privileged` there and enforces more itself",
            namespace.name
        ));
    }
}

/// Makes a container of the user's ready for its sidecar; gives what was left as it is.
fn prepare(
    container: &mut Value,
    accounts: &Accounts,
    covers: &Covers<'_>,
    enforced: bool,
) -> Result<Option<String>, Refusal> {
    let container = container
        .as_object_mut()
        .ok_or(Refusal::NotAPod("a container is not an object"))?;
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    check_uid(container, &format!("runAsUser of container `{name}`"))?;
    accounts.stand_in(container, &name)?;
    check_volumes(container, &name)?;
    trust::mount_trust(container, &name)?;
    trust::mount_files(container, &name, covers)?;
    let mut left = trust::set_variables(container);
    left.extend(trust::mount_known_hosts(container));
    if enforced {
        drop_net_raw(container);
    }
    Ok((!left.is_empty()).then(|| format!("{name}: {}", left.join(", "))))
}

/// A pod has no more containers than Weir injects into.
pub(crate) fn check_count(pod: &Value) -> Result<(), Refusal> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let lists = lists.filter_map(|list| pod.get("spec")?.get(list)?.as_array());
    match lists.map(Vec::len).sum() {
        count if count > MAX_CONTAINERS => Err(Refusal::Containers(count)),
        _ => Ok(()),
    }
}

/// The sidecar's volumes are the sidecar's. A variable's value from a file needs no mount: the node reads
/// the file before the container starts.
pub(crate) fn check_volumes(container: &Map<String, Value>, name: &str) -> Result<(), Refusal> {
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        let volume = mount
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let rule = match volume {
            IDENTITY_VOLUME | STATE_VOLUME | KUBE_TOKEN_VOLUME => "the sidecar's alone",
            TRUST_VOLUME | KUBE_VOLUME if mount.get("readOnly") != Some(&json!(true)) => {
                "read-only for others"
            }
            _ => continue,
        };
        return Err(Refusal::Mount {
            container: name.to_owned(),
            volume: volume.to_owned(),
            rule,
        });
    }
    let variables = container.get("env").and_then(Value::as_array);
    for variable in variables.into_iter().flatten() {
        let volume = variable
            .pointer("/valueFrom/fileKeyRef/volumeName")
            .and_then(Value::as_str);
        if let Some(
            volume @ (IDENTITY_VOLUME | STATE_VOLUME | KUBE_TOKEN_VOLUME | TRUST_VOLUME
            | KUBE_VOLUME),
        ) = volume
        {
            let variable = variable.get("name").and_then(Value::as_str);
            return Err(Refusal::File {
                container: name.to_owned(),
                variable: variable.unwrap_or_default().to_owned(),
                volume: volume.to_owned(),
            });
        }
    }
    Ok(())
}

/// Nobody else runs as a user of Weir's.
pub(crate) fn check_uid(holder: &Map<String, Value>, place: &str) -> Result<(), Refusal> {
    let uid = holder
        .get("securityContext")
        .and_then(|context| context.get("runAsUser"))
        .and_then(Value::as_i64);
    match uid {
        Some(uid @ (SIDECAR_UID | PROBE_UID)) => Err(Refusal::Uid {
            place: place.to_owned(),
            uid,
        }),
        _ => Ok(()),
    }
}

/// Without raw sockets nothing passes by the redirect.
pub(crate) fn drop_net_raw(container: &mut Map<String, Value>) {
    let dropped = child(container, "securityContext")
        .and_then(|context| child(context, "capabilities"))
        .and_then(|capabilities| trust::list(capabilities, "drop"));
    if let Some(dropped) = dropped
        && !dropped
            .iter()
            .any(|name| name == "ALL" || name == "NET_RAW")
    {
        dropped.push(json!("NET_RAW"));
    }
}

/// The one container of a pod that has no other but Weir's.
fn only(spec: &Map<String, Value>) -> Option<String> {
    let count = |list: &str| spec.get(list).and_then(Value::as_array).map_or(0, Vec::len);
    let container = spec.get("containers")?.as_array()?.first()?;
    let name = container.get("name")?.as_str()?;
    (count("containers") == 1 && count("initContainers") == 2).then(|| name.to_owned())
}

/// Sets an annotation, or takes it away.
fn annotate(pod: &mut Value, name: &str, value: Option<String>) -> Result<(), Refusal> {
    let annotations = object(pod, "metadata")
        .and_then(|metadata| child(metadata, "annotations"))
        .ok_or(Refusal::NotAPod("its annotations are not an object"))?;
    match value {
        Some(value) => _ = annotations.insert(name.to_owned(), json!(value)),
        None => _ = annotations.remove(name),
    }
    Ok(())
}

fn is_ours(container: &Value) -> bool {
    let name = container.get("name").and_then(Value::as_str);
    matches!(name, Some(SIDECAR | PROBE))
}

/// The hash of a value: equal for equal values, whatever the order of their fields.
fn hash(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            into.push('{');
            for (name, value) in fields {
                into.push_str(&json!(name).to_string());
                into.push(':');
                canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for item in items {
                canonical(item, into);
                into.push(',');
            }
            into.push(']');
        }
        other => into.push_str(&other.to_string()),
    }
}

/// The object of that name in a value, made if absent.
fn object<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    child(value.as_object_mut()?, name)
}

/// The object of that name, made if absent; nothing if it is something else.
pub(crate) fn child<'a>(
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    let entry = object.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!({});
    }
    entry.as_object_mut()
}
