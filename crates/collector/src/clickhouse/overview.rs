//! The overview, from the sums.

use serde::Deserialize;
use weir_audit::Timestamp;

use super::{ClickHouse, Values};
use crate::store::parts::{begin_of, cut, day_name, day_of, rule_name};
use crate::{
    CollectorError, Day, FindingCount, HoldTotals, LabelDay, Overview, PolicyCount, Traffic,
};

const IN_DAYS: &str = "day BETWEEN {first:UInt32} AND {last:UInt32}
  AND ({all:UInt8} OR namespace = {namespace:String})";

/// Each hold in a row.
pub(super) const HOLDS: &str = "SELECT engine, request,
  minIf(time, kind = 'access_request_created') raised,
  anyIf(session, kind = 'access_request_created') of_session,
  anyIf(identity, kind = 'access_request_created') of_identity,
  anyIf(namespace, kind = 'access_request_created') of_namespace,
  anyIf(target, kind = 'access_request_created') of_target,
  anyIf(text, kind = 'access_request_created') statement,
  anyIf(rules, kind = 'access_request_created') of_rules,
  anyIf(labels, kind = 'access_request_created') of_labels,
  maxIf(closing, kind = 'access_request_closed') closed,
  maxIf(held_ms, kind = 'access_request_closed') waited,
  arraySort(r -> r.2, groupArrayIf((approver, time, ruling, reason), kind = 'access_request_decided')) rulings
  FROM (SELECT * FROM requests FINAL) GROUP BY engine, request
  HAVING countIf(kind = 'access_request_created') > 0";

/// The last day that a table of days can have.
const LAST_DAY: u64 = 0xffff_ffff;

/// Values of [`IN_DAYS`].
pub(super) fn days(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    namespace: Option<&str>,
) -> Values {
    let last = until.map_or(LAST_DAY, |until| {
        day_of(Timestamp::from_micros(until.as_micros().saturating_sub(1)))
    });
    let first = since.map_or(0, day_of);
    let mut values = Values::default();
    values.set("first", first.min(LAST_DAY));
    values.set("last", last.min(LAST_DAY));
    values.set("begin", begin_of(first).as_micros());
    values.set("end", begin_of(last.saturating_add(1)).as_micros());
    values.set("all", u8::from(namespace.is_none()));
    values.set("namespace", namespace.unwrap_or_default());
    values
}

#[derive(Deserialize)]
struct DayRow {
    day: u64,
    statements: u64,
    rows: u64,
    denials: u64,
    holds: u64,
    findings: u64,
}

#[derive(Deserialize)]
struct LabelRow {
    day: u64,
    name: String,
    rows: u64,
    other: u64,
}

#[derive(Deserialize)]
struct HoldRow {
    closed: String,
    count: u64,
}

#[derive(Deserialize)]
struct Median {
    median: u64,
}

#[derive(Deserialize)]
struct FindingRow {
    code: String,
    count: u64,
    last: u64,
}

#[derive(Deserialize)]
struct RuleRow {
    rule: String,
    denied: u64,
    held: u64,
    masked: u64,
    would_deny: u64,
}

impl ClickHouse {
    /// What happened in whole days, `most` rows of each list.
    pub(crate) fn overview(
        &self,
        (since, until): (Timestamp, Timestamp),
        namespace: Option<&str>,
        most: usize,
    ) -> Result<Overview, CollectorError> {
        // One more tells that there are more.
        let limit = most.saturating_add(1);
        let values = days(Some(since), Some(until), namespace);
        let traffic: Vec<Traffic> = self.rows(
            &format!(
                "SELECT identity, target, sum(statements) statements, sum(rows) rows,
                 sum(bytes) bytes, sum(denials) denials, sum(holds) holds FROM daily
                 WHERE {IN_DAYS} GROUP BY identity, target
                 ORDER BY bytes DESC, statements DESC, identity, target LIMIT {limit}"
            ),
            &values,
        )?;
        let by_day: Vec<DayRow> = self.rows(
            &format!(
                "SELECT day, sum(a) statements, sum(b) rows, sum(c) denials, sum(d) holds,
                 sum(e) findings FROM (
                   SELECT day, statements a, rows b, denials c, holds d, 0 e FROM daily WHERE {IN_DAYS}
                   UNION ALL SELECT day, 0, 0, 0, 0, count FROM daily_findings WHERE {IN_DAYS})
                 GROUP BY day ORDER BY day"
            ),
            &values,
        )?;
        let labelled: Vec<LabelRow> = self.rows(
            &format!(
                "SELECT day, name, sum(d.rows) rows, sum(d.other) other FROM daily_labels d
                 WHERE {IN_DAYS} GROUP BY day, name ORDER BY day, name"
            ),
            &values,
        )?;
        let findings: Vec<FindingRow> = self.rows(
            &format!(
                "SELECT code, sum(d.count) count, max(d.last) last FROM daily_findings d
                 WHERE {IN_DAYS} GROUP BY code ORDER BY count DESC, code"
            ),
            &values,
        )?;
        let policies: Vec<RuleRow> = self.rows(
            &format!(
                "SELECT rule, sum(d.denied) denied, sum(d.held) held, sum(d.masked) masked,
                 sum(d.would_deny) would_deny FROM daily_rules d WHERE {IN_DAYS} GROUP BY rule
                 ORDER BY denied + held + masked + would_deny DESC, rule LIMIT {limit}"
            ),
            &values,
        )?;
        let (traffic, more_traffic) = cut(traffic, most);
        let (policies, more_policies) = cut(policies, most);
        Ok(Overview {
            traffic,
            more_traffic,
            days: by_day
                .into_iter()
                .map(|row| Day {
                    day: day_name(row.day),
                    statements: row.statements,
                    rows: row.rows,
                    denials: row.denials,
                    holds: row.holds,
                    findings: row.findings,
                })
                .collect(),
            labelled: labelled
                .into_iter()
                .map(|row| LabelDay {
                    day: day_name(row.day),
                    label: row.name,
                    rows: row.rows,
                    masked: row.other,
                })
                .collect(),
            holds: self.holds(&values)?,
            findings: findings
                .into_iter()
                .map(|row| FindingCount {
                    code: row.code,
                    count: row.count,
                    last: Timestamp::from_micros(row.last),
                })
                .collect(),
            policies: policies
                .into_iter()
                .map(|row| {
                    let (policy, rule) = rule_name(&row.rule);
                    PolicyCount {
                        policy,
                        rule,
                        denied: row.denied,
                        held: row.held,
                        masked: row.masked,
                        would_deny: row.would_deny,
                    }
                })
                .collect(),
            more_policies,
        })
    }

    fn holds(&self, values: &Values) -> Result<HoldTotals, CollectorError> {
        let these = format!(
            "FROM ({HOLDS}) WHERE raised >= {{begin:UInt64}} AND raised < {{end:UInt64}}
             AND ({{all:UInt8}} OR of_namespace = {{namespace:String}})"
        );
        let rows: Vec<HoldRow> = self.rows(
            &format!("SELECT closed, count() count {these} GROUP BY closed"),
            values,
        )?;
        let mut totals = HoldTotals::default();
        let mut ended = 0;
        for HoldRow { closed, count } in rows {
            totals.raised += count;
            ended += if closed.is_empty() { 0 } else { count };
            match closed.as_str() {
                "" => {}
                "approved" => totals.approved += count,
                "denied" => totals.denied += count,
                "expired" => totals.expired += count,
                _ => totals.withdrawn += count,
            }
        }
        if ended > 0 {
            let sql =
                format!("SELECT quantileExactLow(0.5)(waited) median {these} AND closed != ''");
            let median: Vec<Median> = self.rows(&sql, values)?;
            totals.median_wait_ms = median.first().map(|row| row.median);
        }
        Ok(totals)
    }
}
