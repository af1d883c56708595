//! Events, from the store to a receiver.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weir_audit::{Finding, FindingCode, Timestamp};
use weir_uplink::control::Backoff;

use super::answer::Verdict;
use super::batch::{Batch, Batches};
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
/// Blocks, and bytes of sealed frames, that are read at once.
const TURN: (usize, usize) = (64, 256 << 10);
/// An export that is so far behind is worth a line in the log...
const FAR: Duration = Duration::from_secs(900);
/// ... as often as this; so is a receiver that takes nothing.
const SAID: Duration = Duration::from_secs(300);
/// How often it is a finding that the receiver rejects events.
const TOLD: Duration = Duration::from_secs(3600);

/// Sends what the store commits, for ever.
pub(super) async fn ship(post: &Post, store: &Collector, from: &Instance, counts: &OtlpMetrics) {
    let mut waiting = Batches::default();
    let mut again = (
        Backoff::new(AGAIN.0, AGAIN.1),
        Backoff::new(TROUBLE.0, TROUBLE.1),
    );
    let (mut watch, mut failures) = (Watch::default(), 0);
    tracing::info!(receiver = post.place(), "events are exported over OTLP");
    loop {
        watch.look(store, counts).await;
        if waiting.is_over() {
            match read(store).await {
                Ok(batches) => waiting = batches,
                Err(error) => tracing::error!(%error, "events to export cannot be read"),
            }
        }
        let batch;
        (waiting, batch) = next(waiting).await;
        let Some(batch) = batch else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let settled = match send(post, &batch, from).await {
            Verdict::Taken { rejected, said } => {
                let records = batch.records.len() as u64;
                let rejected = rejected.min(records);
                counts.events.add(Fate::Sent, records - rejected);
                watch.rejected(counts, rejected, said);
                watch.worked(post);
                again.0.reset();
                again.1.reset();
                settle(store, &batch).await
            }
            Verdict::Refused(why) => {
                counts.failures.inc();
                divide(store, &mut waiting, batch, |lost| {
                    watch.rejected(counts, lost, Some(why));
                })
                .await
            }
            Verdict::TooLarge => {
                counts.failures.inc();
                divide(store, &mut waiting, batch, |lost| {
                    let why = "it takes no request of this size".to_owned();
                    watch.rejected(counts, lost, Some(why));
                })
                .await
            }
            Verdict::Later { after, why } => {
                watch.failed(post, counts, &why);
                waiting.put_back(batch);
                let pause = again.0.pause();
                tokio::time::sleep(after.map_or(pause, |after| after + pause / 8)).await;
                continue;
            }
            Verdict::Failed(why) if failures + 1 >= batch.tries() => {
                watch.failed(post, counts, &why);
                let pause = again.1.pause();
                let settled = divide(store, &mut waiting, batch.suspected(), |lost| {
                    watch.rejected(counts, lost, Some(why));
                })
                .await;
                tokio::time::sleep(pause).await;
                settled
            }
            Verdict::Failed(why) => {
                failures += 1;
                watch.failed(post, counts, &why);
                waiting.put_back(batch);
                tokio::time::sleep(again.1.pause()).await;
                continue;
            }
            Verdict::Trouble(why) => {
                watch.failed(post, counts, &why);
                waiting.put_back(batch);
                tokio::time::sleep(again.1.pause()).await;
                continue;
            }
        };
        failures = 0;
        if !settled {
            // The cursor stands still: what the receiver has may come to it again.
            waiting = Batches::default();
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What a receiver does not take as a whole goes in halves, so that one record that it will never take keeps no
/// other from it. A record that is alone is given up; `lost` is told how many were. `false` if the cursor stands
/// still.
async fn divide(
    store: &Collector,
    waiting: &mut Batches,
    batch: Batch,
    lost: impl FnOnce(u64),
) -> bool {
    match batch.halves() {
        Ok((first, second)) => {
            waiting.put_back(second);
            waiting.put_back(first);
            true
        }
        Err(single) => {
            lost(single.records.len() as u64);
            settle(store, &single).await
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

/// What is to go next.
async fn read(store: &Collector) -> Result<Batches, CollectorError> {
    blocking(store, |store| {
        let (most, bytes) = TURN;
        Ok(Batches::new(store.outgoing(
            Cursor::Exported,
            most,
            bytes,
        )?))
    })
    .await
}

/// The next request, if there is one.
async fn next(mut waiting: Batches) -> (Batches, Option<Batch>) {
    let made = tokio::task::spawn_blocking(move || {
        let batch = waiting.next();
        (waiting, batch)
    });
    // What is lost here comes again: the cursor stands still.
    made.await.unwrap_or_default()
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
    /// Events that the receiver rejected and nobody was told of, the last reason, and when somebody was.
    rejected: u64,
    why: String,
    told: Option<Instant>,
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
        self.tell_rejected(store).await;
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

    /// Takes note of events that the receiver has no more, or of what it says of those that it has.
    fn rejected(&mut self, counts: &OtlpMetrics, rejected: u64, said: Option<String>) {
        counts.events.add(Fate::Rejected, rejected);
        if rejected > 0 {
            self.rejected += rejected;
            self.why = said.unwrap_or_else(|| "it does not say why".to_owned());
        } else if let Some(said) = said {
            tracing::warn!(said, "the OTLP receiver has something to say of events");
        }
    }

    /// Says in the collector's own chain that events are missing at the receiver: at once, then once in an hour.
    /// That finding is exported, too, and may be rejected like others.
    async fn tell_rejected(&mut self, store: &Collector) {
        let told = self.told.is_none_or(|at| at.elapsed() >= TOLD);
        if self.rejected == 0 || !told {
            return;
        }
        let (events, why) = (self.rejected, self.why.as_str());
        tracing::error!(events, why, "the OTLP receiver rejected events");
        let finding = Finding {
            code: FindingCode::Other,
            message: format!("the OTLP receiver rejected {events} events: {why}").into(),
            subject: None,
            engine: None,
        };
        match blocking(store, move |store| store.report(finding)).await {
            Ok(()) => (self.rejected, self.told) = (0, Some(Instant::now())),
            Err(error) => tracing::error!(%error, "a finding could not be stored"),
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
