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
