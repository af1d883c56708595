//! Events, from the store to a receiver.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weir_audit::Timestamp;
use weir_uplink::control::Backoff;

use super::answer::Verdict;
use super::batch::{Batch, batches};
use super::post::Post;
use super::{Fate, OtlpMetrics};
use crate::exports::otlp::{Instance, request};
use crate::store::{Behind, Cursor};
use crate::{Collector, CollectorError};

/// How often new events are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries of the same request: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same, where somebody has to do something first.
const TROUBLE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(120));
/// A receiver that failed so many times over one request does not get it again: a Collector of OpenTelemetry
/// says 500 of what it will never take, and everything else would wait behind it.
const FAILURES: u32 = 6;
/// Blocks, and bytes of sealed frames, that are read at once.
const TURN: (usize, usize) = (64, 256 << 10);
/// An export that is so far behind is worth a line in the log...
const FAR: Duration = Duration::from_secs(900);
/// ... as often as this; so is a receiver that takes nothing.
const SAID: Duration = Duration::from_secs(300);

/// Sends what the store commits, for ever.
pub(super) async fn ship(post: &Post, store: &Collector, from: &Instance, counts: &OtlpMetrics) {
    let mut waiting = VecDeque::new();
    let mut again = (
        Backoff::new(AGAIN.0, AGAIN.1),
        Backoff::new(TROUBLE.0, TROUBLE.1),
    );
    let (mut watch, mut failures) = (Watch::default(), 0);
    tracing::info!(receiver = post.place(), "events are exported over OTLP");
    loop {
        watch.look(store, counts).await;
        if waiting.is_empty() {
            match next(store).await {
                Ok(batches) => waiting = batches,
                Err(error) => tracing::error!(%error, "events to export cannot be read"),
            }
        }
        let Some(batch) = waiting.pop_front() else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let done = match send(post, &batch, from).await {
            Verdict::Taken { rejected, said } => {
                let records = batch.records.len() as u64;
                let rejected = rejected.min(records);
                counts.events.add(Fate::Sent, records - rejected);
                reject(counts, rejected, said);
                settle(store, &batch).await
            }
            Verdict::Refused(why) => {
                counts.failures.inc();
                reject(counts, batch.records.len() as u64, Some(why));
                settle(store, &batch).await
            }
            Verdict::TooLarge => {
                counts.failures.inc();
                match batch.halves() {
                    Ok((first, second)) => {
                        waiting.push_front(second);
                        waiting.push_front(first);
                        continue;
                    }
                    Err(single) => {
                        let why = "it takes no request of this size".to_owned();
                        reject(counts, single.records.len() as u64, Some(why));
                        settle(store, &single).await
                    }
                }
            }
            Verdict::Later { after, why } => {
                watch.failed(post, counts, &why);
                waiting.push_front(batch);
                let pause = again.0.pause();
                tokio::time::sleep(after.map_or(pause, |after| after + pause / 8)).await;
                continue;
            }
            Verdict::Failed(why) if failures + 1 >= FAILURES => {
                watch.failed(post, counts, &why);
                reject(counts, batch.records.len() as u64, Some(why));
                settle(store, &batch).await
            }
            Verdict::Failed(why) => {
                failures += 1;
                watch.failed(post, counts, &why);
                waiting.push_front(batch);
                tokio::time::sleep(again.1.pause()).await;
                continue;
            }
            Verdict::Trouble(why) => {
                watch.failed(post, counts, &why);
                waiting.push_front(batch);
                tokio::time::sleep(again.1.pause()).await;
                continue;
            }
        };
        failures = 0;
        if done {
            again.0.reset();
            again.1.reset();
            watch.worked(post);
        } else {
            // The cursor stands still: what the receiver has may come to it again.
            waiting.clear();
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn send(post: &Post, batch: &Batch, from: &Instance) -> Verdict {
    if batch.records.is_empty() {
        return Verdict::Taken {
            rejected: 0,
            said: None,
        };
    }
    post.send("v1/logs", request(&batch.records, Some(from)))
        .await
}

fn reject(counts: &OtlpMetrics, rejected: u64, said: Option<String>) {
    counts.events.add(Fate::Rejected, rejected);
    match said {
        Some(why) if rejected > 0 => {
            tracing::error!(events = rejected, why, "the OTLP receiver rejected events");
        }
        Some(said) => tracing::warn!(said, "the OTLP receiver has something to say of events"),
        None if rejected > 0 => {
            tracing::error!(events = rejected, "the OTLP receiver rejected events");
        }
        None => {}
    }
}

/// The next requests.
async fn next(store: &Collector) -> Result<VecDeque<Batch>, CollectorError> {
    blocking(store, |store| {
        let (most, bytes) = TURN;
        Ok(batches(&store.outgoing(Cursor::Exported, most, bytes)?))
    })
    .await
}

/// Moves the cursor; `false` if it stands still.
async fn settle(store: &Collector, batch: &Batch) -> bool {
    let Some(block) = batch.settles else {
        return true;
    };
    match blocking(store, move |store| store.taken(Cursor::Exported, block)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "how far events were exported cannot be kept");
            false
        }
    }
}

async fn blocking<T: Send + 'static>(
    store: &Collector,
    act: impl FnOnce(&Collector) -> Result<T, CollectorError> + Send + 'static,
) -> Result<T, CollectorError> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || act(&store)).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}

/// What people and metrics are told of how it goes.
#[derive(Default)]
struct Watch {
    lost: u64,
    far: Option<Instant>,
    failing: Option<Instant>,
}

impl Watch {
    async fn look(&mut self, store: &Collector, counts: &OtlpMetrics) {
        let Behind { since, lost } = match blocking(store, Collector::behind).await {
            Ok(behind) => behind,
            Err(error) => {
                tracing::error!(%error, "how far events were exported is not known");
                return;
            }
        };
        counts
            .events
            .add(Fate::Lost, lost.saturating_sub(self.lost));
        self.lost = lost;
        let now = Timestamp::from(SystemTime::now());
        let lag = since.map(|since| now.as_micros().saturating_sub(since.as_micros()));
        let lag = Duration::from_micros(lag.unwrap_or_default());
        counts
            .lag
            .set(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
        if lag < FAR {
            self.far = None;
        } else if due(&mut self.far) {
            tracing::warn!(
                seconds = lag.as_secs(),
                "the export of events over OTLP is far behind"
            );
        }
    }

    fn failed(&mut self, post: &Post, counts: &OtlpMetrics, why: &str) {
        counts.failures.inc();
        if due(&mut self.failing) {
            let receiver = post.place();
            tracing::error!(receiver, why, "the OTLP receiver takes no events");
        }
    }

    fn worked(&mut self, post: &Post) {
        if self.failing.take().is_some() {
            tracing::info!(
                receiver = post.place(),
                "the OTLP receiver takes events again"
            );
        }
    }
}

/// Whether something is said now that was not said lately.
fn due(said: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = said.is_none_or(|at| now.duration_since(at) >= SAID);
    if due {
        *said = Some(now);
    }
    due
}
