//! The SQL/JSON expressions, and the end of the road for unknown nodes. Servers before PostgreSQL 16 and 17 know no
//! such expressions: to them `json_scalar(x)` calls a function.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JsonAggConstructor, JsonBehavior, JsonExprOp, JsonKeyValue, JsonOutput, JsonValueExpr, Node,
};

use super::Builder;
use crate::ir::{Call, Expr};

impl Builder {
    pub(super) fn json(&mut self, node: &NodeEnum) -> Expr {
        let (name, parts) = match node {
            NodeEnum::JsonValueExpr(value) => return Expr::Computed(self.json_value(Some(value))),
            NodeEnum::JsonParseExpr(parse) => {
                self.json_output(parse.output.as_ref());
                ("json", self.json_value(parse.expr.as_deref()))
            }
            NodeEnum::JsonScalarExpr(scalar) => {
                self.json_output(scalar.output.as_ref());
                ("json_scalar", self.child(scalar.expr.as_deref()))
            }
            NodeEnum::JsonSerializeExpr(serialize) => {
                self.json_output(serialize.output.as_ref());
                ("json_serialize", self.json_value(serialize.expr.as_deref()))
            }
            NodeEnum::JsonIsPredicate(test) => {
                let arg = self.child(test.expr.as_deref());
                return Expr::Compare {
                    equal: false,
                    left: Box::new(Expr::Computed(arg)),
                    right: Box::new(Expr::Const),
                };
            }
            NodeEnum::JsonKeyValue(pair) => return Expr::Computed(self.json_pair(Some(pair))),
            NodeEnum::JsonArgument(argument) => {
                return Expr::Computed(self.json_value(argument.val.as_deref()));
            }
            NodeEnum::JsonObjectConstructor(object) => {
                self.json_output(object.output.as_ref());
                ("json_object", self.exprs(&object.exprs))
            }
            NodeEnum::JsonArrayConstructor(array) => {
                self.json_output(array.output.as_ref());
                ("json_array", self.exprs(&array.exprs))
            }
            NodeEnum::JsonArrayQueryConstructor(array) => {
                self.json_output(array.output.as_ref());
                let Some(query) = array.query.as_deref() else {
                    return Expr::Const;
                };
                let query = Box::new(self.query_node(query));
                self.unqualified_function("json_arrayagg");
                return Expr::Computed(vec![Expr::SubLink {
                    kind: crate::ir::SubLink::Array,
                    test: None,
                    query,
                }]);
            }
            NodeEnum::JsonFuncExpr(function) => {
                self.json_output(function.output.as_ref());
                let mut parts = self.json_value(function.context_item.as_deref());
                parts.extend(self.child(function.pathspec.as_deref()));
                parts.extend(self.exprs(&function.passing));
                parts.extend(self.json_behavior(function.on_empty.as_deref()));
                parts.extend(self.json_behavior(function.on_error.as_deref()));
                let name = match JsonExprOp::try_from(function.op) {
                    Ok(JsonExprOp::JsonExistsOp) => "json_exists",
                    Ok(JsonExprOp::JsonValueOp) => "json_value",
                    _ => "json_query",
                };
                (name, parts)
            }
            NodeEnum::JsonBehavior(behavior) => {
                return Expr::Computed(self.json_behavior(Some(behavior)));
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                let args = self.json_pair(aggregate.arg.as_deref());
                return self.json_aggregate(
                    "json_objectagg",
                    aggregate.constructor.as_deref(),
                    args,
                );
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                let args = self.json_value(aggregate.arg.as_deref());
                return self.json_aggregate(
                    "json_arrayagg",
                    aggregate.constructor.as_deref(),
                    args,
                );
            }
            _ => {
                self.opaque("unknown kind of expression");
                return Expr::Unknown;
            }
        };
        self.newer_function(name, parts)
    }

    fn json_output(&mut self, output: Option<&JsonOutput>) {
        self.type_name(output.and_then(|output| output.type_name.as_ref()));
    }

    pub(super) fn json_value(&mut self, value: Option<&JsonValueExpr>) -> Vec<Expr> {
        let Some(value) = value else {
            return Vec::new();
        };
        let mut parts = self.child(value.raw_expr.as_deref());
        parts.extend(self.child(value.formatted_expr.as_deref()));
        parts
    }

    fn json_pair(&mut self, pair: Option<&JsonKeyValue>) -> Vec<Expr> {
        let Some(pair) = pair else { return Vec::new() };
        let mut parts = self.child(pair.key.as_deref());
        parts.extend(self.json_value(pair.value.as_deref()));
        parts
    }

    pub(super) fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) -> Vec<Expr> {
        behavior
            .map(|behavior| self.child(behavior.expr.as_deref()))
            .unwrap_or_default()
    }

    fn json_aggregate(
        &mut self,
        name: &str,
        constructor: Option<&JsonAggConstructor>,
        args: Vec<Expr>,
    ) -> Expr {
        let Some(constructor) = constructor else {
            return self.newer_function(name, args);
        };
        self.json_output(constructor.output.as_ref());
        Expr::Call(Box::new(Call {
            function: Some(self.unqualified_function(name)),
            args,
            order: self.exprs(&constructor.agg_order),
            filter: self.optional(constructor.agg_filter.as_deref()),
            over: constructor
                .over
                .as_deref()
                .map(|window| self.window(window)),
            ..Call::default()
        }))
    }

    /// The columns of JSON_TABLE, nested ones included: names and expressions.
    pub(super) fn json_columns(
        &mut self,
        columns: &[Node],
        names: &mut Vec<String>,
        args: &mut Vec<Expr>,
    ) {
        for column in columns {
            let Some(NodeEnum::JsonTableColumn(column)) = column.node.as_ref() else {
                self.opaque("unknown form of JSON_TABLE column");
                continue;
            };
            self.type_name(column.type_name.as_ref());
            if column.columns.is_empty() {
                names.push(column.name.clone());
            }
            args.extend(self.json_behavior(column.on_empty.as_deref()));
            args.extend(self.json_behavior(column.on_error.as_deref()));
        }
        // Those of nested paths come behind all others of a level.
        for column in columns {
            if let Some(NodeEnum::JsonTableColumn(column)) = column.node.as_ref() {
                self.json_columns(&column.columns, names, args);
            }
        }
    }
}
