//! The raw tree to facts and lineage, in one walk.
//!
//! `Builder` holds the `Statement` that grows while its tree is walked. Node kinds that the
//! walk does not know make the statement opaque; nothing is skipped in silence.

mod block;
mod dml;
mod expr;
mod from;
mod inventory;
mod json;
mod query;
mod settings;
mod statement;
mod utility;

#[cfg(test)]
mod tests;

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, Node, RangeVar, TypeName};

use crate::{Access, Effect, FunctionRef, RelationRef, Statement};

pub(crate) use statement::script;

/// Names of the CTEs of one WITH clause and their ids.
type CteScope = Vec<(String, usize)>;

/// Grows one statement.
pub(crate) struct Builder {
    pub(crate) statement: Statement,
    /// CTEs that can be named here, innermost last.
    scopes: Vec<CteScope>,
    next_cte: usize,
    /// In how many queries what is built stands.
    depth: usize,
    /// The same of each CTE's WITH clause.
    cte_depths: Vec<usize>,
    /// Target of a SELECT INTO that was met: relation and column names.
    into: Option<(usize, Vec<String>)>,
    /// Columns that are one literal wherever a target of the select at hand is computed.
    given: Vec<(String, String)>,
    /// Every CTE that was named, in order.
    reads: Vec<usize>,
    /// Whether some CTE collects.
    cte_collects: bool,
}

impl Builder {
    fn new(range: std::ops::Range<usize>) -> Self {
        Self {
            statement: Statement {
                range,
                ..Statement::default()
            },
            scopes: Vec::new(),
            next_cte: 0,
            depth: 0,
            cte_depths: Vec::new(),
            into: None,
            given: Vec::new(),
            reads: Vec::new(),
            cte_collects: false,
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.statement.effects.insert(effect);
    }

    /// How many functions are listed so far.
    fn mark(&self) -> usize {
        self.statement.functions.len()
    }

    /// What was walked since a mark is stored, or may be.
    fn stored_since(&mut self, mark: usize) {
        self.statement.stores_collected |= self.cte_collects || self.collects_since(mark);
    }

    fn collects_since(&self, mark: usize) -> bool {
        let since = self.statement.functions.get(mark..).unwrap_or_default();
        since
            .iter()
            .any(|function| crate::is_collecting(&function.name))
    }

    /// Lists a constant of which nothing but its presence matters.
    fn constant(&mut self, constant: &AConst) {
        self.statement
            .constants
            .plain
            .extend(u32::try_from(constant.location));
    }

    /// Some constant's value matters.
    fn inspects_constants(&mut self) {
        self.statement.constants.inspected = true;
    }

    /// The statement cannot be understood.
    fn opaque(&mut self, why: &'static str) {
        self.effect(Effect::Other);
        self.statement.opaque.get_or_insert(why);
    }

    /// Lists a relation; never a CTE.
    fn relation(&mut self, range: &RangeVar, access: Access) -> usize {
        let schema = (!range.schemaname.is_empty()).then(|| range.schemaname.clone());
        self.named_relation(schema, range.relname.clone(), access)
    }

    fn named_relation(&mut self, schema: Option<String>, name: String, access: Access) -> usize {
        self.statement.relations.push(RelationRef {
            schema,
            name,
            access,
        });
        self.statement.relations.len() - 1
    }

    /// The CTE that an unqualified name means here.
    fn cte(&mut self, range: &RangeVar) -> Option<usize> {
        if !range.schemaname.is_empty() || !range.catalogname.is_empty() {
            return None;
        }
        let mut names = self
            .scopes
            .iter()
            .rev()
            .flat_map(|scope| scope.iter().rev());
        let id = names
            .find(|(name, _)| *name == range.relname)
            .map(|(_, id)| *id)?;
        self.reads.push(id);
        Some(id)
    }

    fn function(&mut self, names: &[Node]) -> Option<usize> {
        let function = qualified(names)?;
        self.statement.functions.push(function);
        Some(self.statement.functions.len() - 1)
    }

    /// Lists a function of the server's own that special syntax stands for.
    fn named_function(&mut self, name: &str) {
        self.statement.functions.push(FunctionRef {
            schema: Some("pg_catalog".to_owned()),
            name: name.to_owned(),
        });
    }

    /// Lists a function that a name alone stands for.
    fn unqualified_function(&mut self, name: &str) -> usize {
        self.statement.functions.push(FunctionRef {
            schema: None,
            name: name.to_owned(),
        });
        self.statement.functions.len() - 1
    }

    /// Lists a name that is a column's or a function's.
    fn field(&mut self, name: &str) {
        self.statement.fields.insert(name.to_owned());
    }

    /// Lists an operator that names its schema; says whether it is the server's own.
    fn operator(&mut self, names: &[Node]) -> bool {
        match qualified(names) {
            Some(FunctionRef { schema: None, .. }) => true,
            Some(operator) => {
                let own = operator.schema.as_deref() == Some("pg_catalog");
                self.statement.operators.push(operator);
                own
            }
            None => true,
        }
    }

    /// Lists a type that names a schema other than the server's own.
    fn type_name(&mut self, name: Option<&TypeName>) {
        let Some(name) = name else { return };
        if let Some(found) = qualified(&name.names)
            && found
                .schema
                .as_deref()
                .is_some_and(|schema| schema != "pg_catalog")
        {
            self.statement.types.push(found);
        }
    }
}

/// Whether a relation goes with the session.
fn is_temporary(relation: Option<&RangeVar>) -> bool {
    relation.is_some_and(|relation| relation.relpersistence == "t")
}

/// The text of a name node.
pub(crate) fn text(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::String(string) => Some(&string.sval),
        _ => None,
    }
}

/// The texts of a list of name nodes.
pub(crate) fn texts(nodes: &[Node]) -> Vec<String> {
    nodes.iter().filter_map(text).map(str::to_owned).collect()
}

/// A name of one to three parts; a catalog in front is dropped.
pub(crate) fn qualified(names: &[Node]) -> Option<FunctionRef> {
    let mut parts = names.iter().rev().filter_map(text);
    let name = parts.next()?.to_owned();
    Some(FunctionRef {
        schema: parts.next().map(str::to_owned),
        name,
    })
}
