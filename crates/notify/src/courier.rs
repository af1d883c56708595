//! Delivering messages, however often it takes, up to a bound.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use weir_telemetry::{Label, PairCounters, Registry};

use crate::message::Message;
use crate::receiver::{Channel, Progress, Receiver};

/// Messages that may wait to be taken by a [`Courier`].
pub const WAITING: usize = 256;
/// Messages that a courier holds; what comes beyond is not delivered.
const HELD: usize = 1024;
/// Attempts at once.
const AT_ONCE: usize = 8;
/// Seconds between attempts: ten of them in a quarter of an hour.
const PAUSES: [u64; 9] = [1, 2, 5, 10, 30, 60, 120, 300, 300];
/// A receiver that asks for longer is asked again all the same.
const LONGEST: Duration = Duration::from_secs(300);

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Sent,
    Retried,
    Failed,
    Dropped,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Sent, Self::Retried, Self::Failed, Self::Dropped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts of notifications.
#[derive(Clone)]
pub struct NotifyMetrics(PairCounters<Channel, Outcome>);

impl NotifyMetrics {
    /// Counts in this registry.
    ///
    /// # Errors
    /// A metric of the name exists.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = registry.counters_by(
            "weir_notifications_total",
            "Messages to people: sent, attempts that are retried, given up, and dropped for want \
             of room.",
        )?;
        Ok(Self(counters))
    }

    /// A message to a receiver of this kind found no room.
    pub fn dropped(&self, channel: Channel) {
        self.0.inc(channel, Outcome::Dropped);
    }
}

/// A message that is done with.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its `webhook-id`.
    pub id: Arc<str>,
    /// To which receiver.
    pub channel: Channel,
    /// Whether the receiver took it; if not, it was given up.
    pub delivered: bool,
}

/// Delivers messages to one receiver.
#[derive(Clone)]
pub struct Courier {
    receiver: Arc<Receiver>,
    metrics: NotifyMetrics,
    slots: Arc<Semaphore>,
}

impl Courier {
    /// A courier that counts here.
    #[must_use]
    pub fn new(receiver: Receiver, metrics: NotifyMetrics) -> Self {
        Self {
            receiver: Arc::new(receiver),
            metrics,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What kind of receiver it delivers to.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.receiver.channel()
    }

    /// Says in the log what would keep messages from being delivered. A receiver that cannot be told is
    /// no reason not to serve.
    pub async fn check(&self) {
        if let Err(error) = self.receiver.check().await {
            let receiver = self.receiver.place();
            tracing::error!(%error, receiver, "people cannot be told");
        }
    }

    /// Delivers until nobody can hand in messages any more and all are done with. Dropped before, it
    /// forgets the rest.
    pub async fn run(&self, mut messages: mpsc::Receiver<Message>, done: impl Fn(Delivery)) {
        // A lane is here while one of its messages is on its way.
        let mut lanes: HashMap<Arc<str>, VecDeque<Message>> = HashMap::new();
        let mut going: JoinSet<(Message, bool)> = JoinSet::new();
        let mut open = true;
        while open || !going.is_empty() {
            tokio::select! {
                message = messages.recv(), if open => match message {
                    Some(message) => self.take(message, &mut lanes, &mut going, &done),
                    None => open = false,
                },
                Some(ended) = going.join_next() => {
                    let Ok((message, delivered)) = ended else { continue };
                    if let Some(next) = lanes.get_mut(&message.lane).and_then(VecDeque::pop_front) {
                        going.spawn(self.clone().deliver(next));
                    } else {
                        lanes.remove(&message.lane);
                    }
                    done(self.delivery(&message, delivered));
                }
            }
        }
    }

    fn take(
        &self,
        message: Message,
        lanes: &mut HashMap<Arc<str>, VecDeque<Message>>,
        going: &mut JoinSet<(Message, bool)>,
        done: &impl Fn(Delivery),
    ) {
        let held = going.len() + lanes.values().map(VecDeque::len).sum::<usize>();
        if held >= HELD {
            self.metrics.dropped(self.channel());
            tracing::error!(id = %message.id, kind = message.kind, "no room for a notification");
            done(self.delivery(&message, false));
            return;
        }
        if let Some(lane) = lanes.get_mut(&message.lane) {
            lane.push_back(message);
            return;
        }
        lanes.insert(Arc::clone(&message.lane), VecDeque::new());
        going.spawn(self.clone().deliver(message));
    }

    fn delivery(&self, message: &Message, delivered: bool) -> Delivery {
        Delivery {
            id: Arc::clone(&message.id),
            channel: self.channel(),
            delivered,
        }
    }

    async fn deliver(self, message: Message) -> (Message, bool) {
        let (mut pauses, mut progress) = (PAUSES.into_iter(), Progress::default());
        let (channel, receiver) = (self.channel(), self.receiver.place());
        loop {
            let attempt = async {
                let _slot = self.slots.acquire().await;
                self.receiver.send(&message, &mut progress).await
            };
            let error = match attempt.await {
                Ok(()) => {
                    self.metrics.0.inc(channel, Outcome::Sent);
                    tracing::info!(
                        id = %message.id, kind = message.kind, about = %message.lane, receiver,
                        "people were told"
                    );
                    return (message, true);
                }
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| error.is_worth_trying_again());
            let Some(pause) = pause else {
                self.metrics.0.inc(channel, Outcome::Failed);
                tracing::error!(
                    id = %message.id, kind = message.kind, about = %message.lane, receiver, %error,
                    "people were not told"
                );
                return (message, false);
            };
            let asked = error.pause().min(LONGEST);
            let pause = spread(Duration::from_secs(pause)).max(asked);
            self.metrics.0.inc(channel, Outcome::Retried);
            tracing::warn!(
                id = %message.id, kind = message.kind, about = %message.lane, receiver, %error,
                again_in_s = pause.as_secs(), "people were not told yet"
            );
            tokio::time::sleep(pause).await;
        }
    }
}

/// Half of it for certain and half by chance, so that messages do not come back all at once.
fn spread(pause: Duration) -> Duration {
    let drawn = u32::try_from(RandomState::new().hash_one(0_u8) & 0xffff).unwrap_or(0);
    pause / 2 + (pause / 2).mul_f64(f64::from(drawn) / 65535.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_never_longer_than_it_says_nor_shorter_than_half() {
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            let pause = spread(second);
            assert!(pause >= second / 2 && pause <= second, "{pause:?}");
        }
    }
}
