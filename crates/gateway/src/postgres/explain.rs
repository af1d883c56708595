//! What would be decided, without a database: for `weir explain`.

use std::sync::Arc;

use weir_policy::{Bundle, Decision, NoCounters, Protocol, Subject};
use weir_sql::{Analysis, LexSettings};

use super::catalog::{Catalog, Pins, QUERIES, Rows};
use super::operation::{Earlier, Judged, View};
use crate::explain::scope_of;
use crate::millis;

/// The decision on each statement of `sql`, with its text. Columns are those that the statement and
/// the labels name: there is no database to ask.
///
/// # Errors
/// The text cannot be judged, the target is unknown or of another protocol, or no policy selects subject and target.
pub fn explain(
    bundle: &Bundle,
    subject: &Subject,
    target: &str,
    sql: &str,
) -> Result<Vec<(String, Decision)>, String> {
    let now = millis();
    let scope = scope_of(bundle, subject, (target, Protocol::PostgreSQL), now)?;
    let script = match weir_sql::analyze(sql, &LexSettings::default()) {
        Analysis::Parsed(script) => script,
        Analysis::SyntaxError(error) => return Err(error.message),
        Analysis::Opaque(reason) => return Err(reason.to_string()),
    };
    let catalog = imagined(sql, &script, &Arc::clone(scope.labels()))?;
    let mut decisions = Vec::new();
    let mut earlier = Earlier::default();
    for statement in &script.statements {
        let view = View {
            catalog: Some(&catalog),
            earlier: &earlier,
        };
        let judged = Judged::new(statement, &[], &view);
        let decision = judged.operation(|op| scope.decide(op, &NoCounters, now));
        let text = sql.get(statement.range.clone()).unwrap_or(sql);
        decisions.push((text.trim().to_owned(), decision));
        earlier.add(&judged.leaves);
    }
    Ok(decisions)
}

/// A catalog in which every relation that is named has every column that is named.
fn imagined(
    sql: &str,
    script: &weir_sql::Script,
    labels: &weir_policy::LabelRules,
) -> Result<Catalog, String> {
    let mut words: Vec<String> = sql
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut columns = Vec::new();
    let mut oid = super::catalog::FIRST_USER_OID;
    let mut seen = Vec::new();
    for relation in script
        .statements
        .iter()
        .flat_map(|statement| &statement.relations)
    {
        if seen.contains(&relation) {
            continue;
        }
        seen.push(relation);
        oid += 1;
        for (number, word) in words.iter().enumerate() {
            let cell = |text: &str| Some(Box::<str>::from(text));
            columns.push(vec![
                cell(&oid.to_string()),
                cell(relation.schema.as_deref().unwrap_or("public")),
                cell(&relation.name),
                cell(&(number + 1).to_string()),
                cell(word),
            ]);
        }
    }
    let mut rows = Rows {
        tables: vec![columns],
    };
    rows.tables.resize_with(QUERIES.len(), Vec::new);
    Catalog::build(&rows, labels, &mut Pins::default())
}
