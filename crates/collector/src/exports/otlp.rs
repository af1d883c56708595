//! Events as logs of OpenTelemetry: the JSON form of `ExportLogsServiceRequest`
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
//!
//! Pure. A record's body is the event as the API has it, in JSON, without parameters; what is searched for
//! is an attribute, too.
//! Refuses: recordings, parameters, and what a hold says of its statement whatever the record level, for the
//! reviewer's eyes. They are results and values; the record is where they are. A statement that the record level
//! keeps is in the events about it.

pub(crate) mod metrics;

use serde_json::{Value, json};
use weir_audit::{Body, Decision, Event, Outcome, Severity};

/// Who sends, where there are several.
#[derive(Clone, Debug)]
pub(crate) struct Instance(pub(crate) String);

/// Some events as one request; those that are no logs are left out.
#[must_use]
pub fn logs(events: &[Event]) -> String {
    let records: Vec<String> = events.iter().filter_map(record).collect();
    request(&records, None)
}

/// Records as one request.
pub(crate) fn request(records: &[String], from: Option<&Instance>) -> String {
    let (resource, scope) = (resource(from), json!({"name": "weir.evidence"}));
    let records = records.join(",");
    format!(
        r#"{{"resourceLogs":[{{"resource":{resource},"scopeLogs":[{{"scope":{scope},"logRecords":[{records}]}}]}}]}}"#
    )
}

/// Whose logs and metrics they are.
fn resource(from: Option<&Instance>) -> Value {
    let mut attributes = vec![
        attribute("service.name", "weir"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
    ];
    attributes.extend(from.map(|from| attribute("service.instance.id", &from.0)));
    json!({"attributes": attributes})
}

/// An event as a record, if it is a log.
pub(crate) fn record(event: &Event) -> Option<String> {
    if matches!(event.body, Body::RecordingChunk(_)) {
        return None;
    }
    let mut body = serde_json::to_value(event).ok()?;
    if let Some(fields) = body.as_object_mut() {
        fields.remove("parameters");
        if matches!(event.body, Body::AccessRequestCreated(_)) {
            without_values(fields);
        }
    }
    // The field has 64 bits; an engine's clock may say what it likes.
    let nanos = event.time.as_micros().saturating_mul(1000).to_string();
    let (number, text) = severity(event);
    let record = json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": number,
        "severityText": text,
        "eventName": format!("weir.{}", event.body.kind()),
        "body": {"stringValue": body.to_string()},
        "attributes": attributes(event),
    });
    Some(record.to_string())
}

/// A hold without the values of its statement: of its text there is the shape, where it has one.
fn without_values(fields: &mut serde_json::Map<String, Value>) {
    for named in ["free_literals", "summary", "statement", "detail"] {
        fields.remove(named);
    }
    if let Some(shape) = fields.remove("shape") {
        fields.insert("statement".to_owned(), shape);
    }
}

/// By OpenTelemetry's data model of logs: INFO is 9, WARN 13, ERROR 17, FATAL 21.
fn severity(event: &Event) -> (u32, &'static str) {
    match &event.body {
        Body::Finding(finding) => match finding.code.severity() {
            Severity::Info => (9, "INFO"),
            Severity::Low | Severity::Medium => (13, "WARN"),
            Severity::High => (17, "ERROR"),
            Severity::Critical => (21, "FATAL"),
        },
        Body::ConnectionRefused(_) => (13, "WARN"),
        Body::StatementFinished(finished) if finished.outcome == Outcome::Denied => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

fn attributes(event: &Event) -> Vec<Value> {
    let mut all = vec![
        attribute("weir.event.id", &event.id.to_string()),
        attribute("weir.event.kind", event.body.kind()),
    ];
    let mut put = |name: &str, value: Option<&str>| {
        all.extend(value.map(|value| attribute(name, value)));
    };
    if let Some(session) = event.session.as_deref() {
        let identity = &session.identity;
        put("session.id", Some(&session.id.to_string()));
        put("enduser.id", Some(&identity.name));
        put("k8s.namespace.name", identity.namespace.as_deref());
        put("k8s.pod.name", identity.pod.as_deref());
        put("k8s.pod.uid", identity.uid.as_deref());
        put("weir.target", session.target.as_deref());
        put(
            "network.application.protocol.name",
            session.protocol.as_deref(),
        );
        put("db.namespace", session.database.as_deref());
    }
    match &event.body {
        Body::StatementFinished(finished) => {
            let statement = &finished.statement;
            put("weir.decision", Some(statement.decision.as_str()));
            put("db.operation.name", statement.command.as_deref());
            let rules: Vec<&str> = statement.rules.iter().collect();
            if statement.decision != Decision::Permit {
                put("weir.rules", Some(&rules.join(",")));
            }
        }
        Body::Finding(finding) => put("weir.finding.code", Some(finding.code.as_str())),
        _ => {}
    }
    all
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_audit::{
        AccessRequestCreated, EventId, Finding, FindingCode, Identity, RecordingChunk, SCHEMA,
        Session, Statement, StatementFinished, StatementStarted, Timestamp,
    };

    use super::*;

    fn event(body: impl Into<Body>) -> Event {
        Event {
            schema: SCHEMA,
            id: EventId {
                engine: "pod_1".parse().unwrap(),
                epoch: 1,
                seq: 2,
            },
            time: Timestamp::from_micros(1_700_000_000_123_456),
            session: Some(Arc::new(Session {
                identity: Arc::new(Identity::named("reporter")),
                ..Session::default()
            })),
            body: body.into(),
        }
    }

    fn parsed(events: &[Event]) -> Value {
        serde_json::from_str(&logs(events)).unwrap()
    }

    #[test]
    fn an_event_is_a_record_with_its_own_time_and_severity() {
        let finding = Finding {
            code: FindingCode::Tampered,
            message: "x".into(),
            subject: None,
            engine: None,
        };
        let request = parsed(&[event(finding), event(RecordingChunk::default())]);
        let records = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(records.as_array().unwrap().len(), 1);
        let record = &records[0];
        assert_eq!(record["timeUnixNano"], "1700000000123456000");
        assert_eq!(
            (&record["severityNumber"], &record["eventName"]),
            (&json!(21), &json!("weir.finding"))
        );
        let body: Value =
            serde_json::from_str(record["body"]["stringValue"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&body["id"], &body["code"]),
            (&json!("pod_1-1-2"), &json!("tampered"))
        );
        let attributes = record["attributes"].as_array().unwrap();
        assert!(attributes.contains(&attribute("enduser.id", "reporter")));
        assert!(attributes.contains(&attribute("weir.finding.code", "tampered")));
    }

    #[test]
    fn parameters_stay_where_they_are() {
        let statement = || Statement {
            text: Some("SELECT $1".into()),
            parameters: vec![weir_audit::Value::text(b"s3cret")],
            ..Statement::default()
        };
        let finished = StatementFinished {
            statement: statement(),
            ..StatementFinished::default()
        };
        let started = StatementStarted {
            statement: statement(),
        };
        let asked = AccessRequestCreated {
            statement: "SELECT 's3cret'".into(),
            parameters: vec![weir_audit::Value::text(b"s3cret")],
            summary: vec!["it reads 's3cret'".into()],
            shape: Some("SELECT ?".into()),
            free_literals: vec!["'s3cret'".into(), "$1 = 's3cret'".into()],
            detail: Some("p was prepared as: select 's3cret'".into()),
            reason: "of interest".into(),
            ..AccessRequestCreated::default()
        };
        let plain = AccessRequestCreated {
            shape: None,
            ..asked.clone()
        };
        let events = [event(finished), event(started), event(asked), event(plain)];
        assert!(serde_json::to_string(&events).unwrap().contains("s3cret"));
        let text = logs(&events);
        assert!(
            text.contains("SELECT $1") && text.contains("SELECT ?") && !text.contains("s3cret"),
            "{text}"
        );
        assert_eq!(text.matches("of interest").count(), 2, "{text}");
        let records = parsed(&events);
        let records = &records["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(records.as_array().unwrap().len(), 4);
    }

    #[test]
    fn a_time_that_the_form_cannot_say_is_its_last() {
        for micros in [i64::MAX.unsigned_abs(), u64::MAX] {
            let event = Event {
                time: Timestamp::from_micros(micros),
                ..event(Finding {
                    code: FindingCode::Other,
                    message: "x".into(),
                    subject: None,
                    engine: None,
                })
            };
            let request = parsed(&[event]);
            let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
            for name in ["timeUnixNano", "observedTimeUnixNano"] {
                let nanos: Result<u64, _> = record[name].as_str().unwrap().parse();
                assert_eq!(nanos, Ok(u64::MAX));
            }
        }
    }

    #[test]
    fn a_request_says_whose_records_it_has() {
        let records = [String::from("{}"), String::from("{}")];
        let text = request(&records, Some(&Instance("collector_1".into())));
        let request: Value = serde_json::from_str(&text).unwrap();
        let logs = &request["resourceLogs"][0];
        let attributes = logs["resource"]["attributes"].as_array().unwrap();
        assert!(attributes.contains(&attribute("service.instance.id", "collector_1")));
        assert_eq!(logs["scopeLogs"][0]["logRecords"], json!([{}, {}]));
    }
}
