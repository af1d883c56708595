//! Witnesses: they see that the log only grows, and cosign that (C2SP tlog-witness).

use std::path::PathBuf;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use weir_audit::proof::{Note, VerifierKey};
use weir_fetch::{Answer, Endpoint, Fetcher};

use super::place::PlaceError;
use super::{KeepError, blocking};
use crate::Collector;
use crate::log::verify_cosignature;

/// Settings of a witness.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// Its key: `NAME+ID+KEY`.
    pub key: String,
    /// What stands before `/add-checkpoint`.
    pub url: String,
    /// PEM file with the only authorities that count for its server.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Witness {
    key: VerifierKey,
    endpoint: Endpoint,
    fetcher: Fetcher,
}

impl Witness {
    pub(super) fn new(config: WitnessConfig) -> Result<Self, PlaceError> {
        let key: VerifierKey = config
            .key
            .parse()
            .map_err(|_| PlaceError::Invalid(format!("{:?} is no key of a witness", config.key)))?;
        if !key.cosigns {
            let why = format!(
                "the key {} signs notes: a witness has one that cosigns",
                key.name
            );
            return Err(PlaceError::Invalid(why));
        }
        let url = format!("{}/add-checkpoint", config.url.trim_end_matches('/'));
        let endpoint = Endpoint::parse(&url, true);
        let endpoint = endpoint.map_err(|source| PlaceError::Url { url, source })?;
        Ok(Self {
            key,
            endpoint,
            fetcher: Fetcher::new(config.ca_file),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.key.name
    }

    /// Has the newest checkpoint cosigned, unless it is already.
    pub(super) async fn ask(&self, store: &Collector) -> Result<(), KeepError> {
        let name = format!("witness {}", self.key.name);
        let kept = name.clone();
        let (now, seen) = blocking(store, move |store| {
            let proof = store.proof()?;
            let seen = proof.vouched.iter().find(|one| one.by == kept);
            let seen = seen.map(|one| one.size);
            Ok((proof.size, seen))
        })
        .await?;
        if seen == Some(now) {
            return Ok(());
        }
        let mut old = seen.unwrap_or_default();
        // It knows better what it has seen: it says so once.
        for _ in 0..2 {
            let body = blocking(store, move |store| store.continued(old)).await?;
            let body = body.ok_or_else(|| shorter(now, old))?;
            let answer = self.post(body.clone()).await?;
            match answer.status {
                StatusCode::OK => return self.keep(store, &name, &body, &answer).await,
                StatusCode::CONFLICT => {
                    let size = size(&answer).filter(|size| *size != old);
                    old = size.ok_or_else(|| {
                        KeepError::Witness("it has seen another log under this name".into())
                    })?;
                    if old > now {
                        let why = shorter(now, old).to_string();
                        self.tell(store, &name, &why).await?;
                        return Err(KeepError::Contradicted(why));
                    }
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let why = format!("the log does not continue what {} has seen", self.key.name);
                    self.tell(store, &name, &why).await?;
                    return Err(KeepError::Contradicted(why));
                }
                StatusCode::NOT_FOUND => {
                    return Err(KeepError::Witness(
                        "it does not know this log's name".into(),
                    ));
                }
                StatusCode::FORBIDDEN => {
                    return Err(KeepError::Witness("it has another key for this log".into()));
                }
                other => return Err(KeepError::Witness(format!("it answered {other}"))),
            }
        }
        Err(KeepError::Witness(
            "it does not say what it has seen".into(),
        ))
    }

    async fn tell(&self, store: &Collector, name: &str, why: &str) -> Result<(), KeepError> {
        let (name, why) = (name.to_owned(), why.to_owned());
        blocking(store, move |store| store.tampered(&name, &why)).await
    }

    async fn post(&self, body: String) -> Result<Answer, KeepError> {
        let failed = |error: &dyn std::fmt::Display| KeepError::Witness(error.to_string());
        let request = self.endpoint.request(Method::POST);
        let request = request
            .body(Bytes::from(body))
            .map_err(|error| failed(&error))?;
        let sent = self.fetcher.send(&self.endpoint, request).await;
        sent.map_err(|error| failed(&error))
    }

    /// Keeps its signature with the checkpoint that it was asked for.
    async fn keep(
        &self,
        store: &Collector,
        name: &str,
        asked: &str,
        answer: &Answer,
    ) -> Result<(), KeepError> {
        let bad = || KeepError::Witness("its answer is no cosignature by its key".into());
        let (_, note) = asked.split_once("\n\n").ok_or_else(bad)?;
        let mut note: Note = note.parse().map_err(|_| bad())?;
        let lines = std::str::from_utf8(&answer.body).map_err(|_| bad())?;
        let mut signatures = Note::lines(lines).map_err(|_| bad())?;
        signatures.retain(|one| verify_cosignature(&note.text, one, &self.key).is_some());
        if signatures.is_empty() {
            return Err(bad());
        }
        note.signatures.append(&mut signatures);
        let name = name.to_owned();
        blocking(store, move |store| store.vouch(&name, &note)).await
    }
}

fn shorter(now: u64, seen: u64) -> KeepError {
    KeepError::Contradicted(format!(
        "the log has {now} entries, and a witness has seen {seen}: its end is gone"
    ))
}

fn size(answer: &Answer) -> Option<u64> {
    std::str::from_utf8(&answer.body).ok()?.trim().parse().ok()
}
