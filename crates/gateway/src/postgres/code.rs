//! What a block of PL/pgSQL may do, by its words.
//!
//! The block is not parsed: every word counts wherever it stands, in comments and strings too, so
//! that more is found than is there, never less. What builds statements at run time, or is in
//! another language, is not read at all.

use weir_policy::{Access, Effect};

use super::catalog::{Catalog, Relation, Resolved, collects, stores_by_words, words};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct CodeFacts {
    pub(super) effects: Vec<Effect>,
    pub(super) relations: Vec<(Box<str>, Box<str>, Access)>,
    pub(super) functions: Vec<Box<str>>,
    /// A setting may be changed.
    pub(super) sets: bool,
    /// Of one, the name is put together.
    pub(super) computes_setting: bool,
    /// Many records may be put into one value.
    pub(super) collects: bool,
    /// Something may be stored.
    pub(super) stores: bool,
}

/// Reads a block; `None` where its words do not tell what it does.
pub(super) fn read(code: &weir_sql::Code, catalog: &Catalog) -> Option<CodeFacts> {
    if !catalog.is_harmless(code) {
        return None;
    }
    let mut facts = CodeFacts {
        collects: collects(&code.text),
        stores: stores_by_words(&code.text),
        computes_setting: computes_setting(&code.text),
        ..CodeFacts::default()
    };
    for word in words(&code.text) {
        if let Some(effect) = effect(&word) {
            facts.effects.push(effect);
        }
        facts.sets |= matches!(word.as_str(), "set" | "reset" | "set_config");
        if weir_sql::builtin::class(&word).is_some() {
            facts.functions.push(word.as_str().into());
        }
        if let Resolved::One(found) = catalog.resolve(None, &word) {
            facts.relation(found);
        }
    }
    for found in catalog.quoted_in(&code.text) {
        facts.relation(found);
    }
    Some(facts)
}

/// Whether some `set_config` is given more than a literal for a name.
fn computes_setting(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    let mut calls = source.split("set_config").skip(1);
    let is_plain = |call: &str| {
        let name = call
            .trim_start()
            .strip_prefix('(')?
            .trim_start()
            .strip_prefix('\'')?;
        let (name, rest) = name.split_once('\'')?;
        let is_name = name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        let is_role = matches!(name, "role" | "session_authorization");
        (is_name && !is_role && rest.trim_start().starts_with(',')).then_some(())
    };
    calls.any(|call| is_plain(call).is_none())
}

impl CodeFacts {
    fn relation(&mut self, found: &Relation) {
        for access in [Access::Read, Access::Write] {
            self.relations
                .push((Box::from(&*found.schema), Box::from(&*found.name), access));
        }
    }
}

fn effect(word: &str) -> Option<Effect> {
    Some(match word {
        "select" | "perform" => Effect::Select,
        "insert" => Effect::Insert,
        "update" => Effect::Update,
        "delete" => Effect::Delete,
        "merge" => Effect::Merge,
        "truncate" => Effect::Truncate,
        "create" => Effect::Create,
        "alter" => Effect::Alter,
        "drop" => Effect::Drop,
        "grant" | "revoke" | "owner" | "privileges" => Effect::Grant,
        "role" | "user" | "authorization" | "password" | "owned" | "reassign" => Effect::Role,
        "set" | "reset" => Effect::Set,
        "copy" => Effect::CopyFile,
        "program" => Effect::CopyProgram,
        "call" => Effect::Call,
        "lock" => Effect::Lock,
        "listen" => Effect::Listen,
        "notify" => Effect::Notify,
        "vacuum" | "analyze" | "reindex" | "cluster" | "refresh" | "checkpoint" => {
            Effect::Maintenance
        }
        "system" | "load" | "extension" | "language" | "database" | "tablespace" => Effect::System,
        "server" | "foreign" | "subscription" | "publication" => Effect::Foreign,
        "function" | "procedure" | "trigger" | "rule" | "operator" | "cast" | "aggregate" => {
            Effect::Routine
        }
        _ => return None,
    })
}
