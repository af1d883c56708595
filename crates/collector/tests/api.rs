//! The API as its callers meet it: over a real socket and a real port.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_api::kinds::RequestDecision;
use weir_audit::{
    Batch, CollectorSink as _, ConnectionOpened, EngineId, Event, Fingerprint, FingerprintKey,
    FrameBuilder, Identity, LabelledValuesSeen, Record, Session, SessionId, Timestamp, genesis,
};
use weir_collector::api::{
    Api, Approver, Desk, DeskError, DeskFuture, Operator, OperatorError, OperatorFuture,
    QuarantineView, ROUTES, StatusView, serve_socket, serve_tcp,
};
use weir_collector::client::{Client, ClientError, path_with};
use weir_collector::{
    About, Answer, ChainReport, Collector, CollectorConfig, EventPage, Overview, OwnSink,
    SessionPage,
};
use weir_uplink::control::{Coverage, DecisionAsked, Person, RequestView, RequestsListed};

#[derive(Default)]
struct Engine {
    decided: Mutex<Vec<DecisionAsked>>,
}

fn request() -> RequestView {
    let spec = json!({"requester": {"name": "reporter"}, "target": "t", "policy": "p", "rule": "r",
        "statement": "select 1", "reason": "why", "deadline": "2126-01-01T00:00:00Z", "count": 1});
    RequestView {
        namespace: String::new(),
        name: "weir-abcdef".into(),
        uid: "1".into(),
        created: Timestamp::from_micros(1).to_string(),
        spec: serde_json::from_value(spec).unwrap(),
        status: None,
        may_decide: true,
        why_not: None,
    }
}

impl Desk for Engine {
    fn requests(
        &self,
        person: Person,
        _: Option<String>,
        closed: bool,
    ) -> DeskFuture<'_, RequestsListed> {
        Box::pin(async move {
            Ok(RequestsListed {
                user: person.user.unwrap_or_default(),
                requests: vec![request(); if closed { 2 } else { 1 }],
                ..RequestsListed::default()
            })
        })
    }

    fn fingerprints(&self, value: String, labels: Vec<String>) -> DeskFuture<'_, Vec<Fingerprint>> {
        let key = FingerprintKey::new(b"secret");
        let of = |label: &String| key.of_label(label).fingerprint(&value);
        let made = labels.iter().map(of).collect();
        Box::pin(async move { Ok(made) })
    }

    fn decide(&self, asked: DecisionAsked) -> DeskFuture<'_, RequestView> {
        Box::pin(async move {
            match asked.name.as_str() {
                "weir-abcdef" => self.decided.lock().unwrap().push(asked),
                "decided" => return Err(DeskError::Conflict("it was decided".into())),
                "shape" => return Err(DeskError::Invalid("no shape".into())),
                name => return Err(DeskError::NotFound(format!("no request {name}"))),
            }
            Ok(request())
        })
    }

    fn coverage(&self, _: Person) -> DeskFuture<'_, Option<Coverage>> {
        Box::pin(async { Ok(None) })
    }
}

impl Operator for Engine {
    fn quarantines(&self) -> Result<Vec<QuarantineView>, OperatorError> {
        Ok(Vec::new())
    }

    fn quarantine<'a>(
        &'a self,
        _asked: QuarantineView,
        _approver: &'a Approver,
    ) -> OperatorFuture<'a, ()> {
        Box::pin(async { Err(OperatorError::Unavailable("not now".into())) })
    }

    fn lift<'a>(
        &'a self,
        name: &'a str,
        _reason: &'a str,
        _approver: &'a Approver,
    ) -> OperatorFuture<'a, ()> {
        Box::pin(async move { Err(OperatorError::NotFound(format!("no quarantine {name}"))) })
    }

    fn status(&self) -> StatusView {
        StatusView {
            engine: "e1".into(),
            revision: 7,
            ..StatusView::default()
        }
    }

    fn reset_budgets<'a>(&'a self, _approver: &'a Approver) -> OperatorFuture<'a, ()> {
        Box::pin(async { Err(OperatorError::Unavailable("not now".into())) })
    }
}

struct Fixture {
    engine: Arc<Engine>,
    store: Collector,
    socket: Client,
    tcp: Client,
    address: String,
    dir: tempfile::TempDir,
}

const SESSION: SessionId = SessionId::new(5);

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Collector::open(&dir.path().join("store"), CollectorConfig::default()).unwrap();
    let engine = Arc::new(Engine::default());
    let api = Api::new(store.clone())
        .with_operator(Arc::clone(&engine) as Arc<dyn Operator>)
        .with_desk(Arc::clone(&engine) as Arc<dyn Desk>);
    let path = dir.path().join("weir.sock");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (on_socket, at) = (api.clone(), path.clone());
    tokio::spawn(async move { serve_socket(on_socket, &at).await.unwrap() });
    tokio::spawn(async move {
        serve_tcp(api, None, listener, "secret".into())
            .await
            .unwrap()
    });
    while !path.exists() {
        tokio::task::yield_now().await;
    }
    let (socket, tcp) = (Client::socket(&path), Client::tcp(&address, "secret"));
    ingest(&store, dir.path(), 1);
    Fixture {
        engine,
        store,
        socket,
        tcp,
        address,
        dir,
    }
}

/// One frame whose events are one connection.
fn ingest(store: &Collector, keys: &std::path::Path, epoch: u32) {
    let engine: EngineId = "e1".parse().unwrap();
    let identity = Arc::new(Identity::named("naïve & co"));
    let session = Arc::new(Session {
        id: SESSION,
        identity,
        ..Session::default()
    });
    let now = std::time::SystemTime::now().into();
    let record = Record::session(now, session, ConnectionOpened::default());
    let mut builder = FrameBuilder::new(epoch, 1);
    builder.push(&record);
    let frames = vec![builder.seal(genesis(&engine)).unwrap()];
    let sink = OwnSink::open(store.clone(), keys, &engine).unwrap();
    sink.ingest(&Batch { engine, frames }).unwrap();
}

fn refusal(result: Result<Value, ClientError>) -> (u16, String) {
    match result {
        Err(ClientError::Refused {
            status,
            error,
            message,
        }) => {
            assert!(!message.is_empty());
            (status, error)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_socket_is_private_and_decides_as_its_peer() {
    let f = fixture().await;
    let mode = std::fs::metadata(f.dir.path().join("weir.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let body = json!({"rows": 20});
    let _: RequestView = f
        .socket
        .post("/v1/requests/weir-abcdef/approve", &body)
        .await
        .unwrap();
    let body = json!({"reason": "no"});
    let _: RequestView = f
        .socket
        .post("/v1/requests/weir-abcdef/deny", &body)
        .await
        .unwrap();
    let decided = f.engine.decided.lock().unwrap().clone();
    let me = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap()
        .stdout;
    let me = String::from_utf8(me).unwrap().trim().to_owned();
    let [approved, denied] = decided.as_slice() else {
        panic!("{decided:?}");
    };
    assert_eq!(approved.person, Person::of_user(me, Vec::new()));
    assert_eq!(
        (approved.decision, approved.rows),
        (RequestDecision::Approve, Some(20))
    );
    assert_eq!(denied.decision, RequestDecision::Deny);
    assert_eq!(denied.reason.as_deref(), Some("no"));
}

#[tokio::test]
async fn what_the_desk_refuses_is_refused_in_its_words() {
    let f = fixture().await;
    for (name, status) in [("decided", 409), ("shape", 422), ("other", 404)] {
        let path = format!("/v1/requests/{name}/approve");
        let refused = f.socket.post::<Value>(&path, &json!({})).await;
        assert_eq!(refusal(refused).0, status, "{name}");
    }
    let closed: Value = f.socket.get("/v1/requests?closed=true").await.unwrap();
    assert_eq!(closed["requests"].as_array().unwrap().len(), 2);
    let nowhere = f.socket.get::<Value>("/v1/coverage").await;
    assert_eq!(refusal(nowhere).0, 404);
}

#[tokio::test]
async fn nothing_in_a_request_can_name_the_approver() {
    let f = fixture().await;
    let body = json!({"approver": "somebody"});
    let got = refusal(
        f.socket
            .post("/v1/requests/weir-abcdef/approve", &body)
            .await,
    );
    assert_eq!(got, (400, "bad_request".into()));
    assert!(f.engine.decided.lock().unwrap().is_empty());
}

#[tokio::test]
async fn tcp_reads_with_the_token_and_decides_nothing() {
    let f = fixture().await;
    let page: SessionPage = f.tcp.get("/v1/sessions").await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    for token in ["", "secre", "secrets", "Secret"] {
        let client = Client::tcp(&f.address, token);
        assert_eq!(
            refusal(client.get("/v1/sessions").await),
            (401, "unauthorized".into())
        );
    }
    for path in [
        "/v1/requests/weir-abcdef/approve",
        "/v1/requests/weir-abcdef/deny",
        "/v1/budgets/reset",
    ] {
        assert_eq!(
            refusal(f.tcp.post(path, &json!({})).await),
            (403, "forbidden".into())
        );
    }
    assert!(f.engine.decided.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_reading_path_answers() {
    let f = fixture().await;
    let path = path_with(
        "/v1/events",
        &[("identity", Some("naïve & co".into())), ("text", None)],
    );
    let page: EventPage = f.socket.get(&path).await.unwrap();
    assert_eq!(page.events.len(), 1);
    let report: ChainReport = f.socket.get("/v1/verify").await.unwrap();
    assert!(report.ok);
    let status: StatusView = f.socket.get("/v1/status").await.unwrap();
    assert_eq!(status.revision, 7);
    let requests: Value = f.socket.get("/v1/requests").await.unwrap();
    assert_eq!(requests["requests"][0]["name"], "weir-abcdef");
    let mut replayed: Vec<Event> = Vec::new();
    let path = format!("/v1/sessions/{SESSION}/replay");
    f.socket
        .stream(&path, |event| {
            replayed.push(event);
            true
        })
        .await
        .unwrap();
    assert_eq!(replayed.len(), 1);
}

#[tokio::test]
async fn who_was_given_a_value_is_found_and_the_value_is_nowhere() {
    let f = fixture().await;
    let engine: EngineId = "e2".parse().unwrap();
    let session = Arc::new(Session {
        id: SessionId::new(77),
        identity: Arc::new(Identity::named("reader")),
        ..Session::default()
    });
    let value = "805-36-9215";
    let seen = LabelledValuesSeen {
        statement: 3,
        label: "pii.ssn".into(),
        values: vec![
            FingerprintKey::new(b"secret")
                .of_label("pii.ssn")
                .fingerprint(value),
        ],
        ..LabelledValuesSeen::default()
    };
    let now = std::time::SystemTime::now().into();
    let mut builder = FrameBuilder::new(1, 1);
    let record = Record::session(now, session, seen);
    builder.push(&record);
    let frames = vec![builder.seal(genesis(&engine)).unwrap()];
    let sink = OwnSink::open(f.store.clone(), f.dir.path(), &engine).unwrap();
    sink.ingest(&Batch { engine, frames }).unwrap();
    for client in [&f.socket, &f.tcp] {
        let body = json!({"value": format!(" {value}\n")});
        let answer: Value = client.post("/v1/saw", &body).await.unwrap();
        assert_eq!(answer["identities"][0]["identity"], "reader");
        assert_eq!(answer["statements"][0]["statement"], 3);
        let answer: Value = client
            .post("/v1/saw", &json!({"value": "805-36-9216"}))
            .await
            .unwrap();
        assert_eq!(answer["identities"], json!([]));
        // "Nobody" would be said of a label that there is.
        for typo in ["pii.snn", "pii.p*"] {
            let asked = client
                .post::<Value>(&format!("/v1/saw?label={typo}"), &body)
                .await;
            assert_eq!(refusal(asked), (404, "not_found".into()));
        }
    }
    for body in [
        json!({}),
        json!({"value": "  "}),
        json!({"value": "x", "more": 1}),
    ] {
        let refused = refusal(f.socket.post("/v1/saw", &body).await);
        assert_eq!(refused, (400, "bad_request".into()), "{body}");
    }
    let refused = refusal(f.socket.get("/v1/saw").await);
    assert_eq!(refused.0, 405);
    let reads: Value = f.socket.get("/v1/events?kind=evidence_read").await.unwrap();
    let reads = reads.to_string();
    assert!(
        reads.contains("/v1/saw") && !reads.contains(value),
        "{reads}"
    );
    for file in ["evidence.db", "evidence.db-wal"] {
        let bytes = std::fs::read(f.store.dir().join(file)).unwrap();
        assert_eq!(times_in(&bytes, value.as_bytes()), 0, "{file}");
    }
}

fn times_in(bytes: &[u8], value: &[u8]) -> usize {
    let windows = bytes.windows(value.len());
    windows.filter(|window| *window == value).count()
}

/// What answers and is no read of evidence: decisions and orders, which are evidence themselves, the questions that
/// there are, and what the engine beside says of itself.
const NO_READS: &[&str] = &[
    "/v1/requests/{name}/approve",
    "/v1/requests/{name}/deny",
    "/v1/budgets/reset",
    "/v1/ui/link",
    "/v1/quarantines",
    "/v1/quarantines/{name}",
    "/v1/quarantines/{name}/lift",
    "/v1/questions",
    "/v1/status",
];

#[tokio::test]
async fn every_path_that_reads_evidence_records_the_read_before_it_answers() {
    let f = fixture().await;
    for route in ROUTES {
        let path = route
            .path
            .replace("{id}", &SESSION.to_string())
            .replace("questions/{name}", "questions/who-read-label")
            .replace("{name}", "weir-abcdef")
            .replace("{size}", "0")
            .replace("{path}", "0/000");
        let query = match route.path {
            "/v1/report" => "?since=2026-01-01T00:00:00Z",
            _ => "",
        };
        let body = match route.path {
            "/v1/saw" => r#"{"value": "x"}"#,
            _ => "{}",
        };
        let before = reads(&f.store);
        let status = answered(&f, &format!("{} {path}{query}", route.method), body).await;
        let new = &reads(&f.store)[before.len()..];
        if NO_READS.contains(&route.path) {
            assert_eq!(new, [] as [String; 0], "{path}");
            continue;
        }
        assert!(status == 200 || status == 404, "{path}: {status}");
        let path = match route.path {
            log if log.starts_with("/v1/log/") => log,
            _ => &path,
        };
        assert_eq!(new, [path], "{status}");
    }
    // Looking again and again at what changes is one read; a question is one each time.
    let before = reads(&f.store).len();
    for _ in 0..5 {
        for path in ["/v1/requests", "/v1/coverage", "/v1/log/tile/0/001"] {
            answered(&f, &format!("GET {path}"), "").await;
        }
    }
    assert_eq!(reads(&f.store).len(), before);
    for _ in 0..5 {
        answered(&f, "GET /v1/verify", "").await;
    }
    assert_eq!(reads(&f.store).len(), before + 5);
}

/// The paths that were read, oldest first.
fn reads(store: &Collector) -> Vec<String> {
    let filter = weir_collector::Filter {
        kind: Some("evidence_read".into()),
        limit: Some(1000),
        ..weir_collector::Filter::default()
    };
    let events = store.query(&filter).unwrap().events;
    let mut reads: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event.body {
            weir_audit::Body::EvidenceRead(read) => Some((event.id.seq, read.path.to_string())),
            _ => None,
        })
        .collect();
    reads.sort();
    reads.into_iter().map(|(_, path)| path).collect()
}

/// The status of an answer that may never end.
async fn answered(f: &Fixture, request: &str, body: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let socket = f.dir.path().join("weir.sock");
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: weir\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn overview_questions_and_tables_answer() {
    let f = fixture().await;
    let overview: Overview = f.socket.get("/v1/overview").await.unwrap();
    assert_eq!(overview.holds.raised, 0);
    let listed: Value = f.socket.get("/v1/questions").await.unwrap();
    assert_eq!(
        listed["questions"].as_array().unwrap().len(),
        About::ALL.len()
    );
    for about in About::ALL {
        let path = match about.needs() {
            Some(name) => format!("/v1/questions/{about}?{name}=x"),
            None => format!("/v1/questions/{about}"),
        };
        let answer: Answer = f.socket.get(&path).await.unwrap();
        assert!(!answer.columns.is_empty());
    }
    let path = "/v1/questions/who-read-evidence";
    let answer: Answer = f.socket.get(path).await.unwrap();
    let read: Vec<&str> = answer.rows.iter().map(|row| row[3].as_str()).collect();
    assert_eq!(read[0], path, "the question itself is a read");
    assert!(read.contains(&"/v1/overview"), "{read:?}");
}

#[tokio::test]
async fn tables_are_files_that_are_safe_to_open() {
    let f = fixture().await;
    let engine: EngineId = "e2".parse().unwrap();
    let session = Session {
        id: SessionId::new(6),
        identity: Arc::new(Identity::named("=HYPERLINK(\"http://x\")")),
        ..Session::default()
    };
    let now = std::time::SystemTime::now().into();
    let record = Record::session(now, Arc::new(session), ConnectionOpened::default());
    let mut builder = FrameBuilder::new(1, 1);
    builder.push(&record);
    let frames = vec![builder.seal(genesis(&engine)).unwrap()];
    f.store.ingest(&Batch { engine, frames }).unwrap();
    for path in [
        "/v1/events?format=csv&kind=connection_opened&limit=1",
        "/v1/sessions?format=csv&limit=1",
    ] {
        let answer = raw(&f.address, path).await;
        for part in [
            "content-type: text/csv; charset=utf-8; header=present\r\n",
            "content-disposition: attachment; filename=\"weir-",
            "weir-next: ",
            "\"'=HYPERLINK(\"\"http://x\"\")\"",
        ] {
            assert!(answer.contains(part), "{path}: {part}: {answer}");
        }
    }
    let answer = raw(&f.address, "/v1/questions/who-read-evidence?format=csv").await;
    assert!(answer.contains("\"time\",\"reader\""), "{answer}");
}

/// An answer as it is on the wire.
async fn raw(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn tail_streams_what_comes() {
    let f = fixture().await;
    let (seen, reading) = (Arc::new(Mutex::new(None)), f.socket.clone());
    let got = Arc::clone(&seen);
    let tail = tokio::spawn(async move {
        reading
            .stream("/v1/tail?kind=connection_opened", |event: Event| {
                *got.lock().unwrap() = Some(event);
                false
            })
            .await
    });
    for epoch in 2..1000 {
        ingest(&f.store, f.dir.path(), epoch);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if tail.is_finished() {
            break;
        }
    }
    tail.await.unwrap().unwrap();
    assert!(seen.lock().unwrap().is_some());
}

#[tokio::test]
async fn errors_are_json_with_a_code() {
    let f = fixture().await;
    for (path, status, code) in [
        ("/v1/nothing", 404, "not_found"),
        ("/v1/sessions/0000000000009/replay", 404, "not_found"),
        ("/v1/sessions/x/replay", 404, "not_found"),
        ("/v1/budgets/reset", 405, "method_not_allowed"),
        ("/v1/events?limit=x", 400, "bad_request"),
        ("/v1/events?since=yesterday", 400, "bad_request"),
        ("/v1/events?unknown=1", 400, "bad_request"),
        ("/v1/events?text=%zz", 400, "bad_request"),
        ("/v1/events?text=a&text=b", 400, "bad_request"),
        ("/v1/events?cursor=x", 400, "bad_request"),
        ("/v1/events?format=xml", 400, "bad_request"),
        ("/v1/verify?format=csv", 400, "bad_request"),
        ("/v1/questions/who", 404, "not_found"),
        ("/v1/questions/what-did-identity-touch", 400, "bad_request"),
        ("/v1/questions/policy-changes?label=x", 400, "bad_request"),
        ("/v1/overview?label=x", 400, "bad_request"),
    ] {
        assert_eq!(
            refusal(f.socket.get(path).await),
            (status, code.to_owned()),
            "{path}"
        );
    }
    let unknown = f
        .socket
        .post("/v1/requests/other/approve", &json!({}))
        .await;
    assert_eq!(refusal(unknown), (404, "not_found".into()));
    let unreasoned = f
        .socket
        .post("/v1/requests/weir-abcdef/deny", &json!({}))
        .await;
    assert_eq!(refusal(unreasoned), (400, "bad_request".into()));
    assert_eq!(
        refusal(f.socket.post("/v1/budgets/reset", &json!({})).await),
        (503, "unavailable".into())
    );
}

#[test]
fn the_documentation_names_each_path_that_is_served_and_no_other() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/openapi.yaml"
    ));
    let document: Value = serde_saphyr::from_str(&text.unwrap()).unwrap();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods
                .map(|method| (method.to_uppercase(), path.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let served: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(documented, served);
}
