//! Serving.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, header};
use tokio::sync::mpsc;
use weir_api::kinds::RequestDecision;
use weir_audit::{EvidenceRead, SessionId};
use weir_uplink::control::DecisionAsked;

use super::BODY_PATIENCE;
use super::caller::{Caller, confine};
use super::door::{Door, through};
use super::operator::{Approver, Decide, Desk, Operator, QuarantineView};
use super::reply::{Refusal, csv, json, line, octets, plain, stream};
use super::routes::{Form, Found, Query, To, find};
use crate::evidence::{Evidence, OnRecord};
use crate::store::Reach;
use crate::{
    About, Collector, CollectorError, Saw, SawFilter, SawLabels, Selection, Ui, csv as table,
};
use weir_serve::Body;

const MAX_BODY: usize = 64 << 10;
/// A part of an export.
const PART: usize = 64 << 10;
/// Labels that the controller makes fingerprints of at once.
const LABELS_AT_ONCE: usize = 1024;
const NO_UI: &str = "there is no web UI: collector.address is not set, or is not loopback";
/// What an overview shows unless it is said.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// A stream of a caller whose rights are others' to change asks for them this often.
const RECHECK: Duration = Duration::from_secs(30);

/// What the API serves.
#[derive(Clone)]
pub struct Api {
    evidence: Evidence,
    operator: Option<Arc<dyn Operator>>,
    desk: Option<Arc<dyn Desk>>,
    door: Option<Arc<dyn Door>>,
    ui: Option<Ui>,
}

/// The body of a question who was given a value.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    value: String,
}

impl Api {
    /// An API over a store.
    #[must_use]
    pub fn new(collector: Collector) -> Self {
        Self {
            evidence: Evidence::new(collector),
            operator: None,
            desk: None,
            door: None,
            ui: None,
        }
    }

    /// The same with a path of its own, beside those of the API, over TCP.
    #[must_use]
    pub fn with_door(self, door: Arc<dyn Door>) -> Self {
        Self {
            door: Some(door),
            ..self
        }
    }

    /// The same with the engine that runs beside the collector.
    #[must_use]
    pub fn with_operator(self, operator: Arc<dyn Operator>) -> Self {
        Self {
            operator: Some(operator),
            ..self
        }
    }

    /// The same with a place where holds are decided.
    #[must_use]
    pub fn with_desk(self, desk: Arc<dyn Desk>) -> Self {
        Self {
            desk: Some(desk),
            ..self
        }
    }

    /// The same, that hands out links to a web UI.
    #[must_use]
    pub fn with_ui(self, ui: Ui) -> Self {
        Self {
            ui: Some(ui),
            ..self
        }
    }

    /// What it serves.
    pub(crate) fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        token: Option<&str>,
    ) -> Response<Body> {
        if let (Some(door), Some(_)) = (&self.door, token)
            && request.uri().path() == door.path()
        {
            let answer = through(door.as_ref(), request).await;
            return answer.unwrap_or_else(|refusal| refusal.answer());
        }
        if let Some(token) = token
            && !bears(&request, token)
        {
            return Refusal::unauthorized("a bearer token is needed".into()).answer();
        }
        let routed = self.route(request, caller).await;
        routed.unwrap_or_else(|refusal| refusal.answer())
    }

    pub(crate) async fn route(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let (route, varying) = match find(request.method().as_str(), &path) {
            Found::Route(route, varying) => (route, varying),
            Found::Method => return Err(Refusal::method()),
            Found::Nothing => return Err(Refusal::not_found("no such path")),
        };
        let text = request.uri().query().unwrap_or_default().to_owned();
        let mut query = Query::parse(Some(&text)).map_err(Refusal::bad)?;
        let read = || self.read_by(caller.reads(&path, &text));
        // Of what is looked at again and again, the parts that vary are one question.
        let watch = || self.watched_by(caller.reads(route.path, &text));
        let to = route.to;
        match to {
            To::Events => {
                let form = query.form().map_err(Refusal::bad)?;
                let mut filter = query.events().map_err(Refusal::bad)?;
                confine(&mut filter.namespace, caller)?;
                let on = read().await?;
                let page = self.blocking(&on, move |store| store.query(&filter));
                let page = page.await?;
                match form {
                    Form::Json => json(&page),
                    Form::Csv => csv("events", table::events(&page.events), page.next.as_deref()),
                }
            }
            To::Sessions => {
                let form = query.form().map_err(Refusal::bad)?;
                let mut filter = query.sessions().map_err(Refusal::bad)?;
                confine(&mut filter.namespace, caller)?;
                let on = read().await?;
                let page = self.blocking(&on, move |store| store.sessions(&filter));
                let page = page.await?;
                match form {
                    Form::Json => json(&page),
                    Form::Csv => {
                        let sessions = table::sessions(&page.sessions);
                        csv("sessions", sessions, page.next.as_deref())
                    }
                }
            }
            To::Overview => {
                let (since, until, mut namespace) = query.overview().map_err(Refusal::bad)?;
                confine(&mut namespace, caller)?;
                let on = read().await?;
                let until = until.unwrap_or_else(|| SystemTime::now().into());
                let since = since.unwrap_or_else(|| until.minus(A_MONTH));
                let overview = self.blocking(&on, move |store| {
                    store.overview(since, until, namespace.as_deref())
                });
                json(&overview.await?)
            }
            To::Questions => {
                query.finish().map_err(Refusal::bad)?;
                json(&serde_json::json!({"questions": About::ALL.map(described)}))
            }
            To::Ask => {
                let about: About = varying
                    .parse()
                    .map_err(|_| Refusal::not_found("no such question"))?;
                let form = query.form().map_err(Refusal::bad)?;
                let mut question = query.question(about).map_err(Refusal::bad)?;
                if about.is_of_everywhere() {
                    caller.everywhere()?;
                } else {
                    confine(&mut question.namespace, caller)?;
                }
                question.check().map_err(Refusal::bad)?;
                let on = read().await?;
                let answer = self.blocking(&on, move |store| store.ask(&question));
                let answer = answer.await?;
                match form {
                    Form::Json => json(&answer),
                    Form::Csv => csv(
                        about.name(),
                        table::answer(&answer),
                        answer.more.then_some("more"),
                    ),
                }
            }
            To::Verify => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                let on = read().await?;
                json(&self.whole(&on, |store| store.verify()).await?)
            }
            To::Checkpoint => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                let on = watch().await?;
                let proof = self.blocking(&on, |store| store.proof()).await?;
                Ok(plain(proof.checkpoint))
            }
            To::Consistency => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                let none = || Refusal::not_found("the log was never so long");
                let old = varying.parse().map_err(|_| none())?;
                let on = watch().await?;
                let body = self.blocking(&on, move |store| store.continued(old));
                Ok(plain(body.await?.ok_or_else(none)?))
            }
            To::Export => {
                let selection = query.selection().map_err(Refusal::bad)?;
                caller.everywhere()?;
                let on = read().await?;
                self.export(&on, selection).await
            }
            To::Report => {
                let (since, until, namespace) = query.overview().map_err(Refusal::bad)?;
                caller.everywhere()?;
                if namespace.is_some() {
                    let message = "a report is of everything, not of a namespace";
                    return Err(Refusal::bad(message.into()));
                }
                let since = since.ok_or_else(|| Refusal::bad("a report needs since".into()))?;
                let until = until.unwrap_or_else(|| SystemTime::now().into());
                if since >= until {
                    return Err(Refusal::bad("the period ends before it begins".into()));
                }
                let on = read().await?;
                let reader = caller.reads(&path, &text).reader;
                let report = self.whole(&on, move |store| store.report_of(since, until, &reader));
                json(&report.await?)
            }
            To::Saw => {
                let (mut filter, label) = query.saw().map_err(Refusal::bad)?;
                confine(&mut filter.namespace, caller)?;
                let asked: Asked = serde_json::from_slice(&body(request).await?)
                    .map_err(|_| Refusal::bad("the body is not {\"value\": \"…\"}".into()))?;
                if asked.value.trim_ascii().is_empty() {
                    return Err(Refusal::bad("there is no value".into()));
                }
                let on = read().await?;
                json(&self.saw(&on, filter, label, asked.value).await?)
            }
            To::Tile => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                let none = || Refusal::not_found("the log has no such tile");
                let tile = varying.parse().map_err(|_| none())?;
                let on = watch().await?;
                let bytes = self.blocking(&on, move |store| store.tile(tile));
                Ok(octets(bytes.await?.ok_or_else(none)?))
            }
            To::Replay => {
                let mut namespace = query.namespace().map_err(Refusal::bad)?;
                confine(&mut namespace, caller)?;
                let session = varying
                    .parse()
                    .map_err(|_| Refusal::not_found("no such session"))?;
                let on = read().await?;
                self.replay(&on, session, namespace).await
            }
            To::Tail => {
                let mut filter = query.events().map_err(Refusal::bad)?;
                confine(&mut filter.namespace, caller)?;
                let on = read().await?;
                Ok(self.tail(&on, filter, caller))
            }
            To::Requests => {
                let (mut namespace, closed) = query.requests().map_err(Refusal::bad)?;
                confine(&mut namespace, caller)?;
                let desk = self.desk()?;
                watch().await?;
                let listed = desk.requests(caller.person(), namespace, closed);
                json(&listed.await?)
            }
            To::Coverage => {
                query.finish().map_err(Refusal::bad)?;
                let desk = self.desk()?;
                watch().await?;
                let coverage = desk.coverage(caller.person()).await?;
                json(&coverage.ok_or_else(|| Refusal::not_found("there is no cluster here"))?)
            }
            To::Quarantines => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                json(&serde_json::json!({"quarantines": self.operator()?.quarantines()?}))
            }
            To::Status => {
                query.finish().map_err(Refusal::bad)?;
                caller.everywhere()?;
                json(&self.operator()?.status())
            }
            To::UiLink => {
                query.finish().map_err(Refusal::bad)?;
                let Caller::Operator(user) = caller else {
                    let message = "links are given on the operators' socket only";
                    return Err(Refusal::forbidden(message.into()));
                };
                let link = self.ui.as_ref().and_then(|ui| ui.link(&user.name));
                let link = link.ok_or_else(|| Refusal::unavailable(NO_UI.into()))?;
                json(&serde_json::json!({"link": link, "seconds": crate::LINK_LIFE.as_secs()}))
            }
            To::Approve | To::Deny => {
                if matches!(caller, Caller::Reader) {
                    let message = "whoever only bears the collector's token does not decide";
                    return Err(Refusal::forbidden(message.into()));
                }
                let decision = match to {
                    To::Approve => RequestDecision::Approve,
                    _ => RequestDecision::Deny,
                };
                let body = body(request).await?;
                let asked = decision_asked(varying, caller, decision, &body)?;
                json(&self.desk()?.decide(asked).await?)
            }
            To::ResetBudgets | To::Quarantine | To::Lift => {
                let Caller::Operator(approver) = caller else {
                    let message = "this is done on the operators' socket only";
                    return Err(Refusal::forbidden(message.into()));
                };
                let body = body(request).await?;
                self.act(to, varying, approver, &body).await
            }
        }
    }

    async fn act(
        &self,
        to: To,
        name: &str,
        approver: &Approver,
        body: &[u8],
    ) -> Result<Response<Body>, Refusal> {
        let operator = self.operator()?;
        let unreadable = |error: serde_json::Error| Refusal::bad(error.to_string());
        match to {
            To::Quarantine => {
                let spec = serde_json::from_slice(body).map_err(unreadable)?;
                let name = name.to_owned();
                let asked = QuarantineView { name, spec };
                operator.quarantine(asked, approver).await?;
                json(&serde_json::json!({"quarantined": true}))
            }
            To::Lift => {
                let decide: Decide = serde_json::from_slice(body).map_err(unreadable)?;
                let reason = decide.reason.unwrap_or_default();
                operator.lift(name, &reason, approver).await?;
                json(&serde_json::json!({"lifted": true}))
            }
            _ => {
                operator.reset_budgets(approver).await?;
                json(&serde_json::json!({"reset": true}))
            }
        }
    }

    /// Who was given a value. It goes to whoever makes its fingerprints, and nowhere else.
    async fn saw(
        &self,
        on: &OnRecord,
        mut filter: SawFilter,
        label: Option<String>,
        value: String,
    ) -> Result<Saw, Refusal> {
        let wanted = label.clone();
        let labels = self.blocking(on, move |store| store.saw_labels(wanted.as_deref()));
        let SawLabels { names, left_out } = labels.await?;
        match label {
            Some(label) if names.is_empty() => {
                let why = format!("no fingerprints of the label {label} are kept");
                return Err(Refusal::not_found(&why));
            }
            _ if names.is_empty() => return Ok(Saw::default()),
            _ => {}
        }
        for labels in names.chunks(LABELS_AT_ONCE) {
            let made = self.desk()?.fingerprints(value.clone(), labels.to_vec());
            filter
                .values
                .extend(labels.iter().cloned().zip(made.await?));
        }
        let saw = self.blocking(on, move |store| store.saw(&filter)).await?;
        Ok(Saw { left_out, ..saw })
    }

    fn desk(&self) -> Result<&dyn Desk, Refusal> {
        self.desk
            .as_deref()
            .ok_or_else(|| Refusal::unavailable("nothing is decided here".into()))
    }

    fn operator(&self) -> Result<&dyn Operator, Refusal> {
        self.operator
            .as_deref()
            .ok_or_else(|| Refusal::unavailable("no engine runs beside this collector".into()))
    }

    /// A read that cannot be recorded does not take place.
    async fn read_by(&self, read: EvidenceRead) -> Result<OnRecord, Refusal> {
        Ok(self.evidence.read_by(read).await?)
    }

    async fn watched_by(&self, read: EvidenceRead) -> Result<OnRecord, Refusal> {
        Ok(self.evidence.watched_by(read).await?)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        on: &OnRecord,
        act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.evidence.open(on).reading(Reach::Page, act).await?)
    }

    /// The same for what reads all that there is.
    async fn whole<T: Send + 'static>(
        &self,
        on: &OnRecord,
        act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.evidence.open(on).reading(Reach::Whole, act).await?)
    }

    async fn replay(
        &self,
        on: &OnRecord,
        session: SessionId,
        namespace: Option<String>,
    ) -> Result<Response<Body>, Refusal> {
        let (sender, mut lines) = mpsc::channel::<Bytes>(64);
        let store = self.evidence.open(on).clone();
        let turn = store.turn(Reach::Stream).await?;
        let reading = tokio::task::spawn_blocking(move || {
            let done = store.replay(session, namespace.as_deref(), &mut |event| {
                line(&event).is_some_and(|line| sender.blocking_send(line).is_ok())
            });
            drop(turn);
            done
        });
        // The first line, or why there is none.
        let first = lines.recv().await;
        if first.is_none() {
            reading
                .await
                .map_err(|error| Refusal::failed(error.to_string()))??;
        }
        Ok(stream(first, lines))
    }

    /// A bundle as it is made. A failure cuts it off, which its reader notices.
    async fn export(&self, on: &OnRecord, selection: Selection) -> Result<Response<Body>, Refusal> {
        let store = self.evidence.open(on).clone();
        let turn = store.turn(Reach::Stream).await?;
        let (sender, parts) = mpsc::channel::<Bytes>(16);
        tokio::task::spawn_blocking(move || {
            let out = std::io::BufWriter::with_capacity(PART, Parts(sender));
            if let Err(error) = store.export(&selection, out) {
                tracing::error!(%error, "an export was cut off");
            }
            drop(turn);
        });
        let mut response = stream(None, parts);
        let kind = header::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    fn tail(&self, on: &OnRecord, filter: crate::Filter, caller: &Caller) -> Response<Body> {
        let (sender, lines) = mpsc::channel::<Bytes>(64);
        let mut events = self.evidence.open(on).tail();
        let still = match caller {
            Caller::Auditor(scope) => Some(Arc::clone(&scope.still)),
            Caller::Operator(_) | Caller::Reader => None,
        };
        tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            let mut check = tokio::time::interval(RECHECK);
            check.tick().await;
            loop {
                let batch = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    _ = check.tick(), if still.is_some() => {
                        if let Some(still) = &still && !still().await {
                            return;
                        }
                        continue;
                    }
                    batch = events.recv() => batch,
                };
                match batch {
                    // A line at a time: a batch can be very much longer in this form.
                    Ok(batch) => {
                        let kept = batch.iter().filter(|event| filter.keeps(event));
                        for line in kept.filter_map(line) {
                            if sender.send(line).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(RecvError::Lagged(batches)) => {
                        let lagged = serde_json::json!({"kind": "lagged", "batches": batches});
                        if let Some(line) = line(&lagged)
                            && sender.send(line).await.is_err()
                        {
                            return;
                        }
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        stream(None, lines)
    }
}

/// Hands on what is written; fails once nobody reads it.
struct Parts(mpsc::Sender<Bytes>);

impl std::io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        sent.map(|()| bytes.len()).map_err(gone)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn described(about: About) -> serde_json::Value {
    serde_json::json!({
        "name": about.name(),
        "title": about.title(),
        "parameters": about.parameters(),
        "needs": about.needs(),
    })
}

/// A decision on the request `name`, as the body words it.
fn decision_asked(
    name: &str,
    caller: &Caller,
    decision: RequestDecision,
    body: &[u8],
) -> Result<DecisionAsked, Refusal> {
    let decide: Decide = if body.iter().all(u8::is_ascii_whitespace) {
        Decide::default()
    } else {
        serde_json::from_slice(body).map_err(|error| Refusal::bad(error.to_string()))?
    };
    let reason = decide.reason.filter(|reason| !reason.trim().is_empty());
    if decision == RequestDecision::Deny && reason.is_none() {
        return Err(Refusal::bad("a denial needs a reason".into()));
    }
    let mut namespace = decide.namespace;
    confine(&mut namespace, caller)?;
    Ok(DecisionAsked {
        person: caller.person(),
        namespace: namespace.unwrap_or_default(),
        name: name.to_owned(),
        uid: decide.uid.unwrap_or_default(),
        decision,
        reason,
        rows: decide.rows,
        binding: decide.binding,
        minutes: decide.minutes,
    })
}

fn bears(request: &Request<Incoming>, token: &str) -> bool {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let given = given
        .and_then(|given| given.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    // Every byte is compared, so that the time says nothing about where they differ.
    let differs = given
        .iter()
        .zip(token.as_bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    !token.is_empty() && given.len() == token.len() && differs == 0
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = tokio::time::timeout(BODY_PATIENCE, body).await;
    Ok(body
        .map_err(|_| Refusal::late())?
        .map_err(|error| Refusal::bad(error.to_string()))?
        .to_bytes())
}
