//! Events as the Open Cybersecurity Schema Framework has them (<https://schema.ocsf.io>).
//!
//! | event | class |
//! |---|---|
//! | a session's begin, refusal, end | Authentication (3002) |
//! | a statement over SQL | Datastore Activity (6005) |
//! | a request to a Kubernetes API; a read of evidence | API Activity (6003) |
//! | a command, a file over SSH | SSH Activity (4007) |
//! | a hold and its decisions, a policy, budgets, a quarantine | Entity Management (3004) |
//! | a finding | Data Security Finding (2006) |
//!
//! Pure. Invariants: what is written is valid in each of [`VERSIONS`]; no value of a result and no
//! parameter is in it, and of a statement's text what the record level kept.
//! Refuses: what is of the engines alone (starts, heartbeats), recordings, and beginnings of statements,
//! whose ends say the same.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use weir_audit::{
    Body, Decision, Event, FileTransferred, Finding, Names, Outcome, Ruling, Session, Severity,
    StatementFinished,
};

/// The versions of the schema that can be written.
pub const VERSIONS: &[&str] = &["1.5.0", "1.6.0", "1.7.0", "1.8.0"];
/// The version that is written unless another one is asked for.
pub const DEFAULT_VERSION: &str = "1.5.0";

/// The classes, with their categories: a class's number begins with it.
#[derive(Clone, Copy)]
enum Class {
    Authentication = 3002,
    Entity = 3004,
    Datastore = 6005,
    Api = 6003,
    Ssh = 4007,
    Finding = 2006,
}

/// Whether something was let through.
#[derive(Clone, Copy)]
enum Action {
    Allowed,
    Denied,
}

/// An event in this version of the schema; none for what has no place in it.
#[must_use]
pub fn ocsf(event: &Event, version: &str) -> Option<Value> {
    let mut out = match &event.body {
        Body::ConnectionOpened(_) => logon(event, 1, true, None)?,
        Body::ConnectionRefused(refused) => logon(event, 1, false, Some(&refused.reason))?,
        Body::ConnectionClosed(closed) => {
            let mut out = logon(event, 2, true, Some(&closed.reason))?;
            out.put("duration", json!(closed.duration_us / 1000));
            out
        }
        Body::StatementFinished(finished) => statement(event, finished)?,
        Body::FileTransferred(file) => transfer(event, file)?,
        Body::Finding(finding) => found(event, finding),
        Body::EvidenceRead(read) => {
            let mut out = Ocsf::new(Class::Api, 2);
            out.put(
                "actor",
                json!({"user": {"name": name(&read.reader), "type_id": 1}}),
            );
            let from = read
                .address
                .as_deref()
                .map_or_else(|| json!({"name": "weir-collector"}), endpoint);
            out.put("src_endpoint", from);
            out.put("api", json!({"operation": format!("GET {}", read.path)}));
            out.extra("query", json!(read.query));
            out
        }
        body => changed(event, body)?,
    };
    out.put("time", json!(event.time.as_micros() / 1000));
    let mut metadata = json!({
        "version": version,
        "product": {"name": "Weir", "vendor_name": "Weir", "version": env!("CARGO_PKG_VERSION")},
        "uid": event.id.to_string(),
        "log_name": event.id.engine.as_str(),
    });
    if out.profiled
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.insert("profiles".to_owned(), json!(["security_control"]));
    }
    out.put("metadata", metadata);
    Some(out.done())
}

struct Ocsf {
    fields: Map<String, Value>,
    unmapped: Map<String, Value>,
    /// Whether it has fields of the profile `security_control`.
    profiled: bool,
}

impl Ocsf {
    fn new(class: Class, activity: u32) -> Self {
        let class = class as u32;
        let mut new = Self {
            fields: Map::new(),
            unmapped: Map::new(),
            profiled: false,
        };
        new.put("class_uid", json!(class));
        new.put("category_uid", json!(class / 1000));
        new.put("activity_id", json!(activity));
        new.put("type_uid", json!(class * 100 + activity));
        new.put("severity_id", json!(1));
        new
    }

    fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// What the schema has no field for.
    fn extra(&mut self, name: &str, value: Value) {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if !empty {
            self.unmapped.insert(name.to_owned(), value);
        }
    }

    /// Success or failure, and why.
    fn status(&mut self, success: bool, why: Option<&str>) {
        self.put("status_id", json!(if success { 1 } else { 2 }));
        if let Some(why) = why {
            self.put("status_detail", json!(why));
        }
    }

    fn action(&mut self, action: Action) {
        self.profiled = true;
        let (action, disposition) = match action {
            Action::Allowed => (1, 1),
            Action::Denied => (2, 2),
        };
        self.put("action_id", json!(action));
        self.put("disposition_id", json!(disposition));
    }

    /// Who, from where and to where.
    fn session(&mut self, session: &Session) {
        let user = user(session);
        self.put(
            "actor",
            json!({"user": user, "session": {"uid": session.id.to_string()}}),
        );
        let from = session.client.as_deref();
        let from = from.map_or_else(|| json!({"name": user.get("name")}), endpoint);
        self.put("src_endpoint", from);
        if let Some(to) = to(session) {
            self.put("dst_endpoint", to);
        }
        self.extra("protocol", json!(session.protocol.as_deref()));
        self.extra("login", json!(session.user.as_deref()));
        self.extra("application", json!(session.application.as_deref()));
        self.extra("namespace", json!(session.identity.namespace.as_deref()));
        self.extra("pod", json!(session.identity.pod.as_deref()));
        self.extra("workload", json!(session.identity.workload.as_deref()));
        self.extra("images", names(&session.identity.images));
    }

    fn done(mut self) -> Value {
        if !self.unmapped.is_empty() {
            let unmapped = std::mem::take(&mut self.unmapped);
            self.put("unmapped", Value::Object(unmapped));
        }
        Value::Object(self.fields)
    }
}

fn logon(event: &Event, activity: u32, success: bool, why: Option<&str>) -> Option<Ocsf> {
    let session = event.session.as_deref()?;
    let mut out = Ocsf::new(Class::Authentication, activity);
    out.session(session);
    out.put("user", user(session));
    let service = session.target.as_deref().or(session.destination.as_deref());
    out.put(
        "service",
        json!({"name": name(service.unwrap_or("unknown"))}),
    );
    out.status(success, why);
    let action = if success {
        Action::Allowed
    } else {
        Action::Denied
    };
    out.action(action);
    Some(out)
}

fn statement(event: &Event, finished: &StatementFinished) -> Option<Ocsf> {
    let session = event.session.as_deref()?;
    let statement = &finished.statement;
    let command = statement.command.as_deref().unwrap_or_default();
    let denied = finished.outcome == Outcome::Denied;
    let target = session.target.as_deref().unwrap_or("unknown");
    let uid = format!("{}/{}", session.id, statement.number);
    let mut out = match session.protocol.as_deref() {
        Some("ssh") => {
            let mut out = Ocsf::new(Class::Ssh, if denied { 5 } else { 6 });
            out.put("traffic", json!({"bytes": finished.bytes}));
            out.extra("command", json!(command));
            out.extra("text", json!(statement.text.as_deref()));
            out
        }
        Some("kubernetes") => {
            let mut out = Ocsf::new(Class::Api, verb(command));
            let operation = statement.text.as_deref().unwrap_or(command);
            let service = json!({"name": name(target)});
            let request = json!({"uid": uid});
            out.put(
                "api",
                json!({"operation": name(operation), "service": service, "request": request}),
            );
            out
        }
        _ => {
            let mut out = Ocsf::new(Class::Datastore, tag(command));
            let database = session.database.as_deref().unwrap_or(target);
            out.put("database", json!({"name": name(database), "type_id": 1}));
            if let Some(table) = statement.tables.iter().next() {
                out.put("table", json!({"name": name(table)}));
            }
            if let Some(text) = statement.text.as_deref().filter(|text| !text.is_empty()) {
                out.put(
                    "query_info",
                    json!({"uid": uid, "query_string": text, "bytes": finished.bytes}),
                );
            }
            out.put("type_id", json!(1));
            out.extra("command", json!(command));
            out
        }
    };
    out.session(session);
    let (success, why) = outcome(&finished.outcome);
    out.status(success, statement.reason.as_deref().or(why.as_deref()));
    out.action(if denied {
        Action::Denied
    } else {
        Action::Allowed
    });
    out.put("duration", json!(finished.duration_us / 1000));
    if denied {
        out.put("severity_id", json!(2));
    }
    out.extra("statement", json!(uid));
    out.extra("decision", json!(statement.decision.as_str()));
    out.extra("rules", names(&statement.rules));
    out.extra("would_deny", names(&statement.would_deny));
    out.extra("exceptions", names(&statement.exceptions));
    out.extra("tables", names(&statement.tables));
    out.extra("labels", names(&statement.labels));
    out.extra("masked", names(&finished.masked));
    out.extra("access_request", json!(statement.request.as_deref()));
    out.extra("rows", json!(finished.rows));
    out.extra("revision", json!(statement.revision));
    if statement.decision == Decision::Hold {
        out.extra("held", json!(true));
    }
    Some(out)
}

/// Datastore Activity, by the command's tag.
fn tag(command: &str) -> u32 {
    let first = command.split_whitespace().next().unwrap_or_default();
    match first {
        "SELECT" | "TABLE" | "VALUES" | "FETCH" | "SHOW" | "EXPLAIN" => 4,
        "INSERT" | "MERGE" | "COPY" => 5,
        "UPDATE" | "ALTER" => 2,
        "DELETE" | "TRUNCATE" | "DROP" => 7,
        "CREATE" => 6,
        _ => 99,
    }
}

/// API Activity, by the verb.
fn verb(verb: &str) -> u32 {
    match verb.to_ascii_lowercase().as_str() {
        "create" => 1,
        "get" | "list" | "watch" => 2,
        "update" | "patch" => 3,
        "delete" | "deletecollection" => 4,
        _ => 99,
    }
}

fn outcome(outcome: &Outcome) -> (bool, Option<String>) {
    match outcome {
        Outcome::Completed => (true, None),
        Outcome::Failed { code } => (false, Some(format!("failed: {code}"))),
        Outcome::Denied => (false, Some("denied".to_owned())),
        Outcome::Cancelled => (false, Some("cancelled".to_owned())),
        Outcome::Aborted => (false, Some("aborted".to_owned())),
        Outcome::LimitExceeded => (false, Some("a limit was reached".to_owned())),
    }
}

fn transfer(event: &Event, file: &FileTransferred) -> Option<Ocsf> {
    let session = event.session.as_deref()?;
    let mut out = Ocsf::new(Class::Ssh, 6);
    out.session(session);
    let base = file.path.rsplit('/').find(|part| !part.is_empty());
    let mut about = json!({"name": name(base.unwrap_or(&file.path)), "type_id": 1,
        "path": name(&file.path), "size": file.bytes});
    if let (Some(digest), Some(fields)) = (&file.sha256, about.as_object_mut()) {
        let hashes = json!([{"algorithm_id": 3, "value": json!(digest)}]);
        fields.insert("hashes".to_owned(), hashes);
    }
    out.put("file", about);
    out.status(true, None);
    out.extra("direction", json!(file.direction));
    out.extra("complete", json!(file.complete));
    out.extra(
        "statement",
        json!(format!("{}/{}", session.id, file.statement)),
    );
    Some(out)
}

fn found(event: &Event, finding: &Finding) -> Ocsf {
    let mut out = Ocsf::new(Class::Finding, 1);
    let severity = match finding.code.severity() {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    out.put("severity_id", json!(severity));
    let time = event.time.as_micros() / 1000;
    out.put(
        "finding_info",
        json!({"uid": event.id.to_string(), "title": finding.code.as_str(),
            "desc": &*finding.message, "created_time": time, "types": [finding.code.as_str()]}),
    );
    out.put("message", json!(&*finding.message));
    if let Some(session) = event.session.as_deref() {
        out.session(session);
    }
    out.extra("engine", json!(finding.engine.as_deref()));
    out.extra("subject", json!(finding.subject));
    out
}

/// What people and the controller change.
fn changed(event: &Event, body: &Body) -> Option<Ocsf> {
    let entity = |name_of: &str, kind: &str| json!({"name": name(name_of), "type": kind});
    let mut out;
    match body {
        Body::AccessRequestCreated(created) => {
            out = Ocsf::new(Class::Entity, 1);
            out.put("entity", entity(&created.name, "AccessRequest"));
            out.put("comment", json!(&*created.reason));
            out.extra("rules", names(&created.rules));
            out.extra("labels", names(&created.labels));
        }
        Body::AccessRequestDecided(decided) => {
            out = Ocsf::new(Class::Entity, 3);
            out.put("entity", entity(&decided.name, "AccessRequest"));
            let approver = json!({"name": name(&decided.approver), "type_id": 1});
            out.put("actor", json!({"user": approver}));
            match &decided.ruling {
                Ruling::Approve { rows } => {
                    out.extra("ruling", json!("approve"));
                    out.extra("rows", json!(rows));
                }
                Ruling::Deny { reason } => {
                    out.extra("ruling", json!("deny"));
                    out.put("comment", json!(&**reason));
                }
            }
            out.extra("approvals", json!(decided.approvals));
            out.extra("needed", json!(decided.needed));
            return Some(out);
        }
        Body::AccessRequestClosed(closed) => {
            out = Ocsf::new(Class::Entity, 3);
            out.put("entity", entity(&closed.name, "AccessRequest"));
            out.extra("closing", json!(closed.closing));
            out.extra("held_ms", json!(closed.held_ms));
        }
        Body::PolicyChanged(policy) => {
            out = Ocsf::new(Class::Entity, 3);
            let mut changed = entity("policy", "Policy");
            if let Some(fields) = changed.as_object_mut() {
                fields.insert("uid".to_owned(), json!(name(&policy.digest)));
                fields.insert("version".to_owned(), json!(policy.revision.to_string()));
            }
            out.put("entity", changed);
            out.status(policy.refused.is_none(), policy.refused.as_deref());
        }
        Body::BudgetsReset(reset) => {
            out = Ocsf::new(Class::Entity, 3);
            out.put("entity", entity("budgets", "Budgets"));
            let operator = json!({"name": name(&reset.operator), "type_id": 1});
            out.put("actor", json!({"user": operator}));
        }
        Body::QuarantineChanged(quarantine) => {
            out = Ocsf::new(Class::Entity, 3);
            out.put("entity", entity(&quarantine.subject, "Identity"));
            out.put("comment", json!(&*quarantine.reason));
            out.put(
                "actor",
                json!({"user": {"name": name(&quarantine.by), "type_id": 1}}),
            );
            out.extra("quarantine", json!(&*quarantine.name));
            out.extra("quarantined", json!(quarantine.on));
        }
        _ => return None,
    }
    if let Some(session) = event.session.as_deref() {
        let user = user(session);
        out.put(
            "actor",
            json!({"user": user, "session": {"uid": session.id.to_string()}}),
        );
    }
    Some(out)
}

fn user(session: &Session) -> Value {
    let identity = &session.identity;
    let mut user = json!({"name": name(&identity.name), "type_id": 3});
    if let Some(fields) = user.as_object_mut() {
        let mut put = |field: &str, value: Option<&str>| {
            if let Some(value) = value {
                fields.insert(field.to_owned(), json!(value));
            }
        };
        put("uid", identity.uid.as_deref());
        put("email_addr", identity.email.as_deref());
        if !identity.groups.is_empty() {
            let groups = identity
                .groups
                .iter()
                .map(|group| json!({"name": name(group)}));
            fields.insert("groups".to_owned(), groups.collect());
        }
    }
    user
}

fn to(session: &Session) -> Option<Value> {
    let mut to = session.destination.as_deref().map(endpoint);
    if let Some(target) = session.target.as_deref() {
        let to = to.get_or_insert_with(|| json!({}));
        if let Some(fields) = to.as_object_mut() {
            fields.insert("name".to_owned(), json!(name(target)));
        }
    }
    to
}

/// `address:port`, or a name.
fn endpoint(text: &str) -> Value {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return json!({"ip": address.ip().to_canonical().to_string(), "port": address.port()});
    }
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => json!({"ip": ip.to_canonical().to_string()}),
        Err(_) => json!({"name": name(text)}),
    }
}

/// The schema takes no empty text for a name.
fn name(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

fn names(names: &Names) -> Value {
    names.iter().map(|one| json!(one)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_audit::{
        ConnectionClosed, ConnectionOpened, ConnectionRefused, EventId, FindingCode, Heartbeat,
        Identity, SCHEMA, SessionId, Statement, Timestamp,
    };

    use super::*;

    fn event(protocol: &str, body: impl Into<Body>) -> Event {
        Event {
            schema: SCHEMA,
            id: EventId {
                engine: "pod_1".parse().unwrap(),
                epoch: 1,
                seq: 2,
            },
            time: Timestamp::from_micros(1_700_000_000_123_456),
            session: Some(Arc::new(Session {
                id: SessionId::new(7),
                identity: Arc::new(Identity::named("reporter")),
                target: Some("shop".into()),
                protocol: Some(protocol.into()),
                client: Some("10.0.0.7:4711".into()),
                destination: Some("[::ffff:10.0.0.9]:5432".into()),
                ..Session::default()
            })),
            body: body.into(),
        }
    }

    fn finished(command: &str, outcome: Outcome) -> StatementFinished {
        StatementFinished {
            statement: Statement {
                number: 3,
                text: Some("SELECT 'x'".into()),
                parameters: vec![weir_audit::Value::text(b"s3cret")],
                command: Some(command.into()),
                tables: [Arc::from("public.orders")].into_iter().collect(),
                ..Statement::default()
            },
            outcome,
            ..StatementFinished::default()
        }
    }

    fn class(event: &Event) -> (u64, u64) {
        let out = ocsf(event, DEFAULT_VERSION).unwrap();
        let number = |field: &str| out[field].as_u64().unwrap();
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id")
        );
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
        assert_eq!(out["time"], 1_700_000_000_123_u64);
        assert_eq!(out["metadata"]["version"], "1.5.0");
        (number("class_uid"), number("activity_id"))
    }

    #[test]
    fn each_event_has_its_class_and_activity() {
        let done = |command| finished(command, Outcome::Completed);
        assert_eq!(
            class(&event("postgresql", ConnectionOpened::default())),
            (3002, 1)
        );
        assert_eq!(
            class(&event("ssh", ConnectionRefused::default())),
            (3002, 1)
        );
        assert_eq!(class(&event("ssh", ConnectionClosed::default())), (3002, 2));
        for (command, activity) in [
            ("SELECT", 4),
            ("INSERT", 5),
            ("UPDATE", 2),
            ("DROP TABLE", 7),
        ] {
            assert_eq!(class(&event("postgresql", done(command))), (6005, activity));
        }
        assert_eq!(class(&event("kubernetes", done("delete"))), (6003, 4));
        assert_eq!(class(&event("ssh", done("exec"))), (4007, 6));
        assert_eq!(
            class(&event("ssh", finished("exec", Outcome::Denied))),
            (4007, 5)
        );
        let finding = Finding {
            code: FindingCode::Gap,
            message: "3 events are missing".into(),
            subject: None,
            engine: None,
        };
        assert_eq!(class(&event("ssh", finding)), (2006, 1));
        assert_eq!(
            ocsf(&event("ssh", Heartbeat::default()), DEFAULT_VERSION),
            None
        );
    }

    #[test]
    fn a_statement_says_who_what_and_whether_it_was_let_through_and_no_value() {
        let denied = event("postgresql", finished("SELECT", Outcome::Denied));
        let out = ocsf(&denied, "1.8.0").unwrap();
        assert_eq!(out["actor"]["user"]["name"], "reporter");
        assert_eq!(out["src_endpoint"], json!({"ip": "10.0.0.7", "port": 4711}));
        assert_eq!(
            out["dst_endpoint"],
            json!({"ip": "10.0.0.9", "port": 5432, "name": "shop"})
        );
        assert_eq!(
            (&out["action_id"], &out["disposition_id"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(out["query_info"]["query_string"], "SELECT 'x'");
        assert_eq!(out["table"]["name"], "public.orders");
        assert!(!out.to_string().contains("s3cret"));
    }

    #[test]
    fn what_the_record_level_left_out_is_not_there() {
        let mut statement = finished("SELECT", Outcome::Completed);
        statement.statement.text = None;
        let out = ocsf(&event("postgresql", statement), DEFAULT_VERSION).unwrap();
        assert!(out.get("query_info").is_none());
        assert_eq!(out["database"]["name"], "shop");
    }
}
