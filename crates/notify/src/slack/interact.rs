//! Decisions that are made in Slack.
//!
//! Invariants
//! - Only what Slack signed counts, and once; who decides is who Slack says pressed the button, and who
//!   that is here says the configuration alone.
//! - Every check of a decision is the [`Decider`]'s, as for a decision made anywhere else.
//! - Slack is answered at once; what became of it goes to the place that Slack names for that, which is
//!   Slack's own.
//!
//! Refuses: users whom the configuration does not map, and denials without a reason.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weir_api::kinds::AccessRequestPhase;
use weir_fetch::{Endpoint, EndpointError};

use super::action::{Deed, Interaction, Kept, Request, dialog, parse};
use super::blocks::decided;
use super::signature::{Seen, Unbelieved};
use super::{Slack, SlackConfig, Way, accepted};
use crate::error::{SendError, secret};
use crate::facts::ending;
use crate::text::{brief, mrkdwn};

/// Where Slack sends what people press.
pub const INTERACTIONS: &str = "/slack/interactions";
/// Longest request of Slack: it has the message's blocks in it, percent-encoded.
pub const MAX_INTERACTION: usize = 1 << 20;
/// Decisions on their way at once.
const AT_ONCE: usize = 32;
/// Characters of a reason.
const REASON: usize = 1000;

/// Who a user of Slack is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackPerson {
    /// Slack's id of the user, such as `U012AB3CD`.
    pub slack: String,
    /// The name that decisions are recorded under and that the cluster's rights are asked for.
    pub user: String,
    /// The groups that the person is in.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A decision that somebody made in Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who, by the configuration.
    pub user: String,
    /// The groups that they are in, by the configuration.
    pub groups: Vec<String>,
    /// Of which request.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The one that was shown, and no other of the name.
    pub uid: String,
    /// Yes, once and for this statement; or no, and why.
    pub ruling: Result<(), String>,
}

/// Where a request stands once a decision was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its phase.
    pub phase: AccessRequestPhase,
    /// How many approved.
    pub approvals: u32,
    /// How many must.
    pub needed: u32,
}

/// A decision that takes time. The error is for whoever pressed the button.
pub type Deciding<'a> = Pin<Box<dyn Future<Output = Result<Standing, String>> + Send + 'a>>;

/// Takes decisions, with every check that a decision needs.
pub trait Decider: Send + Sync {
    /// Takes one.
    fn decide(&self, verdict: Verdict) -> Deciding<'_>;
}

/// Slack's buttons.
pub struct Interactions {
    slack: Slack,
    secret_file: PathBuf,
    people: HashMap<String, SlackPerson>,
    decider: Arc<dyn Decider>,
    seen: Seen,
    slots: Arc<Semaphore>,
}

/// What Slack is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// JSON, or nothing.
    pub body: Bytes,
}

impl Reply {
    fn of(status: StatusCode) -> Self {
        let body = Bytes::new();
        Self { status, body }
    }
}

impl Interactions {
    /// Buttons of messages that `slack` describes, verified by the secret in `secret_file`.
    ///
    /// # Errors
    /// When answers may not go to the API's URL.
    pub fn new(
        slack: SlackConfig,
        secret_file: PathBuf,
        people: Vec<SlackPerson>,
        decider: Arc<dyn Decider>,
    ) -> Result<Self, EndpointError> {
        let people = people.into_iter().map(|one| (one.slack.clone(), one));
        Ok(Self {
            slack: Slack::new(slack)?,
            secret_file,
            people: people.collect(),
            decider,
            seen: Seen::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Answers a request to [`INTERACTIONS`]; the decision goes on after it.
    pub async fn answer(self: &Arc<Self>, headers: &HeaderMap, body: &[u8]) -> Reply {
        if let Err((status, why)) = self.believe(headers, body).await {
            tracing::warn!(why, "an interaction is not Slack's");
            return Reply::of(status);
        }
        let interaction = match parse(body) {
            Ok(interaction) => interaction,
            Err(error) => {
                tracing::warn!(error, "an interaction of Slack's cannot be read");
                return Reply::of(StatusCode::BAD_REQUEST);
            }
        };
        if let Deed::Reason { reason, .. } = &interaction.deed
            && reason.trim().is_empty()
        {
            let errors = json!({"response_action": "errors",
                "errors": {"reason": "A denial needs a reason."}});
            return Reply {
                status: StatusCode::OK,
                body: errors.to_string().into(),
            };
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Reply::of(StatusCode::SERVICE_UNAVAILABLE);
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.act(interaction).await;
            drop(slot);
        });
        Reply::of(StatusCode::OK)
    }

    async fn believe(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), (StatusCode, String)> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let timestamp = text("x-slack-request-timestamp").unwrap_or_default();
        let signature = text("x-slack-signature").unwrap_or_default();
        let unavailable = |error: SendError| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        let secret = secret(&self.secret_file).await.map_err(unavailable)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.unwrap_or_default().as_secs();
        let believed = self
            .seen
            .believe(secret.as_bytes(), (timestamp, signature), body, now);
        believed.map_err(|error| {
            let status = match error {
                Unbelieved::TooMany => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNAUTHORIZED,
            };
            (status, error.to_string())
        })
    }

    async fn act(&self, interaction: Interaction) {
        let Interaction {
            user,
            answer_to,
            deed,
        } = interaction;
        let (request, ruling, shown, answer_to) = match deed {
            Deed::Other => return,
            Deed::Press {
                approve: true,
                request,
                shown,
                ..
            } => (request, Ok(()), shown, answer_to),
            Deed::Press {
                request,
                shown,
                trigger,
                ..
            } => {
                let Some(person) = self.person(&user, &request, &answer_to).await else {
                    return;
                };
                if self.asked_why(&request, &answer_to, &trigger).await {
                    return;
                }
                let reason = format!("denied in Slack by {}", person.user);
                (request, Err(reason), shown, answer_to)
            }
            Deed::Reason { kept, reason } => {
                let reason = reason.trim().chars().take(REASON).collect();
                (kept.request, Err(reason), Vec::new(), kept.answer_to)
            }
        };
        let Some(person) = self.person(&user, &request, &answer_to).await else {
            return;
        };
        let verdict = Verdict {
            user: person.user.clone(),
            groups: person.groups.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            uid: request.uid.clone(),
            ruling: ruling.clone(),
        };
        match self.decider.decide(verdict).await {
            Ok(standing) => {
                let line = line(person, &ruling, standing);
                tracing::info!(
                    request = request.name,
                    user = person.user,
                    "decided in Slack"
                );
                let body = if shown.is_empty() {
                    whisper(&line)
                } else {
                    json!({"replace_original": true, "text": mrkdwn(&line),
                        "blocks": decided(shown, standing.phase, &line)})
                };
                self.say(&answer_to, &body).await;
            }
            Err(error) => {
                tracing::info!(
                    request = request.name,
                    user = person.user,
                    error,
                    "not decided"
                );
                let line = format!("{} is not decided: {}", request.name, brief(&error, 500));
                self.say(&answer_to, &whisper(&line)).await;
            }
        }
    }

    /// Who a user is. One who is nobody is told so, and where to decide.
    async fn person(&self, user: &str, request: &Request, answer_to: &str) -> Option<&SlackPerson> {
        if let Some(person) = self.people.get(user) {
            return Some(person);
        }
        tracing::warn!(
            user,
            request = request.name,
            "a user of Slack is nobody here"
        );
        let place = self
            .slack
            .links
            .request(request.namespace.as_deref(), &request.name);
        let place = place.map(|url| format!(" Decide at {url}, where you log in."));
        let line = format!(
            "Weir does not know who you are: nobody has mapped your user ({user}).{}",
            place.unwrap_or_default()
        );
        self.say(answer_to, &whisper(&line)).await;
        None
    }

    /// Asks for a reason in a dialog, which takes a bot.
    async fn asked_why(&self, request: &Request, answer_to: &str, trigger: &str) -> bool {
        if !matches!(self.slack.way, Way::Bot { .. }) || trigger.is_empty() {
            return false;
        }
        let kept = Kept {
            request: request.clone(),
            answer_to: answer_to.to_owned(),
        };
        let opened = self.slack.call("views.open", &dialog(&kept, trigger)).await;
        if let Err(error) = &opened {
            tracing::warn!(%error, "Slack opened no dialog");
        }
        opened.is_ok()
    }

    /// Says what became of it, where Slack asked to have it said.
    async fn say(&self, answer_to: &str, body: &Value) {
        if let Err(error) = self.try_to_say(answer_to, body).await {
            tracing::warn!(%error, "Slack was not told what became of a decision");
        }
    }

    async fn try_to_say(&self, answer_to: &str, body: &Value) -> Result<(), SendError> {
        let endpoint = Endpoint::parse(answer_to, self.slack.allow_http);
        let endpoint = endpoint.map_err(|error| SendError::Slack(error.to_string()))?;
        if !self.slack.is_slack(&endpoint).await {
            let place = endpoint.place();
            return Err(SendError::Slack(format!("{place} for an answer")));
        }
        let request = endpoint
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))?;
        accepted(&self.slack.fetcher.send(&endpoint, request).await?).map(drop)
    }
}

impl Slack {
    /// Whether answers may go there: to Slack, or to what stands for it.
    async fn is_slack(&self, endpoint: &Endpoint) -> bool {
        let place = endpoint.place();
        let host = place.strip_suffix(":443").unwrap_or_default();
        if [".slack.com", ".slack-gov.com"]
            .iter()
            .any(|end| host.ends_with(end))
        {
            return true;
        }
        match &self.way {
            Way::Bot { api, .. } => api.place() == place,
            Way::Webhook { .. } => match self.webhook().await {
                Ok(webhook) => webhook.place() == place,
                Err(_) => false,
            },
        }
    }
}

/// For whoever pressed the button, and nobody else.
fn whisper(line: &str) -> Value {
    json!({"response_type": "ephemeral", "replace_original": false, "text": mrkdwn(line)})
}

fn line(person: &SlackPerson, ruling: &Result<(), String>, standing: Standing) -> String {
    let who = brief(&person.user, 200);
    match (ruling, standing.phase) {
        (Err(reason), _) => format!("Denied by {who}: {}", brief(reason, REASON)),
        (Ok(()), AccessRequestPhase::Pending) => format!(
            "Approved by {who}: {} of {} approvals",
            standing.approvals, standing.needed
        ),
        (Ok(()), phase) => format!("{} by {who}", ending(phase)),
    }
}
