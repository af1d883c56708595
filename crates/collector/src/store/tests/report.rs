//! The report of a period: what it says, and that nobody changes a word of it unnoticed.

use weir_audit::{Finding, QuarantineChanged};

use super::*;
use crate::{LogKey, Report, ReportError, ReportFiles};

const HOUR: u64 = 3_600_000_000;

/// Who reads labelled data, is denied, is cut off; and what was found. One name is hostile.
fn told() -> (tempfile::TempDir, Collector) {
    let (dir, store) = fresh();
    let who = session(1, "<script>alert(1)</script>");
    let at = |hours: u64| Timestamp::from_micros(T0 + hours * HOUR);
    let records = [
        statement(2, &who, "select ssn from customers", Decision::Permit),
        statement(3, &who, "drop table customers", Decision::Deny),
        Record::engine(
            at(1),
            QuarantineChanged {
                name: "leak".into(),
                subject: "ns/shop/sa/default".into(),
                reason: "leaked".into(),
                by: "alice".into(),
                on: true,
            },
        ),
        Record::engine(
            at(2),
            Finding {
                code: FindingCode::RepeatedDenials,
                message: "denied ten times".into(),
                subject: None,
                engine: None,
            },
        ),
        // Outside of the period.
        Record::engine(
            at(90),
            Finding {
                code: FindingCode::ClockSkew,
                message: "too late".into(),
                subject: None,
                engine: None,
            },
        ),
    ];
    send(&store, &chain(1, genesis(&engine()), 2, &records));
    (dir, store)
}

fn files(store: &Collector) -> ReportFiles {
    let until = Timestamp::from_micros(T0 + 48 * HOUR);
    store
        .report_of(Timestamp::from_micros(T0), until, "amy")
        .unwrap()
}

#[test]
fn a_report_says_what_happened_in_its_period_and_that_the_record_verifies() {
    let (_dir, store) = told();
    let files = files(&store);
    let report: Report = serde_json::from_str(&files.json).unwrap();
    assert!(report.verified, "{:?}", report.problems);
    assert_eq!((report.reader.as_str(), report.size), ("amy", 1));
    let list = |title: &str| {
        let mut lists = report.lists.iter();
        lists.find(|list| list.title.starts_with(title)).unwrap()
    };
    let readers = list("Who read labelled data");
    assert!(
        readers.rows[0].contains(&"pii.ssn".to_owned()),
        "{readers:?}"
    );
    assert_eq!(list("What was denied").rows.len(), 1);
    let at = Timestamp::from_micros(T0 + HOUR).to_string();
    assert_eq!(
        list("Who was cut off").rows,
        [[
            "leak",
            "pod",
            "ns/shop/sa/default",
            "e1",
            &at,
            "alice",
            "leaked",
            "",
            "",
            ""
        ]]
    );
    let found: Vec<_> = list("What was found")
        .rows
        .iter()
        .map(|row| &row[1..])
        .collect();
    assert_eq!(found, [["repeated_denials", "e1", "denied ten times"]]);
    // The page runs nothing, whatever names people give themselves.
    assert!(files.html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!files.html.contains("<script"), "{}", files.html);
}

#[test]
fn a_report_is_signed_and_nothing_in_it_can_be_changed() {
    let (_dir, store) = told();
    let key = store.log_key().public().clone();
    let good = files(&store);
    let sealed = good.verify(&key).unwrap();
    assert_eq!((sealed.size, &sealed.origin), (1, &key.name));
    let with = |change: fn(&mut ReportFiles)| {
        let mut files = good.clone();
        change(&mut files);
        files.verify(&key).unwrap_err()
    };
    let altered = ReportError::Altered;
    assert_eq!(
        with(|files| files.json = files.json.replace("amy", "eve")),
        altered("report.json")
    );
    assert_eq!(with(|files| files.html.push(' ')), altered("report.html"));
    assert_eq!(
        with(|files| files.checkpoint = files.checkpoint.replacen("\n1\n", "\n2\n", 1)),
        altered("checkpoint")
    );
    assert_eq!(
        with(|files| files.note = files.note.replacen("\n1 ", "\n2 ", 1)),
        ReportError::Signature
    );
    // What the key signs otherwise is no report.
    assert_eq!(
        with(|files| files.note.clone_from(&files.checkpoint)),
        ReportError::Form
    );
    // Another log's key, by another name and by the same.
    let other = tempfile::tempdir().unwrap();
    for name in ["weir.dev/log/other", &key.name] {
        let other = LogKey::load_or_create(&other.path().join(name.replace('/', "_")), name);
        assert_eq!(
            good.verify(other.unwrap().public()),
            Err(ReportError::Signature)
        );
    }
}

#[test]
fn a_report_of_a_record_that_does_not_verify_says_so() {
    let (dir, store) = told();
    rusqlite::Connection::open(dir.path().join("evidence.db"))
        .unwrap()
        .execute("DELETE FROM blocks", [])
        .unwrap();
    let files = files(&store);
    let report: Report = serde_json::from_str(&files.json).unwrap();
    assert!(!report.verified);
    assert!(files.html.contains("did NOT verify"));
    assert!(files.verify(store.log_key().public()).is_ok());
}

#[test]
fn a_list_that_was_cut_says_so_on_the_page_and_in_the_sums() {
    let (_dir, store) = fresh();
    let records: Vec<Record> = (0..601)
        .map(|n| {
            let who = session(n, &format!("team-{n}"));
            let rule = format!("policy-{n}/rule");
            let mut record = statement(n, &who, "drop table customers", Decision::Deny);
            if let Body::StatementFinished(finished) = &mut record.body {
                finished.statement.rules = [rule.as_str()].into_iter().collect();
            }
            record
        })
        .collect();
    send(&store, &chain(1, genesis(&engine()), 100, &records));
    let day = (
        Timestamp::from_micros(T0),
        Timestamp::from_micros(T0 + 48 * HOUR),
    );
    let overview = store.overview(day.0, day.1, None).unwrap();
    assert_eq!((overview.traffic.len(), overview.more_traffic), (200, true));
    assert_eq!(
        (overview.policies.len(), overview.more_policies),
        (200, true)
    );
    let all = store.overview_of(day, None, 601).unwrap();
    assert_eq!((all.traffic.len(), all.more_traffic), (601, false));
    assert_eq!((all.policies.len(), all.more_policies), (601, false));
    // A report has more than people look at, and its page says what it leaves out.
    let files = files(&store);
    let report: Report = serde_json::from_str(&files.json).unwrap();
    assert_eq!(report.overview.traffic.len(), 601);
    assert!(!report.overview.more_traffic);
    assert!(files.html.contains("101 rows more in report.json."));
    let fewer = Report {
        overview: overview.clone(),
        ..report
    };
    let page = crate::ui::report_page(&fewer).unwrap();
    assert!(page.contains("There is more; the evidence has all of it."));
}

#[test]
fn a_report_is_of_its_evidence() {
    let (_dir, store) = told();
    let sealed = files(&store).verify(store.log_key().public()).unwrap();
    assert_eq!((sealed.first, sealed.end), (0, 1));
    let made = |since, until| {
        let period = crate::Selection {
            since: Some(since),
            until: Some(until),
            ..crate::Selection::default()
        };
        store.export(&period, Vec::new()).unwrap()
    };
    let good = made(sealed.since, sealed.until);
    assert_eq!(sealed.lacks(&good), None);
    let lacks = |change: fn(&mut crate::Manifest)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        sealed.lacks(&bundle).unwrap()
    };
    assert!(lacks(|bundle| bundle.first = 1).contains("entries 0 to 0"));
    assert!(lacks(|bundle| bundle.end = 0).contains("entries 0 to 0"));
    assert!(lacks(|bundle| bundle.since = None).contains("period"));
    assert!(lacks(|bundle| bundle.until = bundle.since).contains("period"));
    assert!(lacks(|bundle| bundle.origin.push('x')).contains("log"));
    let earlier = made(Timestamp::from_micros(1), Timestamp::from_micros(2));
    assert!(sealed.lacks(&earlier).unwrap().contains("period"));
    // A report made later, of a period in which there is nothing, asks for nothing.
    let nothing = store
        .report_of(Timestamp::from_micros(1), Timestamp::from_micros(2), "amy")
        .unwrap();
    let sealed = nothing.verify(store.log_key().public()).unwrap();
    assert_eq!((sealed.first, sealed.end), (1, 1));
    assert_eq!(sealed.lacks(&earlier), None);
}
