//! Slack: messages by an incoming webhook or by a bot, and the buttons in them.
//!
//! Invariants
//! - A request's further messages go into the thread of its first, where a bot posts; a message of
//!   several parts that fails goes on with the part that failed.
//! - URL of the webhook, token and authorities are read anew for each attempt, and are never logged.
//! - A request that is over has no buttons left, where a bot posts or the decision was made in Slack.
//!
//! Refuses: to post where it was not told to, and to show a button where no secret can verify it.

mod action;
mod blocks;
pub(crate) mod interact;
mod signature;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use weir_fetch::{Answer, Endpoint, EndpointError, Fetcher};

pub(crate) use self::blocks::Links;
use self::blocks::Part;
use crate::error::{SendError, secret};
use crate::message::{Event, Message, Subject};
use crate::receiver::Progress;

/// Slack's own API.
const API: &str = "https://slack.com/api";
/// Threads that are remembered; of others, further messages stand by themselves.
const THREADS: usize = 4096;
/// Where Slack does not say for how long it wants to be left alone.
const LATER: Duration = Duration::from_secs(30);

/// How messages get to Slack.
#[derive(Clone, Debug)]
pub enum SlackPost {
    /// By an incoming webhook, whose URL is the secret.
    Webhook {
        /// File with the URL.
        url_file: PathBuf,
    },
    /// By a bot, with `chat.postMessage`.
    Bot {
        /// File with the token.
        token_file: PathBuf,
        /// Id or name of the channel.
        channel: String,
        /// Where the API is. Left out: Slack's.
        api_url: Option<String>,
    },
}

/// Where messages go.
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// How they get there.
    pub post: SlackPost,
    /// Whether they have buttons: somebody must verify what the buttons send.
    pub buttons: bool,
    /// PEM file with the only authorities that count. Without it: Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to loopback and to Services of the cluster.
    pub allow_http: bool,
    /// The UI's URL.
    pub ui_url: Option<String>,
}

/// A channel of Slack.
#[derive(Debug)]
pub struct Slack {
    way: Way,
    fetcher: Fetcher,
    allow_http: bool,
    buttons: bool,
    links: Links,
    threads: Mutex<HashMap<Arc<str>, Thread>>,
}

#[derive(Debug)]
enum Way {
    Webhook {
        url_file: PathBuf,
    },
    Bot {
        api: Endpoint,
        token_file: PathBuf,
        channel: String,
    },
}

/// A message that a bot posted.
#[derive(Clone, Debug)]
struct Thread {
    channel: String,
    ts: String,
}

impl Slack {
    /// A channel; nothing is read or dialled yet.
    ///
    /// # Errors
    /// When messages may not go to the API's URL.
    pub fn new(config: SlackConfig) -> Result<Self, EndpointError> {
        let way = match config.post {
            SlackPost::Webhook { url_file } => Way::Webhook { url_file },
            SlackPost::Bot {
                token_file,
                channel,
                api_url,
            } => {
                let url = api_url.unwrap_or_else(|| API.to_owned());
                Way::Bot {
                    api: Endpoint::parse(&url, config.allow_http)?,
                    token_file,
                    channel,
                }
            }
        };
        Ok(Self {
            way,
            fetcher: Fetcher::new(config.ca_file),
            allow_http: config.allow_http,
            buttons: config.buttons,
            links: Links { ui: config.ui_url },
            threads: Mutex::default(),
        })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.way {
            Way::Webhook { .. } => "slack".to_owned(),
            Way::Bot { api, channel, .. } => format!("{} {channel}", api.place()),
        }
    }

    /// Reads the files as an attempt would.
    ///
    /// # Errors
    /// When an attempt would fail.
    pub async fn check(&self) -> Result<(), SendError> {
        match &self.way {
            Way::Webhook { .. } => drop(self.webhook().await?),
            Way::Bot { token_file, .. } => drop(secret(token_file).await?),
        }
        Ok(self.fetcher.check().await?)
    }

    /// Sends once what of the message is not there.
    pub(crate) async fn send(
        &self,
        message: &Message,
        progress: &mut Progress,
    ) -> Result<(), SendError> {
        let parts = blocks::parts(message, &self.links, self.buttons);
        for part in parts.iter().skip(progress.parts) {
            self.post(message, part).await?;
            progress.parts += 1;
        }
        if is_over(message) {
            self.take_buttons(message).await;
        }
        Ok(())
    }

    async fn post(&self, message: &Message, part: &Part) -> Result<(), SendError> {
        let Way::Bot { channel, .. } = &self.way else {
            let endpoint = self.webhook().await?;
            let request = endpoint
                .request(Method::POST)
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from(part.body().to_string()))?;
            return accepted(&self.fetcher.send(&endpoint, request).await?).map(drop);
        };
        let mut body = part.body();
        let thread = self.thread(&message.lane);
        if let Some(fields) = body.as_object_mut() {
            let place = thread.as_ref().map_or(channel, |thread| &thread.channel);
            fields.insert("channel".to_owned(), json!(place));
            if let Some(thread) = &thread {
                fields.insert("thread_ts".to_owned(), json!(thread.ts));
            }
        }
        let answer = self.call("chat.postMessage", &body).await?;
        let text = |name| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let is_hold = matches!(&*message.subject, Subject::Hold(_));
        if let (true, None, Some(channel), Some(ts)) =
            (is_hold, thread, text("channel"), text("ts"))
        {
            self.remember(&message.lane, Thread { channel, ts });
        }
        Ok(())
    }

    /// Changes the first message of a request that is over, as far as it is known. The outcome has been
    /// posted: that this fails is no reason to post it again.
    async fn take_buttons(&self, message: &Message) {
        let Some(thread) = self.forget(&message.lane) else {
            return;
        };
        let Some(part) = blocks::over(message, &self.links) else {
            return;
        };
        let mut body = part.body();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("channel".to_owned(), json!(thread.channel));
            fields.insert("ts".to_owned(), json!(thread.ts));
        }
        if let Err(error) = self.call("chat.update", &body).await {
            tracing::warn!(about = %message.lane, %error, "a message in Slack keeps its buttons");
        }
    }

    /// A method of Slack's API, with the bot's token. Its answer, if it is a success.
    async fn call(&self, method: &str, body: &Value) -> Result<Value, SendError> {
        let Way::Bot {
            api, token_file, ..
        } = &self.way
        else {
            return Err(SendError::Slack("there is no bot".to_owned()));
        };
        let token = secret(token_file).await?;
        let endpoint = api.at(format!("{}/{method}", api.path().trim_end_matches('/')));
        let request: Request<Bytes> = endpoint
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(body.to_string().into())?;
        let answer = accepted(&self.fetcher.send(&endpoint, request).await?)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        if answer.get("ok") == Some(&Value::Bool(true)) {
            return Ok(answer);
        }
        let error = answer.get("error").and_then(Value::as_str);
        let error = error.unwrap_or("nothing that is known");
        Err(SendError::Slack(crate::text::brief(error, 100)))
    }

    async fn webhook(&self) -> Result<Endpoint, SendError> {
        let Way::Webhook { url_file } = &self.way else {
            return Err(SendError::Slack("there is no webhook".to_owned()));
        };
        let url = secret(url_file).await?;
        Endpoint::parse(&url, self.allow_http).map_err(|source| SendError::Url {
            path: url_file.clone(),
            source,
        })
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self, lane: &str) -> Option<Thread> {
        self.threads().get(lane).cloned()
    }

    fn forget(&self, lane: &str) -> Option<Thread> {
        self.threads().remove(lane)
    }

    fn remember(&self, lane: &Arc<str>, thread: Thread) {
        let mut threads = self.threads();
        if threads.len() >= THREADS
            && let Some(any) = threads.keys().next().cloned()
        {
            threads.remove(&any);
        }
        threads.insert(Arc::clone(lane), thread);
    }
}

fn is_over(message: &Message) -> bool {
    matches!(&*message.subject, Subject::Hold(news) if matches!(news.event, Event::Closed { .. }))
}

/// The body of an answer of success.
fn accepted(answer: &Answer) -> Result<Bytes, SendError> {
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let after = answer.headers.get(RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(SendError::Later(after.map_or(LATER, Duration::from_secs)));
    }
    if answer.status.is_success() {
        Ok(answer.body.clone())
    } else {
        Err(SendError::Refused(answer.status))
    }
}
