//! Events in a line each, and the groups by which they are asked for.

use weir_audit::{
    Body, Decision, Event, EvidenceRead, FileTransferred, Outcome, Ruling, Statement,
    StatementFinished,
};

use super::table::{Cell, Column, Screen, Style, draw};
use super::text::{counted, duration, grouped, one_line, size};
use super::time::shown;

/// Groups of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Statements that ended
    Statements,
    /// Connections refused
    Refusals,
    /// Files that went through a session
    Files,
    /// Requests to Kubernetes APIs, as they were understood, with the server's Audit-Id
    Kubernetes,
    /// Access requests: raised, decided, ended
    Requests,
    /// What an auditor must look at
    Findings,
    /// Policies and budgets: changed, refused, reset
    Policy,
    /// Connections opened and closed
    Sessions,
    /// Engines started and stopped
    Engine,
    /// Who read evidence
    Reads,
    /// Identities that were cut off or let in again
    Quarantines,
    /// All of these
    All,
}

impl Kind {
    /// The events' own names.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Statements => &["statement_finished"],
            Self::Refusals => &["connection_refused"],
            Self::Files => &["file_transferred"],
            Self::Kubernetes => &["kubernetes_answered"],
            Self::Requests => &[
                "access_request_created",
                "access_request_decided",
                "access_request_closed",
            ],
            Self::Findings => &["finding"],
            Self::Policy => &["policy_changed", "budgets_reset"],
            Self::Sessions => &["connection_opened", "connection_closed"],
            Self::Engine => &["engine_started", "engine_stopped"],
            Self::Quarantines => &["quarantine_changed"],
            Self::Reads => &["evidence_read"],
            Self::All => &[
                "statement_finished",
                "file_transferred",
                "kubernetes_answered",
                "connection_refused",
                "access_request_created",
                "access_request_decided",
                "access_request_closed",
                "finding",
                "policy_changed",
                "budgets_reset",
                "connection_opened",
                "connection_closed",
                "engine_started",
                "engine_stopped",
                "evidence_read",
                "quarantine_changed",
                "labelled_values_seen",
            ],
        }
    }
}

const STATEMENTS: [Column; 9] = [
    Column::text("TIME (UTC)"),
    Column::text("AUDIT ID"),
    Column::text("IDENTITY"),
    Column::text("DECISION"),
    Column::number("ROWS"),
    Column::text("OUTCOME"),
    Column::detail("RULE"),
    Column::detail("MASKED"),
    Column::detail("STATEMENT"),
];

const OTHERS: [Column; 5] = [
    Column::text("TIME (UTC)"),
    Column::text("AUDIT ID"),
    Column::text("IDENTITY"),
    Column::text("EVENT"),
    Column::detail("WHAT"),
];

const FILES: [Column; 7] = [
    Column::text("TIME (UTC)"),
    Column::text("AUDIT ID"),
    Column::text("IDENTITY"),
    Column::text("WAY"),
    Column::number("SIZE"),
    Column::detail("SHA-256"),
    Column::detail("PATH"),
];

/// Events as a table: of statements or files, if all are.
pub(super) fn render(events: &[Event], more: bool, screen: Screen) -> String {
    if events.is_empty() {
        return "no event fits\n".to_owned();
    }
    let statements: Option<Vec<Vec<Cell>>> = events
        .iter()
        .map(|event| match &event.body {
            Body::StatementFinished(finished) => Some(statement_row(event, finished)),
            _ => None,
        })
        .collect();
    let files: Option<Vec<Vec<Cell>>> = events
        .iter()
        .map(|event| match &event.body {
            Body::FileTransferred(file) => Some(file_row(event, file)),
            _ => None,
        })
        .collect();
    let mut out = match (statements, files) {
        (Some(rows), _) => draw(&STATEMENTS, &rows, screen),
        (None, Some(rows)) => draw(&FILES, &rows, screen),
        (None, None) => draw(&OTHERS, &events.iter().map(row).collect::<Vec<_>>(), screen),
    };
    if more {
        out.push_str("… and older ones: see --limit and --until\n");
    }
    out
}

fn statement_row(event: &Event, finished: &StatementFinished) -> Vec<Cell> {
    let masked: Vec<String> = finished.masked.iter().map(one_line).collect();
    vec![
        shown(event.time).into(),
        audit_id(event).into(),
        identity(event).into(),
        decision(finished),
        if is_channel(&finished.statement) {
            size(finished.bytes).into()
        } else {
            grouped(finished.rows).into()
        },
        outcome(&finished.outcome),
        rules(finished).into(),
        Cell::styled(masked.join(", "), Style::Waits),
        one_line(&asked(&finished.statement)).into(),
    ]
}

fn file_row(event: &Event, file: &FileTransferred) -> Vec<Cell> {
    vec![
        shown(event.time).into(),
        audit_id(event).into(),
        identity(event).into(),
        way(file),
        size(file.bytes).into(),
        digest(file).into(),
        (one_line(&file.path) + &part(file)).into(),
    ]
}

/// Which way a file went.
/// A request as people write it: `get pods/exec.apps in default: web-0`.
fn asked_of_kubernetes(request: &weir_audit::KubernetesAnswered) -> String {
    let mut text = request.verb.to_string();
    let parts = [
        (" ", &request.resource),
        ("/", &request.subresource),
        (".", &request.group),
        (" in ", &request.namespace),
        (": ", &request.name),
    ];
    for (before, part) in parts {
        if !part.is_empty() {
            text.push_str(before);
            text.push_str(&one_line(part));
        }
    }
    if request.dry_run {
        text.push_str(" (dry run)");
    }
    text
}

fn way(file: &FileTransferred) -> Cell {
    file.direction.as_str().into()
}

fn digest(file: &FileTransferred) -> String {
    file.sha256
        .map_or_else(|| "(not in order)".to_owned(), |digest| digest.to_string())
}

/// What is to be said of a file that did not go as a whole.
fn part(file: &FileTransferred) -> String {
    match (file.complete, file.offset) {
        (true, 0) => String::new(),
        (true, offset) => format!(" (from byte {})", grouped(offset)),
        (false, 0) => " (not to its end)".to_owned(),
        (false, offset) => format!(" (from byte {}, not to its end)", grouped(offset)),
    }
}

fn row(event: &Event) -> Vec<Cell> {
    let (word, what) = summary(event);
    vec![
        shown(event.time).into(),
        audit_id(event).into(),
        identity(event).into(),
        word,
        what.into(),
    ]
}

/// `SESSION/NUMBER`, as a refused client is told it; the event's own id where there is no session.
pub(super) fn audit_id(event: &Event) -> String {
    let number = match &event.body {
        Body::StatementFinished(finished) => Some(finished.statement.number),
        Body::StatementStarted(started) => Some(started.statement.number),
        Body::AccessRequestCreated(request) => Some(request.number),
        Body::RecordingChunk(chunk) => Some(chunk.statement),
        Body::FileTransferred(file) => Some(file.statement),
        Body::KubernetesAnswered(request) => Some(request.statement),
        Body::LabelledValuesSeen(seen) => Some(seen.statement),
        Body::ConnectionRefused(_) => Some(0),
        _ => None,
    };
    match (&event.session, number) {
        (Some(session), Some(number)) => format!("{}/{number}", session.id),
        (Some(session), None) => session.id.to_string(),
        (None, _) => event.id.to_string(),
    }
}

/// Who, if anybody.
pub(super) fn identity(event: &Event) -> String {
    event
        .session
        .as_ref()
        .map(|session| one_line(&session.identity.name))
        .unwrap_or_default()
}

/// The same where room is short: in a cluster `namespace/service-account`.
pub(super) fn short_identity(event: &Event) -> String {
    let who = event.session.as_ref().map(|session| &session.identity);
    match who.map(|who| (who.namespace.as_deref(), who.service_account.as_deref())) {
        Some((Some(namespace), Some(account))) => one_line(&format!("{namespace}/{account}")),
        _ => identity(event),
    }
}

/// The decision in a word.
pub(super) fn decision(finished: &StatementFinished) -> Cell {
    let statement = &finished.statement;
    match statement.decision {
        Decision::Deny => Cell::styled("denied", Style::Bad),
        Decision::Hold => Cell::styled("held", Style::Waits),
        Decision::Permit if !statement.would_deny.is_empty() => {
            Cell::styled("would deny", Style::Waits)
        }
        Decision::Permit if !finished.masked.is_empty() => Cell::styled("masked", Style::Waits),
        Decision::Permit => Cell::styled("permitted", Style::Good),
    }
}

/// How it ended, in a word or two.
pub(super) fn outcome(outcome: &Outcome) -> Cell {
    match outcome {
        Outcome::Completed => "completed".into(),
        Outcome::Failed { code } if code.starts_with("exit ") || code.starts_with("signal ") => {
            Cell::styled(one_line(code), Style::Waits)
        }
        Outcome::Failed { code } => Cell::styled(format!("error {}", one_line(code)), Style::Waits),
        Outcome::Denied => Cell::styled("denied", Style::Bad),
        Outcome::Cancelled => "cancelled".into(),
        Outcome::Aborted => Cell::styled("aborted", Style::Waits),
        Outcome::LimitExceeded => Cell::styled("over limit", Style::Bad),
    }
}

/// The rules that decided, or would have.
pub(super) fn rules(finished: &StatementFinished) -> String {
    let statement = &finished.statement;
    let names = statement.rules.iter().chain(statement.would_deny.iter());
    names.map(one_line).collect::<Vec<_>>().join(", ")
}

/// Whether it is one of SSH: their commands are in small letters, the tags of SQL are not.
pub(super) fn is_channel(statement: &Statement) -> bool {
    let command = statement.command.as_deref();
    command.is_some_and(|command| command.starts_with(|first: char| first.is_ascii_lowercase()))
}

/// What was asked for, or what stands for it. Of SSH a path alone would not say it.
pub(super) fn asked(statement: &Statement) -> String {
    let channel = is_channel(statement);
    match (statement.text.as_deref(), statement.command.as_deref()) {
        (Some(text), Some(command)) if channel && command != "exec" => {
            format!("{command} {text}").trim_end().to_owned()
        }
        (Some(text), _) => text.to_owned(),
        (None, Some("shell")) => "shell".to_owned(),
        (None, Some(command)) => format!("{command} (text not recorded)"),
        (None, None) => "(text not recorded)".to_owned(),
    }
}

/// How much the client got.
pub(super) fn moved(finished: &StatementFinished) -> String {
    if is_channel(&finished.statement) {
        size(finished.bytes)
    } else {
        counted(finished.rows, "row")
    }
}

/// Any event: a word, and what is to be said.
pub(super) fn summary(event: &Event) -> (Cell, String) {
    let session = event.session.as_deref();
    match &event.body {
        Body::StatementFinished(finished) => {
            let mut said = match &finished.statement.reason {
                Some(reason) => format!("{} · ", one_line(reason)),
                None => format!("{} · ", moved(finished)),
            };
            said.push_str(&one_line(&asked(&finished.statement)));
            (decision(finished), said)
        }
        Body::StatementStarted(started) => (
            "starts".into(),
            started
                .statement
                .text
                .as_deref()
                .map(one_line)
                .unwrap_or_default(),
        ),
        Body::ConnectionOpened(_) => {
            let part = |part: Option<&str>| part.map(one_line).unwrap_or_else(|| "?".to_owned());
            let target = part(session.and_then(|session| session.target.as_deref()));
            let database = part(session.and_then(|session| session.database.as_deref()));
            let user = part(session.and_then(|session| session.user.as_deref()));
            let ssh = session.is_some_and(|session| session.protocol.as_deref() == Some("ssh"));
            let what = match ssh {
                true => format!("{target}, user {user}"),
                false => format!("{target}, database {database}, user {user}"),
            };
            ("opened".into(), what)
        }
        Body::ConnectionClosed(closed) => {
            let lasted = duration(std::time::Duration::from_micros(closed.duration_us));
            let statements = counted(closed.statements, "statement");
            let rows = counted(closed.rows, "row");
            let why = one_line(&closed.reason);
            (
                "closed".into(),
                format!("{why} after {lasted}: {statements}, {rows}"),
            )
        }
        Body::ConnectionRefused(refused) => (
            Cell::styled("refused", Style::Bad),
            one_line(&refused.reason),
        ),
        Body::RecordingChunk(chunk) => (
            "recorded".into(),
            counted(super::text::as_u64(chunk.rows.len()), "row"),
        ),
        Body::FileTransferred(file) => {
            let (path, part) = (one_line(&file.path), part(file));
            let (size, protocol) = (size(file.bytes), file.protocol.as_str());
            let digest = digest(file);
            (
                way(file),
                format!("{path}{part}, {size} by {protocol}, SHA-256 {digest}"),
            )
        }
        Body::KubernetesAnswered(request) => {
            let joined = request.server_audit_id.as_deref();
            let joined =
                joined.map_or_else(String::new, |id| format!(", Audit-Id {}", one_line(id)));
            (
                "answered".into(),
                format!(
                    "{} with {}{joined}",
                    asked_of_kubernetes(request),
                    request.code
                ),
            )
        }
        Body::AccessRequestCreated(request) => (
            Cell::styled("held", Style::Waits),
            format!(
                "{} at row {}: {} · {}",
                request.name,
                grouped(request.rows),
                one_line(&request.reason),
                one_line(&request.statement)
            ),
        ),
        Body::AccessRequestDecided(decided) => {
            let (word, style, said) = match &decided.ruling {
                Ruling::Approve { rows: None } => ("approved", Style::Good, String::new()),
                Ruling::Approve { rows: Some(rows) } => (
                    "approved",
                    Style::Good,
                    format!(" for {}", counted(*rows, "row")),
                ),
                Ruling::Deny { reason } => {
                    ("denied", Style::Bad, format!(": {}", one_line(reason)))
                }
            };
            let (have, needed) = (decided.approvals, decided.needed);
            let many = if needed > 1 {
                format!(" ({have} of {needed})")
            } else {
                String::new()
            };
            let by = one_line(&decided.approver);
            let shape = match decided.minutes {
                Some(minutes) => format!(
                    ", every statement of its shape, for {}",
                    counted(u64::from(minutes), "minute")
                ),
                None => String::new(),
            };
            (
                Cell::styled(word, style),
                format!("{} by {by}{many}{said}{shape}", decided.name),
            )
        }
        Body::AccessRequestRepeated(repeated) => (
            Cell::styled("held", Style::Waits),
            format!("{} too: {} wait for it", repeated.name, repeated.count),
        ),
        Body::AccessRequestClosed(closed) => {
            let held = duration(std::time::Duration::from_millis(closed.held_ms));
            let how = format!("{:?}", closed.closing).to_lowercase();
            let how = if how == "clientgone" {
                "the client is gone".to_owned()
            } else {
                how
            };
            (
                "hold ended".into(),
                format!("{} after {held}: {how}", closed.name),
            )
        }
        Body::PolicyChanged(changed) => match &changed.refused {
            Some(why) => (
                Cell::styled("policy", Style::Bad),
                format!(
                    "refused, revision {} stays: {}",
                    changed.revision,
                    one_line(why)
                ),
            ),
            None => (
                "policy".into(),
                format!("revision {} is in force", changed.revision),
            ),
        },
        Body::LabelledValuesSeen(seen) => {
            let mut text = format!(
                "{} of {}",
                counted(seen.values.len() as u64, "value"),
                one_line(&seen.label)
            );
            if seen.beyond > 0 || seen.uncertain > 0 {
                text.push_str(", and others");
            }
            ("seen".into(), text)
        }
        Body::QuarantineChanged(changed) => {
            let (word, done) = match changed.on {
                true => ("CUT OFF", "cut off"),
                false => ("let in", "let in again"),
            };
            let style = if changed.on { Style::Bad } else { Style::Waits };
            let by = match &*changed.by {
                "" => String::new(),
                by => format!(" by {}", one_line(by)),
            };
            (
                Cell::styled(word, style),
                format!(
                    "{} was {done}{by}: {} ({})",
                    one_line(&changed.subject),
                    one_line(&changed.reason),
                    one_line(&changed.name)
                ),
            )
        }
        Body::BudgetsReset(reset) => (
            Cell::styled("budgets", Style::Waits),
            format!("reset by {}", one_line(&reset.operator)),
        ),
        Body::Finding(finding) => {
            let code = serde_json::to_value(finding.code).ok();
            let code = code
                .as_ref()
                .and_then(|code| code.as_str())
                .unwrap_or("other")
                .to_owned();
            (
                Cell::styled("FINDING", Style::Bad),
                format!("{code}: {}", one_line(&finding.message)),
            )
        }
        Body::EngineStarted(started) => (
            "engine".into(),
            format!("started, weir {}", one_line(&started.version)),
        ),
        Body::EngineStopped(_) => ("engine".into(), "stopped in order".to_owned()),
        Body::EvidenceRead(read) => (
            Cell::styled("read", Style::Dim),
            format!("{} read {}", one_line(&read.reader), what_was_read(read)),
        ),
        Body::Heartbeat(beat) => (
            "engine".into(),
            format!("lives, {}", counted(beat.open_sessions, "open session")),
        ),
    }
}

/// The path that was asked, what was asked of it, and from where.
fn what_was_read(read: &EvidenceRead) -> String {
    let mut text = one_line(&read.path);
    if !read.query.is_empty() {
        text = format!("{text}?{}", one_line(&read.query));
    }
    if let Some(namespace) = &read.namespace {
        text = format!("{text} in {}", one_line(namespace));
    }
    if let Some(address) = &read.address {
        text = format!("{text} from {}", one_line(address));
    }
    text
}
