//! Events and metrics to a receiver of OpenTelemetry, as `collector.otlp` says.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use weir_collector::{OTLP_INTERVAL, Otlp, OtlpConfig, Signal};

/// A receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OtlpSettings {
    /// Its base address, to which `/v1/logs` and `/v1/metrics` are added.
    pub(crate) endpoint: String,
    /// File with headers: `NAME=VALUE`, one a line or with commas between them.
    #[serde(default)]
    pub(crate) headers_file: Option<PathBuf>,
    /// The only authorities that count for it.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// What goes there; without it, everything.
    #[serde(default = "all")]
    pub(crate) signals: Vec<Signal>,
    /// Metrics go every so many seconds.
    #[serde(default)]
    pub(crate) metrics_interval_seconds: Option<NonZeroU32>,
}

fn all() -> Vec<Signal> {
    vec![Signal::Logs, Signal::Metrics]
}

impl OtlpSettings {
    /// Makes relative paths relative to `base`.
    pub(crate) fn rebase(&mut self, base: &Path) {
        let files = [&mut self.headers_file, &mut self.ca_file];
        let files = files.into_iter().flatten();
        files.for_each(|path| *path = base.join(&*path));
    }

    /// The export, ready to run.
    pub(crate) fn export(&self) -> Result<Otlp, String> {
        let interval = self.metrics_interval_seconds;
        let interval = interval.map(|seconds| Duration::from_secs(seconds.get().into()));
        let config = OtlpConfig {
            endpoint: self.endpoint.clone(),
            headers_file: self.headers_file.clone(),
            ca_file: self.ca_file.clone(),
            signals: self.signals.clone(),
            interval: interval.unwrap_or(OTLP_INTERVAL),
        };
        Otlp::new(config).map_err(|error| format!("collector.otlp.endpoint: {error}"))
    }
}
