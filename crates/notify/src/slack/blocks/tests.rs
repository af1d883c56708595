use serde_json::json;
use weir_api::kinds::{AccessRequestSpec, ApproverDecision};

use super::*;
use crate::message::Hold;

fn spec(statement: &str) -> AccessRequestSpec {
    serde_json::from_value(json!({
        "requester": {"name": "spiffe://c/ns/billing/sa/reporter", "namespace": "billing",
            "serviceAccount": "reporter", "pod": "reports-1"},
        "summary": ["who <!channel> and what", "how much", "why"], "target": "orders",
        "policy": "reporting", "rule": "bulk", "statement": statement, "reason": "more than 10 rows",
        "deadline": "2126-11-27T12:00:00Z", "groups": ["stewards"], "count": 2,
        "deliveredRows": 10_000, "labels": ["pii.<ssn>"],
    }))
    .unwrap()
}

fn message(statement: &str, event: Event) -> Message {
    let spec = spec(statement);
    let hold = Hold {
        name: "weir-x",
        namespace: Some("billing"),
        uid: "1-2",
        spec: &spec,
    };
    Message::of_hold("hold_1-2_created", "2026-11-27T11:00:00Z", &hold, event)
}

fn links() -> Links {
    Links {
        ui: Some("https://weir.example".to_owned()),
    }
}

/// Every text of some blocks, with Slack's limit on it.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("text").and_then(Value::as_str) {
                found.push(text.to_owned());
            }
            fields.values().for_each(|one| texts(one, found));
        }
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        _ => {}
    }
}

fn statement_of(parts: &[Part]) -> String {
    let blocks = parts.iter().flat_map(|part| &part.blocks);
    let pre = blocks.filter_map(|block| block.pointer("/elements/0/elements/0/text")?.as_str());
    pre.collect()
}

fn buttons(part: &Part) -> Vec<String> {
    let actions = part.blocks.iter().find(|block| block["type"] == "actions");
    let elements = actions.and_then(|block| block["elements"].as_array());
    let ids = elements
        .into_iter()
        .flatten()
        .map(|one| one["action_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn a_request_has_its_summary_its_facts_its_statement_and_buttons() {
    let parts = parts(
        &message("select *\nfrom customers", Event::Created),
        &links(),
        true,
    );
    let [part] = parts.as_slice() else {
        panic!("one part: {parts:?}")
    };
    assert_eq!(part.text, "Approval needed: billing/reporter on orders");
    assert_eq!(statement_of(&parts), "select *\nfrom customers");
    assert_eq!(buttons(part), ["weir_approve", "weir_deny", "weir_open"]);
    let mut all = Vec::new();
    part.blocks.iter().for_each(|block| texts(block, &mut all));
    for wanted in [
        "who <!channel> and what\nhow much\nwhy",
        "*Labels*\npii.&lt;ssn&gt;",
        "*So far and expected*\n10,000 rows delivered",
        "*Approvers*\n2 people of stewards",
        "*Pod*\nbilling/reports-1",
        "kubectl weir approve weir-x -n billing or kubectl weir deny weir-x -n billing --reason REASON",
    ] {
        assert!(all.iter().any(|text| text == wanted), "{wanted}: {all:#?}");
    }
    let actions = part
        .blocks
        .iter()
        .find(|block| block["type"] == "actions")
        .unwrap();
    let value = actions["elements"][0]["value"].as_str().unwrap();
    assert_eq!(
        value,
        r#"{"namespace":"billing","name":"weir-x","uid":"1-2"}"#
    );
    assert_eq!(
        actions["elements"][2]["url"],
        "https://weir.example/ui/holds/billing/weir-x"
    );
}

#[test]
fn a_long_statement_goes_on_and_is_all_there() {
    let statement: String = (0..3000).map(|n| format!("select {n} -- ä😀\n")).collect();
    let message = message(&statement, Event::Created);
    let parts = parts(&message, &links(), true);
    assert!(parts.len() > 3, "{}", parts.len());
    assert_eq!(statement_of(&parts), statement);
    for (at, part) in parts.iter().enumerate() {
        assert!(part.blocks.len() <= 50);
        let mut all = Vec::new();
        part.blocks.iter().for_each(|block| texts(block, &mut all));
        assert!(all.iter().all(|text| text.encode_utf16().count() <= 3000));
        let total: usize = all.iter().map(|text| text.encode_utf16().count()).sum();
        assert!(total <= 13_200, "{total}");
        let which = format!("part {} of {}", at + 1, parts.len());
        assert!(all.iter().any(|text| text.contains(&which)), "{which}");
    }
    assert_eq!(
        buttons(&parts[0]),
        ["weir_approve", "weir_deny", "weir_open"]
    );
    assert!(parts[1..].iter().all(|part| buttons(part).is_empty()));
}

#[test]
fn nobody_approves_by_a_button_what_is_not_shown() {
    let statement = "x".repeat(BLOCK * BLOCKS * PARTS + 1234);
    let parts = parts(&message(&statement, Event::Created), &links(), true);
    assert_eq!(parts.len(), PARTS);
    assert_eq!(buttons(&parts[0]), ["weir_deny", "weir_open"]);
    let mut all = Vec::new();
    parts[0]
        .blocks
        .iter()
        .for_each(|block| texts(block, &mut all));
    assert!(
        all.iter()
            .any(|text| text.starts_with("1,234 characters of it are in no message"))
    );
}

#[test]
fn without_a_secret_there_is_nothing_to_press() {
    let parts = parts(
        &message("select 1", Event::Created),
        &Links::default(),
        false,
    );
    assert!(buttons(&parts[0]).is_empty());
}

#[test]
fn what_a_statement_hides_is_seen_and_its_markup_is_text() {
    let parts = parts(
        &message("a ```<@U1>\u{202e}\u{0}", Event::Created),
        &links(),
        true,
    );
    assert_eq!(statement_of(&parts), "a ```<@U1>\\u{202e}\\u{0}");
    assert!(parts[0].blocks.iter().all(|block| {
        block["type"] != "section"
            || block["text"].is_null()
            || block["text"]["type"] == "plain_text"
    }));
}

#[test]
fn the_end_takes_the_buttons_and_says_who_decided() {
    let decision: ApproverDecision = serde_json::from_value(json!({"approver": "jane@example",
        "decision": "Deny", "at": "2026-11-27T11:30:00Z", "reason": "not today"}))
    .unwrap();
    let event = Event::Closed {
        phase: AccessRequestPhase::Denied,
        decisions: vec![decision],
    };
    let message = message("select 1", event);
    let told = parts(&message, &links(), true);
    let said =
        "Denied: billing/reporter on orders\nIt was refused.\nDenied by jane@example: not today";
    assert_eq!(told[0].blocks[0]["text"]["text"], said);
    let over = over(&message, &links()).unwrap();
    assert_eq!(buttons(&over), ["weir_open"]);
    assert_eq!(
        over.blocks[0]["text"]["text"],
        "Denied: billing/reporter on orders"
    );
    assert_eq!(statement_of(&[over]), "select 1");
}

#[test]
fn a_decision_in_slack_changes_the_message_that_was_pressed() {
    let first = parts(&message("select 1", Event::Created), &links(), true).remove(0);
    let count = first.blocks.len();
    let after = decided(
        first.blocks.clone(),
        AccessRequestPhase::Approved,
        "Approved by jane",
    );
    assert_eq!(after.len(), count);
    assert!(after.iter().all(|block| block["type"] != "actions"));
    assert_eq!(after.last().unwrap()["text"]["text"], "Approved by jane");
    let waits = decided(
        first.blocks,
        AccessRequestPhase::Pending,
        "Approved by jane: 1 of 2 approvals",
    );
    assert_eq!(waits.len(), count + 1);
    assert!(waits.iter().any(|block| block["type"] == "actions"));
}
