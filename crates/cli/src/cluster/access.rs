//! The API of a cluster, with the credentials of a kubeconfig.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::client::ResolvesClientCert;
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};

use super::error::{ClusterError, chain, status_error};
use super::object;
use super::place::KubeArgs;

/// Objects a page.
const PAGE: usize = 500;
/// Objects of one kind that are read at most: more than this in a terminal helps nobody.
const MAX_OBJECTS: usize = 100_000;

/// A cluster, as one person may use it.
pub(crate) struct Cluster {
    client: Client,
    /// What the person proves to be, for the collector too.
    pub(super) credentials: Credentials,
    weir_namespace: String,
    /// The namespace that was asked for.
    namespace: Option<String>,
    default_namespace: String,
}

/// What a kubeconfig proves its user with.
pub(super) struct Credentials {
    /// The `Authorization` header.
    pub(super) authorization: Option<HeaderValue>,
    /// A client certificate, if there is one.
    pub(super) certificate: Arc<dyn ResolvesClientCert>,
    /// Whether the kubeconfig acts in the name of somebody else.
    pub(super) impersonates: bool,
}

impl Credentials {
    /// The bearer token, if that is what proves the person.
    pub(super) fn bearer(&self) -> Option<String> {
        let token = self.authorization.as_ref().and_then(bearer);
        token.map(str::to_owned)
    }
}

impl Cluster {
    /// Reads the kubeconfig; nothing is asked of the cluster yet.
    pub(crate) async fn open(args: &KubeArgs) -> Result<Self, ClusterError> {
        let mut config = config(args).await?;
        let authorization = authorization(&config).await?;
        // A plugin that was asked for a token is not asked again for every connection.
        if let Some(token) = authorization.as_ref().and_then(bearer) {
            config.auth_info.token = Some(token.to_owned().into());
            config.auth_info.token_file = None;
            config.auth_info.exec = None;
            config.auth_info.auth_provider = None;
        }
        let impersonates = config.auth_info.impersonate.is_some();
        let default_namespace = config.default_namespace.clone();
        let usable = |error: &dyn std::error::Error| ClusterError::Config(chain(error));
        let tls = config
            .rustls_client_config()
            .map_err(|error| usable(&error))?;
        let client = Client::try_from(config).map_err(|error| usable(&error))?;
        Ok(Self {
            client,
            credentials: Credentials {
                authorization,
                certificate: tls.client_auth_cert_resolver,
                impersonates,
            },
            weir_namespace: args.weir_namespace().to_owned(),
            namespace: args.namespace.clone(),
            default_namespace,
        })
    }

    /// The client itself, for what is no request.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Weir's own namespace.
    pub(crate) fn weir_namespace(&self) -> &str {
        &self.weir_namespace
    }

    /// The namespace that was asked for.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The namespace that was asked for, or that of the kubeconfig's context.
    pub(crate) fn current_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.default_namespace)
    }

    /// Reads what stands at a path; `None` if nothing does.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        match self.send("GET", path, None, None).await {
            Ok(value) => Ok(Some(value)),
            Err(ClusterError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a whole list, page by page; `None` if the kind does not exist.
    pub(crate) async fn list(&self, path: &str) -> Result<Option<Vec<Value>>, ClusterError> {
        let mut found = Vec::new();
        let mut next = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut page = format!("{path}{sign}limit={PAGE}");
            if !next.is_empty() {
                page.push_str("&continue=");
                page.push_str(&next);
            }
            let Some(mut answer) = self.get(&page).await? else {
                return Ok(None);
            };
            next = object::text(&answer, "/metadata/continue").to_owned();
            if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
                found.extend(items);
            }
            if next.is_empty() {
                return Ok(Some(found));
            }
            if found.len() >= MAX_OBJECTS {
                let many = format!("more than {MAX_OBJECTS} objects at {path}");
                return Err(ClusterError::Answer(many));
            }
        }
    }

    /// Creates an object at the path of its collection.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Result<Value, ClusterError> {
        self.send("POST", path, Some(body), Some("application/json"))
            .await
    }

    /// Merges a patch into an object.
    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Result<Value, ClusterError> {
        let form = Some("application/merge-patch+json");
        self.send("PATCH", path, Some(patch), form).await
    }

    /// Removes an object.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ClusterError> {
        self.send("DELETE", path, None, None).await.map(|_| ())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        form: Option<&str>,
    ) -> Result<Value, ClusterError> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(form) = form {
            request = request.header(http::header::CONTENT_TYPE, form);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(body.into_bytes())
            .map_err(|error| ClusterError::Usage(error.to_string()))?;
        Ok(self.client.request(request).await?)
    }
}

async fn config(args: &KubeArgs) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let unusable = |error: &dyn std::error::Error| ClusterError::Config(chain(error));
    match (&args.kubeconfig, &args.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|error| unusable(&error))
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| unusable(&error)),
        (None, None) => Config::infer().await.map_err(|error| unusable(&error)),
    }
}

/// The header that the kubeconfig's user proves itself with: kube's own layer makes it (and runs a
/// credential plugin where one is named), a service behind it catches it.
async fn authorization(config: &Config) -> Result<Option<HeaderValue>, ClusterError> {
    let Some(layer) = config.auth_layer()? else {
        return Ok(None);
    };
    let catch = tower::service_fn(async |request: Request<Body>| {
        let caught = request.headers().get(AUTHORIZATION).cloned();
        Ok::<_, tower::BoxError>(Response::new(caught))
    });
    let caught = layer
        .layer(catch)
        .oneshot(Request::new(Body::empty()))
        .await
        .map_err(|error| ClusterError::Unauthorized(chain(error.as_ref())))?;
    Ok(caught.into_body())
}

fn bearer(header: &HeaderValue) -> Option<&str> {
    header.to_str().ok()?.strip_prefix("Bearer ")
}

/// What the API answers to a request that is expected to be refused.
pub(crate) type Refusal = (u16, String, String);

impl Cluster {
    /// Asks for the creation of an object without creating it.
    pub(crate) async fn try_create(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Result<Value, Refusal>, ClusterError> {
        let request = Request::builder()
            .method("POST")
            .uri(format!("{path}?dryRun=All"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| ClusterError::Usage(error.to_string()))?;
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(Ok(value)),
            Err(kube::Error::Api(status)) if status.code == 401 => {
                Err(status_error(status.code, &status.reason, &status.message))
            }
            Err(kube::Error::Api(status)) => Ok(Err((
                status.code,
                status.reason.clone(),
                status.message.clone(),
            ))),
            Err(error) => Err(error.into()),
        }
    }
}
