//! Proving who this process is: a service-account token in, a certificate out.
//!
//! Invariants: the token is read anew for each request, since the kubelet rotates it; the key never
//! leaves the process; roots that came with a certificate replace those that the process was
//! started with, so that the root can rotate while a pod lives.
//! Refuses: an identity of another trust domain.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::Method;
use rustls::ClientConfig;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::identity::anonymous;
use super::line::{Endpoint, authorize, body, dial, parse, request, send};
use super::{ControlError, ENROL, Enrol, Enrolment, Identity, Key};

/// Between two tries, first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The same for renewals, which have time.
const RENEW_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What enrolling needs.
#[derive(Debug)]
pub struct EnrolConfig {
    /// Where to enrol.
    pub endpoint: Endpoint,
    /// The controller's roots in PEM.
    pub roots: String,
    /// The identity must be of this domain.
    pub trust_domain: String,
    /// File of the service-account token.
    pub token: PathBuf,
}

/// Enrols, and renews.
#[derive(Debug)]
pub struct Enroller {
    config: EnrolConfig,
    key: Key,
    tls: RwLock<Arc<ClientConfig>>,
}

impl Enroller {
    /// An enroller for this key.
    ///
    /// # Errors
    /// [`ControlError::Configuration`] when the roots do not parse.
    pub fn new(config: EnrolConfig, key: Key) -> Result<Self, ControlError> {
        let tls = RwLock::new(anonymous(&config.roots)?);
        Ok(Self { config, key, tls })
    }

    /// The key that is enrolled.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Asks for a certificate once.
    ///
    /// # Errors
    /// The token cannot be read, the controller cannot be reached or refuses.
    pub async fn enrol(&self) -> Result<Enrolment, ControlError> {
        let path = &self.config.token;
        let token = tokio::fs::read_to_string(path).await;
        let token = token.map_err(|source| ControlError::File {
            path: path.clone(),
            source,
        })?;
        let asked = Enrol {
            csr: self.key.signing_request()?,
        };
        let endpoint = &self.config.endpoint;
        let mut request = request(endpoint, Method::POST, ENROL, Some(&asked))?;
        authorize(&mut request, token.trim())?;
        let tls = Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner));
        let mut sender = dial(endpoint, tls).await?;
        let response = send(&mut sender, request).await?;
        let granted: Enrolment = parse(&body(response).await?)?;
        self.accept(&granted)?;
        Ok(granted)
    }

    /// Takes over what came with a certificate, fresh or kept.
    ///
    /// # Errors
    /// The identity is of another domain, or the roots do not parse.
    pub fn accept(&self, granted: &Enrolment) -> Result<(), ControlError> {
        let (name, domain) = (&granted.identity.name, &self.config.trust_domain);
        if !name.starts_with(&format!("spiffe://{domain}/")) {
            return Err(ControlError::Answer(format!(
                "the identity {name} is not of the trust domain {domain}"
            )));
        }
        let tls = anonymous(&granted.roots)?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        Ok(())
    }

    /// Enrols, however often it takes.
    pub async fn until_enrolled(&self) -> (Enrolment, Identity) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            let asked = Instant::now();
            let granted = self.enrol().await;
            let done = granted.and_then(|granted| {
                let identity = Identity::new(&self.key, &granted, asked)?;
                Ok((granted, identity))
            });
            match done {
                Ok(done) => return done,
                Err(error) => tracing::warn!(%error, "not enrolled yet"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Renews the identity whenever a third of its life is left; `kept` is told of each renewal.
    /// Goes on after the certificate has expired.
    pub async fn keep_fresh(&self, identity: &Identity, kept: impl Fn(&Enrolment)) {
        let mut backoff = Backoff::new(RENEW_AGAIN.0, RENEW_AGAIN.1);
        loop {
            tokio::time::sleep_until(identity.renew_at()).await;
            let asked = Instant::now();
            let renewed = match self.enrol().await {
                Ok(granted) => identity
                    .renew(&self.key, &granted, asked)
                    .map(|()| kept(&granted)),
                Err(error) => Err(error),
            };
            match renewed {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!(%error, "the identity could not be renewed yet");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }
}
