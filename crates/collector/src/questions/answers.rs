//! Answers from the embedded store.

use std::collections::{HashMap, HashSet};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use weir_audit::{Body, Event, SessionId, Timestamp};

use super::{About, Answer, MAX_ROWS, Question, cut_offs};
use crate::store::parts::{Days, IN_DAYS, begin_of, rule_name, sum};
use crate::{Collector, CollectorError, Filter};

/// So many events are read to sum up policy changes: each engine has one per change.
const MOST_CHANGES: usize = 5 * MAX_ROWS;

impl Collector {
    /// Answers a question.
    ///
    /// # Errors
    /// [`CollectorError::Question`] when it cannot be asked so; else when the store failed.
    pub fn ask(&self, question: &Question) -> Result<Answer, CollectorError> {
        question.check().map_err(CollectorError::Question)?;
        let (columns, rows) = match question.about {
            About::PolicyChanges => changes(self, question)?,
            About::WhoReadEvidence => reads(self, question)?,
            About::WhoWasCutOff => (cut_offs::COLUMNS, cut_offs::rows(self, question)?),
            about => (columns(about), self.sums(question)?),
        };
        Ok(finished(question, columns, rows))
    }

    /// Rows of an answer from sums.
    fn sums(&self, question: &Question) -> Result<Vec<Vec<String>>, CollectorError> {
        if let Some(far) = self.far() {
            return far.table(question);
        }
        let reader = self.counted()?;
        let days = Days::new(
            &reader,
            question.since,
            question.until,
            question.namespace.as_deref(),
        )?;
        days.map_or_else(|| Ok(Vec::new()), |days| table(&reader, question, &days))
    }
}

fn columns(about: About) -> &'static [&'static str] {
    match about {
        About::WhoReadLabel => &[
            "identity",
            "namespace",
            "target",
            "label",
            "statements",
            "rows",
            "masked rows",
            "last",
        ],
        About::WhatDidIdentityTouch => &[
            "identity",
            "namespace",
            "target",
            "table",
            "statements",
            "rows",
            "bytes",
            "last",
        ],
        About::WhatWasBlocked => &[
            "identity",
            "namespace",
            "target",
            "policy",
            "rule",
            "revision",
            "denied",
            "held",
            "would deny",
            "last",
        ],
        About::WhatWasMasked => &[
            "identity",
            "namespace",
            "target",
            "policy",
            "rule",
            "revision",
            "statements",
            "last",
        ],
        About::HoldsByApprover => &[
            "raised",
            "request",
            "identity",
            "namespace",
            "target",
            "statement",
            "labels",
            "rules",
            "approver",
            "decision",
            "decided",
            "reason",
            "outcome",
            "waited ms",
            "session",
        ],
        About::PolicyChanges => &["first", "last", "revision", "digest", "engines", "refused"],
        About::WhoReadEvidence => &["time", "reader", "address", "path", "query", "namespace"],
        About::WhoWasCutOff => cut_offs::COLUMNS,
    }
}

fn finished(question: &Question, columns: &[&str], mut rows: Vec<Vec<String>>) -> Answer {
    let more = rows.len() > question.rows();
    rows.truncate(question.rows());
    Answer {
        title: question.heading(),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        rows,
        more,
    }
}

/// Makes the cells of a row.
type Read = fn(&Row<'_>) -> rusqlite::Result<Vec<String>>;

/// Sums by who, and by what the question is about.
fn table(
    reader: &Connection,
    question: &Question,
    days: &Days,
) -> Result<Vec<Vec<String>>, CollectorError> {
    const NAMES: &str = "coalesce(i.text, ''), coalesce(n.text, ''), coalesce(t.text, '')";
    let who = |of: &str| {
        format!(
            "LEFT JOIN keys i ON i.id = {of}.identity LEFT JOIN keys n ON n.id = {of}.namespace
             LEFT JOIN keys t ON t.id = {of}.target"
        )
    };
    // Every statement names ?1 to ?8, so that all have the same parameters.
    let narrowed =
        "(?4 IS NULL OR s.identity IN (SELECT id FROM keys WHERE kind = 1 AND text = ?4))
         AND (?5 IS NULL OR s.target IN (SELECT id FROM keys WHERE kind = 2 AND text = ?5))
         AND ?6 IS ?6 AND ?7 IS ?7";
    let by_name = |table: &str, other: &str, fits: &str| {
        format!(
            "SELECT {NAMES}, coalesce(k.text, ''), a, b, c, last FROM (
               SELECT s.identity, s.namespace, s.target, s.{} name, total(s.statements) a,
                 total(s.rows) b, total(s.{other}) c, max(s.last) last FROM {table} s
               WHERE {IN_DAYS} AND {narrowed} AND {fits} GROUP BY 1, 2, 3, 4
               ORDER BY b DESC, a DESC, last DESC LIMIT ?8) x
             {} LEFT JOIN keys k ON k.id = x.name ORDER BY b DESC, a DESC, last DESC",
            if table == "daily_labels" {
                "label"
            } else {
                "name"
            },
            who("x")
        )
    };
    let by_rule = |sums: &str, some: &str| {
        format!(
            "SELECT {NAMES}, coalesce(k.text, ''), x.revision, a, b, c, last FROM (
               SELECT s.identity, s.namespace, s.target, s.rule, s.revision, {sums},
                 max(s.last) last FROM daily_rules s
               WHERE {IN_DAYS} AND {narrowed} AND {some} GROUP BY 1, 2, 3, 4, 5
               ORDER BY a + b + c DESC, last DESC LIMIT ?8) x
             {} LEFT JOIN keys k ON k.id = x.rule ORDER BY a + b + c DESC, last DESC",
            who("x")
        )
    };
    let (sql, read): (String, Read) = match question.about {
        About::WhoReadLabel => {
            let fits = "(?6 IS NULL OR s.label IN (SELECT id FROM keys WHERE kind = 4 AND
                 CASE WHEN ?6 LIKE '%*' THEN substr(text, 1, length(?6) - 1) = rtrim(?6, '*')
                 ELSE text = ?6 END))";
            (by_name("daily_labels", "masked", fits), named)
        }
        About::WhatDidIdentityTouch => (by_name("daily_tables", "bytes", "1"), named),
        About::WhatWasBlocked => {
            let sums = "total(s.denied) a, total(s.held) b, total(s.would_deny) c";
            (
                by_rule(sums, "s.denied + s.held + s.would_deny > 0"),
                blocked,
            )
        }
        About::WhatWasMasked => {
            let sums = "total(s.masked) a, 0.0 b, 0.0 c";
            (by_rule(sums, "s.masked > 0"), masked)
        }
        About::HoldsByApprover
        | About::PolicyChanges
        | About::WhoReadEvidence
        | About::WhoWasCutOff => (
            format!(
                "SELECT s.raised, s.name, {NAMES}, s.statement, s.labels, s.rules,
                 coalesce(k.text, ''), coalesce(r.ruling, ''), r.at, coalesce(r.reason, ''),
                 coalesce(s.closing, ''), s.held_ms, s.session
                 FROM (SELECT *, raised / 86400000000 day FROM holds) s
                 LEFT JOIN rulings r ON r.hold = s.id LEFT JOIN keys k ON k.id = r.approver {}
                 WHERE {IN_DAYS} AND {narrowed} AND (?7 IS NULL OR k.text = ?7)
                 ORDER BY s.raised DESC, s.id DESC, r.at LIMIT ?8",
                who("s")
            ),
            hold,
        ),
    };
    let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::Text);
    let number = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let values = [
        number(days.first),
        number(days.last),
        days.namespace.map_or(Value::Null, Value::Integer),
        text(&question.identity),
        text(&question.target),
        text(&question.label),
        text(&question.approver),
        number(u64::try_from(question.rows() + 1).unwrap_or(u64::MAX)),
    ];
    let mut select = reader.prepare(&sql)?;
    let rows = select.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn who(row: &Row<'_>, from: usize) -> rusqlite::Result<Vec<String>> {
    Ok(vec![row.get(from)?, row.get(from + 1)?, row.get(from + 2)?])
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let micros: Option<u64> = row.get(column)?;
    Ok(micros.map_or_else(String::new, shown))
}

fn shown(micros: u64) -> String {
    Timestamp::from_micros(micros).to_string()
}

fn named(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let mut cells = who(row, 0)?;
    cells.push(row.get(3)?);
    for column in 4..7 {
        cells.push(sum(row, column)?.to_string());
    }
    cells.push(time(row, 7)?);
    Ok(cells)
}

fn ruled(row: &Row<'_>, sums: usize) -> rusqlite::Result<Vec<String>> {
    let mut cells = who(row, 0)?;
    let (policy, rule) = rule_name(&row.get::<_, String>(3)?);
    let revision: i64 = row.get(4)?;
    cells.extend([policy, rule, revision.cast_unsigned().to_string()]);
    for column in 5..5 + sums {
        cells.push(sum(row, column)?.to_string());
    }
    cells.push(time(row, 8)?);
    Ok(cells)
}

fn blocked(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    ruled(row, 3)
}

fn masked(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    ruled(row, 1)
}

fn hold(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let mut cells = vec![time(row, 0)?, row.get(1)?];
    cells.extend(who(row, 2)?);
    for column in 5..10 {
        cells.push(row.get(column)?);
    }
    cells.extend([time(row, 10)?, row.get(11)?, row.get(12)?]);
    let waited: Option<u64> = row.get(13)?;
    cells.push(waited.map_or_else(String::new, |waited| waited.to_string()));
    let session: i64 = row.get(14)?;
    cells.push(SessionId::new(session.cast_unsigned()).to_string());
    Ok(cells)
}

type Table = (&'static [&'static str], Vec<Vec<String>>);

/// Events of a kind in the days that are asked for, newest first, until `take` has enough.
fn scan(
    collector: &Collector,
    question: &Question,
    kind: &str,
    take: &mut dyn FnMut(Event) -> bool,
) -> Result<(), CollectorError> {
    let day = |time: Timestamp| crate::store::parts::day_of(time);
    let mut filter = Filter {
        kind: Some(kind.to_owned()),
        since: question.since.map(|since| begin_of(day(since))),
        until: question.until.map(|until| {
            let last = Timestamp::from_micros(until.as_micros().saturating_sub(1));
            begin_of(day(last).saturating_add(1))
        }),
        limit: Some(MAX_ROWS),
        ..Filter::default()
    };
    loop {
        let page = collector.query(&filter)?;
        for event in page.events {
            if !take(event) {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => filter.cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn reads(collector: &Collector, question: &Question) -> Result<Table, CollectorError> {
    let mut rows = Vec::new();
    scan(collector, question, "evidence_read", &mut |event| {
        // The collector alone knows who reads; older stores may hold what a sidecar said.
        if let Body::EvidenceRead(read) = &event.body
            && collector.is_own(&event.id.engine)
            && question
                .identity
                .as_deref()
                .is_none_or(|reader| *read.reader == *reader)
        {
            let maybe =
                |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
            rows.push(vec![
                event.time.to_string(),
                read.reader.to_string(),
                maybe(&read.address),
                read.path.to_string(),
                read.query.to_string(),
                maybe(&read.namespace),
            ]);
        }
        rows.len() <= question.rows()
    })?;
    Ok((columns(About::WhoReadEvidence), rows))
}

/// A change is many events: one of each engine. They are one row.
fn changes(collector: &Collector, question: &Question) -> Result<Table, CollectorError> {
    struct Change {
        first: Timestamp,
        last: Timestamp,
        engines: HashSet<String>,
    }
    let mut changes: HashMap<(u64, String, String), Change> = HashMap::new();
    let mut left = MOST_CHANGES;
    scan(collector, question, "policy_changed", &mut |event| {
        if let Body::PolicyChanged(changed) = &event.body {
            let refused = changed.refused.as_deref().unwrap_or_default();
            let what = (changed.revision, changed.digest.to_string(), refused.into());
            let change = changes.entry(what).or_insert_with(|| Change {
                first: event.time,
                last: event.time,
                engines: HashSet::new(),
            });
            change.first = change.first.min(event.time);
            change.last = change.last.max(event.time);
            change.engines.insert(event.id.engine.to_string());
        }
        left -= 1;
        left > 0
    })?;
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by(|(a, one), (b, other)| (other.last, b).cmp(&(one.last, a)));
    let rows = changes
        .into_iter()
        .map(|((revision, digest, refused), at)| {
            vec![
                at.first.to_string(),
                at.last.to_string(),
                revision.to_string(),
                digest,
                at.engines.len().to_string(),
                refused,
            ]
        });
    Ok((columns(About::PolicyChanges), rows.collect()))
}
