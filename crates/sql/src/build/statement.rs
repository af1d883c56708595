//! Statements that PostgreSQL plans, and the nesting of statements in others.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, CreateTableAsStmt, DeclareCursorStmt, ExecuteStmt, ExplainStmt, IntoClause, Node,
    ParseResult, PrepareStmt, RawStmt, ReturnStmt, ViewStmt,
};

use super::settings::literal;
use super::{Builder, is_temporary, texts};
use crate::ir::{Body, Expr, Query, Root, Select, Target};
use crate::{
    Access, CopyDirection, CopyEndpoint, CopySpec, Cursor, Effect, Explain, Lineage, Prepared,
    Script, Statement,
};

/// `CURSOR_OPT_BINARY` and `CURSOR_OPT_HOLD` of the server's `parsenodes.h`.
const CURSOR_BINARY: i32 = 0x0001;
const CURSOR_HOLD: i32 = 0x0020;

/// All statements of a parsed text.
pub(crate) fn script(tree: &ParseResult, text: &str) -> Script {
    let statements = tree.stmts.iter().map(|raw| top(raw, text)).collect();
    Script { statements }
}

fn top(raw: &RawStmt, text: &str) -> Statement {
    let start = usize::try_from(raw.stmt_location)
        .unwrap_or(0)
        .min(text.len());
    let length = usize::try_from(raw.stmt_len).unwrap_or(0);
    let end = if length == 0 {
        text.len()
    } else {
        start.saturating_add(length).min(text.len())
    };
    match raw.stmt.as_deref() {
        Some(node) => statement(node, start..end),
        None => Statement {
            range: start..end,
            ..Statement::default()
        },
    }
}

/// One statement, from nothing.
pub(super) fn statement(node: &Node, range: Range<usize>) -> Statement {
    let mut builder = Builder::new(range);
    let root = builder.run(node);
    builder.statement.lineage =
        Lineage::new(root, builder.statement.relations.clone(), builder.next_cte);
    builder.statement
}

impl Builder {
    /// Walks one statement into this one.
    pub(super) fn run(&mut self, node: &Node) -> Root {
        let Some(kind) = node.node.as_ref() else {
            self.opaque("empty statement");
            return Root::Unknown;
        };
        match kind {
            NodeEnum::SelectStmt(select) => {
                let query = self.select(select);
                self.effect(Effect::Select);
                match self.into.take() {
                    Some((relation, columns)) => {
                        self.stored_since(0);
                        self.tag("SELECT INTO");
                        Root::Into {
                            relation,
                            columns,
                            query,
                            stored: true,
                        }
                    }
                    None => {
                        self.tag("SELECT");
                        self.statement.returns_rows = true;
                        Root::Query(query)
                    }
                }
            }
            NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => {
                self.tag(match kind {
                    NodeEnum::InsertStmt(_) => "INSERT",
                    NodeEnum::UpdateStmt(_) => "UPDATE",
                    NodeEnum::DeleteStmt(_) => "DELETE",
                    _ => "MERGE",
                });
                let query = self.query_node(node);
                let returning = matches!(&query.body, Body::Dml(dml) if dml.returning.is_some());
                self.statement.returning = returning;
                self.statement.returns_rows = returning;
                Root::Query(query)
            }
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::CreateTableAsStmt(create) => self.create_table_as(create),
            NodeEnum::ViewStmt(view) => self.view(view),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::DeclareCursorStmt(declare) => self.declare(declare),
            NodeEnum::ReturnStmt(value) => self.return_value(value),
            _ => self.utility(kind),
        }
    }

    pub(super) fn tag(&mut self, tag: &'static str) {
        self.statement.tag = tag;
    }

    /// The target of SELECT INTO, which the query walk meets on its way.
    pub(super) fn select_into(&mut self, into: &IntoClause) {
        self.into = self.created(into);
    }

    fn created(&mut self, into: &IntoClause) -> Option<(usize, Vec<String>)> {
        self.effect(Effect::Create);
        self.statement.changes_schema = true;
        self.statement.temporary = is_temporary(into.rel.as_ref());
        let relation = self.relation(into.rel.as_ref()?, Access::Write);
        Some((relation, texts(&into.col_names)))
    }

    fn explain(&mut self, explain: &ExplainStmt) -> Root {
        let mut analyze = false;
        for option in &explain.options {
            if let Some(NodeEnum::DefElem(option)) = option.node.as_ref()
                && option.defname.eq_ignore_ascii_case("analyze")
            {
                let value = option.arg.as_deref().and_then(literal);
                let off = value.is_some_and(|value| {
                    let value = value.to_ascii_lowercase();
                    matches!(value.as_str(), "false" | "off" | "0")
                });
                analyze |= !off;
            }
        }
        let root = match explain.query.as_deref() {
            // No cursor is made: its query alone is explained, and run.
            Some(query) => match query.node.as_ref() {
                Some(NodeEnum::DeclareCursorStmt(declare)) => {
                    let query = declare.query.as_deref();
                    query.map_or(Root::Nothing, |query| self.run(query))
                }
                _ => self.run(query),
            },
            None => Root::Nothing,
        };
        if !analyze {
            self.statement.effects = crate::EffectSet::EMPTY;
            self.statement.where_clause = crate::WhereClause::NotApplicable;
            self.statement.settings.clear();
            self.statement.changes_schema = false;
            self.statement.stores_collected = false;
            if self.statement.opaque.is_some() {
                self.effect(Effect::Other);
            }
        }
        self.effect(Effect::Explain);
        self.tag("EXPLAIN");
        self.statement.explain = Some(Explain { analyze });
        self.statement.returns_rows = true;
        self.statement.returning = false;
        Root::Explain(Box::new(root))
    }

    fn copy(&mut self, copy: &CopyStmt) -> Root {
        self.tag("COPY");
        let direction = if copy.is_from {
            CopyDirection::From
        } else {
            CopyDirection::To
        };
        let endpoint = match (copy.is_program, copy.filename.is_empty()) {
            (true, _) => CopyEndpoint::Program(copy.filename.clone()),
            (false, false) => CopyEndpoint::File(copy.filename.clone()),
            (false, true) => CopyEndpoint::Client,
        };
        self.effect(match (&endpoint, direction) {
            (CopyEndpoint::Program(_), _) => Effect::CopyProgram,
            (CopyEndpoint::File(_), _) => Effect::CopyFile,
            (CopyEndpoint::Client, CopyDirection::From) => Effect::CopyIn,
            (CopyEndpoint::Client, CopyDirection::To) => Effect::CopyOut,
        });
        let access = if copy.is_from {
            Access::Write
        } else {
            Access::Read
        };
        let relation = copy
            .relation
            .as_ref()
            .map(|range| self.relation(range, access));
        let columns = texts(&copy.attlist);
        let filter = self.optional(copy.where_clause.as_deref());
        let format = copy
            .options
            .iter()
            .find_map(|option| match option.node.as_ref() {
                Some(NodeEnum::DefElem(option)) if option.defname == "format" => option
                    .arg
                    .as_deref()
                    .and_then(literal)
                    .map(|format| format.to_ascii_lowercase()),
                _ => None,
            });
        let root = match (relation, copy.query.as_deref()) {
            (Some(relation), None) if copy.is_from => {
                let alias = copy.relation.as_ref().map(|range| range.relname.clone());
                let (alias, columns) = (alias.unwrap_or_default(), columns.clone());
                Root::CopyFrom {
                    relation,
                    alias,
                    columns,
                    filter,
                }
            }
            (Some(relation), None) => Root::CopyTo {
                relation,
                columns: columns.clone(),
            },
            (None, Some(query)) => Root::Query(self.query_node(query)),
            _ => {
                self.opaque("unknown form of COPY");
                Root::Unknown
            }
        };
        self.statement.copy = Some(CopySpec {
            direction,
            endpoint,
            relation,
            columns,
            format,
        });
        root
    }

    fn create_table_as(&mut self, create: &CreateTableAsStmt) -> Root {
        use pg_query::protobuf::ObjectType;
        let materialized = create.objtype == ObjectType::ObjectMatview as i32;
        self.statement.unless_exists = create.if_not_exists;
        let into = create.into.as_deref().and_then(|into| self.created(into));
        let Some(query) = create.query.as_deref() else {
            self.opaque("CREATE TABLE AS without a query");
            return Root::Unknown;
        };
        let root = match query.node.as_ref() {
            Some(NodeEnum::ExecuteStmt(execute)) => {
                self.execute(execute);
                self.statement.returns_rows = false;
                let query = Query::unknown();
                match into {
                    Some((relation, columns)) => Root::Into {
                        relation,
                        columns,
                        query,
                        stored: true,
                    },
                    None => Root::Query(query),
                }
            }
            _ => {
                let query = self.query_node(query);
                self.stored_since(0);
                match into {
                    Some((relation, columns)) => Root::Into {
                        relation,
                        columns,
                        query,
                        stored: true,
                    },
                    None => Root::Query(query),
                }
            }
        };
        self.tag(if materialized {
            "CREATE MATERIALIZED VIEW"
        } else {
            "CREATE TABLE AS"
        });
        root
    }

    fn view(&mut self, view: &ViewStmt) -> Root {
        self.tag("CREATE VIEW");
        self.effect(Effect::Create);
        self.statement.changes_schema = true;
        let (Some(range), Some(query)) = (view.view.as_ref(), view.query.as_deref()) else {
            self.opaque("view without a query");
            return Root::Unknown;
        };
        let relation = self.relation(range, Access::Write);
        let query = self.query_node(query);
        Root::Into {
            relation,
            columns: texts(&view.aliases),
            query,
            stored: false,
        }
    }

    fn prepare(&mut self, prepare: &PrepareStmt) -> Root {
        self.tag("PREPARE");
        self.effect(Effect::Prepare);
        match prepare.query.as_deref() {
            Some(query) => {
                let body = Box::new(statement(query, self.statement.range.clone()));
                self.statement.prepares = Some(Prepared {
                    name: prepare.name.clone(),
                    body,
                });
            }
            None => self.opaque("PREPARE without a statement"),
        }
        Root::Nothing
    }

    fn execute(&mut self, execute: &ExecuteStmt) -> Root {
        self.tag("EXECUTE");
        self.effect(Effect::Execute);
        self.statement.executes = Some(execute.name.clone());
        self.statement.returns_rows = true;
        Root::Execute(self.exprs(&execute.params))
    }

    fn declare(&mut self, declare: &DeclareCursorStmt) -> Root {
        self.tag("DECLARE CURSOR");
        self.effect(Effect::Declare);
        match declare.query.as_deref() {
            Some(query) => {
                self.statement.declares = Some(Cursor {
                    name: declare.portalname.clone(),
                    body: Box::new(statement(query, self.statement.range.clone())),
                    hold: declare.options & CURSOR_HOLD != 0,
                    binary: declare.options & CURSOR_BINARY != 0,
                });
            }
            None => self.opaque("DECLARE without a query"),
        }
        Root::Nothing
    }

    /// `RETURN expression` as the body of a routine.
    fn return_value(&mut self, value: &ReturnStmt) -> Root {
        self.tag("RETURN");
        self.effect(Effect::Select);
        self.statement.returns_rows = true;
        let expr = self
            .optional(value.returnval.as_deref())
            .unwrap_or(Expr::Const);
        let select = Select {
            targets: vec![Target { name: None, expr }],
            ..Select::default()
        };
        Root::Query(Query {
            with: Vec::new(),
            body: Body::Select(Box::new(select)),
            sort: Vec::new(),
            limit: Vec::new(),
        })
    }

    /// A statement that runs later than this one.
    pub(super) fn contain(&mut self, node: &Node) {
        match node.node.as_ref() {
            None => {}
            Some(NodeEnum::List(list)) => {
                for item in &list.items {
                    self.contain(item);
                }
            }
            Some(_) => {
                let inner = statement(node, self.statement.range.clone());
                if let Some(why) = inner.opaque {
                    self.opaque(why);
                }
                self.statement.contained.push(inner);
            }
        }
    }
}
