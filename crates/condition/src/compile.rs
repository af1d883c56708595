//! From text to an expression that can be evaluated, or to what is wrong with it.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::parser::PrattParser;
use regex::bytes::RegexBuilder;

use crate::expression::{Expression, Loop, Operator, RequestField, TextTest};
use crate::{MAX_DEPTH, MAX_LOOPS, MAX_NODES, MAX_TEXT, Wrong};

/// The most memory that a compiled regular expression takes, in bytes.
const MAX_REGEX: usize = 32 << 10;
/// How deep brackets and signs may be nested before the parser sees them.
const MAX_BRACKETS: usize = 2 * MAX_DEPTH;

pub(crate) fn read(text: &str) -> Result<Expression, Wrong> {
    if text.trim().is_empty() {
        return Err(wrong("it is empty", None));
    }
    if text.len() > MAX_TEXT {
        return Err(wrong(format!("it is longer than {MAX_TEXT} bytes"), None));
    }
    nesting(text)?;
    let parser = PrattParser::default()
        .max_recursion_depth(MAX_BRACKETS as u16)
        .max_expression_node_count(4 * MAX_NODES)
        .error_reporting_limit(1);
    let parsed = parser.parse(text).map_err(|errors| {
        let first = errors.errors.into_iter().next();
        first.map_or_else(
            || wrong("it is not CEL", None),
            |error| Wrong {
                message: error.msg,
                column: column(text, error.pos),
            },
        )
    })?;
    let mut compiler = Compiler {
        text,
        slots: Vec::new(),
        loops: 0,
        nodes: 0,
    };
    compiler.expression(&parsed, 0)
}

fn wrong(message: impl Into<String>, column: Option<usize>) -> Wrong {
    Wrong {
        message: message.into(),
        column,
    }
}

/// Where in the text a line and a column of it are, in characters from 1.
fn column(text: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let before: usize = text
        .split_inclusive('\n')
        .take(line)
        .map(|line| line.chars().count())
        .sum();
    Some(before + usize::try_from(column).ok()?.max(1))
}

/// Refuses what is nested too deep to be parsed: brackets, and runs of signs.
fn nesting(text: &str) -> Result<(), Wrong> {
    let (mut depth, mut signs) = (0_usize, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'!' | b'-' | b'?' => signs += 1,
            b' ' | b'\n' | b'\t' | b'\r' | b':' => {}
            _ => signs = 0,
        }
        if depth > MAX_BRACKETS || signs > MAX_BRACKETS {
            return Err(too_deep(Some(at + 1)));
        }
    }
    Ok(())
}

fn too_deep(column: Option<usize>) -> Wrong {
    let message = format!("it is nested deeper than {MAX_DEPTH}");
    wrong(message, column)
}

struct Compiler<'a> {
    text: &'a str,
    /// Names of the variables of loops, at their places.
    slots: Vec<&'a str>,
    loops: usize,
    nodes: usize,
}

impl<'a> Compiler<'a> {
    fn expression(&mut self, from: &'a IdedExpr, depth: usize) -> Result<Expression, Wrong> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("it has more than {MAX_NODES} operators, names and literals");
            return Err(wrong(message, None));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(None));
        }
        match &from.expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) if list.optional_indices.is_empty() => {
                Ok(Expression::List(self.all(&list.elements, depth)?))
            }
            Expr::Comprehension(parts) => self.comprehension(parts, depth),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(wrong("maps and messages cannot be written", self.at("{")))
            }
            Expr::List(_) | Expr::Unspecified => Err(wrong("it is not CEL that is known", None)),
        }
    }

    fn all(&mut self, from: &'a [IdedExpr], depth: usize) -> Result<Vec<Expression>, Wrong> {
        from.iter()
            .map(|one| self.expression(one, depth + 1))
            .collect()
    }

    fn boxed(&mut self, from: &'a IdedExpr, depth: usize) -> Result<Box<Expression>, Wrong> {
        self.expression(from, depth + 1).map(Box::new)
    }

    fn literal(&self, literal: &LiteralValue) -> Result<Expression, Wrong> {
        Ok(match literal {
            LiteralValue::Null => Expression::Null,
            LiteralValue::Boolean(value) => Expression::Bool(*value.inner()),
            LiteralValue::Int(value) => Expression::Int(*value.inner()),
            LiteralValue::UInt(value) => Expression::UInt(*value.inner()),
            LiteralValue::Double(value) => Expression::Double(*value.inner()),
            LiteralValue::String(value) => Expression::Text(value.inner().to_owned()),
            LiteralValue::Bytes(_) => {
                return Err(wrong("bytes are in no object: write a text", None));
            }
        })
    }

    fn name(&self, name: &str) -> Result<Expression, Wrong> {
        // The innermost loop comes last.
        if let Some(slot) = self.slots.iter().rposition(|slot| *slot == name) {
            return Ok(Expression::Slot(slot));
        }
        match name {
            "object" => Ok(Expression::Object),
            "request" => Err(wrong(
                "`request` stands with one of its fields, such as `request.verb`",
                self.at(name),
            )),
            "oldObject" => {
                let message =
                    "there is no `oldObject`: what is stored is not read before a request";
                Err(wrong(message, self.at(name)))
            }
            _ => {
                let message =
                    format!("there is no variable `{name}`: there are `request` and `object`");
                Err(wrong(message, self.at(name)))
            }
        }
    }

    fn select(&mut self, select: &'a SelectExpr, depth: usize) -> Result<Expression, Wrong> {
        let is_request = matches!(&select.operand.expr, Expr::Ident(name) if name == "request")
            && !self.slots.contains(&"request");
        if is_request {
            if select.test {
                let message = "the fields of `request` are always there";
                return Err(wrong(message, self.at("has")));
            }
            let mut fields = RequestField::ALL.into_iter();
            let field = fields.find(|(name, _)| *name == select.field);
            return field
                .map(|(_, field)| Expression::Request(field))
                .ok_or_else(|| {
                    let known: Vec<&str> =
                        RequestField::ALL.iter().map(|(name, _)| *name).collect();
                    let message = format!(
                        "`request` has no field `{}`: it has {}",
                        select.field,
                        known.join(", ")
                    );
                    wrong(message, self.at(&select.field))
                });
        }
        let of = self.boxed(&select.operand, depth)?;
        let name = select.field.clone();
        Ok(match select.test {
            true => Expression::Has(of, name),
            false => Expression::Select(of, name),
        })
    }

    fn call(&mut self, call: &'a CallExpr, depth: usize) -> Result<Expression, Wrong> {
        let name = call.func_name.as_str();
        if call.target.is_none()
            && name == operators::ADD
            && let Some(append) = self.append(&call.args, depth)?
        {
            return Ok(append);
        }
        let parts: Vec<&'a IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        let receiver = call.target.is_some();
        Ok(match (name, receiver, parts.as_slice()) {
            (operators::LOGICAL_AND, false, _) => Expression::And(self.all(&call.args, depth)?),
            (operators::LOGICAL_OR, false, _) => Expression::Or(self.all(&call.args, depth)?),
            (operators::LOGICAL_NOT, false, [of]) => Expression::Not(self.boxed(of, depth)?),
            (operators::NEGATE, false, [of]) => Expression::Negate(self.boxed(of, depth)?),
            (operators::NOT_STRICTLY_FALSE, false, [of]) => {
                Expression::NotFalse(self.boxed(of, depth)?)
            }
            (operators::CONDITIONAL, false, [condition, then, other]) => {
                let depth = depth + 1;
                Expression::Choice(Box::new([
                    self.expression(condition, depth)?,
                    self.expression(then, depth)?,
                    self.expression(other, depth)?,
                ]))
            }
            (operators::INDEX, false, [of, at]) => Expression::Index(self.two(of, at, depth)?),
            ("size", _, [of]) => Expression::Size(self.boxed(of, depth)?),
            ("contains", true, [of, part]) => {
                Expression::Test(TextTest::Contains, self.two(of, part, depth)?)
            }
            ("startsWith", true, [of, part]) => {
                Expression::Test(TextTest::StartsWith, self.two(of, part, depth)?)
            }
            ("endsWith", true, [of, part]) => {
                Expression::Test(TextTest::EndsWith, self.two(of, part, depth)?)
            }
            ("matches", _, [of, pattern]) => self.matches(of, pattern, depth)?,
            (_, false, [left, right]) if operator(name).is_some() => {
                let two = self.two(left, right, depth)?;
                operator(name).map_or(Expression::Null, |operator| {
                    Expression::Binary(operator, two)
                })
            }
            _ => {
                let message = format!(
                    "there is no function `{name}` with {} arguments: there are size, contains, \
                     startsWith, endsWith, matches, has, all, exists, exists_one, map and filter",
                    call.args.len()
                );
                return Err(wrong(message, self.at(name)));
            }
        })
    }

    fn two(
        &mut self,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
        depth: usize,
    ) -> Result<Box<[Expression; 2]>, Wrong> {
        let left = self.expression(left, depth + 1)?;
        Ok(Box::new([left, self.expression(right, depth + 1)?]))
    }

    /// `@result + [item]`, which only macros write.
    fn append(&mut self, parts: &'a [IdedExpr], depth: usize) -> Result<Option<Expression>, Wrong> {
        let [left, right] = parts else {
            return Ok(None);
        };
        let (Expr::Ident(name), Expr::List(list)) = (&left.expr, &right.expr) else {
            return Ok(None);
        };
        let slot = self.slots.iter().rposition(|slot| slot == name);
        match (slot, name.starts_with('@'), list.elements.as_slice()) {
            (Some(slot), true, [item]) => {
                Ok(Some(Expression::Append(slot, self.boxed(item, depth)?)))
            }
            _ => Ok(None),
        }
    }

    fn matches(
        &mut self,
        of: &'a IdedExpr,
        pattern: &'a IdedExpr,
        depth: usize,
    ) -> Result<Expression, Wrong> {
        let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else {
            let message = "`matches` takes its regular expression as a literal";
            return Err(wrong(message, self.at("matches")));
        };
        // As RE2 has it: classes are of ASCII.
        let regex = RegexBuilder::new(pattern.inner())
            .unicode(false)
            .size_limit(MAX_REGEX)
            .dfa_size_limit(MAX_REGEX)
            .build();
        let regex = regex.map_err(|error| {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            let message = format!("`{}` is no regular expression: {last}", pattern.inner());
            wrong(message, self.at("matches"))
        })?;
        Ok(Expression::Matches(self.boxed(of, depth)?, regex))
    }

    fn comprehension(
        &mut self,
        parts: &'a ComprehensionExpr,
        depth: usize,
    ) -> Result<Expression, Wrong> {
        if parts.iter_var2.is_some() {
            return Err(wrong("a loop has one variable", None));
        }
        if matches!(parts.iter_var.as_str(), "request" | "object") {
            let message = format!("a loop's variable cannot be called `{}`", parts.iter_var);
            return Err(wrong(message, self.at(&parts.iter_var)));
        }
        // What macros add around a part is no nesting of the author's.
        let range = self.expression(&parts.iter_range, depth + 1)?;
        let start = self.expression(&parts.accu_init, depth + 1)?;
        self.loops += 1;
        if self.loops > MAX_LOOPS {
            let message = format!("loops are nested deeper than {MAX_LOOPS}");
            return Err(wrong(message, None));
        }
        self.slots
            .extend([parts.accu_var.as_str(), parts.iter_var.as_str()]);
        let goes_on = self.expression(&parts.loop_cond, depth + 1)?;
        let step = self.expression(&parts.loop_step, depth + 1)?;
        self.slots.pop();
        let result = self.expression(&parts.result, depth + 1)?;
        self.slots.pop();
        self.loops -= 1;
        Ok(Expression::Loop(Box::new(Loop {
            range,
            start,
            goes_on,
            step,
            result,
        })))
    }

    /// Where a word stands first.
    fn at(&self, word: &str) -> Option<usize> {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let named = word.chars().all(part);
        let alone = |(at, _): &(usize, &str)| {
            let before = self
                .text
                .get(..*at)
                .and_then(|text| text.chars().next_back());
            let after = self
                .text
                .get(at + word.len()..)
                .and_then(|text| text.chars().next());
            !named || !before.is_some_and(part) && !after.is_some_and(part)
        };
        let (at, _) = self.text.match_indices(word).find(alone)?;
        Some(self.text.get(..at)?.chars().count() + 1)
    }
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::Unequal,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}
