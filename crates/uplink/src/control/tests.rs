//! The client against a real HTTP/2 server over TLS, with certificates of its own.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

const NAME: &str = "spiffe://cluster.local/ns/billing/sa/reporter";

/// A certificate authority, and the controller that serves with it.
struct Controller {
    endpoint: Endpoint,
    state: Arc<State>,
    dir: tempfile::TempDir,
}

struct State {
    issuer: Issuer<'static, KeyPair>,
    root: String,
    life: Mutex<u64>,
    /// What watches are sent, a line each; a watch ends when its sender is dropped.
    watches: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
    said: Mutex<Vec<(Method, String, String)>>,
    /// Connections so far.
    accepted: std::sync::atomic::AtomicUsize,
}

impl Controller {
    /// Serves; with `mutual`, to those with a certificate only.
    async fn start(mutual: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let root = certificate.pem();
        let issuer = Issuer::new(params, key);
        let state = Arc::new(State {
            issuer,
            root,
            life: Mutex::new(3600),
            watches: Mutex::default(),
            said: Mutex::default(),
            accepted: Default::default(),
        });
        Self::serve(state, mutual).await
    }

    /// The same authority on another port.
    async fn mutual(&self) -> Self {
        Self::serve(Arc::clone(&self.state), true).await
    }

    async fn serve(state: Arc<State>, mutual: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &state.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        use rustls_pki_types::pem::PemObject as _;
        roots
            .add(CertificateDer::from_pem_slice(state.root.as_bytes()).unwrap())
            .unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = if mutual {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut tls = builder
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&serving));
                state
                    .accepted
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let connection = http2::Builder::new(TokioExecutor::new());
                    drop(
                        connection
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "good\n").unwrap();
        let host = "localhost".to_owned();
        Self {
            endpoint: Endpoint {
                host,
                port,
                addresses: Vec::new(),
            },
            state,
            dir,
        }
    }

    fn token(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn enroller(&self, trust_domain: &str) -> Enroller {
        self.enroller_at(self.endpoint.clone(), trust_domain)
    }

    fn enroller_at(&self, endpoint: Endpoint, trust_domain: &str) -> Enroller {
        let config = EnrolConfig {
            endpoint,
            roots: self.state.root.clone(),
            trust_domain: trust_domain.to_owned(),
            token: self.token(),
        };
        let key = Key::load_or_create(&self.dir.path().join("key")).unwrap();
        Enroller::new(config, key).unwrap()
    }

    async fn client(&self) -> (ControlClient, Arc<Identity>, Controller) {
        let (_, identity) = self.enroller("cluster.local").until_enrolled().await;
        let (identity, other) = (Arc::new(identity), self.mutual().await);
        let client = ControlClient::new(other.endpoint.clone(), Arc::clone(&identity));
        (client, identity, other)
    }

    fn say(&self, push: &Push) {
        let mut line = serde_json::to_vec(push).unwrap();
        line.push(b'\n');
        self.state
            .watches
            .lock()
            .unwrap()
            .retain(|watch| watch.send(line.clone().into()).is_ok());
    }

    async fn until_watched(&self, times: usize) {
        while self.state.watches.lock().unwrap().len() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let path = parts.uri.path().to_owned();
    let said = (parts.method.clone(), path.clone(), text.clone());
    state.said.lock().unwrap().push(said);
    let full = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
        *response.status_mut() = status;
        response
    };
    Ok(match path.as_str() {
        ENROL => {
            let bearer = parts.headers.get("authorization");
            if bearer.is_none_or(|value| value != "Bearer good") {
                return Ok(full(StatusCode::FORBIDDEN, "not with this token\n".into()));
            }
            let asked: Enrol = serde_json::from_str(&text).unwrap();
            let mut csr = CertificateSigningRequestParams::from_pem(&asked.csr).unwrap();
            csr.params.subject_alt_names = vec![SanType::URI(NAME.try_into().unwrap())];
            let enrolment = Enrolment {
                certificate: csr.signed_by(&state.issuer).unwrap().pem(),
                roots: state.root.clone(),
                expires_in_seconds: *state.life.lock().unwrap(),
                identity: weir_audit::Identity::named(NAME),
            };
            full(StatusCode::OK, serde_json::to_string(&enrolment).unwrap())
        }
        WATCH => {
            let (sender, mut lines) = mpsc::unbounded_channel();
            state.watches.lock().unwrap().push(sender);
            let (frames, stream) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(line) = lines.recv().await {
                    if frames.send(Ok(Frame::data(line))).await.is_err() {
                        return;
                    }
                }
            });
            Response::new(BodyExt::boxed(StreamBody::new(Receiving(stream))))
        }
        ACCESS_REQUESTS => full(StatusCode::CREATED, r#"{"name":"weir-abcde"}"#.into()),
        REVIEW => full(StatusCode::OK, r#"{"user":"eve","allowed":false}"#.into()),
        LEASES => full(StatusCode::OK, r#"{"budgets":[]}"#.into()),
        _ => full(StatusCode::NO_CONTENT, String::new()),
    })
}

struct Receiving(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Receiving {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

fn snapshot(revision: u64) -> Push {
    let mut snapshot = Snapshot {
        revision,
        ..Snapshot::default()
    };
    snapshot.digest = snapshot.content_digest().unwrap();
    Push::Snapshot(Box::new(snapshot))
}

#[tokio::test]
async fn a_known_address_needs_no_resolver_and_proves_nothing() {
    let controller = Controller::start(false).await;
    let enrol = async |host: &str, address: &str| {
        let endpoint = Endpoint {
            host: host.to_owned(),
            port: controller.endpoint.port,
            addresses: vec![address.parse().unwrap()],
        };
        controller
            .enroller_at(endpoint, "cluster.local")
            .enrol()
            .await
    };
    assert!(enrol("localhost", "127.0.0.1").await.is_ok());
    // Nobody is there: the name is asked.
    assert!(enrol("localhost", "127.0.0.2").await.is_ok());
    // The certificate is for `localhost`: something else is refused wherever it leads.
    let other = enrol("127.0.0.3", "127.0.0.1")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("127.0.0.1: invalid peer certificate"),
        "{other}"
    );
    assert!(other.contains("127.0.0.3: Connection refused"), "{other}");
}

#[tokio::test]
async fn a_token_becomes_an_identity_and_a_restart_keeps_the_key() {
    let controller = Controller::start(false).await;
    let granted = controller.enroller("cluster.local").enrol().await.unwrap();
    assert_eq!(&*granted.identity.name, NAME);
    // Another process with the same file: the certificate is for its key as well.
    let again = controller.enroller("cluster.local");
    let identity = Identity::new(again.key(), &granted, Instant::now()).unwrap();
    assert_eq!(&*identity.attested().unwrap().name, NAME);
    let stranger = Key::generate().unwrap();
    assert!(Identity::new(&stranger, &granted, Instant::now()).is_err());
}

#[tokio::test]
async fn a_refused_token_and_another_trust_domain_give_no_identity() {
    let controller = Controller::start(false).await;
    let foreign = controller.enroller("other.example").enrol().await;
    assert!(matches!(foreign, Err(ControlError::Answer(_))));
    std::fs::write(controller.token(), "bad").unwrap();
    let refused = controller.enroller("cluster.local").enrol().await;
    let Err(ControlError::Refused { status, reason }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status, reason.as_str()), (403, "not with this token"));
}

#[tokio::test]
async fn a_controller_that_cannot_prove_itself_is_told_nothing() {
    let controller = Controller::start(false).await;
    let impostor = Controller::start(false).await;
    let config = EnrolConfig {
        endpoint: impostor.endpoint.clone(),
        roots: controller.state.root.clone(),
        trust_domain: "cluster.local".to_owned(),
        token: controller.token(),
    };
    let enroller = Enroller::new(config, Key::generate().unwrap()).unwrap();
    let refused = enroller.enrol().await;
    assert!(matches!(refused, Err(ControlError::Unreachable { .. })));
    assert!(impostor.state.said.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    Key::load_or_create(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Key::load_or_create(&path).is_err());
}

#[tokio::test]
async fn requests_reach_the_controller_over_mutual_tls() {
    let controller = Controller::start(false).await;
    let (client, _, _) = controller.client().await;
    client.report(&Report::default()).await.unwrap();
    client.withdraw("weir-abcde", false).await.unwrap();
    let leases = client.lease(&LeaseRequest::default()).await.unwrap();
    assert!(leases.budgets.is_empty());
    let review = client.review(&ReviewRequest::default()).await.unwrap();
    assert_eq!((review.user.as_str(), review.allowed), ("eve", false));
    let said = controller.state.said.lock().unwrap();
    let paths: Vec<_> = said
        .iter()
        .map(|(method, path, _)| (method.as_str(), path.as_str()))
        .collect();
    let withdrawn = format!("{ACCESS_REQUESTS}/weir-abcde");
    let expected = [
        ("POST", ENROL),
        ("POST", REPORT),
        ("DELETE", withdrawn.as_str()),
        ("POST", LEASES),
        ("POST", REVIEW),
    ];
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn a_watch_hands_on_what_is_said_and_comes_back_when_it_is_cut() {
    let controller = Controller::start(false).await;
    let (client, _, _) = controller.client().await;
    let (say, mut heard) = mpsc::channel(8);
    let watching = tokio::spawn(async move { client.watch(say).await });
    controller.until_watched(1).await;
    controller.say(&Push::Heartbeat);
    assert!(matches!(heard.recv().await, Some(Heard::Alive)));
    controller.say(&snapshot(1));
    let Some(Heard::Snapshot(first)) = heard.recv().await else {
        panic!("no snapshot");
    };
    assert_eq!(first.revision, 1);
    let ruling = RequestRuling {
        name: "weir-abcde".to_owned(),
        ending: Ending::Approved { rows: Some(5) },
        approvers: vec!["ann".to_owned()],
        decisions: Vec::new(),
    };
    controller.say(&Push::Ruling(ruling.clone()));
    let Some(Heard::Ruling(found)) = heard.recv().await else {
        panic!("no ruling");
    };
    assert_eq!(found, ruling);
    controller.state.watches.lock().unwrap().clear();
    assert!(matches!(heard.recv().await, Some(Heard::Lost(_))));
    controller.until_watched(1).await;
    controller.say(&snapshot(2));
    assert!(matches!(heard.recv().await, Some(Heard::Snapshot(_))));
    drop(heard);
    watching.await.unwrap();
}

#[tokio::test]
async fn a_report_goes_to_the_replica_that_the_watch_is_on() {
    let controller = Controller::start(false).await;
    let (client, _, _) = controller.client().await;
    let client = Arc::new(client);
    let (say, mut heard) = mpsc::channel(8);
    let watching = Arc::clone(&client);
    let watch = tokio::spawn(async move { watching.watch(say).await });
    controller.until_watched(1).await;
    controller.say(&Push::Heartbeat);
    assert!(matches!(heard.recv().await, Some(Heard::Alive)));
    let accepted = || {
        controller
            .state
            .accepted
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = accepted();
    // A request that found its connection broken leaves the next one to a new connection.
    client.hang_up().await;
    client.report(&Report::default()).await.unwrap();
    assert_eq!(accepted(), before);
    client.withdraw("weir-abcde", false).await.unwrap();
    assert_eq!(accepted(), before + 1);
    watch.abort();
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_once_and_loses_nothing() {
    let controller = Controller::start(false).await;
    let (client, identity, _) = controller.client().await;
    let enroller = controller.enroller("cluster.local");
    let (say, mut heard) = mpsc::channel(8);
    tokio::spawn(async move { client.watch(say).await });
    controller.until_watched(1).await;
    let before = identity.client_config();
    let granted = enroller.enrol().await.unwrap();
    identity
        .renew(enroller.key(), &granted, Instant::now())
        .unwrap();
    assert!(!Arc::ptr_eq(&before, &identity.client_config()));
    controller.until_watched(2).await;
    controller.say(&snapshot(1));
    assert!(matches!(heard.recv().await, Some(Heard::Snapshot(_))));
}

#[tokio::test]
async fn an_identity_is_renewed_in_time_and_proves_nothing_once_it_expired() {
    let controller = Controller::start(false).await;
    *controller.state.life.lock().unwrap() = 1;
    let enroller = controller.enroller("cluster.local");
    let (_, identity) = enroller.until_enrolled().await;
    assert!(identity.renew_at() < identity.expires());
    let mut renewals = identity.renewals();
    let kept = Mutex::new(0);
    tokio::select! {
        () = enroller.keep_fresh(&identity, |_| *kept.lock().unwrap() += 1) => {}
        changed = renewals.changed() => changed.unwrap(),
    }
    assert!(identity.attested().is_some());
    tokio::time::sleep_until(identity.expires()).await;
    assert!(identity.attested().is_none());
}
