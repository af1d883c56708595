//! ClickHouse as the search engine answers as the embedded store does: a real engine, the same traffic.
//!
//! `make clickhouse` runs these; the variable WEIR_CLICKHOUSE_SERVE says how the engine is started: a
//! command that takes a directory and prints the port of its HTTP interface.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

#[expect(dead_code, reason = "the benchmark uses all of it")]
#[path = "../examples/search_bench/traffic.rs"]
mod traffic;

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use traffic::{Engine, World};
use weir_audit::{
    Batch, CollectorSink as _, Event, EvidenceRead, FrameReader, SessionId, Timestamp,
};
use weir_collector::{
    About, ClickHouseConfig, Collector, CollectorConfig, CollectorError, Filter, OwnSink, Question,
    SessionFilter,
};

/// The engine in a process of its own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(dir: &std::path::Path) -> Self {
        let command = std::env::var("WEIR_CLICKHOUSE_SERVE").unwrap();
        let mut words = command.split_whitespace();
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufReader::new(out).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Both {
    dir: tempfile::TempDir,
    server: Server,
    near: Collector,
    far: Collector,
    world: World,
}

fn config(port: u16) -> CollectorConfig {
    CollectorConfig {
        clickhouse: Some(ClickHouseConfig {
            url: format!("http://127.0.0.1:{port}"),
            database: "weir".into(),
            user: None,
            password_file: None,
            ca_file: None,
        }),
        ..CollectorConfig::default()
    }
}

/// The same traffic in the embedded store and in one that forwards.
fn both(events: u64) -> Both {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("engine"));
    let near = Collector::open(&dir.path().join("near"), CollectorConfig::default()).unwrap();
    let far = Collector::open(&dir.path().join("far"), config(server.port)).unwrap();
    let world = World::new(
        Timestamp::from(std::time::SystemTime::now()),
        Duration::from_secs(30 * 86400),
        events,
    );
    let mut made = 0;
    let mut engines: Vec<Engine> = (0..3).map(Engine::new).collect();
    while made < events {
        for engine in &mut engines {
            let previous = engine.previous();
            let sealed = engine.frames(&world, 1);
            made += sealed.events;
            let mut reader = FrameReader::new(&sealed.bytes, previous);
            let mut frames = Vec::new();
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
            let batch = Batch {
                engine: engine.id(),
                frames,
            };
            for (name, store) in [("near", &near), ("far", &far)] {
                let keys = dir.path().join(name);
                let sink = OwnSink::open(store.clone(), &keys, &engine.id()).unwrap();
                sink.ingest(&batch).unwrap();
            }
        }
    }
    while far.forward().unwrap() > 0 {}
    Both {
        dir,
        server,
        near,
        far,
        world,
    }
}

#[test]
#[ignore = "needs ClickHouse: make clickhouse"]
fn searches_answer_as_the_embedded_store_does() {
    let both = both(30_000);
    let end = both.world.end();
    let some = |text: String| Some(text);
    let any = || Filter {
        limit: Some(500),
        ..Filter::default()
    };
    let sessions = both.near.sessions(&SessionFilter::default()).unwrap();
    let session = sessions.sessions[3].session.id;
    let mut filters = vec![
        any(),
        Filter {
            identity: some(both.world.identity(1)),
            ..any()
        },
        Filter {
            target: some(both.world.target(2)),
            ..any()
        },
        Filter {
            table: some(both.world.table(7)),
            ..any()
        },
        Filter {
            label: some(both.world.label(3)),
            ..any()
        },
        Filter {
            label: some("pii.*".into()),
            ..any()
        },
        Filter {
            decision: some("deny".into()),
            ..any()
        },
        Filter {
            kind: some("access_request_created".into()),
            ..any()
        },
        Filter {
            text: some("ORDER BY created_at".into()),
            ..any()
        },
        Filter {
            text: some("col_1_".into()),
            ..any()
        },
        Filter {
            text: some("%".into()),
            ..any()
        },
        Filter {
            session: Some(session),
            ..any()
        },
        Filter {
            namespace: some("team-1".into()),
            decision: some("deny".into()),
            ..any()
        },
        Filter {
            since: Some(end.minus(Duration::from_secs(10 * 86400))),
            until: Some(end.minus(Duration::from_secs(9 * 86400))),
            ..any()
        },
    ];
    for n in 0..25 {
        filters.push(Filter {
            approver: some(both.world.approver(n)),
            ..any()
        });
    }
    for filter in &filters {
        let (near, far) = (
            both.near.query(filter).unwrap(),
            both.far.query(filter).unwrap(),
        );
        assert_eq!(near, far, "{filter:?}");
    }
    let mut cursor = None;
    for _ in 0..4 {
        let filter = Filter { cursor, ..any() };
        let (near, far) = (
            both.near.query(&filter).unwrap(),
            both.far.query(&filter).unwrap(),
        );
        assert_eq!(near, far);
        cursor = near.next;
    }
    let whose = |identity: Option<String>, cursor: Option<String>| SessionFilter {
        identity,
        cursor,
        limit: Some(50),
        ..SessionFilter::default()
    };
    for filter in [
        whose(None, None),
        whose(some(both.world.identity(1)), None),
        whose(None, both.near.sessions(&whose(None, None)).unwrap().next),
    ] {
        assert_eq!(
            both.near.sessions(&filter).unwrap(),
            both.far.sessions(&filter).unwrap()
        );
    }
    let replayed = |store: &Collector| {
        let mut events: Vec<Event> = Vec::new();
        store
            .replay(session, None, &mut |event| {
                events.push(event);
                true
            })
            .unwrap();
        events
    };
    assert_eq!(replayed(&both.near), replayed(&both.far));
    assert!(!replayed(&both.far).is_empty());
    let nobody = both.far.replay(session, Some("nobody"), &mut |_| true);
    assert!(matches!(nobody, Err(CollectorError::NoSession(_))));
    let unknown = both.far.replay(SessionId::new(1), None, &mut |_| true);
    assert!(matches!(unknown, Err(CollectorError::NoSession(_))));
}

#[test]
#[ignore = "needs ClickHouse: make clickhouse"]
fn sums_and_questions_answer_as_the_embedded_store_does() {
    let both = both(30_000);
    let read = EvidenceRead {
        reader: "carol".into(),
        path: "/v1/events".into(),
        ..EvidenceRead::default()
    };
    for store in [&both.near, &both.far] {
        store.read_by(read.clone()).unwrap();
    }
    while both.far.forward().unwrap() > 0 {}
    let (begin, end) = (Timestamp::default(), both.world.end());
    for namespace in [None, Some("team-1"), Some("nobody")] {
        for since in [begin, end.minus(Duration::from_secs(5 * 86400))] {
            assert_eq!(
                both.near.overview(since, end, namespace).unwrap(),
                both.far.overview(since, end, namespace).unwrap()
            );
        }
    }
    for about in About::ALL {
        let mut question = Question::new(about);
        question.limit = Some(10_000);
        if about.needs().is_some() {
            let newest = both.near.sessions(&SessionFilter::default()).unwrap();
            let busy = newest
                .sessions
                .iter()
                .max_by_key(|session| session.statements);
            question.identity = Some(busy.unwrap().session.identity.name.to_string());
        }
        let sorted = |store: &Collector| {
            let mut answer = store.ask(&question).unwrap();
            if about == About::WhoReadEvidence {
                // Each recorded it at its own time.
                answer.rows.iter_mut().for_each(|row| row[0].clear());
            }
            answer.rows.sort();
            answer
        };
        let (near, far) = (sorted(&both.near), sorted(&both.far));
        assert_eq!(near, far, "{about}");
        assert!(!near.rows.is_empty(), "{about}");
    }
}

#[test]
#[ignore = "needs ClickHouse: make clickhouse"]
fn what_is_forwarded_twice_counts_once_and_an_outage_loses_nothing() {
    let mut both = both(5_000);
    let (begin, end) = (Timestamp::default(), both.world.end());
    let before = both.far.overview(begin, end, None).unwrap();
    // As after a crash between the insert and its note.
    let path = both.dir.path().join("far/evidence.db");
    let direct = rusqlite::Connection::open(path).unwrap();
    direct
        .execute("DELETE FROM meta WHERE name = 'forwarded'", [])
        .unwrap();
    while both.far.forward().unwrap() > 0 {}
    assert_eq!(both.far.overview(begin, end, None).unwrap(), before);
    let all = Filter {
        limit: Some(10_000),
        ..Filter::default()
    };
    assert_eq!(
        both.far.query(&all).unwrap(),
        both.near.query(&all).unwrap()
    );
    let _ = both.server.child.kill();
    let _ = both.server.child.wait();
    let read = EvidenceRead {
        reader: "carol".into(),
        ..EvidenceRead::default()
    };
    both.far.read_by(read).unwrap();
    assert!(matches!(both.far.forward(), Err(CollectorError::Engine(_))));
    assert!(matches!(
        both.far.query(&all),
        Err(CollectorError::Engine(_))
    ));
    assert!(both.far.verify().unwrap().ok);
}
