//! Three-valued folding of conditions: certainly true, certainly not, or open.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, RangeVar, SelectStmt,
    SubLink, SubLinkType, a_const,
};

use crate::build::text;

/// What the condition is for every row of `target`: `Some(true)` where it holds (but for rows
/// whose operands are null), `Some(false)` where it does not.
pub(super) fn holds(node: &Node, target: &RangeVar) -> Option<bool> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref() {
            None => Some(false),
            Some(a_const::Val::Boolval(value)) => Some(value.boolval),
            Some(a_const::Val::Sval(value)) => literal_bool(&value.sval),
            Some(_) => None,
        },
        NodeEnum::TypeCast(cast) => {
            let arg = cast.arg.as_deref()?;
            match constant(arg) {
                Some(Literal::Number(number)) => Some(number != 0.0),
                _ => holds(arg, target),
            }
        }
        NodeEnum::CollateClause(clause) => holds(clause.arg.as_deref()?, target),
        NodeEnum::BoolExpr(expr) => match BoolExprType::try_from(expr.boolop) {
            Ok(BoolExprType::NotExpr) => holds(expr.args.first()?, target).map(|value| !value),
            Ok(BoolExprType::AndExpr) => every(&expr.args, target),
            Ok(BoolExprType::OrExpr) => any(&expr.args, target),
            _ => None,
        },
        NodeEnum::BooleanTest(test) => {
            let value = holds(test.arg.as_deref()?, target)?;
            match BoolTestType::try_from(test.booltesttype) {
                Ok(BoolTestType::IsTrue | BoolTestType::IsNotFalse) => Some(value),
                Ok(BoolTestType::IsNotTrue | BoolTestType::IsFalse) => Some(!value),
                Ok(BoolTestType::IsNotUnknown) => Some(true),
                _ => None,
            }
        }
        NodeEnum::NullTest(test) => {
            let arg = test.arg.as_deref()?;
            let wants_null = test.nulltesttype == NullTestType::IsNull as i32;
            if constant(arg).is_some() || is_system_column(arg) {
                Some(!wants_null)
            } else if is_null(arg) {
                Some(wants_null)
            } else {
                None
            }
        }
        NodeEnum::AExpr(expr) => compare(expr),
        // A null operand falls through to the next one.
        NodeEnum::CoalesceExpr(expr) => {
            let mut operands = expr.args.iter().filter(|arg| !is_null(arg));
            let first = holds(operands.next()?, target)?;
            (operands.all(|arg| holds(arg, target).is_some())).then_some(first)
        }
        NodeEnum::SubLink(link) => sub_link(link, target),
        _ => None,
    }
}

/// Whether `holds` looks at no constant of the condition: columns are compared with constants, and
/// nothing else is said about them.
pub(super) fn ignores_values(node: &Node) -> bool {
    let is_column = |node: Option<&Node>| node.is_some_and(|node| column_name(node).is_some());
    let is_constant = |node: &Node| matches!(node.node.as_ref(), Some(NodeEnum::AConst(_)));
    match node.node.as_ref() {
        Some(NodeEnum::BoolExpr(expr)) if expr.boolop == BoolExprType::AndExpr as i32 => {
            expr.args.iter().all(ignores_values)
        }
        Some(NodeEnum::AExpr(expr)) if is_column(expr.lexpr.as_deref()) => {
            let right = expr.rexpr.as_deref();
            match AExprKind::try_from(expr.kind) {
                Ok(AExprKind::AexprOp) => {
                    right.is_some_and(is_constant) || !right.is_some_and(holds_constants)
                }
                Ok(AExprKind::AexprIn) => match right.and_then(|node| node.node.as_ref()) {
                    Some(NodeEnum::List(list)) => list.items.iter().all(is_constant),
                    _ => false,
                },
                _ => false,
            }
        }
        _ => !holds_constants(node),
    }
}

/// Whether there may be a constant in an operand; only the plainest operands are known to have none.
fn holds_constants(node: &Node) -> bool {
    !matches!(
        node.node.as_ref(),
        Some(NodeEnum::ColumnRef(_) | NodeEnum::ParamRef(_) | NodeEnum::CurrentOfExpr(_))
    )
}

/// Whether the condition names any column or parameter at all.
pub(super) fn depends(node: &Node) -> bool {
    let Some(node) = node.node.as_ref() else {
        return false;
    };
    let any = |nodes: &[Node]| nodes.iter().any(depends);
    let one = |node: Option<&Node>| node.is_some_and(depends);
    match node {
        NodeEnum::AConst(_) | NodeEnum::SqlvalueFunction(_) => false,
        NodeEnum::TypeCast(cast) => one(cast.arg.as_deref()),
        NodeEnum::CollateClause(clause) => one(clause.arg.as_deref()),
        NodeEnum::BoolExpr(expr) => any(&expr.args),
        NodeEnum::BooleanTest(test) => one(test.arg.as_deref()),
        NodeEnum::NullTest(test) => one(test.arg.as_deref()),
        NodeEnum::AExpr(expr) => one(expr.lexpr.as_deref()) || one(expr.rexpr.as_deref()),
        NodeEnum::List(list) => any(&list.items),
        NodeEnum::RowExpr(row) => any(&row.args),
        NodeEnum::AArrayExpr(array) => any(&array.elements),
        NodeEnum::CoalesceExpr(expr) => any(&expr.args),
        NodeEnum::MinMaxExpr(expr) => any(&expr.args),
        NodeEnum::FuncCall(call) => any(&call.args),
        NodeEnum::NamedArgExpr(arg) => one(arg.arg.as_deref()),
        NodeEnum::CaseExpr(case) => {
            one(case.arg.as_deref()) || any(&case.args) || one(case.defresult.as_deref())
        }
        NodeEnum::CaseWhen(when) => one(when.expr.as_deref()) || one(when.result.as_deref()),
        NodeEnum::SubLink(link) => one(link.testexpr.as_deref()) || one(link.subselect.as_deref()),
        NodeEnum::SelectStmt(select) => select_depends(select),
        NodeEnum::ResTarget(target) => one(target.val.as_deref()),
        // A star of a subquery is no reference to the row.
        NodeEnum::ColumnRef(column) => column.fields.iter().any(|field| text(field).is_some()),
        // Anything else, parameters among it, is given the benefit of the doubt.
        _ => true,
    }
}

fn select_depends(select: &SelectStmt) -> bool {
    select.larg.as_deref().is_some_and(select_depends)
        || select.rarg.as_deref().is_some_and(select_depends)
        || select.target_list.iter().any(depends)
        || select.where_clause.as_deref().is_some_and(depends)
        || select.having_clause.as_deref().is_some_and(depends)
        || select.values_lists.iter().any(depends)
        || select.with_clause.is_some()
        || select
            .from_clause
            .iter()
            .any(|from| !matches!(from.node.as_ref(), Some(NodeEnum::RangeVar(_))))
}

fn every(args: &[Node], target: &RangeVar) -> Option<bool> {
    let mut all = true;
    for arg in args {
        match holds(arg, target) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = false,
        }
    }
    all.then_some(true)
}

fn any(args: &[Node], target: &RangeVar) -> Option<bool> {
    let mut none = true;
    for arg in args {
        match holds(arg, target) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => none = false,
        }
    }
    if none {
        return Some(false);
    }
    // Complements: only short lists are searched, pairs being quadratic.
    let short = args.get(..args.len().min(64)).unwrap_or(args);
    let opposite = short.iter().enumerate().any(|(position, left)| {
        short
            .iter()
            .skip(position + 1)
            .any(|right| complements(left, right))
    });
    opposite.then_some(true)
}

/// Whether one of the two holds for every row.
fn complements(left: &Node, right: &Node) -> bool {
    match (left.node.as_ref(), right.node.as_ref()) {
        (Some(NodeEnum::NullTest(a)), Some(NodeEnum::NullTest(b))) => {
            a.nulltesttype != b.nulltesttype && same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => {
            let (a_name, b_name) = (operator(a), operator(b));
            let pairs = [
                ("=", "<>"),
                ("<", ">="),
                (">", "<="),
                ("~~", "!~~"),
                ("~~*", "!~~*"),
            ];
            let opposite = pairs.iter().any(|(x, y)| {
                (a_name == Some(*x) && b_name == Some(*y))
                    || (a_name == Some(*y) && b_name == Some(*x))
            });
            opposite
                && same(a.lexpr.as_deref(), b.lexpr.as_deref())
                && same(a.rexpr.as_deref(), b.rexpr.as_deref())
        }
        (Some(NodeEnum::BoolExpr(a)), _) if a.boolop == BoolExprType::NotExpr as i32 => {
            same(a.args.first(), Some(right))
        }
        (_, Some(NodeEnum::BoolExpr(b))) if b.boolop == BoolExprType::NotExpr as i32 => {
            same(b.args.first(), Some(left))
        }
        _ => false,
    }
}

fn operator(expr: &AExpr) -> Option<&str> {
    expr.name.last().and_then(text)
}

fn compare(expr: &AExpr) -> Option<bool> {
    let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
    let name = operator(expr)?;
    match AExprKind::try_from(expr.kind).ok()? {
        AExprKind::AexprOp => {
            if let (Some(left), Some(right)) = (constant(left), constant(right)) {
                return literal_compare(name, &left, &right);
            }
            if same(Some(left), Some(right)) {
                return match name {
                    "=" | "<=" | ">=" => Some(true),
                    "<>" | "<" | ">" => Some(false),
                    _ => None,
                };
            }
            None
        }
        AExprKind::AexprNotDistinct => same(Some(left), Some(right)).then_some(true),
        AExprKind::AexprDistinct => {
            if same(Some(left), Some(right)) {
                Some(false)
            } else {
                // `ctid IS DISTINCT FROM NULL`
                (is_null(right) && is_system_column(left)).then_some(true)
            }
        }
        AExprKind::AexprIn => {
            let Some(NodeEnum::List(list)) = right.node.as_ref() else {
                return None;
            };
            let negated = name == "<>";
            let found = list.items.iter().any(|item| {
                same(Some(left), Some(item))
                    || matches!(
                        (constant(left), constant(item)),
                        (Some(a), Some(b)) if literal_compare("=", &a, &b) == Some(true)
                    )
            });
            if found {
                return Some(!negated);
            }
            let closed =
                constant(left).is_some() && list.items.iter().all(|item| constant(item).is_some());
            closed.then_some(negated)
        }
        AExprKind::AexprLike | AExprKind::AexprIlike => match constant(right) {
            Some(Literal::Text(pattern))
                if !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%') =>
            {
                Some(!name.starts_with('!'))
            }
            _ => None,
        },
        AExprKind::AexprBetween | AExprKind::AexprBetweenSym => {
            let Some(NodeEnum::List(list)) = right.node.as_ref() else {
                return None;
            };
            let [low, high] = list.items.as_slice() else {
                return None;
            };
            if same(Some(left), Some(low)) && same(Some(left), Some(high)) {
                return Some(true);
            }
            let value = constant(left)?;
            let above = literal_compare(">=", &value, &constant(low)?)?;
            let below = literal_compare("<=", &value, &constant(high)?)?;
            Some(above && below)
        }
        _ => None,
    }
}

/// EXISTS of a row that is always there, and `x IN (SELECT x FROM` the target itself`)`.
fn sub_link(link: &SubLink, target: &RangeVar) -> Option<bool> {
    let Some(NodeEnum::SelectStmt(select)) = link
        .subselect
        .as_deref()
        .and_then(|node| node.node.as_ref())
    else {
        return None;
    };
    let unfiltered = select.where_clause.is_none()
        && select.having_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.larg.is_none();
    if !unfiltered {
        return None;
    }
    let own_table = match select.from_clause.as_slice() {
        [] => None,
        [
            Node {
                node: Some(NodeEnum::RangeVar(range)),
            },
        ] => Some(range.relname == target.relname),
        _ => Some(false),
    };
    match SubLinkType::try_from(link.sub_link_type) {
        Ok(SubLinkType::ExistsSublink) => (own_table != Some(false)).then_some(true),
        Ok(SubLinkType::AnySublink) if own_table == Some(true) => {
            let [
                Node {
                    node: Some(NodeEnum::ResTarget(column)),
                },
            ] = select.target_list.as_slice()
            else {
                return None;
            };
            let left = column_name(link.testexpr.as_deref()?)?;
            let right = column_name(column.val.as_deref()?)?;
            (left == right).then_some(true)
        }
        _ => None,
    }
}

fn column_name(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(text),
        _ => None,
    }
}

fn is_system_column(node: &Node) -> bool {
    matches!(
        column_name(node),
        Some("ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax")
    )
}

fn is_null(node: &Node) -> bool {
    match node.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => constant.isnull,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_null),
        _ => false,
    }
}

enum Literal {
    Number(f64),
    Text(String),
    Bool(bool),
}

fn constant(node: &Node) -> Option<Literal> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Ival(value) => Some(Literal::Number(f64::from(value.ival))),
            a_const::Val::Fval(value) => value.fval.parse().ok().map(Literal::Number),
            a_const::Val::Boolval(value) => Some(Literal::Bool(value.boolval)),
            a_const::Val::Sval(value) => Some(Literal::Text(value.sval.clone())),
            a_const::Val::Bsval(value) => Some(Literal::Text(value.bsval.clone())),
        },
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()?),
        NodeEnum::CollateClause(clause) => constant(clause.arg.as_deref()?),
        NodeEnum::AExpr(expr) if expr.kind == AExprKind::AexprOp as i32 => {
            let right = number(expr.rexpr.as_deref()?)?;
            let left = match expr.lexpr.as_deref() {
                Some(left) => number(left)?,
                None => 0.0,
            };
            let value = match operator(expr)? {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ => return None,
            };
            Some(Literal::Number(value))
        }
        _ => None,
    }
}

fn number(node: &Node) -> Option<f64> {
    match constant(node)? {
        Literal::Number(number) => Some(number),
        Literal::Text(text) => text.trim().parse().ok(),
        Literal::Bool(_) => None,
    }
}

fn literal_bool(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let is = |word: &str| word.starts_with(&text) && !text.is_empty();
    if is("true") || is("yes") || text == "on" || text == "1" {
        Some(true)
    } else if is("false") || is("no") || text == "off" || text == "of" || text == "0" {
        Some(false)
    } else {
        None
    }
}

fn literal_compare(operator: &str, left: &Literal, right: &Literal) -> Option<bool> {
    use std::cmp::Ordering;
    let order = match (left, right) {
        (Literal::Number(a), Literal::Number(b)) => a.partial_cmp(b)?,
        (Literal::Number(a), Literal::Text(b)) => a.partial_cmp(&b.trim().parse().ok()?)?,
        (Literal::Text(a), Literal::Number(b)) => a.trim().parse::<f64>().ok()?.partial_cmp(b)?,
        (Literal::Bool(a), Literal::Bool(b)) => a.cmp(b),
        // The order of text depends on the collation; equality does not.
        (Literal::Text(a), Literal::Text(b)) => match (a == b, operator) {
            (true, "~~" | "~~*" | "~" | "~*") => return Some(true),
            (true, _) => Ordering::Equal,
            (false, "=") => return Some(false),
            (false, "<>") => return Some(true),
            (false, _) => return None,
        },
        (Literal::Bool(a), Literal::Text(b)) | (Literal::Text(b), Literal::Bool(a)) => {
            a.cmp(&literal_bool(b)?)
        }
        _ => return None,
    };
    match operator {
        "=" => Some(order == Ordering::Equal),
        "<>" => Some(order != Ordering::Equal),
        "<" => Some(order == Ordering::Less),
        "<=" => Some(order != Ordering::Greater),
        ">" => Some(order == Ordering::Greater),
        ">=" => Some(order != Ordering::Less),
        _ => None,
    }
}

/// The same column, parameter or constant on both sides, qualified or not.
fn same(left: Option<&Node>, right: Option<&Node>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return false;
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
        (Some(NodeEnum::ParamRef(a)), Some(NodeEnum::ParamRef(b))) => a.number == b.number,
        (Some(NodeEnum::AConst(a)), Some(NodeEnum::AConst(b))) => a.val == b.val,
        (Some(NodeEnum::TypeCast(a)), Some(NodeEnum::TypeCast(b))) => {
            same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::FuncCall(a)), Some(NodeEnum::FuncCall(b))) => {
            let names = |nodes: &[Node]| nodes.last().and_then(text).map(str::to_owned);
            names(&a.funcname) == names(&b.funcname)
                && a.args.len() == b.args.len()
                && a.args
                    .iter()
                    .zip(&b.args)
                    .all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => {
            operator(a) == operator(b)
                && same(a.lexpr.as_deref(), b.lexpr.as_deref())
                && same(a.rexpr.as_deref(), b.rexpr.as_deref())
        }
        _ => false,
    }
}
