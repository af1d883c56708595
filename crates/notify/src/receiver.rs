//! Where messages go: the three kinds of receivers behind one door.

use weir_telemetry::Label;

use crate::email::Email;
use crate::error::SendError;
use crate::message::Message;
use crate::slack::Slack;
use crate::webhook::Webhook;

/// The kinds of receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// A webhook of the Standard Webhooks specification.
    Webhook,
    /// Slack.
    Slack,
    /// Electronic mail.
    Email,
}

impl Label for Channel {
    const NAME: &'static str = "channel";
    const ALL: &'static [Self] = &[Self::Webhook, Self::Slack, Self::Email];

    fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Email => "email",
        }
    }
}

/// One receiver. Nothing is read or dialled before a message is sent.
#[derive(Debug)]
pub enum Receiver {
    /// A webhook.
    Webhook(Webhook),
    /// A channel of Slack.
    Slack(Slack),
    /// A mail server.
    Email(Email),
}

/// What of a message a receiver has. A message that is tried again goes on here.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Parts that it took.
    pub(crate) parts: usize,
}

impl Receiver {
    /// Its kind.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Webhook(_) => Channel::Webhook,
            Self::Slack(_) => Channel::Slack,
            Self::Email(_) => Channel::Email,
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.place(),
            Self::Slack(slack) => slack.place(),
            Self::Email(email) => email.place(),
        }
    }

    /// Reads its files as an attempt would, so that a mistake is noticed at the start.
    ///
    /// # Errors
    /// When an attempt would fail.
    pub async fn check(&self) -> Result<(), SendError> {
        match self {
            Self::Webhook(webhook) => webhook.check().await,
            Self::Slack(slack) => slack.check().await,
            Self::Email(email) => email.check().await,
        }
    }

    /// Sends once what of the message it does not have.
    pub(crate) async fn send(
        &self,
        message: &Message,
        progress: &mut Progress,
    ) -> Result<(), SendError> {
        match self {
            Self::Webhook(webhook) => webhook.send(message).await,
            Self::Slack(slack) => slack.send(message, progress).await,
            Self::Email(email) => email.send(message).await,
        }
    }
}
