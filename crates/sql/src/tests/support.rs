//! A small catalog, and shorthand for asking it.

use std::sync::Arc;

use crate::*;

pub(super) const CUSTOMERS: &[&str] = &["id", "name", "email", "ssn", "salary", "notes", "profile"];

/// Labelled: `ssn`, `salary` and `profile` of customers; `ssn` of leads is not.
pub(super) struct Catalog<'a> {
    statement: &'a Statement,
    tables: Vec<Option<Vec<Column>>>,
    /// Whether `salary` has a default.
    pub(super) fills: bool,
}

impl<'a> Catalog<'a> {
    pub(super) fn of(statement: &'a Statement) -> Self {
        let table = |relation: &RelationRef| {
            let columns: &[&str] = match relation.name.as_str() {
                "customers" => CUSTOMERS,
                "orders" => &["id", "customer_id", "total", "memo"],
                "leads" => &["id", "ssn", "note"],
                "scratch" => &["id", "a", "b"],
                _ => return None,
            };
            let labelled = |name: &str| {
                relation.name == "customers" && matches!(name, "ssn" | "salary" | "profile")
            };
            Some(
                columns
                    .iter()
                    .map(|name| Column {
                        name: (*name).to_owned(),
                        labelled: labelled(name),
                    })
                    .collect(),
            )
        };
        Self {
            statement,
            tables: statement.relations.iter().map(table).collect(),
            fills: false,
        }
    }
}

impl Oracle for Catalog<'_> {
    fn columns(&self, relation: usize) -> Option<&[Column]> {
        self.tables.get(relation)?.as_deref()
    }

    fn has_own_equality(&self) -> bool {
        self.statement
            .operators
            .iter()
            .any(|operator| operator.name == "=")
    }

    fn has_system_columns(&self, relation: usize) -> bool {
        let named = self.statement.relations.get(relation);
        named.is_some_and(|named| named.name != "scratch")
    }

    fn has_type(&self, relation: usize, column: usize, name: &str) -> bool {
        let column = self.columns(relation).and_then(|all| all.get(column));
        column.is_some_and(|column| match column.name.as_str() {
            "ssn" => matches!(name, "text" | "varchar"),
            "salary" => name == "numeric",
            _ => false,
        })
    }

    fn is_unique(&self, relation: usize, column: usize) -> bool {
        let name = self.columns(relation).and_then(|all| all.get(column));
        name.is_none_or(|column| column.name != "profile")
    }

    fn fills(&self, relation: usize, column: Option<usize>) -> bool {
        let name = column.and_then(|at| self.columns(relation)?.get(at));
        self.fills && name.is_some_and(|column| column.name == "salary")
    }

    fn is_trusted(&self, function: usize) -> bool {
        !matches!(
            self.statement.functions[function].name.as_str(),
            "lookup_ref" | "get_customer" | "spill"
        )
    }

    fn keeps(&self, function: usize) -> bool {
        let name = self.statement.functions[function].name.as_str();
        matches!(name, "set_config" | "remember" | "spill")
    }

    fn is_redefined(&self, function: usize) -> bool {
        let leads = self
            .statement
            .relations
            .iter()
            .any(|relation| relation.name == "leads");
        leads && self.statement.functions[function].name == "count"
    }

    fn is_harmless_field(&self, name: &str) -> bool {
        !matches!(name, "lookup_ref" | "remember")
    }
}

pub(super) fn script(sql: &str) -> Arc<Script> {
    match analyze(sql, &LexSettings::default()) {
        Analysis::Parsed(script) => script,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The only statement of a text, by way of a closure, since statements do not clone.
pub(super) fn with<T>(sql: &str, look: impl FnOnce(&Statement) -> T) -> T {
    let script = script(sql);
    assert_eq!(script.statements.len(), 1, "{sql}");
    look(&script.statements[0])
}

pub(super) fn trace(sql: &str) -> Traced {
    with(sql, |statement| {
        assert_eq!(statement.opaque, None, "{sql}");
        statement.lineage.trace(&Catalog::of(statement))
    })
}

/// One letter for each output: `.` clean, `=` direct, `~` derived; a star is in brackets.
pub(super) fn outputs(sql: &str) -> String {
    let traced = trace(sql);
    let letter = |column: &OutputColumn| match column.derivation {
        Derivation::No => ".",
        Derivation::Direct => "=",
        Derivation::Derived => "~",
    };
    traced
        .outputs
        .items
        .iter()
        .map(|item| match item {
            OutputItem::Column(column) => letter(column).to_owned(),
            OutputItem::Star(column) => format!("[{}]", letter(column)),
        })
        .collect()
}

/// The uses of a statement, as `column:use` or `column:Write>relation.column`.
pub(super) fn uses(sql: &str) -> Vec<String> {
    with(sql, |statement| {
        let catalog = Catalog::of(statement);
        let traced = statement.lineage.trace(&catalog);
        let mut uses: Vec<String> = traced
            .uses
            .iter()
            .map(|found| {
                let origin = match found.origin {
                    Origin::Column { relation, column } => {
                        catalog.columns(relation).unwrap()[column].name.clone()
                    }
                    Origin::Relation(relation) => {
                        format!("{}.*", statement.relations[relation].name)
                    }
                    Origin::Function(function) => {
                        format!("{}()", statement.functions[function].name)
                    }
                    Origin::Unresolved => "?".to_owned(),
                };
                let into = found.into.as_ref().map(|into| {
                    let relation = &statement.relations[into.relation].name;
                    format!(">{relation}.{}", into.column.as_deref().unwrap_or("?"))
                });
                format!("{origin}:{:?}{}", found.how, into.unwrap_or_default())
            })
            .collect();
        uses.sort();
        uses.dedup();
        uses
    })
}
