//! The cluster's side of the command line: what a kubeconfig opens.
//!
//! Invariants: nothing here decides who may do what: the API server and the collector judge the
//! person's own credentials. Credentials leave this process for those two only, over verified TLS.
//! Refuses: a collector that does not prove to be Weir's; to weaken verification.

mod access;
pub(crate) mod check;
mod error;
pub(crate) mod explain;
pub(crate) mod inject;
pub(crate) mod object;
mod place;
pub(crate) mod requests;
pub(crate) mod status;
pub(crate) mod tunnel;

pub(crate) use access::Cluster;
pub(crate) use error::ClusterError;
pub(crate) use place::{Home, KubeArgs};

/// Kinds of Weir in the API: the path of all objects of a kind.
pub(crate) fn weir_path(namespace: Option<&str>, plural: &str) -> String {
    match namespace {
        Some(namespace) => format!("/apis/weir.dev/v1alpha1/namespaces/{namespace}/{plural}"),
        None => format!("/apis/weir.dev/v1alpha1/{plural}"),
    }
}
