//! A collector on real ports with certificates of its own making.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use weir_audit::{
    Batch, ConnectionClosed, ConnectionOpened, EngineId, Fingerprint, Frame, FrameBuilder, Hash,
    Identity, Record, Session, SessionId, Timestamp, genesis,
};
use weir_collector::api::{Desk, DeskError, DeskFuture};
use weir_collector::client::{Client, Opening, TlsOptions};
use weir_collector::{
    CollectorConfig, Credentials, Current, Quota, ReviewError, ReviewFuture, Reviewer, Service,
    ServiceConfig, UiConfig,
};
use weir_uplink::control::{
    Coverage, DecisionAsked, Enrolment, Person, RequestView, RequestsListed, Review, ReviewRequest,
};
use weir_uplink::ingest::{CollectorPlace, Place, RemoteCollector};

pub(crate) const DOMAIN: &str = "cluster.local";
pub(crate) const NAME: &str = "localhost";
/// Where collector and controller run.
pub(crate) const OWN_NAMESPACE: &str = "weir-system";

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// A leaf and its key.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

fn serial() -> DnType {
    DnType::CustomDnType(vec![2, 5, 4, 5])
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
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

    /// What a controller grants for a signing request of a pod.
    pub(crate) fn grant(&self, csr: &str, pod: &Pod) -> Enrolment {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let params = &mut request.params;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, pod.name.as_str());
        params.distinguished_name.push(serial(), pod.uid.as_str());
        params.subject_alt_names = vec![
            SanType::URI(pod.spiffe().as_str().try_into().unwrap()),
            SanType::DnsName(NAME.try_into().unwrap()),
        ];
        Enrolment {
            certificate: request.signed_by(&self.issuer).unwrap().pem(),
            roots: self.pem.clone(),
            expires_in_seconds: 3600,
            identity: pod.identity(),
        }
    }

    pub(crate) fn server(&self) -> Leaf {
        self.issue(&[], vec![SanType::DnsName(NAME.try_into().unwrap())])
    }

    pub(crate) fn pod(&self, pod: &Pod) -> Leaf {
        self.pod_at(pod, Vec::new())
    }

    /// The collector itself: a pod of Weir's own namespace, at a host name.
    fn collector(&self) -> Leaf {
        let pod = Pod::new(OWN_NAMESPACE, 0xc011);
        self.pod_at(&pod, vec![SanType::DnsName(NAME.try_into().unwrap())])
    }

    fn pod_at(&self, pod: &Pod, mut names: Vec<SanType>) -> Leaf {
        let spiffe = pod.spiffe();
        names.push(SanType::URI(spiffe.as_str().try_into().unwrap()));
        self.issue(
            &[(DnType::CommonName, &pod.name), (serial(), &pod.uid)],
            names,
        )
    }

    pub(crate) fn user(&self, name: &str, group: &str) -> Leaf {
        let subject = [
            (DnType::CommonName, name),
            (DnType::OrganizationName, group),
        ];
        self.issue(&subject, Vec::new())
    }
}

/// A pod as the controller attests it.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Pod {
    pub(crate) fn new(namespace: &str, number: u32) -> Self {
        Self {
            namespace: namespace.into(),
            account: "reporter".into(),
            name: format!("web-{number}"),
            uid: format!("0d7a3b5e-0000-0000-0000-{number:012x}"),
        }
    }

    pub(crate) fn spiffe(&self) -> String {
        format!(
            "spiffe://{DOMAIN}/ns/{}/sa/{}",
            self.namespace, self.account
        )
    }

    pub(crate) fn engine(&self) -> EngineId {
        format!("pod_{}", self.uid.replace('-', "_"))
            .parse()
            .unwrap()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            namespace: Some(self.namespace.as_str().into()),
            service_account: Some(self.account.as_str().into()),
            pod: Some(self.name.as_str().into()),
            uid: Some(self.uid.as_str().into()),
            ..Identity::named(self.spiffe())
        }
    }

    pub(crate) fn session(&self, number: u64) -> Arc<Session> {
        Arc::new(Session {
            id: SessionId::new(number),
            identity: Arc::new(self.identity()),
            target: Some("orders-db".into()),
            ..Session::default()
        })
    }

    /// The first batch of this pod's chain: one session, opened and closed.
    pub(crate) fn batch(&self, session: u64) -> Batch {
        self.batch_of(&self.session(session))
    }

    pub(crate) fn batch_of(&self, session: &Arc<Session>) -> Batch {
        let engine = self.engine();
        let frame = frame(1, genesis(&engine), session);
        Batch {
            engine,
            frames: vec![frame],
        }
    }
}

pub(crate) fn frame(epoch: u32, previous: Hash, session: &Arc<Session>) -> Frame {
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
pub(crate) struct Rules {
    /// (token or user, namespace or all)
    pub(crate) allowed: Mutex<BTreeSet<(String, Option<String>)>>,
    pub(crate) asked: Mutex<Vec<ReviewRequest>>,
    pub(crate) down: Mutex<bool>,
}

impl Rules {
    pub(crate) fn allow(&self, who: &str, namespace: Option<&str>) {
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
pub(crate) struct Bed {
    /// Weir's own root, and the cluster's.
    pub(crate) root: Ca,
    pub(crate) cluster: Ca,
    /// What the collector proves itself with.
    pub(crate) credentials: watch::Sender<Option<Arc<Credentials>>>,
    pub(crate) running: Running,
}

impl std::ops::Deref for Bed {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl std::ops::DerefMut for Bed {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

pub(crate) struct Running {
    pub(crate) rules: Arc<Rules>,
    pub(crate) ingest: SocketAddr,
    pub(crate) auditors: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) client_ca: std::path::PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) async fn bed() -> Bed {
    bed_with(Quota::default()).await
}

pub(crate) async fn bed_with(quota: Quota) -> Bed {
    bed_on(tempfile::tempdir().unwrap(), quota).await
}

/// With its store in `dir`.
pub(crate) async fn bed_on(dir: tempfile::TempDir, quota: Quota) -> Bed {
    let (root, cluster) = (Ca::new("weir"), Ca::new("kubernetes"));
    let (credentials, current) = watch::channel(Some(credentials(&root)));
    let running = run(dir, &cluster, current, quota).await;
    Bed {
        root,
        cluster,
        credentials,
        running,
    }
}

/// A collector with credentials from elsewhere.
/// Decides nothing.
struct NoDesk;

impl Desk for NoDesk {
    fn requests(&self, _: Person, _: Option<String>, _: bool) -> DeskFuture<'_, RequestsListed> {
        Box::pin(async { Err(DeskError::Unavailable("nothing is decided here".into())) })
    }

    fn decide(&self, _: DecisionAsked) -> DeskFuture<'_, RequestView> {
        Box::pin(async { Err(DeskError::Unavailable("nothing is decided here".into())) })
    }

    fn fingerprints(&self, _: String, _: Vec<String>) -> DeskFuture<'_, Vec<Fingerprint>> {
        Box::pin(async { Err(DeskError::Unavailable("nobody has the key".into())) })
    }

    fn coverage(&self, _: Person) -> DeskFuture<'_, Option<Coverage>> {
        Box::pin(async { Ok(None) })
    }
}

pub(crate) async fn bed_of(root: &Ca, current: Current) -> Running {
    let dir = tempfile::tempdir().unwrap();
    run(dir, root, current, Quota::default()).await
}

async fn run(dir: tempfile::TempDir, cluster: &Ca, current: Current, quota: Quota) -> Running {
    let client_ca = dir.path().join("client-ca.crt");
    std::fs::write(&client_ca, &cluster.pem).unwrap();
    let rules = Arc::new(Rules::default());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = ServiceConfig {
        data_dir: dir.path().join("store"),
        store: CollectorConfig::default(),
        ingest: any,
        auditors: any,
        admin: any,
        trust_domain: DOMAIN.into(),
        client_ca: Some(client_ca.clone()),
        ui: Some(UiConfig::new(None, true, None).unwrap()),
        quota,
        keepers: weir_collector::Keepers::default(),
        findings: weir_collector::findings::FindingsConfig::default(),
        otlp: None,
    };
    let service = Service::bind(config, current, Arc::clone(&rules) as _, Arc::new(NoDesk))
        .await
        .unwrap();
    let (ingest, auditors, admin) = (
        service.ingest_address().unwrap(),
        service.auditors_address().unwrap(),
        service.admin_address().unwrap(),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(service.run(async move {
        let _ = stopped.await;
    }));
    rules.allow("admin", None);
    Running {
        rules,
        ingest,
        auditors,
        admin,
        client_ca,
        stop: Some(stop),
        served: Some(served),
        dir,
    }
}

pub(crate) fn credentials(root: &Ca) -> Arc<Credentials> {
    let certified = Arc::new(certified(root.collector()));
    Arc::new(Credentials::new(certified, root.pem.as_bytes()).unwrap())
}

fn certified(leaf: Leaf) -> CertifiedKey {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&leaf.key).unwrap();
    CertifiedKey::new(leaf.chain, key)
}

/// Client settings that trust `root` and show `leaf`.
pub(crate) fn tls(root: &Ca, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
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
pub(crate) struct At(pub(crate) Mutex<Option<Place>>);

impl CollectorPlace for At {
    fn place(&self) -> Option<Place> {
        self.0.lock().unwrap().clone()
    }
}

impl Running {
    pub(crate) fn place(&self, tls: Arc<ClientConfig>) -> Place {
        Place {
            address: format!("{NAME}:{}", self.ingest.port()),
            known: Vec::new(),
            tls,
        }
    }

    pub(crate) fn remote(&self, tls: Arc<ClientConfig>) -> Arc<RemoteCollector> {
        let at = Arc::new(At(Mutex::new(Some(self.place(tls)))));
        Arc::new(RemoteCollector::new(at).unwrap())
    }

    /// What the admin port answers: the status line and the rest.
    pub(crate) async fn admin_says(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Drains, and waits for it.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
    }
}

impl Bed {
    /// The sidecar of a pod, as Weir's own root attests it.
    pub(crate) fn sidecar(&self, pod: &Pod) -> Arc<RemoteCollector> {
        let leaf = self.root.pod(pod);
        self.remote(tls(&self.root, Some(&leaf)))
    }

    pub(crate) fn auditor(&self, token: &str) -> Client {
        self.client(Some(token), None)
    }

    pub(crate) fn client(&self, token: Option<&str>, leaf: Option<Leaf>) -> Client {
        let address = self.auditors;
        let options = TlsOptions {
            place: "the collector".into(),
            server_name: NAME.into(),
            roots: vec![self.root.der.clone()],
            certificate: leaf
                .map(|leaf| Arc::new(SingleCertAndKey::from(certified(leaf))) as Arc<_>),
            bearer: token.map(str::to_owned),
        };
        Client::tls(options, move || -> Opening {
            Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<_>) })
        })
        .unwrap()
    }
}

/// Calls a blocking sink as the shipper does: on a thread of its own.
pub(crate) async fn send(
    sink: &Arc<RemoteCollector>,
    batch: Batch,
) -> Result<weir_audit::Ack, weir_audit::SinkError> {
    use weir_audit::CollectorSink as _;
    let sink = Arc::clone(sink);
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || done.send(sink.ingest(&batch)));
    result.await.unwrap()
}
