//! Three-valued folding of conditions: certainly true, certainly not, or open.

use std::cell::{Cell, RefCell};

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, BoolExprType, BoolTestType, CommonTableExpr, FuncCall, Node, NullTestType,
    RangeVar, SelectStmt, SubLink, SubLinkType, a_const,
};

use super::extreme;
use super::literal::{Literal, constant, literal_bool, literal_compare, matches_all};
use super::operands::{
    apart, bare, bounds, column_name, is_null, is_system_column, neutral, null_with, operator,
    plain, same,
};
use super::whole::{self, Twin, qualified, sub_link};
use crate::build::text;

/// The row that a condition is about.
pub(super) struct Row<'a> {
    /// The table that is written.
    pub(super) table: &'a RangeVar,
    /// What else gives all rows of the table where the condition stands.
    pub(super) twins: Vec<Twin<'a>>,
    /// The common table expressions that can be named there, innermost last.
    pub(super) ctes: Vec<&'a CommonTableExpr>,
    /// Where columns are taken as never null, those that the answer then hangs on.
    pub(super) filled: Option<RefCell<Vec<String>>>,
    /// How many more parts of the condition are looked at.
    pub(super) fuel: &'a Cell<u32>,
}

impl<'a> Row<'a> {
    /// The name by which the condition can name the row.
    pub(super) fn name(&self) -> &str {
        let alias = self.table.alias.as_ref();
        alias.map_or(&self.table.relname, |alias| &alias.aliasname)
    }

    /// The row as a subquery sees it.
    pub(super) fn within<'b>(&self, select: &'b SelectStmt) -> Row<'b>
    where
        'a: 'b,
    {
        let mut row = self.with_ctes(self.ctes.iter().copied());
        row.ctes.extend(whole::ctes(select.with_clause.as_ref()));
        row.twins = whole::twins(&select.from_clause, &row);
        row
    }

    /// The expression that an unqualified name means, and the row as it sees it.
    pub(super) fn cte(&self, range: &RangeVar) -> Option<(&'a CommonTableExpr, Row<'a>)> {
        if !range.schemaname.is_empty() {
            return None;
        }
        let found = self
            .ctes
            .iter()
            .rposition(|cte| cte.ctename == range.relname)?;
        let cte = self.ctes.get(found).copied()?;
        Some((cte, self.with_ctes(self.ctes.iter().copied().take(found))))
    }

    fn with_ctes<'b>(&self, ctes: impl Iterator<Item = &'b CommonTableExpr>) -> Row<'b>
    where
        'a: 'b,
    {
        Row {
            table: self.table,
            twins: Vec::new(),
            ctes: ctes.collect(),
            filled: None,
            fuel: self.fuel,
        }
    }

    /// Whether there is enough left to look at one more part.
    pub(super) fn burn(&self) -> bool {
        let left = self.fuel.get();
        self.fuel.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether an operand may be taken as never null.
    fn takes_as_filled(&self, node: &Node) -> bool {
        let Some(filled) = &self.filled else {
            return false;
        };
        let mut columns = Vec::new();
        let found = null_with(node, &mut columns).is_some();
        if found {
            let columns = columns.into_iter().map(str::to_owned);
            filled.borrow_mut().extend(columns);
        }
        found
    }

    /// Whether an operand is the row as a whole: `t`, `t.*`.
    fn is_whole(&self, node: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = node.node.as_ref() else {
            return false;
        };
        let mut fields = column.fields.iter();
        fields.next().and_then(text) == Some(self.name())
            && fields.all(|field| matches!(field.node.as_ref(), Some(NodeEnum::AStar(_))))
    }

    /// Two names of one column of the same row: the row joined to itself.
    fn is_itself(&self, left: &Node, right: &Node) -> bool {
        let (Some(left), Some(right)) = (qualified(left), qualified(right)) else {
            return false;
        };
        let pairs = |own: (Option<&str>, &str), other: (Option<&str>, &str)| {
            own.0.is_none_or(|owner| owner == self.name())
                && self.twins.iter().any(|twin| {
                    other.0.is_none_or(|owner| owner == twin.name)
                        && (own.0.is_some() || other.0.is_some() || own.1 != other.1)
                        && twin.is_column(other.1, own.1, self)
                })
        };
        pairs(left, right) || pairs(right, left)
    }
}

/// What the condition is for every row of `target`: `Some(true)` where it holds (but for rows
/// whose operands are null), `Some(false)` where it does not.
pub(super) fn holds(node: &Node, target: &Row<'_>) -> Option<bool> {
    if !target.burn() {
        return None;
    }
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
            (target.takes_as_filled(arg) || holds(arg, target).is_some()).then_some(true)
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
            let is_null = is_never_null(test.arg.as_deref()?, target).map(|never| !never)?;
            Some(is_null == (test.nulltesttype == NullTestType::IsNull as i32))
        }
        NodeEnum::AExpr(expr) => compare(expr, target),
        // A null operand falls through to the next one.
        NodeEnum::CoalesceExpr(expr) => {
            let mut operands = expr.args.iter().filter(|arg| !is_null(arg));
            let first = holds(operands.next()?, target)?;
            (operands.all(|arg| holds(arg, target).is_some())).then_some(first)
        }
        NodeEnum::CaseExpr(case) => {
            let whens = case.args.iter().map(|when| match when.node.as_ref() {
                Some(NodeEnum::CaseWhen(when)) => holds(when.result.as_deref()?, target),
                _ => None,
            });
            let otherwise = case.defresult.as_deref();
            let otherwise = otherwise.map_or(Some(false), |node| holds(node, target))?;
            (whens.into_iter().all(|value| value == Some(otherwise))).then_some(otherwise)
        }
        NodeEnum::FuncCall(call) => function(call),
        NodeEnum::SubLink(link) => sub_link(link, target),
        _ => None,
    }
}

/// Whether an operand is never null (but where a column of it is), or always.
fn is_never_null(node: &Node, target: &Row<'_>) -> Option<bool> {
    if is_null(node) {
        return Some(false);
    }
    if let Some(NodeEnum::RowExpr(row)) = node.node.as_ref() {
        let parts = row.args.iter();
        return parts
            .map(|part| is_never_null(part, target))
            .reduce(|one, other| match (one, other) {
                (Some(true), Some(true)) => Some(true),
                _ => None,
            })?;
    }
    let mut columns = Vec::new();
    let never = target.is_whole(node)
        || is_system_column(node)
        || null_with(node, &mut columns).is_some() && columns.is_empty();
    (never || target.takes_as_filled(node)).then_some(true)
}

/// A function's answer where its operands decide it: an operator by its function's name (`int4eq(id, id)`), and a
/// pattern that every text matches.
fn function(call: &FuncCall) -> Option<bool> {
    let [left, right, ..] = call.args.as_slice() else {
        return None;
    };
    let name = call.funcname.last().and_then(text)?;
    if same(Some(bare(left)), Some(bare(right))) {
        let negated = ["ne", "lt", "gt", "nlike"];
        return Some(!negated.iter().any(|end| name.ends_with(end)));
    }
    let operator = match name {
        "textlike" | "like" | "bpcharlike" => "~~",
        "texticlike" => "~~*",
        "textregexeq" | "regexp_like" => "~",
        "starts_with" => "^@",
        _ => return None,
    };
    matches_all(operator, &constant(right)?)
}

/// Whether a condition compares an operand with itself: it asks nothing of the row, whatever it gives.
pub(super) fn compares_with_itself(node: &Node) -> bool {
    let Some(NodeEnum::AExpr(expr)) = node.node.as_ref() else {
        return false;
    };
    match (expr.lexpr.as_deref(), expr.rexpr.as_deref()) {
        (Some(left), Some(right)) => same(Some(plain(left)), Some(plain(right))),
        _ => false,
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
    if all {
        return Some(true);
    }
    exclude_each_other(args).then_some(false)
}

/// Whether two of the conditions never hold together: `id = 5 AND id = 6`.
fn exclude_each_other(args: &[Node]) -> bool {
    pairs(args).any(|(left, right)| match (&left.node, &right.node) {
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => {
            same(a.lexpr.as_deref(), b.lexpr.as_deref()) && cover(a, b, true)
        }
        _ => false,
    })
}

/// Pairs of conditions: only short lists are searched, pairs being quadratic.
fn pairs(args: &[Node]) -> impl Iterator<Item = (&Node, &Node)> {
    let short = args.get(..args.len().min(64)).unwrap_or(args);
    short.iter().enumerate().flat_map(move |(position, left)| {
        let rest = short.iter().skip(position + 1);
        rest.map(move |right| (left, right))
    })
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
    pairs(args)
        .any(|(left, right)| complements(left, right))
        .then_some(true)
}

/// Whether one of the two holds for every row.
fn complements(left: &Node, right: &Node) -> bool {
    match (left.node.as_ref(), right.node.as_ref()) {
        (Some(NodeEnum::NullTest(a)), Some(NodeEnum::NullTest(b))) => {
            a.nulltesttype != b.nulltesttype && same(a.arg.as_deref(), b.arg.as_deref())
        }
        (Some(NodeEnum::BooleanTest(a)), Some(NodeEnum::BooleanTest(b))) => {
            a.booltesttype != b.booltesttype && same(a.arg.as_deref(), b.arg.as_deref())
        }
        // `flag OR flag IS NOT TRUE`
        (Some(NodeEnum::BooleanTest(test)), _) if same(test.arg.as_deref(), Some(right)) => true,
        (_, Some(NodeEnum::BooleanTest(test))) if same(test.arg.as_deref(), Some(left)) => true,
        (Some(NodeEnum::AExpr(a)), Some(NodeEnum::AExpr(b))) => {
            same(a.lexpr.as_deref(), b.lexpr.as_deref()) && cover(a, b, false)
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

/// Whether two comparisons of one operand leave no value out, `= 3` and `<> 3`, `< 5` and `> 3`; or their
/// opposites do.
fn cover(a: &AExpr, b: &AExpr, opposites: bool) -> bool {
    let kinds = |x: AExprKind, y: AExprKind| {
        (a.kind, b.kind) == (x as i32, y as i32) || (b.kind, a.kind) == (x as i32, y as i32)
    };
    let same_right = same(a.rexpr.as_deref(), b.rexpr.as_deref());
    if same_right
        && (kinds(AExprKind::AexprDistinct, AExprKind::AexprNotDistinct)
            || kinds(AExprKind::AexprBetween, AExprKind::AexprNotBetween)
            || kinds(AExprKind::AexprBetweenSym, AExprKind::AexprNotBetweenSym))
    {
        return true;
    }
    let (Some(a_name), Some(b_name)) = (operator(a), operator(b)) else {
        return false;
    };
    if same_right && a.kind == b.kind && opposite(a_name) == Some(b_name) {
        return true;
    }
    let is_plain = kinds(AExprKind::AexprOp, AExprKind::AexprOp);
    let bound = |expr: &AExpr| expr.rexpr.as_deref().and_then(constant);
    let (Some(a_bound), Some(b_bound), true) = (bound(a), bound(b), is_plain) else {
        return false;
    };
    let read = |name| {
        if opposites {
            opposite(name)
        } else {
            Some(name)
        }
    };
    let (Some(a_name), Some(b_name)) = (read(a_name), read(b_name)) else {
        return false;
    };
    let is = |name: &str| literal_compare(name, &a_bound, &b_bound) == Some(true);
    match (a_name, b_name) {
        ("<", ">") | ("<", ">=") | ("<=", ">") => is(">"),
        ("<=", ">=") => is(">="),
        (">", "<") | (">=", "<") | (">", "<=") => is("<"),
        (">=", "<=") => is("<="),
        ("<>", "<>") => is("<>"),
        ("=", "=") => matches!((a_bound, b_bound), (Literal::Bool(x), Literal::Bool(y)) if x != y),
        _ => false,
    }
}

/// The operator that holds where another does not.
fn opposite(name: &str) -> Option<&'static str> {
    Some(match name {
        "=" => "<>",
        "<>" => "=",
        "<" => ">=",
        ">=" => "<",
        ">" => "<=",
        "<=" => ">",
        "~~" => "!~~",
        "!~~" => "~~",
        "~~*" => "!~~*",
        "!~~*" => "~~*",
        "~" => "!~",
        "!~" => "~",
        "~*" => "!~*",
        "!~*" => "~*",
        _ => return None,
    })
}

/// What an order or an equality gives for every row.
fn ordered(name: &str, left: &Node, right: &Node, target: &Row<'_>) -> Option<bool> {
    if let (Some(left), Some(right)) = (constant(left), constant(right)) {
        return literal_compare(name, &left, &right);
    }
    if let Some(value) = beyond(name, left, right)
        .or_else(|| beyond(turned(name), right, left))
        .or_else(|| extreme::compare(name, left, right, target))
        .or_else(|| apart(name, left, right))
    {
        return Some(value);
    }
    if let (Some(left), Some(right)) = (neutral(left), constant(right)) {
        return literal_compare(name, &Literal::Number(left), &right);
    }
    if let (Some(left), Some(Literal::Bool(right))) = (holds(left, target), constant(right)) {
        return literal_compare(name, &Literal::Bool(left), &Literal::Bool(right));
    }
    if matches!(name, "=" | "<=" | ">=") && target.is_itself(left, right) {
        return Some(true);
    }
    if same(Some(bare(left)), Some(bare(right))) {
        return match name {
            "=" | "<=" | ">=" | "@>" | "<@" | "&&" | "~~" | "~~*" | "~" | "~*" | "^@" => Some(true),
            "<>" | "<" | ">" | "!~~" | "!~~*" | "!~" | "!~*" => Some(false),
            _ => None,
        };
    }
    match (name, constant(right)) {
        ("<>", Some(_)) if is_system_column(left) => return Some(true),
        (">=", Some(Literal::Bool(false))) | ("<=", Some(Literal::Bool(true))) => {
            return Some(true);
        }
        ("=", Some(Literal::Number(0.0))) if counts_nulls(left) => {
            return target.takes_as_filled(left).then_some(true);
        }
        _ => {}
    }
    match name {
        ">=" if is_among(left, right, true) || is_among(right, left, false) => Some(true),
        "<=" if is_among(left, right, false) || is_among(right, left, true) => Some(true),
        "@>" => matches_all(name, &constant(right)?),
        "<@" => matches_all("@>", &constant(left)?),
        _ => matches_all(name, &constant(right)?),
    }
}

/// `num_nulls(…)`
fn counts_nulls(node: &Node) -> bool {
    match node.node.as_ref() {
        Some(NodeEnum::FuncCall(call)) => call.funcname.last().and_then(text) == Some("num_nulls"),
        _ => false,
    }
}

/// Whether an operand is one of those of which the least (or the greatest) is taken: `x >= least(x, 5)`.
fn is_among(operand: &Node, list: &Node, least: bool) -> bool {
    let Some(NodeEnum::MinMaxExpr(expr)) = list.node.as_ref() else {
        return false;
    };
    let wanted = if least {
        pg_query::protobuf::MinMaxOp::IsLeast
    } else {
        pg_query::protobuf::MinMaxOp::IsGreatest
    };
    expr.op == wanted as i32 && expr.args.iter().any(|arg| same(Some(operand), Some(arg)))
}

pub(super) fn turned(name: &str) -> &str {
    match name {
        "<" => ">",
        ">" => "<",
        "<=" => ">=",
        ">=" => "<=",
        other => other,
    }
}

fn compare(expr: &AExpr, target: &Row<'_>) -> Option<bool> {
    let (left, right) = (expr.lexpr.as_deref()?, expr.rexpr.as_deref()?);
    let (left, right) = (plain(left), plain(right));
    let name = operator(expr)?;
    match AExprKind::try_from(expr.kind).ok()? {
        AExprKind::AexprOp => ordered(name, left, right, target),
        AExprKind::AexprNotDistinct if is_null(right) => {
            is_never_null(left, target).map(|never| !never)
        }
        AExprKind::AexprNotDistinct => (same(Some(bare(left)), Some(bare(right)))
            || target.is_itself(left, right))
        .then_some(true),
        AExprKind::AexprDistinct if is_null(right) => is_never_null(left, target),
        AExprKind::AexprDistinct => {
            if same(Some(bare(left)), Some(bare(right))) {
                Some(false)
            } else {
                apart("<>", left, right)
            }
        }
        AExprKind::AexprIn => {
            let Some(NodeEnum::List(list)) = right.node.as_ref() else {
                return None;
            };
            is_in(left, &list.items, target).map(|found| found == (name != "<>"))
        }
        AExprKind::AexprOpAny if name == "=" => match bare(right).node.as_ref()? {
            // `x = ANY (ARRAY(SELECT x FROM` the table itself`))`
            NodeEnum::SubLink(link) if link.sub_link_type == SubLinkType::ArraySublink as i32 => {
                let any = SubLink {
                    sub_link_type: SubLinkType::AnySublink as i32,
                    testexpr: Some(Box::new(left.clone())),
                    ..(**link).clone()
                };
                sub_link(&any, target)
            }
            NodeEnum::AArrayExpr(array) => is_in(left, &array.elements, target),
            // `flag = ANY ('{t,f}')`
            _ => match constant(right) {
                Some(Literal::Text(text)) => {
                    let items = text.trim_matches(['{', '}', ' ']).split(',');
                    let items: Vec<Option<bool>> = items.map(literal_bool).collect();
                    let both = [true, false].iter().all(|it| items.contains(&Some(*it)));
                    both.then_some(true)
                }
                _ => None,
            },
        },
        // `<> ALL ('{}')`
        AExprKind::AexprOpAll => match bare(right).node.as_ref()? {
            NodeEnum::AArrayExpr(array) => array.elements.is_empty().then_some(true),
            _ => match constant(right) {
                Some(Literal::Text(text)) => (text.trim() == "{}").then_some(true),
                _ => None,
            },
        },
        AExprKind::AexprLike | AExprKind::AexprIlike | AExprKind::AexprSimilar => {
            let (pattern, negated) = (pattern(right), name.starts_with('!'));
            if same(Some(bare(left)), Some(bare(pattern))) {
                return Some(!negated);
            }
            let all = matches_all("~~", &constant(pattern)?)?;
            Some(all != negated)
        }
        AExprKind::AexprBetween | AExprKind::AexprBetweenSym => {
            let (low, high) = two(right)?;
            let either = [low, high]
                .iter()
                .any(|it| same(Some(left), Some(plain(it))));
            if either && expr.kind == AExprKind::AexprBetweenSym as i32 {
                return Some(true);
            }
            match (
                ordered(">=", left, plain(low), target),
                ordered("<=", left, plain(high), target),
            ) {
                (Some(above), Some(below)) => Some(above && below),
                _ => None,
            }
        }
        AExprKind::AexprNotBetween | AExprKind::AexprNotBetweenSym => {
            let (low, high) = two(right)?;
            let below = ordered("<", left, plain(low), target);
            let above = ordered(">", left, plain(high), target);
            (below == Some(true) || above == Some(true)).then_some(true)
        }
        _ => None,
    }
}

/// The two parts of BETWEEN.
fn two(node: &Node) -> Option<(&Node, &Node)> {
    match node.node.as_ref()? {
        NodeEnum::List(list) => match list.items.as_slice() {
            [low, high] => Some((low, high)),
            _ => None,
        },
        _ => None,
    }
}

/// The pattern of LIKE and SIMILAR TO, without the function that reads its escapes.
fn pattern(node: &Node) -> &Node {
    match node.node.as_ref() {
        Some(NodeEnum::FuncCall(call)) => call.args.first().map_or(node, plain),
        _ => node,
    }
}

/// Whether an operand is always in a list, or never.
fn is_in(left: &Node, items: &[Node], target: &Row<'_>) -> Option<bool> {
    let equal = |item: &Node| ordered("=", left, plain(item), target);
    if items.iter().any(|item| equal(item) == Some(true)) {
        return Some(true);
    }
    let is = |wanted: &Literal| {
        items.iter().any(|item| {
            constant(item).is_some_and(|item| literal_compare("=", &item, wanted) == Some(true))
        })
    };
    let both = [true, false];
    if both.iter().all(|value| {
        items
            .iter()
            .any(|item| matches!(constant(item), Some(Literal::Bool(found)) if found == *value))
    }) {
        return Some(true);
    }
    // `x % 2 IN (0, 1)`
    if let Some((_, most)) = bounds(left).filter(|(_, most)| (0.0..64.0).contains(most)) {
        let mut rest = std::iter::successors(Some(0.0), |rest| Some(rest + 1.0));
        if rest
            .by_ref()
            .take_while(|rest| *rest <= most)
            .all(|rest| is(&Literal::Number(rest)))
        {
            return Some(true);
        }
    }
    let never = items.iter().all(|item| equal(item) == Some(false));
    never.then_some(false)
}

/// A comparison with what no value of the kind reaches.
fn beyond(name: &str, left: &Node, right: &Node) -> Option<bool> {
    let bound = constant(right)?;
    if let (Some((least, most)), Literal::Number(bound)) = (bounds(left), &bound) {
        return match name {
            "<" => compares(*bound > most, *bound <= least),
            "<=" => compares(*bound >= most, *bound < least),
            ">" => compares(*bound < least, *bound >= most),
            ">=" => compares(*bound <= least, *bound > most),
            "<>" => compares(*bound < least || *bound > most, false),
            "=" => compares(false, *bound < least || *bound > most),
            _ => None,
        };
    }
    column_name(bare(left))?;
    match (name, bound) {
        (">" | ">=" | "<>", Literal::Number(bound)) if bound <= f64::from(i32::MIN) => Some(true),
        ("<" | "<=" | "<>", Literal::Number(bound)) if is_out_of_reach(bound) => Some(true),
        (">=", Literal::Text(text)) if text.is_empty() => Some(true),
        (">" | ">=", Literal::Text(text))
            if matches!(text.as_str(), "-infinity" | "(0,0)" | "(0,1)") =>
        {
            Some(true)
        }
        ("<" | "<=", Literal::Text(text)) if text == "infinity" => Some(true),
        _ => None,
    }
}

fn compares(always: bool, never: bool) -> Option<bool> {
    (always || never).then_some(always)
}

/// Whether no number of a table is as great: neither an `integer`, nor a time in seconds, milliseconds,
/// microseconds or nanoseconds since 1970 as a `bigint`.
fn is_out_of_reach(bound: f64) -> bool {
    (f64::from(i32::MAX)..1e11).contains(&bound) || bound >= 4e18
}
