//! Expressions.

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{
    AExpr, AExprKind, AIndirection, CaseExpr, ColumnRef, FuncCall, Node, SubLink as RawSubLink,
    SubLinkType, TypeName, WindowDef,
};

use super::{Builder, qualified, text};
use crate::collect::PICKS;
use crate::ir::{Call, ColumnName, Expr, SYSTEM_USER, SubLink, Window};

/// Types of the server's, and one that is widely added, whose values are equal to what they look like.
const USUAL_TYPES: &[&str] = &[
    "bit",
    "bool",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "citext",
    "date",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "oid",
    "regclass",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varbit",
    "varchar",
    "xml",
];

/// Functions by which applications tidy, cut, join, hide or hash a text: `substring` is none, since it
/// finds nothing where a pattern does not match.
const TOTAL_FUNCTIONS: &[&str] = &[
    "btrim",
    "concat",
    "concat_ws",
    "crypt",
    "digest",
    "encode",
    "encrypt",
    "format",
    "hmac",
    "initcap",
    "jsonb_set",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "normalize",
    "overlay",
    "pgp_sym_encrypt",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "round",
    "rpad",
    "rtrim",
    "sha256",
    "sha512",
    "translate",
    "unaccent",
    "upper",
];

impl Builder {
    pub(super) fn exprs(&mut self, nodes: &[Node]) -> Vec<Expr> {
        nodes.iter().map(|node| self.expr(node)).collect()
    }

    pub(super) fn optional(&mut self, node: Option<&Node>) -> Option<Expr> {
        node.map(|node| self.expr(node))
    }

    /// An optional child as a list of none or one.
    pub(super) fn child(&mut self, node: Option<&Node>) -> Vec<Expr> {
        self.optional(node).into_iter().collect()
    }

    pub(super) fn expr(&mut self, node: &Node) -> Expr {
        let Some(node) = node.node.as_ref() else {
            return Expr::Const;
        };
        match node {
            NodeEnum::AConst(constant) => {
                self.statement.has_literals |= !constant.isnull;
                self.constant(constant);
                Expr::Const
            }
            NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::AStar(_) => Expr::Const,
            NodeEnum::ParamRef(_) => Expr::Param,
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::AExpr(expr) => self.operation(expr),
            NodeEnum::BoolExpr(expr) => Expr::Bool(self.exprs(&expr.args)),
            NodeEnum::BooleanTest(test) => Expr::Bool(self.child(test.arg.as_deref())),
            NodeEnum::NullTest(test) => match test.arg.as_deref() {
                Some(arg) => Expr::NullTest(Box::new(self.expr(arg))),
                None => Expr::Const,
            },
            NodeEnum::FuncCall(call) if is_system_user(call) => Expr::Column(ColumnName {
                parts: vec![SYSTEM_USER.to_owned()],
                star: false,
            }),
            NodeEnum::FuncCall(call) => Expr::Call(Box::new(self.call(call))),
            NodeEnum::MergeSupportFunc(_) => self.newer_function("merge_action", Vec::new()),
            NodeEnum::TypeCast(cast) => {
                self.statement.operates = true;
                self.type_name(cast.type_name.as_ref());
                match self.optional(cast.arg.as_deref()) {
                    None => Expr::Const,
                    Some(constant @ (Expr::Const | Expr::Param))
                        if cast.type_name.as_ref().is_some_and(compares_as_usual) =>
                    {
                        constant
                    }
                    Some(inner) => {
                        let to = cast.type_name.as_ref().and_then(plain_type);
                        Expr::Cast(Box::new(inner), to)
                    }
                }
            }
            // A collation decides what a value is equal to, and may ignore most of it.
            NodeEnum::CollateClause(clause) => match self.optional(clause.arg.as_deref()) {
                None => Expr::Const,
                Some(inner) => Expr::Cast(Box::new(inner), None),
            },
            NodeEnum::SubLink(link) => self.sub_link(link),
            NodeEnum::CaseExpr(case) => self.case(case),
            NodeEnum::RowExpr(row) => Expr::Row(self.exprs(&row.args)),
            NodeEnum::AArrayExpr(array) => {
                let elements = self.exprs(&array.elements);
                if elements
                    .iter()
                    .all(|element| matches!(element, Expr::Const))
                {
                    return Expr::Const;
                }
                Expr::Array(elements)
            }
            NodeEnum::AIndirection(indirection) => self.indirection(indirection),
            NodeEnum::CoalesceExpr(expr) => Expr::Chosen(self.exprs(&expr.args)),
            NodeEnum::MinMaxExpr(expr) => Expr::Computed(self.exprs(&expr.args)),
            NodeEnum::NamedArgExpr(arg) => self.optional(arg.arg.as_deref()).unwrap_or(Expr::Const),
            NodeEnum::GroupingFunc(grouping) => {
                self.exprs(&grouping.args);
                Expr::Const
            }
            NodeEnum::GroupingSet(set) => Expr::Computed(self.exprs(&set.content)),
            NodeEnum::List(list) => Expr::Computed(self.exprs(&list.items)),
            NodeEnum::XmlExpr(xml) => {
                let mut parts = self.exprs(&xml.args);
                parts.extend(self.exprs(&xml.named_args));
                Expr::Computed(parts)
            }
            NodeEnum::XmlSerialize(xml) => {
                self.type_name(xml.type_name.as_ref());
                Expr::Computed(self.child(xml.expr.as_deref()))
            }
            NodeEnum::ResTarget(target) => Expr::Computed(self.child(target.val.as_deref())),
            NodeEnum::SortBy(sort) => Expr::Computed(self.child(sort.node.as_deref())),
            NodeEnum::IndexElem(element) => Expr::Computed(self.child(element.expr.as_deref())),
            other => self.json(other),
        }
    }

    /// What this grammar has a keyword for and the grammars of older servers have not: to them it is a call of
    /// any function that has the name.
    pub(super) fn newer_function(&mut self, name: &str, args: Vec<Expr>) -> Expr {
        Expr::Call(Box::new(Call {
            function: Some(self.unqualified_function(name)),
            args,
            ..Call::default()
        }))
    }

    fn column(&mut self, column: &ColumnRef) -> Expr {
        let mut parts = Vec::with_capacity(column.fields.len());
        let mut star = false;
        for field in &column.fields {
            match field.node.as_ref() {
                Some(NodeEnum::String(name)) => parts.push(name.sval.clone()),
                Some(NodeEnum::AStar(_)) => star = true,
                _ => {
                    self.opaque("unknown form of column reference");
                    return Expr::Unknown;
                }
            }
        }
        if let [_, .., name] = parts.as_slice()
            && !star
        {
            self.field(name);
        }
        Expr::Column(ColumnName { parts, star })
    }

    fn operation(&mut self, expr: &AExpr) -> Expr {
        self.statement.operates = true;
        let own = self.operator(&expr.name);
        let name = expr.name.last().and_then(text).unwrap_or("").to_owned();
        let left = self.optional(expr.lexpr.as_deref());
        let right = match expr.rexpr.as_deref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::List(list)) => Some(Expr::Array(self.exprs(&list.items))),
            _ => self.optional(expr.rexpr.as_deref()),
        };
        if !own {
            return Expr::Computed(
                left.into_iter()
                    .chain(right)
                    .chain([Expr::Unknown])
                    .collect(),
            );
        }
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) => (left, right),
            // Prefix operators: constants stay constants, so that `= -1` compares with one.
            (None, Some(Expr::Const) | None) | (Some(Expr::Const), None) => return Expr::Const,
            (None, Some(operand)) | (Some(operand), None) => return Expr::Computed(vec![operand]),
        };
        let pair = |equal, left, right| Expr::Compare {
            equal,
            left: Box::new(left),
            right: Box::new(right),
        };
        match AExprKind::try_from(expr.kind) {
            Ok(AExprKind::AexprIn) => {
                let list = match right {
                    Expr::Array(list) => list,
                    other => vec![other],
                };
                if name == "=" {
                    Expr::In {
                        left: Box::new(left),
                        list,
                    }
                } else {
                    // NOT IN
                    Expr::Bool(vec![Expr::In {
                        left: Box::new(left),
                        list,
                    }])
                }
            }
            Ok(AExprKind::AexprNotDistinct) => pair(true, left, right),
            // NOT of the same tells the same.
            Ok(AExprKind::AexprDistinct) => Expr::Bool(vec![pair(true, left, right)]),
            Ok(AExprKind::AexprOpAny) if name == "=" => {
                let left = Box::new(left);
                match literals(expr.rexpr.as_deref()) {
                    Some(number) => Expr::In {
                        left,
                        list: std::iter::repeat_with(|| Expr::Const)
                            .take(number)
                            .collect(),
                    },
                    None => Expr::Any {
                        left,
                        array: Box::new(right),
                    },
                }
            }
            Ok(AExprKind::AexprOpAny) => pair(false, left, right),
            Ok(AExprKind::AexprNullif) => Expr::Computed(vec![left, right]),
            Ok(AExprKind::AexprOp) => {
                if name == "=" {
                    pair(true, left, right)
                } else if compares(&name) {
                    pair(false, left, right)
                } else if matches!((&left, &right), (Expr::Const, Expr::Const)) {
                    Expr::Const
                } else if name == "||" {
                    Expr::Call(Box::new(Call {
                        total: true,
                        args: vec![left, right],
                        ..Call::default()
                    }))
                } else if matches!(name.as_str(), "+" | "-" | "*") {
                    Expr::Chosen(vec![left, right])
                } else {
                    Expr::Computed(vec![left, right])
                }
            }
            _ => pair(false, left, right),
        }
    }

    pub(super) fn call(&mut self, call: &FuncCall) -> Call {
        let function = match qualified(&call.funcname) {
            // `json_object(…)` is a keyword since PostgreSQL 16.
            Some(named) if named.name == "json_object" => {
                Some(self.unqualified_function("json_object"))
            }
            _ => self.function(&call.funcname),
        };
        if function.is_none() {
            self.opaque("function without a name");
        }
        self.set_config(call);
        let count = is_count(call);
        self.statement.picks_any_number |= picks_any_number(call);
        Call {
            function,
            count,
            sets: returns_sets(call),
            total: is_total(call),
            cases: is_of_server(call, &["lower", "upper", "initcap"]),
            distinct: call.agg_distinct,
            args: self.exprs(&call.args),
            order: self.exprs(&call.agg_order),
            within_group: call.agg_within_group,
            filter: self.optional(call.agg_filter.as_deref()),
            over: call.over.as_deref().map(|window| self.window(window)),
        }
    }

    pub(super) fn window(&mut self, window: &WindowDef) -> Window {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let mut frame = self.child(window.start_offset.as_deref());
        frame.extend(self.child(window.end_offset.as_deref()));
        Window {
            name: name(&window.name),
            base: name(&window.refname),
            partition: self.exprs(&window.partition_clause),
            order: self.exprs(&window.order_clause),
            frame,
        }
    }

    fn sub_link(&mut self, link: &RawSubLink) -> Expr {
        let test = self.optional(link.testexpr.as_deref()).map(Box::new);
        let own = self.operator(&link.oper_name);
        let query = match link.subselect.as_deref() {
            Some(node) => self.query_node(node),
            None => {
                self.opaque("subquery without a body");
                return Expr::Unknown;
            }
        };
        let operator = link.oper_name.last().and_then(text);
        let kind = match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => SubLink::Exists,
            Ok(SubLinkType::ExprSublink) => SubLink::Scalar,
            // The aggregate by another name.
            Ok(SubLinkType::ArraySublink) => {
                self.named_function("array_agg");
                SubLink::Array
            }
            Ok(SubLinkType::AnySublink) => SubLink::Compare {
                equal: operator.is_none_or(|name| name == "="),
            },
            Ok(SubLinkType::AllSublink | SubLinkType::RowcompareSublink) => {
                SubLink::Compare { equal: false }
            }
            _ => {
                self.opaque("unknown kind of subquery");
                return Expr::Unknown;
            }
        };
        let link = Expr::SubLink {
            kind,
            test,
            query: Box::new(query),
        };
        if own {
            link
        } else {
            Expr::Computed(vec![link, Expr::Unknown])
        }
    }

    fn case(&mut self, case: &CaseExpr) -> Expr {
        let arg = self.optional(case.arg.as_deref()).map(Box::new);
        let mut whens = Vec::with_capacity(case.args.len());
        for when in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = when.node.as_ref() else {
                self.opaque("unknown form of CASE");
                continue;
            };
            let condition = self.optional(when.expr.as_deref()).unwrap_or(Expr::Const);
            let result = self.optional(when.result.as_deref()).unwrap_or(Expr::Const);
            whens.push((condition, result));
        }
        let default = self.optional(case.defresult.as_deref()).map(Box::new);
        Expr::Case {
            arg,
            whens,
            default,
        }
    }

    fn indirection(&mut self, indirection: &AIndirection) -> Expr {
        let base = self
            .optional(indirection.arg.as_deref())
            .unwrap_or(Expr::Unknown);
        let (mut name, mut star) = (None, false);
        let (mut later, mut subscripts) = (Vec::new(), Vec::new());
        for (position, step) in indirection.indirection.iter().enumerate() {
            match step.node.as_ref() {
                Some(NodeEnum::String(field)) => {
                    self.field(&field.sval);
                    if position == 0 {
                        name = Some(field.sval.clone());
                    } else {
                        later.push(field.sval.clone());
                    }
                }
                Some(NodeEnum::AStar(_)) => star = true,
                Some(NodeEnum::AIndices(indices)) => {
                    subscripts.extend(self.child(indices.lidx.as_deref()));
                    subscripts.extend(self.child(indices.uidx.as_deref()));
                }
                _ => self.opaque("unknown form of field selection"),
            }
        }
        Expr::Field {
            base: Box::new(base),
            name,
            star,
            later,
            subscripts,
        }
    }
}

/// How many literals `ARRAY['1', '2']` has, if it has nothing else: a parameter, or a literal that is cast,
/// may be an array itself.
fn literals(array: Option<&Node>) -> Option<usize> {
    let literal = |node: &Node| matches!(node.node, Some(NodeEnum::AConst(_)));
    match array?.node.as_ref()? {
        NodeEnum::AArrayExpr(array) => {
            let all = array.elements.iter().all(literal);
            all.then_some(array.elements.len())
        }
        NodeEnum::TypeCast(cast) => literals(cast.arg.as_deref()),
        _ => None,
    }
}

/// Whether a value of this type is equal to what it looks like: no domain with a collation of its own,
/// no type with operators of its own.
pub(super) fn compares_as_usual(name: &TypeName) -> bool {
    qualified(&name.names).is_some_and(|name| {
        name.schema
            .as_deref()
            .is_none_or(|schema| schema == "pg_catalog")
            && USUAL_TYPES.contains(&name.name.as_str())
    })
}

/// The server's own type that is named without a length, so that a value of it stays what it is.
pub(super) fn plain_type(name: &TypeName) -> Option<&'static str> {
    let found = qualified(&name.names)?;
    let own = found.schema.is_none_or(|schema| schema == "pg_catalog");
    let plain = name.typmods.is_empty() && name.array_bounds.is_empty() && !name.setof;
    (own && plain).then(|| crate::own_type(&found.name))?
}

/// Whether an operator answers yes or no about its operands rather than computing a value.
fn compares(operator: &str) -> bool {
    operator.contains(['=', '<', '>', '~', '@', '?', '&']) && !operator.contains(['-', '#', '+'])
        || operator.starts_with('!')
}

/// Whether a function of the server's returns any number of rows.
fn returns_sets(call: &FuncCall) -> bool {
    let name = call.funcname.last().and_then(text).unwrap_or_default();
    let of_documents = ["json_", "jsonb_"]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|rest| {
            rest.starts_with("array_elements")
                || rest.starts_with("each")
                || rest.starts_with("path_query") && !rest.contains("first")
                || rest.ends_with("recordset")
                || rest == "object_keys"
        });
    of_documents
        || name.starts_with("pg_")
        || name.starts_with("generate_")
        || name.ends_with("_to_table")
        || matches!(
            name,
            "unnest" | "regexp_matches" | "ts_stat" | "ts_parse" | "ts_debug" | "ts_token_type"
        )
        || matches!(name, "aclexplode" | "_pg_expandarray" | "query_to_xml")
}

/// Whether an aggregate gives the values at places whose number the text does not say, or that are many.
fn picks_any_number(call: &FuncCall) -> bool {
    let name = call.funcname.last().and_then(text).unwrap_or_default();
    let few = |places: &Node| match places.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => {
            matches!(constant.val, Some(Val::Fval(_) | Val::Ival(_)))
        }
        Some(NodeEnum::AArrayExpr(array)) => array.elements.len() <= PICKS,
        _ => false,
    };
    name.starts_with("percentile_") && !call.args.first().is_some_and(few)
}

/// Whether a function of the server's makes null of nothing but null.
fn is_total(call: &FuncCall) -> bool {
    is_of_server(call, TOTAL_FUNCTIONS)
}

/// Whether a call names one of these functions of the server's.
fn is_of_server(call: &FuncCall, functions: &[&str]) -> bool {
    let mut parts = call.funcname.iter().rev().filter_map(text);
    let name = parts.next().unwrap_or_default();
    parts.next().is_none_or(|schema| schema == "pg_catalog") && functions.contains(&name)
}

/// The server's own `count`.
fn is_count(call: &FuncCall) -> bool {
    let mut parts = call.funcname.iter().rev().filter_map(text);
    parts.next() == Some("count")
        && parts.next().is_none_or(|schema| schema == "pg_catalog")
        && call.args.len() <= 1
        && !call.agg_within_group
}

/// `SYSTEM_USER`, which is the name of a column to servers before PostgreSQL 16.
fn is_system_user(call: &FuncCall) -> bool {
    call.args.is_empty() && qualified(&call.funcname).is_some_and(|named| named.name == SYSTEM_USER)
}
