//! Why a pod is not injected though it should be. All of them are the author's to fix.

use crate::names::MAX_CONTAINERS;

/// Why a pod cannot be governed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a pod.
    #[error("this is not a pod: {0}")]
    NotAPod(&'static str),
    /// More containers than anybody runs in one pod.
    #[error("the pod has {0} containers; Weir injects into pods of at most {MAX_CONTAINERS}")]
    Containers(usize),
    /// It shares the node's network.
    #[error(
        "hostNetwork: a pod in the node's network cannot be governed, and this namespace is enforced (label weir.dev/enforce)"
    )]
    HostNetwork,
    /// It runs on Windows.
    #[error(
        "os.name is windows: Weir governs Linux pods, and this namespace is enforced (label weir.dev/enforce)"
    )]
    Windows,
    /// A mirror of a static pod.
    #[error(
        "a static pod is made by its node and cannot be injected, and this namespace is enforced (label weir.dev/enforce)"
    )]
    Static,
    /// A UID of Weir's.
    #[error("{place} is {uid}: UIDs 2177 and 2178 are Weir's own")]
    Uid {
        /// Whose `runAsUser`.
        place: String,
        /// The UID.
        uid: i64,
    },
    /// A volume of the sidecar in another container.
    #[error("container `{container}` mounts volume `{volume}`, which is {rule}")]
    Mount {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A variable from a file in a volume of the sidecar.
    #[error(
        "container `{container}` takes variable `{variable}` from a file of volume `{volume}`, which the node would read for it: the sidecar's volumes are not for variables"
    )]
    File {
        /// The container.
        container: String,
        /// The variable.
        variable: String,
        /// The volume.
        volume: String,
    },
    /// Something else is mounted where Weir mounts.
    #[error(
        "container `{container}` already mounts something at `{path}`, where Weir mounts its trust"
    )]
    Occupied {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// An annotation says what it must not.
    #[error("annotation {name}: {why}")]
    Annotation {
        /// Its name.
        name: &'static str,
        /// Why not.
        why: String,
    },
    /// A debug container that targets the sidecar.
    #[error(
        "ephemeral container `{container}` targets `{target}`: nobody joins the processes of Weir's containers"
    )]
    Target {
        /// The ephemeral container.
        container: String,
        /// Its target.
        target: String,
    },
    /// A debug container that asks for too much.
    #[error(
        "ephemeral container `{container}` asks for {what}, with which it could leave the redirect; `kubectl debug --profile=restricted` does not"
    )]
    Privilege {
        /// The ephemeral container.
        container: String,
        /// What it asks for.
        what: String,
    },
    /// A token of the API server's among files that Weir cannot stand in for.
    #[error(
        "volume `{volume}` holds a token for the API server, which stays with Weir's sidecar, and {what}: put the token into a volume of its own"
    )]
    Mixed {
        /// The volume.
        volume: String,
        /// What else it holds.
        what: String,
    },
    /// A certificate that the API server would take.
    #[error(
        "volume `{volume}` holds a certificate of the signer `{signer}`, with which a program is the pod's service account to the API server, past Weir's sidecar"
    )]
    Certificate {
        /// The volume.
        volume: String,
        /// Who signs it.
        signer: String,
    },
    /// A part of such a volume that Weir cannot stand in for.
    #[error(
        "container `{container}` mounts a part of volume `{volume}`, which holds a token for the API server: {why}"
    )]
    Part {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// Why not.
        why: String,
    },
}
