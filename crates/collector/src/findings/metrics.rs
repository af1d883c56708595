//! What findings and the evidence they are looked for in come to.

use weir_audit::{Body, Event, FindingCode};
use weir_telemetry::{Counters, IntCounter, Label, Registry};

use super::refused;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Code(FindingCode);

impl Label for Code {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = &CODES;

    fn as_str(self) -> &'static str {
        self.0.as_str()
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "both have as many entries as there are codes; it is checked when this is compiled"
)]
const CODES: [Code; FindingCode::ALL.len()] = {
    let mut codes = [Code(FindingCode::Other); FindingCode::ALL.len()];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = Code(FindingCode::ALL[at]);
        at += 1;
    }
    codes
};

/// Counts of findings.
#[derive(Clone)]
pub struct FindingMetrics {
    findings: Counters<Code>,
    missed: IntCounter,
    sessions: IntCounter,
    denials: IntCounter,
    holds: IntCounter,
}

impl FindingMetrics {
    /// Counts in this registry.
    ///
    /// # Errors
    /// A metric of the name exists.
    pub fn new(registry: &Registry) -> Result<Self, String> {
        let text = |error: prometheus::Error| error.to_string();
        let counter = |name, help| registry.counter(name, help).map_err(text);
        let findings = registry.counters(
            "weir_findings_total",
            "Findings that were committed, of every engine and of the collector itself.",
        );
        Ok(Self {
            findings: findings.map_err(text)?,
            missed: counter(
                "weir_findings_missed_batches_total",
                "Batches of evidence that were committed and not looked at for findings.",
            )?,
            sessions: counter(
                "weir_evidence_sessions_total",
                "Sessions whose beginning was committed.",
            )?,
            denials: counter(
                "weir_evidence_denials_total",
                "Statements and connections that were refused, as committed.",
            )?,
            holds: counter(
                "weir_evidence_holds_total",
                "Access requests that were made, as committed.",
            )?,
        })
    }

    /// Counts an event that was committed.
    pub(super) fn count(&self, event: &Event) {
        match &event.body {
            Body::Finding(finding) => self.findings.inc(Code(finding.code)),
            Body::ConnectionOpened(_) => self.sessions.inc(),
            Body::AccessRequestCreated(_) => self.holds.inc(),
            body if refused(body) => self.denials.inc(),
            _ => {}
        }
    }

    /// Counts batches that were not looked at.
    pub(super) fn miss(&self, batches: u64) {
        self.missed.inc_by(batches);
    }
}
