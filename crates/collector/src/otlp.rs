//! Events and metrics on their way to a receiver of OpenTelemetry, as OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>): JSON, compressed with gzip.
//!
//! Invariants
//! - An event goes at least once. The store's cursor moves when the receiver has answered for all of a block,
//!   so what was on its way when the process ended goes again.
//! - Nothing that takes evidence waits for it, and memory is bounded: one turn of blocks, cut into requests.
//! - What a receiver refuses for what it is goes in halves until it is one event, which is given up, counted and a
//!   finding: no event keeps another from it. What it refuses for another reason (a login, a path, its own
//!   trouble) waits.
//!
//! It refuses to hold retention up: what is deleted first is a finding, with a count.

mod answer;
mod batch;
mod headers;
mod post;
mod ship;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use weir_audit::Timestamp;
use weir_fetch::{Endpoint, EndpointError};
use weir_telemetry::{Counters, IntCounter, IntGauge, Label, Registry};

use crate::Collector;
use crate::exports::otlp::{Instance, metrics::metrics};

use answer::Verdict;
use post::Post;

/// How often metrics go, if nothing else is said: as OpenTelemetry's own exporters do.
pub const OTLP_INTERVAL: Duration = Duration::from_secs(60);

/// Where events and metrics go.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// The receiver's base address, to which `/v1/logs` and `/v1/metrics` are added; `http` for loopback and
    /// names of the cluster only.
    pub endpoint: String,
    /// File with headers, as `OTEL_EXPORTER_OTLP_HEADERS` has them or one a line; read for each request.
    pub headers_file: Option<PathBuf>,
    /// File with the only authorities that count, in PEM.
    pub ca_file: Option<PathBuf>,
    /// What goes there.
    pub signals: Vec<Signal>,
    /// How often metrics go.
    pub interval: Duration,
}

/// What can go to a receiver: `logs` or `metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Events.
    Logs,
    /// Metrics.
    Metrics,
}

impl std::str::FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "logs" => Ok(Self::Logs),
            "metrics" => Ok(Self::Metrics),
            other => Err(format!("{other:?} is neither logs nor metrics")),
        }
    }
}

/// What became of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    Rejected,
    Lost,
}

impl Label for Fate {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Sent, Self::Rejected, Self::Lost];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// Counts of the export.
#[derive(Clone, Debug)]
struct OtlpMetrics {
    events: Counters<Fate>,
    failures: IntCounter,
    lag: IntGauge,
}

impl OtlpMetrics {
    fn new(registry: &Registry) -> Result<Self, String> {
        let text = |error: prometheus::Error| error.to_string();
        Ok(Self {
            events: registry
                .counters(
                    "weir_otlp_events_total",
                    "Events that went to the OTLP receiver, that it rejected, and that retention deleted before.",
                )
                .map_err(text)?,
            failures: registry
                .counter(
                    "weir_otlp_failures_total",
                    "Requests that the OTLP receiver did not take.",
                )
                .map_err(text)?,
            lag: registry
                .gauge(
                    "weir_otlp_lag_seconds",
                    "Age of the oldest event that the OTLP receiver does not have.",
                )
                .map_err(text)?,
        })
    }
}

/// The export to one receiver; nothing goes before it [runs](Otlp::run).
#[derive(Clone, Debug)]
pub struct Otlp {
    post: Post,
    signals: Vec<Signal>,
    interval: Duration,
    start: Timestamp,
}

impl Otlp {
    /// An export from its settings.
    ///
    /// # Errors
    /// When requests may not go there.
    pub fn new(config: OtlpConfig) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse(&config.endpoint, true)?;
        Ok(Self {
            post: Post::new(&endpoint, config.headers_file, config.ca_file),
            signals: config.signals,
            interval: config.interval,
            start: Timestamp::from(std::time::SystemTime::now()),
        })
    }

    /// Whether events go: the store must know ([`crate::CollectorConfig::exporting`]).
    #[must_use]
    pub fn takes_events(&self) -> bool {
        self.signals.contains(&Signal::Logs)
    }

    /// Sends what `store` commits and what `registry` counts, for ever.
    ///
    /// # Errors
    /// When what it counts itself is counted already.
    pub fn run(
        self,
        store: Collector,
        registry: Registry,
    ) -> Result<impl Future<Output = ()> + Send + 'static, String> {
        let counts = OtlpMetrics::new(&registry)?;
        let from = Instance(store.name());
        Ok(async move {
            let (logs, metrics) = (self.takes_events(), self.signals.contains(&Signal::Metrics));
            let measured = async {
                if metrics {
                    self.measure(&registry, &from).await;
                }
            };
            let shipped = async {
                if logs {
                    ship::ship(&self.post, &store, &from, &counts).await;
                }
            };
            tokio::join!(measured, shipped);
        })
    }

    /// Counts are cumulative, so what was not taken needs no second try: the next say the same and more.
    async fn measure(&self, registry: &Registry, from: &Instance) {
        let mut turn = tokio::time::interval(self.interval);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turn.tick().await;
        loop {
            turn.tick().await;
            let now = Timestamp::from(std::time::SystemTime::now());
            let body = metrics(&registry.families(), from, (self.start, now));
            match self.post.send("v1/metrics", body).await {
                Verdict::Taken { rejected: 0, said } => {
                    if let Some(said) = said {
                        tracing::warn!(said, "the OTLP receiver has something to say of metrics");
                    }
                }
                Verdict::Taken { rejected, said } => {
                    tracing::warn!(rejected, said, "the OTLP receiver rejected metrics");
                }
                Verdict::Later { after, why } => {
                    tracing::warn!(why, "the OTLP receiver did not take metrics");
                    tokio::time::sleep(after.unwrap_or_default()).await;
                }
                Verdict::Refused(why) | Verdict::Failed(why) | Verdict::Trouble(why) => {
                    tracing::error!(why, "the OTLP receiver did not take metrics");
                }
                Verdict::TooLarge => {
                    tracing::error!("the OTLP receiver takes no request as large as the metrics");
                }
            }
        }
    }
}
