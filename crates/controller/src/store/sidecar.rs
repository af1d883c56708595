//! What a pod has for a sidecar, as far as its identity hangs on it.
//!
//! In enforced namespaces the API server compares the sidecar as a whole. Elsewhere whoever makes a pod writes what they
//! like, and a token of Weir's audience is to be had by anybody who makes a pod. Another version may have injected the
//! sidecar, so only what holds for all versions is looked at. Pure.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use sha2::{Digest as _, Sha256};
use weir_injection::{AUDIENCE, KUBE_TOKEN_VOLUME, SIDECAR, STATE_VOLUME};

/// What is kept of the first init container, if it bears the sidecar's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sidecar {
    image: String,
    /// The controller that it is told of.
    controller: String,
    /// The root that it trusts.
    root: Option<[u8; 32]>,
    /// What injection never writes, and by which other code could run in its place.
    altered: bool,
    /// Other containers, too, have what proves the pod's identity: its token, or the sidecar's keys.
    shared: bool,
}

/// What sidecars of this installation are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ours {
    /// Images that are or were injected.
    pub(crate) images: Vec<String>,
    pub(crate) controller: String,
}

impl Sidecar {
    /// That of a pod.
    pub(crate) fn of(spec: &PodSpec) -> Option<Self> {
        let first = spec.init_containers.iter().flatten().next();
        let first = first.filter(|first| first.name == SIDECAR)?;
        let env = first.env.iter().flatten().find(|one| one.name == "WEIR_CA");
        let args = first.args.iter().flatten();
        let mut controllers = args.filter_map(|one| one.strip_prefix("--controller="));
        let probes = [&first.liveness_probe, &first.startup_probe];
        Some(Self {
            image: first.image.clone().unwrap_or_default(),
            controller: controllers.next_back().unwrap_or_default().to_owned(),
            root: env.and_then(|one| one.value.as_deref()).map(digest),
            altered: first.command.as_ref().is_some_and(|all| !all.is_empty())
                || first.env_from.as_ref().is_some_and(|all| !all.is_empty())
                || first.lifecycle.is_some()
                || first.restart_policy.as_deref() != Some("Always")
                || probes.iter().any(|probe| probe.is_some())
                || first
                    .readiness_probe
                    .as_ref()
                    .is_some_and(|probe| probe.exec.is_some()),
            shared: shares(spec),
        })
    }

    /// Whether it is Weir's own, and the pod's identity its alone. `roots`: those that it may trust.
    pub(crate) fn judge(&self, ours: &Ours, roots: &[&str]) -> Result<(), &'static str> {
        let own = repository(&self.image);
        if !ours.images.iter().any(|image| repository(image) == own) {
            return Err("the image of the pod's sidecar is not one of Weir's");
        }
        if self.altered {
            return Err("the pod's sidecar is not as Weir injects it");
        }
        let trusts = roots.iter().any(|root| self.root == Some(digest(root)));
        if !trusts || self.controller != ours.controller {
            return Err(
                "the pod's sidecar is told of another controller or root; make the pod anew",
            );
        }
        if self.shared {
            return Err(
                "another container of the pod mounts the token or the volumes of Weir's sidecar",
            );
        }
        Ok(())
    }
}

/// An image without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn digest(root: &str) -> [u8; 32] {
    Sha256::digest(root.trim()).into()
}

/// Whether a container other than the sidecar mounts a token of Weir's audience, or the sidecar's own volumes.
fn shares(spec: &PodSpec) -> bool {
    let is_token = |volume: &&Volume| {
        let sources = volume
            .projected
            .iter()
            .flat_map(|all| all.sources.iter().flatten());
        sources
            .filter_map(|source| source.service_account_token.as_ref())
            .any(|token| token.audience.as_deref() == Some(AUDIENCE))
    };
    let volumes = spec.volumes.iter().flatten();
    let mut own: Vec<&str> = volumes
        .filter(is_token)
        .map(|one| one.name.as_str())
        .collect();
    own.extend([STATE_VOLUME, KUBE_TOKEN_VOLUME]);
    let is_other = |one: &&Container| one.name != SIDECAR;
    let inits = spec.init_containers.iter().flatten();
    let others = inits.chain(&spec.containers).filter(is_other);
    let debuggers = spec.ephemeral_containers.iter().flatten();
    let mut mounts = others
        .map(|one| &one.volume_mounts)
        .chain(debuggers.map(|one| &one.volume_mounts))
        .flat_map(|mounts| mounts.iter().flatten());
    mounts.any(|mount| own.contains(&mount.name.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_injection::{Governed, Namespace, Settings};

    use super::*;

    const ROOT: &str = "-----BEGIN CERTIFICATE-----\n";

    fn settings() -> Settings {
        let settings = json!({"version": "1.2.3", "namespace": "weir-system",
            "image": "reg.example:5000/weir/weir-sidecar:1.2.4", "ca": ROOT});
        serde_json::from_value(settings).unwrap()
    }

    /// A pod as injection leaves it.
    fn injected() -> Value {
        let labels = [("weir.dev/inject".to_owned(), "enabled".to_owned())].into();
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels,
        };
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app", "image": "a"}]}});
        let injected = weir_injection::inject(&pod, &namespace, &settings()).unwrap();
        assert_eq!(injected.governed, Governed::Asked);
        injected.pod["spec"].clone()
    }

    fn judged(spec: Value) -> Result<(), &'static str> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let images = [
            "reg.example:5000/weir/weir-sidecar:1.2.3",
            "old.example/weir-sidecar@sha256:aa",
        ];
        let ours = Ours {
            images: images.map(str::to_owned).to_vec(),
            controller: settings().controller(),
        };
        let sidecar = Sidecar::of(&spec).ok_or("no sidecar")?;
        sidecar.judge(&ours, &["another root", ROOT])
    }

    #[test]
    fn what_injection_writes_is_weirs_whatever_its_version() {
        assert_eq!(judged(injected()), Ok(()));
        let mut older = injected();
        let first = &mut older["initContainers"][0];
        first["image"] = json!("old.example/weir-sidecar:0.9");
        first["resources"] = json!({"limits": {"memory": "1Gi"}});
        first["args"]
            .as_array_mut()
            .unwrap()
            .push(json!("--of-another-version"));
        assert_eq!(judged(older), Ok(()));
    }

    #[test]
    fn a_sidecar_of_somebody_elses_making_has_no_identity() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 12] = [
            ("name", |first| first["name"] = json!("sidecar")),
            ("image", |first| {
                first["image"] = json!("evil.example/weir-sidecar:1.2.3")
            }),
            ("image of that host", |first| {
                first["image"] = json!("reg.example:5000/x")
            }),
            ("command", |first| first["command"] = json!(["/x"])),
            ("lifecycle", |first| {
                first["lifecycle"] = json!({"postStart": {"exec": {"command": ["/x"]}}})
            }),
            ("envFrom", |first| {
                first["envFrom"] = json!([{"configMapRef": {"name": "c"}}])
            }),
            ("probe", |first| {
                first["readinessProbe"] = json!({"exec": {"command": ["/x"]}})
            }),
            ("startup", |first| {
                first["startupProbe"] = json!({"httpGet": {"port": 1}})
            }),
            ("restartPolicy", |first| {
                first["restartPolicy"] = Value::Null
            }),
            ("root", |first| first["env"][0]["value"] = json!("mine")),
            ("no root", |first| first["env"] = json!([])),
            ("controller", |first| {
                first["args"] = json!(["--controller=evil.example:8443"])
            }),
        ];
        for (what, change) in changes {
            let mut spec = injected();
            change(&mut spec["initContainers"][0]);
            assert!(judged(spec).is_err(), "{what}");
        }
    }

    #[test]
    fn nobody_else_mounts_its_token_or_its_keys() {
        let own = json!({"name": "t", "projected": {"sources": [
            {"configMap": {"name": "c"}}, {"serviceAccountToken": {"audience": "weir.dev", "path": "token"}}]}});
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for volume in [
                "weir-identity",
                "weir-state",
                "weir-kube-token",
                "t",
                "plain",
            ] {
                let mut spec = injected();
                let volumes = spec["volumes"].as_array_mut().unwrap();
                volumes.extend([own.clone(), json!({"name": "plain", "emptyDir": {}})]);
                let container =
                    json!({"name": "x", "volumeMounts": [{"name": volume, "mountPath": "/x"}]});
                let mut all = spec[list].as_array().cloned().unwrap_or_default();
                all.push(container);
                spec[list] = json!(all);
                assert_eq!(judged(spec).is_ok(), volume == "plain", "{list} {volume}");
            }
        }
    }

    #[test]
    fn an_image_is_known_by_its_repository() {
        for (image, name) in [
            ("weir.dev/weir-sidecar:0.1.0", "weir.dev/weir-sidecar"),
            ("weir.dev/weir-sidecar", "weir.dev/weir-sidecar"),
            ("r:5000/weir-sidecar", "r:5000/weir-sidecar"),
            ("r:5000/weir-sidecar:1@sha256:aa", "r:5000/weir-sidecar"),
            ("r:5000/weir-sidecar@sha256:aa", "r:5000/weir-sidecar"),
        ] {
            assert_eq!(repository(image), name);
        }
    }
}
