//! What an error or a notice may carry beyond names and the client's own text.
//!
//! A report has the place in the server's source that made it (`R`), which no code of a session sets but
//! code in C: `RAISE` has its own. One that points into the client's text (`P`) and comes from nothing
//! that this text called (no `W`, no `q`) was made while the text was read, before there was a row.

use weir_wire_postgres::backend::Fields;

/// What a report may carry of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Nothing: its text is of the statement.
    Text,
    /// Its message has names alone, its detail may have values.
    Detail,
    /// Anything.
    Values,
}

/// Violated constraints, missing privileges, objects that are, or are not, there, and what cannot be done in a
/// transaction that has failed, or outside of one: messages of names.
const NAMING: [&[u8]; 38] = [
    b"_bt_check_unique",
    b"check_exclusion_or_unique_constraint",
    b"comparetup_index_btree",
    b"comparetup_index_btree_tiebreak",
    b"ExecConstraints",
    b"ReportNotNullViolationError",
    b"ExecPartitionCheckEmitError",
    b"ExecFindPartition",
    b"ri_ReportViolation",
    b"ATRewriteTable",
    b"ExecEvalConstraintCheck",
    b"ExecEvalConstraintNotNull",
    b"aclcheck_error",
    b"check_for_column_name_collision",
    b"ATExecAlterColumnType",
    b"ATExecDropColumn",
    b"ATExecDropConstraint",
    b"transformCreateStmt",
    b"heap_create_with_catalog",
    b"index_create",
    b"DefineIndex",
    b"RememberAllDependentForRebuilding",
    b"reportDependentObjects",
    b"DropErrorMsgNonExistent",
    b"ExecCreateTableAs",
    b"exec_simple_query",
    b"exec_parse_message",
    b"exec_bind_message",
    b"exec_execute_message",
    b"exec_describe_statement_message",
    b"exec_describe_portal_message",
    b"FetchPreparedStatement",
    b"StorePreparedStatement",
    b"PerformPortalFetch",
    b"CreatePortal",
    b"PreventInTransactionBlock",
    b"RequireTransactionBlock",
    b"ProcessInterrupts",
];

impl Carries {
    /// What the report with this body may carry.
    pub(super) fn of(body: &[u8]) -> Self {
        let (mut class, mut routine): (&[u8], &[u8]) = (b"", b"");
        let (mut points, mut inside) = (false, false);
        for (code, value) in Fields::new(body) {
            match code {
                b'C' => class = value,
                b'R' => routine = value,
                b'P' => points = true,
                b'W' | b'p' | b'q' => inside = true,
                _ => {}
            }
        }
        match class {
            _ if inside => Self::Values,
            [b'4', b'2', ..] if points => Self::Text,
            _ if NAMING.contains(&routine) => Self::Detail,
            _ => Self::Values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fields: &[(u8, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (code, value) in fields {
            body.push(*code);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        body
    }

    #[test]
    fn what_names_things_is_told_and_what_shows_values_is_not() {
        use Carries::{Detail, Text, Values};
        let unknown = [(b'C', "42703"), (b'M', "column \"x\" does not exist")];
        let at = (b'P', "8");
        let raised = (b'W', "PL/pgSQL function f() line 1 at RAISE");
        for (fields, wanted) in [
            (vec![unknown[0], unknown[1], at], Text),
            (vec![unknown[0], unknown[1]], Values),
            (vec![unknown[0], unknown[1], at, raised], Values),
            (vec![unknown[0], at, (b'q', "SELECT 1")], Values),
            (vec![(b'C', "22P02"), at], Values),
            (vec![(b'C', "23505"), (b'R', "_bt_check_unique")], Detail),
            (vec![(b'C', "23505"), (b'R', "exec_stmt_raise")], Values),
            (
                vec![(b'C', "23505"), (b'R', "_bt_check_unique"), raised],
                Values,
            ),
            (vec![(b'C', "25P02"), (b'R', "exec_simple_query")], Detail),
            (vec![(b'C', "23514")], Values),
            (vec![], Values),
        ] {
            assert_eq!(Carries::of(&report(&fields)), wanted, "{fields:?}");
        }
    }
}
