//! What the leader keeps right about the root: the Secrets exist, admission and the API server
//! know the root in force, and it is replaced in time.
//!
//! Idempotent: everything is compared first and written only where it differs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::root::{ROOT_LIFE, Root};
use super::{Authority, AuthorityError, SECRET, read, write};
use crate::bundles::{Current, TOKEN_KEY};
use crate::keepers::Keepers;

/// What admission reads: roots, allowed images, the API server's audiences, and who keeps tokens.
pub(crate) const ADMISSION: &str = "weir-admission";
/// The CA of the cluster's client certificates, for the collector.
const CLIENT_CA: &str = "weir-client-ca";
const CLIENT_CA_SOURCE: (&str, &str) = ("kube-system", "extension-apiserver-authentication");
const CLIENT_CA_KEY: &str = "client-ca-file";
/// Asks for a new root.
const ROTATE: &str = "weir.dev/rotate";
/// Drift is noticed within this.
const PERIOD: Duration = Duration::from_secs(10);

/// What is kept right, and where.
#[derive(Clone, Debug)]
pub(crate) struct PublisherConfig {
    pub(crate) namespace: String,
    /// Name of both webhook configurations.
    pub(crate) webhook: String,
    /// Sidecar images that admission allows.
    pub(crate) images: Vec<String>,
    /// Audiences that the API server takes tokens of.
    pub(crate) audiences: Vec<String>,
}

/// Keeps it right while it runs.
pub(crate) struct Publisher {
    client: Client,
    config: PublisherConfig,
    authority: Authority,
    current: Current,
}

impl Publisher {
    /// `current` says who keeps a service account's token.
    pub(crate) fn new(
        client: Client,
        config: PublisherConfig,
        authority: Authority,
        current: Current,
    ) -> Self {
        Self {
            client,
            config,
            authority,
            current,
        }
    }

    /// Never returns.
    pub(crate) async fn run(&self) {
        let mut roots = self.authority.roots();
        loop {
            let root = Arc::clone(&roots.borrow_and_update());
            let (token_key, admission, client_ca, webhooks, rotation) = tokio::join!(
                self.token_key(),
                self.admission(&root),
                self.client_ca(),
                self.webhooks(&root),
                self.rotation(&root),
            );
            report("the token key", token_key);
            report("what admission knows", admission);
            report("the cluster's client CA", client_ca);
            report("the webhooks' CA", webhooks);
            report("the root", rotation);
            let rest = tokio::time::sleep(PERIOD);
            tokio::select! {
                () = rest => {}
                // The sender lives as long as the process.
                _ = roots.changed() => {}
            }
        }
    }

    async fn token_key(&self) -> Result<(), AuthorityError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.config.namespace);
        let (name, key) = TOKEN_KEY;
        if api.get_metadata_opt(name).await?.is_some() {
            return Ok(());
        }
        let mut bytes = vec![0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        let mut secret = Secret {
            data: Some([(key.to_owned(), ByteString(bytes))].into()),
            ..Secret::default()
        };
        secret.metadata.name = Some(name.to_owned());
        exists(api.create(&PostParams::default(), &secret).await)
    }

    /// Writes the roots, the audiences and who keeps tokens, and the images only where nobody else did: the chart knows which ones are
    /// allowed during an upgrade, an old replica does not.
    async fn admission(&self, root: &Root) -> Result<(), AuthorityError> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.config.namespace);
        let mut data = vec![
            ("ca.crt", root.certificate().to_owned()),
            (
                "previous-ca.crt",
                root.previous().unwrap_or_default().to_owned(),
            ),
            ("audiences", self.config.audiences.join(",")),
        ];
        if let Some(inputs) = self.current.borrow().as_ref() {
            let keepers = Keepers::of(&inputs.accepted.resources, Timestamp::now());
            data.push(("keepers", keepers.expressions()));
        }
        let known = api.get_opt(ADMISSION).await?;
        if known.is_none() {
            data.push(("images", self.config.images.join(",")));
        }
        put(&api, ADMISSION, known.as_ref(), &data).await
    }

    /// Copies the CA of the cluster's client certificates to where the collector reads it.
    async fn client_ca(&self) -> Result<(), AuthorityError> {
        let (namespace, name) = CLIENT_CA_SOURCE;
        let source = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let Some(source) = source.get_opt(name).await? else {
            return Ok(());
        };
        let source = source
            .data
            .as_ref()
            .and_then(|data| data.get(CLIENT_CA_KEY));
        let Some(ca) = source else {
            return Ok(());
        };
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.config.namespace);
        let data = [(CLIENT_CA_KEY, ca.clone())];
        let known = api.get_opt(CLIENT_CA).await?;
        put(&api, CLIENT_CA, known.as_ref(), &data).await
    }

    async fn webhooks(&self, root: &Root) -> Result<(), AuthorityError> {
        let bundle = root.bundle();
        let name = self.config.webhook.as_str();
        let params = PatchParams::default();
        let api = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        if let Some(known) = api.get_opt(name).await? {
            let hooks = known.webhooks.iter().flatten();
            let hooks = hooks.map(|hook| (&hook.name, &hook.client_config.ca_bundle));
            if let Some(patch) = stale(hooks, &bundle) {
                api.patch(name, &params, &Patch::Strategic(&patch)).await?;
            }
        }
        let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        if let Some(known) = api.get_opt(name).await? {
            let hooks = known.webhooks.iter().flatten();
            let hooks = hooks.map(|hook| (&hook.name, &hook.client_config.ca_bundle));
            if let Some(patch) = stale(hooks, &bundle) {
                api.patch(name, &params, &Patch::Strategic(&patch)).await?;
            }
        }
        Ok(())
    }

    /// Replaces the root when a fifth of its life is left or somebody asks; puts it back when its
    /// Secret was deleted.
    async fn rotation(&self, root: &Root) -> Result<(), AuthorityError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.config.namespace);
        let Some(secret) = api.get_opt(SECRET).await? else {
            let made = write(root.pem());
            return exists(api.create(&PostParams::default(), &made).await);
        };
        let now = SystemTime::now();
        let asked = secret.metadata.annotations.as_ref();
        let asked = asked.is_some_and(|all| all.contains_key(ROTATE));
        if !asked && root.expires() > now + ROOT_LIFE / 5 {
            return Ok(());
        }
        // Only the root that this replica knows is replaced.
        if read(&secret).as_ref().map(|pem| pem.certificate.as_str()) != Some(root.certificate()) {
            return Ok(());
        }
        let mut next = write(&root.pem().succeed(now)?);
        next.metadata = secret.metadata;
        next.metadata.managed_fields = None;
        next.type_ = secret.type_;
        if let Some(annotations) = &mut next.metadata.annotations {
            annotations.remove(ROTATE);
        }
        api.replace(SECRET, &PostParams::default(), &next).await?;
        tracing::info!("the root was replaced");
        Ok(())
    }
}

/// Makes these keys of a ConfigMap right and leaves the others.
async fn put(
    api: &Api<ConfigMap>,
    name: &str,
    known: Option<&ConfigMap>,
    data: &[(&str, String)],
) -> Result<(), AuthorityError> {
    let pairs = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let mut map = ConfigMap {
        data: Some(pairs.collect()),
        ..ConfigMap::default()
    };
    let Some(known) = known else {
        map.metadata.name = Some(name.to_owned());
        return exists(api.create(&PostParams::default(), &map).await);
    };
    if !has(known, data) {
        let params = PatchParams::default();
        api.patch(name, &params, &Patch::Merge(&json!({"data": map.data})))
            .await?;
    }
    Ok(())
}

/// Whether a ConfigMap has these contents, among others.
fn has(map: &ConfigMap, data: &[(&str, String)]) -> bool {
    let known = map.data.as_ref();
    data.iter()
        .all(|(key, value)| known.and_then(|known| known.get(*key)) == Some(value))
}

/// The patch that a configuration needs so that its webhooks are believed.
fn stale<'a>(
    hooks: impl Iterator<Item = (&'a String, &'a Option<ByteString>)>,
    bundle: &str,
) -> Option<Value> {
    let right = |known: &Option<ByteString>| {
        known
            .as_ref()
            .is_some_and(|known| known.0 == bundle.as_bytes())
    };
    let stale: Vec<Value> = hooks
        .filter(|(_, known)| !right(known))
        .map(|(name, _)| {
            json!({"name": name, "clientConfig": {"caBundle": STANDARD.encode(bundle)}})
        })
        .collect();
    (!stale.is_empty()).then(|| json!({"webhooks": stale}))
}

fn exists<K>(created: Result<K, kube::Error>) -> Result<(), AuthorityError> {
    match created {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn report(what: &str, outcome: Result<(), AuthorityError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, what, "could not be kept right and is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_with_another_bundle_are_patched() {
        let (old, new) = (ByteString(b"old".to_vec()), ByteString(b"new".to_vec()));
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let bundles = [Some(old), Some(new.clone()), None];
        let patch = stale(names.iter().zip(&bundles), "new").unwrap();
        let patched: Vec<_> = patch["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hook| hook["name"].as_str().unwrap())
            .collect();
        assert_eq!(patched, ["a", "c"]);
        assert_eq!(patch["webhooks"][0]["clientConfig"]["caBundle"], "bmV3");
        let fine = [Some(new)];
        assert_eq!(stale(names.iter().zip(&fine), "new"), None);
    }
}
