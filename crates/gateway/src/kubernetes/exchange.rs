//! One request: understood, judged, sent on, answered.

mod sent;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use weir_audit::{
    Decision as Recorded, KubernetesAnswered, Outcome, Record, Statement, StatementStarted,
};
use weir_policy::{Decision, LimitScope, RecordLevel, Verdict};
use weir_wire_kube as wire;

use super::answer::Body;
use super::asked::{Asked, Object};
use super::credentials::Claim;
use super::gate::Gate;
use super::head::{asks_for_websocket, exact, unreadable, upgrades};
use super::objects::Masks;
use super::people;
use super::refusal::Refusal;
use super::reviewed;
use super::serve::{ROOM, Session};
use super::statement::Active;
use crate::{judge, millis, wall_clock};

pub(super) use sent::note_answer;

/// Most bytes of a request's object: what the API server takes, and a little.
const MAX_OBJECT: usize = (3 << 20) + (64 << 10);
/// How long a client may take to send it.
const OBJECT: Duration = Duration::from_secs(60);
/// How long a request waits for the objects of others, and when it is to come again.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);
const AGAIN_FOR_ROOM: Duration = Duration::from_secs(1);
/// Answers one request.
pub(super) async fn answer(session: Arc<Session>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut exchange = Exchange::begin(session, &head);
    match exchange.run(head, body).await {
        Ok(response) => response,
        Err(refusal) => exchange.refuse(&refusal),
    }
}

/// A request on its way.
pub(super) struct Exchange {
    pub(super) session: Arc<Session>,
    /// The request in words.
    pub(super) sentence: Arc<str>,
    /// Path and query, as they came: what names a stream, whatever transport carries it.
    target: Arc<str>,
    /// Until it is handed to its answer.
    pub(super) active: Option<Active>,
    /// Where its object is, until the server has answered.
    room: Option<OwnedSemaphorePermit>,
}

/// A request that may go on.
pub(super) struct Permitted {
    pub(super) asked: Arc<Asked>,
    pub(super) decision: Decision,
    pub(super) gate: Gate,
    pub(super) masks: Option<Masks>,
    pub(super) object: Option<Bytes>,
}

impl Exchange {
    fn begin(session: Arc<Session>, head: &request::Parts) -> Self {
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let sentence: Arc<str> = format!("{} {target}", head.method).into();
        let record = Statement {
            number: session.next_number(),
            text: Some(Arc::clone(&sentence)),
            command: Some(head.method.as_str().to_ascii_lowercase().into()),
            ..Statement::default()
        };
        let active = Active::new(record, KubernetesAnswered::default(), session.evidence());
        Self {
            session,
            sentence,
            target: target.into(),
            active: Some(active),
            room: None,
        }
    }

    /// Ends it with a refusal.
    fn refuse(&mut self, refusal: &Refusal) -> Response<Body> {
        let Some(mut active) = self.active.take() else {
            return refusal.response("");
        };
        let audit_id = active.audit_id();
        active.answered.code = u32::from(refusal.code.as_u16());
        active.record.reason = Some(refusal.text.as_str().into());
        let outcome = active.outcome.take().unwrap_or_else(|| {
            if refusal.code.is_server_error() {
                let code = refusal.code.as_str().into();
                return Outcome::Failed { code };
            }
            if active.record.decision == Recorded::Permit {
                active.record.decision = Recorded::Deny;
            }
            Outcome::Denied
        });
        active.finish(outcome);
        refusal.response(&audit_id)
    }

    async fn run(
        &mut self,
        mut head: request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let parsed = wire::parse(head.method.as_str(), head.uri.path(), head.uri.query());
        let request = parsed.map_err(|refused| match refused {
            wire::Refused::Method => Refusal::of(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "this method is not served",
            ),
            refused => Refusal::bad_request(&format!("ambiguous request refused: {refused}")),
        })?;
        self.note(&request);
        if let Some(name) = unreadable(&head.headers) {
            let text = format!("the header {name} holds other characters than ASCII");
            return Err(Refusal::bad_request(&text));
        }
        if head.method == Method::CONNECT || head.headers.contains_key(CONTENT_ENCODING) {
            return Err(Refusal::bad_request(
                "a request that is encoded, or asks for a tunnel, is refused",
            ));
        }
        if self.session.certified {
            let text = "a client certificate cannot pass Weir, which ends its TLS: use the pod's token, or \
                        credentials that Weir brokers";
            return Err(Refusal::unjudged(text));
        }
        let credentials = Arc::clone(&self.session.shared.credentials);
        let claim = Claim::of(&head.headers, &*credentials).map_err(Refusal::bad_request)?;
        if request.watch && asks_for_websocket(&head.headers) {
            let text = "watches over WebSocket are not served: watch over HTTP";
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            let refusal = Refusal::of(unavailable, "ServiceUnavailable", text);
            let audit_id = self.active.as_ref().map(Active::audit_id);
            self.refuse(&refusal);
            return Ok(refusal.ended_watch(&audit_id.unwrap_or_default()));
        }
        let streams = upgrades(&head, &request);
        if let Some((refusal, audit_id)) = self.refused_before(streams) {
            if let Some(active) = self.active.take() {
                active.forget();
            }
            return Ok(refusal.response(&audit_id));
        }
        let (object, rest) = match body.is_end_stream() {
            true => (None, None),
            false => Box::pin(self.object(&head, &request, body)).await?,
        };
        let permitted = self.permit(request, claim, &head, object, streams).await?;
        claim
            .exchange(&mut head.headers, &self.session.credentials, &*credentials)
            .map_err(|reason| Refusal::unjudged(&reason))?;
        if streams {
            return Box::pin(super::streams::upgrade(self, head, permitted)).await;
        }
        self.forward(head, rest, permitted).await
    }

    /// What evidence says of the request.
    fn note(&mut self, request: &wire::Request) {
        let Some(active) = &mut self.active else {
            return;
        };
        let answered = &mut active.answered;
        answered.verb = request.verb.into();
        answered.dry_run = request.dry_run;
        if let Some(resource) = &request.resource {
            answered.group = resource.group.as_str().into();
            answered.version = resource.version.as_str().into();
            answered.resource = resource.resource.as_str().into();
            answered.subresource = resource.subresource.as_str().into();
            answered.namespace = resource.namespace.as_deref().unwrap_or_default().into();
            answered.name = resource.name.as_deref().unwrap_or_default().into();
        }
    }

    /// The refusal of the same stream over another transport, which a client that fell back to this one
    /// is told again.
    fn refused_before(&self, streams: bool) -> Option<(Refusal, String)> {
        let memory = &self.session.shared.kubernetes;
        streams
            .then(|| memory.take_refusal(&self.session.whose, &self.target))
            .flatten()
    }

    /// Reads a request's object, where it has one that can be judged; what is not read goes on as it
    /// comes.
    async fn object(
        &mut self,
        head: &request::Parts,
        request: &wire::Request,
        body: Incoming,
    ) -> Result<(Option<Bytes>, Option<Incoming>), Refusal> {
        let proxied = request
            .resource
            .as_ref()
            .is_some_and(|resource| resource.subresource == "proxy");
        if proxied {
            return Ok((None, Some(body)));
        }
        let too_large = || {
            let text = format!("the object is larger than {MAX_OBJECT} bytes");
            Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", text)
        };
        let announced = head.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > MAX_OBJECT) {
            return Err(too_large());
        }
        self.room(announced.unwrap_or(MAX_OBJECT)).await?;
        let read = tokio::time::timeout(OBJECT, Limited::new(body, MAX_OBJECT).collect()).await;
        let read = read.map_err(|_| {
            Refusal::of(
                StatusCode::REQUEST_TIMEOUT,
                "Timeout",
                "the object did not arrive in time",
            )
        })?;
        let read = read.map_err(|error| match error.is::<LengthLimitError>() {
            true => too_large(),
            false => Refusal::bad_request("the object cannot be read"),
        })?;
        let bytes = read.to_bytes();
        let length = bytes.len() as u64;
        self.session.bytes_in.fetch_add(length, Ordering::Relaxed);
        Ok((Some(bytes), None))
    }

    /// Waits until the objects of the connection leave room for this one. Where those wait for people, it is
    /// to come again.
    async fn room(&mut self, length: usize) -> Result<(), Refusal> {
        let units = u32::try_from(length.div_ceil(ROOM)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.session.objects).acquire_many_owned(units);
        let room = tokio::time::timeout(WAIT_FOR_ROOM, room).await;
        let Ok(Ok(room)) = room else {
            let text = "the other requests of this connection carry too many objects";
            return Err(Refusal::unjudged(text)
                .too_many()
                .again_after(AGAIN_FOR_ROOM));
        };
        self.room = Some(room);
        Ok(())
    }

    /// Judges the request, and asks people where policy does.
    async fn permit(
        &mut self,
        mut request: wire::Request,
        claim: Claim,
        head: &request::Parts,
        object: Option<Bytes>,
        streams: bool,
    ) -> Result<Permitted, Refusal> {
        let foreign = claim.is_foreign(&self.session.credentials);
        let content_type = head.headers.get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let kind = wire::body_kind(content_type);
        let deletes = matches!(request.verb, "delete" | "deletecollection");
        if let Some(options) = object.as_deref().filter(|it| deletes && !it.is_empty()) {
            request.dry_run = wire::body::asks_for_dry_run(kind, options);
            self.note(&request);
        }
        let session = Arc::clone(&self.session);
        let scope = session.with_judge(|judge| {
            judge.refresh()?;
            Ok((Arc::clone(judge.scope()), judge.revision()))
        })?;
        let (scope, read_under) = scope.map_err(Refusal::forbidden)?;
        let read = object.as_deref().map(|bytes| Object { kind, bytes });
        let asked = Arc::new(Asked::new(request, foreign, read.as_ref(), &scope));
        let mut decision = self.decide(&asked).await?;
        // What people let go on for so many objects only.
        let mut released = Vec::new();
        let Some(active) = self.active.as_mut() else {
            return Err(Refusal::unjudged("the request is over"));
        };
        if let Some(words) = asked.stream() {
            self.sentence = words.into();
        }
        let number = active.record.number;
        let recorded =
            session.with_judge(|judge| (judge.recorded(number, &decision), judge.revision()));
        let (mut record, revision) = recorded?;
        let told = decision.obligations.record != RecordLevel::Metadata;
        record.text = told.then(|| Arc::clone(&self.sentence));
        record.command = Some(asked.command_tag().into());
        record.tables = asked.table().into_iter().collect();
        let labels = asked.labels.iter().filter_map(|(_, id)| scope.label(*id));
        record.labels = labels.collect();
        active.record = record;
        active.delivery = judge::durable(&decision);
        let patience = asked.request.timeout;
        match &decision.verdict {
            Verdict::Permit(_) => {}
            Verdict::Deny(denial) => {
                let denied =
                    judge::Refusal::denied(&denial.rule, &denial.reason, denial.hint.as_deref());
                let refusal = Refusal::forbidden(denied);
                active.record.decision = Recorded::Deny;
                if streams {
                    let (memory, id) = (&session.shared.kubernetes, active.audit_id());
                    memory.was_refused(&session.whose, &self.target, &refusal, &id);
                }
                return Err(refusal);
            }
            Verdict::Hold(hold) => {
                active.record.decision = Recorded::Hold;
                let exact = exact(
                    &self.target,
                    head,
                    asked.request.verb,
                    claim,
                    object.as_deref(),
                );
                let fields: Vec<_> = asked
                    .labels
                    .iter()
                    .map(|(field, _)| field.clone())
                    .collect();
                let resource = asked.request.resource.as_ref();
                let shown = object.as_deref().map(|bytes| Object { kind, bytes });
                let detail = reviewed::detail(head, claim, resource, shown.as_ref(), &fields);
                let question = people::Question {
                    shared: &session.shared,
                    whose: &session.whose,
                    sentence: &self.sentence,
                    exact: Some(&exact),
                    detail: detail.map(Arc::from),
                    patience,
                    effects: asked.effect_names(),
                    columns: asked.labelled(&scope),
                };
                let mut hold = hold.afresh();
                while let Some(spec) = hold.pending().first().cloned() {
                    match Box::pin(question.ask(active, &spec)).await {
                        Ok(release) => hold.grant(&spec.rule, release),
                        Err(refusal) => {
                            if streams {
                                let (memory, id) = (&session.shared.kubernetes, active.audit_id());
                                memory.was_refused(&session.whose, &self.target, &refusal, &id);
                            }
                            return Err(refusal);
                        }
                    }
                }
                released = hold.limits().to_vec();
            }
        }
        decision.obligations.limits.extend(released);
        self.begin_counting(&asked, &decision)?;
        self.keep_start(&decision).await?;
        let resource = asked.request.resource.as_ref();
        let masks = Masks::new(
            &session.shared,
            &scope,
            resource,
            &asked.labels,
            &decision,
            (&session.scanner, read_under),
        );
        let obligations = &decision.obligations;
        let gate = Gate::new(
            &session,
            &asked,
            &self.sentence,
            obligations,
            &scope,
            revision,
        );
        Ok(Permitted {
            gate,
            masks,
            object,
            decision,
            asked,
        })
    }

    async fn decide(&self, asked: &Asked) -> Result<Decision, Refusal> {
        let decide = || {
            let decided = self.session.with_judge(|judge| {
                judge.decide_with(|scope, counters, now| {
                    asked.judge(|operation| scope.decide(operation, counters, now))
                })
            });
            decided?.ok_or_else(|| Refusal::unjudged("budgets could not be read"))
        };
        let decision = decide()?;
        if decision.exhausted.is_empty() {
            return Ok(decision);
        }
        self.session
            .shared
            .budgets
            .replenish(&decision.exhausted)
            .await;
        decide()
    }

    /// Makes what counts the answer, which may be a list's next page.
    fn begin_counting(&mut self, asked: &Asked, decision: &Decision) -> Result<(), Refusal> {
        let session = &self.session;
        let mut meter = session.with_judge(|judge| judge.meter(decision))?;
        let limits = &decision.obligations.limits;
        let per_list = limits
            .iter()
            .any(|limit| limit.scope == LimitScope::Statement);
        if let (Some(token), true) = (asked.request.continue_token.as_deref(), per_list) {
            let memory = &session.shared.kubernetes;
            let Some(before) = memory.delivered_before(&session.whose, token) else {
                let text = "this list does not go on here: it was not begun through this sidecar, or \
                            is too old; list again";
                return Err(Refusal::of(StatusCode::GONE, "Expired", text));
            };
            let mut after = None;
            session.shared.budgets.read(&mut |counters| {
                after = meter
                    .take()
                    .map(|meter| meter.after(before, counters, millis()));
            });
            meter = after;
        }
        if let Some(active) = self.active.as_mut() {
            active.meter = meter;
        }
        Ok(())
    }

    /// Keeps that the request begins, where policy asks for it.
    async fn keep_start(&mut self, decision: &Decision) -> Result<(), Refusal> {
        let (Some(strict), Some(active)) = (judge::durable(decision), self.active.as_ref()) else {
            return Ok(());
        };
        let statement = active.record.clone();
        let started = StatementStarted { statement };
        let session = Arc::clone(&self.session.audit);
        let record = Record::session(wall_clock(), session, started);
        let kept = self
            .session
            .shared
            .sink
            .record_durable(record, strict)
            .await;
        kept.map_err(|reason| Refusal::unjudged(&format!("evidence cannot be kept: {reason}")))
    }
}
