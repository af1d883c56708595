//! What the statements of a message have prepared and declared for those behind them.
//!
//! The server runs what stands behind a statement only if that succeeded, so a name is what was made of it
//! last. Where that may not be so, it is not known.

use std::collections::HashMap;

use weir_sql::Transaction;

use super::statement::Body;

/// Names that a message has given another meaning than the session knows; `None` where nobody knows it.
#[derive(Default)]
pub(super) struct Made {
    statements: HashMap<String, Option<Body>>,
    cursors: HashMap<String, Option<Body>>,
    /// Every other name may be gone.
    statements_gone: bool,
    cursors_gone: bool,
}

impl Made {
    /// What was prepared under a name, if this message has a say in it.
    pub(super) fn statement(&self, name: &str) -> Option<Option<Body>> {
        let gone = self.statements_gone.then_some(None);
        self.statements.get(name).cloned().or(gone)
    }

    /// What a cursor was declared for, likewise.
    pub(super) fn cursor(&self, name: &str) -> Option<Option<Body>> {
        let gone = self.cursors_gone.then_some(None);
        self.cursors.get(name).cloned().or(gone)
    }

    /// A statement of the message stands before those that are judged next.
    pub(super) fn add(&mut self, body: &Body) {
        let Some(statement) = body.get() else { return };
        if let Some(prepared) = &statement.prepares {
            self.statements
                .insert(prepared.name.clone(), Some(body.nested()));
        }
        if let Some(cursor) = &statement.declares {
            self.cursors
                .insert(cursor.name.clone(), Some(body.nested()));
        }
        match &statement.deallocates {
            Some(Some(name)) => drop(self.statements.insert(name.clone(), None)),
            Some(None) => {
                self.statements.clear();
                self.statements_gone = true;
            }
            None => {}
        }
        match &statement.closes {
            Some(Some(name)) => drop(self.cursors.insert(name.clone(), None)),
            Some(None) => self.lose_cursors(),
            None => {}
        }
        // Cursors end with a transaction, or with a part of it.
        if !matches!(
            &statement.transaction,
            None | Some(Transaction::Begin | Transaction::Savepoint(_))
        ) {
            self.lose_cursors();
        }
        // What else it runs may make and drop either.
        if !statement.code.is_empty() || statement.opaque.is_some() || statement.tag == "CALL" {
            self.statements.clear();
            self.statements_gone = true;
            self.lose_cursors();
        }
    }

    fn lose_cursors(&mut self) {
        self.cursors.clear();
        self.cursors_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use weir_sql::{Analysis, LexSettings};

    use super::*;

    /// What `p` and `c` stand for behind all statements of a text.
    fn after(text: &str) -> (Option<Option<String>>, Option<Option<String>>) {
        let Analysis::Parsed(script) = weir_sql::analyze(text, &LexSettings::default()) else {
            panic!("{text}");
        };
        let mut made = Made::default();
        for index in 0..script.statements.len() {
            made.add(&Body::new(&script, index));
        }
        let reads = |body: Option<Body>| {
            body.and_then(|body| Some(body.get()?.relations.first()?.name.clone()))
        };
        (made.statement("p").map(reads), made.cursor("c").map(reads))
    }

    #[test]
    fn a_name_is_what_was_made_of_it_last() {
        let known = |name: &str| Some(Some(name.to_owned()));
        for (text, p, c) in [
            ("SELECT 1", None, None),
            ("PREPARE p AS TABLE a", known("a"), None),
            ("BEGIN; DECLARE c CURSOR FOR TABLE a", None, known("a")),
            (
                "DECLARE c CURSOR FOR TABLE a; CLOSE c; DECLARE c CURSOR FOR TABLE b",
                None,
                known("b"),
            ),
            ("PREPARE p AS TABLE a; DEALLOCATE p", Some(None), None),
            ("DEALLOCATE ALL", Some(None), None),
            ("CLOSE ALL", None, Some(None)),
            ("DECLARE c CURSOR FOR TABLE a; COMMIT", None, Some(None)),
            ("ROLLBACK TO s", None, Some(None)),
            (
                "PREPARE p AS TABLE a; ROLLBACK TO s",
                known("a"),
                Some(None),
            ),
            (
                "PREPARE p AS TABLE a; DO 'BEGIN END'",
                Some(None),
                Some(None),
            ),
            ("CALL f()", Some(None), Some(None)),
            ("DISCARD ALL", Some(None), Some(None)),
        ] {
            assert_eq!(after(text), (p, c), "{text}");
        }
    }
}
