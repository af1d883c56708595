//! Finding events and sessions again.

use super::*;

#[test]
fn every_filter_finds_what_it_names_and_nothing_else() {
    let (_dir, store) = fresh();
    let (a, b) = (session(1, "reporter"), session(2, "importer"));
    let records: Vec<Record> = (0..200)
        .map(|n| {
            let session = if n % 4 == 0 { &b } else { &a };
            let decision = if n % 10 == 0 {
                Decision::Deny
            } else {
                Decision::Permit
            };
            statement(n, session, &format!("SELECT {n} FROM Customers"), decision)
        })
        .collect();
    for frame in chain(1, genesis(&engine()), 7, &records) {
        send(&store, &[frame]);
    }
    let find = |filter: Filter| {
        let page = store
            .query(&Filter {
                limit: Some(1000),
                ..filter
            })
            .unwrap();
        let numbers: Vec<u64> = page
            .events
            .iter()
            .map(|event| match &event.body {
                Body::StatementFinished(finished) => finished.statement.number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "newest first");
        numbers.len()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(find(Filter::default()), 200);
    assert_eq!(
        find(Filter {
            identity: some("importer"),
            ..Filter::default()
        }),
        50
    );
    assert_eq!(
        find(Filter {
            identity: some("nobody"),
            ..Filter::default()
        }),
        0
    );
    assert_eq!(
        find(Filter {
            target: some("orders-db"),
            ..Filter::default()
        }),
        200
    );
    assert_eq!(
        find(Filter {
            table: some("public.customers"),
            ..Filter::default()
        }),
        200
    );
    assert_eq!(
        find(Filter {
            label: some("pii.ssn"),
            ..Filter::default()
        }),
        100
    );
    assert_eq!(
        find(Filter {
            label: some("pii.*"),
            ..Filter::default()
        }),
        100
    );
    assert_eq!(
        find(Filter {
            decision: some("deny"),
            ..Filter::default()
        }),
        20
    );
    assert_eq!(
        find(Filter {
            text: some("select 17 from CUST"),
            ..Filter::default()
        }),
        1
    );
    assert_eq!(
        find(Filter {
            text: some("drop"),
            ..Filter::default()
        }),
        0
    );
    assert_eq!(
        find(Filter {
            session: Some(SessionId::new(2)),
            ..Filter::default()
        }),
        50
    );
    assert_eq!(
        find(Filter {
            since: Some(Timestamp::from_micros(T0 + 50)),
            until: Some(Timestamp::from_micros(T0 + 60)),
            ..Filter::default()
        }),
        10
    );
    let both = Filter {
        decision: some("deny"),
        identity: some("reporter"),
        ..Filter::default()
    };
    assert_eq!(find(both), 10);
}

#[test]
fn pages_cover_everything_once() {
    let (_dir, store) = fresh();
    let a = session(1, "reporter");
    // Equal times: the identity of the event decides the order.
    let records: Vec<Record> = (0..103)
        .map(|n| Record {
            at: Timestamp::from_micros(T0 + n / 10),
            ..statement(n, &a, "x", Decision::Permit)
        })
        .collect();
    for frame in chain(1, genesis(&engine()), 9, &records) {
        send(&store, &[frame]);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = store
            .query(&Filter {
                limit: Some(10),
                cursor,
                ..Filter::default()
            })
            .unwrap();
        seen.extend(page.events.iter().map(|event| event.id.seq));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=103).rev().collect::<Vec<_>>());
    let bad = Filter {
        cursor: Some("x".into()),
        ..Filter::default()
    };
    assert!(matches!(store.query(&bad), Err(CollectorError::Cursor)));
}

#[test]
fn a_session_adds_up_over_batches_and_replays_in_order() {
    let (_dir, store) = fresh();
    let (a, b) = (session(1, "reporter"), session(2, "importer"));
    let mut records = vec![Record::session(
        Timestamp::from_micros(T0),
        Arc::clone(&a),
        ConnectionOpened::default(),
    )];
    for n in 1..50 {
        records.push(statement(
            n,
            if n % 5 == 0 { &b } else { &a },
            "x",
            Decision::Deny,
        ));
    }
    let closed = ConnectionClosed {
        reason: "client closed".into(),
        ..Default::default()
    };
    records.push(Record::session(
        Timestamp::from_micros(T0 + 60),
        Arc::clone(&a),
        closed,
    ));
    for frame in chain(1, genesis(&engine()), 4, &records) {
        send(&store, std::slice::from_ref(&frame));
        send(&store, &[frame]);
    }
    let page = store.sessions(&SessionFilter::default()).unwrap();
    assert_eq!(page.sessions.len(), 2);
    let filter = SessionFilter {
        identity: Some("reporter".into()),
        ..Default::default()
    };
    let found = store.sessions(&filter).unwrap().sessions.pop().unwrap();
    assert_eq!(
        (found.statements, found.rows, found.bytes, found.denials),
        (40, 120, 400, 40)
    );
    assert_eq!(found.outcome.as_deref(), Some("client closed"));
    assert_eq!(found.opened, Timestamp::from_micros(T0));
    let mut seqs = Vec::new();
    store
        .replay(a.id, None, &mut |event| {
            seqs.push(event.id.seq);
            true
        })
        .unwrap();
    assert_eq!(seqs.len(), 42);
    assert!(seqs.is_sorted());
    let missing = store.replay(SessionId::new(9), None, &mut |_| true);
    assert!(matches!(missing, Err(CollectorError::NoSession(_))));
}

/// A hundred kinds of events over three engines, in frames of different sizes.
fn mixture() -> (tempfile::TempDir, Collector) {
    let (dir, store) = fresh();
    for name in ["e1", "e2", "e3"] {
        let engine: EngineId = name.parse().unwrap();
        let tag = u64::from(name.as_bytes()[1]);
        let records: Vec<Record> = (0..900u64)
            .map(|n| {
                let mix = (n * 31 + tag * 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                let number = mix % 23;
                let session = session(tag * 100 + number, &format!("identity{}", number % 5));
                match mix % 11 {
                    0 => beat(n * 3),
                    1 => Record::session(
                        Timestamp::from_micros(T0 + n * 3),
                        session,
                        ConnectionOpened::default(),
                    ),
                    _ => {
                        let text = format!("SELECT {} FROM t{}", mix % 1000, mix % 17);
                        let decision = match mix % 13 {
                            0 => Decision::Deny,
                            1 => Decision::Hold,
                            _ => Decision::Permit,
                        };
                        statement(n * 3 + mix % 2, &session, &text, decision)
                    }
                }
            })
            .collect();
        let frames = chain(
            1,
            genesis(&engine),
            1 + usize::try_from(tag % 40).unwrap(),
            &records,
        );
        for frames in frames.chunks(5) {
            hand_in(&store, &engine, frames).unwrap();
        }
    }
    (dir, store)
}

#[test]
fn what_is_known_of_blocks_hides_nothing_and_adds_nothing() {
    let (dir, store) = mixture();
    let all = store
        .query(&Filter {
            limit: Some(10_000),
            ..Filter::default()
        })
        .unwrap()
        .events;
    assert!(all.len() >= 2700, "{}", all.len());
    let some = |text: &str| Some(text.to_owned());
    let mut filters = Vec::new();
    for identity in [None, some("identity3"), some("nobody")] {
        for decision in [None, some("deny"), some("hold")] {
            for text in [
                None,
                some("FROM t1"),
                some("select 42"),
                some("t1"),
                some("zz"),
            ] {
                for label in [None, some("pii.ssn"), some("pii.*")] {
                    for session in [None, Some(SessionId::new(u64::from(b'2') * 100 + 7))] {
                        filters.push(Filter {
                            identity: identity.clone(),
                            decision: decision.clone(),
                            text: text.clone(),
                            label: label.clone(),
                            session,
                            limit: Some(10_000),
                            ..Filter::default()
                        });
                    }
                }
            }
        }
    }
    let check = |store: &Collector| {
        for filter in &filters {
            let found = store.query(filter).unwrap().events;
            let kept: Vec<&Event> = all.iter().filter(|event| filter.keeps(event)).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), kept, "{filter:?}");
        }
    };
    check(&store);
    // A block that nothing is known of, or of which nonsense is, is read whole.
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    direct
        .execute_batch(
            "DELETE FROM block_index WHERE block % 3 = 0;
             UPDATE block_index SET facets = x'0102', texts = x'ff' WHERE block % 3 = 1;",
        )
        .unwrap();
    check(&store);
}

#[test]
fn a_store_that_knew_less_of_its_blocks_learns_it() {
    let (dir, store) = mixture();
    let filter = Filter {
        identity: Some("identity3".into()),
        text: Some("from t1".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    let before = store.query(&filter).unwrap().events;
    drop(store);
    let direct = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    direct.execute_batch(BEFORE_RECEIVED).unwrap();
    direct
        .execute_batch(
            "DROP TABLE block_index; DROP INDEX sessions_identity; PRAGMA user_version = 3;",
        )
        .unwrap();
    let store = Collector::open(dir.path(), CollectorConfig::default()).unwrap();
    let (blocks, known): (i64, i64) = direct
        .query_row(
            "SELECT (SELECT count(*) FROM blocks), (SELECT count(*) FROM block_index)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(blocks, known);
    assert!(!before.is_empty());
    assert_eq!(store.query(&filter).unwrap().events, before);
}

#[test]
fn a_statement_of_ten_megabytes_is_kept_and_found() {
    let (_dir, store) = fresh();
    let a = session(1, "reporter");
    let text = format!(
        "SELECT '{}needle-at-the-end'",
        "x\u{0}<script>\u{1b}[2J ".repeat(800_000)
    );
    assert!(text.len() > 10 << 20);
    let records = [
        statement(1, &a, &text, Decision::Permit),
        statement(2, &a, "SELECT 1", Decision::Permit),
    ];
    send(&store, &chain(1, genesis(&engine()), 2, &records));
    for (wanted, found) in [
        ("NEEDLE-at-the", 1),
        ("<script>\u{1b}[2j", 1),
        ("select 1", 1),
        ("elsewhere", 0),
    ] {
        let filter = Filter {
            text: Some(wanted.into()),
            ..Filter::default()
        };
        let events = store.query(&filter).unwrap().events;
        assert_eq!(events.len(), found, "{wanted:?}");
    }
    assert!(store.verify().unwrap().ok);
}

#[test]
fn a_page_has_so_many_bytes_at_most_and_the_next_goes_on() {
    let (_dir, store) = fresh();
    let a = session(1, "reporter");
    let long = "x".repeat(3 << 20);
    let records: Vec<Record> = (0..40)
        .map(|n| statement(n, &a, &format!("{long} {n}"), Decision::Permit))
        .collect();
    for frame in chain(1, genesis(&engine()), 1, &records) {
        send(&store, &[frame]);
    }
    let (mut filter, mut numbers) = (Filter::default(), Vec::new());
    loop {
        let page = store.query(&filter).unwrap();
        let bytes: usize = page.events.iter().map(Event::weight).sum();
        assert!((3 << 20..36 << 20).contains(&bytes), "{bytes}");
        for event in &page.events {
            if let Body::StatementFinished(finished) = &event.body {
                numbers.push(finished.statement.number);
            }
        }
        filter.cursor = page.next;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(numbers, (0..40).rev().collect::<Vec<_>>());
}
