//! What decides beside a statement's own text: how it is read, the role that it runs in and the search path by which
//! its names are found, the text behind a name, the other statements of its message.
//!
//! Invariants: the server is asked by `SHOW` alone, which runs no function and takes no snapshot, and only
//! while it owes nothing; what it did not say is not known, and what is not known is like nothing else.

use std::sync::Arc;

use super::catalog::{Rows, Table};
use super::judge::own_text;
use super::session::{Session, SessionEnd};
use super::statement::Active;

const NAME: &[u8] = b"weir_context";
const QUESTIONS: [&str; 3] = [
    "SHOW session_authorization",
    "SHOW role",
    "SHOW search_path",
];

/// What decides how texts are read, and the question for it.
const SETTINGS: [(&str, &str); 2] = [
    (
        "SHOW standard_conforming_strings",
        "standard_conforming_strings",
    ),
    ("SHOW client_encoding", "client_encoding"),
];

/// The role and the search path of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    /// Who the session is of.
    authorization: String,
    /// The role that it has taken on, or `none`.
    role: String,
    /// As it is set: `"$user"` stands for the role.
    search_path: String,
}

impl Context {
    fn words(&self) -> String {
        let Self {
            authorization,
            role,
            search_path,
        } = self;
        match role.as_str() {
            "none" => format!("It runs as {authorization}; search path: {search_path}."),
            role => format!(
                "It runs as {role}, a role that {authorization} has taken on; search path: {search_path}."
            ),
        }
    }
}

/// What people are told beside the text, and what tells the statement from others of its text.
pub(super) struct Detail {
    pub(super) words: Arc<str>,
    pub(super) apart: Arc<str>,
    /// Whether statements of its shape mean the same as it does, as far as `apart` is equal.
    pub(super) has_shape: bool,
}

impl Session {
    /// Makes sure that it is known in which role and by which search path a statement would run, if the
    /// server can be asked.
    pub(super) async fn learn_context(&mut self, active: &mut Active) -> Result<(), SessionEnd> {
        // Another statement of the message may change either before this one runs.
        if active.context.is_none() && !active.has_siblings() {
            active.context = self.context().await?;
        }
        Ok(())
    }

    /// Asks how texts are read, if the server can be asked.
    pub(super) async fn ask_reading(&mut self) -> Result<(), SessionEnd> {
        if !self.can_be_asked() {
            return Ok(());
        }
        let questions = SETTINGS.map(|(question, _)| (question.as_bytes(), &[][..]));
        let Ok(rows) = self.ask_server(NAME, &questions).await? else {
            return Ok(());
        };
        let said = |table: &Table| table.first()?.first()?.clone();
        let said: Option<Vec<Box<str>>> = rows.tables.iter().map(said).collect();
        if let Some(said) = said.filter(|said| said.len() == SETTINGS.len()) {
            for ((_, name), value) in SETTINGS.iter().zip(said) {
                self.track(name.as_bytes(), value.as_bytes());
            }
            (self.code_ran, self.reading_unsure) = (false, false);
        }
        Ok(())
    }

    /// Whether the server owes nothing and would answer.
    fn can_be_asked(&mut self) -> bool {
        let owes = !self.pending.is_empty() || self.pending.is_skipping();
        !owes && self.status != b'E' && !self.server.eof
    }

    async fn context(&mut self) -> Result<Option<Context>, SessionEnd> {
        if !self.can_be_asked() {
            return Ok(None);
        }
        let questions = QUESTIONS.map(|question| (question.as_bytes(), &[][..]));
        let rows = self.ask_server(NAME, &questions).await?;
        Ok(rows.ok().and_then(|rows| said(&rows)))
    }

    /// What decides about a statement beside its text.
    pub(super) fn detail(&self, active: &Active) -> Detail {
        let mut words = match &active.context {
            Some(context) => context.words(),
            None => "In which role and by which search path it runs is not known.".to_owned(),
        };
        if active.statement().is_none() {
            words.push_str(" What it runs beyond its text is not known either.");
        }
        let mut behind = Vec::new();
        if let Some(message) = active.whole_message() {
            behind.push((
                "It stands in a message of several statements".to_owned(),
                message,
            ));
        }
        for (named, text) in self.behind(active) {
            let text = text.unwrap_or_else(|| "(weir did not see that)".into());
            behind.push((named, text));
        }
        let mut apart = match &active.context {
            Some(context) => format!("{context:?}"),
            None => format!("session {}", self.evidence.session.id),
        };
        for (title, text) in &behind {
            words.push_str(&format!("\n\n{title}:\n{text}"));
            apart.push_str(&format!("\n{text:?}"));
        }
        Detail {
            words: words.into(),
            apart: apart.into(),
            has_shape: active.context.is_some() && behind.is_empty(),
        }
    }

    /// The texts that a statement runs by name.
    fn behind(&self, active: &Active) -> Vec<(String, Option<Arc<str>>)> {
        let Some(statement) = active.statement() else {
            return Vec::new();
        };
        let mut behind = Vec::new();
        if let Some(name) = &statement.executes {
            let prepared = self.named.statements.get(name.as_bytes());
            let text = prepared.map(|one| own_text(one.body.as_ref(), &one.analysed));
            behind.push((format!("{name} was prepared as"), text));
        }
        if let Some(fetch) = &statement.fetches {
            let name = fetch.cursor.as_str();
            let cursor = self
                .named
                .cursors
                .get(name)
                .map(|cursor| Arc::clone(&cursor.text));
            let portal = || {
                let portal = self.named.portals.get(name.as_bytes())?;
                let prepared = portal.statement.as_ref()?;
                Some(own_text(prepared.body.as_ref(), &prepared.analysed))
            };
            behind.push((format!("{name} was opened by"), cursor.or_else(portal)));
        }
        behind
    }
}

/// What the answers to the questions say.
fn said(rows: &Rows) -> Option<Context> {
    let first = |table: &Table| table.first()?.first()?.as_deref().map(str::to_owned);
    let mut answers = rows.tables.iter().map(first);
    let mut next = || answers.next().flatten();
    let context = Context {
        authorization: next()?,
        role: next()?,
        search_path: next()?,
    };
    (rows.tables.len() == QUESTIONS.len()).then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(answers: &[&str]) -> Rows {
        let table = |answer: &&str| vec![vec![Some((*answer).into())]];
        Rows {
            tables: answers.iter().map(table).collect(),
        }
    }

    #[test]
    fn what_the_server_did_not_say_is_not_known() {
        let context = said(&rows(&["app", "boss", "prod, public"])).unwrap();
        assert_eq!(
            context.words(),
            "It runs as boss, a role that app has taken on; search path: prod, public."
        );
        let plain = said(&rows(&["app", "none", "\"$user\", public"])).unwrap();
        assert_eq!(
            plain.words(),
            "It runs as app; search path: \"$user\", public."
        );
        assert!(said(&rows(&["app", "none"])).is_none());
        assert!(said(&Rows::default()).is_none());
    }
}
