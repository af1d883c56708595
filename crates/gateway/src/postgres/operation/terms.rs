//! What a statement is, by its facts alone, and the words of policy for it.

use weir_policy::{Access, Use};
use weir_sql::Statement;

use super::Judged;
use crate::postgres::catalog::rereads;

/// Whether it changes rows.
pub(super) fn writes_rows(statement: &Statement) -> bool {
    use weir_sql::Effect::{CopyIn, Delete, Insert, Merge, Update};
    [CopyIn, Delete, Insert, Merge, Update]
        .into_iter()
        .any(|effect| statement.effects.contains(effect))
}

/// Whether rows that it computes are stored.
pub(super) fn stores_rows(statement: &Statement) -> bool {
    use weir_sql::Effect::{Create, Insert, Merge, Update};
    let made = statement.effects.contains(Create) && statement.tag != "CREATE VIEW";
    let written = [Insert, Merge, Update]
        .into_iter()
        .any(|effect| statement.effects.contains(effect));
    written || made && !statement.lineage.is_empty()
}

/// Whether rows that it reads may leave in notifications, which no meter counts.
pub(super) fn notifies_rows(statement: &Statement) -> bool {
    use weir_sql::builtin::{FunctionClass, class};
    let mut called = statement.functions.iter();
    let mut read = statement.relations.iter();
    called.any(|function| class(&function.name) == Some(FunctionClass::Notify))
        && read.any(|relation| relation.access == weir_sql::Access::Read)
}

/// Whether a write goes to the server's own tables: a definition by other means.
pub(super) fn is_system_table((schema, name, access): &(Box<str>, Box<str>, Access)) -> bool {
    *access == Access::Write && &**schema == "pg_catalog" && &**name != "pg_settings"
}

/// Whether a statement by itself may change how the texts that follow it are read: by a setting, or
/// because it takes one back.
pub(super) fn changes_reading(statement: &Statement) -> bool {
    use weir_sql::Transaction::{Begin, Savepoint};
    let sets = statement.settings.iter().any(|setting| {
        matches!(
            setting.name.as_str(),
            "standard_conforming_strings" | "client_encoding" | "names" | "*"
        )
    });
    let ends = statement.transaction.as_ref();
    let ends = ends.is_some_and(|command| !matches!(command, Begin | Savepoint(_)));
    let runs = |code: &weir_sql::Code| code.runs_now && rereads(&code.text);
    sets || ends || statement.code.iter().any(runs)
}

/// How a label is used; an assignment to it tells nothing about it.
pub(super) fn label_use(how: weir_sql::Use) -> Option<Use> {
    Some(match how {
        weir_sql::Use::Output => Use::Output,
        weir_sql::Use::NullTest => Use::NullTest,
        weir_sql::Use::Count => Use::Count,
        weir_sql::Use::EqualsConstant => Use::EqualsConstant,
        weir_sql::Use::Predicate => Use::Predicate,
        weir_sql::Use::OrderBy => Use::OrderBy,
        weir_sql::Use::GroupBy => Use::GroupBy,
        weir_sql::Use::Join => Use::Join,
        weir_sql::Use::Write => Use::Write,
        weir_sql::Use::WriteTo => return None,
    })
}

/// The same effect in policy's terms.
pub(super) fn effect(effect: weir_sql::Effect) -> weir_policy::Effect {
    macro_rules! same {
        ($($name:ident)+) => {
            match effect { $(weir_sql::Effect::$name => weir_policy::Effect::$name),+ }
        };
    }
    same!(
        Select Insert Update Delete Merge Truncate Create Alter Drop Grant Role Set CopyIn CopyOut
        CopyFile CopyProgram Do Call Explain Lock Transaction Prepare Execute Declare Fetch
        Deallocate Listen Notify Maintenance System Foreign Routine FunctionCall Replication
        CopyBoth Other
    )
}

impl Judged {
    /// What to do instead, where it is refused because nothing proves what its result carries.
    pub(in crate::postgres) fn hint(&self) -> &'static str {
        if self.is_behind {
            "an earlier statement of the same message changes what this one means: send it in a message \
             of its own"
        } else if self.copies_out {
            "COPY is not masked: leave the labelled columns out, or use SELECT"
        } else {
            weir_policy::UNPROVEN_HINT
        }
    }
}
