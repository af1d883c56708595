//! What the leader keeps right about the root: the Secrets exist, admission and the API server
//! know the root in force, and it is replaced in time.
//!
//! Idempotent: everything is compared first and written only where it differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
use crate::bundles::TOKEN_KEY;

/// What admission reads: roots and allowed images.
const CONFIG_MAP: &str = "weir-admission";
/// Asks for a new root.
const ROTATE: &str = "weir.dev/rotate";
/// Drift is noticed within this.
const PERIOD: Duration = Duration::from_secs(10);
/// Whose fields they are.
pub(crate) const MANAGER: &str = "weir-controller";

/// What is kept right, and where.
#[derive(Clone, Debug)]
pub(crate) struct PublisherConfig {
    pub(crate) namespace: String,
    /// Name of both webhook configurations.
    pub(crate) webhook: String,
    /// Sidecar images that admission allows.
    pub(crate) images: Vec<String>,
}

/// Keeps it right while it runs.
pub(crate) struct Publisher {
    client: Client,
    config: PublisherConfig,
    authority: Authority,
}

impl Publisher {
    pub(crate) fn new(client: Client, config: PublisherConfig, authority: Authority) -> Self {
        Self {
            client,
            config,
            authority,
        }
    }

    /// Never returns.
    pub(crate) async fn run(&self) {
        let mut roots = self.authority.roots();
        loop {
            let root = Arc::clone(&roots.borrow_and_update());
            let (token_key, admission, webhooks, rotation) = tokio::join!(
                self.token_key(),
                self.admission(&root),
                self.webhooks(&root),
                self.rotation(&root),
            );
            report("the token key", token_key);
            report("what admission knows", admission);
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

    async fn admission(&self, root: &Root) -> Result<(), AuthorityError> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.config.namespace);
        let data: BTreeMap<String, String> = [
            ("ca.crt", root.certificate().to_owned()),
            (
                "previous-ca.crt",
                root.previous().unwrap_or_default().to_owned(),
            ),
            ("images", self.config.images.join(",")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let known = api.get_opt(CONFIG_MAP).await?;
        if known.is_some_and(|known| known.data.as_ref() == Some(&data)) {
            return Ok(());
        }
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP},
            "data": data,
        });
        let apply = PatchParams::apply(MANAGER).force();
        api.patch(CONFIG_MAP, &apply, &Patch::Apply(&map)).await?;
        Ok(())
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
