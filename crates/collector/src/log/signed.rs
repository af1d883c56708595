//! Signatures of engines over the heads of their chains, and who may make them.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weir_audit::proof::Head;
use weir_audit::{Ack, Batch, CollectorSink, EngineId, Frame, Hash, SinkError, Timestamp};
use weir_uplink::control::{Key, SelfSigned};

use crate::peer::{self, Pod};
use crate::{Collector, CollectorError};

/// A certificate and those between it and a root, in that order.
pub type Chain = Arc<[CertificateDer<'static>]>;

/// Certificates of a chain that a reader takes.
const MAX_CHAIN: usize = 8;

/// Why a signature does not vouch for a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The frames are not one run of one epoch.
    #[error("the batch is not one run of linked frames of one epoch")]
    NotOneRun,
    /// The certificate cannot be used, or leads to no root.
    #[error("the signer's certificate is not valid: {0}")]
    Certificate(String),
    /// The certificate is of another engine.
    #[error("the signer's certificate is of another engine")]
    Engine,
    /// The key did not sign this head.
    #[error("the signature is not over the end of this batch by the key of the certificate")]
    Wrong,
}

/// A verified signature over the head that a batch ends with.
#[derive(Clone, Debug)]
pub struct Signed {
    head: Head,
    signature: Vec<u8>,
    chain: Chain,
}

impl Signed {
    /// Verifies that the key of `chain` signed the end of `batch` at `time`. Whether the chain leads to a
    /// root and names the engine was decided before: by TLS, or by [`Signer::verify`].
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(
        batch: &Batch,
        time: Timestamp,
        signature: Vec<u8>,
        chain: Chain,
    ) -> Result<Self, SignatureError> {
        let linked = batch.frames.windows(2).all(|two| match two {
            [one, next] => one.hash() == next.previous() && one.epoch() == next.epoch(),
            _ => false,
        });
        let last = batch.frames.last().filter(|_| linked);
        let last = last.ok_or(SignatureError::NotOneRun)?;
        let head = Head::of(&batch.engine, last, time);
        let leaf = chain.first().ok_or_else(no_certificate)?;
        check(&head, &signature, leaf)?;
        Ok(Self {
            head,
            signature,
            chain,
        })
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What binds a leaf of the log to this signature.
    pub(crate) fn evidence(&self) -> Hash {
        let chain = self.chain.iter().map(|one| one.as_ref());
        self.head.evidence(&self.signature, chain)
    }
}

fn no_certificate() -> SignatureError {
    SignatureError::Certificate("there is none".into())
}

fn check(head: &Head, signature: &[u8], leaf: &CertificateDer<'_>) -> Result<(), SignatureError> {
    let leaf = EndEntityCert::try_from(leaf)
        .map_err(|error| SignatureError::Certificate(error.to_string()))?;
    let text = head.text();
    leaf.verify_signature(
        webpki::aws_lc_rs::ECDSA_P256_SHA256,
        text.as_bytes(),
        signature,
    )
    .map_err(|_| SignatureError::Wrong)
}

/// The engine that a certificate may sign for: a pod's own, or, where the certificate is a root itself,
/// the one that it names.
///
/// # Errors
/// When it names none.
fn signer_of(leaf: &CertificateDer<'_>, is_root: bool) -> Result<EngineId, SignatureError> {
    let wrong = |error: peer::PeerError| SignatureError::Certificate(error.to_string());
    if is_root {
        let named = peer::common_name(leaf).map_err(wrong)?;
        return named.parse().map_err(|_| SignatureError::Engine);
    }
    Pod::of_any_domain(leaf)
        .map(|pod| pod.engine)
        .map_err(wrong)
}

/// Verifies signatures at rest against roots, whoever stored them.
#[derive(Clone, Debug, Default)]
pub struct Signer {
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<CertificateDer<'static>>,
}

impl Signer {
    /// Trusts certificates that lead to one of `roots`.
    ///
    /// # Errors
    /// When one of them is not a certificate.
    pub fn new(roots: Vec<CertificateDer<'static>>) -> Result<Self, SignatureError> {
        let mut store = RootCertStore::empty();
        for root in &roots {
            store
                .add(root.clone())
                .map_err(|error| SignatureError::Certificate(error.to_string()))?;
        }
        Ok(Self {
            anchors: store.roots,
            roots,
        })
    }

    /// The certificates that are trusted.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Whether a certificate chain was valid at a time, and for this engine.
    ///
    /// # Errors
    /// When it was not.
    pub fn verify_chain(
        &self,
        engine: &EngineId,
        chain: &[CertificateDer<'static>],
        at: Timestamp,
    ) -> Result<(), SignatureError> {
        let (leaf, between) = chain.split_first().ok_or_else(no_certificate)?;
        let is_root = self.roots.contains(leaf);
        if signer_of(leaf, is_root)? != *engine {
            return Err(SignatureError::Engine);
        }
        let wrong = |error: webpki::Error| SignatureError::Certificate(error.to_string());
        let certificate = EndEntityCert::try_from(leaf).map_err(wrong)?;
        let seconds = std::time::Duration::from_secs(at.as_micros() / 1_000_000);
        certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.anchors,
                between,
                UnixTime::since_unix_epoch(seconds),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(wrong)?;
        Ok(())
    }

    /// Whether the key of a chain signed a head.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify_head(
        head: &Head,
        signature: &[u8],
        chain: &[CertificateDer<'static>],
    ) -> Result<(), SignatureError> {
        check(head, signature, chain.first().ok_or_else(no_certificate)?)
    }
}

/// A key of an engine without a controller, with a certificate of its own making.
#[derive(Debug)]
pub struct OwnKey {
    key: SelfSigned,
    chain: Chain,
}

impl OwnKey {
    /// The key of `engine` in `dir` (`signing.key`, mode 0600, and `signing-ENGINE.crt`), made when there is none.
    ///
    /// # Errors
    /// When the files cannot be used, or are another engine's.
    pub fn load_or_create(dir: &Path, engine: &EngineId) -> Result<Self, CollectorError> {
        let wrong = |error: &dyn std::fmt::Display| CollectorError::Log(error.to_string());
        let key = Key::load_or_create(&dir.join("signing.key")).map_err(|error| wrong(&error))?;
        let path = dir.join(format!("signing-{engine}.crt"));
        let key = key
            .self_signed(&path, engine.as_str())
            .map_err(|error| wrong(&error))?;
        let chain = vec![key.certificate().clone()].into();
        let own = Self { key, chain };
        own.signer()?
            .verify_chain(engine, &own.chain, SystemTime::now().into())
            .map_err(|error| wrong(&error))?;
        Ok(own)
    }

    /// What verifies its signatures.
    ///
    /// # Errors
    /// Never for a key that could be loaded.
    pub fn signer(&self) -> Result<Signer, CollectorError> {
        Signer::new(self.chain.to_vec()).map_err(|error| CollectorError::Log(error.to_string()))
    }

    /// The certificate that readers have to trust.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Signs the end of a batch that is one run.
    ///
    /// # Errors
    /// When it is not, or the key cannot sign.
    pub fn sign(&self, batch: &Batch) -> Result<Signed, SignatureError> {
        let last = batch.frames.last().ok_or(SignatureError::NotOneRun)?;
        let head = Head::of(&batch.engine, last, SystemTime::now().into());
        let signature = self.key.sign(head.text().as_bytes());
        let signature =
            signature.map_err(|error| SignatureError::Certificate(error.to_string()))?;
        Signed::verify(batch, head.time, signature, Arc::clone(&self.chain))
    }
}

/// The collector in the engine's own process: what is handed in is signed as it would be elsewhere.
#[derive(Clone)]
pub struct OwnSink {
    store: Collector,
    key: Arc<OwnKey>,
}

impl OwnSink {
    /// Signs for `engine` with its key in `dir`: [`OwnKey::load_or_create`].
    ///
    /// # Errors
    /// When there is no key, or the store failed.
    pub fn open(store: Collector, dir: &Path, engine: &EngineId) -> Result<Self, CollectorError> {
        let key = Arc::new(OwnKey::load_or_create(dir, engine)?);
        store.trust(key.roots())?;
        Ok(Self { store, key })
    }
}

impl CollectorSink for OwnSink {
    fn ingest(&self, batch: &Batch) -> Result<Ack, SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError(error.to_string().into());
        let take = |run: &Batch| {
            let signed = self.key.sign(run).map_err(|error| failed(&error))?;
            let got = self.store.ingest_signed(run, &signed, &mut |_| Ok(()));
            got.map(|got| got.ack).map_err(|error| failed(&error))
        };
        let mut ack = None;
        let linked = |one: &Frame, next: &Frame| {
            one.hash() == next.previous() && one.epoch() == next.epoch()
        };
        for run in batch.frames.chunk_by(linked) {
            let got = if run.len() == batch.frames.len() {
                take(batch)?
            } else {
                take(&Batch {
                    engine: batch.engine.clone(),
                    frames: run.to_vec(),
                })?
            };
            ack = ack.max(Some(got));
        }
        ack.ok_or_else(|| failed(&"a batch without frames"))
    }
}

/// A chain in one piece: each certificate behind its length.
pub(crate) fn pack(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for certificate in chain {
        let length = u32::try_from(certificate.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(certificate);
    }
    bytes
}

pub(crate) fn unpack(mut bytes: &[u8]) -> Option<Chain> {
    let mut chain = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        chain.push(CertificateDer::from(rest.get(..length)?.to_vec()));
        bytes = rest.get(length..)?;
        if chain.len() > MAX_CHAIN {
            return None;
        }
    }
    bytes.is_empty().then(|| chain.into())
}
