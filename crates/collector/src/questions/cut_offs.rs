//! Who was cut off: each order, and below it the pods that it hit.
//!
//! An order is the controller's or the operator's word, and is there also where no pod of whom it names ran. That a pod
//! was cut off is its own.

use std::collections::BTreeMap;

use weir_audit::{Body, Event, QuarantineChanged, Timestamp};

use super::{MAX_ROWS, Question};
use crate::{Collector, CollectorError, Filter};

pub(super) const COLUMNS: &[&str] = &[
    "quarantine",
    "what",
    "whom",
    "engine",
    "from",
    "by",
    "why",
    "until",
    "lifted by",
    "why lifted",
];
/// So many events are read: each pod that is cut off has one, and one when it is let in again.
const MOST: usize = 5 * MAX_ROWS;

/// All that is known of one quarantine.
#[derive(Default)]
struct Quarantine {
    orders: Vec<Line>,
    hits: Vec<Line>,
}

/// From when to when, as far as that is in the period.
struct Line {
    whom: String,
    engine: String,
    from: Option<(Timestamp, String, String)>,
    until: Option<(Timestamp, String, String)>,
}

pub(super) fn rows(
    collector: &Collector,
    question: &Question,
) -> Result<Vec<Vec<String>>, CollectorError> {
    let mut filter = Filter {
        kind: Some("quarantine_changed".to_owned()),
        since: question.since,
        until: question.until,
        limit: Some(MAX_ROWS),
        ..Filter::default()
    };
    let mut events: Vec<Event> = Vec::new();
    loop {
        let page = collector.query(&filter)?;
        events.extend(page.events);
        match page.next {
            Some(next) if events.len() < MOST => filter.cursor = Some(next),
            _ => break,
        }
    }
    events.sort_by_key(|event| event.time);
    let mut all: BTreeMap<String, Quarantine> = BTreeMap::new();
    for event in &events {
        if let Body::QuarantineChanged(changed) = &event.body {
            let one = all.entry(changed.name.to_string()).or_default();
            one.take(event, changed);
        }
    }
    let mut all: Vec<(String, Quarantine)> = all.into_iter().collect();
    all.sort_by_key(|(_, one)| std::cmp::Reverse(one.newest()));
    let rows = all.iter().flat_map(|(name, one)| {
        let orders = one.orders.iter().map(move |line| line.row(name, "order"));
        orders.chain(one.hits.iter().map(move |line| line.row(name, "pod")))
    });
    Ok(rows.collect())
}

impl Quarantine {
    fn take(&mut self, event: &Event, changed: &QuarantineChanged) {
        let engine = event.id.engine.as_str();
        // Every replica of the controller may say the same of an order.
        let lines = if changed.is_order() {
            &mut self.orders
        } else {
            &mut self.hits
        };
        let open = lines.iter_mut().rev().find(|line| {
            line.until.is_none()
                && *line.whom == *changed.subject
                && (changed.is_order() || line.engine == engine)
        });
        let (by, why) = (changed.by.to_string(), changed.reason.to_string());
        let said = (event.time, by, why);
        let same = |line: &Line| {
            let from = line.from.as_ref();
            from.is_some_and(|(_, by, why)| (by, why) == (&said.1, &said.2))
        };
        let (from, until) = match (changed.on, open) {
            (true, Some(line)) if same(line) => return,
            (false, Some(line)) => {
                line.until = Some(said);
                return;
            }
            (true, _) => (Some(said), None),
            (false, None) => (None, Some(said)),
        };
        lines.push(Line {
            whom: changed.subject.to_string(),
            engine: engine.to_owned(),
            from,
            until,
        });
    }

    fn newest(&self) -> Option<Timestamp> {
        let lines = self.orders.iter().chain(&self.hits);
        let times = lines.flat_map(|line| [&line.from, &line.until]);
        times.flatten().map(|(time, ..)| *time).max()
    }
}

impl Line {
    fn row(&self, name: &str, what: &str) -> Vec<String> {
        let told = |told: &Option<(Timestamp, String, String)>| match told {
            Some((time, by, why)) => [time.to_string(), by.clone(), why.clone()],
            None => Default::default(),
        };
        let mut row = vec![
            name.to_owned(),
            what.to_owned(),
            self.whom.clone(),
            self.engine.clone(),
        ];
        row.extend(told(&self.from));
        row.extend(told(&self.until));
        row
    }
}
