//! Sums and questions.

use weir_audit::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, Closing, EvidenceRead,
    Finding, PolicyChanged, Ruling,
};

use super::*;
use crate::{About, Question};

const DAY: u64 = 24 * 3600 * 1_000_000;
/// 2023-11-15, the day after `T0`'s.
const NEXT: u64 = (T0 / DAY + 1) * DAY;

fn of(number: u64, namespace: &str, identity: &str, target: &str) -> Arc<Session> {
    let identity = Identity {
        namespace: Some(namespace.into()),
        ..Identity::named(identity)
    };
    Arc::new(Session {
        id: SessionId::new(number),
        identity: Arc::new(identity),
        target: Some(target.into()),
        ..Session::default()
    })
}

fn ran(at: u64, session: &Arc<Session>, change: impl FnOnce(&mut StatementFinished)) -> Record {
    let mut finished = StatementFinished {
        rows: 10,
        bytes: 100,
        ..Default::default()
    };
    change(&mut finished);
    Record::session(Timestamp::from_micros(at), Arc::clone(session), finished)
}

fn names(names: &[&str]) -> Names {
    names.iter().copied().collect()
}

/// Two namespaces over two days: reads of labelled data, a denial, a mask, a hold with its rulings,
/// a finding and a change of policy.
fn story() -> Vec<Record> {
    let (a, b) = (
        of(1, "billing", "billing/reporter", "orders-db"),
        of(2, "shop", "shop/web", "shop-db"),
    );
    let at = |micros: u64| Timestamp::from_micros(micros);
    let mut records = Vec::new();
    for n in 0..6 {
        let day = if n < 4 { T0 } else { NEXT };
        records.push(ran(day + n, &a, |f| {
            f.statement.tables = names(&["public.customers"]);
            f.statement.labels = names(&["pii.ssn", "pii.email"]);
            f.statement.rules = names(&["pii/hide"]);
            f.statement.revision = 3;
            if n % 2 == 0 {
                f.masked = names(&["ssn"]);
            }
        }));
    }
    records.push(ran(NEXT + 10, &b, |f| {
        (f.rows, f.bytes) = (0, 0);
        f.statement.decision = Decision::Deny;
        f.statement.rules = names(&["shop/no-ddl"]);
        f.statement.revision = 4;
    }));
    records.push(ran(NEXT + 11, &b, |f| {
        f.statement.tables = names(&["public.carts"]);
        f.statement.would_deny = names(&["shop/later"]);
    }));
    let request = |name: &str, statement: &str| AccessRequestCreated {
        name: name.into(),
        statement: statement.into(),
        rules: names(&["pii/ask"]),
        labels: names(&["pii.ssn"]),
        ..Default::default()
    };
    let long = format!("SELECT '{}'", "ü".repeat(1000));
    records.push(Record::session(
        at(NEXT + 20),
        Arc::clone(&a),
        request("weir-1", &long),
    ));
    records.push(Record::session(
        at(NEXT + 21),
        Arc::clone(&b),
        request("weir-2", "SELECT 2"),
    ));
    let decided = |name: &str, approver: &str, ruling| AccessRequestDecided {
        name: name.into(),
        approver: approver.into(),
        ruling,
        approvals: 1,
        needed: 1,
        binding: Default::default(),
        minutes: None,
        via: None,
        comment: Some("monthly report".into()),
    };
    let approve = decided("weir-1", "alice", Ruling::Approve { rows: Some(50) });
    records.push(Record::session(at(NEXT + 30), Arc::clone(&a), approve));
    let deny = Ruling::Deny {
        reason: "=ask somebody".into(),
    };
    let deny = decided("weir-2", "bob", deny);
    records.push(Record::session(at(NEXT + 31), Arc::clone(&b), deny));
    for (name, session, closing, held_ms) in [
        ("weir-1", &a, Closing::Approved, 4000),
        ("weir-2", &b, Closing::Denied, 9000),
    ] {
        let closed = AccessRequestClosed {
            name: name.into(),
            closing,
            held_ms,
        };
        records.push(Record::session(at(NEXT + 40), Arc::clone(session), closed));
    }
    let finding = Finding {
        code: FindingCode::UnmatchedRelayed,
        message: "somewhere".into(),
        subject: None,
        engine: None,
    };
    records.push(Record::session(at(NEXT + 50), b, finding));
    let changed = PolicyChanged {
        revision: 4,
        digest: "d4".into(),
        refused: None,
    };
    records.push(Record::engine(at(NEXT + 60), changed));
    records
}

fn told() -> (tempfile::TempDir, Collector) {
    let (dir, store) = fresh();
    let frames = chain(1, genesis(&engine()), 4, &story());
    send(&store, &frames);
    // Again, and in pieces: it counts once.
    send(&store, &frames);
    send(&store, &frames[1..2]);
    (dir, store)
}

fn overview(store: &Collector, namespace: Option<&str>) -> Overview {
    let (from, to) = (Timestamp::from_micros(T0), Timestamp::from_micros(NEXT + 1));
    store.overview(from, to, namespace).unwrap()
}

fn ask(store: &Collector, about: About, change: impl FnOnce(&mut Question)) -> Vec<Vec<String>> {
    let mut question = Question::new(about);
    change(&mut question);
    let answer = store.ask(&question).unwrap();
    for row in &answer.rows {
        assert_eq!(row.len(), answer.columns.len(), "{answer:?}");
    }
    answer.rows
}

#[test]
fn the_overview_adds_up_what_happened_once() {
    let (_dir, store) = told();
    let seen = overview(&store, None);
    let traffic: Vec<_> = seen
        .traffic
        .iter()
        .map(|t| {
            (
                &*t.identity,
                &*t.target,
                t.statements,
                t.rows,
                t.bytes,
                t.denials,
                t.holds,
            )
        })
        .collect();
    assert_eq!(
        traffic,
        [
            ("billing/reporter", "orders-db", 6, 60, 600, 0, 1),
            ("shop/web", "shop-db", 2, 10, 100, 1, 1)
        ]
    );
    let days: Vec<_> = seen
        .days
        .iter()
        .map(|d| {
            (
                &*d.day,
                d.statements,
                d.rows,
                d.denials,
                d.holds,
                d.findings,
            )
        })
        .collect();
    assert_eq!(
        days,
        [
            ("2023-11-14", 4, 40, 0, 0, 0),
            ("2023-11-15", 4, 30, 1, 2, 1)
        ]
    );
    let labelled: Vec<_> = seen
        .labelled
        .iter()
        .map(|l| (&*l.day, &*l.label, l.rows, l.masked))
        .collect();
    assert_eq!(
        labelled,
        [
            ("2023-11-14", "pii.email", 40, 20),
            ("2023-11-14", "pii.ssn", 40, 20),
            ("2023-11-15", "pii.email", 20, 10),
            ("2023-11-15", "pii.ssn", 20, 10)
        ]
    );
    let holds = HoldTotals {
        raised: 2,
        approved: 1,
        denied: 1,
        median_wait_ms: Some(4000),
        ..HoldTotals::default()
    };
    assert_eq!(seen.holds, holds);
    assert_eq!(seen.findings.len(), 1);
    assert_eq!(
        (&*seen.findings[0].code, seen.findings[0].count),
        ("unmatched_relayed", 1)
    );
    let policies: Vec<_> = seen
        .policies
        .iter()
        .map(|p| {
            (
                &*p.policy,
                &*p.rule,
                p.denied,
                p.held,
                p.masked,
                p.would_deny,
            )
        })
        .collect();
    assert_eq!(
        policies,
        [
            ("pii", "hide", 0, 0, 3, 0),
            ("shop", "later", 0, 0, 0, 1),
            ("shop", "no-ddl", 1, 0, 0, 0)
        ]
    );
}

#[test]
fn an_overview_of_a_namespace_is_of_that_one_only() {
    let (_dir, store) = told();
    let seen = overview(&store, Some("shop"));
    assert_eq!(seen.traffic.len(), 1);
    assert_eq!(
        (&*seen.traffic[0].identity, seen.holds.raised),
        ("shop/web", 1)
    );
    assert_eq!((seen.labelled.len(), seen.findings.len()), (0, 1));
    assert!(seen.policies.iter().all(|policy| policy.policy == "shop"));
    assert_eq!(overview(&store, Some("nobody")), Overview::default());
    let other = overview(&store, Some("billing"));
    assert_eq!((other.findings.len(), other.holds.denied), (0, 0));
}

#[test]
fn days_are_whole() {
    let (_dir, store) = told();
    let at = Timestamp::from_micros;
    let late = store.overview(at(NEXT - 1), at(NEXT), None).unwrap();
    assert_eq!(late.days.len(), 1);
    assert_eq!(
        (&*late.days[0].day, late.days[0].statements),
        ("2023-11-14", 4)
    );
    let next = store.overview(at(NEXT), at(NEXT + 1), None).unwrap();
    assert_eq!(next.days[0].day, "2023-11-15");
}

#[test]
fn each_question_has_its_answer() {
    let (_dir, store) = told();
    let read = ask(&store, About::WhoReadLabel, |q| {
        q.label = Some("pii.ssn".into())
    });
    assert_eq!(
        read,
        [[
            "billing/reporter",
            "billing",
            "orders-db",
            "pii.ssn",
            "6",
            "60",
            "30",
            "2023-11-15T00:00:00.000005Z"
        ]]
    );
    let all = ask(&store, About::WhoReadLabel, |q| {
        q.label = Some("pii.*".into())
    });
    assert_eq!(all.len(), 2);
    let nobody = ask(&store, About::WhoReadLabel, |q| {
        (q.label, q.namespace) = (Some("pii.*".into()), Some("shop".into()));
    });
    assert!(nobody.is_empty());
    let touched = ask(&store, About::WhatDidIdentityTouch, |q| {
        q.identity = Some("shop/web".into());
    });
    let tables: Vec<_> = touched.iter().map(|row| (&*row[3], &*row[4])).collect();
    assert_eq!(tables, [("public.carts", "1"), ("", "1")]);
    let blocked = ask(&store, About::WhatWasBlocked, |_| ());
    let what: Vec<_> = blocked.iter().map(|row| row[3..9].join(" ")).collect();
    assert_eq!(what, ["shop later 0 0 0 1", "shop no-ddl 4 1 0 0"]);
    let masked = ask(&store, About::WhatWasMasked, |_| ());
    assert_eq!(masked[0][3..7].join(" "), "pii hide 3 3");
    let holds = ask(&store, About::HoldsByApprover, |q| {
        q.approver = Some("alice".into())
    });
    assert_eq!(holds.len(), 1);
    assert_eq!(
        (&*holds[0][1], &*holds[0][8], &*holds[0][12], &*holds[0][13]),
        ("weir-1", "alice", "approved", "4000")
    );
    assert!(
        holds[0][5].ends_with("… (609 more characters)"),
        "{}",
        holds[0][5]
    );
    assert_eq!(holds[0][11], "monthly report");
    assert_eq!(holds[0][14], SessionId::new(1).to_string());
    assert_eq!(ask(&store, About::HoldsByApprover, |_| ()).len(), 2);
    let changes = ask(&store, About::PolicyChanges, |_| ());
    assert_eq!(changes[0][2..].join(" "), "4 d4 1 ");
    let read = EvidenceRead {
        reader: "carol".into(),
        path: "/v1/events".into(),
        query: "label=pii.ssn".into(),
        ..Default::default()
    };
    store.read_by(read).unwrap();
    assert_eq!(ask(&store, About::WhoReadEvidence, |_| ()).len(), 1);
    let by = |reader: &str| {
        ask(&store, About::WhoReadEvidence, |q| {
            q.identity = Some(reader.into())
        })
        .len()
    };
    assert_eq!((by("carol"), by("dave")), (1, 0));
}

#[test]
fn an_answer_says_when_there_is_more() {
    let (_dir, store) = told();
    let mut question = Question::new(About::HoldsByApprover);
    for (limit, more) in [(1, true), (2, false)] {
        question.limit = Some(limit);
        let answer = store.ask(&question).unwrap();
        assert_eq!((answer.rows.len(), answer.more), (limit, more));
    }
}

#[test]
fn decisions_are_found_by_approver() {
    let (_dir, store) = told();
    let found = |approver: &str| {
        let filter = Filter {
            approver: Some(approver.into()),
            ..Filter::default()
        };
        store.query(&filter).unwrap().events.len()
    };
    assert_eq!((found("alice"), found("bob"), found("ali")), (1, 1, 0));
}

#[test]
fn claimed_numbers_and_clocks_do_not_break_sums() {
    let (_dir, store) = fresh();
    let session = of(1, "n", "n/a", "t");
    let now = Timestamp::from(SystemTime::now());
    let ahead = now.plus(Duration::from_secs(400 * 24 * 3600)).as_micros();
    let records: Vec<Record> = (0..40)
        .map(|n| {
            ran(if n % 2 == 0 { ahead } else { 5 }, &session, |f| {
                (f.rows, f.bytes) = (u64::MAX, u64::MAX);
                f.statement.labels = names(&["pii"]);
                f.statement.revision = u64::MAX;
                f.statement.would_deny = names(&["p/r"]);
            })
        })
        .collect();
    for frame in chain(1, genesis(&engine()), 1, &records) {
        send(&store, &[frame]);
    }
    let far = Timestamp::from_micros(u64::MAX);
    let seen = store.overview(Timestamp::default(), far, None).unwrap();
    assert_eq!((seen.days.len(), seen.traffic[0].statements), (2, 40));
    assert!(seen.traffic[0].rows > 1 << 61);
    assert!(seen.days[1].day < now.plus(Duration::from_secs(2 * 24 * 3600)).to_string());
    assert_eq!(
        ask(&store, About::WhatWasBlocked, |_| ())[0][5],
        u64::MAX.to_string()
    );
}

#[test]
fn an_older_store_gets_its_sums_from_its_evidence() {
    let (dir, store) = told();
    let (before, holds) = (
        overview(&store, None),
        ask(&store, About::HoldsByApprover, |_| ()),
    );
    drop(store);
    let old = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    old.execute_batch(BEFORE_SUMS).unwrap();
    drop(old);
    let again = Collector::open(dir.path(), CollectorConfig::default()).unwrap();
    assert_eq!(overview(&again, None), before);
    assert_eq!(ask(&again, About::HoldsByApprover, |_| ()), holds);
    let filter = Filter {
        approver: Some("alice".into()),
        ..Filter::default()
    };
    assert_eq!(again.query(&filter).unwrap().events.len(), 1);
}

#[test]
fn sums_go_by_age_with_the_evidence() {
    let (_dir, store) = told();
    let config = CollectorConfig {
        max_age: Some(Duration::from_secs(1)),
        ..CollectorConfig::default()
    };
    let now = Timestamp::from(SystemTime::now());
    store
        .writer()
        .maintain(&config, at(now.plus(Duration::from_micros(2 * DAY))))
        .unwrap();
    let left = overview(&store, None);
    assert_eq!(
        (left.traffic.len(), left.holds.raised, left.policies.len()),
        (0, 0, 0)
    );
    assert!(ask(&store, About::HoldsByApprover, |_| ()).is_empty());
}

#[test]
fn every_order_to_cut_somebody_off_is_told_with_the_pods_that_it_hit() {
    let (_dir, store) = fresh();
    let at = |n: u64| Timestamp::from_micros(T0 + n);
    let changed = |n, name: &str, subject: &str, by: &str, reason: &str, on| {
        let changed = weir_audit::QuarantineChanged {
            name: name.into(),
            subject: subject.into(),
            reason: reason.into(),
            by: by.into(),
            on,
        };
        Record::engine(at(n), changed)
    };
    let order = weir_audit::QuarantineChanged::order("of namespace shop");
    let hand_in_as = |engine: &str, records: &[Record]| {
        let engine: EngineId = engine.parse().unwrap();
        let frames = chain(1, genesis(&engine), 100, records);
        hand_in(&store, &engine, &frames).unwrap();
    };
    // Two replicas of the controller say the same; nobody of `idle` ever ran.
    let leak = |n| changed(n, "leak", &order, "jane", "leaked", true);
    let idle = changed(9, "idle", &order, "joe", "gone", true);
    let lifted = changed(30, "leak", &order, "amy", "rotated", false);
    hand_in_as("pod_c1", &[leak(1), idle]);
    hand_in_as("pod_c2", &[leak(20), lifted]);
    let hit = |n, on| {
        let (by, why) = if on {
            ("jane", "leaked")
        } else {
            ("amy", "rotated")
        };
        changed(n, "leak", "ns/shop/sa/a", by, why, on)
    };
    hand_in_as("pod_1", &[hit(2, true), hit(31, false)]);
    hand_in_as("pod_2", &[hit(3, true)]);
    let rows = ask(&store, About::WhoWasCutOff, |_| ());
    let time = |n| at(n).to_string();
    let (jane, amy) = (["jane", "leaked"], ["amy", "rotated"]);
    let row = |who: [&str; 4], from: u64, by: [&str; 2], until: Option<(u64, [&str; 2])>| {
        let mut row: Vec<String> = who.map(str::to_owned).to_vec();
        row.push(time(from));
        row.extend(by.map(str::to_owned));
        match until {
            Some((until, by)) => {
                row.push(time(until));
                row.extend(by.map(str::to_owned));
            }
            None => row.extend(["", "", ""].map(str::to_owned)),
        }
        row
    };
    let pod = "ns/shop/sa/a";
    assert_eq!(
        rows,
        [
            row(
                ["leak", "order", &order, "pod_c1"],
                1,
                jane,
                Some((30, amy))
            ),
            row(["leak", "pod", pod, "pod_1"], 2, jane, Some((31, amy))),
            row(["leak", "pod", pod, "pod_2"], 3, jane, None),
            row(
                ["idle", "order", &order, "pod_c1"],
                9,
                ["joe", "gone"],
                None
            ),
        ]
    );
}
