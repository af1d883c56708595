//! Blocks of PL/pgSQL that only run statements, as the tools write them that migrate schemas.
//!
//! What is not plainly one of these is no such block: it is judged by its words.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::statement::statement;
use crate::{LexSettings, Statement, parse};

/// The statements of `BEGIN …; END`, perhaps with handlers that do nothing in between; `None` for any other
/// block.
pub(super) fn statements(text: &str) -> Option<Vec<Statement>> {
    // A backslash is read as the session says, a comment may hide where a word ends.
    if text.contains(['\\', '\0']) || text.contains("--") || text.contains("/*") {
        return None;
    }
    let tokens = parse::tokens(text)?;
    let words: Option<Vec<(&str, usize)>> = tokens
        .iter()
        .map(|token| {
            let (start, end) = (
                usize::try_from(token.start).ok()?,
                usize::try_from(token.end).ok()?,
            );
            Some((text.get(start..end)?, start))
        })
        .collect();
    let words = words?;
    let is = |at: usize, word: &str| {
        words
            .get(at)
            .is_some_and(|(found, _)| found.eq_ignore_ascii_case(word))
    };
    let last = match is(words.len().checked_sub(1)?, ";") {
        true => words.len().checked_sub(2)?,
        false => words.len() - 1,
    };
    if !is(0, "begin") || !is(last, "end") || !is(last.checked_sub(1)?, ";") {
        return None;
    }
    let handlers = (1..last).find(|at| is(*at, "exception") && is(at - 1, ";"));
    if let Some(handlers) = handlers {
        let handled: Vec<&str> = words
            .get(handlers + 1..last)?
            .iter()
            .map(|(word, _)| *word)
            .collect();
        handled
            .split(|word| *word == ";")
            .all(does_nothing)
            .then_some(())?;
    }
    let (_, from) = words.get(1)?;
    let (_, to) = words.get(handlers.unwrap_or(last))?;
    let tree = parse::parse(text.get(*from..*to)?, &LexSettings::default()).ok()?;
    let nodes: Option<Vec<&Node>> = tree.stmts.iter().map(|raw| raw.stmt.as_deref()).collect();
    let nodes = nodes?;
    let all = nodes
        .iter()
        .all(|node| node.node.as_ref().is_some_and(means_the_same));
    all.then(|| {
        nodes
            .into_iter()
            .map(|node| statement(node, 0..0))
            .collect()
    })
}

/// Whether a handler is `WHEN condition OR … THEN NULL`; the last of them ends with a semicolon, behind which
/// there is nothing.
fn does_nothing(handler: &[&str]) -> bool {
    let [when, conditions @ .., then, null] = handler else {
        return handler.is_empty();
    };
    let is_name = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    };
    when.eq_ignore_ascii_case("when")
        && then.eq_ignore_ascii_case("then")
        && null.eq_ignore_ascii_case("null")
        && conditions.len() % 2 == 1
        && conditions
            .iter()
            .enumerate()
            .all(|(at, word)| match at % 2 {
                0 => is_name(word),
                _ => word.eq_ignore_ascii_case("or"),
            })
}

/// Whether a statement does in a block what it does outside of one, and sends nothing.
fn means_the_same(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::InsertStmt(insert) => insert.returning_clause.is_none(),
        NodeEnum::UpdateStmt(update) => update.returning_clause.is_none(),
        NodeEnum::DeleteStmt(delete) => delete.returning_clause.is_none(),
        NodeEnum::AlterTableStmt(_)
        | NodeEnum::CreateStmt(_)
        | NodeEnum::IndexStmt(_)
        | NodeEnum::CreateSeqStmt(_)
        | NodeEnum::CreateEnumStmt(_)
        | NodeEnum::AlterEnumStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::DropStmt(_) => true,
        _ => false,
    }
}
