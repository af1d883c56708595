//! Claims about what reviewers see and send.

use super::*;

const SCREEN: Screen = Screen {
    width: 100,
    colour: false,
};

fn request(decisions: Value) -> Value {
    json!({
        "metadata": {
            "namespace": "billing", "name": "weir-7k2qd", "resourceVersion": "41",
            "creationTimestamp": "2026-11-27T10:00:00Z",
        },
        "spec": {
            "requester": {"name": "spiffe://cluster.local/ns/billing/sa/reporter",
                          "namespace": "billing", "pod": "reporter-1"},
            "summary": ["reporter-1 (Deployment/reporter) reads public.orders of orders-db",
                        "10,000 rows delivered, about 50,000 expected",
                        "reporting/bulk: more than 10,000 rows"],
            "target": "orders-db", "policy": "reporting", "rule": "bulk",
            "statement": "SELECT *\nFROM orders WHERE id > $1", "parameters": ["7", null],
            "reason": "more than 10,000 rows",
            "deadline": "2026-11-27T10:15:00Z", "groups": ["data-stewards"], "count": 2,
        },
        "status": {"phase": "Pending", "decisions": decisions},
    })
}

fn yes(rows: Option<u64>) -> Decision {
    Decision {
        approve: true,
        rows,
        reason: None,
        minutes: None,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_card_shows_summary_age_deadline_and_approvals() {
    let request = request(json!([{"approver": "alice", "decision": "Approve", "at": "x"}]));
    let drawn = cards(&[request], at("2026-11-27T10:02:30Z"), SCREEN);
    let wanted = "\
billing/weir-7k2qd  waits 2m 30s, 12m 30s left
  summary    reporter-1 (Deployment/reporter) reads public.orders of orders-db
             10,000 rows delivered, about 50,000 expected
             reporting/bulk: more than 10,000 rows
  target     orders-db
  rule       reporting/bulk
  rows       none delivered yet
  statement  SELECT * ↵ FROM orders WHERE id > $1
  parameters '7', null
  approvals  1 of 2 (alice)
  decided by data-stewards
";
    assert_eq!(drawn, wanted);
}

#[test]
fn a_statement_is_shown_whole_however_long_it_is() {
    let drawn = |statement: String| {
        let mut request = request(json!([]));
        request["spec"]["statement"] = json!(statement);
        cards(&[request], at("2026-11-27T10:02:30Z"), SCREEN)
    };
    let padded = format!("{}; rm -rf /srv; {}", "x".repeat(5000), "y".repeat(5000));
    let card = drawn(padded.clone());
    let lines: Vec<&str> = card.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.chars().count() <= SCREEN.width),
        "{card}"
    );
    let first = lines
        .iter()
        .position(|line| line.starts_with("  statement"))
        .unwrap();
    let shown = lines.iter().skip(first).take(1 + padded.len() / 87);
    let shown: String = shown.map(|line| line.get(13..).unwrap()).collect();
    assert_eq!(shown, padded);
    let long = format!("{}; rm -rf /srv", "x".repeat(100_000));
    let card = drawn(long.clone());
    assert!(
        card.contains("… NOT ALL OF IT: 79,133 characters more, with --output json"),
        "{card}"
    );
    assert!(card.contains(&weir_api::digest(&long)), "{card}");
}

#[test]
fn a_decision_is_appended_and_bound_to_what_was_read() {
    let old = json!({"approver": "alice", "decision": "Approve", "at": "x"});
    let patch = patch(
        &request(json!([old])),
        &yes(Some(500)),
        at("2026-11-27T10:02:30Z"),
    );
    assert_eq!(patch["metadata"]["resourceVersion"], "41");
    assert_eq!(patch["status"]["decisions"][0], old);
    let mine = &patch["status"]["decisions"][1];
    assert_eq!(mine["decision"], "Approve");
    assert_eq!(mine["rows"], 500);
    assert!(mine.get("reason").is_none());
    assert!(patch["status"].get("conditions").is_none());
}

#[test]
fn what_is_still_missing_is_said() {
    let one = request(json!([{"approver": "alice", "decision": "Approve"}]));
    assert_eq!(
        said(&one, &yes(None)).unwrap(),
        "approved billing/weir-7k2qd as alice: 1 of 2 approvals, so it still waits for 1 person \
         of data-stewards\n"
    );
    let two = request(json!([
        {"approver": "alice", "decision": "Approve"},
        {"approver": "bob", "decision": "Approve"},
    ]));
    assert_eq!(
        said(&two, &yes(Some(500))).unwrap(),
        "approved billing/weir-7k2qd as bob: billing/reporter-1's statement goes on for 500 rows \
         more\n"
    );
}

#[test]
fn an_answer_without_a_stamp_is_no_decision() {
    let unstamped = request(json!([{"approver": "-", "decision": "Approve"}]));
    assert!(said(&unstamped, &yes(None)).is_err());
    assert!(said(&request(json!([])), &yes(None)).is_err());
}

#[test]
fn a_card_shows_what_is_touched_how_much_and_what_a_shape_would_free() {
    let mut request = request(json!([]));
    let facts = json!({
        "database": "orders", "login": "app", "effects": ["Read"], "tables": ["public.customers"],
        "labels": ["pii.ssn", "pii.email"],
        "columns": [{"label": "pii.ssn", "columns": ["public.customers.ssn"]}],
        "estimatedRows": 120_000, "deliveredRows": 10_000, "deliveredBytes": 2_048,
        "binding": "Shape", "maxMinutes": 30, "shape": "SELECT * FROM orders WHERE id > $1",
        "freeLiterals": ["$1 = '7'"], "session": "0000000000005", "number": 2, "users": ["olga"],
    });
    for (field, value) in facts.as_object().unwrap() {
        request["spec"][field] = value.clone();
    }
    request["status"]["repeats"] = json!(11);
    let drawn = cards(&[request], at("2026-11-27T10:02:30Z"), SCREEN);
    let wanted = "\
  target     orders-db (database orders) (as app)
  rule       reporting/bulk
  does       Read
  tables     public.customers
  labels     pii.ssn (public.customers.ssn), pii.email
  rows       10,000 delivered (2,048 bytes), about 120,000 expected
  statement  SELECT * ↵ FROM orders WHERE id > $1
  parameters '7', null
  shape      for at most 30m: SELECT * FROM orders WHERE id > $1
  free       $1 = '7'
  repeats    asked 11 times more
  approvals  0 of 2
  decided by data-stewards, olga
  session    0000000000005/2
";
    assert!(drawn.ends_with(wanted), "{drawn}");
    assert_eq!(
        cards(&[], Timestamp::default(), SCREEN),
        "no request waits\n"
    );
}

#[test]
fn an_approved_shape_says_for_how_long() {
    let decisions = json!([
        {"approver": "alice", "decision": "Approve", "binding": "Shape", "minutes": 30},
        {"approver": "bob", "decision": "Approve", "binding": "Shape", "minutes": 10},
    ]);
    let decision = Decision {
        minutes: Some(10),
        ..yes(None)
    };
    let patch = patch(&request(json!([])), &decision, at("2026-11-27T10:02:30Z"));
    let mine = &patch["status"]["decisions"][0];
    assert_eq!(
        (&mine["binding"], &mine["minutes"]),
        (&json!("Shape"), &json!(10))
    );
    assert_eq!(
        said(&request(decisions), &decision).unwrap(),
        "approved billing/weir-7k2qd as bob: billing/reporter-1's statements of this shape go on to \
         their end, for 10 minutes\n"
    );
}
