//! Claims about what is looked for.

use weir_audit::{
    ConnectionRefused, EventId, Heartbeat, Identity, SCHEMA, Session, SessionId, Statement,
    StatementFinished,
};

use weir_telemetry::Registry;

use super::*;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds after some moment.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

fn event(engine: &str, seq: u64, time: Timestamp, body: impl Into<Body>) -> Event {
    Event {
        schema: SCHEMA,
        id: EventId {
            engine: engine.parse().unwrap(),
            epoch: 1,
            seq,
        },
        time,
        session: None,
        body: body.into(),
    }
}

fn of(identity: Identity, mut event: Event) -> Event {
    event.session = Some(Arc::new(Session {
        id: SessionId::new(7),
        identity: Arc::new(identity),
        target: Some("shop".into()),
        ..Session::default()
    }));
    event
}

fn beat(engine: &str, seq: u64, time: Timestamp) -> Event {
    event(engine, seq, time, Heartbeat::default())
}

fn statement(identity: Identity, time: Timestamp, shape: u64, outcome: Outcome) -> Event {
    let finished = StatementFinished {
        statement: Statement {
            number: 3,
            fingerprint: Some(shape),
            command: Some("SELECT".into()),
            tables: [Arc::from("public.orders")].into_iter().collect(),
            ..Statement::default()
        },
        outcome,
        ..StatementFinished::default()
    };
    of(identity, event("pod_1", 1, time, finished))
}

fn image(name: &str) -> Identity {
    Identity {
        images: [Arc::from(format!("shop/app@sha256:{name}"))]
            .into_iter()
            .collect(),
        ..Identity::named("reporter")
    }
}

fn detectors() -> Detectors {
    let config = FindingsConfig::default();
    let shapes = Shapes::new(config.learning);
    Detectors::new(&config, shapes)
}

fn codes(found: &[Finding]) -> Vec<FindingCode> {
    found.iter().map(|one| one.code).collect()
}

#[test]
fn an_event_from_the_future_is_a_clock_that_is_ahead_and_it_is_said_once() {
    let mut all = detectors();
    assert_eq!(all.see(&beat("pod_1", 1, at(59)), at(0)), []);
    let found = all.see(&beat("pod_1", 2, at(161)), at(100));
    assert_eq!(codes(&found), [FindingCode::ClockSkew]);
    assert_eq!(
        &*found[0].message,
        "the clock of pod_1 is 61 s ahead of the collector's"
    );
    assert_eq!(found[0].engine.as_deref(), Some("pod_1"));
    assert_eq!(all.see(&beat("pod_1", 3, at(261)), at(200)), []);
    let again = all.see(&beat("pod_1", 4, at(100 + HOUR + 61)), at(100 + HOUR));
    assert_eq!(again.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_is_found_and_the_end_of_a_long_session_is_not() {
    let mut all = detectors();
    assert_eq!(all.see(&beat("pod_1", 1, at(1000)), at(1000)), []);
    assert_eq!(all.see(&beat("pod_1", 2, at(950)), at(1001)), []);
    let found = all.see(&beat("pod_1", 3, at(900)), at(1002));
    assert_eq!(
        &*found[0].message,
        "the clock of pod_1 was set back by 100 s"
    );
}

#[test]
fn evidence_that_waited_for_the_collector_is_no_skew_but_what_is_always_late_is() {
    let mut all = detectors();
    // An hour's backlog comes within a minute.
    for second in 0..60 {
        let made = at(second * MINUTE);
        assert_eq!(all.see(&beat("pod_1", second, made), at(HOUR + second)), []);
    }
    let mut found = Vec::new();
    for minute in 0..20 {
        let now = at(10 * HOUR + minute * MINUTE);
        let made = now.minus(Duration::from_secs(300 + minute));
        found.extend(all.see(&beat("pod_2", minute, made), now));
    }
    assert_eq!(codes(&found), [FindingCode::ClockSkew]);
    assert!(
        found[0].message.contains("at least 300 s late"),
        "{}",
        found[0].message
    );
}

#[test]
fn an_identity_that_is_refused_again_and_again_is_found_once() {
    let mut all = detectors();
    let refused = |second| statement(Identity::named("reporter"), at(second), 1, Outcome::Denied);
    let mut found = Vec::new();
    for second in 0..9 {
        found.extend(all.see(&refused(second), at(second)));
    }
    assert_eq!(found, []);
    let other = statement(Identity::named("other"), at(9), 1, Outcome::Denied);
    assert_eq!(all.see(&other, at(9)), []);
    for second in 10..100 {
        found.extend(all.see(&refused(second), at(second)));
    }
    assert_eq!(codes(&found), [FindingCode::RepeatedDenials]);
    assert_eq!(
        &*found[0].message,
        "reporter was refused 10 times within 300 s, lastly on shop"
    );
    assert_eq!(found[0].subject, Some(SessionId::new(7)));
}

#[test]
fn refusals_that_are_far_apart_are_no_finding_and_refused_connections_count() {
    let mut all = detectors();
    for n in 0..50 {
        let refused = statement(Identity::named("a"), at(n * MINUTE), 1, Outcome::Denied);
        assert_eq!(all.see(&refused, at(n * MINUTE)), []);
    }
    let mut found = Vec::new();
    for n in 0..10 {
        let refused = event("pod_1", n, at(HOUR), ConnectionRefused::default());
        found.extend(all.see(&of(Identity::named("b"), refused), at(HOUR)));
    }
    assert_eq!(codes(&found), [FindingCode::RepeatedDenials]);
}

#[test]
fn a_shape_that_an_image_never_sent_is_news_once_the_image_is_learned() {
    let mut all = detectors();
    let sent = |image_name: &str, hour: u64, shape| {
        statement(
            image(image_name),
            at(hour * HOUR),
            shape,
            Outcome::Completed,
        )
    };
    for shape in 0..100 {
        assert_eq!(all.see(&sent("a", 0, shape), at(0)), []);
    }
    assert_eq!(all.see(&sent("a", 25, 5), at(25 * HOUR)), []);
    let found = all.see(&sent("a", 25, 100), at(25 * HOUR));
    assert_eq!(codes(&found), [FindingCode::NewShape]);
    assert!(
        found[0].message.contains("SELECT on public.orders"),
        "{}",
        found[0].message
    );
    assert_eq!(all.see(&sent("a", 25, 100), at(25 * HOUR)), []);
    // A new image is learned anew; what has no digest is no image.
    assert_eq!(all.see(&sent("b", 25, 100), at(25 * HOUR)), []);
    let nameless = statement(Identity::named("x"), at(50 * HOUR), 7, Outcome::Completed);
    assert_eq!(all.see(&nameless, at(50 * HOUR)), []);
}

#[test]
fn what_was_learned_outlives_the_process_and_damage_is_noticed() {
    let learning = Duration::from_secs(3600);
    let mut shapes = Shapes::new(learning);
    let one = |shape| statement(image("a"), at(0), shape, Outcome::Completed);
    let see = |shapes: &mut Shapes, shape, hours| {
        let event = one(shape);
        let Body::StatementFinished(finished) = &event.body else {
            unreachable!("it is one")
        };
        shapes.see(&event, &finished.statement, at(hours * HOUR))
    };
    assert_eq!(shapes.changed(), None);
    for shape in 0..10 {
        see(&mut shapes, shape, 0);
    }
    let bytes = shapes.changed().unwrap();
    assert_eq!(shapes.changed(), None);
    let mut again = Shapes::from_bytes(&bytes, learning).unwrap();
    assert_eq!(see(&mut again, 9, 2), None);
    assert!(see(&mut again, 10, 2).is_some());
    for end in 0..bytes.len() {
        let read = Shapes::from_bytes(&bytes[..end], learning);
        assert!(read.is_err() || end == 8, "{end}");
    }
}

#[test]
fn a_program_of_endless_shapes_and_endless_images_takes_bounded_memory() {
    let mut shapes = Shapes::new(Duration::ZERO);
    let mut found = 0;
    for n in 0..10_000_u64 {
        let event = statement(image("a"), at(n), n, Outcome::Completed);
        if let Body::StatementFinished(finished) = &event.body {
            found += usize::from(shapes.see(&event, &finished.statement, at(n)).is_some());
        }
    }
    assert_eq!(found, 2048);
    for n in 0..1000_u64 {
        let event = statement(image(&n.to_string()), at(n), n, Outcome::Completed);
        if let Body::StatementFinished(finished) = &event.body {
            shapes.see(&event, &finished.statement, at(n));
        }
    }
    assert!(shapes.changed().unwrap().len() < 256 * (100 + 2048 * 8));
}

#[test]
fn a_flood_of_findings_becomes_a_few_messages_and_a_count() {
    let mut flood = Flood::default();
    let finding = |code| Finding {
        code,
        message: "x".into(),
        subject: None,
        engine: None,
    };
    let mut told = 0;
    for n in 0..1000 {
        let found = finding(FindingCode::Gap);
        let event = event("pod_1", n, at(n / 10), found.clone());
        told += usize::from(flood.take(&event, &found, false, at(n / 10)).is_some());
    }
    assert_eq!(told, 5);
    let found = finding(FindingCode::Tampered);
    let other = event("pod_1", 1, at(100), found.clone());
    assert!(flood.take(&other, &found, false, at(100)).is_some());
    assert_eq!(flood.over(at(599)), []);
    let over = flood.over(at(700));
    assert_eq!(over.len(), 1);
    assert_eq!((over[0].more, &*over[0].id), (994, "pod_1-1-999"));
    assert_eq!(flood.over(at(1400)), []);
}

#[test]
fn a_flood_about_some_engines_hides_nothing_about_others_and_nothing_of_the_collectors() {
    let mut flood = Flood::default();
    let mut take = |engine: &str, about: Option<&str>, n: u64| {
        let found = Finding {
            code: FindingCode::Tampered,
            message: "x".into(),
            subject: None,
            engine: about.map(Into::into),
        };
        let event = event(engine, n, at(n / 100), found.clone());
        let own = engine.starts_with("collector");
        flood.take(&event, &found, own, at(n / 100)).is_some()
    };
    let told = (1..=100).filter(|n| take("pod_a", None, *n)).count();
    assert_eq!(told, 5);
    // The collector's own, of itself: always. About an engine: as that engine's.
    assert!(take("collector_1", None, 101) && take("collector_1", None, 102));
    assert!(!take("collector_1", Some("pod_a"), 103));
    assert!(take("collector_1", Some("pod_b"), 104) && take("pod_c", None, 105));
    assert!(!take("pod_b", None, 106));
    // There is an end to it: a thousand engines are not a thousand messages.
    let told = (200..1200)
        .filter(|n| take(&format!("pod_{n}"), None, *n))
        .count();
    assert_eq!(told, 10 - 3);
    assert!(take("collector_1", None, 1201));
    let mut over = flood.over(at(700));
    over.sort_by_key(|alert| alert.more);
    let over: Vec<_> = over
        .iter()
        .map(|one| (one.engine.as_deref(), one.more))
        .collect();
    let (all, others) = (over.len(), over.last().unwrap());
    assert_eq!((all, others.1), (3, 1000 - 7 - 1));
    assert!(over.contains(&(Some("pod_a"), 95)) && over.contains(&(Some("pod_b"), 0)));
    // They count in the next window, and are over with it.
    assert_eq!(flood.over(at(1400)), []);
}

#[tokio::test]
async fn what_is_found_is_evidence_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Collector::open(dir.path(), crate::CollectorConfig::default()).unwrap();
    let registry = Registry::default();
    let metrics = FindingMetrics::new(&registry).unwrap();
    let (alerts, mut told) = mpsc::channel(8);
    let config = FindingsConfig::default();
    let watching = tokio::spawn(watch(store.clone(), config, metrics, Some(alerts), None));
    while store.listeners() == 0 {
        tokio::task::yield_now().await;
    }
    let mine = Finding {
        code: FindingCode::SecondKey,
        message: "a pod enrolled with a second key".into(),
        subject: None,
        engine: None,
    };
    store.report(mine).unwrap();
    let alert = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
    let alert = alert.unwrap().unwrap();
    assert_eq!(
        (alert.code, alert.severity),
        (FindingCode::SecondKey, Severity::High)
    );
    let text = registry.render().unwrap();
    assert!(
        text.contains("weir_findings_total{code=\"second_key\"} 1"),
        "{text}"
    );
    watching.abort();
}

#[tokio::test]
async fn an_engine_that_gives_cause_for_very_many_findings_hides_none_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = Collector::open(dir.path(), crate::CollectorConfig::default()).unwrap();
    let metrics = FindingMetrics::new(&Registry::default()).unwrap();
    let config = FindingsConfig {
        learning: Duration::ZERO,
        skew: Duration::MAX,
        minimum: Severity::Info,
        ..FindingsConfig::default()
    };
    let watching = tokio::spawn(watch(store.clone(), config, metrics, None, None));
    while store.listeners() == 0 {
        tokio::task::yield_now().await;
    }
    let hand_in = |engine: &str, events: Vec<Event>| {
        let engine: weir_audit::EngineId = engine.parse().unwrap();
        let mut builder = weir_audit::FrameBuilder::new(1, 1);
        let records: Vec<_> = events
            .into_iter()
            .map(|event| weir_audit::Record {
                at: event.time,
                session: event.session,
                body: event.body,
            })
            .collect();
        records.iter().for_each(|record| builder.push(record));
        let frame = builder.seal(weir_audit::genesis(&engine)).unwrap();
        let frames = vec![frame];
        store.ingest(&weir_audit::Batch { engine, frames }).unwrap();
    };
    let shapes = (0..2000).map(|n| statement(image("a"), at(0), n, Outcome::Completed));
    hand_in("pod_1", shapes.collect());
    let denied = |n| statement(Identity::named("b"), at(n), 1, Outcome::Denied);
    let other = |n| {
        let mut event = denied(n);
        event.session = event.session.map(|session| {
            Arc::new(Session {
                id: SessionId::new(8),
                ..Session::clone(&session)
            })
        });
        event
    };
    hand_in("pod_2", (0..10).map(other).collect());
    let found = || {
        let filter = crate::Filter {
            kind: Some("finding".to_owned()),
            limit: Some(10_000),
            ..crate::Filter::default()
        };
        let events = store.query(&filter).unwrap().events;
        let findings = events.into_iter().filter_map(|event| match event.body {
            Body::Finding(finding) => Some(finding),
            _ => None,
        });
        findings.collect::<Vec<_>>()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    let is_other = |one: &Finding| one.code == FindingCode::RepeatedDenials;
    while !found().iter().any(is_other) {
        assert!(std::time::Instant::now() < deadline, "{:?}", found().len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = found();
    let shapes = found.iter().filter(|one| one.code == FindingCode::NewShape);
    assert_eq!(shapes.clone().count(), 9);
    let counted = shapes.filter(|one| one.message.starts_with("1992 more findings"));
    assert_eq!(counted.count(), 1);
    watching.abort();
}

#[test]
fn a_pod_that_runs_and_sends_nothing_is_found_once_until_it_is_heard() {
    let pod = |uid: &str| weir_uplink::control::RunningPod {
        namespace: "shop".to_owned(),
        name: format!("app-{uid}"),
        uid: uid.to_owned(),
    };
    let both = [pod("1"), pod("2")];
    let mut streams = Streams::default();
    let mut found = Vec::new();
    for minute in 0..10 {
        streams.hear(
            &beat("pod_1", minute, at(minute * MINUTE)),
            at(minute * MINUTE),
        );
        found.extend(streams.look(&both, at(minute * MINUTE)));
    }
    assert_eq!(codes(&found), [FindingCode::NoStream]);
    assert_eq!(
        &*found[0].message,
        "pod shop/app-2 runs with Weir and sends no evidence"
    );
    assert_eq!(found[0].engine.as_deref(), Some("pod_2"));
    // Both fall silent later, and a new one has the same time as they had.
    let mut found = Vec::new();
    for minute in 10..20 {
        if minute == 10 {
            streams.hear(
                &beat("pod_2", minute, at(minute * MINUTE)),
                at(minute * MINUTE),
            );
        }
        let pods = [pod("1"), pod("2"), pod("3")];
        found.extend(streams.look(&pods, at(minute * MINUTE)));
    }
    assert_eq!(found.len(), 3);
    assert_eq!(streams.look(&[], at(HOUR)), []);
}
