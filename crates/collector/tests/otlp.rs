//! Events and metrics that go to a receiver of OpenTelemetry which is not always well.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers"
)]

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_audit::{Body, Event, Finding, FindingCode};
use weir_collector::{Collector, CollectorConfig, CollectorError, Otlp, OtlpConfig, Signal};
use weir_telemetry::Registry;

/// What the receiver was sent, and what it says next: status, `Retry-After`, body. Then it takes everything.
#[derive(Default)]
struct Receiver {
    says: Mutex<VecDeque<(u16, &'static str, &'static str)>>,
    /// What it refuses every request over that has it.
    poison: Mutex<Option<&'static str>>,
    seen: Mutex<Vec<Seen>>,
}

struct Seen {
    at: Instant,
    path: String,
    key: Option<String>,
    body: Value,
}

impl Receiver {
    async fn start(says: &[(u16, &'static str, &'static str)]) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let receiver = Arc::new(Self {
            says: Mutex::new(says.iter().copied().collect()),
            ..Self::default()
        });
        let serving = Arc::clone(&receiver);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let receiver = Arc::clone(&serving);
                let answer = service_fn(move |request| Arc::clone(&receiver).answer(request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        (receiver, url)
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        let poison = *self.poison.lock().unwrap();
        if poison.is_some_and(|poison| text.contains(poison)) {
            let refused = Response::builder().status(400);
            return Ok(refused.body(Full::new("no".into())).unwrap());
        }
        self.seen.lock().unwrap().push(Seen {
            at: Instant::now(),
            path: head.uri.path().to_owned(),
            key: header("x-key").map(str::to_owned),
            body: serde_json::from_str(&text).unwrap(),
        });
        let said = self.says.lock().unwrap().pop_front();
        let (status, after, body) = said.unwrap_or((200, "", "{}"));
        let mut response = Response::builder().status(status);
        if !after.is_empty() {
            response = response.header("retry-after", after);
        }
        Ok(response.body(Full::new(body.into())).unwrap())
    }

    /// The numbers of the findings in each request for logs.
    fn requests(&self) -> Vec<Vec<usize>> {
        let seen = self.seen.lock().unwrap();
        let logs = seen.iter().filter(|seen| seen.path == "/base/v1/logs");
        logs.map(|seen| numbers(&seen.body)).collect()
    }

    async fn wait_for(&self, what: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it did not come: {:?}", self.requests());
    }
}

/// Of the findings in a request those that the test made.
fn numbers(request: &Value) -> Vec<usize> {
    let records = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    let bodies = records.as_array().unwrap().iter().filter_map(|record| {
        let body: Value =
            serde_json::from_str(record["body"]["stringValue"].as_str().unwrap()).unwrap();
        body["message"].as_str().unwrap().parse().ok()
    });
    bodies.collect()
}

/// An export that was stopped may look at its store for a moment yet.
fn open(dir: &Path) -> Collector {
    for _ in 0..500 {
        let config = CollectorConfig {
            exporting: true,
            ..CollectorConfig::default()
        };
        match Collector::open(dir, config) {
            Err(CollectorError::InUse(_)) => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.unwrap(),
        }
    }
    panic!("the store stays in use");
}

fn report(store: &Collector, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let finding = Finding {
            code: FindingCode::Other,
            message: number.to_string().into(),
            subject: None,
            engine: None,
        };
        store.report(finding).unwrap();
    }
}

fn export(store: &Collector, url: &str, registry: &Registry, signals: &[Signal]) -> JoinHandle<()> {
    let headers = store.dir().join("headers");
    std::fs::write(&headers, "X-Key=s3cret%21\n").unwrap();
    let config = OtlpConfig {
        endpoint: url.to_owned(),
        headers_file: Some(headers),
        ca_file: None,
        signals: signals.to_vec(),
        interval: Duration::from_millis(200),
    };
    let otlp = Otlp::new(config).unwrap();
    assert_eq!(otlp.takes_events(), signals.contains(&Signal::Logs));
    tokio::spawn(otlp.run(store.clone(), registry.clone()).unwrap())
}

fn counted(registry: &Registry, outcome: &str) -> u64 {
    let text = registry.render().unwrap();
    let name = format!("weir_otlp_events_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

/// What the receiver has may be counted a moment later.
async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within half a minute: {what}");
}

/// What the newest findings say.
fn found(store: &Collector) -> Vec<String> {
    let page = store.query(&weir_collector::Filter::default()).unwrap();
    let message = |event: Event| match event.body {
        Body::Finding(finding) => Some(finding.message.to_string()),
        _ => None,
    };
    page.events.into_iter().filter_map(message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_gets_everything_in_order_when_it_wants_it() {
    let (receiver, url) = Receiver::start(&[(503, "2", "busy"), (429, "", "")]).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    report(&store, 0..3);
    let registry = Registry::default();
    let exporting = export(&store, &url, &registry, &[Signal::Logs]);
    receiver
        .wait_for(|receiver| receiver.requests().len() >= 3)
        .await;
    let all = vec![0, 1, 2];
    assert_eq!(receiver.requests(), [all.clone(), all.clone(), all]);
    {
        let seen = receiver.seen.lock().unwrap();
        let first = seen[1].at.duration_since(seen[0].at);
        assert!(first >= Duration::from_secs(2), "{first:?}");
        assert!(
            seen.iter()
                .all(|seen| seen.key.as_deref() == Some("s3cret!"))
        );
        let resource = seen[2].body["resourceLogs"][0]["resource"].to_string();
        assert!(resource.contains("service.instance.id"), "{resource}");
    }
    report(&store, 3..5);
    receiver
        .wait_for(|receiver| receiver.requests().concat().ends_with(&[3, 4]))
        .await;
    until("five are counted", || counted(&registry, "sent") >= 5).await;
    exporting.abort();
    assert_eq!(counted(&registry, "sent"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_goes_no_second_time_after_a_restart() {
    let (receiver, url) = Receiver::start(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    for turn in 0..3 {
        let store = open(dir.path());
        report(&store, turn * 10..turn * 10 + 10);
        let registry = Registry::default();
        let exporting = export(&store, &url, &registry, &[Signal::Logs]);
        let wanted: Vec<usize> = (0..turn * 10 + 10).collect();
        receiver
            .wait_for(|receiver| receiver.requests().concat() == wanted)
            .await;
        // The answer is on its way to the cursor.
        until("what was sent is kept", || {
            counted(&registry, "sent") >= 10 && store.behind().unwrap().since.is_none()
        })
        .await;
        exporting.abort();
        assert!(exporting.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_counted_and_what_is_too_large_is_cut() {
    let partial = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    let says = [
        (413, "", ""),
        (413, "", ""),
        (200, "", partial),
        (400, "", "no"),
    ];
    let (receiver, url) = Receiver::start(&says).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    report(&store, 0..8);
    let registry = Registry::default();
    let exporting = export(&store, &url, &registry, &[Signal::Logs]);
    receiver
        .wait_for(|receiver| receiver.requests().len() >= 7)
        .await;
    let all: Vec<usize> = (0..8).collect();
    let wanted = [
        &all[..],
        &all[..4],
        &all[..2],
        // It is refused, and goes in halves.
        &all[2..4],
        &all[2..3],
        &all[3..4],
        &all[4..],
    ];
    assert_eq!(receiver.requests()[..7], wanted);
    until("seven are counted", || counted(&registry, "sent") >= 7).await;
    exporting.abort();
    assert_eq!(counted(&registry, "rejected"), 1);
    assert!(found(&store).contains(&"the OTLP receiver rejected 1 events: too old".to_owned()));
}

/// One that is never taken, among many that are others' evidence.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_keeps_no_other_from_the_receiver() {
    const POISON: usize = 700;
    let (receiver, url) = Receiver::start(&[]).await;
    *receiver.poison.lock().unwrap() = Some(r#"\"message\":\"700\""#);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // More blocks than go in one turn, and one after the poison.
    report(&store, 0..1024);
    let registry = Registry::default();
    let exporting = export(&store, &url, &registry, &[Signal::Logs]);
    let wanted: Vec<usize> = (0..1024).filter(|number| *number != POISON).collect();
    receiver
        .wait_for(|receiver| receiver.requests().concat() == wanted)
        .await;
    until("it is counted", || counted(&registry, "rejected") == 1).await;
    let said = "the OTLP receiver rejected 1 events: status 400 Bad Request: no";
    until(said, || found(&store).iter().any(|message| message == said)).await;
    // Nothing of it comes again.
    report(&store, 1024..1025);
    receiver
        .wait_for(|receiver| receiver.requests().concat().ends_with(&[1024]))
        .await;
    assert_eq!(receiver.requests().concat().len(), 1024);
    exporting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_go_at_an_interval_and_count_from_the_start() {
    let (receiver, url) = Receiver::start(&[(503, "", ""), (400, "", "")]).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let registry = Registry::default();
    registry
        .counter("weir_things_total", "Things.")
        .unwrap()
        .inc_by(7);
    let exporting = export(&store, &url, &registry, &[Signal::Metrics]);
    let many = |receiver: &Receiver| receiver.seen.lock().unwrap().len() >= 4;
    receiver.wait_for(many).await;
    exporting.abort();
    let seen = receiver.seen.lock().unwrap();
    let points: Vec<Value> = seen
        .iter()
        .map(|seen| {
            assert_eq!(seen.path, "/base/v1/metrics");
            let metrics = &seen.body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
            let metrics = metrics.as_array().unwrap();
            let ours = metrics
                .iter()
                .find(|metric| metric["name"] == "weir_things_total");
            ours.unwrap()["sum"]["dataPoints"][0].clone()
        })
        .collect();
    assert!(points.iter().all(|point| point["asInt"] == "7"));
    let times = |name: &str| {
        points
            .iter()
            .map(|point| point[name].clone())
            .collect::<Vec<_>>()
    };
    assert!(
        times("startTimeUnixNano")
            .windows(2)
            .all(|two| two[0] == two[1])
    );
    assert!(times("timeUnixNano").windows(2).all(|two| two[0] != two[1]));
}
