//! What a text needs of the catalog before it is judged, and what is said when that cannot be had.

use weir_sql::{Analysis, Statement, Transaction};

use super::refusal::Refusal;

/// What a text needs of the catalog; the most that one of its statements needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Nothing: it names nothing that a catalog explains.
    Nothing,
    /// Nothing, and nothing that does can be in one transaction with it.
    Alone,
    /// Nothing for itself; it begins a transaction whose statements may need it.
    Begins,
    /// One that is up to date.
    Fresh,
}

impl Need {
    pub(super) fn of(analysis: &Analysis) -> Self {
        match analysis {
            Analysis::Parsed(script) => {
                let needs = script.statements.iter().map(Self::of_statement);
                needs.max().unwrap_or(Self::Nothing)
            }
            _ => Self::Fresh,
        }
    }

    fn of_statement(statement: &Statement) -> Self {
        match statement.transaction {
            Some(Transaction::Begin) => Self::Begins,
            Some(Transaction::CommitPrepared(_) | Transaction::RollbackPrepared(_)) => Self::Alone,
            Some(_) => Self::Nothing,
            None if is_plain(statement) => Self::Nothing,
            None => Self::Fresh,
        }
    }
}

/// Whether a statement means the same whatever the catalog says. A function may be anybody's, in the server's own schema
/// too.
fn is_plain(statement: &Statement) -> bool {
    matches!(statement.tag, "SELECT" | "SHOW" | "SET" | "RESET")
        && statement.relations.is_empty()
        && statement.functions.is_empty()
        && statement.fields.is_empty()
        && !statement.operates
        && statement.operators.is_empty()
        && statement.types.is_empty()
        && statement.code.is_empty()
        && statement.contained.is_empty()
        && statement.prepares.is_none()
        && statement.executes.is_none()
        && statement.declares.is_none()
        && statement.fetches.is_none()
        && statement.copy.is_none()
        && statement.explain.is_none()
        && !statement.changes_schema
}

/// Why the catalog could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    reason: String,
    /// Another transaction has locked what must be read.
    pub(super) is_locked: bool,
    /// The client has asked for what it is read for to be cancelled.
    is_cancelled: bool,
}

impl Unread {
    /// What the server said.
    pub(super) fn said(sqlstate: &[u8], message: &[u8]) -> Self {
        Self {
            reason: String::from_utf8_lossy(message).into_owned(),
            is_locked: sqlstate == b"55P03",
            is_cancelled: sqlstate == b"57014",
        }
    }

    /// What is refused because of it.
    pub(super) fn refusal(&self) -> Refusal {
        if self.is_locked {
            return Refusal::locked();
        }
        if self.is_cancelled {
            return Refusal {
                message: self.reason.clone(),
                ..Refusal::cancelled()
            };
        }
        Refusal::unjudged(&format!("the catalog could not be read: {}", self.reason))
    }
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_locked: false,
            is_cancelled: false,
        }
    }
}

impl From<&str> for Unread {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use weir_sql::LexSettings;

    use super::super::cache::StatementCache;
    use super::*;

    #[test]
    fn only_what_names_nothing_needs_no_catalog() {
        let cache = StatementCache::default();
        let need = |text| cache.analyse(text, &LexSettings::default()).need();
        for text in [
            "",
            "SELECT 1",
            "SHOW server_version",
            "SET lock_timeout = 5",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT s",
            "ROLLBACK TO s",
            "PREPARE TRANSACTION 'x'",
            "SELECT 1; COMMIT",
        ] {
            assert_eq!(need(text), Need::Nothing, "{text}");
        }
        for text in ["COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"] {
            assert_eq!(need(text), Need::Alone, "{text}");
        }
        for text in ["BEGIN", "START TRANSACTION", "COMMIT; BEGIN"] {
            assert_eq!(need(text), Need::Begins, "{text}");
        }
        for text in [
            "SELECT 1 FROM t",
            "SELECT (SELECT a FROM t)",
            "SELECT 1 WHERE EXISTS (SELECT FROM t)",
            "SELECT now()",
            "SELECT public.now()",
            "SELECT pg_catalog.now()",
            "SELECT (1).now",
            "SELECT 1 + 1",
            "SELECT pg_catalog.query_to_xml('TABLE t', true, true, '')",
            "SELECT 1 OPERATOR(public.+) 1",
            "SELECT 1::public.d",
            "SELECT 1 INTO t",
            "SET a = 1; TABLE t",
            "EXPLAIN SELECT 1",
            "EXECUTE x",
            "FETCH x",
            "PREPARE x AS SELECT 1",
            "DO 'BEGIN END'",
            "CALL p()",
            "VACUUM",
            "CREATE TABLE t (a int)",
            "DISCARD ALL",
            "SELECT 1 +",
        ] {
            assert_eq!(need(text), Need::Fresh, "{text}");
        }
    }

    #[test]
    fn a_lock_in_the_way_is_told_as_one() {
        let locked = Unread::said(b"55P03", b"canceling statement due to lock timeout");
        assert_eq!(locked.refusal().sqlstate, "55P03");
        let cancelled = Unread::said(b"57014", b"canceling statement due to user request");
        let told = cancelled.refusal();
        assert_eq!(
            (told.sqlstate, told.message.as_str()),
            ("57014", "canceling statement due to user request")
        );
        let other = Unread::said(b"42501", b"permission denied");
        assert_eq!(other.refusal().sqlstate, "42501");
        assert!(other.refusal().message.contains("permission denied"));
    }
}
