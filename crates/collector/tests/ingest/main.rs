//! Evidence from sidecars, over real TLS with real certificates.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
#[path = "../bed/mod.rs"]
mod bed;
mod said;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bed::{At, Bed, Ca, Pod, bed, bed_with, credentials, frame, send, tls};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame as Chunk};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weir_audit::{
    AccessRequestCreated, AccessRequestDecided, Ack, Batch, Binding, Body, BudgetsReset,
    ConnectionRefused, EngineStarted, Event, EvidenceRead, Finding, FindingCode, FrameBuilder,
    Heartbeat, Identity, LabelledValuesSeen, PolicyChanged, QuarantineChanged, Record, Ruling,
    Session, Statement, StatementFinished, Timestamp, genesis,
};
use weir_collector::{ChainReport, EventPage, Quota};
use weir_uplink::ingest::{ENGINE, MAX_BODY, MAX_UNPACKED, PREVIOUS, RemoteCollector, SIGNATURE};

/// What there is, but for what the questions themselves have left.
async fn events(bed: &Bed, query: &str) -> Vec<Event> {
    let path = format!("/v1/events?limit=1000&{query}");
    let page: EventPage = bed.auditor("admin").get(&path).await.unwrap();
    let mut events = page.events;
    events.retain(|event| !matches!(event.body, Body::EvidenceRead(_)));
    events
}

async fn findings(bed: &Bed) -> Vec<String> {
    let message = |event: Event| match event.body {
        Body::Finding(finding) => finding.message.to_string(),
        other => panic!("{other:?}"),
    };
    let found = events(bed, "kind=finding").await;
    found.into_iter().map(message).collect()
}

fn refused(sent: Result<Ack, weir_audit::SinkError>) -> String {
    sent.unwrap_err().0.to_string()
}

#[tokio::test]
async fn evidence_arrives_is_acknowledged_and_can_be_verified() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let sidecar = bed.sidecar(&pod);
    let ack = send(&sidecar, pod.batch(7)).await.unwrap();
    assert_eq!(ack, Ack { epoch: 1, seq: 2 });
    assert_eq!(events(&bed, "namespace=billing").await.len(), 2);
    let report: ChainReport = bed.auditor("admin").get("/v1/verify").await.unwrap();
    assert!(report.ok, "{report:?}");
}

#[tokio::test]
async fn a_batch_that_comes_again_changes_nothing() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let (batch, sidecar) = (pod.batch(7), bed.sidecar(&pod));
    for _ in 0..3 {
        let ack = send(&sidecar, batch.clone()).await.unwrap();
        assert_eq!(ack, Ack { epoch: 1, seq: 2 });
    }
    assert_eq!(events(&bed, "").await.len(), 2);
    assert!(findings(&bed).await.is_empty());
}

#[tokio::test]
async fn frames_that_are_not_linked_go_in_separate_runs() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let first = frame(1, genesis(&pod.engine()), &pod.session(1));
    let second = frame(2, first.hash(), &pod.session(2));
    let batch = Batch {
        engine: pod.engine(),
        frames: vec![second, first],
    };
    let ack = send(&bed.sidecar(&pod), batch).await.unwrap();
    assert_eq!(ack, Ack { epoch: 2, seq: 2 });
    assert_eq!(
        events(&bed, "")
            .await
            .iter()
            .filter(|e| e.session.is_some())
            .count(),
        4
    );
}

#[tokio::test]
async fn only_certificates_of_weirs_own_root_and_domain_are_served() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let foreign = Ca::new("weir");
    let mut leaf = foreign.pod(&pod);
    assert!(
        send(&bed.remote(tls(&bed.root, Some(&leaf))), pod.batch(1))
            .await
            .is_err()
    );
    leaf = bed.cluster.pod(&pod);
    assert!(
        send(&bed.remote(tls(&bed.root, Some(&leaf))), pod.batch(1))
            .await
            .is_err()
    );
    assert!(
        send(&bed.remote(tls(&bed.root, None)), pod.batch(1))
            .await
            .is_err()
    );
    // Of the right root, and no pod.
    leaf = bed.root.server();
    assert!(
        send(&bed.remote(tls(&bed.root, Some(&leaf))), pod.batch(1))
            .await
            .is_err()
    );
    assert!(events(&bed, "").await.is_empty());
}

#[tokio::test]
async fn a_pod_cannot_write_to_the_chain_of_another_and_trying_is_a_finding() {
    let bed = bed().await;
    let (own, other) = (Pod::new("billing", 1), Pod::new("billing", 2));
    let sidecar = bed.sidecar(&own);
    for _ in 0..5 {
        let why = refused(send(&sidecar, other.batch(1)).await);
        assert!(why.contains("403") && why.contains("own chain"), "{why}");
    }
    let found = findings(&bed).await;
    assert_eq!(found.len(), 1, "one complaint, not five: {found:?}");
    assert!(found[0].contains(&own.uid) && found[0].contains(other.engine().as_str()));
    assert_eq!(events(&bed, "").await.len(), 1);
    // Its own evidence is still taken.
    send(&sidecar, own.batch(1)).await.unwrap();
}

#[tokio::test]
async fn a_forged_identity_is_refused_with_everything_beside_it() {
    let bed = bed().await;
    let own = Pod::new("billing", 1);
    let sidecar = bed.sidecar(&own);
    let forge = |change: &dyn Fn(&mut Identity)| {
        let mut identity = own.identity();
        change(&mut identity);
        Arc::new(Session {
            identity: Arc::new(identity),
            ..(*own.session(9)).clone()
        })
    };
    for session in [
        forge(&|identity| identity.name = "spiffe://cluster.local/ns/billing/sa/root".into()),
        forge(&|identity| identity.namespace = Some("shipping".into())),
        forge(&|identity| identity.namespace = None),
        forge(&|identity| identity.service_account = Some("root".into())),
        forge(&|identity| identity.uid = Some(Pod::new("billing", 2).uid.as_str().into())),
        forge(&|identity| identity.uid = None),
        forge(&|identity| identity.pod = Some("web-2".into())),
    ] {
        // Each epoch is a run of its own: what comes after a refused one is not even sent.
        let bad = frame(1, genesis(&own.engine()), &session);
        let good = frame(2, bad.hash(), &own.session(8));
        let batch = Batch {
            engine: own.engine(),
            frames: vec![bad, good],
        };
        let why = refused(send(&sidecar, batch).await);
        assert!(why.contains("403"), "{why}");
    }
    let stored = events(&bed, "").await;
    assert_eq!(
        stored.len(),
        1,
        "the finding, and nothing of the batches: {stored:?}"
    );
    assert!(findings(&bed).await[0].contains("not its own"));
}

#[tokio::test]
async fn a_pod_over_its_quota_is_told_when_to_come_back_and_others_go_on() {
    let bed = bed_with(Quota {
        bytes: 1 << 30,
        events: 1,
    })
    .await;
    let (one, other) = (Pod::new("billing", 1), Pod::new("billing", 2));
    let (sidecar, neighbour) = (bed.sidecar(&one), bed.sidecar(&other));
    let first = one.batch(1);
    let next = frame(2, first.frames[0].hash(), &one.session(2));
    send(&sidecar, first).await.unwrap();
    let more = Batch {
        engine: one.engine(),
        frames: vec![next],
    };
    let why = refused(send(&sidecar, more.clone()).await);
    assert!(why.contains("429") && why.contains("quota"), "{why}");
    // Until then the sidecar does not even ask.
    let why = refused(send(&sidecar, more).await);
    assert!(why.contains("left alone"), "{why}");
    send(&neighbour, other.batch(3)).await.unwrap();
}

/// A connection of a pod, spoken to by hand.
async fn by_hand(
    bed: &Bed,
    pod: &Pod,
) -> hyper::client::conn::http2::SendRequest<
    http_body_util::combinators::BoxBody<Bytes, std::io::Error>,
> {
    by_hand_as(bed, &bed.root.pod(pod)).await
}

async fn by_hand_as(
    bed: &Bed,
    leaf: &bed::Leaf,
) -> hyper::client::conn::http2::SendRequest<
    http_body_util::combinators::BoxBody<Bytes, std::io::Error>,
> {
    let stream = TcpStream::connect(bed.ingest).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from(bed::NAME).unwrap();
    let stream = tokio_rustls::TlsConnector::from(tls(&bed.root, Some(leaf)))
        .connect(name, stream)
        .await
        .unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(pod: &Pod) -> hyper::http::request::Builder {
    Request::post(format!("https://{}/v1/ingest", bed::NAME))
        .header(ENGINE, pod.engine().as_str())
        .header(PREVIOUS, genesis(&pod.engine()).to_string())
}

fn whole(bytes: Vec<u8>) -> http_body_util::combinators::BoxBody<Bytes, std::io::Error> {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed()
}

#[tokio::test]
async fn what_is_no_batch_is_refused_for_what_it_is() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let mut sender = by_hand(&bed, &pod).await;
    let mut good = Vec::new();
    pod.batch(1).frames[0].write_to(&mut good);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let bomb = zstd::bulk::compress(&vec![0; MAX_UNPACKED + 1], 3).unwrap();
    assert!(bomb.len() < 4096);
    let packed =
        |request: hyper::http::request::Builder| request.header("content-encoding", "zstd");
    let cases = [
        (
            request(&pod).body(whole(damaged)),
            StatusCode::BAD_REQUEST,
            "damaged",
        ),
        (
            request(&pod).body(whole(good[..good.len() - 1].to_vec())),
            StatusCode::BAD_REQUEST,
            "damaged",
        ),
        (
            request(&pod).body(whole(Vec::new())),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            packed(request(&pod)).body(whole(good.clone())),
            StatusCode::BAD_REQUEST,
            "damaged",
        ),
        (
            packed(request(&pod)).body(whole(bomb)),
            StatusCode::PAYLOAD_TOO_LARGE,
            "oversized",
        ),
        (
            request(&pod).body(whole(vec![0; MAX_BODY + 1])),
            StatusCode::PAYLOAD_TOO_LARGE,
            "oversized",
        ),
        (
            request(&pod)
                .header("content-encoding", "br")
                .body(whole(good.clone())),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            Request::post("https://localhost/v1/ingest").body(whole(good.clone())),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            Request::get("https://localhost/v1/ingest").body(whole(Vec::new())),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            Request::post("https://localhost/v1/events").body(whole(Vec::new())),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
    ];
    for (number, (request, status, code)) in cases.into_iter().enumerate() {
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "case {number}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], code, "case {number}");
    }
}

/// The store keeps sequence numbers as signed ones. What it cannot write down says nothing of the store: a
/// collector that called itself unready over it would be so for everybody.
#[tokio::test]
async fn a_sequence_number_that_no_store_can_keep_is_refused_and_the_store_stays_ready() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let sidecar = bed.sidecar(&pod);
    let beat = Record::engine(Timestamp::from_micros(1), Heartbeat::default());
    for (first, count) in [(1 << 63, 1), (u64::MAX, 1), ((1 << 63) - 1, 2)] {
        let mut builder = FrameBuilder::new(1, first);
        (0..count).for_each(|_| builder.push(&beat));
        let batch = Batch {
            engine: pod.engine(),
            frames: vec![builder.seal(genesis(&pod.engine())).unwrap()],
        };
        let why = refused(send(&sidecar, batch).await);
        assert!(why.contains("400") && why.contains("out of range"), "{why}");
        // Who watches the store had time to see it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let metrics = bed.admin_says("/metrics").await;
        assert!(
            metrics.contains("\nweir_collector_store_writable 1\n"),
            "{metrics}"
        );
    }
    send(&sidecar, pod.batch(1)).await.unwrap();
}

/// What an engine signs, by the key of a certificate.
fn signature(leaf: &bed::Leaf, pod: &Pod, frame: &weir_audit::Frame, time: u64) -> String {
    use base64::Engine as _;
    let head = weir_audit::proof::Head::of(&pod.engine(), frame, Timestamp::from_micros(time));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&leaf.key).unwrap();
    let signer = key.choose_scheme(&[weir_uplink::ingest::SCHEME]).unwrap();
    let signed = signer.sign(head.text().as_bytes()).unwrap();
    let signed = base64::engine::general_purpose::STANDARD.encode(signed);
    format!("{time} {signed}")
}

#[tokio::test]
async fn only_what_the_pods_own_key_signed_is_taken_and_anything_else_is_a_finding() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let leaf = bed.root.pod(&pod);
    let mut sender = by_hand_as(&bed, &leaf).await;
    let frames = pod.batch(1).frames;
    let mut body = Vec::new();
    frames[0].write_to(&mut body);
    let next = frame(2, frames[0].hash(), &pod.session(2));
    let right = signature(&leaf, &pod, &frames[0], 7);
    let stranger = bed.root.pod(&pod);
    for (signed, status, code) in [
        (None, StatusCode::FORBIDDEN, "unsigned"),
        (Some("7".to_owned()), StatusCode::BAD_REQUEST, "bad_request"),
        // Another key of the same pod's; another frame; another time.
        (
            Some(signature(&stranger, &pod, &frames[0], 7)),
            StatusCode::FORBIDDEN,
            "unsigned",
        ),
        (
            Some(signature(&leaf, &pod, &next, 7)),
            StatusCode::FORBIDDEN,
            "unsigned",
        ),
        (
            Some(right.replacen('7', "8", 1)),
            StatusCode::FORBIDDEN,
            "unsigned",
        ),
    ] {
        let mut request = request(&pod);
        if let Some(signed) = signed {
            request = request.header(SIGNATURE, signed);
        }
        let response = sender
            .send_request(request.body(whole(body.clone())).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["error"], code);
    }
    let found = findings(&bed).await;
    assert_eq!(found.len(), 1, "one complaint, not four: {found:?}");
    assert!(found[0].contains("did not sign") && found[0].contains(&pod.uid));
    assert_eq!(events(&bed, "namespace=billing").await.len(), 0);
    let request = request(&pod).header(SIGNATURE, right);
    let response = sender
        .send_request(request.body(whole(body)).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let report: ChainReport = bed.auditor("admin").get("/v1/verify").await.unwrap();
    assert!(report.ok, "{report:?}");
    let own = report.engines.iter().find(|one| one.engine == pod.engine());
    let ranges = &own.unwrap().ranges;
    assert_eq!(ranges[0].status, weir_collector::Status::Complete);
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let mut sender = by_hand(&bed, &pod).await;
    let (_kept, chunks) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(Pending(chunks)).boxed();
    let response = sender
        .send_request(request(&pod).body(body).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
}

struct Pending(tokio::sync::mpsc::Receiver<Bytes>);

impl futures_core::Stream for Pending {
    type Item = Result<Chunk<Bytes>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let chunk = self.0.poll_recv(context);
        chunk.map(|chunk| chunk.map(|chunk| Ok(Chunk::data(chunk))))
    }
}

/// What no collector takes would be in the way of everything behind it.
#[tokio::test]
async fn the_longest_event_that_a_spool_takes_is_taken() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let mut state = 7u64;
    // 6 bits in a byte: it does not get much shorter.
    let text: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    })
    .take(31 << 20)
    .collect();
    let finished = StatementFinished {
        statement: Statement {
            number: 1,
            text: Some(text.as_str().into()),
            ..Statement::default()
        },
        ..StatementFinished::default()
    };
    let now = Timestamp::from(std::time::SystemTime::now());
    let record = Record::session(now, pod.session(7), finished);
    let mut builder = FrameBuilder::new(1, 1);
    builder.push(&record);
    let batch = Batch {
        engine: pod.engine(),
        frames: vec![builder.seal(genesis(&pod.engine())).unwrap()],
    };
    send(&bed.sidecar(&pod), batch).await.unwrap();
    let found = events(&bed, "kind=statement_finished").await;
    assert!(
        matches!(&found[0].body, Body::StatementFinished(one) if one.statement.text.as_deref() == Some(&text))
    );
}

#[tokio::test]
async fn long_batches_are_compressed_and_taken() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let session = pod.session(1);
    let records: Vec<Record> = (0..20_000)
        .map(|n| {
            let opened = weir_audit::ConnectionOpened::default();
            Record::session(Timestamp::from_micros(n), Arc::clone(&session), opened)
        })
        .collect();
    let mut builder = FrameBuilder::new(1, 1);
    records.iter().for_each(|record| builder.push(record));
    let frames = vec![builder.seal(genesis(&pod.engine())).unwrap()];
    let batch = Batch {
        engine: pod.engine(),
        frames,
    };
    let ack = send(&bed.sidecar(&pod), batch).await.unwrap();
    assert_eq!(ack.seq, 20_000);
}

#[tokio::test]
async fn a_renewed_certificate_and_new_roots_are_used_from_the_next_batch_on() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let leaf = bed.root.pod(&pod);
    let at = Arc::new(At(Mutex::new(None)));
    let remote = Arc::new(RemoteCollector::new(Arc::clone(&at) as _).unwrap());
    assert!(refused(send(&remote, pod.batch(1)).await).contains("not known yet"));
    *at.0.lock().unwrap() = Some(bed.place(tls(&bed.root, Some(&leaf))));
    send(&remote, pod.batch(1)).await.unwrap();
    // The root is replaced: the collector has a leaf of the new one and trusts no other.
    let root = Ca::new("weir");
    bed.credentials.send_replace(Some(credentials(&root)));
    let leaf = root.pod(&pod);
    *at.0.lock().unwrap() = Some(bed.place(tls(&root, Some(&leaf))));
    send(&remote, pod.batch(1)).await.unwrap();
    let old = bed.sidecar(&pod);
    assert!(send(&old, pod.batch(1)).await.is_err());
}

#[tokio::test]
async fn a_known_address_needs_no_resolver_and_proves_nothing() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let leaf = bed.root.pod(&pod);
    let sent = async |host: &str, known: &str| {
        let mut place = bed.place(tls(&bed.root, Some(&leaf)));
        place.address = format!("{host}:{}", bed.ingest.port());
        place.known = vec![known.parse().unwrap()];
        let at = Arc::new(At(Mutex::new(Some(place))));
        let remote = Arc::new(RemoteCollector::new(at).unwrap());
        send(&remote, pod.batch(1)).await
    };
    sent(bed::NAME, "127.0.0.1").await.unwrap();
    // Nobody is there: the name is asked.
    sent(bed::NAME, "127.0.0.2").await.unwrap();
    // The certificate is for another name.
    let other = refused(sent("127.0.0.3", "127.0.0.1").await);
    assert!(other.contains("certificate"), "{other}");
}

#[tokio::test]
async fn a_collector_that_comes_back_is_found_again() {
    let mut first = bed().await;
    let pod = Pod::new("billing", 1);
    let leaf = first.root.pod(&pod);
    let place = first.place(tls(&first.root, Some(&leaf)));
    let at = Arc::new(At(Mutex::new(Some(place))));
    let remote = Arc::new(RemoteCollector::new(Arc::clone(&at) as _).unwrap());
    send(&remote, pod.batch(1)).await.unwrap();
    first.stop().await;
    assert!(send(&remote, pod.batch(1)).await.is_err());
    let second = bed().await;
    second
        .credentials
        .send_replace(Some(credentials(&first.root)));
    at.0.lock().unwrap().as_mut().unwrap().address =
        format!("{}:{}", bed::NAME, second.ingest.port());
    send(&remote, pod.batch(1)).await.unwrap();
}

#[tokio::test]
async fn draining_answers_what_is_under_way_and_closes_the_store() {
    let mut bed = bed().await;
    let pod = Pod::new("billing", 1);
    send(&bed.sidecar(&pod), pod.batch(1)).await.unwrap();
    let began = std::time::Instant::now();
    bed.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "idle connections do not hold it up"
    );
    // What looked after the store may be in the middle of it for a moment.
    let path = bed.dir.path().join("store");
    let opened = || {
        let config = weir_collector::CollectorConfig::default();
        weir_collector::Collector::open(&path, config)
    };
    let mut store = opened();
    while store.is_err() && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        store = opened();
    }
    assert!(store.unwrap().verify().unwrap().ok);
}
