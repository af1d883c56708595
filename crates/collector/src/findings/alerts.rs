//! Of which findings people are told one by one, and of which by a count.
//!
//! Invariant: whoever floods people with findings about one engine, or a few, hides none about another, and none of
//! the collector's about itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use weir_audit::{Event, Finding, FindingCode, Timestamp};
use weir_uplink::control::Alert;

/// Findings of one kind that are told one by one...
const ONE_BY_ONE: u64 = 5;
/// ... and beyond them the first one about each engine, of so many engines...
const ENGINES: usize = 10;
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
    /// About whom one was told: [`ENGINES`] at most, beyond the first.
    engines: HashSet<String>,
    /// What nobody was told about each of them, and about all others together.
    held: HashMap<Option<String>, Held>,
}

/// The last one that nobody was told, and how many before it.
struct Held {
    last: Alert,
    before: u64,
}

impl Flood {
    /// Takes a finding; returns it if people are told of it now. `own` is whether the collector found it.
    pub(super) fn take(
        &mut self,
        event: &Event,
        finding: &Finding,
        own: bool,
        now: Timestamp,
    ) -> Option<Alert> {
        let alert = alert(event, finding);
        if own && finding.engine.is_none() {
            return Some(alert);
        }
        let engine = alert.engine.clone().unwrap_or_default();
        let lately = self.0.entry(finding.code).or_insert_with(|| Lately {
            since: now,
            told: 0,
            engines: HashSet::new(),
            held: HashMap::new(),
        });
        let known = lately.engines.contains(&engine);
        if lately.told < ONE_BY_ONE || !known && lately.engines.len() < ENGINES {
            lately.told += 1;
            lately.engines.insert(engine);
            return Some(alert);
        }
        let held = lately.held.entry(known.then_some(engine));
        held.and_modify(|held| {
            held.last = alert.clone();
            held.before += 1;
        })
        .or_insert(Held {
            last: alert,
            before: 0,
        });
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
            if lately.held.is_empty() {
                return false;
            }
            let held = std::mem::take(&mut lately.held);
            (lately.since, lately.told) = (now, u64::try_from(held.len()).unwrap_or(u64::MAX));
            lately.engines.clear();
            for (engine, Held { mut last, before }) in held {
                lately.engines.extend(engine);
                last.more = before;
                told.push(last);
            }
            true
        });
        told
    }
}
