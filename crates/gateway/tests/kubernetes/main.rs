//! Requests to a Kubernetes API and their answers through a whole engine, between a client and a scripted
//! server that both speak HTTP/1.1.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's helpers"
)]

mod closed;
mod explain;
mod people;
mod reads;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use weir_audit::{Body as Event, Identity, Outcome, Record, SessionId};
use weir_gateway::ports::{
    AuditSink, Budgets, Credentials, Held, HoldRequest, Holds, Identities, Pending, PinStore,
    PinnedColumn, Policies, Ruled, Ruling,
};
use weir_gateway::{Engine, EngineConfig, HostKeys, Unmatched};
use weir_policy::{Bundle, Counters, Subject, Timestamp, Usage, Wanted, WindowLedger};
use weir_transport::listen::{Acceptor, Limits, Mode};
use weir_transport::resolver::Resolver;
use weir_transport::tls::Authority;

const SECRET: &str = "aHVudGVyMg==";
const MAIL: &str = "zora@example.test";

const RULES: &str = "
- {name: hide, match: {labels: [\"secret.*\", \"pii.*\"]}, action: Mask}
- {name: pages, match: {kubernetes: {resources: [configmaps]}}, limits: {statement: {objects: 5}}}
- {name: hour, match: {kubernetes: {resources: [podtemplates]}}, limits: {window: {objects: 5, per: 1h}}}
- name: ask
  match: {kubernetes: {resources: [limitranges]}}
  action: RequireApproval
  approval: {groups: [sre], count: 1, deadline: 1m, meanwhile: Retry}
- name: wait
  match: {kubernetes: {resources: [endpoints]}}
  action: RequireApproval
  approval: {groups: [sre], count: 1, deadline: 1m}
";

/// Everything around the engine.
struct World {
    bundle: Mutex<Arc<Bundle>>,
    records: Mutex<Vec<Record>>,
    sessions: AtomicUsize,
    rulings: Mutex<Vec<oneshot::Sender<Ruled>>>,
    held: Mutex<Vec<HoldRequest>>,
    asked: AtomicUsize,
    ledger: Mutex<WindowLedger>,
    closed: Arc<AtomicBool>,
    port: u16,
}

fn bundle(port: u16, rules: &str, revision: u64) -> Arc<Bundle> {
    compiled(&resources(port, rules), revision)
}

fn resources(port: u16, rules: &str) -> String {
    let rules = rules.replace('\n', "\n  ");
    format!(
        "kind: Target
metadata: {{name: kube}}
spec:
  protocol: Kubernetes
  addresses: [{{host: 127.0.0.1, port: {port}}}]
  upstreamTLS: {{mode: Disable}}
  credentials: {{mode: PassThrough}}
---
kind: DataLabel
metadata: {{name: secret.kubernetes}}
spec:
  kubernetes: [{{resource: secrets, fields: [\"data.*\"]}}]
  mask: {{constant: \"[masked]\"}}
---
kind: DataLabel
metadata: {{name: pii.email}}
spec: {{detectors: [email], mask: {{constant: \"[mail]\"}}}}
---
kind: ClusterGuardPolicy
metadata: {{name: p}}
spec:
  mode: Enforce
  subjects: [{{names: [\"*\"]}}]
  targets: [kube]
  rules:{rules}
"
    )
}

fn compiled(text: &str, revision: u64) -> Arc<Bundle> {
    let resources = weir_api::load_str("test", text).expect("loads");
    let options = weir_api::CompileOptions {
        revision,
        ..weir_api::CompileOptions::default()
    };
    Arc::new(
        weir_api::compile(&resources, &options)
            .expect("compiles")
            .bundle,
    )
}

impl Policies for World {
    fn current(&self) -> Arc<Bundle> {
        Arc::clone(&self.bundle.lock().unwrap())
    }

    fn unmatched(&self) -> Unmatched {
        Unmatched::Refuse
    }

    fn suspended(&self) -> Option<Arc<str>> {
        None
    }
}

impl Identities for World {
    fn current(&self) -> Result<(Subject, Arc<Identity>), String> {
        let identity = Identity {
            name: "tester".into(),
            ..Identity::default()
        };
        Ok((Subject::named("tester"), Arc::new(identity)))
    }
}

impl AuditSink for World {
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }

    fn next_session(&self) -> SessionId {
        let number = self.sessions.fetch_add(1, Ordering::SeqCst) + 1;
        SessionId::new(number as u64)
    }

    fn record(&self, record: Record) {
        self.records.lock().unwrap().push(record);
    }

    fn record_durable(&self, record: Record, _: bool) -> Pending<'_, Result<(), String>> {
        self.record(record);
        Box::pin(async { Ok(()) })
    }
}

/// Says when it is dropped.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Holds for World {
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>> {
        self.held.lock().unwrap().push(request);
        let (rule, ruling) = oneshot::channel();
        self.rulings.lock().unwrap().push(rule);
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let guard = Box::new(Guard(Arc::clone(&self.closed)));
        let name = format!("request-{number}").into();
        Box::pin(async move {
            Ok(Held {
                name,
                ruling,
                guard,
            })
        })
    }
}

impl Budgets for World {
    fn read(&self, with: &mut dyn FnMut(&dyn Counters)) {
        with(&*self.ledger.lock().unwrap());
    }

    fn charge(&self, now: Timestamp, usages: &[Usage]) {
        let mut ledger = self.ledger.lock().unwrap();
        for usage in usages {
            ledger.charge(&usage.key, now, usage.amount);
        }
    }

    fn replenish<'a>(&'a self, _: &'a [Wanted]) -> Pending<'a, bool> {
        Box::pin(async { false })
    }
}

impl Credentials for World {
    fn read(&self, _: &weir_policy::Source) -> Result<Vec<u8>, String> {
        Err("none".to_owned())
    }

    fn field(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, String> {
        Err("none".to_owned())
    }

    fn login(&self, _: &weir_policy::Login) -> Result<(String, String), String> {
        Err("none".to_owned())
    }

    fn pod_token(&self) -> Result<String, String> {
        Err("none".to_owned())
    }

    fn is_placeholder(&self, _: &str) -> bool {
        false
    }
}

impl PinStore for World {
    fn load(&self, _: &str, _: &[u8]) -> Result<Vec<PinnedColumn>, String> {
        Ok(Vec::new())
    }

    fn keep(&self, _: &str, _: &[u8], _: &[PinnedColumn]) -> Result<(), String> {
        Ok(())
    }
}

impl World {
    fn swap(&self, rules: &str) {
        let next = self.bundle.lock().unwrap().revision() + 1;
        *self.bundle.lock().unwrap() = bundle(self.port, rules, next);
    }

    /// How the requests have ended, oldest first.
    fn outcomes(&self) -> Vec<Outcome> {
        let records = self.records.lock().unwrap();
        let finished = records.iter().filter_map(|record| match &record.body {
            Event::StatementFinished(finished) => Some(finished.outcome.clone()),
            _ => None,
        });
        finished.collect()
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;
type Script = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

fn whole(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let response = Response::builder().status(status);
    let response = match kind {
        "" => response,
        kind => response.header("content-type", kind),
    };
    response.body(body.boxed_unsync()).unwrap()
}

/// An answer in pieces, as they come.
fn pieces(pieces: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Answer {
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    let body = StreamBody::new(frames).boxed_unsync();
    let response = Response::builder().header("content-type", "application/json");
    response.body(body).unwrap()
}

struct Rig {
    world: Arc<World>,
    address: SocketAddr,
    _drain: weir_transport::listen::Drain,
}

impl Rig {
    /// An engine in front of a server that answers so.
    async fn new(script: impl Fn(Request<Incoming>) -> Answer + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = server.accept().await {
                let script = Arc::clone(&script);
                let service = service_fn(move |request| {
                    let answer = script(request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(serving);
            }
        });
        Self::before(port).await
    }

    /// An engine in front of a server at this port.
    async fn before(port: u16) -> Self {
        let world = Arc::new(World {
            bundle: Mutex::new(bundle(port, RULES, 1)),
            records: Mutex::default(),
            sessions: AtomicUsize::new(0),
            rulings: Mutex::default(),
            held: Mutex::default(),
            asked: AtomicUsize::new(0),
            ledger: Mutex::default(),
            closed: Arc::default(),
            port,
        });
        let keys = tempfile::tempdir().unwrap();
        let engine = Engine::new(EngineConfig {
            policies: Arc::clone(&world) as _,
            identities: Arc::clone(&world) as _,
            sink: Arc::clone(&world) as _,
            holds: Arc::clone(&world) as _,
            budgets: Arc::clone(&world) as _,
            credentials: Arc::clone(&world) as _,
            pins: Arc::clone(&world) as _,
            authority: Arc::new(Authority::create("test").unwrap()),
            host_keys: Arc::new(HostKeys::load_or_create(keys.path()).unwrap()),
            token_key: Arc::from(&b"key"[..]),
            resolver: Resolver::system(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, drained) = weir_transport::listen::drain();
        let limits = Limits { connections: 64 };
        let mut acceptor = Acceptor::new(listener, Mode::Named, limits, drained).unwrap();
        tokio::spawn(async move {
            while let Some(accepted) = acceptor.accept().await {
                let engine = engine.clone();
                tokio::spawn(async move { engine.serve(accepted, Some("kube")).await });
            }
        });
        Self {
            world,
            address,
            _drain: drain,
        }
    }

    /// The head of the answer to a request, on a connection of its own.
    async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "kube");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        // Where the sender goes, the connection goes.
        tokio::spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        answer
    }

    async fn get(&self, target: &str) -> (StatusCode, String) {
        let answer = self.ask(Method::GET, target, &[], "").await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn message(body: &str) -> String {
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["kind"], "Status");
    status["message"].as_str().unwrap().to_owned()
}

fn list(items: impl Iterator<Item = Value>) -> String {
    let items: Vec<Value> = items.collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}).to_string()
}

fn config_maps(count: usize, size: usize) -> String {
    list((0..count).map(|number| {
        json!({"metadata": {"name": format!("map-{number}")}, "data": {"x": "x".repeat(size)}})
    }))
}

#[tokio::test]
async fn a_small_answer_that_passes_a_limit_is_refused_as_a_whole() {
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(6, 10))).await;
    let (status, body) = rig.get("/api/v1/configmaps").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        message(&body).contains("\"pages\"") && !body.contains("map-"),
        "{body}"
    );
    assert_eq!(rig.world.outcomes(), [Outcome::LimitExceeded]);
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(5, 10))).await;
    assert_eq!(
        rig.get("/api/v1/configmaps").await,
        (StatusCode::OK, config_maps(5, 10))
    );
}

#[tokio::test]
async fn of_lists_that_run_side_by_side_the_one_that_fits_gets_through() {
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let rig = Rig::new(move |_| {
        let both = Arc::clone(&both);
        let text = config_maps(4, 10);
        let middle = text.find(r#""map-3""#).unwrap();
        let (first, rest) = (text[..middle].to_owned(), text[middle..].to_owned());
        let rest = async move {
            both.wait().await;
            // What was sent first has arrived by then, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            Bytes::from(rest)
        };
        let mut answer = pieces(stream::iter([Bytes::from(first)]).chain(stream::once(rest)));
        let length = http::HeaderValue::from(text.len());
        answer.headers_mut().insert("content-length", length);
        answer
    })
    .await;
    let (one, other) = tokio::join!(
        rig.get("/api/v1/podtemplates"),
        rig.get("/api/v1/podtemplates")
    );
    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [StatusCode::OK, StatusCode::FORBIDDEN]);
}

#[tokio::test]
async fn a_large_answer_breaks_off_before_the_object_that_passes_a_limit() {
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(7, 700 << 10))).await;
    let answer = rig.ask(Method::GET, "/api/v1/configmaps", &[], "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    let mut got = Vec::new();
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(error.is_some(), "it looked whole");
    let got = String::from_utf8(got).unwrap();
    assert!(got.contains("map-4") && !got.contains("map-5"));
    assert_eq!(rig.world.outcomes(), [Outcome::LimitExceeded]);
}

#[tokio::test]
async fn an_object_larger_than_what_is_held_goes_through_masked() {
    let large: BTreeMap<String, String> = (0..50)
        .map(|at| (at.to_string(), "x".repeat(100 << 10)))
        .collect();
    let secret = json!({"kind": "Secret", "metadata": {"name": "s", "labels": large, "annotations": large},
                        "data": {"password": SECRET}});
    let text = secret.to_string();
    let rig = Rig::new(move |_| whole(200, "application/json", text.clone())).await;
    let (status, body) = rig.get("/api/v1/namespaces/n/secrets/s").await;
    assert_eq!(status, StatusCode::OK);
    let shown: Value = serde_json::from_str(&body).unwrap();
    // "[masked]"
    assert_eq!(shown["data"]["password"], "W21hc2tlZF0=");
    assert_eq!(shown["metadata"]["labels"], secret["metadata"]["labels"]);
    // Any of them may hold the value, which comes behind them.
    let masked: BTreeMap<&String, &str> = large.keys().map(|key| (key, "[masked]")).collect();
    assert_eq!(shown["metadata"]["annotations"], json!(masked));
}

#[tokio::test]
async fn nothing_is_read_ahead_of_a_client_that_reads_nothing() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let rig = Rig::new(move |_| {
        let counted = Arc::clone(&counted);
        let item = json!({"metadata": {"name": "p"}, "data": {"x": "x".repeat(10_000)}});
        let head = stream::iter([Bytes::from("{\"kind\":\"List\",\"items\":[")]);
        let items = stream::repeat(Bytes::from(format!("{item},")));
        pieces(head.chain(items).inspect(move |piece| {
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }))
    })
    .await;
    let answer = rig
        .ask(Method::GET, "/api/v1/namespaces/n/pods", &[], "")
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut before = usize::MAX;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(Ordering::SeqCst);
        if now == before {
            // What sockets hold is most of it.
            assert!(now < 32 << 20, "{now} bytes were read ahead");
            return;
        }
        before = now;
    }
    panic!("the server still sends");
}

#[tokio::test]
async fn a_policy_that_changes_ends_an_answer_before_its_next_object() {
    let go = Arc::<Notify>::default();
    let told = Arc::clone(&go);
    let rig = Rig::new(move |_| {
        let told = Arc::clone(&told);
        let first = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"one\"}}}\n";
        let rest = stream::once(async move {
            told.notified().await;
            Bytes::from("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"two\"}}}\n")
        });
        pieces(stream::iter([Bytes::from(first)]).chain(rest))
    })
    .await;
    let answer = rig
        .ask(Method::GET, "/api/v1/namespaces/n/secrets?watch=1", &[], "")
        .await;
    let mut body = answer.into_body();
    let one = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&one).contains("\"one\""));
    rig.world
        .swap("\n- {name: none, match: {kubernetes: {resources: [secrets]}}, action: Deny}");
    go.notify_one();
    let rest = body.collect().await.unwrap().to_bytes();
    let event: Value = serde_json::from_slice(&rest).unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["kind"], "Status");
    assert_eq!(rig.world.outcomes(), [Outcome::Denied]);
}

#[tokio::test]
async fn errors_about_masked_fields_lose_their_words_and_warnings_their_values() {
    let rig = Rig::new(|request| {
        if request.method() == Method::PUT {
            let status = json!({"kind": "Status", "message": format!("it holds {SECRET}"),
                "reason": "Conflict", "details": {"name": "s", "causes":
                    [{"reason": "FieldValueInvalid", "field": "data.x", "message": SECRET}]}});
            return whole(409, "application/json", status.to_string());
        }
        let mut answer = whole(200, "application/json", "{\"kind\":\"Pod\"}");
        let warning = format!("299 - \"ask {MAIL}\"");
        answer
            .headers_mut()
            .append("warning", warning.parse().unwrap());
        answer
    })
    .await;
    let json = [("content-type", "application/json")];
    let target = "/api/v1/namespaces/n/secrets/s";
    let answer = rig
        .ask(Method::PUT, target, &json, "{\"kind\":\"Secret\"}")
        .await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let status: Value = serde_json::from_str(&text).unwrap();
    assert!(
        !text.contains(SECRET) && status["reason"] == "Conflict",
        "{text}"
    );
    assert_eq!(status["details"]["causes"][0]["field"], "data.x");
    let answer = rig
        .ask(Method::GET, "/api/v1/namespaces/n/pods/p", &[], "")
        .await;
    assert_eq!(answer.headers()["warning"], "299 - \"ask [mail]\"");
}

#[tokio::test]
async fn answers_without_a_body_are_no_objects() {
    let rig = Rig::new(|request| {
        if request.method() == Method::HEAD {
            let mut answer = whole(200, "application/json", "");
            answer.headers_mut().insert("content-length", 123.into());
            return answer;
        }
        match request.uri().path() {
            "/api/v1/namespaces/n/secrets/304" => whole(304, "", ""),
            "/api/v1/namespaces/n/secrets/204" => whole(204, "", ""),
            _ => whole(200, "application/json", ""),
        }
    })
    .await;
    for (path, wanted) in [("304", 304), ("204", 204)] {
        let (status, _) = rig
            .get(&format!("/api/v1/namespaces/n/secrets/{path}"))
            .await;
        assert_eq!(status.as_u16(), wanted, "{path}");
    }
    let target = "/api/v1/namespaces/n/configmaps/c";
    let answer = rig.ask(Method::HEAD, target, &[], "").await;
    let length = answer.headers().get("content-length").cloned();
    assert_eq!(
        (answer.status(), length),
        (StatusCode::OK, Some(123.into()))
    );
}

#[tokio::test]
async fn what_must_be_read_is_asked_for_as_json_or_not_at_all() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let rig = Rig::new(move |request| {
        let header = |name| {
            request
                .headers()
                .get(name)
                .map(|it| it.to_str().unwrap().to_owned())
        };
        log.lock()
            .unwrap()
            .push((header("accept"), header("accept-encoding")));
        whole(200, "application/json", "{}")
    })
    .await;
    let target = "/api/v1/namespaces/n/secrets/s";
    for (accept, status) in [
        ("application/vnd.kubernetes.protobuf, application/json", 200),
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/cbor", 406),
    ] {
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        let answer = rig.ask(Method::GET, target, &headers, "").await;
        assert_eq!(answer.status().as_u16(), status, "{accept}");
    }
    let wanted = (Some("application/json".to_owned()), None);
    assert_eq!(*seen.lock().unwrap(), [wanted]);
}

#[tokio::test]
async fn what_cannot_be_read_although_it_was_asked_for_does_not_go_on() {
    for (kind, encoding) in [
        ("application/vnd.kubernetes.protobuf", ""),
        ("text/html", ""),
        ("application/json", "gzip"),
    ] {
        let rig = Rig::new(move |_| {
            let mut answer = whole(200, kind, SECRET);
            if !encoding.is_empty() {
                let value = encoding.parse().unwrap();
                answer.headers_mut().insert("content-encoding", value);
            }
            answer
        })
        .await;
        let (status, body) = rig.get("/api/v1/namespaces/n/secrets/s").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{kind} {encoding}");
        assert!(!body.contains(SECRET));
    }
    let rig = Rig::new(|_| whole(200, "application/json", format!("[\"{SECRET}"))).await;
    let (status, body) = rig.get("/api/v1/namespaces/n/secrets/s").await;
    assert!(
        status == StatusCode::BAD_GATEWAY && !body.contains(SECRET),
        "{body}"
    );
}
