//! The overview: what happened per day, identity, target, label and rule, from the sums alone.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use weir_audit::Timestamp;

use super::keys::Kind;
use super::rollup::{begin_of, day_of};
use super::{Collector, CollectorError};

/// Rows of a list for people.
const MOST: usize = 200;

/// What happened in a range of days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// By identity and target, most bytes first; at most 200, in a report 10,000.
    pub traffic: Vec<Traffic>,
    /// Whether there is more traffic than that.
    #[serde(default)]
    pub more_traffic: bool,
    /// Days on which something happened, oldest first.
    pub days: Vec<Day>,
    /// Labelled data that was read, per day, oldest first.
    pub labelled: Vec<LabelDay>,
    /// What became of holds.
    pub holds: HoldTotals,
    /// Findings by code, most first.
    pub findings: Vec<FindingCount>,
    /// Rules that denied, held or masked something, or would have; most first, at most 200, in a report 10,000.
    pub policies: Vec<PolicyCount>,
    /// Whether there are more rules than that.
    #[serde(default)]
    pub more_policies: bool,
}

/// One identity's traffic to one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Name of the identity.
    pub identity: String,
    /// Name of the target; empty for connections that match none.
    pub target: String,
    /// Statements finished.
    pub statements: u64,
    /// Rows that clients received.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// Statements denied by policy.
    pub denials: u64,
    /// Holds raised.
    pub holds: u64,
}

/// One day, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// `2026-11-27`.
    pub day: String,
    /// Statements finished.
    pub statements: u64,
    /// Rows that clients received.
    pub rows: u64,
    /// Statements denied by policy.
    pub denials: u64,
    /// Holds raised.
    pub holds: u64,
    /// Findings.
    pub findings: u64,
}

/// Rows of statements that touched data of a label, on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelDay {
    /// `2026-11-27`, UTC.
    pub day: String,
    /// The label.
    pub label: String,
    /// Rows that clients received.
    pub rows: u64,
    /// Those of them with at least one column masked.
    pub masked: u64,
}

/// What became of holds that were raised in the range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldTotals {
    /// Raised.
    pub raised: u64,
    /// Approved.
    pub approved: u64,
    /// Denied by a person.
    pub denied: u64,
    /// Not decided in time.
    pub expired: u64,
    /// The client left, or the engine stopped, or another request took its place.
    pub withdrawn: u64,
    /// How long half of those that ended waited at most, in milliseconds; absent when none ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_wait_ms: Option<u64>,
}

/// How often something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCount {
    /// As in events.
    pub code: String,
    /// How often.
    pub count: u64,
    /// The last time.
    pub last: Timestamp,
}

/// What a rule did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyCount {
    /// The policy; empty where no rule decided.
    pub policy: String,
    /// Its rule.
    pub rule: String,
    /// Statements and connections denied.
    pub denied: u64,
    /// Statements held.
    pub held: u64,
    /// Statements whose result was masked.
    pub masked: u64,
    /// Statements that would have been denied under `Enforce`.
    pub would_deny: u64,
}

/// Which days, and of which namespace; a part of the SQL that reads sums.
pub(crate) struct Days {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// `None`: all.
    pub(crate) namespace: Option<i64>,
}

/// The condition that goes with [`Days`] as `?1` to `?3`.
pub(crate) const IN_DAYS: &str = "s.day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR s.namespace = ?3)";

impl Days {
    /// The whole days from that of `since` to that of the last instant before `until`. `None` if
    /// nobody of that namespace was ever seen.
    pub(crate) fn new(
        reader: &Connection,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        namespace: Option<&str>,
    ) -> Result<Option<Self>, CollectorError> {
        let namespace = match namespace {
            None => None,
            Some(name) => match key(reader, Kind::Namespace, name)? {
                None => return Ok(None),
                number => number,
            },
        };
        let last = until.map_or(i64::MAX.unsigned_abs(), |until| {
            day_of(Timestamp::from_micros(until.as_micros().saturating_sub(1)))
        });
        Ok(Some(Self {
            first: since.map_or(0, day_of),
            last,
            namespace,
        }))
    }
}

/// The number of a key, if it was ever seen.
pub(super) fn key(
    reader: &Connection,
    kind: Kind,
    text: &str,
) -> Result<Option<i64>, CollectorError> {
    let number = reader
        .prepare("SELECT id FROM keys WHERE kind = ?1 AND text = ?2")?
        .query_row(params![kind as u8, text], |row| row.get(0))
        .optional()?;
    Ok(number)
}

/// `2026-11-27`.
pub(crate) fn day_name(day: u64) -> String {
    let time = begin_of(day).to_string();
    match time.split_once('T') {
        Some((date, _)) => date.to_owned(),
        None => time,
    }
}

/// `policy/rule` apart.
pub(crate) fn rule_name(text: &str) -> (String, String) {
    let (policy, rule) = text.split_once('/').unwrap_or((text, ""));
    (policy.to_owned(), rule.to_owned())
}

impl Collector {
    /// What happened from `since` until before `until`, whole days in UTC; with a `namespace`, in
    /// sessions of its identities only.
    ///
    /// # Errors
    /// When the store failed.
    pub fn overview(
        &self,
        since: Timestamp,
        until: Timestamp,
        namespace: Option<&str>,
    ) -> Result<Overview, CollectorError> {
        self.overview_of((since, until), namespace, MOST)
    }

    /// The same with `most` rows of each list.
    pub(crate) fn overview_of(
        &self,
        (since, until): (Timestamp, Timestamp),
        namespace: Option<&str>,
        most: usize,
    ) -> Result<Overview, CollectorError> {
        if let Some(far) = self.far() {
            return far.overview((since, until), namespace, most);
        }
        // One snapshot for all pictures.
        let reader = self.counted()?;
        let Some(days) = Days::new(&reader, Some(since), Some(until), namespace)? else {
            return Ok(Overview::default());
        };
        let (traffic, more_traffic) = cut(traffic(&reader, &days, most)?, most);
        let (policies, more_policies) = cut(policies(&reader, &days, most)?, most);
        Ok(Overview {
            traffic,
            more_traffic,
            days: by_day(&reader, &days)?,
            labelled: labelled(&reader, &days)?,
            holds: holds(&reader, &days)?,
            findings: findings(&reader, &days)?,
            policies,
            more_policies,
        })
    }
}

/// At most so many rows of a list, and whether there are more.
pub(crate) fn cut<T>(mut rows: Vec<T>, most: usize) -> (Vec<T>, bool) {
    let more = rows.len() > most;
    rows.truncate(most);
    (rows, more)
}

/// Sums are floating point in SQL, so that whatever was claimed they do not overflow.
pub(crate) fn sum(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let sum: f64 = row.get(column)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and sums are not negative"
    )]
    let sum = sum as u64;
    Ok(sum)
}

pub(super) fn list<T>(
    reader: &Connection,
    sql: &str,
    days: &Days,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, CollectorError> {
    let mut select = reader.prepare(sql)?;
    let rows = select.query_map(params![days.first, days.last, days.namespace], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One more than `most` tells that there are more.
fn traffic(reader: &Connection, days: &Days, most: usize) -> Result<Vec<Traffic>, CollectorError> {
    let rows = most.saturating_add(1);
    let sql = format!(
        "SELECT i.text, coalesce(t.text, ''), a, b, c, d, e FROM (SELECT s.identity, s.target,
           total(s.statements) a, total(s.rows) b, total(s.bytes) c, total(s.denials) d,
           total(s.holds) e FROM daily s WHERE {IN_DAYS} GROUP BY s.identity, s.target
           ORDER BY c DESC, a DESC LIMIT {rows}) x
         JOIN keys i ON i.id = x.identity LEFT JOIN keys t ON t.id = x.target
         ORDER BY c DESC, a DESC, 1, 2"
    );
    list(reader, &sql, days, |row| {
        Ok(Traffic {
            identity: row.get(0)?,
            target: row.get(1)?,
            statements: sum(row, 2)?,
            rows: sum(row, 3)?,
            bytes: sum(row, 4)?,
            denials: sum(row, 5)?,
            holds: sum(row, 6)?,
        })
    })
}

fn by_day(reader: &Connection, days: &Days) -> Result<Vec<Day>, CollectorError> {
    let sql = format!(
        "SELECT day, total(a), total(b), total(c), total(d), total(e) FROM (
           SELECT s.day, s.statements a, s.rows b, s.denials c, s.holds d, 0 e
             FROM daily s WHERE {IN_DAYS}
           UNION ALL SELECT s.day, 0, 0, 0, 0, s.count FROM daily_findings s WHERE {IN_DAYS})
         GROUP BY day ORDER BY day"
    );
    list(reader, &sql, days, |row| {
        Ok(Day {
            day: day_name(row.get(0)?),
            statements: sum(row, 1)?,
            rows: sum(row, 2)?,
            denials: sum(row, 3)?,
            holds: sum(row, 4)?,
            findings: sum(row, 5)?,
        })
    })
}

fn labelled(reader: &Connection, days: &Days) -> Result<Vec<LabelDay>, CollectorError> {
    let sql = format!(
        "SELECT x.day, k.text, a, b FROM (SELECT s.day, s.label, total(s.rows) a,
           total(s.masked) b FROM daily_labels s WHERE {IN_DAYS} GROUP BY s.day, s.label) x
         JOIN keys k ON k.id = x.label ORDER BY x.day, k.text"
    );
    list(reader, &sql, days, |row| {
        Ok(LabelDay {
            day: day_name(row.get(0)?),
            label: row.get(1)?,
            rows: sum(row, 2)?,
            masked: sum(row, 3)?,
        })
    })
}

fn holds(reader: &Connection, days: &Days) -> Result<HoldTotals, CollectorError> {
    let times = params![
        begin_of(days.first)
            .as_micros()
            .min(i64::MAX.unsigned_abs()),
        begin_of(days.last.saturating_add(1))
            .as_micros()
            .min(i64::MAX.unsigned_abs()),
        days.namespace
    ];
    const THESE: &str =
        "FROM holds s WHERE s.raised >= ?1 AND s.raised < ?2 AND (?3 IS NULL OR s.namespace = ?3)";
    let mut totals = HoldTotals::default();
    let mut select = reader.prepare(&format!(
        "SELECT s.closing, count(*) {THESE} GROUP BY s.closing"
    ))?;
    let mut rows = select.query(times)?;
    let mut ended = 0;
    while let Some(row) = rows.next()? {
        let (closing, count): (Option<String>, u64) = (row.get(0)?, row.get(1)?);
        totals.raised += count;
        let Some(closing) = closing else { continue };
        ended += count;
        match closing.as_str() {
            "approved" => totals.approved += count,
            "denied" => totals.denied += count,
            "expired" => totals.expired += count,
            _ => totals.withdrawn += count,
        }
    }
    if ended > 0 {
        let middle = (ended - 1) / 2;
        let sql = format!(
            "SELECT s.held_ms {THESE} AND s.closing IS NOT NULL
             ORDER BY s.held_ms LIMIT 1 OFFSET {middle}"
        );
        totals.median_wait_ms = reader.query_row(&sql, times, |row| row.get(0)).optional()?;
    }
    Ok(totals)
}

fn findings(reader: &Connection, days: &Days) -> Result<Vec<FindingCount>, CollectorError> {
    let sql = format!(
        "SELECT s.code, total(s.count), max(s.last) FROM daily_findings s WHERE {IN_DAYS}
         GROUP BY s.code ORDER BY 2 DESC, 1"
    );
    list(reader, &sql, days, |row| {
        Ok(FindingCount {
            code: row.get(0)?,
            count: sum(row, 1)?,
            last: Timestamp::from_micros(row.get(2)?),
        })
    })
}

fn policies(
    reader: &Connection,
    days: &Days,
    most: usize,
) -> Result<Vec<PolicyCount>, CollectorError> {
    let rows = most.saturating_add(1);
    let sql = format!(
        "SELECT coalesce(k.text, ''), a, b, c, d FROM (SELECT s.rule, total(s.denied) a,
           total(s.held) b, total(s.masked) c, total(s.would_deny) d FROM daily_rules s
           WHERE {IN_DAYS} GROUP BY s.rule ORDER BY a + b + c + d DESC LIMIT {rows}) x
         LEFT JOIN keys k ON k.id = x.rule ORDER BY a + b + c + d DESC, 1"
    );
    list(reader, &sql, days, |row| {
        let (policy, rule) = rule_name(&row.get::<_, String>(0)?);
        Ok(PolicyCount {
            policy,
            rule,
            denied: sum(row, 1)?,
            held: sum(row, 2)?,
            masked: sum(row, 3)?,
            would_deny: sum(row, 4)?,
        })
    })
}
