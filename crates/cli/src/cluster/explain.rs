//! Policies of a cluster and the subject that a pod or service account is, for `weir explain`.

use serde_json::{Value, json};
use weir_api::Resources;
use weir_api::kinds::DECIDING;
use weir_policy::Subject;

use super::access::Cluster;
use super::error::ClusterError;
use super::object::{full_name, is_name, name, text};
use super::weir_path;

/// What a cluster's policies are, and what of them cannot be read.
pub(crate) struct Policies {
    /// All that can be read.
    pub(crate) resources: Resources,
    /// What cannot, and why.
    pub(crate) unread: Vec<String>,
}

/// Reads the policies of a cluster: one that is malformed stops no other.
pub(crate) async fn policies(cluster: &Cluster) -> Result<Policies, ClusterError> {
    let mut policies = Policies {
        resources: Resources::default(),
        unread: Vec::new(),
    };
    for (kind, plural) in DECIDING {
        let found = cluster.list(&weir_path(None, plural)).await?;
        for object in found.ok_or(ClusterError::NotInstalled)? {
            let file = format!("{kind}/{}", full_name(&object));
            match weir_api::load_str(&file, &manifest(kind, &object).to_string()) {
                Ok(loaded) => policies.resources.merge(loaded),
                Err(errors) => {
                    let errors = errors.iter().map(ToString::to_string);
                    policies.unread.extend(errors);
                }
            }
        }
    }
    Ok(policies)
}

/// An object as it would stand in a file: without what the API server adds.
fn manifest(kind: &str, object: &Value) -> Value {
    let mut metadata = json!({"name": name(object)});
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    json!({
        "apiVersion": weir_api::kinds::API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": object.get("spec").cloned().unwrap_or_default(),
    })
}

/// The subject that a running pod is.
pub(crate) async fn pod(
    cluster: &Cluster,
    typed: &str,
    trust_domain: &str,
) -> Result<Subject, ClusterError> {
    let (namespace, pod) = parts(typed, cluster.current_namespace())?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    let found = cluster.get(&path).await?;
    let found = found.ok_or_else(|| ClusterError::NotFound(format!("no pod {namespace}/{pod}")))?;
    let account = match text(&found, "/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    Ok(Subject {
        pod: Some(pod.to_owned()),
        ..subject(namespace, account, trust_domain)
    })
}

/// The subject that any pod of a service account is.
pub(crate) fn service_account(
    cluster: &Cluster,
    typed: &str,
    trust_domain: &str,
) -> Result<Subject, ClusterError> {
    let (namespace, account) = parts(typed, cluster.current_namespace())?;
    Ok(subject(namespace, account, trust_domain))
}

/// The subject of an identity as evidence names it.
pub(crate) fn named(identity: &str) -> Subject {
    let rest = identity.strip_prefix("spiffe://").unwrap_or_default();
    match rest.split('/').collect::<Vec<_>>().as_slice() {
        [trust_domain, "ns", namespace, "sa", account] => subject(namespace, account, trust_domain),
        _ => Subject::named(identity),
    }
}

fn subject(namespace: &str, account: &str, trust_domain: &str) -> Subject {
    Subject {
        name: format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}"),
        namespace: Some(namespace.to_owned()),
        service_account: Some(account.to_owned()),
        ..Subject::default()
    }
}

fn parts<'a>(typed: &'a str, default: &'a str) -> Result<(&'a str, &'a str), ClusterError> {
    let (namespace, name) = typed.split_once('/').unwrap_or((default, typed));
    if is_name(namespace) && is_name(name) {
        Ok((namespace, name))
    } else {
        let text = format!("`{typed}` is not NAMESPACE/NAME");
        Err(ClusterError::Usage(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_the_api_reads_like_one_of_a_file() {
        let object = json!({
            "metadata": {"name": "orders-db", "uid": "1", "managedFields": [], "generation": 2},
            "spec": {"protocol": "PostgreSQL", "addresses": [{"host": "db", "port": 5432}]},
            "status": {"conditions": []},
        });
        let text = manifest("Target", &object).to_string();
        let loaded = weir_api::load_str("Target/orders-db", &text).unwrap();
        assert_eq!(loaded.targets[0].metadata.name, "orders-db");
    }

    #[test]
    fn an_identity_says_which_service_account_it_is() {
        let known = named("spiffe://cluster.local/ns/billing/sa/reporter");
        assert_eq!(known.namespace.as_deref(), Some("billing"));
        assert_eq!(known.service_account.as_deref(), Some("reporter"));
        assert_eq!(named("reporter"), Subject::named("reporter"));
    }

    #[test]
    fn a_pod_is_named_with_its_namespace_or_in_the_current_one() {
        assert_eq!(parts("a/b", "c").unwrap(), ("a", "b"));
        assert_eq!(parts("b", "c").unwrap(), ("c", "b"));
        for bad in ["", "a/", "a/b/c", "A/b", "../x"] {
            assert!(parts(bad, "c").is_err(), "{bad}");
        }
    }
}
