//! Evidence from sidecars: HTTP/2 over mutual TLS.
//!
//! Invariants
//! - A pod writes to its own chain only: the engine is `pod_` and the UID in the certificate, and
//!   each event's identity is the certificate's.
//! - A pod says what happens in it and no more: who reads evidence is the collector's to say, what is found in
//!   the cluster is the controller's.
//! - Each batch ends with a head that the pod signed with the key of its certificate.
//! - What is acknowledged was committed; a batch that comes twice changes nothing.
//! - Bodies, what they unpack to, the time they take and how many are in memory are bounded.
//! - When the store cannot take evidence, the answer says so, and the sidecar keeps it.
//!
//! It refuses to repair or to reorder: a refused batch is left to the sidecar, and an attempt to
//! write as somebody else is a finding in the collector's own chain.

mod batch;
mod metrics;
mod quota;
mod refused;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::http::HeaderValue;
use hyper::{Method, Request, Response, header};
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weir_audit::{Ack, Finding, FindingCode};
use weir_serve::{Body, Site, Until};
use weir_uplink::control::INGEST;
use weir_uplink::ingest::{Acknowledged, MAX_BODY, MAX_UNPACKED};

pub use metrics::{IngestMetrics, Reason};
pub use quota::Quota;

use crate::api::json;
use crate::peer::{self, Pod};
use crate::store::Taken;
use crate::tls::{Credentials, Current, Following};
use crate::{Collector, CollectorError};
use batch::{Handed, Part, Sessions};
use quota::{Later, Line, Quotas, Visit};
use refused::Refused;

/// Bodies in memory at once.
const IN_MEMORY: usize = 32;
/// What is longer has a lane of its own, so that it is in nobody's way, and must say so.
const LONG: usize = 4 << 20;
const LONG_IN_MEMORY: usize = 2;
/// Batches that are unpacked and stored at once; the store has one writer.
const STORING: usize = 2;
/// How long a body may take, and a long one.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
const LONG_PATIENCE: Duration = Duration::from_secs(80);
/// How long a request waits for room before it is sent away.
const ROOM_PATIENCE: Duration = Duration::from_secs(3);

/// The port that sidecars send evidence to.
#[derive(Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

struct Inner {
    store: Collector,
    credentials: Current,
    tls: Following<()>,
    trust_domain: String,
    quotas: Arc<Quotas>,
    in_memory: Semaphore,
    long_in_memory: Semaphore,
    storing: Arc<Semaphore>,
    /// One long batch is stored at once.
    long: Mutex<()>,
    metrics: IngestMetrics,
}

/// A pod on one of its connections.
pub struct Guest {
    pod: Arc<Pod>,
    part: Part,
    _line: Line,
}

impl Ingest {
    /// A port over a store, for pods of one trust domain.
    #[must_use]
    pub fn new(
        store: Collector,
        credentials: Current,
        trust_domain: String,
        quota: Quota,
        metrics: IngestMetrics,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                credentials,
                tls: Following::new(),
                trust_domain,
                quotas: Quotas::new(quota, Instant::now()),
                in_memory: Semaphore::new(IN_MEMORY),
                long_in_memory: Semaphore::new(LONG_IN_MEMORY),
                storing: Arc::new(Semaphore::new(STORING)),
                long: Mutex::default(),
                metrics,
            }),
        }
    }

    async fn take(&self, guest: &Guest, request: Request<Incoming>) -> Result<Ack, Refused> {
        let Guest { pod, part, .. } = guest;
        if request.method() != Method::POST || request.uri().path() != INGEST {
            return Err(Refused::malformed("evidence is posted to /v1/ingest"));
        }
        let mut handed = Handed::read(request.headers())?;
        if handed.engine != pod.engine {
            return Err(Refused::foreign(pod, &handed.engine));
        }
        let visit = self.inner.quotas.enter(&pod.engine, Instant::now());
        let visit = visit.map_err(|Later(pause)| Refused::quota(pause))?;
        let length = announced(&request).unwrap_or_default();
        let (lane, most, patience) = if length > LONG {
            (&self.inner.long_in_memory, MAX_BODY, LONG_PATIENCE)
        } else {
            (&self.inner.in_memory, LONG, BODY_PATIENCE)
        };
        if length > most {
            return Err(Refused::oversized());
        }
        let room = tokio::time::timeout(ROOM_PATIENCE, lane.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Err(Refused::busy());
        };
        let body = read(request, most, patience).await?;
        let slot = Arc::clone(&self.inner.storing).acquire_owned().await;
        let slot = slot.map_err(|_| Refused::busy())?;
        let (inner, pod, part) = (Arc::clone(&self.inner), Arc::clone(pod), *part);
        // Goes on when the client hangs up: what was begun is committed or not, as a whole.
        let stored = tokio::task::spawn_blocking(move || {
            let stored = inner.keep((&pod, part), &mut handed, &body, &visit);
            drop(slot);
            stored
        });
        stored
            .await
            .unwrap_or_else(|error| Err(Refused::failed(error.to_string())))
    }

    /// An attempt to write as somebody else is evidence itself.
    async fn complain(&self, pod: &Pod, message: String) {
        if !self.inner.quotas.may_complain(&pod.engine, Instant::now()) {
            return;
        }
        let finding = Finding {
            code: FindingCode::Other,
            message: message.into(),
            subject: None,
            engine: Some(pod.engine.as_str().into()),
        };
        let store = self.inner.store.clone();
        let reported = tokio::task::spawn_blocking(move || store.report(finding)).await;
        if let Ok(Err(error)) = reported {
            tracing::error!(%error, "a finding could not be stored");
        }
    }
}

impl Inner {
    fn keep(
        &self,
        (pod, part): (&Pod, Part),
        handed: &mut Handed,
        body: &[u8],
        visit: &Visit,
    ) -> Result<Ack, Refused> {
        let batch = handed.unpack(body).inspect_err(|_| {
            // It cost as much as the longest batch, whatever it was.
            visit.charge(MAX_UNPACKED, 0, Instant::now());
        })?;
        let bytes: usize = batch.frames.iter().map(|frame| frame.stored_len()).sum();
        let events = batch.frames.iter().map(|frame| frame.count()).sum();
        visit.charge(bytes, events, Instant::now());
        let signed = handed.verify(&batch, pod)?;
        let _long =
            (bytes > LONG).then(|| self.long.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut newest, mut swollen) = (None, false);
        let mut sessions = Sessions::default();
        let taken = self.store.ingest_signed(&batch, &signed, &mut |event| {
            newest = newest.max(Some(event.time));
            let measured = batch::measure(event).and_then(|()| sessions.note(event));
            measured.inspect_err(|_| swollen = true)?;
            batch::check(event, pod, part)
        });
        let Taken { ack, lines } = taken.map_err(|error| match error {
            CollectorError::Refused(why) if swollen => Refused::swollen(pod, &why),
            error => Refused::store(pod, error),
        })?;
        visit.charge(lines, 0, Instant::now());
        self.metrics.batches.inc();
        self.metrics.events.inc_by(events);
        self.metrics
            .bytes
            .inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some(newest) = newest {
            let now = weir_audit::Timestamp::from(std::time::SystemTime::now());
            let lag = now.as_micros().saturating_sub(newest.as_micros());
            self.metrics
                .lag
                .observe(Duration::from_micros(lag).as_secs_f64());
        }
        Ok(ack)
    }
}

impl Site for Ingest {
    type Client = Arc<Guest>;

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        let Inner {
            credentials, tls, ..
        } = &*self.inner;
        tls.get(credentials, &(), Credentials::for_sidecars)
    }

    fn admit(
        &self,
        address: SocketAddr,
        session: &ServerConnection,
    ) -> Result<(Arc<Guest>, Until), String> {
        let chain = session.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or("no client certificate")?;
        let read = Pod::read(leaf, &self.inner.trust_domain).and_then(|pod| {
            let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
            Ok((Arc::new(Pod { chain, ..pod }), peer::ends(leaf)?))
        });
        let (pod, until) = read.map_err(|error| {
            tracing::warn!(%address, %error, "a client is refused");
            error.to_string()
        })?;
        let line = self.inner.quotas.connect(&pod.engine, Instant::now());
        let line = line.ok_or_else(|| {
            tracing::warn!(pod = %pod.name, spiffe = %pod.spiffe, "a pod has too many connections");
            "the pod has too many connections".to_owned()
        })?;
        let own = self.inner.credentials.borrow();
        let own = own.as_ref().and_then(|own| own.namespace());
        let part = if own == Some(&*pod.namespace) {
            Part::Controller
        } else {
            Part::Sidecar
        };
        let guest = Guest {
            pod,
            part,
            _line: line,
        };
        Ok((Arc::new(guest), Some(until)))
    }

    async fn answer(&self, guest: Arc<Guest>, request: Request<Incoming>) -> Response<Body> {
        let pod = &guest.pod;
        let refused = match self.take(&guest, request).await {
            Ok(Ack { epoch, seq }) => match json(&Acknowledged { epoch, seq }) {
                Ok(response) => return response,
                Err(refusal) => return refusal.answer(),
            },
            Err(refused) => refused,
        };
        self.inner.metrics.refused.inc(refused.reason);
        tracing::debug!(pod = %pod.name, reason = ?refused.reason, "a batch was refused");
        let mut response = refused.refusal.answer();
        if let Some(pause) = refused.pause {
            let pause = HeaderValue::from(pause.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, pause);
        }
        if let Some(finding) = refused.finding {
            self.complain(pod, finding).await;
        }
        response
    }
}

/// How long a body is, by its own word.
fn announced(request: &Request<Incoming>) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

async fn read(
    request: Request<Incoming>,
    most: usize,
    patience: Duration,
) -> Result<Bytes, Refused> {
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(patience, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refused::oversized())
        }
        Ok(Err(error)) => Err(Refused::malformed(&error.to_string())),
        Err(_) => Err(Refused::slow()),
    }
}
