//! What the collector looks for in what it commits, and whom it tells.
//!
//! Invariants
//! - Looking delays no evidence: it follows what is committed. Where it falls behind, that is counted.
//! - What is found is an event of the collector's own chain before anybody is told.
//! - One cause is found once in a while, not once per event, and a flood of findings becomes one message
//!   with a count; memory is bounded whatever comes in.
//! - Findings are recorded while looking goes on, one transaction at a time, and each holds little of any one
//!   engine: whoever gives cause for very many hides nobody else's.
//!
//! Refuses: to look at its own findings, and to judge. A finding says what is so, not who is to blame.

mod alerts;
mod denials;
mod metrics;
mod shapes;
mod skew;
mod streams;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use weir_audit::{Body, Event, Finding, FindingCode, Outcome, Severity, Timestamp};
pub use weir_uplink::control::Alert;

use self::alerts::Flood;
use self::denials::Denials;
pub use self::metrics::FindingMetrics;
use self::shapes::Shapes;
use self::skew::Skew;
use self::streams::Streams;
pub use self::streams::{Pods, RunningPods};
use crate::Collector;
use crate::store::Round;

/// Between two looks at what only time brings about.
const TICK: Duration = Duration::from_secs(10);
/// Between two looks at the pods that run.
const PODS: Duration = Duration::from_secs(60);
/// Where shapes are kept, beside the store.
const SHAPES: &str = "shapes";

/// What is looked for.
#[derive(Clone, Debug)]
pub struct FindingsConfig {
    /// How far an engine's clock may be from this one's.
    pub skew: Duration,
    /// So many refusals of one identity...
    pub denials: u32,
    /// ... within this time are a finding.
    pub window: Duration,
    /// How long an image's statements are learned before a new one is a finding.
    pub learning: Duration,
    /// What matters less is told to nobody.
    pub minimum: Severity,
}

impl Default for FindingsConfig {
    fn default() -> Self {
        Self {
            skew: Duration::from_secs(60),
            denials: 10,
            window: Duration::from_secs(300),
            learning: Duration::from_secs(24 * 3600),
            minimum: Severity::Medium,
        }
    }
}

/// Looks at one event after the other. Knows no clock: it is told the time.
struct Detectors {
    skew: Skew,
    denials: Denials,
    shapes: Shapes,
}

impl Detectors {
    fn new(config: &FindingsConfig, shapes: Shapes) -> Self {
        Self {
            skew: Skew::new(config.skew),
            denials: Denials::new(config.denials, config.window),
            shapes,
        }
    }

    /// What an event that was committed at `now` shows.
    fn see(&mut self, event: &Event, now: Timestamp) -> Vec<Finding> {
        let mut found = Vec::new();
        found.extend(self.skew.see(event, now));
        if let Body::StatementFinished(finished) = &event.body {
            found.extend(self.shapes.see(event, &finished.statement, now));
        }
        if refused(&event.body) {
            found.extend(self.denials.see(event, now));
        }
        found
    }
}

/// Whether somebody was refused something.
fn refused(body: &Body) -> bool {
    match body {
        Body::StatementFinished(finished) => finished.outcome == Outcome::Denied,
        Body::ConnectionRefused(_) => true,
        _ => false,
    }
}

/// A finding about what an event shows.
fn finding(event: &Event, code: FindingCode, message: String) -> Finding {
    Finding {
        code,
        message: message.into(),
        subject: event.session.as_ref().map(|session| session.id),
        engine: Some(event.id.engine.as_str().into()),
    }
}

/// Looks at what `store` commits from now on, and hands what people must be told to `alerts`; `pods` knows
/// which pods run, where there are any. Returns when the store is gone.
pub async fn watch(
    store: Collector,
    config: FindingsConfig,
    metrics: FindingMetrics,
    alerts: Option<mpsc::Sender<Alert>>,
    pods: Option<Arc<dyn Pods>>,
) {
    let mut streams = Streams::default();
    let mut listing = tokio::time::interval(PODS);
    listing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events = store.tail();
    let kept = store.dir().join(SHAPES);
    let shapes = load(kept.clone(), config.learning).await;
    let mut detectors = Detectors::new(&config, shapes);
    let mut flood = Flood::default();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = Round::default();
    let mut recording = JoinSet::new();
    loop {
        if recording.is_empty()
            && let Some(found) = round.take()
        {
            let store = store.clone();
            recording.spawn_blocking(move || record(&store, found));
        }
        tokio::select! {
            _ = recording.join_next(), if !recording.is_empty() => {}
            batch = events.recv() => {
                let Some(batch) = taken(batch, &metrics) else { return };
                let now = Timestamp::from(SystemTime::now());
                for event in batch.iter() {
                    metrics.count(event);
                    let own = store.is_own(&event.id.engine);
                    if let Body::Finding(finding) = &event.body
                        && finding.code.severity() >= config.minimum
                    {
                        let told = flood.take(event, finding, own, now);
                        tell(alerts.as_ref(), told);
                    }
                    if !own {
                        streams.hear(event, now);
                        round.add(detectors.see(event, now));
                    }
                }
            }
            _ = listing.tick(), if pods.is_some() => {
                let running = match &pods {
                    Some(pods) => pods.running().await,
                    None => None,
                };
                if let Some(running) = running {
                    let now = Timestamp::from(SystemTime::now());
                    round.add(streams.look(&running, now));
                }
            }
            _ = tick.tick() => {
                let now = Timestamp::from(SystemTime::now());
                for told in flood.over(now) {
                    tell(alerts.as_ref(), Some(told));
                }
                keep(&mut detectors.shapes, &kept).await;
            }
        }
    }
}

/// A batch; an empty one where some were missed; none when there will be no more.
fn taken(batch: Result<Arc<[Event]>, RecvError>, metrics: &FindingMetrics) -> Option<Arc<[Event]>> {
    match batch {
        Ok(batch) => Some(batch),
        Err(broadcast::error::RecvError::Lagged(batches)) => {
            metrics.miss(batches);
            tracing::warn!(batches, "evidence was not looked at for findings");
            Some(Arc::from([]))
        }
        Err(broadcast::error::RecvError::Closed) => None,
    }
}

fn tell(alerts: Option<&mpsc::Sender<Alert>>, alert: Option<Alert>) {
    if let (Some(alerts), Some(alert)) = (alerts, alert)
        && let Err(error) = alerts.try_send(alert)
    {
        tracing::error!(%error, "nobody is told of a finding");
    }
}

fn record(store: &Collector, found: Vec<Finding>) {
    let number = found.len();
    if let Err(error) = store.report_all(found) {
        tracing::error!(%error, number, "findings could not be recorded");
    }
}

async fn load(path: PathBuf, learning: Duration) -> Shapes {
    let read = tokio::task::spawn_blocking(move || match std::fs::read(&path) {
        Ok(bytes) => Shapes::from_bytes(&bytes, learning).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Shapes::new(learning)),
        Err(error) => Err(error.to_string()),
    });
    let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
    read.unwrap_or_else(|error| {
        tracing::error!(error, "the shapes of statements are learned anew");
        Shapes::new(learning)
    })
}

async fn keep(shapes: &mut Shapes, path: &Path) {
    let Some(bytes) = shapes.changed() else {
        return;
    };
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let new = path.with_extension("new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, &path)
    });
    if let Ok(Err(error)) = written.await {
        tracing::error!(%error, "the shapes of statements could not be kept");
    }
}

#[cfg(test)]
mod tests;
