//! Events and sessions in a line each, as pages show them.

use std::time::Duration;

use weir_audit::{
    Body, Closing, Decision, Event, Outcome, Ruling, Session, Severity, Statement, Timestamp,
};

use super::html::{Html, visible};
use super::show::{between, count, counted, moment, short_name, size, span};
use super::sql::{self, Shown};
use crate::SessionSummary;

/// Bytes of a statement in a list; the rest is a click away.
const IN_A_LIST: usize = 600;

/// A session in a list.
pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) opened: String,
    pub(super) who: Html,
    pub(super) full_name: String,
    pub(super) target: Html,
    pub(super) login: Html,
    pub(super) statements: String,
    pub(super) rows: String,
    pub(super) denials: u64,
    pub(super) holds: u64,
    pub(super) lasted: String,
    pub(super) open: bool,
    pub(super) outcome: Html,
}

impl From<&SessionSummary> for SessionRow {
    fn from(summary: &SessionSummary) -> Self {
        let session = &summary.session;
        Self {
            id: session.id.to_string(),
            opened: moment(summary.opened),
            who: visible(short_name(&session.identity.name)),
            full_name: session.identity.name.to_string(),
            target: visible(session.target.as_deref().unwrap_or("–")),
            login: visible(&login(session)),
            statements: count(summary.statements),
            rows: count(summary.rows),
            denials: summary.denials,
            holds: summary.holds,
            lasted: span(between(
                summary.opened,
                summary.closed.unwrap_or(summary.last),
            )),
            open: summary.closed.is_none(),
            outcome: visible(summary.outcome.as_deref().unwrap_or_default()),
        }
    }
}

/// As whom, and where.
pub(super) fn login(session: &Session) -> String {
    match (session.user.as_deref(), session.database.as_deref()) {
        (Some(user), Some(database)) => format!("{user} in {database}"),
        (Some(user), None) => user.to_owned(),
        (None, Some(database)) => database.to_owned(),
        (None, None) => session.protocol.as_deref().unwrap_or_default().to_owned(),
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// An event in a list.
pub(super) struct EventRow {
    pub(super) time: String,
    pub(super) badge: String,
    pub(super) tone: Tone,
    pub(super) who: Option<Html>,
    pub(super) target: Html,
    /// Where it is replayed.
    pub(super) replay: Option<String>,
    pub(super) text: Option<Shown>,
    /// What is said of it, each in a few words.
    pub(super) facts: Vec<Html>,
}

impl EventRow {
    pub(super) fn new(event: &Event) -> Self {
        let session = event.session.as_deref();
        let told = told(&event.body);
        let replay = session.map(|session| match told.statement {
            Some(number) => format!("/ui/sessions/{}#s={number}", session.id),
            None => format!("/ui/sessions/{}", session.id),
        });
        Self {
            time: moment(event.time),
            badge: told.badge,
            tone: told.tone,
            who: session.map(|session| visible(short_name(&session.identity.name))),
            target: visible(
                session
                    .and_then(|s| s.target.as_deref())
                    .unwrap_or_default(),
            ),
            replay,
            text: told.text,
            facts: told.facts.iter().map(|fact| visible(fact)).collect(),
        }
    }
}

struct Told {
    badge: String,
    tone: Tone,
    text: Option<Shown>,
    facts: Vec<String>,
    statement: Option<u64>,
}

impl Told {
    fn new(badge: impl Into<String>, tone: Tone) -> Self {
        Self {
            badge: badge.into(),
            tone,
            text: None,
            facts: Vec::new(),
            statement: None,
        }
    }

    fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    fn names<'a>(mut self, what: &str, names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            self.facts.push(format!("{what} {}", names.join(", ")));
        }
        self
    }
}

/// What an outcome is called, and how it looks.
pub(super) fn outcome(decision: Decision, outcome: &Outcome) -> (String, Tone) {
    match (decision, outcome) {
        (Decision::Deny, _) | (_, Outcome::Denied) => ("denied".to_owned(), Tone::Bad),
        (Decision::Hold, Outcome::Completed) => ("approved".to_owned(), Tone::Good),
        (_, Outcome::Completed) => ("completed".to_owned(), Tone::Good),
        (_, Outcome::Failed { code }) => (format!("failed {code}"), Tone::Warn),
        (_, Outcome::LimitExceeded) => ("over a limit".to_owned(), Tone::Bad),
        (_, Outcome::Cancelled) => ("cancelled".to_owned(), Tone::Warn),
        (_, Outcome::Aborted) => ("aborted".to_owned(), Tone::Warn),
    }
}

fn statement(mut told: Told, statement: &Statement, limit: usize) -> Told {
    told.statement = Some(statement.number);
    told.text = statement
        .text
        .as_deref()
        .map(|text| sql::shown(text, limit));
    if told.text.is_none() {
        let command = statement.command.as_deref().unwrap_or("a statement");
        told.facts
            .push(format!("{command}; its text was not recorded"));
    }
    if let Some(reason) = &statement.reason {
        told.facts.push(reason.to_string());
    }
    told.names("tables", statement.tables.iter())
        .names("labels", statement.labels.iter())
        .names("rules", statement.rules.iter())
        .names("would be denied by", statement.would_deny.iter())
        .names("exceptions", statement.exceptions.iter())
}

fn told(body: &Body) -> Told {
    match body {
        Body::ConnectionOpened(opened) => Told::new("connected", Tone::Plain)
            .fact(if opened.client_tls {
                "TLS from the client"
            } else {
                "no TLS from the client"
            })
            .fact(if opened.upstream_tls {
                "TLS to the server"
            } else {
                "no TLS to the server"
            })
            .names("policies", opened.policies.iter()),
        Body::ConnectionClosed(closed) => Told::new("closed", Tone::Plain)
            .fact(&*closed.reason)
            .fact(counted(closed.statements, "statement", "statements"))
            .fact(counted(closed.rows, "row", "rows"))
            .fact(format!("{} to the client", size(closed.bytes_out)))
            .fact(span(Duration::from_micros(closed.duration_us))),
        Body::ConnectionRefused(refused) => Told::new("refused", Tone::Bad)
            .fact(&*refused.reason)
            .names("rules", refused.rules.iter()),
        Body::StatementStarted(started) => statement(
            Told::new("started", Tone::Plain),
            &started.statement,
            IN_A_LIST,
        ),
        Body::StatementFinished(finished) => {
            let (badge, tone) = outcome(finished.statement.decision, &finished.outcome);
            statement(Told::new(badge, tone), &finished.statement, IN_A_LIST)
                .fact(counted(finished.rows, "row", "rows"))
                .fact(span(Duration::from_micros(finished.duration_us)))
                .names("masked", finished.masked.iter())
        }
        Body::RecordingChunk(chunk) => {
            let rows = u64::try_from(chunk.rows.len()).unwrap_or(u64::MAX);
            Told::new("recording", Tone::Plain)
                .fact(format!("statement {}", chunk.statement))
                .fact(counted(rows, "row", "rows"))
        }
        Body::FileTransferred(file) => Told::new(file.direction.as_str(), Tone::Plain)
            .fact(&*file.path)
            .fact(size(file.bytes))
            .fact(if file.complete {
                "complete"
            } else {
                "not complete"
            })
            .fact(
                file.sha256
                    .map_or("no digest".to_owned(), |sha| format!("sha256 {sha}")),
            ),
        Body::KubernetesAnswered(answered) => {
            let tone = if answered.code < 400 {
                Tone::Good
            } else {
                Tone::Warn
            };
            let place = [
                &*answered.namespace,
                &*answered.resource,
                &*answered.subresource,
                &*answered.name,
            ];
            let place: Vec<_> = place.into_iter().filter(|part| !part.is_empty()).collect();
            Told::new(format!("{} {}", answered.verb, answered.code), tone).fact(place.join(" / "))
        }
        Body::AccessRequestCreated(request) => {
            let mut told = Told::new("held", Tone::Warn);
            told.text = Some(sql::shown(&request.statement, IN_A_LIST));
            told.statement = Some(request.number);
            told.fact(format!("request {}", request.name))
                .fact(&*request.reason)
                .names("rules", request.rules.iter())
                .names("labels", request.labels.iter())
        }
        Body::AccessRequestDecided(decided) => match &decided.ruling {
            Ruling::Approve { .. } => Told::new("approved", Tone::Good),
            Ruling::Deny { .. } => Told::new("denied", Tone::Bad),
        }
        .fact(format!("by {}", decided.approver))
        .fact(format!("request {}", decided.name))
        .fact(match &decided.ruling {
            Ruling::Approve { rows: Some(rows) } => counted(*rows, "row at most", "rows at most"),
            Ruling::Approve { rows: None } => {
                format!("{} of {}", decided.approvals, decided.needed)
            }
            Ruling::Deny { reason } => reason.to_string(),
        }),
        Body::AccessRequestClosed(closed) => {
            let (badge, tone) = closing(closed.closing);
            Told::new(format!("hold {badge}"), tone)
                .fact(format!("request {}", closed.name))
                .fact(format!(
                    "after {}",
                    span(Duration::from_millis(closed.held_ms))
                ))
        }
        Body::PolicyChanged(changed) => match &changed.refused {
            Some(why) => Told::new("policy refused", Tone::Bad).fact(&**why),
            None => Told::new("policy", Tone::Plain),
        }
        .fact(format!("revision {}", changed.revision))
        .fact(format!("digest {}", changed.digest)),
        Body::BudgetsReset(reset) => {
            Told::new("budgets reset", Tone::Warn).fact(format!("by {}", reset.operator))
        }
        Body::Finding(finding) => Told::new(
            finding.code.as_str().replace('_', " "),
            tone_of(finding.code.severity()),
        )
        .fact(&*finding.message),
        Body::EngineStarted(started) => {
            Told::new("engine started", Tone::Plain).fact(format!("version {}", started.version))
        }
        Body::Heartbeat(heartbeat) => Told::new("heartbeat", Tone::Plain).fact(counted(
            heartbeat.open_sessions,
            "open session",
            "open sessions",
        )),
        Body::AccessRequestRepeated(repeated) => Told::new("held again", Tone::Warn)
            .fact(format!("request {}", repeated.name))
            .fact(format!("{} wait for it", repeated.count)),
        Body::QuarantineChanged(changed) => match changed.on {
            true => Told::new("cut off", Tone::Bad),
            false => Told::new("let in again", Tone::Good),
        }
        .fact(&*changed.subject)
        .fact(format!("by {}", changed.by))
        .fact(&*changed.reason),
        Body::LabelledValuesSeen(seen) => Told::new("values seen", Tone::Plain)
            .fact(&*seen.label)
            .fact(counted(seen.values.len() as u64, "value", "values"))
            .fact(match seen.beyond + seen.uncertain {
                0 => String::new(),
                _ => "and others".to_owned(),
            }),
        Body::EvidenceRead(read) => Told::new("evidence read", Tone::Plain)
            .fact(format!("by {}", read.reader))
            .fact(format!("{} {}", read.path, read.query)),
        other => Told::new(other.kind().replace('_', " "), Tone::Plain),
    }
}

/// What the end of a hold is called, and how it looks.
pub(super) fn closing(closing: Closing) -> (&'static str, Tone) {
    match closing {
        Closing::Approved => ("approved", Tone::Good),
        Closing::Denied => ("denied", Tone::Bad),
        Closing::Expired => ("expired", Tone::Warn),
        Closing::ClientGone => ("withdrawn", Tone::Plain),
        Closing::Stopped => ("stopped", Tone::Plain),
        Closing::Superseded => ("superseded", Tone::Plain),
    }
}

pub(super) fn tone_of(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Plain,
        Severity::Low | Severity::Medium => Tone::Warn,
        Severity::High | Severity::Critical => Tone::Bad,
    }
}

/// Since when a finding is looked for.
pub(super) fn days_ago(now: Timestamp, days: u64) -> Timestamp {
    now.minus(Duration::from_secs(days * 86_400))
}
