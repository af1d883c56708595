//! Pods that are refused for what their containers have.

use serde_json::{Value, json};

use super::{asked, debug, enforced, injected, namespace, pod, refused, settings, with};
use crate::{Refusal, inject, inject_ephemeral};

#[test]
fn a_pod_of_more_containers_than_anybody_runs_is_refused() {
    let many = |count: usize| {
        let all = (0..count).map(|n| json!({"name": format!("c{n}")}));
        Value::from(all.collect::<Vec<_>>())
    };
    injected(&with("/spec/containers", many(255)), &enforced());
    for namespace in [enforced(), asked()] {
        let told = refused(&with("/spec/containers", many(256)), &namespace);
        assert!(told.contains("257 containers"), "{told}");
    }
    let bare = inject(
        &with("/spec/containers", many(1000)),
        &namespace(&[]),
        &settings(),
    );
    assert!(bare.is_ok(), "a pod that is not governed is not counted");
    let old = injected(&pod(), &enforced()).pod;
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = many(300);
    let told = inject_ephemeral(&old, &new, &enforced()).unwrap_err();
    assert!(matches!(told, Refusal::Containers(304)), "{told}");
}

fn variable_from(volume: &str) -> Value {
    json!({"name": "d", "env": [{"name": "X", "valueFrom": {"fileKeyRef": {
        "volumeName": volume, "path": "private/snapshot.json", "key": "A", "optional": true,
    }}}]})
}

#[test]
fn no_variable_is_read_from_a_file_of_the_sidecars() {
    for volume in [
        "weir-identity",
        "weir-state",
        "weir-trust",
        "weir-kube",
        "weir-kube-token",
    ] {
        for list in ["/spec/initContainers", "/spec/containers"] {
            let pod = with(list, json!([variable_from(volume)]));
            for namespace in [enforced(), asked()] {
                let told = refused(&pod, &namespace);
                assert!(
                    told.contains(&format!("`X` from a file of volume `{volume}`")),
                    "{told}"
                );
            }
        }
        assert!(matches!(
            debug(variable_from(volume)),
            Err(Refusal::File { .. })
        ));
    }
    for list in ["/spec/initContainers", "/spec/containers"] {
        injected(&with(list, json!([variable_from("data")])), &enforced());
    }
    assert!(debug(variable_from("data")).is_ok());
}
