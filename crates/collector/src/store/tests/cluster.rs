//! The store under many engines that do not trust each other.

use weir_audit::Finding;

use super::*;

pub(super) fn named(name: &str) -> EngineId {
    name.parse().unwrap()
}

pub(super) fn in_namespace(number: u64, namespace: &str) -> Arc<Session> {
    let identity = Identity {
        namespace: Some(namespace.into()),
        ..Identity::named(format!("{namespace}/app"))
    };
    Arc::new(Session {
        identity: Arc::new(identity),
        ..(*session(number, "")).clone()
    })
}

pub(super) fn opened(n: u64, session: &Arc<Session>) -> Record {
    let at = Timestamp::from_micros(T0 + n);
    Record::session(at, Arc::clone(session), ConnectionOpened::default())
}

pub(super) fn send_as(store: &Collector, engine: &EngineId, epoch: u32, records: &[Record]) {
    let frames = chain(epoch, genesis(engine), 100, records);
    hand_in(store, engine, &frames).unwrap();
}

fn codes(store: &Collector, wanted: FindingCode) -> usize {
    let found = findings_page(store);
    found.into_iter().filter(|code| *code == wanted).count()
}

fn findings_page(store: &Collector) -> Vec<FindingCode> {
    let filter = Filter {
        kind: Some("finding".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    let events = store.query(&filter).unwrap().events;
    events
        .into_iter()
        .map(|event| match event.body {
            Body::Finding(finding) => finding.code,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_store_is_open_once() {
    let (dir, store) = fresh();
    let again = Collector::open(dir.path(), CollectorConfig::default());
    let error = again.err().unwrap();
    assert!(matches!(error, CollectorError::InUse(_)));
    assert!(
        error.to_string().contains("in use by another collector"),
        "{error}"
    );
    drop(store);
    Collector::open(dir.path(), CollectorConfig::default()).unwrap();
}

#[test]
fn a_full_disk_refuses_evidence_and_loses_none() {
    let (_dir, store) = fresh();
    let limit = |pages: i64| {
        let writer = store.writer();
        writer
            .store
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    };
    let noise = |n: u64| {
        // Text that does not compress.
        let mut state = n + 1;
        let text: String = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'!' + u8::try_from(state >> 58).unwrap())
        })
        .take(50_000)
        .collect();
        statement(n, &session(1, "a"), &text, Decision::Permit)
    };
    let records: Vec<_> = (0..40).map(noise).collect();
    let frames = chain(1, genesis(&engine()), 1, &records);
    let pages: i64 = {
        let writer = store.writer();
        writer
            .store
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap()
    };
    limit(pages + 60);
    let mut taken = 0;
    let refused = frames.iter().find_map(|frame| {
        let refused = hand_in(&store, &engine(), std::slice::from_ref(frame)).err();
        taken += usize::from(refused.is_none());
        refused
    });
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("the evidence store failed"), "{refused}");
    assert!(taken > 0);
    let kept = || {
        let filter = Filter {
            kind: Some("statement_finished".into()),
            ..Filter::default()
        };
        store.query(&filter).unwrap().events.len()
    };
    assert_eq!(kept(), taken);
    limit(1 << 20);
    send(&store, &frames);
    assert_eq!(kept(), 40);
    assert!(store.verify().unwrap().ok);
    assert_eq!(findings(&store), []);
}

#[test]
fn each_of_many_silent_engines_is_found_once_and_its_sessions_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let config = CollectorConfig {
        max_age: None,
        silence: Duration::ZERO,
        ..CollectorConfig::default()
    };
    let store = Collector::open(dir.path(), config).unwrap();
    let engines: Vec<EngineId> = (0..500).map(|n| named(&format!("pod_{n}"))).collect();
    for (n, engine) in engines.iter().enumerate() {
        let number = n as u64 + 1;
        let mut records = vec![opened(1, &session(number, "a"))];
        if n % 5 == 0 {
            let at = Timestamp::from_micros(T0 + 2);
            records.push(Record::engine(at, EngineStopped::default()));
        }
        send_as(&store, engine, 1, &records);
    }
    for _ in 0..3 {
        store.maintain().unwrap();
    }
    assert_eq!(codes(&store, FindingCode::EngineSilent), 400);
    assert_eq!(codes(&store, FindingCode::UnclosedSession), 500);
    assert!(store.verify().unwrap().ok);
    // One comes back, goes on in its chain, and is found again when it falls silent again.
    let first = chain(1, genesis(&engines[1]), 100, &[opened(1, &session(2, "a"))]);
    let at = Timestamp::from_micros(T0 + 3);
    let closed = Record::session(
        at,
        session(2, "a"),
        ConnectionClosed {
            reason: "client closed".into(),
            ..ConnectionClosed::default()
        },
    );
    let mut builder = FrameBuilder::new(1, 2);
    builder.push(&closed);
    let frames = vec![builder.seal(first[0].hash()).unwrap()];
    let engine = engines[1].clone();
    hand_in(&store, &engine, &frames).unwrap();
    let page = store.sessions(&SessionFilter {
        limit: Some(1000),
        ..SessionFilter::default()
    });
    let page = page.unwrap().sessions;
    let back = page
        .iter()
        .find(|line| line.session.id == SessionId::new(2))
        .unwrap();
    assert_eq!(
        back.outcome.as_deref(),
        Some("client closed"),
        "the engine knows better"
    );
    store.maintain().unwrap();
    assert_eq!(codes(&store, FindingCode::EngineSilent), 401);
    assert_eq!(codes(&store, FindingCode::Gap), 0);
}

#[test]
fn a_namespace_is_found_by_name_and_confines_what_is_found() {
    let (_dir, store) = fresh();
    let (one, two) = (in_namespace(1, "billing"), in_namespace(2, "shipping"));
    send_as(&store, &named("pod_1"), 1, &[opened(1, &one), beat(2)]);
    send_as(&store, &named("pod_2"), 1, &[opened(1, &two)]);
    let find = |namespace: Option<&str>| {
        let namespace = namespace.map(str::to_owned);
        let filter = Filter {
            namespace,
            ..Filter::default()
        };
        store.query(&filter).unwrap().events.len()
    };
    assert_eq!(
        (find(None), find(Some("billing")), find(Some("nowhere"))),
        (3, 1, 0)
    );
    let filter = SessionFilter {
        namespace: Some("shipping".into()),
        ..SessionFilter::default()
    };
    let page = store.sessions(&filter).unwrap();
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(page.sessions[0].session.id, two.id);
    let replay = |namespace| {
        let mut seen = 0;
        let done = store.replay(one.id, namespace, &mut |_| {
            seen += 1;
            true
        });
        done.map(|()| seen)
    };
    assert_eq!(replay(None).unwrap(), 1);
    assert_eq!(replay(Some("billing")).unwrap(), 1);
    assert!(matches!(
        replay(Some("shipping")),
        Err(CollectorError::NoSession(_))
    ));
}

#[test]
fn a_session_belongs_to_the_engine_that_opened_it() {
    let (_dir, store) = fresh();
    let (victim, thief) = (named("pod_1"), named("pod_2"));
    let shared = in_namespace(7, "billing");
    send_as(&store, &victim, 1, &[opened(1, &shared)]);
    let claimed = in_namespace(7, "shipping");
    let unclosed = Finding {
        code: FindingCode::UnclosedSession,
        message: "it never ended".into(),
        subject: Some(claimed.id),
        engine: None,
    };
    let at = Timestamp::from_micros(T0 + 2);
    let records = [
        opened(1, &claimed),
        Record::session(at, Arc::clone(&claimed), ConnectionClosed::default()),
        Record::engine(at, unclosed),
    ];
    send_as(&store, &thief, 1, &records[..2]);
    let alone = FrameOf(&thief).after(&records[..2], &records[2..]);
    hand_in(&store, &alone.engine, &alone.frames).unwrap();
    let page = store.sessions(&SessionFilter::default()).unwrap();
    assert_eq!(page.sessions.len(), 1);
    let line = &page.sessions[0];
    assert_eq!((&line.engine, line.closed), (&victim, None));
    assert_eq!(line.session.identity.namespace.as_deref(), Some("billing"));
    assert_eq!(codes(&store, FindingCode::Other), 1);
    let mut engines = Vec::new();
    let take = &mut |event: Event| {
        engines.push(event.id.engine);
        true
    };
    store.replay(shared.id, None, take).unwrap();
    assert_eq!(engines, [victim]);
}

struct FrameOf<'a>(&'a EngineId);

impl FrameOf<'_> {
    /// A batch of `records` that continues a chain of `before`.
    fn after(&self, before: &[Record], records: &[Record]) -> Batch {
        let last = chain(1, genesis(self.0), 100, before).pop().unwrap();
        let mut builder = FrameBuilder::new(1, last.last_seq() + 1);
        records.iter().for_each(|record| builder.push(record));
        Batch {
            engine: self.0.clone(),
            frames: vec![builder.seal(last.hash()).unwrap()],
        }
    }
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let (_dir, store) = fresh();
    let frames = chain(
        1,
        genesis(&engine()),
        1,
        &(0..3).map(beat).collect::<Vec<_>>(),
    );
    let batch = Batch {
        engine: engine(),
        frames,
    };
    let key = crate::OwnKey::load_or_create(keys(), &engine()).unwrap();
    let signed = key.sign(&batch).unwrap();
    let refused = store.ingest_signed(&batch, &signed, &mut |event| {
        if event.id.seq == 3 {
            Err("no".into())
        } else {
            Ok(())
        }
    });
    assert!(matches!(refused, Err(CollectorError::Refused(why)) if why == "no"));
    assert_eq!(count(&store), 0);
    assert_eq!(store.verify().unwrap().engines, []);
    hand_in(&store, &batch.engine, &batch.frames).unwrap();
    assert_eq!((count(&store), findings(&store)), (3, vec![]));
}

#[test]
fn a_store_of_the_version_before_learns_its_namespaces() {
    let (dir, store) = fresh();
    send_as(
        &store,
        &named("pod_1"),
        1,
        &[opened(1, &in_namespace(1, "billing"))],
    );
    send_as(&store, &named("pod_2"), 1, &[opened(1, &session(2, "a"))]);
    drop(store);
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    direct.execute_batch(BEFORE_SUMS).unwrap();
    direct
        .execute_batch(
            "DELETE FROM block_keys WHERE key IN (SELECT id FROM keys WHERE kind = 7);
             DELETE FROM keys WHERE kind = 7; ALTER TABLE sessions DROP COLUMN namespace;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(direct);
    let store = Collector::open(
        dir.path(),
        CollectorConfig {
            max_age: None,
            ..CollectorConfig::default()
        },
    )
    .unwrap();
    let namespace = Some("billing".to_owned());
    let filter = Filter {
        namespace: namespace.clone(),
        ..Filter::default()
    };
    assert_eq!(store.query(&filter).unwrap().events.len(), 1);
    let filter = SessionFilter {
        namespace,
        ..SessionFilter::default()
    };
    assert_eq!(store.sessions(&filter).unwrap().sessions.len(), 1);
    assert!(store.verify().unwrap().ok);
}
