//! Literals of a condition, and what comparing two of them gives.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, Node, a_const};

use super::operands::operator;

/// A literal's value.
pub(super) enum Literal {
    Number(f64),
    Text(String),
    Bool(bool),
}

pub(super) fn constant(node: &Node) -> Option<Literal> {
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
        NodeEnum::AExpr(expr) if operator(expr) == Some("||") => {
            match (
                constant(expr.lexpr.as_deref()?)?,
                constant(expr.rexpr.as_deref()?)?,
            ) {
                (Literal::Text(left), Literal::Text(right)) => Some(Literal::Text(left + &right)),
                _ => None,
            }
        }
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

pub(super) fn literal_bool(text: &str) -> Option<bool> {
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

pub(super) fn literal_compare(operator: &str, left: &Literal, right: &Literal) -> Option<bool> {
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

/// Whether every text matches a pattern, or every array and document contains it; `None` where some may not.
/// A pattern that asks for some character counts as one that every text matches.
pub(super) fn matches_all(operator: &str, pattern: &Literal) -> Option<bool> {
    let Literal::Text(pattern) = pattern else {
        return None;
    };
    let (operator, negated) = match operator.strip_prefix('!') {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let only = |chars: &str| pattern.chars().all(|c| chars.contains(c));
    let all = match operator {
        "~~" | "~~*" => pattern.contains('%') && only("%_"),
        "~" | "~*" => {
            let is_bounded = pattern.starts_with('^') && pattern.ends_with('$');
            only("^.*+?()|$") && (!is_bounded || pattern.contains('*') || pattern.contains('+'))
        }
        "^@" => pattern.is_empty(),
        "@>" => matches!(pattern.trim(), "{}" | "[]"),
        _ => false,
    };
    all.then_some(!negated)
}
