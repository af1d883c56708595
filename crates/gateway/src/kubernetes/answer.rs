//! An answer on its way to the client: read, masked, counted, recorded.
//!
//! Invariants
//! - An object that passes a limit is not delivered, nor any part of it; nothing is read from the server
//!   while the client does not take what there is, or while people decide.
//! - What must be read and cannot be ends the answer.
//! - A policy that changes meanwhile ends an answer that it would mask, limit or refuse otherwise.
//!
//! The head of an answer waits for its first bytes, so that a small one is refused as a whole.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use weir_audit::Outcome;
use weir_policy::Amount;
use weir_wire_kube::rewrite::{Event, Limits, Rewriter};
use weir_wire_kube::yaml::Writer as Yaml;

use super::gate::Gate;
use super::objects::{Counting, Masking, Masks};
use super::refusal::Refusal;
use super::statement::Active;
use crate::masking::Masking as TextMasking;

/// Why a body ends early.
pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way to the client.
pub(super) type Body = UnsyncBoxBody<Bytes, Failed>;

/// Bytes of an answer that wait before its head goes out: of any, and of one that limits count.
const HEAD: usize = 64 << 10;
const HEAD_COUNTED: usize = 1 << 20;
/// The part of one object that is delivered before the object is whole.
const OBJECT: usize = 2 << 20;
/// What comes at once, as a rule, and a little: room for it is made once.
const PIECE: usize = 17 << 10;
/// What is there at once is read together up to here, and goes out in frames of HTTP/2 that are one record of TLS each.
const BATCH: usize = 64 << 10;
const AT_ONCE: Duration = Duration::from_millis(10);
const FRAME: usize = (16 << 10) - 9;
/// How long the next bytes may take before the head goes out without them.
const STALL: Duration = Duration::from_secs(1);
/// How long a line of a log waits for its rest.
const LINE: Duration = crate::masking::PATIENCE;

/// A body of known bytes.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    let body = Full::new(bytes.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

/// How an answer is read.
pub(super) enum Reader {
    /// As bytes.
    Plain,
    /// As text with values in it.
    Text(Box<TextMasking>),
    /// As objects.
    Objects(Box<Objects>),
}

/// An answer that is read as objects.
pub(super) struct Objects {
    rewriter: Rewriter,
    masking: Option<Masking>,
    counting: Counting,
    /// Where in the output the object begins that is being written.
    mark: Option<usize>,
    /// Parts of that object that were counted already.
    parts: u64,
}

/// An object, or a part of one, that is counted before it is delivered.
struct Counted {
    /// Where it begins in the output.
    mark: usize,
    size: usize,
    /// 0 for what follows a part.
    rows: u64,
}

impl Objects {
    pub(super) fn new(masks: Option<Masks>) -> Self {
        let patterns = masks.as_ref().map(Masks::patterns).unwrap_or_default();
        Self {
            rewriter: Rewriter::new(patterns, Limits::default()),
            masking: masks.map(Masking::new),
            counting: Counting::default(),
            mark: None,
            parts: 0,
        }
    }

    fn feed(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Event, String> {
        let fed = match &mut self.masking {
            Some(masking) => self.rewriter.feed(input, out, masking),
            None => self.rewriter.feed(input, out, &mut self.counting),
        };
        fed.map_err(|error| format!("its answer cannot be read: {error}"))
    }

    /// The output from `mark` to `end` as what is counted.
    fn counted(&self, mark: usize, end: usize) -> Counted {
        Counted {
            mark,
            size: end - mark,
            rows: u64::from(self.parts == 0),
        }
    }

    fn continues(&mut self) -> Option<String> {
        match &mut self.masking {
            Some(masking) => masking.continues.take(),
            None => self.counting.continues.take(),
        }
    }
}

/// An answer that is being read.
pub(super) struct Answer {
    pub(super) upstream: Incoming,
    pub(super) reader: Reader,
    pub(super) gate: Gate,
    pub(super) active: Active,
    /// It is a watch: it may go on for ever, and has a form for errors.
    pub(super) is_watch: bool,
    out: Vec<u8>,
    /// What goes out, frame by frame.
    going: Bytes,
    /// Why no more comes, once that is out.
    failed: Option<Refusal>,
    ended: bool,
    /// The head waits for the first bytes; it no longer does where they do not come.
    heads: bool,
    /// What came meanwhile and is not counted yet: it fits, and others may take what it would before it goes out.
    uncounted: Vec<Counted>,
    /// Its length is known: all of it is on its way.
    announced: bool,
    /// Whoever asked says after how many bytes it ends.
    pub(super) is_cut: bool,
    /// It ends by itself: a line's rest comes with its end at the latest.
    pub(super) ends: bool,
    /// What is made of it for a client that takes YAML only.
    pub(super) yaml: Option<Box<Yaml>>,
}

impl Answer {
    pub(super) fn new(
        upstream: Incoming,
        reader: Reader,
        gate: Gate,
        active: Active,
        is_watch: bool,
    ) -> Box<Self> {
        Box::new(Self {
            upstream,
            reader,
            gate,
            active,
            is_watch,
            out: Vec::new(),
            going: Bytes::new(),
            failed: None,
            ended: false,
            heads: false,
            uncounted: Vec::new(),
            announced: false,
            is_cut: false,
            ends: false,
            yaml: None,
        })
    }

    /// The answer that the client receives.
    pub(super) async fn into_response(
        mut self: Box<Self>,
        mut head: response::Parts,
        streams: bool,
    ) -> Response<Body> {
        let most = if self.active.meter.is_some() {
            HEAD_COUNTED
        } else {
            HEAD
        };
        if !matches!(self.reader, Reader::Plain) {
            let length = head.headers.remove(CONTENT_LENGTH);
            self.announced = length.is_some() && matches!(self.reader, Reader::Objects(_));
        }
        let plain = matches!(self.reader, Reader::Plain);
        self.heads = !streams && (self.active.meter.is_some() || !plain);
        let mut roomy = false;
        while self.heads && !self.ended && self.out.len() < most {
            // What does not end soon has its room at once, rather than twice as much again and again.
            if self.out.len() > HEAD && !roomy {
                self.out.reserve_exact(most - self.out.len() + PIECE);
                roomy = true;
            }
            if let Err(refusal) = self.read().await {
                return self.refused(&refusal);
            }
        }
        self.heads = false;
        if let Err(refusal) = self.count(Vec::new()).await {
            return self.refused(&refusal);
        }
        if self.yaml.is_some() {
            let yaml = HeaderValue::from_static("application/yaml");
            head.headers.insert(CONTENT_TYPE, yaml);
        }
        if self.ended {
            let out = std::mem::take(&mut self.out);
            let out = match self.written(out) {
                Ok(out) => out,
                Err(refusal) => return self.refused(&refusal),
            };
            self.delivers(&out);
            self.end().await;
            // What has no body may say how long it would be.
            if !plain {
                head.headers
                    .insert(CONTENT_LENGTH, HeaderValue::from(out.len()));
            }
            return Response::from_parts(head, full(out));
        }
        let body = stream::unfold(Some(self), |answer| async move { answer?.next().await });
        let body = StreamBody::new(body);
        Response::from_parts(head, body.boxed_unsync())
    }

    /// The next piece of the body, and what is left.
    async fn next(
        mut self: Box<Self>,
    ) -> Option<(Result<Frame<Bytes>, Failed>, Option<Box<Self>>)> {
        loop {
            if !self.going.is_empty() {
                let frame = self.going.split_to(self.going.len().min(FRAME));
                return Some((Ok(Frame::data(frame)), Some(self)));
            }
            if !self.out.is_empty() && self.is_deliverable() {
                let ready = self.ready();
                let ready = match self.written(ready) {
                    Ok(ready) => ready,
                    Err(refusal) => return self.broken(&refusal),
                };
                self.delivers(&ready);
                self.going = ready.into();
                continue;
            }
            if let Some(refusal) = self.failed.take() {
                return self.broken(&refusal);
            }
            if self.ended {
                // What waits for what comes is the smaller without it.
                Box::pin(self.end()).await;
                return None;
            }
            if let Err(refusal) = self.read().await {
                return self.broken(&refusal);
            }
            self.read_what_is_there().await;
        }
    }

    /// Reads objects of a list that have come meanwhile, until something has to wait. Where one of them ends the
    /// answer, those before it go out first.
    async fn read_what_is_there(&mut self) {
        let begun = Instant::now();
        while !self.is_watch && !self.ended && self.out.len() < BATCH && begun.elapsed() < AT_ONCE {
            let Reader::Objects(objects) = &self.reader else {
                return;
            };
            let settled = objects.mark.unwrap_or(self.out.len());
            let mut frame = self.upstream.frame().now_or_never();
            if frame.is_none() {
                // Whatever reads from the server has its turn.
                step_aside().await;
                frame = self.upstream.frame().now_or_never();
            }
            let Some(frame) = frame else {
                return;
            };
            if let Err(refusal) = self.take(frame).await {
                self.out.truncate(settled);
                if let Reader::Objects(objects) = &mut self.reader {
                    objects.mark = None;
                }
                self.failed = Some(refusal);
                return;
            }
        }
    }

    /// Whether some of what was read may go out before more is.
    fn is_deliverable(&self) -> bool {
        match &self.reader {
            Reader::Objects(objects) => objects.mark.is_none_or(|mark| mark > 0),
            _ => true,
        }
    }

    /// What may go out: all but an object that has not been counted yet.
    fn ready(&mut self) -> Vec<u8> {
        if let Reader::Objects(objects) = &mut self.reader
            && let Some(mark) = &mut objects.mark
        {
            let begun = self.out.get(*mark..).unwrap_or_default();
            let mut rest = Vec::with_capacity(begun.len() + PIECE);
            rest.extend_from_slice(begun);
            self.out.truncate(*mark);
            *mark = 0;
            return std::mem::replace(&mut self.out, rest);
        }
        std::mem::take(&mut self.out)
    }

    /// In the form that the client takes.
    fn written(&mut self, json: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let Some(yaml) = &mut self.yaml else {
            return Ok(json);
        };
        let mut out = Vec::with_capacity(json.len() + json.len() / 2);
        let fed = yaml.feed(&json, &mut out);
        let text = |error| format!("its answer cannot be read: {error}");
        fed.map_err(|error| Refusal::bad_gateway(&text(error)))?;
        Ok(out)
    }

    fn delivers(&mut self, bytes: &[u8]) {
        self.active.delivers(bytes);
    }

    /// Reads what comes next.
    async fn read(&mut self) -> Result<(), Refusal> {
        let patience = match (self.text_waits(), self.heads && !self.announced) {
            (true, _) => Some(LINE),
            (false, true) => Some(STALL),
            (false, false) => None,
        };
        let frame = match patience {
            None => self.upstream.frame().await,
            Some(patience) => match tokio::time::timeout(patience, self.upstream.frame()).await {
                Ok(frame) => frame,
                Err(_) if self.text_waits() => return self.flush_text().await,
                Err(_) => {
                    self.heads = false;
                    return Ok(());
                }
            },
        };
        self.take(frame).await
    }

    /// Takes what has come; none at the end.
    async fn take(
        &mut self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Result<(), Refusal> {
        let frame = match frame {
            None => return self.read_end().await,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.active.outcome = Some(Outcome::Failed { code: "502".into() });
                return Err(Refusal::bad_gateway(&format!("it failed: {error}")));
            }
        };
        let Ok(data) = frame.into_data() else {
            return Ok(());
        };
        self.gate.still_holds(&mut self.active).await?;
        match &mut self.reader {
            Reader::Plain => {
                self.gate.pass(&mut self.active, 0, data.len()).await?;
                self.out.extend_from_slice(&data);
            }
            Reader::Text(masking) => {
                let before = self.out.len();
                masking.take(false, &data, &mut self.out);
                let shown = self.out.len() - before;
                let passed = self.gate.pass(&mut self.active, 0, shown).await;
                passed.inspect_err(|_| self.out.truncate(before))?;
            }
            Reader::Objects(_) => self.read_objects(&data).await?,
        }
        Ok(())
    }

    async fn read_objects(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.out.reserve(data.len() + data.len() / 16);
        let mut input = data;
        let mut ended: Vec<Counted> = Vec::new();
        loop {
            let Reader::Objects(objects) = &mut self.reader else {
                return Ok(());
            };
            let event = objects.feed(&mut input, &mut self.out);
            let end = self.out.len();
            match (event, objects.mark) {
                // The object is too large to wait for: it is counted as it comes.
                (Ok(Event::None), Some(mark)) if end - mark > OBJECT => {
                    let masking = objects.masking.as_mut();
                    if let Some(masking) = masking.filter(|masking| masking.has_fields()) {
                        masking.copied.part(&mut self.out, mark);
                    }
                    let end = self.out.len();
                    ended.push(objects.counted(mark, end));
                    objects.parts += 1;
                    objects.mark = Some(end);
                    return self.count(ended).await;
                }
                (Ok(Event::None), _) => return self.count(ended).await,
                (Ok(Event::ObjectBegins), _) => {
                    if let Some(masking) = &mut objects.masking {
                        masking.copied.clear();
                    }
                    objects.mark = Some(end);
                    objects.parts = 0;
                }
                (Ok(Event::ObjectEnds), mark) => {
                    let mark = mark.unwrap_or(end);
                    if let Some(masking) = &mut objects.masking {
                        masking.copied.hide(&mut self.out, mark);
                        objects.rewriter.hide_late(&mut self.out, mark, masking);
                    }
                    ended.push(objects.counted(mark, self.out.len()));
                    objects.mark = None;
                }
                (Err(error), mark) => {
                    // What came before it is delivered.
                    self.out.truncate(mark.unwrap_or(end));
                    self.count(ended).await?;
                    return Err(Refusal::bad_gateway(&error));
                }
            }
        }
    }

    /// Counts objects, together where they all fit; the first that does not is taken away again, with all
    /// that follows. What fits and cannot go out yet is counted when it does: an answer that is refused as a whole
    /// takes nothing from others that are under way.
    async fn count(&mut self, mut ended: Vec<Counted>) -> Result<(), Refusal> {
        if self.heads || !self.uncounted.is_empty() {
            self.uncounted.append(&mut ended);
            let rows = self.uncounted.iter().map(|one| one.rows).sum();
            let size = self.uncounted.iter().map(|one| one.size).sum();
            if self.heads && self.gate.would_pass(&mut self.active, rows, size)? {
                return Ok(());
            }
            ended = std::mem::take(&mut self.uncounted);
        }
        let rows = ended.iter().map(|one| one.rows).sum();
        let size = ended.iter().map(|one| one.size).sum();
        if self.gate.passes(&mut self.active, rows, size)? {
            self.active.rows += rows;
            return Ok(());
        }
        for one in ended {
            let passed = self.gate.pass(&mut self.active, one.rows, one.size).await;
            passed.inspect_err(|_| {
                self.out.truncate(one.mark);
                if let Reader::Objects(objects) = &mut self.reader {
                    objects.mark = None;
                }
            })?;
            self.active.rows += one.rows;
        }
        Ok(())
    }

    fn text_waits(&self) -> bool {
        !self.ends && matches!(&self.reader, Reader::Text(masking) if masking.is_waiting())
    }

    async fn flush_text(&mut self) -> Result<(), Refusal> {
        let before = self.out.len();
        if let Reader::Text(masking) = &mut self.reader {
            match self.is_cut {
                true => masking.cut(false, &mut self.out),
                false => masking.flush(false, &mut self.out),
            }
        }
        let shown = self.out.len() - before;
        let passed = self.gate.pass(&mut self.active, 0, shown).await;
        passed.inspect_err(|_| self.out.truncate(before))
    }

    async fn read_end(&mut self) -> Result<(), Refusal> {
        self.ended = true;
        match &mut self.reader {
            Reader::Plain => {}
            Reader::Text(_) => self.flush_text().await?,
            Reader::Objects(objects) => {
                let finished = objects.rewriter.finish();
                if let Err(error) = finished.as_ref()
                    && (!self.is_watch || !self.out.is_empty())
                {
                    let text = format!("its answer cannot be read: {error}");
                    return Err(Refusal::bad_gateway(&text));
                }
            }
        }
        Ok(())
    }

    /// Ends the record; where policy asks for it, before the client sees the end.
    async fn end(mut self: Box<Self>) {
        self.take_labels();
        if let Reader::Objects(objects) = &mut self.reader
            && let Some(token) = objects.continues()
        {
            let delivered = Amount {
                rows: self.active.rows,
                bytes: self.active.bytes,
                statements: 0,
            };
            self.gate.list_goes_on(&token, delivered);
        }
        let outcome = self.active.outcome.take().unwrap_or(Outcome::Completed);
        let Self { active, .. } = *self;
        active.finish_kept(outcome).await;
    }

    fn take_labels(&mut self) {
        match &mut self.reader {
            Reader::Objects(objects) => {
                if let Some(masking) = &mut objects.masking {
                    self.active.masked.append(&mut masking.labels);
                }
            }
            Reader::Text(masking) => {
                let labels = masking.labels();
                self.active.masked.extend(labels.iter().map(Arc::from));
            }
            Reader::Plain => {}
        }
    }

    /// Refused before anything of it went out.
    fn refused(mut self: Box<Self>, refusal: &Refusal) -> Response<Body> {
        self.take_labels();
        let id = self.active.audit_id();
        self.note(refusal);
        refusal.response(&id)
    }

    /// Ended in the middle: by an event where it is a watch, else by breaking off.
    #[expect(clippy::type_complexity, reason = "what `unfold` asks for")]
    fn broken(
        mut self: Box<Self>,
        refusal: &Refusal,
    ) -> Option<(Result<Frame<Bytes>, Failed>, Option<Box<Self>>)> {
        self.take_labels();
        let id = self.active.audit_id();
        self.note(refusal);
        if self.is_watch && matches!(self.reader, Reader::Objects(_)) {
            let event = refusal.event(&id);
            return Some((Ok(Frame::data(event.into())), None));
        }
        Some((Err(refusal.text.clone().into()), None))
    }

    fn note(&mut self, refusal: &Refusal) {
        self.active.record.reason = Some(refusal.text.as_str().into());
        let outcome = self.active.outcome.take();
        self.active.outcome = outcome.or(Some(Outcome::Aborted));
    }
}

/// Lets other tasks run that can.
async fn step_aside() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether an answer is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_of(headers, "application/json")
}

/// Whether an answer is plain text.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    is_of(headers, "text/plain")
}

fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let have = value.split(';').next().unwrap_or_default().trim();
        have.eq_ignore_ascii_case(kind)
    })
}

/// Whether an answer is in a form that cannot be read as it goes by.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_ENCODING);
    value.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}
