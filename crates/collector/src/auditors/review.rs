//! Who may read what: asked of the controller, remembered for seconds.
//!
//! Invariants
//! - An error is never remembered and never a yes.
//! - What is remembered is keyed by a hash of the credential and the namespace; the credential
//!   itself is not kept.
//! - How many answers are remembered and how many questions run at once is bounded.
//! - A token that nobody knows is asked about as often as [`Unknown`] lets it.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weir_uplink::control::{Person, Review, ReviewRequest};

use super::unknown::{Knock, Mark, Unknown, cannot_be};
use crate::api::Refusal;

const YES: Duration = Duration::from_secs(10);
const NO: Duration = Duration::from_secs(2);
const REMEMBERED: usize = 4096;
const AT_ONCE: usize = 16;
const VERB: &str = "list";

/// The controller does not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub String);

/// An answer that takes time.
pub type ReviewFuture<'a> = Pin<Box<dyn Future<Output = Result<Review, ReviewError>> + Send + 'a>>;

/// Says who may read: the controller.
pub trait Reviewer: Send + Sync {
    /// Whether they may.
    fn review<'a>(&'a self, asked: &'a ReviewRequest) -> ReviewFuture<'a>;
}

/// What a request proves.
#[derive(Clone)]
pub(crate) enum Credential {
    Token(String),
    IdToken(String),
    User { name: String, groups: Vec<String> },
}

impl Credential {
    /// The same, for the desk.
    pub(super) fn person(&self) -> Person {
        match self {
            Self::Token(token) => Person::of_token(token),
            Self::IdToken(token) => Person::of_id_token(token),
            Self::User { name, groups } => Person::of_user(name, groups.clone()),
        }
    }
}

pub(crate) struct Allowed {
    pub(crate) user: String,
    /// All namespaces, or this one.
    pub(crate) namespace: Option<String>,
}

pub(crate) struct Denied {
    /// As far as that is known.
    pub(crate) user: String,
    pub(crate) refusal: Refusal,
}

pub(crate) struct Gate {
    reviewer: Arc<dyn Reviewer>,
    remembered: Mutex<HashMap<[u8; 32], (Instant, Review)>>,
    unknown: Mutex<Unknown>,
    asking: Semaphore,
}

impl Gate {
    pub(crate) fn new(reviewer: Arc<dyn Reviewer>) -> Self {
        Self {
            reviewer,
            remembered: Mutex::default(),
            unknown: Mutex::new(Unknown::new(Instant::now())),
            asking: Semaphore::new(AT_ONCE),
        }
    }

    /// The same for a credential that comes `from` somewhere: nobody may have asked about it before.
    pub(crate) async fn admit_from(
        &self,
        from: IpAddr,
        credential: &Credential,
        namespace: Option<String>,
    ) -> Result<Allowed, Denied> {
        if let Credential::Token(token) = credential
            && self.recall(&key(credential, None)).is_none()
        {
            self.knock(token, from).map_err(|refusal| Denied {
                user: String::new(),
                refusal,
            })?;
        }
        self.admit(credential, namespace).await
    }

    /// Everything if they may read everything, else the namespace that they ask for.
    pub(crate) async fn admit(
        &self,
        credential: &Credential,
        namespace: Option<String>,
    ) -> Result<Allowed, Denied> {
        let all = self.ask(credential, None).await?;
        if all.allowed {
            return Ok(Allowed {
                user: all.user,
                namespace: None,
            });
        }
        if all.user.is_empty() {
            let why = reason(&all, "the credential is not known to the cluster");
            return Err(Denied {
                user: String::new(),
                refusal: Refusal::unauthorized(why),
            });
        }
        let user = all.user.clone();
        let denied = |message| Denied {
            user: user.clone(),
            refusal: Refusal::forbidden(message),
        };
        let Some(namespace) = namespace else {
            return Err(denied(format!(
                "{user} may not list auditevents cluster-wide ({}); ask for one namespace \
                 (namespace=NAME)",
                reason(&all, "no rule allows it")
            )));
        };
        if !is_label(&namespace) {
            return Err(Denied {
                user,
                refusal: Refusal::bad("namespace is not valid".into()),
            });
        }
        let one = self.ask(credential, Some(&namespace)).await?;
        if !one.allowed {
            return Err(denied(format!(
                "{user} may not list auditevents in {namespace} ({})",
                reason(&one, "no rule allows it")
            )));
        }
        Ok(Allowed {
            user,
            namespace: Some(namespace),
        })
    }

    /// Whether what was allowed still is; not known is no.
    pub(crate) async fn still(&self, credential: &Credential, namespace: Option<String>) -> bool {
        let review = self.ask(credential, namespace.as_deref()).await;
        review.is_ok_and(|review| review.allowed)
    }

    async fn ask(
        &self,
        credential: &Credential,
        namespace: Option<&str>,
    ) -> Result<Review, Denied> {
        let key = key(credential, namespace);
        if let Some(review) = self.recall(&key) {
            return Ok(review);
        }
        let unavailable = |error: &dyn std::fmt::Display| Denied {
            user: String::new(),
            refusal: Refusal::unavailable(format!("it is not known who may read: {error}")),
        };
        let _turn = self.asking.acquire().await.map_err(|e| unavailable(&e))?;
        // Somebody may have asked the same while this one waited.
        if let Some(review) = self.recall(&key) {
            return Ok(review);
        }
        let asked = request(credential, namespace);
        let review = self.reviewer.review(&asked).await;
        let review = review.map_err(|error| unavailable(&error))?;
        if let Credential::Token(token) = credential {
            let good = !review.user.is_empty();
            self.unknown().told(mark(token), good, Instant::now());
        }
        self.remember(key, review.clone());
        Ok(review)
    }

    /// Refuses a token without asking, where that must be.
    fn knock(&self, token: &str, from: IpAddr) -> Result<(), Refusal> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        if let Some(why) = cannot_be(token, now.unwrap_or_default().as_secs_f64()) {
            return Err(Refusal::unauthorized(why.into()));
        }
        match self.unknown().knock(&mark(token), from, Instant::now()) {
            Knock::Ask => Ok(()),
            Knock::Bad => {
                let why = "the token was not known to the cluster a moment ago";
                Err(Refusal::unauthorized(why.into()))
            }
            Knock::TooMany => Err(Refusal::too_many(
                "too many tokens that nobody knows: try again in a few seconds".into(),
            )),
        }
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Review> {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (until, review) = remembered.get(key)?;
        (Instant::now() < *until).then(|| review.clone())
    }

    fn remember(&self, key: [u8; 32], review: Review) {
        let now = Instant::now();
        let until = now + if review.allowed { YES } else { NO };
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, (until, _)| now < *until);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(key, (until, review));
        }
    }
}

fn request(credential: &Credential, namespace: Option<&str>) -> ReviewRequest {
    let mut asked = ReviewRequest {
        namespace: namespace.map(str::to_owned),
        verb: VERB.to_owned(),
        ..ReviewRequest::default()
    };
    match credential {
        Credential::Token(token) => asked.token = Some(token.clone()),
        Credential::IdToken(token) => asked.id_token = Some(token.clone()),
        Credential::User { name, groups } => {
            asked.user = Some(name.clone());
            asked.groups.clone_from(groups);
        }
    }
    asked
}

fn key(credential: &Credential, namespace: Option<&str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Lengths keep parts apart.
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    match credential {
        Credential::Token(token) => {
            part("token");
            part(token);
        }
        Credential::IdToken(token) => {
            part("id token");
            part(token);
        }
        Credential::User { name, groups } => {
            part("user");
            part(name);
            groups.iter().for_each(|group| part(group));
        }
    }
    part(if namespace.is_some() { "in" } else { "all" });
    part(namespace.unwrap_or_default());
    hash.finalize().into()
}

fn mark(token: &str) -> Mark {
    Sha256::digest(token).into()
}

fn reason(review: &Review, otherwise: &str) -> String {
    if review.reason.is_empty() {
        otherwise.to_owned()
    } else {
        review.reason.clone()
    }
}

/// A DNS label, as namespaces are named.
fn is_label(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(valid)
}

#[cfg(test)]
mod tests;
