//! A request that may go on: sent, and its answer taken.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, WARNING};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use weir_audit::Outcome;
use weir_policy::RecordLevel;
use weir_wire_kube::Limits;
use weir_wire_kube::yaml::Writer as Yaml;

use super::{Exchange, Permitted};
use crate::kubernetes::answer::{self, Answer, Body, Objects, Reader, full};
use crate::kubernetes::asked::Asked;
use crate::kubernetes::effects;
use crate::kubernetes::head::{only_json, strip};
use crate::kubernetes::objects::Masks;
use crate::kubernetes::refusal::Refusal;
use crate::kubernetes::statement::Active;
use crate::kubernetes::upstream::Outgoing;
use crate::kubernetes::withheld;
use crate::masking::Masking as TextMasking;

/// The API server's name for a request.
const AUDIT_ID: &str = "audit-id";

impl Exchange {
    pub(super) async fn forward(
        &mut self,
        head: request::Parts,
        rest: Option<Incoming>,
        permitted: Permitted,
    ) -> Result<Response<Body>, Refusal> {
        let reads = permitted.reads_objects(self.active.as_ref());
        let is_head = head.method == Method::HEAD;
        let mut head = onward(head, &permitted);
        let mut yaml = false;
        if reads {
            yaml = only_json(&mut head.headers, permitted.asked.request.watch)?;
        } else if permitted.masks.is_some() {
            head.headers.remove(ACCEPT_ENCODING);
        }
        let object = permitted.object.clone();
        let body = match (object, rest) {
            (Some(bytes), _) => Some(full(bytes)),
            (None, Some(rest)) => Some(rest.map_err(Into::into).boxed_unsync()),
            (None, None) => None,
        };
        let sent = self.send(head, body, &permitted.asked).await;
        let response = sent.map_err(|error| Refusal::bad_gateway(&error))?;
        let (mut head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(Refusal::bad_gateway(
                "it went on as something that nobody asked for",
            ));
        }
        strip(&mut head.headers);
        let Some(mut active) = self.active.take() else {
            return Err(Refusal::unjudged("the request is over"));
        };
        note_answer(&mut active, head.status, &head.headers);
        let asked = &permitted.asked.request;
        let changes = !matches!(asked.verb, "get" | "list" | "watch");
        if let Some(masks) = &permitted.masks {
            withheld::mask_warnings(&mut head.headers, masks, changes);
        }
        if let Some(name) = &active.record.request {
            let warning = format!("299 - \"weir: it waited for access request {name}\"");
            if let Ok(warning) = HeaderValue::try_from(warning) {
                head.headers.append(WARNING, warning);
            }
        }
        let failed = head.status.is_client_error() || head.status.is_server_error();
        let is_there = head.status != StatusCode::NOT_FOUND;
        // What a delete carries are its options.
        let deletes = matches!(asked.verb, "delete" | "deletecollection");
        let carries = permitted.object.is_some() && !deletes;
        let quotes = carries || !asked.field_terms.is_empty() || changes && is_there;
        let named = permitted.masks.as_ref().is_some_and(Masks::has_fields);
        if failed && (quotes && named || permitted.asked.refusal_quotes()) {
            return Ok(Box::pin(withheld::withheld(head, body, active)).await);
        }
        let has_body = !is_head
            && !matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if is_head && named {
            // It would tell how long the values are.
            head.headers.remove(CONTENT_LENGTH);
        }
        let reader = match permitted.reader(&head.headers, reads, failed) {
            _ if !has_body => Reader::Plain,
            Ok(reader) => reader,
            Err(refusal) => {
                self.active = Some(active);
                return Err(refusal);
            }
        };
        yaml &= matches!(reader, Reader::Objects(_));
        if permitted.decision.obligations.record == RecordLevel::Full {
            active.record_answer();
        }
        if failed {
            let code = head.status.as_str().into();
            active.outcome = Some(Outcome::Failed { code });
        }
        let asked = &permitted.asked;
        let watch = asked.request.watch;
        let follows = asked.request.query.flag("follow");
        let resource = asked.request.resource.as_ref();
        let log = resource.is_some_and(|resource| resource.subresource == "log");
        let is_cut = log && asked.request.query.first("limitBytes").is_some();
        let mut answer = Answer::new(body, reader, permitted.gate, active, watch);
        answer.is_cut = is_cut;
        answer.ends = is_cut || log && !follows;
        answer.yaml = yaml.then(|| Box::new(Yaml::new(Limits::default())));
        Ok(answer.into_response(head, watch || follows).await)
    }

    /// Sends a request, over the connection for reading where it is one that only reads and ends soon.
    async fn send(
        &self,
        head: request::Parts,
        body: Option<Outgoing>,
        asked: &Asked,
    ) -> Result<Response<Incoming>, String> {
        let upstream = &self.session.upstream;
        if body.is_none() && head.method == Method::GET && asked.is_brief() {
            let read = upstream.read(&head).await?;
            if let Some(response) = read {
                return Ok(response);
            }
        }
        let version = upstream.version();
        let mut request = upstream.request(head, version)?;
        if let Some(body) = body {
            *request.body_mut() = body;
        }
        upstream.send(request).await
    }

    /// The request as the server receives it, without its body.
    pub(in crate::kubernetes) fn outgoing(
        &self,
        head: request::Parts,
        permitted: &Permitted,
    ) -> Result<Request<Outgoing>, Refusal> {
        let upstream = &self.session.upstream;
        let request = upstream.request(onward(head, permitted), upstream.version());
        request.map_err(|reason| Refusal::bad_request(&reason))
    }
}

/// What of a request's head the server is told.
fn onward(mut head: request::Parts, permitted: &Permitted) -> request::Parts {
    let headers = &mut head.headers;
    strip(headers);
    headers.remove(EXPECT);
    if permitted.object.is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    head
}

impl Permitted {
    /// Whether the answer has to be read as objects.
    fn reads_objects(&self, active: Option<&Active>) -> bool {
        let Some(resource) = &self.asked.request.resource else {
            return false;
        };
        let counted = active.is_some_and(|active| active.meter.is_some());
        effects::shows_objects(resource) && (self.masks.is_some() || counted)
    }

    /// How the answer is read.
    pub(in crate::kubernetes) fn reader(
        &self,
        headers: &HeaderMap,
        reads: bool,
        failed: bool,
    ) -> Result<Reader, Refusal> {
        let known = self.asked.request.resource.is_none();
        let unreadable = (reads || self.masks.is_some()) && !known && answer::is_encoded(headers);
        let json = answer::is_json(headers) || !headers.contains_key(CONTENT_TYPE);
        // What the server's own router says is text.
        let text = failed && answer::is_text(headers);
        if unreadable || (reads && !json && !text) {
            let text =
                "its answer is in a form that cannot be read, although another was asked for";
            return Err(Refusal::bad_gateway(text));
        }
        if reads && json {
            return Ok(Reader::Objects(Box::new(Objects::new(self.masks.clone()))));
        }
        let scanner = self.masks.as_ref().and_then(Masks::scanner);
        Ok(match scanner.filter(|_| !known) {
            Some(scanner) => Reader::Text(Box::new(TextMasking::of_part(Arc::clone(scanner)))),
            None => Reader::Plain,
        })
    }
}

/// What evidence says of the answer.
pub(in crate::kubernetes) fn note_answer(
    active: &mut Active,
    status: StatusCode,
    headers: &HeaderMap,
) {
    active.answered.code = u32::from(status.as_u16());
    let id = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    active.answered.server_audit_id = id.map(Arc::from);
}
