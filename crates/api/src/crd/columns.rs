//! What `kubectl get` shows.

use serde_json::{Value, json};

/// The columns of a kind; those with a priority only with `-o wide`.
pub(super) fn of(kind: &str) -> Vec<Value> {
    let mut columns = match kind {
        "Target" => vec![
            column("Protocol", ".spec.protocol", "What it speaks"),
            column("Login", ".spec.credentials.mode", "Who logs in"),
        ],
        "ClusterGuardPolicy" => vec![
            column("Mode", ".spec.mode", "Whether the rules bind"),
            wide("Default", ".spec.default", "What no rule names"),
            wide(
                "Delivery",
                ".spec.audit.delivery",
                "How surely it is recorded",
            ),
        ],
        "GuardPolicy" => vec![
            column("Mode", ".spec.mode", "Whether the rules bind"),
            wide(
                "Delivery",
                ".spec.audit.delivery",
                "How surely it is recorded",
            ),
        ],
        "AccessRequest" => {
            return vec![
                column("Who", ".spec.requester.name", "Who asks"),
                column("What", ".spec.summary[0]", "What is asked for"),
                column("Target", ".spec.target", "The Target"),
                column("State", ".status.phase", "Where the request stands"),
                column("Deadline", ".spec.deadline", "Until when it waits"),
                wide("Policy", ".spec.policy", "The policy that holds it"),
                wide("Rule", ".spec.rule", "The rule that holds it"),
                age(),
            ];
        }
        "PolicyException" => vec![
            column("Owner", ".spec.owner", "Who answers for it"),
            column("Expires", ".spec.expires", "When it ends"),
        ],
        "Quarantine" => vec![
            column("By", ".spec.by", "Who ordered it"),
            column("Why", ".spec.reason", "Why"),
            column("Lifted by", ".spec.lifted.by", "Who let them in again"),
        ],
        _ => Vec::new(),
    };
    columns.push(ready(
        "Ready",
        "status",
        "Whether the object is in force",
        0,
    ));
    columns.push(ready("Reason", "reason", "Why, as one word", 0));
    columns.push(ready("Message", "message", "Why, in words", 1));
    columns.push(age());
    columns
}

fn column(name: &str, path: &str, about: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path, "description": about})
}

fn wide(name: &str, path: &str, about: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path, "description": about, "priority": 1})
}

fn ready(name: &str, field: &str, about: &str, priority: i64) -> Value {
    let path = format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    if priority == 0 {
        column(name, &path, about)
    } else {
        wide(name, &path, about)
    }
}

fn age() -> Value {
    json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
}
