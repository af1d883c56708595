//! Debug containers of governed pods.
//!
//! They join the pod's network and are captured like every other container; what could lead them
//! out of it is refused. They trust the sidecar as the others do.

use serde_json::{Map, Value};

use crate::inject::{Injected, check_count, check_uid, check_volumes, drop_net_raw};
use crate::names::{ALLOWED_CAPABILITIES, PROBE, SIDECAR};
use crate::opt_in::{Governed, Namespace};
use crate::refusal::Refusal;
use crate::trust;

/// Judges and completes the ephemeral containers that an update adds to a pod.
pub fn inject_ephemeral(
    old: &Value,
    new: &Value,
    namespace: &Namespace,
) -> Result<Injected, Refusal> {
    if !has_sidecar(new) {
        return Ok(Injected {
            pod: new.clone(),
            governed: Governed::NotAsked,
            notes: Vec::new(),
        });
    }
    check_count(new)?;
    let mut pod = new.clone();
    let enforced = namespace.is_enforced();
    let known: Vec<&str> = containers(old).filter_map(name).collect();
    let added = pod
        .pointer_mut("/spec/ephemeralContainers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter(|container| name(container).is_none_or(|name| !known.contains(&name)));
    for container in added {
        let container = container
            .as_object_mut()
            .ok_or(Refusal::NotAPod("an ephemeral container is not an object"))?;
        let name = container
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        check(container, &name)?;
        trust::mount_trust(container, &name)?;
        trust::set_variables(container);
        if enforced {
            drop_net_raw(container);
        }
    }
    let governed = if enforced {
        Governed::Enforced
    } else {
        Governed::Asked
    };
    Ok(Injected {
        pod,
        governed,
        notes: Vec::new(),
    })
}

fn check(container: &Map<String, Value>, name: &str) -> Result<(), Refusal> {
    let target = container.get("targetContainerName").and_then(Value::as_str);
    if let Some(target @ (SIDECAR | PROBE)) = target {
        return Err(Refusal::Target {
            container: name.to_owned(),
            target: target.to_owned(),
        });
    }
    check_uid(
        container,
        &format!("runAsUser of ephemeral container `{name}`"),
    )?;
    check_volumes(container, name)?;
    let ask = |what: String| {
        Err(Refusal::Privilege {
            container: name.to_owned(),
            what,
        })
    };
    let Some(context) = container.get("securityContext") else {
        return Ok(());
    };
    if context.get("privileged").and_then(Value::as_bool) == Some(true) {
        return ask("privileged".to_owned());
    }
    let added = context
        .pointer("/capabilities/add")
        .and_then(Value::as_array);
    for capability in added.into_iter().flatten() {
        let capability = capability.as_str().unwrap_or_default();
        if !ALLOWED_CAPABILITIES.contains(&capability) {
            return ask(format!("the capability {capability}"));
        }
    }
    Ok(())
}

fn has_sidecar(pod: &Value) -> bool {
    let inits = pod
        .pointer("/spec/initContainers")
        .and_then(Value::as_array);
    inits
        .into_iter()
        .flatten()
        .any(|container| name(container) == Some(SIDECAR))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let list = pod
        .pointer("/spec/ephemeralContainers")
        .and_then(Value::as_array);
    list.into_iter().flatten()
}

fn name(container: &Value) -> Option<&str> {
    container.get("name").and_then(Value::as_str)
}
