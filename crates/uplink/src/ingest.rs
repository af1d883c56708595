//! Evidence on its way to a collector in another process: HTTP/2 over mutual TLS.
//!
//! One `POST` to [`INGEST`](crate::control::INGEST) carries one run of linked frames, byte for byte
//! as they were sealed; [`ENGINE`] names the engine, [`PREVIOUS`] the link before the first frame, and
//! [`SIGNATURE`] is over the head that the run ends with. Long bodies are compressed. The answer is
//! [`Acknowledged`].
//!
//! Invariants
//! - What is not acknowledged is an error, so the shipper sends it again.
//! - `Retry-After` is honoured: until then nothing is sent.
//! - A renewed certificate or a new address means a new connection.
//! - The key that TLS proves is the key that signs, so the certificates of a signature are those of the
//!   connection that it comes over.
//!
//! It refuses to hold evidence: that is the spool's.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use weir_audit::proof::Head;
use weir_audit::{Ack, Batch, CollectorSink, EngineId, Frame, SinkError};

use crate::control::INGEST;

/// The header that names the engine.
pub const ENGINE: &str = "weir-engine";
/// The header with the link before the first frame, in hex.
pub const PREVIOUS: &str = "weir-previous";
/// The header with the time of a signature, in microseconds since 1970, and the signature in base64.
pub const SIGNATURE: &str = "weir-signature";
/// The `content-encoding` of a compressed body.
pub const ZSTD: &str = "zstd";
/// The longest body on the wire. A batch is 256 KiB or one frame, and the longest event that a spool takes has
/// 32 MiB: one that no collector takes would be in the way of all that follow.
pub const MAX_BODY: usize = 40 << 20;
/// The longest body once it is unpacked.
pub const MAX_UNPACKED: usize = MAX_BODY;

/// How heads are signed: ECDSA P-256 with SHA-256, DER.
pub const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// Bodies from this size on are compressed.
const PACK: usize = 4 << 10;
const LEVEL: i32 = 1;
/// How long an answer may take, and how much longer for each MiB that is sent.
const PATIENCE: Duration = Duration::from_secs(15);
const PATIENCE_PER_MIB: Duration = Duration::from_secs(2);
/// How long an address that may be out of date is tried.
const KNOWN: Duration = Duration::from_secs(2);
/// A collector may not silence an engine for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 64 << 10;

/// What a collector committed: everything of that engine up to this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The epoch of the last event.
    pub epoch: u32,
    /// Its sequence number.
    pub seq: u64,
}

/// Where the collector is, and how to prove who asks.
#[derive(Clone)]
pub struct Place {
    /// `host:port`; the host is the name that the collector's certificate must bear.
    pub address: String,
    /// Where that host may be found without looking it up; tried first.
    pub known: Vec<IpAddr>,
    /// The same `Arc` until the certificate or the roots change.
    pub tls: Arc<ClientConfig>,
}

/// Says where the collector is now; `None` while that is not known.
pub trait CollectorPlace: Send + Sync {
    /// The place to send the next batch to.
    fn place(&self) -> Option<Place>;
}

/// A collector in another process. To be called from threads of no runtime, such as the shipper's;
/// it drives its connection on the calling thread, so that shipping stays at that thread's priority.
pub struct RemoteCollector {
    place: Arc<dyn CollectorPlace>,
    /// Present until the collector is dropped.
    runtime: Option<Runtime>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    open: Option<Open>,
    not_before: Option<Instant>,
}

struct Open {
    place: Place,
    sender: SendRequest<Full<Bytes>>,
}

impl Open {
    fn leads_to(&self, place: &Place) -> bool {
        self.place.address == place.address
            && self.place.known == place.known
            && Arc::ptr_eq(&self.place.tls, &place.tls)
    }
}

impl fmt::Debug for RemoteCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCollector").finish_non_exhaustive()
    }
}

impl RemoteCollector {
    /// A collector that is looked for when there is something to send.
    ///
    /// # Errors
    /// When the system has no room for a runtime.
    pub fn new(place: Arc<dyn CollectorPlace>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            place,
            runtime: Some(runtime),
            line: Mutex::default(),
        })
    }
}

impl Drop for RemoteCollector {
    fn drop(&mut self) {
        // The last reference may go in async code, where a runtime must not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl CollectorSink for RemoteCollector {
    fn ingest(&self, batch: &Batch) -> Result<Ack, SinkError> {
        let place = self
            .place
            .place()
            .ok_or_else(|| SinkError("its address is not known yet".into()))?;
        let Some(runtime) = &self.runtime else {
            return Err(SinkError("this process ends".into()));
        };
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.wait()?;
        let mut ack = None;
        // The server can check links only within a run, and a head is of one epoch.
        for run in batch
            .frames
            .chunk_by(|one, next| one.hash() == next.previous() && one.epoch() == next.epoch())
        {
            let signature = signature(&place.tls, &batch.engine, run)?;
            let outgoing = Outgoing::new(&batch.engine, run, signature)?;
            let sent = async {
                let sending = line.send(&place, &outgoing);
                let answer = tokio::time::timeout(outgoing.patience(), sending).await;
                answer.unwrap_or_else(|_| Err(failed("no answer in time")))
            };
            match runtime.block_on(sent) {
                Ok(got) => ack = ack.max(Some(got)),
                Err(error) => {
                    line.open = None;
                    return Err(error);
                }
            }
        }
        ack.ok_or_else(|| SinkError("a batch without frames".into()))
    }
}

/// A request that can be built again.
struct Outgoing<'a> {
    engine: &'a EngineId,
    previous: String,
    signature: String,
    body: Bytes,
    packed: bool,
}

impl<'a> Outgoing<'a> {
    fn new(engine: &'a EngineId, run: &[Frame], signature: String) -> Result<Self, SinkError> {
        let mut body = Vec::with_capacity(run.iter().map(Frame::stored_len).sum());
        run.iter().for_each(|frame| frame.write_to(&mut body));
        let packed = body.len() >= PACK;
        if packed {
            body = zstd::bulk::compress(&body, LEVEL).map_err(failed)?;
        }
        Ok(Self {
            engine,
            previous: run
                .first()
                .map(|frame| frame.previous().to_string())
                .unwrap_or_default(),
            signature,
            body: body.into(),
            packed,
        })
    }

    fn patience(&self) -> Duration {
        let mib = u32::try_from(self.body.len() >> 20).unwrap_or(u32::MAX);
        PATIENCE.saturating_add(PATIENCE_PER_MIB.saturating_mul(mib))
    }

    fn request(&self, authority: &str) -> Result<Request<Full<Bytes>>, SinkError> {
        let mut request = Request::post(format!("https://{authority}{INGEST}"))
            .header(ENGINE, self.engine.as_str())
            .header(PREVIOUS, &self.previous)
            .header(SIGNATURE, &self.signature);
        if self.packed {
            request = request.header(header::CONTENT_ENCODING, ZSTD);
        }
        request.body(Full::new(self.body.clone())).map_err(failed)
    }
}

/// The time and the signature of the head of a run, by the key that `tls` proves. Each run is signed
/// with the key of the moment, however long it waited.
fn signature(tls: &ClientConfig, engine: &EngineId, run: &[Frame]) -> Result<String, SinkError> {
    let last = run.last().ok_or_else(|| failed("a run without frames"))?;
    let schemes = [SCHEME];
    let certified = tls.client_auth_cert_resolver.resolve(&[], &schemes);
    let certified = certified.ok_or_else(|| failed("there is no certificate to sign with"))?;
    let signer = certified.key.choose_scheme(&schemes);
    let signer = signer.ok_or_else(|| failed("the identity's key does not sign evidence"))?;
    let head = Head::of(engine, last, SystemTime::now().into());
    let signature = signer.sign(head.text().as_bytes()).map_err(failed)?;
    let micros = head.time.as_micros();
    Ok(format!("{micros} {}", STANDARD.encode(signature)))
}

impl Line {
    /// Refuses while the collector asked not to be asked.
    fn wait(&mut self) -> Result<(), SinkError> {
        match self.not_before {
            Some(until) if Instant::now() < until => {
                Err(SinkError("it asked to be left alone for a while".into()))
            }
            _ => {
                self.not_before = None;
                Ok(())
            }
        }
    }

    async fn send(&mut self, place: &Place, outgoing: &Outgoing<'_>) -> Result<Ack, SinkError> {
        let kept = self.open.take().filter(|open| open.leads_to(place));
        if let Some(mut open) = kept {
            let request = outgoing.request(&place.address)?;
            // It may have been closed while nobody looked; a batch may be sent twice.
            if open.sender.ready().await.is_ok()
                && let Ok(response) = open.sender.send_request(request).await
            {
                self.open = Some(open);
                return self.answer(response).await;
            }
        }
        let mut open = Open {
            place: place.clone(),
            sender: connect(place).await?,
        };
        let request = outgoing.request(&place.address)?;
        let response = open.sender.send_request(request).await.map_err(failed)?;
        self.open = Some(open);
        self.answer(response).await
    }

    async fn answer(
        &mut self,
        response: hyper::Response<hyper::body::Incoming>,
    ) -> Result<Ack, SinkError> {
        let status = response.status();
        let pause = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(failed)?
            .to_bytes();
        if status == StatusCode::OK {
            let Acknowledged { epoch, seq } = serde_json::from_slice(&body).map_err(failed)?;
            return Ok(Ack { epoch, seq });
        }
        self.not_before = pause.map(|pause| Instant::now() + pause.min(MAX_RETRY_AFTER));
        #[derive(Deserialize)]
        struct Refused {
            message: String,
        }
        let why = serde_json::from_slice::<Refused>(&body).map(|refused| refused.message);
        let why = why.unwrap_or_else(|_| "without a reason".to_owned());
        Err(SinkError(format!("{status}: {why}").into()))
    }
}

async fn connect(place: &Place) -> Result<SendRequest<Full<Bytes>>, SinkError> {
    let host = place
        .address
        .rsplit_once(':')
        .map_or(place.address.as_str(), |(host, _)| host)
        .trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(failed)?;
    let mut config = ClientConfig::clone(&place.tls);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = dial(place).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(failed)?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Connects to the first that answers: what is known, then what the name stands for.
async fn dial(place: &Place) -> io::Result<TcpStream> {
    let port = place.address.rsplit_once(':').map(|(_, port)| port.parse());
    if let Some(Ok(port)) = port {
        for ip in &place.known {
            let connecting = TcpStream::connect((*ip, port));
            if let Ok(Ok(stream)) = tokio::time::timeout(KNOWN, connecting).await {
                return Ok(stream);
            }
        }
    }
    TcpStream::connect(&place.address).await
}

fn failed(error: impl fmt::Display) -> SinkError {
    SinkError(error.to_string().into())
}
