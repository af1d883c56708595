//! Telling people that something waits for them, or was found: by a signed webhook, in Slack, by mail;
//! and taking decisions that they make in Slack.
//!
//! The webhook's messages follow the [Standard Webhooks] specification 1.0: `webhook-id` is the same
//! however often a message is tried, `webhook-timestamp` is the time of the attempt, and
//! `webhook-signature` is an HMAC-SHA256 over both and the body.
//!
//! Invariants
//! - A receiver that does not answer delays nobody but itself: attempts, retries, messages in memory
//!   and the time of each attempt are bounded.
//! - Messages about one hold arrive in order.
//! - Secrets and authorities are read anew for each attempt, so that they rotate without a restart.
//! - Nothing of a URL but its host is logged or shown: paths of webhooks are often secrets.
//! - What others wrote cannot hide, turn or add to what people read, and what is left out is counted.
//!
//! It refuses to follow redirects, to speak plain HTTP to anything but loopback and the cluster (and
//! to those only where the configuration allows it), to send mail without TLS, and to carry anything
//! of a result.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

mod config;
mod courier;
mod email;
mod error;
mod facts;
mod message;
mod receiver;
mod sign;
mod slack;
mod text;
mod webhook;

pub use config::{ConfigError, Notifications};
pub use courier::{Courier, Delivery, NotifyMetrics, WAITING};
pub use email::{Email, EmailConfig, EmailTls};
pub use error::SendError;
pub use message::{Event, Hold, Message};
pub use receiver::{Channel, Receiver};
pub use sign::{KeyError, Keys};
pub use slack::interact::{
    Decider, Deciding, INTERACTIONS, Interactions, MAX_INTERACTION, Reply, SlackPerson, Standing,
    Verdict,
};
pub use slack::{Slack, SlackConfig, SlackPost};
pub use webhook::{Webhook, WebhookConfig};
pub use weir_fetch::EndpointError;
