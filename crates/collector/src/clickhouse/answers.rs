//! Questions, from the sums and from the table of access requests.

use serde::Deserialize;
use weir_api::abridged;
use weir_audit::{SessionId, Timestamp};

use super::overview::{HOLDS, days};
use super::{ClickHouse, Values};
use crate::store::parts::{SHOWN, rule_name};
use crate::{About, CollectorError, Question};

#[derive(Deserialize)]
struct Named {
    identity: String,
    namespace: String,
    target: String,
    name: String,
    a: u64,
    b: u64,
    c: u64,
    newest: u64,
}

#[derive(Deserialize)]
struct Ruled {
    identity: String,
    namespace: String,
    target: String,
    rule: String,
    revision: u64,
    a: u64,
    b: u64,
    c: u64,
    newest: u64,
}

#[derive(Deserialize)]
struct Hold {
    raised: u64,
    request: String,
    of_session: u64,
    of_identity: String,
    of_namespace: String,
    of_target: String,
    statement: String,
    of_rules: Vec<String>,
    of_labels: Vec<String>,
    closed: String,
    waited: u64,
    approver: String,
    at: u64,
    ruling: String,
    reason: String,
}

fn narrowed(question: &Question, values: &mut Values, prefix: &str) -> String {
    let mut sql = String::new();
    for (column, name, value) in [
        ("identity", "identity", &question.identity),
        ("target", "target", &question.target),
    ] {
        if let Some(value) = value {
            sql.push_str(&format!(" AND {prefix}{column} = {{{name}:String}}"));
            values.set(name, value);
        }
    }
    sql
}

fn shown(micros: u64) -> String {
    Timestamp::from_micros(micros).to_string()
}

impl ClickHouse {
    /// Rows of an answer from sums; one more than are asked for, if there are.
    pub(crate) fn table(&self, question: &Question) -> Result<Vec<Vec<String>>, CollectorError> {
        match question.about {
            About::WhoReadLabel => self.named(question, "daily_labels"),
            About::WhatDidIdentityTouch => self.named(question, "daily_tables"),
            About::WhatWasBlocked => self.ruled(
                question,
                "sum(d.denied) a, sum(d.held) b, sum(d.would_deny) c",
                "d.denied + d.held + d.would_deny > 0",
                3,
            ),
            About::WhatWasMasked => self.ruled(
                question,
                "sum(d.masked) a, toUInt64(0) b, toUInt64(0) c",
                "d.masked > 0",
                1,
            ),
            About::HoldsByApprover
            | About::PolicyChanges
            | About::WhoReadEvidence
            | About::WhoWasCutOff => self.rulings(question),
        }
    }

    fn values(question: &Question) -> Values {
        let mut values = days(
            question.since,
            question.until,
            question.namespace.as_deref(),
        );
        values.set("limit", question.rows() + 1);
        values
    }

    fn named(&self, question: &Question, table: &str) -> Result<Vec<Vec<String>>, CollectorError> {
        let mut values = Self::values(question);
        let mut fits = narrowed(question, &mut values, "");
        if let Some(label) = &question.label {
            let start = label.strip_suffix('*');
            fits.push_str(match start {
                Some(_) => " AND startsWith(name, {label:String})",
                None => " AND name = {label:String}",
            });
            values.set("label", start.unwrap_or(label));
        }
        let rows: Vec<Named> = self.rows(
            &format!(
                "SELECT identity, namespace, target, name, sum(d.statements) a, sum(d.rows) b,
                 sum(d.other) c, max(d.last) newest FROM {table} d
                 WHERE day BETWEEN {{first:UInt32}} AND {{last:UInt32}}
                 AND ({{all:UInt8}} OR namespace = {{namespace:String}}) {fits}
                 GROUP BY identity, namespace, target, name
                 ORDER BY b DESC, a DESC, newest DESC LIMIT {{limit:UInt64}}"
            ),
            &values,
        )?;
        let rows = rows.into_iter().map(|row| {
            vec![
                row.identity,
                row.namespace,
                row.target,
                row.name,
                row.a.to_string(),
                row.b.to_string(),
                row.c.to_string(),
                shown(row.newest),
            ]
        });
        Ok(rows.collect())
    }

    fn ruled(
        &self,
        question: &Question,
        sums: &str,
        some: &str,
        columns: usize,
    ) -> Result<Vec<Vec<String>>, CollectorError> {
        let mut values = Self::values(question);
        let fits = narrowed(question, &mut values, "");
        let rows: Vec<Ruled> = self.rows(
            &format!(
                "SELECT identity, namespace, target, rule, revision, {sums}, max(d.last) newest
                 FROM daily_rules AS d FINAL WHERE day BETWEEN {{first:UInt32}} AND {{last:UInt32}}
                 AND ({{all:UInt8}} OR namespace = {{namespace:String}}) AND {some} {fits}
                 GROUP BY identity, namespace, target, rule, revision
                 ORDER BY a + b + c DESC, newest DESC LIMIT {{limit:UInt64}}"
            ),
            &values,
        )?;
        let rows = rows.into_iter().map(|row| {
            let (policy, rule) = rule_name(&row.rule);
            let mut cells = vec![row.identity, row.namespace, row.target, policy, rule];
            cells.push(row.revision.to_string());
            let sums = [row.a, row.b, row.c];
            cells.extend(sums.iter().take(columns).map(u64::to_string));
            cells.push(shown(row.newest));
            cells
        });
        Ok(rows.collect())
    }

    fn rulings(&self, question: &Question) -> Result<Vec<Vec<String>>, CollectorError> {
        let mut values = Self::values(question);
        let mut fits = narrowed(question, &mut values, "of_");
        if let Some(approver) = &question.approver {
            fits.push_str(" AND approver = {approver:String}");
            values.set("approver", approver);
        }
        let rows: Vec<Hold> = self.rows(
            &format!(
                "SELECT raised, request, of_session, of_identity, of_namespace, of_target, statement,
                 of_rules, of_labels, closed, waited, one.1 approver, one.2 at, one.3 ruling,
                 one.4 reason FROM ({HOLDS}) LEFT ARRAY JOIN rulings AS one
                 WHERE raised >= {{begin:UInt64}} AND raised < {{end:UInt64}}
                 AND ({{all:UInt8}} OR of_namespace = {{namespace:String}}) {fits}
                 ORDER BY raised DESC, request DESC, at LIMIT {{limit:UInt64}}"
            ),
            &values,
        )?;
        let rows = rows.into_iter().map(|row| {
            let ended = !row.closed.is_empty();
            vec![
                shown(row.raised),
                row.request,
                row.of_identity,
                row.of_namespace,
                row.of_target,
                abridged(&row.statement, SHOWN),
                row.of_labels.join(", "),
                row.of_rules.join(", "),
                row.approver,
                row.ruling,
                if row.at == 0 {
                    String::new()
                } else {
                    shown(row.at)
                },
                row.reason,
                row.closed,
                if ended {
                    row.waited.to_string()
                } else {
                    String::new()
                },
                SessionId::new(row.of_session).to_string(),
            ]
        });
        Ok(rows.collect())
    }
}
