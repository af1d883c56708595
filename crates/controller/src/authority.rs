//! Weir's root in the cluster, and the TLS of this replica.
//!
//! The root lies in one Secret, made by whoever wins the create and watched by every replica. Each
//! replica issues its own serving certificate, in memory, and again at two thirds of its life or
//! when the root changes; connections take the newest, nothing restarts.
//! Invariants: a root that cannot be read leaves the one before in force; the control port speaks
//! TLS 1.3 only and resumes no session, so that every connection shows a certificate that is valid
//! now.

mod publish;
mod root;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::sync::watch;

pub(crate) use self::publish::{ADMISSION, Publisher, PublisherConfig};
pub(crate) use self::root::{CertificateError, IDENTITY_LIFE, Request, Root};
use self::root::{RootPem, SERVING_LIFE};
use crate::store::follow::follow;
use crate::text::why;

/// The Secret with the root.
pub(crate) const SECRET: &str = "weir-ca";
const RETRY: Duration = Duration::from_secs(2);

/// Where the root is, and which names this replica serves.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityConfig {
    pub(crate) namespace: String,
    pub(crate) names: Vec<String>,
}

/// How connections are served now.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Server certificate only.
    pub(crate) public: Arc<ServerConfig>,
    /// Mutual.
    pub(crate) control: Arc<ServerConfig>,
}

/// The root in force and what follows from it. Clones are one.
#[derive(Clone)]
pub(crate) struct Authority {
    root: watch::Receiver<Arc<Root>>,
    tls: watch::Receiver<Arc<Tls>>,
}

/// Keeps an [`Authority`] right.
pub(crate) struct Keeper {
    client: Client,
    config: AuthorityConfig,
    root: watch::Sender<Arc<Root>>,
    tls: watch::Sender<Arc<Tls>>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("client certificates cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("the API server: {}", why(.0))]
    Api(#[from] kube::Error),
}

impl Authority {
    /// Loads the root or makes it. Tries until it can.
    pub(crate) async fn start(client: Client, config: AuthorityConfig) -> (Self, Keeper) {
        loop {
            match begin(&client, &config).await {
                Ok((root, tls)) => {
                    let root = watch::Sender::new(root);
                    let tls = watch::Sender::new(tls);
                    let authority = Self {
                        root: root.subscribe(),
                        tls: tls.subscribe(),
                    };
                    let keeper = Keeper {
                        client,
                        config,
                        root,
                        tls,
                    };
                    return (authority, keeper);
                }
                Err(error) => tracing::warn!(%error, "no root yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The root in force.
    pub(crate) fn root(&self) -> Arc<Root> {
        Arc::clone(&self.root.borrow())
    }

    /// Sees every new root.
    pub(crate) fn roots(&self) -> watch::Receiver<Arc<Root>> {
        self.root.clone()
    }

    /// How the next connection is served.
    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls.borrow())
    }
}

impl Keeper {
    /// Watches the Secret and renews. Never returns.
    pub(crate) async fn run(self) {
        let (found, mut pems) = watch::channel(None);
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.config.namespace);
        let only = Config::default().fields(&format!("metadata.name={SECRET}"));
        let watching = follow(api, only, SECRET, |event| {
            if let Event::Apply(secret) | Event::InitApply(secret) = event {
                let pem = read(&secret);
                found.send_if_modified(|known| {
                    let changed = *known != pem;
                    *known = pem;
                    changed
                });
            }
        });
        let keeping = async {
            loop {
                let life = tokio::time::sleep(SERVING_LIFE * 2 / 3);
                tokio::select! {
                    changed = pems.changed() => if changed.is_err() {
                        return;
                    },
                    () = life => {}
                }
                let pem = pems.borrow_and_update().clone();
                self.renew(pem);
            }
        };
        tokio::join!(watching, keeping);
    }

    fn renew(&self, pem: Option<RootPem>) {
        let Some(pem) = pem else {
            tracing::error!("the Secret {SECRET} holds no root; the one before stays in force");
            return;
        };
        let now = SystemTime::now();
        let renewed = Root::parse(pem, now)
            .map_err(AuthorityError::from)
            .and_then(|root| Ok((tls(&root, &self.config.names, now)?, root)));
        match renewed {
            Ok((tls, root)) => {
                if root.certificate() != self.root.borrow().certificate() {
                    tracing::info!("a new root is in force");
                }
                self.root.send_replace(Arc::new(root));
                self.tls.send_replace(Arc::new(tls));
            }
            Err(error) => {
                tracing::error!(%error, "the certificates before stay in force");
            }
        }
    }
}

async fn begin(
    client: &Client,
    config: &AuthorityConfig,
) -> Result<(Arc<Root>, Arc<Tls>), AuthorityError> {
    let api = Api::<Secret>::namespaced(client.clone(), &config.namespace);
    let now = SystemTime::now();
    let secret = match api.get_opt(SECRET).await? {
        Some(secret) => secret,
        None => {
            let made = write(&RootPem::generate(now)?);
            match api.create(&PostParams::default(), &made).await {
                Ok(secret) => secret,
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    api.get(SECRET).await?
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let pem = read(&secret)
        .ok_or_else(|| CertificateError::Root("tls.crt or tls.key is missing".to_owned()))?;
    let root = Root::parse(pem, now)?;
    let tls = tls(&root, &config.names, now)?;
    Ok((Arc::new(root), Arc::new(tls)))
}

fn tls(root: &Root, names: &[String], now: SystemTime) -> Result<Tls, AuthorityError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving = root.serving(names, now)?;
    let mut public = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(serving.chain.clone(), serving.key.clone_key())?;
    public.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let roots = Arc::new(root.roots()?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let mut control = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(serving.chain, serving.key)?;
    control.alpn_protocols = vec![b"h2".to_vec()];
    control.session_storage = Arc::new(NoServerSessionStorage {});
    control.send_tls13_tickets = 0;
    Ok(Tls {
        public: Arc::new(public),
        control: Arc::new(control),
    })
}

fn read(secret: &Secret) -> Option<RootPem> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| {
        let bytes = data.get(key)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    Some(RootPem {
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
        previous: text("previous.crt").zip(text("cross.crt")),
    })
}

fn write(pem: &RootPem) -> Secret {
    let mut data: BTreeMap<String, ByteString> = BTreeMap::new();
    let mut put = |key: &str, text: &str| {
        data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
    };
    put("tls.crt", &pem.certificate);
    put("tls.key", &pem.key);
    if let Some((previous, cross)) = &pem.previous {
        put("previous.crt", previous);
        put("cross.crt", cross);
    }
    let mut secret = Secret {
        data: Some(data),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    };
    secret.metadata.name = Some(SECRET.to_owned());
    secret
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A new root.
    pub(crate) fn root() -> Root {
        let now = SystemTime::now();
        Root::parse(RootPem::generate(now).unwrap(), now).unwrap()
    }

    #[test]
    fn a_root_survives_its_secret() {
        let first = RootPem::generate(SystemTime::now()).unwrap();
        let second = first.succeed(SystemTime::now()).unwrap();
        for pem in [first, second] {
            assert_eq!(read(&write(&pem)), Some(pem));
        }
        assert_eq!(read(&Secret::default()), None);
    }

    #[test]
    fn the_control_port_asks_for_certificates_and_resumes_nothing() {
        let now = SystemTime::now();
        let root = Root::parse(RootPem::generate(now).unwrap(), now).unwrap();
        let tls = tls(&root, &["localhost".to_owned()], now).unwrap();
        assert_eq!(tls.control.send_tls13_tickets, 0);
        assert_eq!(tls.control.alpn_protocols, [b"h2".to_vec()]);
        assert!(!tls.control.session_storage.can_cache());
    }
}
