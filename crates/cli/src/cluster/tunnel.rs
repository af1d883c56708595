//! The way to a pod of Weir: a port-forward through the API server, TLS inside it.
//!
//! Invariants: the peer is verified with the root that Weir publishes in its own namespace, under
//! the name of its Service; the person's credentials are sent only after that.

use std::io;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use weir_collector::client::{Client, ClientError, Opening, Stream, TlsOptions};

use super::access::Cluster;
use super::error::{ClusterError, chain};
use super::object;

/// The auditors' port of the collector.
const AUDITORS: u16 = 8446;

/// A process of Weir that can be reached through the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// The controller.
    Controller,
    /// The collector.
    Collector,
}

impl Process {
    /// The label `app.kubernetes.io/component` of its pods.
    pub(crate) fn component(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Collector => "collector",
        }
    }

    /// Name of its Deployment and its Service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Controller => "weir-controller",
            Self::Collector => "weir-collector",
        }
    }
}

/// A way to one port of one pod.
#[derive(Clone)]
pub(crate) struct Tunnel {
    pods: Api<Pod>,
    pod: String,
    port: u16,
    server_name: String,
}

impl Tunnel {
    /// To a ready pod of a process.
    pub(crate) async fn to(
        cluster: &Cluster,
        process: Process,
        port: u16,
    ) -> Result<Self, ClusterError> {
        let namespace = cluster.weir_namespace();
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io/component={}",
            process.component()
        );
        let pods = cluster.list(&path).await?.unwrap_or_default();
        let pod = ready_pod(&pods).ok_or_else(|| {
            let name = process.name();
            ClusterError::NotFound(match pods.len() {
                0 => format!(
                    "there is no {name} in namespace {namespace}; is Weir installed there? \
                     (--weir-namespace names another)"
                ),
                _ => format!("no pod of {name} in namespace {namespace} is ready"),
            })
        })?;
        Ok(Self {
            pods: Api::namespaced(cluster.client(), namespace),
            pod: pod.to_owned(),
            port,
            server_name: format!("{}.{namespace}.svc", process.name()),
        })
    }

    /// Opens it: bytes to the pod's port.
    pub(crate) async fn open(&self) -> io::Result<DuplexStream> {
        let forwarded = self.pods.portforward(&self.pod, &[self.port]).await;
        let mut forwarder = forwarded.map_err(|error| {
            let error = ClusterError::from(error);
            io::Error::other(format!("no tunnel to pod {}: {error}", self.pod))
        })?;
        forwarder
            .take_stream(self.port)
            .ok_or_else(|| io::Error::other("the tunnel has no stream"))
    }

    /// The certificates that the pod's port serves, leaf first, verified.
    pub(crate) async fn certificates(
        &self,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
        let config = ClientConfig::builder()
            .with_root_certificates(store(roots)?)
            .with_no_client_auth();
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|error| ClusterError::Usage(error.to_string()))?;
        let failed = |error: io::Error| ClusterError::Answer(chain(&error));
        let stream = self.open().await.map_err(failed)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(failed)?;
        let (_, session) = stream.get_ref();
        Ok(session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect())
    }
}

/// The collector's API, as the person of the kubeconfig.
pub(crate) async fn collector(cluster: &Cluster) -> Result<Client, ClusterError> {
    let credentials = &cluster.credentials;
    if credentials.impersonates {
        let text = "the collector does not take one person for another: evidence needs a \
                    kubeconfig without `as`";
        return Err(ClusterError::Usage(text.to_owned()));
    }
    let bearer = credentials.bearer();
    if bearer.is_none() && !credentials.certificate.has_certs() {
        let text = "the kubeconfig has neither a token nor a client certificate, and the collector \
                    takes nothing else";
        return Err(ClusterError::Usage(text.to_owned()));
    }
    let roots = roots(cluster).await?;
    let tunnel = Tunnel::to(cluster, Process::Collector, AUDITORS).await?;
    let options = TlsOptions {
        place: format!("the collector in namespace {}", cluster.weir_namespace()),
        server_name: tunnel.server_name.clone(),
        roots,
        certificate: Some(Arc::clone(&credentials.certificate)),
        bearer,
    };
    let open = move || -> Opening {
        let tunnel = tunnel.clone();
        Box::pin(async move {
            let stream = tunnel.open().await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    };
    Client::tls(options, open).map_err(|error: ClientError| ClusterError::Collector(chain(&error)))
}

/// The certificates that Weir publishes as its root: one, or two while it rotates.
pub(crate) async fn roots(cluster: &Cluster) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let namespace = cluster.weir_namespace();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/weir-admission");
    let map = cluster.get(&path).await?.ok_or_else(|| {
        ClusterError::NotFound(format!(
            "there is no ConfigMap weir-admission in namespace {namespace}; is Weir installed \
             there? (--weir-namespace names another)"
        ))
    })?;
    published(&map)
}

/// The roots in ConfigMap `weir-admission`.
pub(crate) fn published(map: &Value) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let mut found = Vec::new();
    for key in ["ca.crt", "previous-ca.crt"] {
        let pem = map
            .pointer("/data")
            .and_then(|data| data.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| {
                ClusterError::Answer(format!("ConfigMap weir-admission, key {key}: {error}"))
            })?;
            found.push(certificate);
        }
    }
    if found.is_empty() {
        let text = "ConfigMap weir-admission holds no certificate yet: the controller writes it \
                    when it first runs";
        return Err(ClusterError::NotFound(text.to_owned()));
    }
    Ok(found)
}

fn store(roots: Vec<CertificateDer<'static>>) -> Result<RootCertStore, ClusterError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root)
            .map_err(|error| ClusterError::Answer(format!("Weir's root: {error}")))?;
    }
    Ok(store)
}

/// A pod that takes connections.
fn ready_pod(pods: &[Value]) -> Option<&str> {
    pods.iter()
        .find(|pod| {
            object::is(pod, "Ready") && object::text(pod, "/metadata/deletionTimestamp").is_empty()
        })
        .map(object::name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tunnel_leads_to_a_pod_that_is_ready_and_stays() {
        let pod = |name: &str, ready: &str, leaving: bool| {
            let mut pod = json!({
                "metadata": {"name": name},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            if leaving {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            pod
        };
        let pods = [
            pod("a", "False", false),
            pod("b", "True", true),
            pod("c", "True", false),
        ];
        assert_eq!(ready_pod(&pods), Some("c"));
        assert_eq!(ready_pod(&pods[..2]), None);
    }

    #[test]
    fn a_root_that_is_not_there_yet_is_said_to_be_so() {
        let error = published(&json!({"data": {"images": "weir-sidecar:1"}})).unwrap_err();
        assert!(error.to_string().contains("no certificate yet"), "{error}");
    }
}
