//! How many rows the server expects of a statement that has not run: `EXPLAIN` without ANALYZE, over the
//! client's session, invisible to the client.
//!
//! Invariants: it is asked only while the server owes nothing and no transaction is open, so that a
//! failure changes nothing for the client; in a transaction of its own that cannot write, under a timeout
//! of the server's. Whatever goes wrong leaves the estimate out, and releases nothing.
//! It refuses to guess: a statement with parameters that were cut has no estimate.

use weir_audit::Value;

use super::session::{Session, SessionEnd};
use super::statement::Active;

const NAME: &[u8] = b"weir_estimate";
/// Planning that takes longer than this many milliseconds tells nothing. The transaction cannot write:
/// planning may run functions.
const GUARDS: &[u8] = b"SELECT pg_catalog.set_config('statement_timeout', '2000', true), \
    pg_catalog.set_config('transaction_read_only', 'on', true)";
/// What can be explained.
const EXPLAINED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];

impl Session {
    /// How many rows the server expects; none where it cannot be asked now, or does not say.
    pub(super) async fn estimate(&mut self, active: &Active) -> Result<Option<u64>, SessionEnd> {
        let Some(text) = explained(active) else {
            return Ok(None);
        };
        // It would be sent as Weir reads it.
        if !text.is_ascii() && !self.encodings.is_utf8() {
            return Ok(None);
        }
        let owes = !self.pending.is_empty();
        if owes || self.status != b'I' || self.batch_open || self.server.eof {
            return Ok(None);
        }
        let values: Vec<_> = active.parameters().iter().map(bound).collect();
        let questions = [(GUARDS, &[][..]), (text.as_bytes(), values.as_slice())];
        let Ok(rows) = self.ask_server(NAME, &questions).await? else {
            return Ok(None);
        };
        let plan: String = rows
            .tables
            .get(1)
            .into_iter()
            .flatten()
            .filter_map(|row| row.first()?.as_deref())
            .collect();
        Ok(expected(&plan))
    }
}

/// The question about a statement that stands alone.
fn explained(active: &Active) -> Option<String> {
    if active.parameters_are_cut() {
        return None;
    }
    let statement = active.whole_statement()?;
    let text = active.text().trim_end().trim_end_matches(';');
    EXPLAINED
        .contains(&statement.tag)
        .then(|| format!("EXPLAIN (FORMAT JSON) {text}"))
}

/// A value as it is bound, and whether it is binary.
fn bound(value: &Value) -> (Option<&[u8]>, bool) {
    match value {
        Value::Null => (None, false),
        Value::Text(text) => (Some(text.as_bytes()), false),
        Value::Binary(bytes) => (Some(bytes), true),
    }
}

/// The rows at the top of a plan; of a change, those that it changes.
fn expected(plan: &str) -> Option<u64> {
    let plan: serde_json::Value = serde_json::from_str(plan).ok()?;
    let mut node = plan.pointer("/0/Plan")?;
    if node.get("Node Type")?.as_str()? == "ModifyTable" {
        node = node.pointer("/Plans/0").unwrap_or(node);
    }
    let rows = node.get("Plan Rows")?;
    rows.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_plan_says_how_many_rows_are_expected() {
        let select = r#"[{"Plan": {"Node Type": "Limit", "Plan Rows": 10, "Plans": [
            {"Node Type": "Seq Scan", "Plan Rows": 120000}]}}]"#;
        assert_eq!(expected(select), Some(10));
        let delete = r#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [
            {"Node Type": "Seq Scan", "Plan Rows": 512}]}}]"#;
        assert_eq!(expected(delete), Some(512));
        for odd in [
            "",
            "[]",
            "{}",
            r#"[{"Plan": {"Node Type": "Result"}}]"#,
            "not json",
        ] {
            assert_eq!(expected(odd), None, "{odd}");
        }
    }

    #[test]
    fn values_are_bound_as_they_came() {
        assert_eq!(bound(&Value::Null), (None, false));
        assert_eq!(bound(&Value::text(b"7")), (Some(&b"7"[..]), false));
        assert_eq!(
            bound(&Value::Binary([0, 7].into())),
            (Some(&[0, 7][..]), true)
        );
    }
}
