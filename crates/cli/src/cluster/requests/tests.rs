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
  statement  SELECT * FROM orders WHERE id > $1
  parameters '7', null
  approvals  1 of 2 (alice)
  decided by data-stewards
";
    assert_eq!(drawn, wanted);
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
