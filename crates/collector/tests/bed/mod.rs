//! A collector on real ports with certificates of its own making.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use weir_audit::{
    Batch, ConnectionClosed, ConnectionOpened, EngineId, Frame, FrameBuilder, Hash, Identity,
    Record, Session, SessionId, Timestamp, genesis,
};
use weir_collector::client::{Client, Opening, TlsOptions};
use weir_collector::{
    CollectorConfig, Credentials, Quota, ReviewError, ReviewFuture, Reviewer, Service,
    ServiceConfig,
};
use weir_uplink::control::{Review, ReviewRequest};
use weir_uplink::ingest::{CollectorPlace, Place, RemoteCollector};

pub const DOMAIN: &str = "cluster.local";
pub const NAME: &str = "localhost";

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

/// A leaf and its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let key = key();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, subject: &[(DnType, &str)], names: Vec<SanType>) -> Leaf {
        let key = key();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, text) in subject {
            params.distinguished_name.push(kind.clone(), *text);
        }
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    pub fn server(&self) -> Leaf {
        self.issue(&[], vec![SanType::DnsName(NAME.try_into().unwrap())])
    }

    pub fn pod(&self, pod: &Pod) -> Leaf {
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        let spiffe = pod.spiffe();
        self.issue(
            &[(DnType::CommonName, &pod.name), (serial, &pod.uid)],
            vec![SanType::URI(spiffe.as_str().try_into().unwrap())],
        )
    }

    pub fn user(&self, name: &str, group: &str) -> Leaf {
        let subject = [
            (DnType::CommonName, name),
            (DnType::OrganizationName, group),
        ];
        self.issue(&subject, Vec::new())
    }
}

/// A pod as the controller attests it.
#[derive(Clone)]
pub struct Pod {
    pub namespace: String,
    pub account: String,
    pub name: String,
    pub uid: String,
}

impl Pod {
    pub fn new(namespace: &str, number: u32) -> Self {
        Self {
            namespace: namespace.into(),
            account: "reporter".into(),
            name: format!("web-{number}"),
            uid: format!("0d7a3b5e-0000-0000-0000-{number:012x}"),
        }
    }

    pub fn spiffe(&self) -> String {
        format!(
            "spiffe://{DOMAIN}/ns/{}/sa/{}",
            self.namespace, self.account
        )
    }

    pub fn engine(&self) -> EngineId {
        format!("pod_{}", self.uid.replace('-', "_"))
            .parse()
            .unwrap()
    }

    pub fn identity(&self) -> Identity {
        Identity {
            namespace: Some(self.namespace.as_str().into()),
            service_account: Some(self.account.as_str().into()),
            pod: Some(self.name.as_str().into()),
            uid: Some(self.uid.as_str().into()),
            ..Identity::named(self.spiffe())
        }
    }

    pub fn session(&self, number: u64) -> Arc<Session> {
        Arc::new(Session {
            id: SessionId::new(number),
            identity: Arc::new(self.identity()),
            target: Some("orders-db".into()),
            ..Session::default()
        })
    }

    /// The first batch of this pod's chain: one session, opened and closed.
    pub fn batch(&self, session: u64) -> Batch {
        self.batch_of(&self.session(session))
    }

    pub fn batch_of(&self, session: &Arc<Session>) -> Batch {
        let engine = self.engine();
        let frame = frame(1, genesis(&engine), session);
        Batch {
            engine,
            frames: vec![frame],
        }
    }
}

pub fn frame(epoch: u32, previous: Hash, session: &Arc<Session>) -> Frame {
    let now: Timestamp = std::time::SystemTime::now().into();
    let records = [
        Record::session(now, Arc::clone(session), ConnectionOpened::default()),
        Record::session(now, Arc::clone(session), ConnectionClosed::default()),
    ];
    let mut builder = FrameBuilder::new(epoch, 1);
    records.iter().for_each(|record| builder.push(record));
    builder.seal(previous).unwrap()
}

/// The controller's part: who may read what.
#[derive(Default)]
pub struct Rules {
    /// (token or user, namespace or all)
    pub allowed: Mutex<BTreeSet<(String, Option<String>)>>,
    pub asked: Mutex<Vec<ReviewRequest>>,
    pub down: Mutex<bool>,
}

impl Rules {
    pub fn allow(&self, who: &str, namespace: Option<&str>) {
        let rule = (who.to_owned(), namespace.map(str::to_owned));
        self.allowed.lock().unwrap().insert(rule);
    }
}

impl Reviewer for Rules {
    fn review<'a>(&'a self, asked: &'a ReviewRequest) -> ReviewFuture<'a> {
        Box::pin(async move {
            if *self.down.lock().unwrap() {
                return Err(ReviewError("nobody answers".into()));
            }
            self.asked.lock().unwrap().push(asked.clone());
            let who = asked.token.clone().or_else(|| asked.user.clone()).unwrap();
            let allowed = self.allowed.lock().unwrap();
            let known = allowed.iter().any(|(name, _)| *name == who);
            let everywhere = (who.clone(), None);
            let rule = (who.clone(), asked.namespace.clone());
            Ok(Review {
                user: if known { who } else { String::new() },
                allowed: allowed.contains(&everywhere) || allowed.contains(&rule),
                reason: String::new(),
            })
        })
    }
}

/// A running collector.
pub struct Bed {
    pub root: Ca,
    pub cluster: Ca,
    pub rules: Arc<Rules>,
    pub ingest: SocketAddr,
    pub auditors: SocketAddr,
    pub client_ca: std::path::PathBuf,
    pub credentials: watch::Sender<Option<Arc<Credentials>>>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<()>>,
    pub dir: tempfile::TempDir,
}

pub async fn bed() -> Bed {
    bed_with(Quota::default()).await
}

pub async fn bed_with(quota: Quota) -> Bed {
    let (root, cluster) = (Ca::new("weir"), Ca::new("kubernetes"));
    let dir = tempfile::tempdir().unwrap();
    let client_ca = dir.path().join("client-ca.crt");
    std::fs::write(&client_ca, &cluster.pem).unwrap();
    let rules = Arc::new(Rules::default());
    let (credentials, current) = watch::channel(Some(credentials(&root)));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = ServiceConfig {
        data_dir: dir.path().join("store"),
        store: CollectorConfig::default(),
        ingest: any,
        auditors: any,
        admin: any,
        trust_domain: DOMAIN.into(),
        client_ca: Some(client_ca.clone()),
        quota,
    };
    let service = Service::bind(config, current, Arc::clone(&rules) as _)
        .await
        .unwrap();
    let (ingest, auditors) = (
        service.ingest_address().unwrap(),
        service.auditors_address().unwrap(),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(service.run(async move {
        let _ = stopped.await;
    }));
    rules.allow("admin", None);
    Bed {
        root,
        cluster,
        rules,
        ingest,
        auditors,
        client_ca,
        credentials,
        stop: Some(stop),
        running: Some(running),
        dir,
    }
}

pub fn credentials(root: &Ca) -> Arc<Credentials> {
    let Leaf { chain, key } = root.server();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = Arc::new(CertifiedKey::new(chain, key));
    Arc::new(Credentials::new(certified, root.pem.as_bytes()).unwrap())
}

/// Client settings that trust `root` and show `leaf`.
pub fn tls(root: &Ca, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match leaf.cloned() {
        Some(Leaf { chain, key }) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A place that can change.
pub struct At(pub Mutex<Option<Place>>);

impl CollectorPlace for At {
    fn place(&self) -> Option<Place> {
        self.0.lock().unwrap().clone()
    }
}

impl Bed {
    pub fn place(&self, tls: Arc<ClientConfig>) -> Place {
        Place {
            address: format!("{NAME}:{}", self.ingest.port()),
            tls,
        }
    }

    /// The sidecar of a pod, as Weir's own root attests it.
    pub fn sidecar(&self, pod: &Pod) -> Arc<RemoteCollector> {
        let leaf = self.root.pod(pod);
        self.remote(tls(&self.root, Some(&leaf)))
    }

    pub fn remote(&self, tls: Arc<ClientConfig>) -> Arc<RemoteCollector> {
        let at = Arc::new(At(Mutex::new(Some(self.place(tls)))));
        Arc::new(RemoteCollector::new(at).unwrap())
    }

    pub fn auditor(&self, token: &str) -> Client {
        self.client(Some(token), None)
    }

    pub fn client(&self, token: Option<&str>, leaf: Option<Leaf>) -> Client {
        let address = self.auditors;
        let options = TlsOptions {
            place: "the collector".into(),
            server_name: NAME.into(),
            roots: vec![self.root.der.clone()],
            certificate: leaf.map(|leaf| (leaf.chain, leaf.key)),
            bearer: token.map(str::to_owned),
        };
        Client::tls(options, move || -> Opening {
            Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<_>) })
        })
        .unwrap()
    }

    /// Drains, and waits for it.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap();
    }
}

/// Calls a blocking sink as the shipper does: on a thread of its own.
pub async fn send(
    sink: &Arc<RemoteCollector>,
    batch: Batch,
) -> Result<weir_audit::Ack, weir_audit::SinkError> {
    use weir_audit::CollectorSink as _;
    let sink = Arc::clone(sink);
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || done.send(sink.ingest(&batch)));
    result.await.unwrap()
}
