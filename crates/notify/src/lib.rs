//! Telling reviewers that something waits for them: one signed webhook.
//!
//! Messages follow the [Standard Webhooks] specification 1.0: `webhook-id` is the same however often
//! a message is tried, `webhook-timestamp` is the time of the attempt, and `webhook-signature` is an
//! HMAC-SHA256 over both and the body.
//!
//! Invariants
//! - A receiver that does not answer delays nobody but itself: attempts, retries, messages in memory
//!   and the time of each attempt are bounded.
//! - Messages about one hold arrive in order.
//! - Key and authorities are read anew for each attempt, so that they rotate without a restart.
//! - Nothing of a URL but its host is logged or shown: paths of webhooks are often secrets.
//!
//! It refuses to follow redirects, to speak plain HTTP to anything but loopback and the cluster (and
//! to those only where the configuration allows it), and to carry anything of a result.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

mod courier;
mod message;
mod send;
mod sign;

pub use courier::{Courier, Delivery, NotifyMetrics, WAITING};
pub use message::{Event, Hold, Message};
pub use send::{SendError, Webhook, WebhookConfig};
pub use sign::{KeyError, Keys};
pub use weir_fetch::EndpointError;
