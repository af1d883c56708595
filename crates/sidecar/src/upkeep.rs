//! What a serving process does from time to time.

use std::sync::Arc;
use std::time::Duration;

use weir_policy::Bundle;
use weir_uplink::AuditHandle;

use crate::metrics::EngineMetrics;

/// How often [`Upkeep::tick`] is called.
pub const EVERY: Duration = Duration::from_millis(500);
/// Ticks after which code is given back though nobody logged in: heartbeats and shipping run too.
const REST: u32 = 20;
/// How often the names of targets are looked up again.
pub const RESOLVE: Duration = Duration::from_secs(30);

/// Keeps gauges current and memory small.
pub struct Upkeep {
    metrics: Arc<EngineMetrics>,
    audit: AuditHandle,
    /// Start-up has run through code that no session needs, and so has each login.
    logins: u64,
    /// Ticks until memory is looked at in any case.
    rest: u32,
}

impl Upkeep {
    /// Upkeep of a process that counts here.
    #[must_use]
    pub fn new(metrics: Arc<EngineMetrics>, audit: AuditHandle) -> Self {
        Self {
            metrics,
            audit,
            logins: u64::MAX,
            rest: 0,
        }
    }

    /// Shows what is in force, and gives back code that is not in use.
    pub fn tick(&mut self, bundle: &Bundle, refused: bool) {
        let logins = self.metrics.accepted();
        let begun = std::mem::replace(&mut self.logins, logins) != logins;
        self.rest = self.rest.saturating_sub(1);
        if begun || self.rest == 0 {
            self.rest = REST;
            if let Err(error) = weir_transport::resident::release_file_pages() {
                tracing::debug!(%error, "code that is not in use stays mapped");
            }
        }
        self.metrics.update(&self.audit.status(), bundle, refused);
    }
}
