//! From a request to frames, and whose events they are.
//!
//! What is unpacked is bounded before it is read: length, window, number of events. Every link is
//! verified, the first one against the header.

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use weir_audit::{
    Batch, Body, EngineId, Event, FindingCode, FrameReader, Hash, Identity, Session, SessionId,
    Timestamp,
};
use weir_uplink::ingest::{ENGINE, MAX_UNPACKED, PREVIOUS, SIGNATURE, ZSTD};

use super::refused::Refused;
use crate::log::Signed;
use crate::peer::Pod;

/// Events of a batch; in memory an event is a hundred times as large as on the wire.
const MAX_EVENTS: u64 = 200_000;
/// Sessions of a batch: three times as many as fit into what a sidecar sends at once.
const MAX_SESSIONS: usize = 16_384;
/// The largest window that a compressed body may ask for, as a power of two.
const MAX_WINDOW: u32 = 23;

/// What a pod is to Weir: what it may say depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It has a sidecar.
    Sidecar,
    /// It is of Weir's own namespace: a replica of the controller.
    Controller,
}

/// What the headers of a request say.
pub(super) struct Handed {
    pub(super) engine: EngineId,
    previous: Hash,
    packed: bool,
    /// When the head was signed, and the signature.
    signature: Option<(Timestamp, Vec<u8>)>,
}

impl Handed {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refused> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let engine = text(ENGINE)
            .and_then(|engine| engine.parse().ok())
            .ok_or_else(|| Refused::malformed("the engine is not named"))?;
        let previous = text(PREVIOUS)
            .and_then(hash)
            .ok_or_else(|| Refused::malformed("the link before the first frame is not named"))?;
        let packed = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None => false,
            Some(encoding) if encoding == ZSTD.as_bytes() => true,
            Some(_) => return Err(Refused::malformed("the encoding is not known")),
        };
        let signature = match headers.get(SIGNATURE) {
            None => None,
            Some(value) => {
                let read = value.to_str().ok().and_then(signature);
                Some(read.ok_or_else(|| Refused::malformed("the signature cannot be read"))?)
            }
        };
        Ok(Self {
            engine,
            previous,
            packed,
            signature,
        })
    }

    /// The signature over the end of the batch, verified with the key that the pod proved.
    pub(super) fn verify(&mut self, batch: &Batch, pod: &Pod) -> Result<Signed, Refused> {
        let (time, bytes) = self
            .signature
            .take()
            .ok_or_else(|| Refused::unsigned(pod, "it is not signed"))?;
        let signed = Signed::verify(batch, time, bytes, Arc::clone(&pod.chain));
        signed.map_err(|error| Refused::unsigned(pod, &error.to_string()))
    }

    /// The frames, linked and whole.
    pub(super) fn unpack(&self, body: &[u8]) -> Result<Batch, Refused> {
        let unpacked;
        let bytes = if self.packed {
            unpacked = decompress(body)?;
            unpacked.as_slice()
        } else {
            body
        };
        let mut reader = FrameReader::new(bytes, self.previous);
        let mut frames = Vec::new();
        let mut events = 0_u64;
        while let Some(frame) = reader
            .next_frame()
            .map_err(|error| Refused::damaged(error.to_string()))?
        {
            events = events.saturating_add(frame.count());
            if events > MAX_EVENTS {
                return Err(Refused::oversized());
            }
            frames.push(frame);
        }
        if frames.is_empty() {
            return Err(Refused::malformed("there is no frame in it"));
        }
        Ok(Batch {
            engine: self.engine.clone(),
            frames,
        })
    }
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, Refused> {
    let damaged = |error: std::io::Error| Refused::damaged(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
    decoder.window_log_max(MAX_WINDOW).map_err(damaged)?;
    let most = MAX_UNPACKED as u64 + 1;
    let mut bytes = Vec::new();
    decoder
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(damaged)?;
    if bytes.len() > MAX_UNPACKED {
        return Err(Refused::oversized());
    }
    Ok(bytes)
}

fn signature(text: &str) -> Option<(Timestamp, Vec<u8>)> {
    let (time, bytes) = text.split_once(' ')?;
    let time = Timestamp::from_micros(time.parse().ok()?);
    Some((time, STANDARD.decode(bytes).ok()?))
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        let digits = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(Hash(hash))
}

/// Whether an event may be in this pod's chain. What an engine says of itself and its sessions is its to say;
/// what only the collector or the controller can know is not, or a pod could put words into anybody's mouth.
pub(super) fn check(event: &Event, pod: &Pod, part: Part) -> Result<(), String> {
    // A sidecar whose certificate has expired refuses connections, and says so once it has another.
    let nobody = |session: &Session| {
        *session.identity == Identity::default() && matches!(event.body, Body::ConnectionRefused(_))
    };
    if let Some(session) = event.session.as_deref().filter(|session| !nobody(session)) {
        let identity = &session.identity;
        for (what, have, own) in [
            ("identity", Some(&identity.name), &pod.spiffe),
            ("namespace", identity.namespace.as_ref(), &pod.namespace),
            (
                "service account",
                identity.service_account.as_ref(),
                &pod.service_account,
            ),
            ("pod", identity.pod.as_ref(), &pod.name),
            ("pod UID", identity.uid.as_ref(), &pod.uid),
        ] {
            if have != Some(own) {
                return Err(format!(
                    "event {} names another {what} than the certificate",
                    event.id
                ));
            }
        }
    }
    let not_its = |what: &str| Err(format!("event {} is {what}", event.id));
    match &event.body {
        Body::EvidenceRead(_) => not_its("about a reader of evidence, which no pod can know"),
        Body::BudgetsReset(_) => not_its("about an operator, whom no pod has"),
        Body::QuarantineChanged(changed) if changed.is_order() && part == Part::Controller => {
            Ok(())
        }
        Body::QuarantineChanged(changed) if changed.subject != pod.spiffe => {
            not_its("about the quarantine of another identity")
        }
        Body::Finding(finding) => match &finding.engine {
            Some(engine) if **engine != *pod.engine.as_str() => {
                Err(format!("finding {} is about another engine", event.id))
            }
            _ if !may_find(finding.code, part) => not_its(&format!(
                "a finding of the kind {}, which is not this pod's to find",
                finding.code.as_str()
            )),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether an event is one that an engine writes: what stands in each event that shares it has bounds.
pub(super) fn measure(event: &Event) -> Result<(), String> {
    if event.is_bounded() {
        return Ok(());
    }
    Err(format!(
        "event {} has a longer session, or list of names, than engines write",
        event.id
    ))
}

/// The sessions of a batch, of which the store keeps a line each.
#[derive(Default)]
pub(super) struct Sessions(HashSet<SessionId>);

impl Sessions {
    /// Notes the session of an event, unless there are more of them than an engine writes at once.
    pub(super) fn note(&mut self, event: &Event) -> Result<(), String> {
        if let Some(session) = &event.session {
            self.0.insert(session.id);
        }
        if self.0.len() > MAX_SESSIONS {
            return Err(format!("the batch has more than {MAX_SESSIONS} sessions"));
        }
        Ok(())
    }
}

/// Whether a pod finds such things itself; all others are the collector's own.
fn may_find(code: FindingCode, part: Part) -> bool {
    match code {
        FindingCode::ChainBroken
        | FindingCode::TornTail
        | FindingCode::UncleanShutdown
        | FindingCode::UnclosedSession
        | FindingCode::EventsLost
        | FindingCode::SpoolFull
        | FindingCode::HostKeyTrusted
        | FindingCode::HostKeyRefused
        | FindingCode::UngovernedProtocol
        | FindingCode::UnmatchedRelayed
        | FindingCode::HoneyRowRead => true,
        FindingCode::SecondKey
        | FindingCode::UnprotectedPod
        | FindingCode::PolicyLoosened
        | FindingCode::ExceptionExpired => part == Part::Controller,
        FindingCode::Gap
        | FindingCode::GapClosed
        | FindingCode::EngineSilent
        | FindingCode::NoStream
        | FindingCode::ClockSkew
        | FindingCode::Tampered
        | FindingCode::RepeatedDenials
        | FindingCode::NewShape
        | FindingCode::Other => false,
    }
}
