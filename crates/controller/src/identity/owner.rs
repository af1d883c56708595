//! What a pod belongs to, as people call it.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource};

/// The workload behind a pod's controller: a ReplicaSet's Deployment, a Job's CronJob. What cannot
/// be looked up stays as it is: it informs, and decides nothing.
pub(crate) async fn workload(client: &Client, namespace: &str, kind: &str, name: &str) -> String {
    let above = match kind {
        "ReplicaSet" => {
            owner(
                Api::<ReplicaSet>::namespaced(client.clone(), namespace),
                name,
            )
            .await
        }
        "Job" => owner(Api::<Job>::namespaced(client.clone(), namespace), name).await,
        _ => None,
    };
    match above {
        Some(owner) => format!("{}/{}", owner.kind, owner.name),
        None => format!("{kind}/{name}"),
    }
}

async fn owner<K>(api: Api<K>, name: &str) -> Option<OwnerReference>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let metadata = match api.get_metadata_opt(name).await {
        Ok(found) => found?.metadata,
        Err(error) => {
            tracing::debug!(%error, name, "the owner of a pod cannot be looked up");
            return None;
        }
    };
    let owners = metadata.owner_references.unwrap_or_default();
    owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))
}
