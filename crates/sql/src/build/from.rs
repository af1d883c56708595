//! FROM items.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    Alias as RawAlias, JoinExpr, JoinType, JsonTable, Node, RangeFunction, RangeTableFunc, RangeVar,
};

use super::{Builder, text, texts};
use crate::Access;
use crate::ir::{Alias, From, Join, JoinSide};

impl Builder {
    pub(super) fn items(&mut self, nodes: &[Node]) -> Vec<From> {
        nodes.iter().map(|node| self.from(node)).collect()
    }

    pub(super) fn from(&mut self, node: &Node) -> From {
        match node.node.as_ref() {
            Some(NodeEnum::RangeVar(range)) => self.range(range),
            Some(NodeEnum::RangeSubselect(subselect)) => match subselect.subquery.as_deref() {
                Some(query) => From::Query {
                    lateral: subselect.lateral,
                    query: self.query_node(query),
                    alias: alias(subselect.alias.as_ref()),
                },
                None => From::Unknown,
            },
            Some(NodeEnum::RangeFunction(function)) => self.range_function(function),
            Some(NodeEnum::RangeTableFunc(function)) => self.xml_table(function),
            Some(NodeEnum::JsonTable(table)) => self.json_table(table),
            Some(NodeEnum::JoinExpr(join)) => self.join(join),
            Some(NodeEnum::RangeTableSample(sample)) => {
                self.function(&sample.method);
                let mut args = self.exprs(&sample.args);
                args.extend(self.child(sample.repeatable.as_deref()));
                match sample.relation.as_deref() {
                    Some(relation) => From::Sample {
                        from: Box::new(self.from(relation)),
                        args,
                    },
                    None => From::Unknown,
                }
            }
            _ => {
                self.opaque("unknown kind of FROM item");
                From::Unknown
            }
        }
    }

    fn range(&mut self, range: &RangeVar) -> From {
        let alias = alias(range.alias.as_ref());
        match self.cte(range) {
            Some(id) => From::Cte {
                id,
                name: range.relname.clone(),
                alias,
                nested: self.cte_depths.get(id).is_none_or(|at| *at < self.depth),
            },
            None => From::Relation {
                relation: self.relation(range, Access::Read),
                alias,
            },
        }
    }

    fn range_function(&mut self, range: &RangeFunction) -> From {
        let mut args = Vec::new();
        let mut name = None;
        let mut columns = column_names(&range.coldeflist);
        self.column_types(&range.coldeflist);
        for function in &range.functions {
            // Each is a list of the call and its own column definitions.
            let Some(NodeEnum::List(pair)) = function.node.as_ref() else {
                self.opaque("unknown form of function in FROM");
                continue;
            };
            for part in &pair.items {
                match part.node.as_ref() {
                    None => {}
                    Some(NodeEnum::List(definitions)) => {
                        self.column_types(&definitions.items);
                        columns = None;
                    }
                    Some(NodeEnum::FuncCall(call)) => {
                        name = call.funcname.last().and_then(text).map(str::to_owned);
                        args.push(self.expr(part));
                    }
                    Some(_) => args.push(self.expr(part)),
                }
            }
        }
        if range.ordinality || range.functions.len() != 1 {
            columns = None;
        }
        if range.functions.len() != 1 {
            name = None;
        }
        From::Function {
            args,
            columns,
            name,
            alias: alias(range.alias.as_ref()),
        }
    }

    fn column_types(&mut self, definitions: &[Node]) {
        for definition in definitions {
            if let Some(NodeEnum::ColumnDef(definition)) = definition.node.as_ref() {
                self.type_name(definition.type_name.as_ref());
            }
        }
    }

    fn xml_table(&mut self, table: &RangeTableFunc) -> From {
        let mut args = self.child(table.docexpr.as_deref());
        args.extend(self.child(table.rowexpr.as_deref()));
        args.extend(self.exprs(&table.namespaces));
        let mut columns = Vec::new();
        for column in &table.columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = column.node.as_ref() else {
                self.opaque("unknown form of XMLTABLE column");
                continue;
            };
            self.type_name(column.type_name.as_ref());
            columns.push(column.colname.clone());
            args.extend(self.child(column.colexpr.as_deref()));
            args.extend(self.child(column.coldefexpr.as_deref()));
        }
        let name = Some("xmltable".to_owned());
        From::Function {
            args,
            columns: Some(columns),
            name,
            alias: alias(table.alias.as_ref()),
        }
    }

    fn json_table(&mut self, table: &JsonTable) -> From {
        let mut args = self.json_value(table.context_item.as_deref());
        args.extend(self.exprs(&table.passing));
        args.extend(self.json_behavior(table.on_error.as_deref()));
        let mut columns = Vec::new();
        self.json_columns(&table.columns, &mut columns, &mut args);
        let name = Some("json_table".to_owned());
        From::Function {
            args,
            columns: Some(columns),
            name,
            alias: alias(table.alias.as_ref()),
        }
    }

    fn join(&mut self, join: &JoinExpr) -> From {
        let (Some(left), Some(right)) = (join.larg.as_deref(), join.rarg.as_deref()) else {
            self.opaque("join without two sides");
            return From::Unknown;
        };
        let side = match JoinType::try_from(join.jointype) {
            Ok(JoinType::JoinInner | JoinType::JoinLeft) => JoinSide::Left,
            Ok(JoinType::JoinRight) => JoinSide::Right,
            _ => JoinSide::Both,
        };
        From::Join(Box::new(Join {
            side,
            natural: join.is_natural,
            left: self.from(left),
            right: self.from(right),
            using: texts(&join.using_clause),
            using_alias: join
                .join_using_alias
                .as_ref()
                .map(|alias| alias.aliasname.clone()),
            on: self.optional(join.quals.as_deref()),
            alias: alias(join.alias.as_ref()),
        }))
    }
}

pub(super) fn alias(alias: Option<&RawAlias>) -> Option<Alias> {
    let alias = alias?;
    Some(Alias {
        name: alias.aliasname.clone(),
        columns: texts(&alias.colnames),
    })
}

fn column_names(definitions: &[Node]) -> Option<Vec<String>> {
    let names: Vec<String> = definitions
        .iter()
        .filter_map(|definition| match definition.node.as_ref() {
            Some(NodeEnum::ColumnDef(definition)) => Some(definition.colname.clone()),
            _ => None,
        })
        .collect();
    (!names.is_empty()).then_some(names)
}
