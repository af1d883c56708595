//! Sessions, search and findings.
//!
//! Invariant: nothing is looked up before it is known that this person may read it, and before that
//! they read it is on record.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use askama::Template;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use weir_audit::{EvidenceRead, FindingCode, Timestamp};
use weir_serve::Body;

use super::Inner;
use super::access::Reads;
use super::assets;
use super::frame::{Frame, Here, page, see};
use super::holds::person;
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::{Asked, Fields, way_back};
use super::rows::{EventRow, SessionRow, tone_of};
use super::sessions::{Notice, Session};
use super::show::{count, moment};
use crate::api::{Caller, Scope};
use crate::evidence::OnRecord;
use crate::store::Reach;
use crate::{Collector, CollectorError, Filter, SessionFilter};

const PAGE: usize = 50;
/// What can be searched for, and what it is called.
const KINDS: &[(&str, &str)] = &[
    ("statement_finished", "statements"),
    ("access_request_created", "holds raised"),
    ("access_request_decided", "decisions"),
    ("access_request_closed", "holds ended"),
    ("connection_opened", "connections"),
    ("connection_refused", "connections refused"),
    ("connection_closed", "connections closed"),
    ("file_transferred", "files"),
    ("kubernetes_answered", "requests to Kubernetes"),
    ("policy_changed", "policies changed"),
    ("quarantine_changed", "quarantines"),
    ("finding", "findings"),
    ("evidence_read", "reads of evidence"),
    ("engine_started", "engines started"),
];

/// The fields of a search as they were filled in.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) within: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) identity: String,
    pub(super) target: String,
    pub(super) table: String,
    pub(super) label: String,
    pub(super) decision: String,
    pub(super) kind: String,
    pub(super) approver: String,
    pub(super) text: String,
}

impl Filled {
    pub(super) fn read(fields: &Fields) -> Self {
        let text = |name| fields.text(name).unwrap_or_default().to_owned();
        Self {
            within: text("within"),
            since: text("since"),
            until: text("until"),
            identity: text("identity"),
            target: text("target"),
            table: text("table"),
            label: text("label"),
            decision: text("decision"),
            kind: text("kind"),
            approver: text("approver"),
            text: text("text"),
        }
    }
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    filled: Filled,
    sessions: Vec<SessionRow>,
    next: Option<String>,
    export: String,
    first: bool,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    filled: Filled,
    asked: bool,
    events: Vec<EventRow>,
    next: Option<String>,
    export: String,
}

struct Kind {
    code: &'static str,
    name: String,
    tone: &'static str,
    count: String,
    here: bool,
}

#[derive(Template)]
#[template(path = "findings.html")]
struct FindingsPage {
    frame: Frame,
    kinds: Vec<Kind>,
    events: Vec<FindingRow>,
    all: bool,
    more: bool,
}

struct FindingRow {
    time: String,
    name: String,
    severity: &'static str,
    tone: &'static str,
    message: Html,
    /// Who found it.
    by: Html,
    session: Option<String>,
}

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage<'a> {
    frame: Frame,
    why: &'a str,
    next: &'a str,
}

/// What somebody may read, and that they do is on record.
pub(super) struct Reading {
    /// This namespace, or all.
    pub(super) namespace: Option<String>,
    pub(super) on: OnRecord,
}

impl Inner {
    pub(super) async fn session_page(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let fields = &asked.fields;
        let (since, until) = window(fields)?;
        let mut filter = SessionFilter {
            since,
            until,
            identity: fields.text("identity").map(str::to_owned),
            target: fields.text("target").map(str::to_owned),
            limit: Some(PAGE),
            cursor: fields.text("cursor").map(str::to_owned),
            ..SessionFilter::default()
        };
        let reads = self.reading(session, asked).await?;
        filter.namespace = reads.namespace;
        let found = self.blocking(&reads.on, move |store| store.sessions(&filter));
        let found = found.await?;
        page(&SessionsPage {
            frame: self.frame(session, Here::Sessions).await,
            filled: Filled::read(fields),
            sessions: found.sessions.iter().map(SessionRow::from).collect(),
            next: found
                .next
                .map(|cursor| further("/ui/sessions", &asked.query, &cursor)),
            export: export("sessions", fields, session)?,
            first: fields.text("cursor").is_none(),
        })
    }

    pub(super) async fn search_page(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let fields = &asked.fields;
        let mut frame_only = SearchPage {
            frame: self.frame(session, Here::Search).await,
            filled: Filled::read(fields),
            asked: !asked.query.is_empty(),
            events: Vec::new(),
            next: None,
            export: String::new(),
        };
        if asked.query.is_empty() {
            frame_only.filled.within = "24h".to_owned();
            return page(&frame_only);
        }
        let mut filter = filter(fields)?;
        filter.limit = Some(PAGE);
        filter.cursor = fields.text("cursor").map(str::to_owned);
        let reads = self.reading(session, asked).await?;
        filter.namespace = reads.namespace;
        let found = self.blocking(&reads.on, move |store| store.query(&filter));
        let found = found.await?;
        page(&SearchPage {
            events: found.events.iter().map(EventRow::new).collect(),
            next: found
                .next
                .map(|cursor| further("/ui/search", &asked.query, &cursor)),
            export: export("events", fields, session)?,
            ..frame_only
        })
    }

    pub(super) async fn findings_page(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let wanted = asked.fields.text("code");
        let reads = self.reading(session, asked).await?;
        let filter = Filter {
            kind: Some("finding".to_owned()),
            since: Some(super::rows::days_ago(SystemTime::now().into(), 90)),
            namespace: reads.namespace,
            limit: Some(1000),
            ..Filter::default()
        };
        let found = self.blocking(&reads.on, move |store| store.query(&filter));
        let found = found.await?;
        let findings: Vec<_> = found
            .events
            .iter()
            .filter_map(|event| match &event.body {
                weir_audit::Body::Finding(finding) => Some((event, finding)),
                _ => None,
            })
            .collect();
        let kinds = FindingCode::ALL.iter().filter_map(|code| {
            let number = findings
                .iter()
                .filter(|(_, finding)| finding.code == *code)
                .count();
            (number > 0).then(|| Kind {
                code: code.as_str(),
                name: code.as_str().replace('_', " "),
                tone: tone_of(code.severity()).class(),
                count: count(u64::try_from(number).unwrap_or(u64::MAX)),
                here: wanted == Some(code.as_str()),
            })
        });
        let shown = findings
            .iter()
            .filter(|(_, finding)| wanted.is_none_or(|wanted| finding.code.as_str() == wanted));
        let rows = shown.map(|(event, finding)| FindingRow {
            time: moment(event.time),
            name: finding.code.as_str().replace('_', " "),
            severity: finding.code.severity().as_str(),
            tone: tone_of(finding.code.severity()).class(),
            message: visible(&finding.message),
            by: visible(event.id.engine.as_str()),
            session: finding.subject.map(|subject| subject.to_string()),
        });
        page(&FindingsPage {
            kinds: kinds.collect(),
            events: rows.collect(),
            all: wanted.is_none(),
            more: found.next.is_some(),
            frame: self.frame(session, Here::Findings).await,
        })
    }

    /// The API's reading paths, for somebody with a session instead of a token.
    pub(super) async fn through_api(
        &self,
        session: &Session,
        asked: &Asked,
        rest: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let reads = self.reads(session, asked).await?;
        let path = format!("/{rest}?{}", asked.query);
        let uri = path.trim_end_matches('?').parse();
        *request.uri_mut() = uri.map_err(|_| Problem::bad("this is no address".to_owned()))?;
        let caller = Caller::Auditor(self.scope(session, asked, reads));
        let answer = self.api.route(request, &caller).await;
        Ok(answer.unwrap_or_else(|refusal| refusal.answer()))
    }

    fn scope(&self, session: &Session, asked: &Asked, reads: Reads) -> Scope {
        let (access, sessions) = (Arc::clone(&self.access), Arc::clone(&self.sessions));
        let (session, namespace) = (session.clone(), reads.namespace.clone());
        Scope {
            user: Arc::clone(&session.who.name),
            person: person(&session.who),
            address: asked.from.ip().to_canonical().to_string().into(),
            namespace: reads.namespace,
            still: Arc::new(move || {
                let (access, sessions) = (Arc::clone(&access), Arc::clone(&sessions));
                let (session, namespace) = (session.clone(), namespace.clone());
                Box::pin(async move {
                    sessions.lives(&session)
                        && access.still(&session.who, namespace.as_deref()).await
                })
            }),
        }
    }

    /// What this person may read, put on record as read.
    pub(super) async fn reading(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Reading, Problem> {
        let Reads { namespace } = self.reads(session, asked).await?;
        let read = read_of(session, asked, namespace.as_deref());
        let on = self.evidence.read_by(read).await?;
        Ok(Reading { namespace, on })
    }

    async fn reads(&self, session: &Session, asked: &Asked) -> Result<Reads, Problem> {
        let namespace = session.namespace.as_deref();
        let reads = self.access.reads(&session.who, namespace).await;
        reads.map_err(|problem| Problem {
            // Whoever may not read everything may be able to read one namespace.
            choose: problem.status == StatusCode::FORBIDDEN
                && self.access.has_namespaces()
                && asked.path.starts_with("/ui/")
                && !asked.path.starts_with("/ui/api/"),
            ..problem
        })
    }

    /// Asks for the namespace to look at.
    pub(super) fn which_namespace(
        frame: Frame,
        asked: &Asked,
        why: &str,
    ) -> Result<Response<Body>, Problem> {
        let next = way_back(Some(&asked.path));
        let mut response = page(&NamespacePage { frame, why, next })?;
        *response.status_mut() = StatusCode::FORBIDDEN;
        Ok(response)
    }

    /// Looks at one namespace, or at none in particular.
    pub(super) fn look_at(&self, session: &Session, form: &Fields) -> Response<Body> {
        let namespace = form.text("namespace").filter(|name| name.len() <= 63);
        self.sessions.look_at(session, namespace.map(Into::into));
        if namespace.is_none() {
            let text = "You look at no namespace in particular now.".to_owned();
            self.sessions.tell(session, Notice { good: true, text });
        }
        see(way_back(form.text("next")))
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        on: &OnRecord,
        act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.evidence.open(on).reading(Reach::Page, act).await?)
    }

    /// The same for what reads all that there is.
    pub(super) async fn whole<T: Send + 'static>(
        &self,
        on: &OnRecord,
        act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.evidence.open(on).reading(Reach::Whole, act).await?)
    }
}

/// A read as evidence has it.
pub(super) fn read_of(session: &Session, asked: &Asked, namespace: Option<&str>) -> EvidenceRead {
    EvidenceRead {
        reader: Arc::clone(&session.who.name),
        address: Some(asked.from.ip().to_canonical().to_string().into()),
        path: asked.path.as_str().into(),
        query: asked.query.as_str().into(),
        namespace: namespace.map(Into::into),
    }
}

fn filter(fields: &Fields) -> Result<Filter, Problem> {
    let (since, until) = window(fields)?;
    let text = |name| fields.text(name).map(str::to_owned);
    Ok(Filter {
        since,
        until,
        identity: text("identity"),
        target: text("target"),
        table: text("table"),
        label: text("label"),
        decision: text("decision"),
        kind: text("kind"),
        approver: text("approver"),
        text: text("text"),
        session: fields.parsed("session")?,
        sha256: fields.parsed("sha256")?,
        ..Filter::default()
    })
}

/// From when to when: `within` a span until now, or two times.
pub(super) fn window(fields: &Fields) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
    let now = Timestamp::from(SystemTime::now());
    let since = match fields.text("within") {
        Some(within) => Some(now.minus(within_of(within)?)),
        None => None,
    };
    let since = time(fields, "since")?.or(since);
    Ok((since, time(fields, "until")?))
}

fn within_of(text: &str) -> Result<Duration, Problem> {
    let hours = match text {
        "1h" => 1,
        "24h" => 24,
        "7d" => 7 * 24,
        "30d" => 30 * 24,
        "90d" => 90 * 24,
        _ => return Err(Problem::bad(format!("within cannot be {text:?}"))),
    };
    Ok(Duration::from_secs(hours * 3600))
}

/// A time, with its zone or, as browsers send it, in UTC without one.
fn time(fields: &Fields, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = fields.text(name) else {
        return Ok(None);
    };
    let zoned = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    let time = zoned.parse();
    time.map(Some)
        .map_err(|_| Problem::bad(format!("{name} is no time: {text:?}")))
}

/// The next page of the same question.
fn further(path: &str, query: &str, cursor: &str) -> String {
    let mut all = form_urlencoded::Serializer::new(String::new());
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor");
    all.extend_pairs(kept).append_pair("cursor", cursor);
    format!("{path}?{}", all.finish())
}

/// The same question to the API, without a format.
fn export(what: &str, fields: &Fields, session: &Session) -> Result<String, Problem> {
    let mut all = form_urlencoded::Serializer::new(String::new());
    let (since, until) = window(fields)?;
    for (name, time) in [("since", since), ("until", until)] {
        if let Some(time) = time {
            all.append_pair(name, &time.to_string());
        }
    }
    let names: &[&str] = match what {
        "sessions" => &["identity", "target"],
        _ => &[
            "identity", "target", "table", "label", "decision", "kind", "approver", "text",
            "session", "sha256",
        ],
    };
    for name in names {
        if let Some(value) = fields.text(name) {
            all.append_pair(name, value);
        }
    }
    if let Some(namespace) = &session.namespace {
        all.append_pair("namespace", namespace);
    }
    all.append_pair("limit", "10000");
    Ok(format!("/ui/api/v1/{what}?{}", all.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_with_and_without_a_zone() {
        for text in [
            "2026-11-28T09:41:00Z",
            "2026-11-28T09:41",
            "2026-11-28T09:41:00",
            "2026-11-28T10:41:00+01:00",
        ] {
            let fields =
                Fields::parse(format!("since={}", super::super::door::encoded(text)).as_bytes());
            let since = window(&fields).ok().unwrap().0.unwrap();
            assert_eq!(since.to_string(), "2026-11-28T09:41:00.000000Z", "{text}");
        }
        assert!(window(&Fields::parse(b"since=yesterday")).is_err());
        assert!(window(&Fields::parse(b"within=3h")).is_err());
    }

    #[test]
    fn the_next_page_asks_the_same() {
        let next = further("/ui/search", "text=a+b&cursor=1&label=pii.*", "2.x");
        assert_eq!(next, "/ui/search?text=a+b&label=pii.*&cursor=2.x");
    }
}
