//! What is known of a comparison's operands whatever the row holds: that they are one value, how far they lie
//! apart, within which bounds.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, Node, SubLinkType};

use super::literal::{Literal, constant};
use super::whole::{only_target, select_of};
use crate::build::text;

/// The operator or keyword of an expression, without its schema.
pub(super) fn operator(expr: &AExpr) -> Option<&str> {
    expr.name.last().and_then(text)
}

/// A column's own name.
pub(super) fn column_name(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(text),
        _ => None,
    }
}

/// A column that every row has and that is never null.
pub(super) fn is_system_column(node: &Node) -> bool {
    matches!(
        column_name(node),
        Some("ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax")
    )
}

pub(super) fn is_null(node: &Node) -> bool {
    match node.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => constant.isnull,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_null),
        Some(NodeEnum::AExpr(expr)) => {
            expr.kind == AExprKind::AexprNullif as i32
                && same(expr.lexpr.as_deref(), expr.rexpr.as_deref())
        }
        _ => false,
    }
}

/// The sides of an expression with two operands and a plain operator.
fn binary(node: &Node) -> Option<(&Node, &str, &Node)> {
    let Some(NodeEnum::AExpr(expr)) = node.node.as_ref() else {
        return None;
    };
    (expr.kind == AExprKind::AexprOp as i32).then_some(())?;
    Some((
        expr.lexpr.as_deref()?,
        operator(expr)?,
        expr.rexpr.as_deref()?,
    ))
}

/// An operand without what does not change it: `x + 0`, `x * 1`, `x || ''`, `coalesce(x, …)`, `(SELECT x)`,
/// and a CASE or a list that gives `x` whatever happens.
pub(super) fn plain(node: &Node) -> &Node {
    let all_same = |nodes: &[&'_ Node]| {
        let pairs = nodes.windows(2);
        !nodes.is_empty()
            && pairs
                .into_iter()
                .all(|pair| same(pair.first().copied(), pair.last().copied()))
    };
    match node.node.as_ref() {
        Some(NodeEnum::CoalesceExpr(expr)) => {
            let first = expr.args.iter().find(|arg| !is_null(arg));
            return first.map_or(node, plain);
        }
        Some(NodeEnum::MinMaxExpr(expr)) => {
            let args: Vec<&Node> = expr.args.iter().collect();
            return match args.first() {
                Some(first) if all_same(&args) => plain(first),
                _ => node,
            };
        }
        Some(NodeEnum::CaseExpr(case)) => {
            let whens = case.args.iter().map(|when| match when.node.as_ref() {
                Some(NodeEnum::CaseWhen(when)) => when.result.as_deref(),
                _ => None,
            });
            let results: Option<Vec<&Node>> = whens.chain([case.defresult.as_deref()]).collect();
            return match results {
                Some(results) if all_same(&results) => results.first().map_or(node, |it| plain(it)),
                _ => node,
            };
        }
        Some(NodeEnum::SubLink(link)) if link.sub_link_type == SubLinkType::ExprSublink as i32 => {
            let select = link.subselect.as_deref().and_then(select_of);
            let alone = select.filter(|select| {
                select.from_clause.is_empty()
                    && select.where_clause.is_none()
                    && select.limit_count.is_none()
                    && select.limit_offset.is_none()
            });
            return alone.and_then(only_target).map_or(node, plain);
        }
        _ => {}
    }
    let Some((left, name, right)) = binary(node) else {
        return node;
    };
    let is =
        |node: &Node, value: f64| matches!(constant(node), Some(Literal::Number(n)) if n == value);
    let empty =
        |node: &Node| matches!(constant(node), Some(Literal::Text(text)) if text.is_empty());
    match name {
        "+" | "-" | "|" | "#" | "<<" | ">>" if is(right, 0.0) => plain(left),
        "+" | "|" | "#" if is(left, 0.0) => plain(right),
        "*" | "/" | "^" if is(right, 1.0) => plain(left),
        "*" if is(left, 1.0) => plain(right),
        "||" if empty(right) => plain(left),
        "||" if empty(left) => plain(right),
        "&" | "|" if same(Some(left), Some(right)) => plain(left),
        _ => node,
    }
}

/// An operand without its casts as well.
pub(super) fn bare(node: &Node) -> &Node {
    match plain(node) {
        Node {
            node: Some(NodeEnum::TypeCast(cast)),
        } => cast.arg.as_deref().map_or(node, bare),
        Node {
            node: Some(NodeEnum::CollateClause(clause)),
        } => clause.arg.as_deref().map_or(node, bare),
        node => node,
    }
}

/// What arithmetic gives whatever the column holds: `x - x`, `x / x`, `x * 0`, `x % 1`.
pub(super) fn neutral(node: &Node) -> Option<f64> {
    let (left, name, right) = binary(node)?;
    let itself = same(Some(bare(left)), Some(bare(right)));
    let is = |value: f64| matches!(constant(right), Some(Literal::Number(n)) if n == value);
    match name {
        "-" | "#" if itself => Some(0.0),
        "/" if itself => Some(1.0),
        "%" if itself || is(1.0) => Some(0.0),
        "*" | "&" if is(0.0) => Some(0.0),
        "^" if is(0.0) => Some(1.0),
        _ => None,
    }
}

/// Between which numbers an operand lies whatever the column holds: a length, `x * x`, `x % 10`.
pub(super) fn bounds(node: &Node) -> Option<(f64, f64)> {
    const NOT_NEGATIVE: (f64, f64) = (0.0, f64::INFINITY);
    if let Some(NodeEnum::FuncCall(call)) = node.node.as_ref() {
        let name = call.funcname.last().and_then(text)?;
        return matches!(
            name,
            "abs"
                | "bit_length"
                | "cardinality"
                | "char_length"
                | "character_length"
                | "count"
                | "length"
                | "num_nonnulls"
                | "num_nulls"
                | "octet_length"
                | "position"
                | "strpos"
        )
        .then_some(NOT_NEGATIVE);
    }
    let (left, name, right) = binary(node)?;
    match (name, constant(right)) {
        ("*", _) if same(Some(bare(left)), Some(bare(right))) => Some(NOT_NEGATIVE),
        ("^", Some(Literal::Number(power))) if power % 2.0 == 0.0 => Some(NOT_NEGATIVE),
        ("%", Some(Literal::Number(by))) => Some((1.0 - by.abs(), by.abs() - 1.0)),
        _ => None,
    }
}

/// What `left OPERATOR right` gives where one is the other, moved by a constant: `x + 1 > x`.
pub(super) fn apart(name: &str, left: &Node, right: &Node) -> Option<bool> {
    let (left_base, left_by) = moved(left);
    let (right_base, right_by) = moved(right);
    if left_by.is_none() && right_by.is_none()
        || !same(Some(bare(left_base)), Some(bare(right_base)))
    {
        return None;
    }
    let distance = |by: Option<Literal>| match by {
        None => Some(0.0),
        Some(Literal::Number(by)) => Some(by),
        _ => None,
    };
    match (distance(left_by), distance(right_by)) {
        (Some(left), Some(right)) => {
            super::literal::literal_compare(name, &Literal::Number(left), &Literal::Number(right))
        }
        // Which is the greater of intervals and texts is not asked: one of the orders holds for all rows.
        _ => matches!(name, "<>" | "<" | "<=" | ">" | ">=" | "~~" | "^@").then_some(true),
    }
}

/// An operand, and by which constant it is moved.
fn moved(node: &Node) -> (&Node, Option<Literal>) {
    let Some((left, name, right)) = binary(node) else {
        return (node, None);
    };
    match (name, constant(left), constant(right)) {
        ("-", None, Some(Literal::Number(by))) => (left, Some(Literal::Number(-by))),
        ("+" | "-" | "||", None, Some(by)) => (left, Some(by)),
        ("+" | "||", Some(by), None) => (right, Some(by)),
        _ => (node, None),
    }
}

/// The columns of which one has to be null for an operand to be null; `None` where that is not known.
pub(super) fn null_with<'a>(node: &'a Node, columns: &mut Vec<&'a str>) -> Option<()> {
    let mut all = |nodes: &mut dyn Iterator<Item = &'a Node>| -> Option<()> {
        for node in nodes {
            null_with(node, columns)?;
        }
        Some(())
    };
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => {
            let name = column_name(node).filter(|_| column.fields.len() <= 2)?;
            if !is_system_column(node) {
                columns.push(name);
            }
            Some(())
        }
        NodeEnum::AConst(constant) => (!constant.isnull).then_some(()),
        NodeEnum::TypeCast(cast) => all(&mut cast.arg.as_deref().into_iter()),
        NodeEnum::CollateClause(clause) => all(&mut clause.arg.as_deref().into_iter()),
        NodeEnum::BoolExpr(expr) => all(&mut expr.args.iter()),
        NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_) => Some(()),
        NodeEnum::AExpr(expr) if expr.kind == AExprKind::AexprOp as i32 => {
            matches!(
                operator(expr)?,
                "+" | "-" | "*" | "/" | "%" | "^" | "||" | "=" | "<>" | "<" | "<=" | ">" | ">="
            )
            .then_some(())?;
            all(&mut expr
                .lexpr
                .as_deref()
                .into_iter()
                .chain(expr.rexpr.as_deref()))
        }
        NodeEnum::FuncCall(call) => {
            matches!(
                call.funcname.last().and_then(text)?,
                "abs"
                    | "btrim"
                    | "ceil"
                    | "char_length"
                    | "concat"
                    | "date_trunc"
                    | "extract"
                    | "floor"
                    | "initcap"
                    | "length"
                    | "lower"
                    | "md5"
                    | "num_nonnulls"
                    | "num_nulls"
                    | "octet_length"
                    | "reverse"
                    | "round"
                    | "to_char"
                    | "upper"
            )
            .then_some(())?;
            all(&mut call.args.iter())
        }
        // The first that is not null is taken, so one that never is decides; else the first stands for all.
        NodeEnum::CoalesceExpr(expr) => {
            if expr.args.iter().any(|arg| constant(arg).is_some()) {
                return Some(());
            }
            all(&mut expr.args.first().into_iter())
        }
        _ => None,
    }
}

/// The same column, parameter, constant or expression on both sides, qualified or not.
pub(super) fn same(left: Option<&Node>, right: Option<&Node>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return false;
    };
    let pairs = |left: &[Node], right: &[Node]| {
        left.len() == right.len()
            && left
                .iter()
                .zip(right)
                .all(|(left, right)| same(Some(left), Some(right)))
    };
    match (left.node.as_ref(), right.node.as_ref()) {
        (Some(NodeEnum::ColumnRef(a)), Some(NodeEnum::ColumnRef(b))) => {
            let short = a.fields.len().min(b.fields.len());
            let tail = |fields: &[Node]| {
                fields
                    .iter()
                    .rev()
                    .take(short)
                    .map(|f| text(f).map(str::to_owned))
                    .collect::<Vec<_>>()
            };
            tail(&a.fields) == tail(&b.fields)
        }
        (Some(NodeEnum::RowExpr(a)), Some(NodeEnum::RowExpr(b))) => pairs(&a.args, &b.args),
        (Some(NodeEnum::List(a)), Some(NodeEnum::List(b))) => pairs(&a.items, &b.items),
        (Some(NodeEnum::AArrayExpr(a)), Some(NodeEnum::AArrayExpr(b))) => {
            pairs(&a.elements, &b.elements)
        }
        (Some(NodeEnum::CoalesceExpr(a)), Some(NodeEnum::CoalesceExpr(b))) => {
            pairs(&a.args, &b.args)
        }
        (Some(NodeEnum::MinMaxExpr(a)), Some(NodeEnum::MinMaxExpr(b))) => {
            a.op == b.op && pairs(&a.args, &b.args)
        }
        (Some(NodeEnum::ParamRef(a)), Some(NodeEnum::ParamRef(b))) => a.number == b.number,
        (Some(NodeEnum::AConst(a)), Some(NodeEnum::AConst(b))) => {
            a.isnull == b.isnull && a.val == b.val
        }
        (Some(NodeEnum::TypeCast(a)), Some(NodeEnum::TypeCast(b))) => {
            same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::CollateClause(a)), Some(NodeEnum::CollateClause(b))) => {
            same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::BoolExpr(a)), Some(NodeEnum::BoolExpr(b))) => {
            a.boolop == b.boolop && pairs(&a.args, &b.args)
        }
        (Some(NodeEnum::NullTest(a)), Some(NodeEnum::NullTest(b))) => {
            a.nulltesttype == b.nulltesttype && same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::BooleanTest(a)), Some(NodeEnum::BooleanTest(b))) => {
            a.booltesttype == b.booltesttype && same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::FuncCall(a)), Some(NodeEnum::FuncCall(b))) => {
            let name = |nodes: &[Node]| nodes.last().and_then(text).map(str::to_owned);
            name(&a.funcname) == name(&b.funcname) && pairs(&a.args, &b.args)
        }
        (Some(NodeEnum::AIndirection(a)), Some(NodeEnum::AIndirection(b))) => {
            same(a.arg.as_deref(), b.arg.as_deref())
                && a.indirection.len() == b.indirection.len()
                && a.indirection
                    .iter()
                    .zip(&b.indirection)
                    .all(|(a, b)| text(a).is_some() && text(a) == text(b))
        }
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => {
            a.kind == b.kind
                && operator(a) == operator(b)
                && either(a.lexpr.as_deref(), b.lexpr.as_deref())
                && either(a.rexpr.as_deref(), b.rexpr.as_deref())
        }
        _ => false,
    }
}

/// The same, or missing on both sides.
fn either(left: Option<&Node>, right: Option<&Node>) -> bool {
    left.is_none() && right.is_none() || same(left, right)
}
