//! Three-valued folding of conditions: certainly true, certainly not, or open.

use std::cell::RefCell;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, RangeVar, SelectStmt,
    SubLink, SubLinkType, a_const,
};

use super::extreme;
use super::literal::{Literal, constant, literal_bool, literal_compare};
use crate::build::text;

/// The row that a condition is about.
pub(super) struct Row<'a> {
    /// The table that is written.
    pub(super) table: &'a RangeVar,
    /// Other names under which the same table is joined.
    pub(super) twins: Vec<&'a str>,
    /// Where columns are taken as never null, those that the answer then hangs on.
    pub(super) filled: Option<RefCell<Vec<String>>>,
}

impl Row<'_> {
    /// The name by which the condition can name the row.
    pub(super) fn name(&self) -> &str {
        let alias = self.table.alias.as_ref();
        alias.map_or(&self.table.relname, |alias| &alias.aliasname)
    }

    /// Whether these may be taken as never null.
    fn takes_as_filled(&self, nodes: &[&Node]) -> bool {
        let Some(filled) = &self.filled else {
            return false;
        };
        let names: Option<Vec<&str>> = nodes
            .iter()
            .filter(|node| constant(node).is_none())
            .map(|node| column_name(node))
            .collect();
        let Some(names) = names else { return false };
        filled
            .borrow_mut()
            .extend(names.into_iter().map(str::to_owned));
        true
    }

    /// Two names of one column of the same row: the row joined to itself.
    fn is_itself(&self, left: &Node, right: &Node) -> bool {
        let parts = |node: &Node| match node.node.as_ref() {
            Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
                [qualifier, name] => Some((text(qualifier)?.to_owned(), text(name)?.to_owned())),
                _ => None,
            },
            _ => None,
        };
        let (Some(left), Some(right)) = (parts(left), parts(right)) else {
            return false;
        };
        let twin = |name: &str| self.twins.contains(&name);
        left.1 == right.1
            && (left.0 == self.name() && twin(&right.0) || right.0 == self.name() && twin(&left.0))
    }
}

/// What the condition is for every row of `target`: `Some(true)` where it holds (but for rows
/// whose operands are null), `Some(false)` where it does not.
pub(super) fn holds(node: &Node, target: &Row<'_>) -> Option<bool> {
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
        NodeEnum::BooleanTest(test) if test.booltesttype == BoolTestType::IsNotUnknown as i32 => {
            let arg = test.arg.as_deref()?;
            let filled = match arg.node.as_ref()? {
                NodeEnum::AExpr(expr) => {
                    let operands = [expr.lexpr.as_deref()?, expr.rexpr.as_deref()?];
                    target.takes_as_filled(&operands)
                }
                NodeEnum::ColumnRef(_) => target.takes_as_filled(&[arg]),
                _ => false,
            };
            (filled || holds(arg, target).is_some()).then_some(true)
        }
        NodeEnum::BooleanTest(test) => {
            let value = holds(test.arg.as_deref()?, target)?;
            match BoolTestType::try_from(test.booltesttype) {
                Ok(BoolTestType::IsTrue | BoolTestType::IsNotFalse) => Some(value),
                Ok(BoolTestType::IsNotTrue | BoolTestType::IsFalse) => Some(!value),
                _ => None,
            }
        }
        NodeEnum::NullTest(test) => {
            let arg = test.arg.as_deref()?;
            let wants_null = test.nulltesttype == NullTestType::IsNull as i32;
            let is_test = matches!(
                arg.node.as_ref(),
                Some(NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_))
            );
            if constant(arg).is_some() || is_system_column(arg) || is_test {
                Some(!wants_null)
            } else if is_null(arg) {
                Some(wants_null)
            } else {
                target.takes_as_filled(&[arg]).then_some(!wants_null)
            }
        }
        NodeEnum::AExpr(expr) => compare(expr, target),
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

/// Whether `holds` looks at no constant of the condition: columns are equal to constants or not, and
/// nothing else is said about them. An order compares with what a column can reach.
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
                Ok(AExprKind::AexprOp) if matches!(operator(expr), Some("=" | "<>")) => {
                    right.is_some_and(is_constant) || !right.is_some_and(holds_constants)
                }
                Ok(AExprKind::AexprOp) => !right.is_some_and(holds_constants),
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

fn every(args: &[Node], target: &Row<'_>) -> Option<bool> {
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

fn any(args: &[Node], target: &Row<'_>) -> Option<bool> {
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

pub(super) fn operator(expr: &AExpr) -> Option<&str> {
    expr.name.last().and_then(text)
}

fn compare(expr: &AExpr, target: &Row<'_>) -> Option<bool> {
    let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
    let (left, right) = (plain(left), plain(right));
    let name = operator(expr)?;
    match AExprKind::try_from(expr.kind).ok()? {
        AExprKind::AexprOp => {
            if let (Some(left), Some(right)) = (constant(left), constant(right)) {
                return literal_compare(name, &left, &right);
            }
            if let Some(value) =
                beyond(name, left, right).or_else(|| extreme::compare(name, left, right, target))
            {
                return Some(value);
            }
            if let (Some(left), Some(right)) = (neutral(left), constant(right)) {
                return literal_compare(name, &Literal::Number(left), &right);
            }
            if let (Some(left), Some(Literal::Bool(right))) = (holds(left, target), constant(right))
            {
                return literal_compare(name, &Literal::Bool(left), &Literal::Bool(right));
            }
            if name == "=" && target.is_itself(left, right) {
                return Some(true);
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
            let says = |wanted: bool| {
                let is = |item| matches!(constant(item), Some(Literal::Bool(b)) if b == wanted);
                list.items.iter().any(is)
            };
            if found || says(true) && says(false) {
                return Some(!negated);
            }
            let closed =
                constant(left).is_some() && list.items.iter().all(|item| constant(item).is_some());
            closed.then_some(negated)
        }
        // `x = ANY (ARRAY(SELECT x FROM` the target itself`))`
        AExprKind::AexprOpAny if name == "=" => match right.node.as_ref()? {
            NodeEnum::SubLink(link) if link.sub_link_type == SubLinkType::ArraySublink as i32 => {
                let any = SubLink {
                    sub_link_type: SubLinkType::AnySublink as i32,
                    testexpr: Some(Box::new(left.clone())),
                    ..(**link).clone()
                };
                sub_link(&any, target)
            }
            _ => None,
        },
        // `<> ALL ('{}')`
        AExprKind::AexprOpAll => match right.node.as_ref()? {
            NodeEnum::AArrayExpr(array) => array.elements.is_empty().then_some(true),
            _ => match constant(right) {
                Some(Literal::Text(text)) => (text.trim() == "{}").then_some(true),
                _ => None,
            },
        },
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
            if extreme::compare(">=", left, low, target) == Some(true)
                && extreme::compare("<=", left, high, target) == Some(true)
            {
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
fn sub_link(link: &SubLink, target: &Row<'_>) -> Option<bool> {
    let Some(NodeEnum::SelectStmt(select)) = link
        .subselect
        .as_deref()
        .and_then(|node| node.node.as_ref())
    else {
        return None;
    };
    if let Some(value) = extreme::sub_link(link, target) {
        return Some(value);
    }
    if !is_unfiltered(select, target) {
        return None;
    }
    let own_table = own_table(select, target);
    match SubLinkType::try_from(link.sub_link_type) {
        Ok(SubLinkType::ExistsSublink) => (own_table != Some(false)).then_some(true),
        Ok(SubLinkType::AnySublink) if own_table == Some(true) => {
            let test = link.testexpr.as_deref()?;
            let parts = match test.node.as_ref()? {
                NodeEnum::RowExpr(row) => row.args.as_slice(),
                _ => std::slice::from_ref(test),
            };
            selects(select, parts).then_some(true)
        }
        _ => None,
    }
}

/// Whether a query gives all rows of what it reads.
fn is_unfiltered(select: &SelectStmt, target: &Row<'_>) -> bool {
    select
        .where_clause
        .as_deref()
        .is_none_or(|filter| finds_itself(filter, select, target))
        && select.having_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.larg.is_none()
}

/// Whether a query reads the target's own table; `None` where it reads nothing.
fn own_table(select: &SelectStmt, target: &Row<'_>) -> Option<bool> {
    match select.from_clause.as_slice() {
        [] => None,
        [
            Node {
                node: Some(NodeEnum::RangeVar(range)),
            },
        ] => Some(range.relname == target.table.relname),
        _ => Some(false),
    }
}

/// Whether a query reads all rows of the target's own table together.
pub(super) fn is_whole_table(select: &SelectStmt, target: &Row<'_>) -> bool {
    own_table(select, target) == Some(true)
        && is_unfiltered(select, target)
        && select.group_clause.is_empty()
}

/// Whether a query selects columns of these names.
fn selects(select: &SelectStmt, wanted: &[Node]) -> bool {
    let targets = select
        .target_list
        .iter()
        .map(|node| match node.node.as_ref() {
            Some(NodeEnum::ResTarget(target)) => target.val.as_deref().and_then(column_name),
            _ => None,
        });
    select.target_list.len() == wanted.len()
        && targets
            .zip(wanted)
            .all(|(found, wanted)| found.is_some() && found == column_name(wanted))
}

/// Whether a subquery over the target's own table asks for no more than the row itself.
fn finds_itself(filter: &Node, select: &SelectStmt, target: &Row<'_>) -> bool {
    let [
        Node {
            node: Some(NodeEnum::RangeVar(range)),
        },
    ] = select.from_clause.as_slice()
    else {
        return false;
    };
    let alias = range.alias.as_ref().map(|alias| alias.aliasname.as_str());
    let row = Row {
        table: target.table,
        twins: alias.into_iter().collect(),
        filled: None,
    };
    match filter.node.as_ref() {
        Some(NodeEnum::AExpr(expr)) => match (expr.lexpr.as_deref(), expr.rexpr.as_deref()) {
            (Some(left), Some(right)) => operator(expr) == Some("=") && row.is_itself(left, right),
            _ => false,
        },
        _ => holds(filter, &row) == Some(true),
    }
}

/// An operand without what does not change it: `x + 0`, `x * 1`, `x || ''`.
fn plain(node: &Node) -> &Node {
    let Some(NodeEnum::AExpr(expr)) = node.node.as_ref() else {
        return node;
    };
    let (Some(left), Some(right), Some(name)) = (
        expr.lexpr.as_deref(),
        expr.rexpr.as_deref(),
        operator(expr).filter(|_| expr.kind == AExprKind::AexprOp as i32),
    ) else {
        return node;
    };
    let is =
        |node: &Node, value: f64| matches!(constant(node), Some(Literal::Number(n)) if n == value);
    let empty =
        |node: &Node| matches!(constant(node), Some(Literal::Text(text)) if text.is_empty());
    match name {
        "+" | "-" if is(right, 0.0) => plain(left),
        "+" if is(left, 0.0) => plain(right),
        "*" | "/" if is(right, 1.0) => plain(left),
        "*" if is(left, 1.0) => plain(right),
        "||" if empty(right) => plain(left),
        "||" if empty(left) => plain(right),
        _ => node,
    }
}

/// What arithmetic gives whatever the column holds: `x - x`, `x / x`, `x * 0`, `x % 1`.
fn neutral(node: &Node) -> Option<f64> {
    let Some(NodeEnum::AExpr(expr)) = node.node.as_ref() else {
        return None;
    };
    let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
    let itself = same(Some(left), Some(right));
    let is = |value: f64| matches!(constant(right), Some(Literal::Number(n)) if n == value);
    match operator(expr)? {
        "-" if itself => Some(0.0),
        "/" if itself => Some(1.0),
        "%" if itself || is(1.0) => Some(0.0),
        "*" if is(0.0) => Some(0.0),
        _ => None,
    }
}

/// A comparison with what no integer reaches.
fn beyond(name: &str, left: &Node, right: &Node) -> Option<bool> {
    column_name(left)?;
    let Some(Literal::Number(bound)) = constant(right) else {
        return None;
    };
    let (least, most) = (f64::from(i32::MIN), f64::from(i32::MAX));
    match name {
        ">" | ">=" if bound <= least => Some(true),
        "<" | "<=" if bound >= most => Some(true),
        _ => None,
    }
}

pub(super) fn column_name(node: &Node) -> Option<&str> {
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
        (Some(NodeEnum::RowExpr(a)), Some(NodeEnum::RowExpr(b))) => {
            a.args.len() == b.args.len()
                && a.args
                    .iter()
                    .zip(&b.args)
                    .all(|(a, b)| same(Some(a), Some(b)))
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
