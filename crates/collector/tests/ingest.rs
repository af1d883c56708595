//! Evidence from sidecars, over real TLS with real certificates.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod bed;

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

/// The first events of a pod's chain.
fn batch_with(pod: &Pod, records: &[Record]) -> Batch {
    let mut builder = FrameBuilder::new(1, 1);
    records.iter().for_each(|record| builder.push(record));
    Batch {
        engine: pod.engine(),
        frames: vec![builder.seal(genesis(&pod.engine())).unwrap()],
    }
}

fn finding(code: FindingCode, engine: Option<&Pod>) -> Body {
    let finding = Finding {
        code,
        message: "they did it".into(),
        subject: None,
        engine: engine.map(|pod| pod.engine().as_str().into()),
    };
    finding.into()
}

fn cut_off(subject: &str) -> Body {
    let changed = QuarantineChanged {
        name: "stop".into(),
        subject: subject.into(),
        reason: "all is well".into(),
        by: "admin".into(),
        on: false,
    };
    changed.into()
}

const FOUND_BY_THE_COLLECTOR: [FindingCode; 9] = [
    FindingCode::Gap,
    FindingCode::GapClosed,
    FindingCode::EngineSilent,
    FindingCode::NoStream,
    FindingCode::ClockSkew,
    FindingCode::Tampered,
    FindingCode::RepeatedDenials,
    FindingCode::NewShape,
    FindingCode::Other,
];

const FOUND_BY_THE_CONTROLLER: [FindingCode; 4] = [
    FindingCode::SecondKey,
    FindingCode::UnprotectedPod,
    FindingCode::PolicyLoosened,
    FindingCode::ExceptionExpired,
];

/// Words that only the collector or the controller can have said, in the mouth of a pod.
#[tokio::test]
async fn what_a_pod_cannot_know_is_refused_and_trying_is_a_finding() {
    let bed = bed().await;
    let other = Pod::new("billing", 99);
    let read = EvidenceRead {
        reader: "alice".into(),
        path: "/v1/events".into(),
        ..EvidenceRead::default()
    };
    let reset = BudgetsReset {
        operator: "alice".into(),
    };
    let mut forged = vec![
        Body::from(read),
        reset.into(),
        cut_off("spiffe://cluster.local/ns/billing/sa/root"),
        finding(FindingCode::ChainBroken, Some(&other)),
    ];
    forged.extend(FOUND_BY_THE_COLLECTOR.map(|code| finding(code, None)));
    forged.extend(FOUND_BY_THE_CONTROLLER.map(|code| finding(code, None)));
    for (number, body) in (1..).zip(forged) {
        let (pod, kind) = (Pod::new("billing", number), format!("{body:?}"));
        let record = Record::engine(Timestamp::from_micros(1), body);
        let why = refused(send(&bed.sidecar(&pod), batch_with(&pod, &[record])).await);
        assert!(why.contains("403"), "{kind}: {why}");
        let found = findings(&bed).await;
        let said = format!("(pod {})", pod.uid);
        let complaint = found.iter().find(|message| message.contains(&said));
        assert!(complaint.unwrap().contains("not its own"), "{found:?}");
    }
    let stored = events(&bed, "").await;
    let theirs = |event: &&Event| event.id.engine.as_str().starts_with("pod_");
    assert_eq!(stored.iter().filter(theirs).count(), 0, "{stored:?}");
}

/// What a sidecar says of itself, its sessions and its identity, and a controller of the cluster.
#[tokio::test]
async fn what_a_pod_does_know_is_taken() {
    let bed = bed().await;
    let (pod, controller) = (Pod::new("billing", 1), Pod::new(bed::OWN_NAMESPACE, 2));
    let own = [
        FindingCode::TornTail,
        FindingCode::ChainBroken,
        FindingCode::UncleanShutdown,
        FindingCode::UnclosedSession,
        FindingCode::EventsLost,
        FindingCode::SpoolFull,
        FindingCode::HostKeyTrusted,
        FindingCode::HostKeyRefused,
        FindingCode::UngovernedProtocol,
        FindingCode::UnmatchedRelayed,
        FindingCode::HoneyRowRead,
    ];
    let known = own.len() + FOUND_BY_THE_CONTROLLER.len() + FOUND_BY_THE_COLLECTOR.len();
    assert_eq!(known, FindingCode::ALL.len());
    let at = Timestamp::from(std::time::SystemTime::now());
    let mut said = vec![
        Record::engine(at, EngineStarted::default()),
        Record::engine(at, Heartbeat::default()),
        Record::engine(at, PolicyChanged::default()),
        Record::engine(at, cut_off(&pod.spiffe())),
        Record::engine(at, finding(FindingCode::EventsLost, Some(&pod))),
        Record::session(at, pod.session(1), AccessRequestCreated::default()),
        Record::session(
            at,
            pod.session(1),
            AccessRequestDecided {
                name: "ar-1".into(),
                approver: "alice".into(),
                ruling: Ruling::Approve { rows: None },
                approvals: 1,
                needed: 1,
                binding: Binding::Exact,
                minutes: None,
                via: None,
                comment: None,
            },
        ),
        Record::session(at, pod.session(1), LabelledValuesSeen::default()),
    ];
    said.extend(own.map(|code| Record::session(at, pod.session(1), finding(code, None))));
    let count = u64::try_from(said.len()).unwrap();
    let ack = send(&bed.sidecar(&pod), batch_with(&pod, &said)).await;
    assert_eq!(
        ack.unwrap(),
        Ack {
            epoch: 1,
            seq: count
        }
    );
    let found = FOUND_BY_THE_CONTROLLER.iter().chain(&own);
    let found: Vec<Record> = found
        .map(|code| Record::engine(at, finding(*code, None)))
        .collect();
    send(&bed.sidecar(&controller), batch_with(&controller, &found))
        .await
        .unwrap();
    // A controller finds much, and still nothing of what the collector sees.
    for code in FOUND_BY_THE_COLLECTOR {
        let other = Pod::new(bed::OWN_NAMESPACE, 3);
        let record = Record::engine(at, finding(code, None));
        let why = refused(send(&bed.sidecar(&other), batch_with(&other, &[record])).await);
        assert!(why.contains("403"), "{code:?}: {why}");
    }
}

/// Half a megabyte of frames would be gigabytes wherever each event is written out.
#[tokio::test]
async fn what_is_shared_and_longer_than_engines_write_it_is_refused_and_is_a_finding() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let session = Arc::new(Session {
        application: Some("a".repeat(400 << 10).into()),
        ..(*pod.session(1)).clone()
    });
    let at = Timestamp::from(std::time::SystemTime::now());
    let many = |record: Record| vec![record; 20_000];
    let names: Vec<Arc<str>> = (0..40_000).map(|n| format!("t{n}").into()).collect();
    let refusal = ConnectionRefused {
        reason: "no".into(),
        rules: names.into(),
    };
    for swollen in [
        many(Record::session(at, session, Heartbeat::default())),
        many(Record::engine(at, refusal)),
    ] {
        let why = refused(send(&bed.sidecar(&pod), batch_with(&pod, &swollen)).await);
        assert!(why.contains("413") && why.contains("longer"), "{why}");
        // What the engine itself makes of it before it is sealed.
        let cut: Vec<Record> = swollen.into_iter().take(3).map(Record::bounded).collect();
        let other = Pod::new("billing", 2 + u32::from(cut[0].session.is_some()));
        let cut = cut.into_iter().map(|record| Record {
            session: record.session.map(|session| {
                let identity = Arc::new(other.identity());
                Arc::new(Session {
                    identity,
                    ..(*session).clone()
                })
            }),
            ..record
        });
        let cut: Vec<Record> = cut.collect();
        send(&bed.sidecar(&other), batch_with(&other, &cut))
            .await
            .unwrap();
    }
    let found = findings(&bed).await;
    assert_eq!(found.len(), 1, "one complaint, not two: {found:?}");
    assert!(found[0].contains("no engine writes") && found[0].contains(&pod.uid));
}

/// Without it, one connection in the time without a certificate would keep all later evidence in the spool.
#[tokio::test]
async fn that_a_connection_was_refused_for_want_of_an_identity_is_taken_and_nothing_else_without_one()
 {
    let bed = bed().await;
    let (pod, other) = (Pod::new("billing", 1), Pod::new("billing", 2));
    let nobody = Arc::new(Session {
        client: Some("10.0.0.7:4711".into()),
        ..Session::default()
    });
    let at = Timestamp::from(std::time::SystemTime::now());
    let refusal = ConnectionRefused {
        reason: "identity: the certificate has expired".into(),
        ..ConnectionRefused::default()
    };
    let records = [Record::session(at, Arc::clone(&nobody), refusal)];
    send(&bed.sidecar(&pod), batch_with(&pod, &records))
        .await
        .unwrap();
    assert_eq!(events(&bed, "kind=connection_refused").await.len(), 1);
    let records = [Record::session(at, nobody, StatementFinished::default())];
    let why = refused(send(&bed.sidecar(&other), batch_with(&other, &records)).await);
    assert!(why.contains("403"), "{why}");
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
