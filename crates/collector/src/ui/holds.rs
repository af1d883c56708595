//! Holds: what waits for people, and their decisions.
//!
//! Invariants
//! - Who may see and decide is the desk's to say, for each person and each request, when the page is
//!   made and again when they decide.
//! - A decision names the request by its UID, as the page showed it: of what was replaced meanwhile
//!   nothing is decided.
//! - No part of a statement is missing without its size being told.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use askama::Template;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame as Chunk};
use hyper::{Response, StatusCode, header};
use tokio::sync::mpsc;
use weir_api::kinds::{AccessRequestPhase, AccessRequestStatus, Binding, RequestDecision};
use weir_audit::{Body as What, Timestamp};
use weir_serve::Body;
use weir_uplink::control::{DecisionAsked, Person, RequestView, RequestsListed};

use super::Inner;
use super::assets;
use super::door::encoded;
use super::frame::{Frame, Here, answer, page, see, unchanged};
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::{Asked, Fields};
use super::rows::Tone;
use super::sessions::{Notice, Proof, Session, Who};
use super::show::{between, count, counted, moment, short_name, size, span};
use super::sql::{self, Shown};
use crate::api::{Desk, DeskError};

/// Bytes of a statement that a page shows; the rest is a link away.
const TEXT: usize = 128 << 10;
/// Bytes of it in the list.
const IN_A_LIST: usize = 160;
/// Decisions of the past that are shown.
const HISTORY: usize = 12;
/// A page that hears nothing looks by itself; a stream that says nothing shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);
const MINUTES: u32 = 15;

/// A hold in the list.
struct Item {
    path: String,
    open: bool,
    who: Html,
    target: Html,
    summary: Html,
    text: Shown,
    phase: &'static str,
    tone: Tone,
    waits: bool,
    mine: bool,
    left_ms: Option<u64>,
    left: String,
    repeats: u32,
}

/// A hold on its page.
struct Detail {
    namespace: String,
    name: String,
    uid: String,
    summary: Vec<Html>,
    text: Shown,
    whole: String,
    parameters: Vec<Html>,
    facts: Vec<(&'static str, Html)>,
    labels: Vec<(Html, Html)>,
    tables: Vec<Html>,
    shape: Option<Shown>,
    free: Vec<Html>,
    minutes: Option<(u32, u32)>,
    state: State,
    history: Vec<Past>,
    held_before: String,
}

/// What changes of a hold while people look at it.
struct State {
    phase: &'static str,
    tone: Tone,
    waits: bool,
    may_decide: bool,
    why_not: Option<String>,
    left_ms: Option<u64>,
    left: String,
    deadline: String,
    approvals: String,
    repeats: u32,
    decisions: Vec<Decided>,
    /// Equal for equal states.
    mark: String,
}

struct Decided {
    who: Html,
    tone: Tone,
    what: String,
    when: String,
    reason: Option<Html>,
}

struct Past {
    path: String,
    when: String,
    phase: &'static str,
    tone: Tone,
    who: Html,
    by: Html,
    here: bool,
}

#[derive(Template)]
#[template(path = "holds.html")]
struct HoldsPage {
    frame: Frame,
    items: Vec<Item>,
    over: Vec<Item>,
    waiting: usize,
    left_out: u32,
    detail: Option<Detail>,
    /// Whether one was asked for: a narrow page shows that one only.
    one: bool,
    open: String,
}

#[derive(Template)]
#[template(path = "holds_list.html")]
struct HoldList {
    items: Vec<Item>,
    over: Vec<Item>,
    waiting: usize,
    left_out: u32,
}

#[derive(Template)]
#[template(path = "hold_state.html")]
struct HoldState {
    state: State,
}

impl Inner {
    pub(super) async fn holds_page(
        &self,
        session: &Session,
        rest: &str,
    ) -> Result<Response<Body>, Problem> {
        let wanted = match rest {
            "" | "/" => None,
            rest => Some(place(rest).ok_or_else(|| Problem::not_found("There is no such hold."))?),
        };
        let listed = self.listed(session, true).await?;
        let now = Timestamp::from(SystemTime::now());
        let shown = match &wanted {
            Some((namespace, name)) => {
                let found = listed
                    .requests
                    .iter()
                    .find(|view| view.namespace == *namespace && view.name == *name);
                let gone = "This hold is not known any more, or you may not see it.";
                Some(found.ok_or_else(|| Problem::not_found(gone))?)
            }
            None => listed
                .requests
                .iter()
                .find(|view| waits(view.status.as_ref()) && view.may_decide)
                .or_else(|| {
                    listed
                        .requests
                        .iter()
                        .find(|view| waits(view.status.as_ref()))
                }),
        };
        let open = shown.map(path_of).unwrap_or_default();
        let detail = shown.map(|view| detail(view, &listed, now));
        let (items, over) = items(&listed, &open, now);
        page(&HoldsPage {
            frame: self.frame(session, Here::Holds).await,
            waiting: items.len(),
            items,
            over,
            left_out: listed.left_out,
            detail,
            one: wanted.is_some(),
            open,
        })
    }

    pub(super) async fn hold_list(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let listed = self.listed(session, true).await?;
        let open = asked.fields.text("open").unwrap_or_default();
        let (items, over) = items(&listed, open, SystemTime::now().into());
        page(&HoldList {
            waiting: items.len(),
            items,
            over,
            left_out: listed.left_out,
        })
    }

    /// The state of a hold, if it is not the one that the page has.
    pub(super) async fn hold_state(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let view = self.one(session, &asked.fields).await?;
        let state = state(&view, SystemTime::now().into());
        if asked.fields.text("mark") == Some(&state.mark) {
            return Ok(unchanged());
        }
        page(&HoldState { state })
    }

    /// The whole text, as text.
    pub(super) async fn hold_statement(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let view = self.one(session, &asked.fields).await?;
        let text = view.spec.statement.into();
        Ok(answer(StatusCode::OK, "text/plain; charset=utf-8", text))
    }

    pub(super) async fn decide(
        &self,
        session: &Session,
        form: &Fields,
    ) -> Result<Response<Body>, Problem> {
        let text = |name| form.text(name).unwrap_or_default().to_owned();
        let (decision, binding) = match form.text("decision") {
            Some("approve") => (RequestDecision::Approve, Binding::Exact),
            Some("shape") => (RequestDecision::Approve, Binding::Shape),
            Some("deny") => (RequestDecision::Deny, Binding::Exact),
            _ => return Err(Problem::bad("This is no decision.".to_owned())),
        };
        let approves = decision == RequestDecision::Approve;
        let asked = DecisionAsked {
            person: person(&session.who),
            namespace: text("namespace"),
            name: text("name"),
            uid: text("uid"),
            decision,
            reason: form.text("reason").map(str::to_owned),
            rows: form.parsed("rows")?.filter(|_| approves),
            binding: approves.then_some(binding),
            minutes: match binding {
                Binding::Shape => form.parsed("minutes")?,
                Binding::Exact => None,
            },
        };
        if asked.uid.is_empty() {
            return Err(Problem::bad(
                "The form does not say which request it is about.".to_owned(),
            ));
        }
        let back = path(&asked.namespace, &asked.name);
        let notice = match self.desk()?.decide(asked).await {
            Ok(view) => Notice {
                good: true,
                text: took(&view, approves, binding),
            },
            Err(error @ (DeskError::Unauthenticated(_) | DeskError::NotFound(_))) => {
                return Err(error.into());
            }
            Err(error) => Notice {
                good: false,
                text: format!("Nothing was decided: {error}."),
            },
        };
        self.sessions.tell(session, notice);
        Ok(see(&back))
    }

    /// Says when something about holds has changed, until the session ends.
    pub(super) fn hold_live(&self, session: &Session) -> Result<Response<Body>, Problem> {
        self.desk()?;
        let (sender, lines) = mpsc::channel::<Bytes>(4);
        let mut events = self.store.tail();
        let (sessions, session) = (std::sync::Arc::clone(&self.sessions), session.clone());
        tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            let mut alive = tokio::time::interval(ALIVE);
            loop {
                let says = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    _ = alive.tick() => {
                        if !sessions.lives(&session) {
                            return;
                        }
                        ": alive\n\n"
                    }
                    batch = events.recv() => match batch {
                        Ok(batch) if batch.iter().any(|event| concerns_holds(&event.body)) => {
                            "data: changed\n\n"
                        }
                        Ok(_) => continue,
                        Err(RecvError::Lagged(_)) => "data: changed\n\n",
                        Err(RecvError::Closed) => return,
                    },
                };
                if sender
                    .send(Bytes::from_static(says.as_bytes()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        let mut response = Response::new(StreamBody::new(Live(lines)).boxed());
        let kind = header::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    fn desk(&self) -> Result<&dyn Desk, Problem> {
        self.desk
            .as_deref()
            .ok_or_else(|| Problem::not_found("Holds are not decided here."))
    }

    async fn listed(&self, session: &Session, closed: bool) -> Result<RequestsListed, Problem> {
        let namespace = session.namespace.as_deref().map(str::to_owned);
        let listed = self
            .desk()?
            .requests(person(&session.who), namespace, closed)
            .await;
        listed.map_err(Problem::from)
    }

    async fn one(&self, session: &Session, fields: &Fields) -> Result<RequestView, Problem> {
        let listed = self.listed(session, true).await?;
        let namespace = fields.text("namespace").unwrap_or_default();
        let name = fields.text("name").unwrap_or_default();
        let mut views = listed.requests.into_iter();
        let found = views.find(|view| view.namespace == namespace && view.name == name);
        found.ok_or_else(|| Problem::not_found("This hold is not known any more."))
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let status = match &error {
            DeskError::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            DeskError::Forbidden(_) => StatusCode::FORBIDDEN,
            DeskError::NotFound(_) => StatusCode::NOT_FOUND,
            DeskError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            DeskError::Conflict(_) => StatusCode::CONFLICT,
            DeskError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            DeskError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            log_in: status == StatusCode::UNAUTHORIZED,
            ..Self::new(status, error.to_string())
        }
    }
}

/// Who acts, as the desk proves them.
pub(super) fn person(who: &Who) -> Person {
    match &who.proof {
        Proof::Token(token) => Person::of_token(&**token),
        Proof::Oidc(oidc) => Person::of_id_token(&*oidc.id_token),
        Proof::Local => Person::of_user(&*who.name, Vec::new()),
    }
}

struct Live(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Live {
    type Item = Result<Chunk<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let line = self.0.poll_recv(context);
        line.map(|line| line.map(|line| Ok(Chunk::data(line))))
    }
}

fn concerns_holds(body: &What) -> bool {
    matches!(
        body,
        What::AccessRequestCreated(_)
            | What::AccessRequestDecided(_)
            | What::AccessRequestClosed(_)
    )
}

/// `/NAME` or `/NAMESPACE/NAME`.
fn place(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix('/')?;
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    (!name.is_empty() && !name.contains('/')).then_some((namespace, name))
}

fn path(namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("/ui/holds/{}", encoded(name)),
        namespace => format!("/ui/holds/{}/{}", encoded(namespace), encoded(name)),
    }
}

fn path_of(view: &RequestView) -> String {
    path(&view.namespace, &view.name)
}

fn waits(status: Option<&AccessRequestStatus>) -> bool {
    status.is_none_or(|status| status.phase == AccessRequestPhase::Pending)
}

fn phase(status: Option<&AccessRequestStatus>) -> (&'static str, Tone) {
    match status.map(|status| status.phase) {
        None | Some(AccessRequestPhase::Pending) => ("waits", Tone::Warn),
        Some(AccessRequestPhase::Approved) => ("approved", Tone::Good),
        Some(AccessRequestPhase::Denied) => ("denied", Tone::Bad),
        Some(AccessRequestPhase::Expired) => ("expired", Tone::Plain),
        Some(AccessRequestPhase::Withdrawn) => ("withdrawn", Tone::Plain),
        Some(AccessRequestPhase::Superseded) => ("superseded", Tone::Plain),
    }
}

/// Those that wait, the most urgent first, and those that are over.
fn items(listed: &RequestsListed, open: &str, now: Timestamp) -> (Vec<Item>, Vec<Item>) {
    let all = listed.requests.iter().map(|view| item(view, open, now));
    let (mut waiting, mut over): (Vec<_>, Vec<_>) = all.partition(|item| item.waits);
    waiting.sort_by_key(|item| (!item.mine, item.left_ms));
    over.truncate(HISTORY);
    (waiting, over)
}

fn item(view: &RequestView, open: &str, now: Timestamp) -> Item {
    let spec = &view.spec;
    let (phase, tone) = phase(view.status.as_ref());
    let (left_ms, left) = left(&spec.deadline, now);
    let path = path_of(view);
    Item {
        open: path == open,
        path,
        who: visible(short_name(&spec.requester.name)),
        target: visible(&spec.target),
        summary: visible(spec.summary.first().map_or(&*spec.reason, String::as_str)),
        text: text(view, IN_A_LIST),
        phase,
        tone,
        waits: waits(view.status.as_ref()),
        mine: view.may_decide,
        left_ms,
        left,
        repeats: view.status.as_ref().map_or(0, |status| status.repeats),
    }
}

fn text(view: &RequestView, limit: usize) -> Shown {
    match view.spec.protocol.as_deref() {
        None | Some("postgresql") => sql::shown(&view.spec.statement, limit),
        Some(_) => sql::plain(&view.spec.statement, limit),
    }
}

/// Milliseconds until a deadline, and what people read.
fn left(deadline: &str, now: Timestamp) -> (Option<u64>, String) {
    let Ok(deadline) = deadline.parse::<Timestamp>() else {
        return (None, String::new());
    };
    let left = between(now, deadline);
    (
        u64::try_from(left.as_millis()).ok(),
        span(Duration::from_secs(left.as_secs())),
    )
}

fn state(view: &RequestView, now: Timestamp) -> State {
    let status = view.status.as_ref();
    let (phase, tone) = phase(status);
    let (left_ms, left) = left(&view.spec.deadline, now);
    let decisions = status.map_or(&[][..], |status| &status.decisions);
    let approved = decisions
        .iter()
        .filter(|one| one.decision == RequestDecision::Approve)
        .count();
    let repeats = status.map_or(0, |status| status.repeats);
    State {
        mark: format!("{phase}-{}-{repeats}-{}", decisions.len(), view.may_decide),
        phase,
        tone,
        waits: waits(status),
        may_decide: view.may_decide,
        why_not: view.why_not.clone(),
        left_ms,
        left,
        deadline: view.spec.deadline.clone(),
        approvals: format!("{approved} of {} approvals", view.spec.count),
        repeats,
        decisions: decisions.iter().map(decided).collect(),
    }
}

fn decided(decision: &weir_api::kinds::ApproverDecision) -> Decided {
    let (mut what, tone) = match decision.decision {
        RequestDecision::Approve => ("approved".to_owned(), Tone::Good),
        RequestDecision::Deny => ("denied".to_owned(), Tone::Bad),
    };
    if let (Some(Binding::Shape), minutes) = (decision.binding, decision.minutes) {
        let minutes = u64::from(minutes.unwrap_or_default());
        what = format!(
            "{what} the shape for {}",
            counted(minutes, "minute", "minutes")
        );
    }
    if let Some(rows) = decision.rows {
        what = format!("{what}, {} at most", counted(rows, "row", "rows"));
    }
    Decided {
        who: visible(&decision.approver),
        tone,
        what,
        when: decision
            .at
            .parse()
            .map_or_else(|_| decision.at.clone(), moment),
        reason: decision.reason.as_deref().map(visible),
    }
}

/// What a person is told after their decision.
fn took(view: &RequestView, approves: bool, binding: Binding) -> String {
    let who = short_name(&view.spec.requester.name);
    let (phase, _) = phase(view.status.as_ref());
    match (approves, waits(view.status.as_ref())) {
        (true, true) => format!(
            "Your approval counts. {} needed before {who} goes on.",
            counted(u64::from(view.spec.count), "approval is", "approvals are")
        ),
        (true, false) if phase == "approved" => match binding {
            Binding::Exact => format!("Approved: {who} goes on with this statement, once."),
            Binding::Shape => {
                format!("Approved: {who} goes on, and so do statements of this shape.")
            }
        },
        (false, false) if phase == "denied" => format!("Denied: {who} was told your reason."),
        _ => format!("Your decision was taken; the request is now {phase}."),
    }
}

fn detail(view: &RequestView, listed: &RequestsListed, now: Timestamp) -> Detail {
    let spec = &view.spec;
    let shapes = spec.binding == Binding::Shape;
    let most = spec.max_minutes.unwrap_or(MINUTES);
    let (history, held_before) = history(view, listed);
    Detail {
        whole: format!(
            "/ui/hold/statement?namespace={}&name={}",
            encoded(&view.namespace),
            encoded(&view.name)
        ),
        namespace: view.namespace.clone(),
        name: view.name.clone(),
        uid: view.uid.clone(),
        summary: match spec.summary.is_empty() {
            true => vec![visible(&spec.reason)],
            false => spec.summary.iter().map(|line| visible(line)).collect(),
        },
        text: text(view, TEXT),
        parameters: spec
            .parameters
            .iter()
            .map(|value| visible(value.as_deref().unwrap_or("NULL")))
            .collect(),
        facts: facts(view),
        labels: spec
            .labels
            .iter()
            .map(|label| {
                let columns = spec
                    .columns
                    .iter()
                    .filter(|columns| columns.label == *label);
                let columns: Vec<_> = columns
                    .flat_map(|c| c.columns.iter().map(String::as_str))
                    .collect();
                (visible(label), visible(&columns.join(", ")))
            })
            .collect(),
        tables: spec.tables.iter().map(|table| visible(table)).collect(),
        shape: spec
            .shape
            .as_deref()
            .filter(|_| shapes)
            .map(|text| sql::shown(text, TEXT)),
        free: spec
            .free_literals
            .iter()
            .filter(|_| shapes)
            .map(|one| visible(one))
            .collect(),
        minutes: shapes.then_some((most.min(MINUTES), most)),
        state: state(view, now),
        history,
        held_before,
    }
}

fn facts(view: &RequestView) -> Vec<(&'static str, Html)> {
    let spec = &view.spec;
    let rows = spec
        .estimated_rows
        .map(|rows| format!("about {}", count(rows)));
    let delivered = spec.delivered_rows.map(|rows| match spec.delivered_bytes {
        Some(bytes) => format!("{} ({})", counted(rows, "row", "rows"), size(bytes)),
        None => counted(rows, "row", "rows"),
    });
    let created = view
        .created
        .parse()
        .map_or_else(|_| view.created.clone(), moment);
    let login = match (&spec.login, &spec.database) {
        (Some(login), Some(database)) => Some(format!("{login} in {database}")),
        (login, database) => login.clone().or_else(|| database.clone()),
    };
    let who = &spec.requester;
    let approvers: Vec<_> = spec
        .groups
        .iter()
        .chain(&spec.users)
        .map(String::as_str)
        .collect();
    let optional = [
        ("Identity", Some(who.name.clone())),
        ("Pod", who.pod.clone()),
        ("Workload", who.workload.clone()),
        ("Target", Some(spec.target.clone())),
        ("Login", login),
        ("Rows expected", rows),
        ("Delivered so far", delivered),
        (
            "Effects",
            Some(spec.effects.join(", ")).filter(|all| !all.is_empty()),
        ),
        ("Policy", Some(format!("{} / {}", spec.policy, spec.rule))),
        ("Why", Some(spec.reason.clone())),
        (
            "Who may approve",
            Some(approvers.join(", ")).filter(|all| !all.is_empty()),
        ),
        ("Raised", Some(created)),
    ];
    let shown = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    shown.map(|(name, value)| (name, visible(&value))).collect()
}

/// What became of others of the same shape.
fn history(view: &RequestView, listed: &RequestsListed) -> (Vec<Past>, String) {
    let Some(shape) = &view.spec.fingerprint else {
        return (
            Vec::new(),
            "This statement has no shape that others could share.".to_owned(),
        );
    };
    let same = listed.requests.iter().filter(|other| {
        other.spec.fingerprint.as_ref() == Some(shape)
            && other.spec.target == view.spec.target
            && other.uid != view.uid
    });
    let same: Vec<_> = same.collect();
    let number = |wanted: AccessRequestPhase| {
        let is = |other: &&&RequestView| other.status.as_ref().is_some_and(|s| s.phase == wanted);
        same.iter().filter(is).count()
    };
    let said = match same.len() {
        0 => "No statement of this shape was held before, as far as is known here.".to_owned(),
        all => format!(
            "Held {} before: {} approved, {} denied.",
            counted(u64::try_from(all).unwrap_or(u64::MAX), "time", "times"),
            number(AccessRequestPhase::Approved),
            number(AccessRequestPhase::Denied)
        ),
    };
    let past = same.into_iter().take(HISTORY).map(|other| {
        let (phase, tone) = phase(other.status.as_ref());
        let decisions = other
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.decisions);
        let by: Vec<_> = decisions.iter().map(|one| one.approver.as_str()).collect();
        Past {
            path: path_of(other),
            when: other
                .created
                .parse()
                .map_or_else(|_| other.created.clone(), moment),
            phase,
            tone,
            who: visible(short_name(&other.spec.requester.name)),
            by: visible(&by.join(", ")),
            here: waits(other.status.as_ref()),
        }
    });
    (past.collect(), said)
}
