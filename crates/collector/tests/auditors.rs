//! Evidence for auditors, over real TLS; the cluster's answers are played.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod bed;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bed::{Bed, Ca, Pod, bed, send};
use serde_json::{Value, json};
use weir_audit::{Event, SessionId};
use weir_collector::client::{Client, ClientError};
use weir_collector::{ChainReport, EventPage, SessionPage};

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String, String) {
    match result {
        Err(ClientError::Refused {
            status,
            error,
            message,
        }) => (status, error, message),
        other => panic!("{other:?}"),
    }
}

fn status<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    refusal(result).0
}

async fn events(client: &Client, query: &str) -> Vec<Event> {
    let page: EventPage = client.get(&format!("/v1/events{query}")).await.unwrap();
    page.events
}

/// One pod in each of two namespaces, with one session each: 1 in billing, 2 in shipping.
async fn two_namespaces() -> (Bed, Pod, Pod) {
    let bed = bed().await;
    let (billing, shipping) = (Pod::new("billing", 1), Pod::new("shipping", 2));
    send(&bed.sidecar(&billing), billing.batch(1))
        .await
        .unwrap();
    send(&bed.sidecar(&shipping), shipping.batch(2))
        .await
        .unwrap();
    // An attempt, so that there is a finding that is of no namespace.
    let forged = send(&bed.sidecar(&billing), shipping.batch(3)).await;
    assert!(forged.is_err());
    bed.rules.allow("jane", Some("billing"));
    (bed, billing, shipping)
}

fn namespaces(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<_> = events
        .iter()
        .map(|event| match &event.session {
            Some(session) => session.identity.namespace.as_deref().unwrap(),
            None => "",
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[tokio::test]
async fn whoever_may_list_everywhere_sees_everything() {
    let (bed, ..) = two_namespaces().await;
    let admin = bed.auditor("admin");
    assert_eq!(
        namespaces(&events(&admin, "").await),
        ["", "billing", "shipping"]
    );
    assert_eq!(
        namespaces(&events(&admin, "?namespace=shipping").await),
        ["shipping"]
    );
    let page: SessionPage = admin.get("/v1/sessions?namespace=billing").await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    let report: ChainReport = admin.get("/v1/verify").await.unwrap();
    assert!(report.ok);
}

#[tokio::test]
async fn whoever_may_list_in_one_namespace_sees_that_one_and_names_it() {
    let (bed, ..) = two_namespaces().await;
    let jane = bed.auditor("jane");
    let (status, code, message) = refusal(jane.get::<EventPage>("/v1/events").await);
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    assert!(
        message.contains("jane") && message.contains("namespace=NAME"),
        "{message}"
    );
    assert_eq!(
        namespaces(&events(&jane, "?namespace=billing").await),
        ["billing"]
    );
    let page: SessionPage = jane.get("/v1/sessions?namespace=billing").await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(page.sessions[0].session.id, SessionId::new(1));
    for path in [
        "/v1/events?namespace=shipping",
        "/v1/sessions?namespace=shipping",
        "/v1/overview?namespace=shipping",
        "/v1/questions/who-read-label?namespace=shipping",
        "/v1/questions/policy-changes?namespace=billing",
        "/v1/questions/who-read-evidence?namespace=billing",
        "/v1/sessions",
        "/v1/verify",
        "/v1/status",
        "/v1/requests",
        "/v1/tail",
        "/v1/tail?namespace=shipping",
    ] {
        assert_eq!(self::status(jane.get::<Value>(path).await), 403, "{path}");
    }
    // The filters of others lead out of it as little as the session's number does.
    let other = format!("?namespace=billing&session={}", SessionId::new(2));
    assert!(events(&jane, &other).await.is_empty());
}

#[tokio::test]
async fn who_was_given_a_value_is_answered_in_the_askers_namespace_alone() {
    let (bed, ..) = two_namespaces().await;
    let jane = bed.auditor("jane");
    let body = json!({"value": "805-36-9215"});
    for path in ["/v1/saw", "/v1/saw?namespace=shipping"] {
        assert_eq!(status(jane.post::<Value>(path, &body).await), 403, "{path}");
    }
    let answer: Value = jane.post("/v1/saw?namespace=billing", &body).await.unwrap();
    assert_eq!(answer["labels"], json!([]));
    let admin = bed.auditor("admin");
    let reads = events(&admin, "?kind=evidence_read").await;
    let text = serde_json::to_string(&reads).unwrap();
    assert!(
        text.contains("/v1/saw") && !text.contains("805-36-9215"),
        "{text}"
    );
}

#[tokio::test]
async fn a_session_of_another_namespace_does_not_exist() {
    let (bed, ..) = two_namespaces().await;
    let (own, other) = (SessionId::new(1), SessionId::new(2));
    let path = |session, namespace| format!("/v1/sessions/{session}/replay{namespace}");
    let jane = bed.auditor("jane");
    let mut seen: Vec<Event> = Vec::new();
    jane.stream(&path(own, "?namespace=billing"), |event| {
        seen.push(event);
        true
    })
    .await
    .unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        status(jane.get::<Value>(&path(other, "?namespace=billing")).await),
        404
    );
    assert_eq!(
        status(jane.get::<Value>(&path(other, "?namespace=shipping")).await),
        403
    );
    assert_eq!(status(jane.get::<Value>(&path(own, "")).await), 403);
    // Even if events with its number came from elsewhere.
    let thief = Pod::new("shipping", 4);
    send(&bed.sidecar(&thief), thief.batch(1)).await.unwrap();
    let mut seen: Vec<Event> = Vec::new();
    let admin = bed.auditor("admin");
    admin
        .stream::<Event>(&path(own, ""), |event| {
            seen.push(event);
            true
        })
        .await
        .unwrap();
    assert_eq!(namespaces(&seen), ["billing"]);
    let found = events(
        &bed.auditor("admin"),
        "?kind=finding&text=another%20engine%20opened",
    )
    .await;
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_tail_shows_the_namespace_only_and_ends_when_the_right_does() {
    let (bed, billing, shipping) = two_namespaces().await;
    let (client, seen) = (
        bed.auditor("jane"),
        Arc::new(Mutex::new(Vec::<Event>::new())),
    );
    let taken = Arc::clone(&seen);
    let tail = tokio::spawn(async move {
        let path = "/v1/tail?namespace=billing";
        client
            .stream(path, |event| {
                taken.lock().unwrap().push(event);
                true
            })
            .await
    });
    // The tail is on once it has shown something; until then, batches go on coming.
    let mut batches = (billing.batch(1), shipping.batch(2));
    let (one, two) = (bed.sidecar(&billing), bed.sidecar(&shipping));
    let mut session = 10;
    while seen.lock().unwrap().len() < 4 {
        for (pod, sidecar, batch) in [
            (&shipping, &two, &mut batches.1),
            (&billing, &one, &mut batches.0),
        ] {
            session += 1;
            let last = batch.frames.last().unwrap();
            let next = bed::frame(last.epoch() + 1, last.hash(), &pod.session(session));
            batch.frames = vec![next];
            send(sidecar, batch.clone()).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(namespaces(&seen.lock().unwrap()), ["billing"]);
    // No more rights: the next look, half a minute later, ends it. Here time is ours.
    bed.rules.allowed.lock().unwrap().clear();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tail.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_certificate_of_the_cluster_is_a_user_with_groups() {
    let (bed, ..) = two_namespaces().await;
    let leaf = bed.cluster.user("jane", "auditors");
    let jane = bed.client(None, Some(leaf.clone()));
    assert_eq!(
        namespaces(&events(&jane, "?namespace=billing").await),
        ["billing"]
    );
    let asked = bed.rules.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked.user.as_deref(), Some("jane"));
    assert_eq!(asked.groups, ["auditors"]);
    assert_eq!((asked.verb.as_str(), asked.token), ("list", None));
    // A token counts before it.
    let both = bed.client(Some("admin"), Some(leaf));
    assert_eq!(
        namespaces(&events(&both, "").await),
        ["", "billing", "shipping"]
    );
}

#[tokio::test]
async fn certificates_of_others_and_no_credentials_are_refused() {
    let (bed, billing, _) = two_namespaces().await;
    let stranger = Ca::new("kubernetes").user("admin", "system:masters");
    let refused = bed
        .client(None, Some(stranger))
        .get::<Value>("/v1/events")
        .await;
    assert!(
        matches!(refused, Err(ClientError::Connect { .. })),
        "{refused:?}"
    );
    // Weir's own certificates prove a pod, not a reader.
    let pod = bed.client(None, Some(bed.root.pod(&billing)));
    assert!(pod.get::<Value>("/v1/events").await.is_err());
    assert_eq!(
        status(bed.client(None, None).get::<Value>("/v1/events").await),
        401
    );
    assert_eq!(
        status(bed.auditor("nobody").get::<Value>("/v1/events").await),
        401
    );
    for token in ["", " "] {
        assert_eq!(
            status(bed.auditor(token).get::<Value>("/v1/events").await),
            401
        );
    }
}

#[tokio::test]
async fn without_an_answer_of_the_controller_nobody_reads() {
    let (bed, ..) = two_namespaces().await;
    *bed.rules.down.lock().unwrap() = true;
    let (status, code, _) = refusal(bed.auditor("admin").get::<Value>("/v1/events").await);
    assert_eq!((status, code.as_str()), (503, "unavailable"));
}

#[tokio::test]
async fn auditors_change_nothing() {
    let (bed, ..) = two_namespaces().await;
    let admin = bed.auditor("admin");
    // Nothing is decided beside this collector.
    for (path, code) in [
        ("/v1/requests/weir-a/approve", 503),
        ("/v1/requests/weir-a/deny", 503),
        ("/v1/budgets/reset", 403),
    ] {
        let asked = admin.post::<Value>(path, &json!({"reason": "r"})).await;
        assert_eq!(status(asked), code, "{path}");
    }
    assert_eq!(
        status(admin.post::<Value>("/v1/ingest", &json!({})).await),
        404
    );
}

#[tokio::test]
async fn the_cluster_roots_are_read_again_when_they_change() {
    let (bed, ..) = two_namespaces().await;
    let next = Ca::new("kubernetes");
    let jane = bed.client(None, Some(next.user("jane", "auditors")));
    let path = "/v1/events?namespace=billing";
    assert!(jane.get::<EventPage>(path).await.is_err());
    std::fs::write(&bed.client_ca, format!("{}{}", bed.cluster.pem, next.pem)).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    jane.get::<EventPage>(path).await.unwrap();
    // Half of a file lets nobody in, and tokens still count.
    std::fs::write(&bed.client_ca, "-----BEGIN CERT").unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_eq!(status(jane.get::<EventPage>(path).await), 401);
    bed.auditor("jane").get::<EventPage>(path).await.unwrap();
}

#[tokio::test]
async fn every_read_is_evidence_before_it_is_answered_and_a_refused_one_is_none() {
    let (bed, ..) = two_namespaces().await;
    let (admin, jane) = (bed.auditor("admin"), bed.auditor("jane"));
    let asked = "?namespace=billing&table=public.customers";
    assert!(events(&jane, asked).await.is_empty());
    let replay = format!("/v1/sessions/{}/replay", SessionId::new(1));
    jane.stream(&format!("{replay}?namespace=billing"), |_: Event| true)
        .await
        .unwrap();
    assert_eq!(status(jane.get::<Value>("/v1/sessions").await), 403);
    let reads = events(&admin, "?kind=evidence_read").await;
    let mut seen: Vec<_> = reads
        .iter()
        .map(|event| match &event.body {
            weir_audit::Body::EvidenceRead(read) => (
                read.reader.to_string(),
                read.path.to_string(),
                read.query.to_string(),
                read.namespace.as_deref().map(str::to_owned),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort();
    let own = |path: &str, query: &str| {
        let namespace = Some("billing".to_owned());
        (
            "jane".to_owned(),
            path.to_owned(),
            query.to_owned(),
            namespace,
        )
    };
    let everything = (
        "admin".to_owned(),
        "/v1/events".to_owned(),
        "kind=evidence_read".to_owned(),
        None,
    );
    assert_eq!(
        seen,
        [
            everything,
            own("/v1/events", asked.trim_start_matches('?')),
            own(&replay, "namespace=billing"),
        ]
    );
    assert!(reads.iter().all(|event| event.session.is_none()));
    // They are in the collector's own chain, and no namespace's.
    let report: ChainReport = admin.get("/v1/verify").await.unwrap();
    assert!(report.ok);
    assert!(
        events(&jane, "?namespace=billing&kind=evidence_read")
            .await
            .is_empty()
    );
}
