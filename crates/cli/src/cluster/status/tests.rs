//! Claims about how a cluster's state is shown.

use serde_json::json;

use super::*;

const SCREEN: Screen = Screen {
    width: 120,
    colour: false,
};

fn namespace(labels: Value) -> Value {
    json!({"metadata": {"name": "billing", "labels": labels}})
}

fn pod(name: &str, sidecar: Option<bool>, labels: Value) -> Value {
    let (inits, statuses) = match sidecar {
        Some(ready) => (
            json!([{"name": "weir-sidecar"}, {"name": "weir-probe"}]),
            json!([{"name": "weir-sidecar", "ready": ready}]),
        ),
        None => (json!([]), json!([])),
    };
    json!({
        "metadata": {"name": name, "namespace": "billing", "labels": labels},
        "spec": {"initContainers": inits},
        "status": {"phase": "Running", "initContainerStatuses": statuses},
    })
}

#[test]
fn pods_are_counted_by_how_they_are_governed() {
    let mut done = pod("done", None, json!({}));
    done["status"]["phase"] = json!("Succeeded");
    let mut elsewhere = pod("elsewhere", None, json!({}));
    elsewhere["metadata"]["namespace"] = json!("other");
    let pods = [
        pod("a", Some(true), json!({})),
        pod("b", Some(false), json!({})),
        pod("c", None, json!({})),
        pod("d", None, json!({"weir.dev/inject": "disabled"})),
        done,
        elsewhere,
    ];
    let opted_in = namespace_state(&namespace(json!({"weir.dev/inject": "enabled"})), &pods);
    assert_eq!(
        opted_in,
        Some(NamespaceState {
            name: "billing".to_owned(),
            enforced: false,
            governed: 2,
            sidecar_not_ready: 1,
            opted_out: 1,
            unprotected: 1,
        })
    );
    let enforced = namespace_state(&namespace(json!({"weir.dev/enforce": "true"})), &pods);
    assert_eq!(enforced.unwrap().unprotected, 2, "nobody opts out there");
    let alone = namespace_state(&namespace(json!({})), &pods[2..4]);
    assert_eq!(alone, None, "it takes no part");
}

#[test]
fn what_is_not_in_force_is_shown_with_its_reason() {
    let objects = [
        json!({"metadata": {"name": "good"},
               "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        json!({"metadata": {"name": "bad", "namespace": "billing"},
               "status": {"conditions": [{"type": "Ready", "status": "False",
                                          "reason": "UnknownTarget",
                                          "message": "no Target is called `x`"}]}}),
        json!({"metadata": {"name": "new"}}),
    ];
    let report = Report {
        not_ready: not_ready("GuardPolicy", &objects),
        ..Report::default()
    };
    let drawn = report.render(Timestamp::default(), SCREEN);
    assert!(
        drawn.contains(
            "GuardPolicy/billing/bad is not in force: no Target is called `x` (UnknownTarget)"
        ),
        "{drawn}"
    );
    assert!(drawn.contains("GuardPolicy/new is not in force"), "{drawn}");
    assert!(!drawn.contains("good"), "{drawn}");
}

#[test]
fn a_metric_is_found_by_its_whole_name() {
    let text = "# HELP weir_controller_revision x\nweir_controller_revision_total 3\n\
                weir_controller_revision 41\n";
    assert_eq!(metric(text, "weir_controller_revision"), Some(41));
    assert_eq!(metric("", "weir_controller_revision"), None);
}

#[test]
fn what_was_not_read_is_not_shown_as_nothing() {
    let report = Report {
        unread: vec!["pods: forbidden".to_owned()],
        ..Report::default()
    };
    let drawn = report.render(Timestamp::default(), SCREEN);
    assert!(!drawn.contains("no namespace takes part"), "{drawn}");
    assert!(drawn.contains("not read: pods: forbidden"), "{drawn}");
    assert!(!drawn.contains("none"), "{drawn}");
}
