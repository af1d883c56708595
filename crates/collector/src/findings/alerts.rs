//! Of which findings people are told one by one, and of which by a count.

use std::collections::HashMap;
use std::time::Duration;

use weir_audit::{Event, Finding, FindingCode, Timestamp};
use weir_uplink::control::Alert;

/// Findings of one kind that are told one by one...
const ONE_BY_ONE: u64 = 5;
/// ... in this time; of the others, how many there were is told at its end.
const WINDOW: Duration = Duration::from_secs(600);

fn alert(event: &Event, finding: &Finding) -> Alert {
    let session = event.session.as_ref();
    let subject = finding.subject.or_else(|| Some(session?.id));
    let engine = finding.engine.as_deref();
    Alert {
        id: event.id.to_string(),
        at: event.time,
        code: finding.code,
        severity: finding.code.severity(),
        message: finding.message.to_string(),
        engine: Some(engine.unwrap_or(event.id.engine.as_str()).to_owned()),
        session: subject.map(|id| id.to_string()),
        identity: session.map(|session| session.identity.name.to_string()),
        more: 0,
    }
}

/// What came lately, by kind: there are as many as kinds.
#[derive(Default)]
pub(super) struct Flood(HashMap<FindingCode, Lately>);

struct Lately {
    since: Timestamp,
    told: u64,
    /// The last one that nobody was told, and how many before it.
    held: Option<(Alert, u64)>,
}

impl Flood {
    /// Takes a finding; returns it if people are told of it now.
    pub(super) fn take(
        &mut self,
        event: &Event,
        finding: &Finding,
        now: Timestamp,
    ) -> Option<Alert> {
        let lately = self.0.entry(finding.code).or_insert_with(|| Lately {
            since: now,
            told: 0,
            held: None,
        });
        if lately.told < ONE_BY_ONE {
            lately.told += 1;
            return Some(alert(event, finding));
        }
        let before = lately.held.take().map_or(0, |(_, before)| before + 1);
        lately.held = Some((alert(event, finding), before));
        None
    }

    /// What is told at the end of a window.
    pub(super) fn over(&mut self, now: Timestamp) -> Vec<Alert> {
        let ends = now.minus(WINDOW);
        let mut told = Vec::new();
        self.0.retain(|_, lately| {
            if lately.since > ends {
                return true;
            }
            let Some((mut alert, before)) = lately.held.take() else {
                return false;
            };
            alert.more = before;
            told.push(alert);
            (lately.since, lately.told) = (now, 1);
            true
        });
        told
    }
}
