//! `Ready` on every object: whether its latest version is in force, and if not, why.
//!
//! The leader's. Written only where it differs from what is there.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_api::Diagnostic;
use weir_api::kinds::{Condition, ConditionStatus, ResourceStatus};

use crate::bundle::Verdict;
use crate::bundles::Current;
use crate::store::Store;
use crate::store::kinds::{Held, Kind};
use crate::text::{findings, why};

const READY: &str = "Ready";
/// What failed is tried again.
const RETRY: Duration = Duration::from_secs(15);
/// Longer messages are cut.
const MAX_MESSAGE: usize = 4096;

/// Writes statuses. Never returns.
pub(crate) async fn run(client: Client, store: Store, mut current: Current) {
    loop {
        let inputs = current.borrow_and_update().clone();
        let mut failed = false;
        if let Some(inputs) = inputs {
            for (kind, namespace, name, patch) in due(&store, &inputs.accepted.verdicts) {
                let api: Api<DynamicObject> = if namespace.is_empty() {
                    Api::all_with(client.clone(), &kind.resource())
                } else {
                    Api::namespaced_with(client.clone(), &namespace, &kind.resource())
                };
                let params = PatchParams::default();
                let patched = api
                    .patch_status(&name, &params, &Patch::Merge(&patch))
                    .await;
                if let Err(error) = patched {
                    failed = true;
                    let error = why(&error);
                    tracing::warn!(error, kind = kind.as_str(), %name, "a status was not written");
                }
            }
        }
        if failed {
            tokio::time::sleep(RETRY).await;
        } else if current.changed().await.is_err() {
            return;
        }
    }
}

type Due = (Kind, String, String, Value);

fn due(
    store: &Store,
    verdicts: &std::collections::BTreeMap<crate::store::kinds::Id, Verdict>,
) -> Vec<Due> {
    let now = Timestamp::now();
    store.read(|tables| {
        let all = tables
            .resources
            .iter()
            .flat_map(|(kind, table)| table.iter().map(move |(key, held)| (*kind, key, held)));
        all.filter_map(|(kind, (namespace, name), held)| {
            // Of an older version: the one of this version comes.
            let verdict = verdicts.get(&held.id)?;
            let verdict = (verdict.generation == held.generation).then_some(verdict)?;
            let patch = patch(held, verdict, now)?;
            Some((kind, namespace.clone(), name.clone(), patch))
        })
        .collect()
    })
}

/// The patch that a status needs, if it needs one.
fn patch(held: &Held, verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let known = ResourceStatus::deserialize(&held.status).unwrap_or_default();
    let known = known.conditions.iter().find(|one| one.kind == READY);
    let mut condition = condition(verdict);
    condition.observed_generation = held.generation;
    condition.last_transition_time = known
        .filter(|known| known.status == condition.status)
        .map_or_else(
            || now.to_string(),
            |known| known.last_transition_time.clone(),
        );
    if known == Some(&condition) {
        return None;
    }
    Some(json!({"status": {
        "observedGeneration": held.generation,
        "conditions": [condition],
    }}))
}

fn condition(verdict: &Verdict) -> Condition {
    let first = |list: &[Diagnostic]| list.first().map_or("Invalid", |one| one.reason.as_str());
    let (status, reason, message) = if !verdict.errors.is_empty() {
        let prefix = if verdict.earlier {
            "an earlier version stays in force: "
        } else {
            "only what it refuses is in force: "
        };
        let message = format!("{prefix}{}", findings(&verdict.errors));
        (ConditionStatus::False, first(&verdict.errors), message)
    } else if !verdict.unready.is_empty() {
        let (reason, message) = (first(&verdict.unready), findings(&verdict.unready));
        (ConditionStatus::False, reason, message)
    } else {
        (
            ConditionStatus::True,
            "InForce",
            findings(&verdict.warnings),
        )
    };
    Condition {
        kind: READY.to_owned(),
        status,
        reason: reason.to_owned(),
        message: cut(message),
        observed_generation: None,
        last_transition_time: String::new(),
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use weir_api::{Reason, Severity};

    use super::*;
    use crate::store::kinds::held;
    use crate::store::kinds::tests::dynamic;

    fn object(status: Value) -> Held {
        let spec = json!({"detectors": ["ssn"]});
        let mut object = dynamic(Kind::DataLabel, None, "pii.ssn", spec);
        object.data["status"] = status;
        held(Kind::DataLabel, object, None)
    }

    fn broken(earlier: bool) -> Verdict {
        Verdict {
            errors: vec![Diagnostic {
                severity: Severity::Error,
                reason: Reason::Invalid,
                file: "DataLabel/pii.ssn".into(),
                line: 3,
                column: 1,
                field: "spec.detectors[0]".to_owned(),
                message: "unknown detector `sn`".to_owned(),
                suggestion: Some("did you mean `ssn`?".to_owned()),
            }],
            earlier,
            ..Verdict::default()
        }
    }

    #[test]
    fn a_status_says_why_and_what_is_in_force_instead() {
        let now = Timestamp::now();
        let patch = patch(&object(json!({})), &broken(true), now).unwrap();
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(condition["status"], "False");
        assert_eq!(condition["reason"], "Invalid");
        assert_eq!(
            condition["message"],
            "an earlier version stays in force: spec.detectors[0]: unknown detector `sn` \
             (did you mean `ssn`?)"
        );
    }

    #[test]
    fn a_status_that_is_right_is_not_written_and_a_transition_keeps_its_time() {
        let then = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = patch(&object(json!({})), &Verdict::default(), then).unwrap();
        let known = object(first["status"].clone());
        assert_eq!(patch(&known, &Verdict::default(), Timestamp::now()), None);
        let warned = Verdict {
            warnings: broken(false).errors,
            ..Verdict::default()
        };
        let second = patch(&known, &warned, Timestamp::now()).unwrap();
        let condition = &second["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let third = patch(&known, &broken(false), Timestamp::now()).unwrap();
        let condition = &third["status"]["conditions"][0];
        assert_ne!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert!(
            condition["message"]
                .as_str()
                .unwrap()
                .starts_with("only what it refuses")
        );
    }
}
