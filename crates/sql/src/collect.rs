//! Whether a statement may put many records into one row.
//!
//! Aggregates that collect are known by name, and so is an array of a subquery. Recursion can collect
//! whatever it likes. A row that is picked together from many places shows in how often it picks.

use crate::{FunctionRef, Statement};

/// So many picks in one statement that its rows are no rows of a table any more.
pub(crate) const PICKS: usize = 16;

/// Whether a function of this name puts the values of many rows into one.
pub fn is_collecting(name: &str) -> bool {
    name.ends_with("_agg")
        || name.contains("_agg_")
        || name.contains("_to_xml")
        || matches!(name, "xmlagg" | "json_arrayagg" | "json_objectagg")
}

impl Statement {
    /// Whether a row that it sends may hold many records.
    pub fn collects(&self) -> bool {
        self.recurses
            || self.picks_any_number
            || self.functions.iter().any(|f| is_collecting(&f.name))
            || self.functions.iter().filter(|f| picks(f)).count() > PICKS
            || self.names_one_relation_often()
    }

    fn names_one_relation_often(&self) -> bool {
        if self.relations.len() <= PICKS {
            return false;
        }
        let mut names: Vec<(&str, Option<&str>)> = self
            .relations
            .iter()
            .map(|relation| (relation.name.as_str(), relation.schema.as_deref()))
            .collect();
        names.sort_unstable();
        names.chunk_by(|a, b| a == b).any(|same| same.len() > PICKS)
    }
}

/// Whether a function gives one value out of those of many rows.
fn picks(function: &FunctionRef) -> bool {
    matches!(
        function.name.as_str(),
        "min"
            | "max"
            | "any_value"
            | "first_value"
            | "last_value"
            | "nth_value"
            | "lag"
            | "lead"
            | "mode"
    ) || function.name.starts_with("percentile_")
}

#[cfg(test)]
mod tests {
    use crate::{Analysis, LexSettings, Statement, analyze};

    fn of(sql: &str, look: impl Fn(&Statement) -> bool) -> bool {
        match analyze(sql, &LexSettings::default()) {
            Analysis::Parsed(script) => look(&script.statements[0]),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn rows_that_may_hold_many_records_are_known() {
        let picks = vec!["max(a) FILTER (WHERE id = 1)"; 17].join(" || ");
        let scalars = vec!["(SELECT a FROM t WHERE id = 1)"; 17].join(" || ");
        for sql in [
            "SELECT string_agg(a, ',') FROM t",
            "SELECT x FROM (SELECT json_agg(t) AS x FROM t) q",
            "SELECT JSON_ARRAYAGG(a) FROM t",
            "SELECT JSON_OBJECTAGG(a: b) FROM t",
            "SELECT JSON_ARRAY(SELECT a FROM t)",
            "SELECT xmlagg(xmlelement(name a, b)) FROM t",
            "SELECT ARRAY(SELECT a FROM t)",
            "SELECT percentile_disc($1) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT percentile_cont('{0.1,0.2}'::float8[]) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT percentile_disc(array_fill(0.5, '{9999}')) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT string_agg(a, ',') OVER (ORDER BY id) FROM t",
            "COPY (SELECT array_agg(a) FROM t) TO STDOUT",
            "WITH RECURSIVE r AS (SELECT '' s UNION ALL SELECT s || 'x' FROM r) SELECT s FROM r",
            &format!("SELECT {picks} FROM t"),
            &format!("SELECT {scalars}"),
        ] {
            assert!(of(sql, Statement::collects), "{sql}");
        }
        for sql in [
            "SELECT a, count(*), sum(b), avg(b), max(c) FROM t GROUP BY a",
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT * FROM t JOIN u USING (id)",
            "SELECT row_to_json(t) FROM t",
            "WITH q AS (SELECT 1) SELECT * FROM q",
        ] {
            assert!(!of(sql, Statement::collects), "{sql}");
        }
    }

    #[test]
    fn what_is_collected_and_stored_is_told_from_what_only_finds_rows() {
        for sql in [
            "CREATE TABLE x AS SELECT string_agg(a, ',') FROM t",
            "CREATE MATERIALIZED VIEW x AS SELECT json_agg(t) FROM t",
            "SELECT array_agg(a) INTO x FROM t",
            "INSERT INTO x SELECT string_agg(a, ',') FROM t",
            "INSERT INTO x VALUES ((SELECT array_agg(a) FROM t))",
            "INSERT INTO x VALUES (ARRAY(SELECT a FROM t))",
            "INSERT INTO x VALUES (1) ON CONFLICT (id) DO UPDATE SET a = (SELECT xmlagg(a) FROM t)",
            "UPDATE x SET a = (SELECT string_agg(a, ',') FROM t) WHERE id = 1",
            "UPDATE x SET a = q.s FROM (SELECT string_agg(a, ',') AS s FROM t) q WHERE x.id = 1",
            "WITH q AS (SELECT string_agg(a, ',') AS s FROM t) INSERT INTO x SELECT s FROM q",
            "WITH q AS (SELECT string_agg(a, ',') AS s FROM t), \
             w AS (INSERT INTO x SELECT s FROM q) SELECT 1",
            "MERGE INTO x USING (SELECT string_agg(a, ',') AS s FROM t) q ON false \
             WHEN NOT MATCHED THEN INSERT VALUES (q.s)",
            "EXPLAIN ANALYZE INSERT INTO x SELECT string_agg(a, ',') FROM t",
        ] {
            assert!(of(sql, |statement| statement.stores_collected), "{sql}");
        }
        for sql in [
            "SELECT string_agg(a, ',') FROM t",
            "CREATE VIEW x AS SELECT string_agg(a, ',') FROM t",
            "INSERT INTO x SELECT * FROM t",
            "INSERT INTO x SELECT count(*), max(a) FROM t",
            "UPDATE x SET a = 1 WHERE id = ANY (ARRAY(SELECT id FROM t))",
            "DELETE FROM x WHERE id = ANY (SELECT unnest(array_agg(id)) FROM t)",
            "UPDATE x SET a = 1 WHERE id = 1 RETURNING (SELECT json_agg(t) FROM t)",
            "EXPLAIN INSERT INTO x SELECT string_agg(a, ',') FROM t",
        ] {
            assert!(!of(sql, |statement| statement.stores_collected), "{sql}");
        }
    }
}
