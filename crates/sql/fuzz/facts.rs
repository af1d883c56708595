//! Facts of statements in a form that can be compared, checked on the way.

use weir_sql::{Column, Oracle, Origin, OutputItem, Statement, Traced};

/// All that does not depend on where a statement stands, and what it traces to.
pub(crate) fn facts(statements: impl AsRef<[Statement]>) -> Vec<String> {
    statements.as_ref().iter().map(fact).collect()
}

fn fact(it: &Statement) -> String {
    assert!(it.opaque.is_some() || !it.tag.is_empty());
    let named = (
        &it.relations,
        &it.functions,
        &it.operators,
        &it.types,
        &it.settings,
    );
    let does = (
        it.tag,
        it.effects,
        it.where_clause,
        it.returns_rows,
        it.returning,
        it.opaque,
    );
    let also = (
        it.changes_schema,
        it.has_literals,
        &it.transaction,
        &it.code,
        &it.copy,
    );
    let blind = it.lineage.trace(&Catalog(None));
    let seeing = it.lineage.trace(&Catalog(Some(columns())));
    traced(it, &blind);
    traced(it, &seeing);
    assert_eq!(
        seeing,
        it.lineage.trace(&Catalog(Some(columns()))),
        "tracing is a function"
    );
    let inner = [
        &it.prepares.as_ref().map(|p| fact(&p.body)),
        &it.declares.as_ref().map(|d| fact(&d.body)),
    ];
    format!("{named:?} {does:?} {also:?} {blind:?} {seeing:?} {inner:?}")
}

/// Indices that lead somewhere.
fn traced(statement: &Statement, traced: &Traced) {
    let valid = |origin: &Origin| match *origin {
        Origin::Column { relation, column } => {
            assert!(relation < statement.relations.len() && column < columns().len());
        }
        Origin::Relation(relation) => assert!(relation < statement.relations.len()),
        Origin::Function(function) => assert!(function < statement.functions.len()),
        Origin::Unresolved => {}
    };
    for item in &traced.outputs.items {
        let (OutputItem::Column(column) | OutputItem::Star(column)) = item;
        column.origins.iter().for_each(valid);
    }
    traced.touched.iter().for_each(valid);
    for found in &traced.uses {
        valid(&found.origin);
        assert!(
            found
                .into
                .as_ref()
                .is_none_or(|to| to.relation < statement.relations.len())
        );
    }
}

/// Every relation has the same columns, or none is known; no function is trusted.
struct Catalog(Option<[Column; 3]>);

fn columns() -> [Column; 3] {
    [("id", false), ("ssn", true), ("a", true)].map(|(name, labelled)| Column {
        name: name.to_owned(),
        labelled,
    })
}

impl Oracle for Catalog {
    fn has_own_equality(&self) -> bool {
        false
    }

    fn has_system_columns(&self, _: usize) -> bool {
        false
    }

    fn columns(&self, _: usize) -> Option<&[Column]> {
        self.0.as_ref().map(<[Column; 3]>::as_slice)
    }

    fn fills(&self, _: usize, _: Option<usize>) -> bool {
        false
    }

    fn is_trusted(&self, _: usize) -> bool {
        false
    }

    fn keeps(&self, _: usize) -> bool {
        true
    }

    fn is_redefined(&self, _: usize) -> bool {
        false
    }

    fn is_harmless_field(&self, _: &str) -> bool {
        false
    }
}
