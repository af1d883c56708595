//! Holds: what waits for people, and their decisions.
//!
//! Invariants
//! - Who may see and decide is the desk's to say, for each person and each request, when the page is
//!   made and again when they decide.
//! - A decision names the request by its UID, as the page showed it: of what was replaced meanwhile
//!   nothing is decided.
//! - No part of a statement is missing without its size being told.

mod view;

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use askama::Template;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame as Chunk};
use hyper::{Response, StatusCode, header};
use tokio::sync::mpsc;
use weir_api::kinds::{Binding, RequestDecision};
use weir_audit::{Body as What, EvidenceRead, Timestamp};
use weir_serve::Body;
use weir_uplink::control::{DecisionAsked, Person, RequestView, RequestsListed};

use super::Inner;
use super::assets;
use super::evidence::read_of;
use super::frame::{Frame, Here, answer, page, see, unchanged};
use super::html;
use super::problem::Problem;
use super::request::{Asked, Fields};
use super::sessions::{Notice, Proof, Session, Who};
use crate::api::{Desk, DeskError};
use crate::evidence::OnRecord;
use view::{Detail, Item, State, detail, items, path, path_of, state, took, waits};

/// A page that hears nothing looks by itself; a stream that says nothing shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

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
        asked: &Asked,
        rest: &str,
    ) -> Result<Response<Body>, Problem> {
        let wanted = match rest {
            "" | "/" => None,
            rest => Some(place(rest).ok_or_else(|| Problem::not_found("There is no such hold."))?),
        };
        let listed = self.listed(session, asked).await?;
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
        let listed = self.listed(session, asked).await?;
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
        let view = self.one(session, asked).await?;
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
        let view = self.one(session, asked).await?;
        let mut text = view.spec.statement;
        if let Some(detail) = &view.spec.detail {
            text.push_str(&format!("\n\n{detail}"));
        }
        let text = text.into();
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
    pub(super) async fn hold_live(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        self.desk()?;
        let on = self.watching(session, asked).await?;
        let (sender, lines) = mpsc::channel::<Bytes>(4);
        let mut events = self.evidence.open(&on).tail();
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

    /// A page of holds that is open is one read in a while, whatever of it is looked at.
    async fn watching(&self, session: &Session, asked: &Asked) -> Result<OnRecord, Problem> {
        let read = EvidenceRead {
            path: "/ui/holds".into(),
            query: "".into(),
            ..read_of(session, asked, session.namespace.as_deref())
        };
        Ok(self.evidence.watched_by(read).await?)
    }

    async fn listed(&self, session: &Session, asked: &Asked) -> Result<RequestsListed, Problem> {
        let desk = self.desk()?;
        self.watching(session, asked).await?;
        let namespace = session.namespace.as_deref().map(str::to_owned);
        let listed = desk.requests(person(&session.who), namespace, true).await;
        listed.map_err(Problem::from)
    }

    async fn one(&self, session: &Session, asked: &Asked) -> Result<RequestView, Problem> {
        let listed = self.listed(session, asked).await?;
        let fields = &asked.fields;
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
