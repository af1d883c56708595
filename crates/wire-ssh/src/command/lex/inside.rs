//! What stands inside of a word: quotes, parameters, substitutions, sets of characters.

use super::super::word::WILD;
use super::{Broken, Lexer, Operation, Part, Word, read};

/// Length of a place in an array, at most.
const MAX_INDEX: usize = 1024;

impl Lexer {
    pub(super) fn bracket(&mut self, word: &mut Word, stop: &[char]) {
        let mut ahead = 1;
        // A set has at least one member, which may be `]`.
        if matches!(self.after(ahead), Some('!' | '^')) {
            ahead += 1;
        }
        let first = ahead;
        while let Some(c) = self.after(ahead) {
            if c == ']' && ahead > first {
                let inner = self.text.get(self.at + 1..self.at + ahead);
                let inner: String = inner.unwrap_or_default().iter().collect();
                self.at += ahead + 1;
                let named = match word.parts.as_slice() {
                    [] => true,
                    [Part::Text(name)] => is_name(name),
                    _ => false,
                };
                word.parts.push(match named {
                    true => Part::Set(inner),
                    false => Part::Glob,
                });
                return;
            }
            let ends = " \t\n;&|/'\"`$()<>\\".contains(c);
            if ends || stop.contains(&c) || ahead > 64 {
                break;
            }
            ahead += 1;
        }
        self.at += 1;
        word.push('[');
    }

    /// What stands in single quotes, up to the end of them.
    pub(super) fn single(&mut self, word: &mut Word) -> Result<(), Broken> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => word.push(c),
                None => return Err("a quote is not closed"),
            }
        }
    }

    pub(super) fn double(&mut self, word: &mut Word) -> Result<(), Broken> {
        word.quoted = true;
        loop {
            match self.peek() {
                None => return Err("a quote is not closed"),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(c) => self.quoted_char(c, word, true)?,
            }
        }
    }

    /// One character inside of double quotes or of a here-document.
    pub(super) fn quoted_char(
        &mut self,
        c: char,
        word: &mut Word,
        quotes: bool,
    ) -> Result<(), Broken> {
        match c {
            '\\' => {
                self.at += 1;
                match self.peek() {
                    Some('\n') => self.at += 1,
                    Some(c @ ('$' | '`' | '\\')) => {
                        self.at += 1;
                        word.push(c);
                    }
                    Some('"') if quotes => {
                        self.at += 1;
                        word.push('"');
                    }
                    _ => word.push('\\'),
                }
            }
            '$' => self.dollar(word, true)?,
            '`' => self.backtick(word, true)?,
            c => {
                self.at += 1;
                word.push(c);
            }
        }
        Ok(())
    }

    /// What follows a dollar sign.
    pub(super) fn dollar(&mut self, word: &mut Word, quoted: bool) -> Result<(), Broken> {
        self.at += 1;
        let value = |name: String| Part::Parameter {
            name,
            index: Vec::new(),
            operation: Operation::Value,
            quoted,
        };
        match self.peek() {
            Some('(')
                if self.after(1) == Some('(') && self.arithmetic_end(self.at + 2).is_some() =>
            {
                self.at += 2;
                let parts = self.deeper(Lexer::arithmetic)?;
                word.parts.push(Part::Arithmetic(parts));
            }
            Some('(') => {
                word.parts.extend(self.sum().map(Part::Sum));
                self.at += 1;
                let script = self.deeper(|lexer| lexer.script(true))?;
                word.parts.push(Part::Command { script, quoted });
            }
            Some('[') => {
                self.at += 1;
                let parts = self
                    .deeper(|lexer| lexer.word(&[']', '\n', ';', '&', '|']))?
                    .parts;
                // Only bash computes here; to other shells it is plain text.
                if self.next() != Some(']') {
                    return Err("a bracket is not closed");
                }
                word.parts.push(Part::Arithmetic(parts));
            }
            Some('{') => {
                self.at += 1;
                let part = self.deeper(|lexer| lexer.parameter(quoted))?;
                word.parts.push(part);
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                word.parts.push(value(name));
            }
            Some(c) if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.at += 1;
                word.parts.push(value(c.to_string()));
            }
            Some('=' | '~' | '^' | '+')
                if self
                    .after(1)
                    .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '{')) =>
            {
                return Err("shells read a parameter in different ways");
            }
            _ => word.push('$'),
        }
        Ok(())
    }

    pub(super) fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            self.at += 1;
            name.push(c);
        }
        name
    }

    /// `${…}`, behind the brace.
    pub(super) fn parameter(&mut self, quoted: bool) -> Result<Part, Broken> {
        let length = self.peek() == Some('#') && self.after(1).is_some_and(|c| c != '}');
        let indirect = self.peek() == Some('!') && self.after(1).is_some_and(|c| c != '}');
        self.at += usize::from(length || indirect);
        let mut name = self.name();
        if name.is_empty()
            && let Some(c) = self.peek().filter(|c| "@*#?-$!".contains(*c))
        {
            self.at += 1;
            name.push(c);
        }
        if name.is_empty() || name == "$" && matches!(self.peek(), Some('{' | '(')) {
            return Err("a parameter has no name");
        }
        let mut index = Vec::new();
        if self.peek() == Some('[') {
            self.at += 1;
            index = self.deeper(Lexer::subscript)?;
        }
        let colon = usize::from(self.peek() == Some(':'));
        let operator = self.after(colon);
        let operation = match operator {
            Some('}') if colon == 0 => Operation::Value,
            Some('-' | '=' | '?' | '+') => {
                self.at += colon + 1;
                let word = self.word(&['}'])?;
                match operator {
                    Some('+') => Operation::Alternative(word),
                    operator => Operation::Default {
                        word,
                        assigns: operator == Some('='),
                    },
                }
            }
            _ => Operation::Other(self.word(&['}'])?),
        };
        if self.next() != Some('}') {
            return Err("a brace is not closed");
        }
        let operation = match operation {
            _ if length => Operation::Length,
            Operation::Other(word) if indirect => Operation::Indirect(word),
            _ if indirect => Operation::Indirect(Word::default()),
            operation => operation,
        };
        Ok(Part::Parameter {
            name,
            index,
            operation,
            quoted,
        })
    }

    /// A place in an array, up to the bracket that closes it.
    pub(super) fn subscript(&mut self) -> Result<Vec<Part>, Broken> {
        let mut word = Word::default();
        let mut open = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                ']' if open == 0 => {
                    self.at += 1;
                    return Ok(word.parts);
                }
                '\'' => {
                    self.at += 1;
                    self.single(&mut word)?;
                }
                '"' => {
                    self.at += 1;
                    self.double(&mut word)?;
                }
                '\\' | '$' | '`' => self.quoted_char(c, &mut word, true)?,
                c => {
                    match c {
                        '[' => open += 1,
                        ']' => open -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    word.push(c);
                }
            }
        }
        Err("a bracket is not closed")
    }

    /// Whether the bracket here begins a place in an array that is assigned.
    pub(super) fn assigns_place(&self, word: &Word) -> Result<bool, Broken> {
        let named = matches!(word.parts.as_slice(), [Part::Text(name)] if is_name(name));
        if !named || word.quoted {
            return Ok(false);
        }
        let Some(end) = self.closing(self.at + 1, ']', |_| false) else {
            return match self.text.len() > self.at + MAX_INDEX {
                true => Err("a place in an array is too long"),
                false => Ok(false),
            };
        };
        let behind = |n: usize| self.text.get(end + n).copied();
        let assigns = matches!(
            (behind(1), behind(2)),
            (Some('='), _) | (Some('+'), Some('='))
        );
        if assigns
            && self
                .closing(self.at + 1, ']', |c| " \t\n;&|<>()".contains(c))
                .is_none()
        {
            // To some shells these are several words.
            return Err("a place in an array has several words");
        }
        Ok(assigns)
    }

    /// What is between two parentheses here and those that close them, if that may be a sum with quotes,
    /// semicolons or lines in it.
    pub(super) fn sum(&self) -> Option<String> {
        if self.peek() != Some('(') || self.after(1) != Some('(') {
            return None;
        }
        let from = self.at + 2;
        let end = self.closing(from, ')', |_| false)?;
        let inner = self.text.get(from..end)?;
        (self.text.get(end + 1) == Some(&')')).then(|| inner.iter().collect())
    }

    /// Where a bracket or parenthesis is closed, but for what is quoted or substituted. None: nowhere, or
    /// not before something that stops it.
    fn closing(&self, from: usize, close: char, stops: impl Fn(char) -> bool) -> Option<usize> {
        let (mut at, mut quote, mut open) = (from, None, Vec::new());
        while let Some(c) = self.text.get(at).copied() {
            if close == ']' && at > from + MAX_INDEX {
                return None;
            }
            match (c, quote) {
                ('\\', quote) if quote != Some('\'') => at += 1,
                (c, Some(end)) if c == end => quote = None,
                (_, Some(_)) => {}
                ('\'' | '"' | '`', None) => quote = Some(c),
                (c, None) if open.last() == Some(&c) => drop(open.pop()),
                (c, None) if c == close && open.is_empty() => return Some(at),
                (c, None) if open.iter().all(|it| *it == ']') && stops(c) => {
                    let substitutes = c == '(' && self.text.get(at.wrapping_sub(1)) == Some(&'$');
                    if !substitutes {
                        return None;
                    }
                    open.push(')');
                }
                ('(', None) => open.push(')'),
                ('[', None) if close == ']' => open.push(']'),
                ('{', None) => open.push('}'),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Where `))` closes what `((` has opened, if it is arithmetic at all.
    pub(super) fn arithmetic_end(&self, from: usize) -> Option<usize> {
        let mut open = 0_usize;
        let mut at = from;
        while let Some(c) = self.text.get(at) {
            match c {
                '(' => open += 1,
                ')' if open > 0 => open -= 1,
                ')' => return (self.text.get(at + 1) == Some(&')')).then_some(at),
                '\'' | '"' | ';' | '\n' | '`' => return None,
                _ => {}
            }
            at += 1;
        }
        None
    }

    pub(super) fn arithmetic(&mut self) -> Result<Vec<Part>, Broken> {
        let end = self
            .arithmetic_end(self.at)
            .ok_or("a parenthesis is not closed")?;
        let mut word = Word::default();
        while self.at < end {
            match self.peek() {
                Some(c) => self.quoted_char(c, &mut word, false)?,
                None => break,
            }
        }
        self.at = self.at.max(end + 2);
        Ok(word.parts)
    }

    pub(super) fn backtick(&mut self, word: &mut Word, quoted: bool) -> Result<(), Broken> {
        self.at += 1;
        let mut inner = String::new();
        loop {
            match self.next() {
                None => return Err("a backtick is not closed"),
                Some('`') => break,
                Some('\\') => match self.next() {
                    Some(c @ ('`' | '\\' | '$')) => inner.push(c),
                    Some('"') if quoted => inner.push('"'),
                    Some(c) => inner.extend(['\\', c]),
                    None => inner.push('\\'),
                },
                Some(c) => inner.push(c),
            }
        }
        let script = self.deeper(|lexer| read(&inner, lexer.depth))?;
        word.parts.push(Part::Command { script, quoted });
        Ok(())
    }

    /// The inside of `$'…'`.
    pub(super) fn ansi(&mut self, word: &mut Word) -> Result<(), Broken> {
        let digits = |lexer: &mut Lexer, radix: u32, most: usize| {
            let mut value = 0_u32;
            for _ in 0..most {
                let Some(digit) = lexer.peek().and_then(|c| c.to_digit(radix)) else {
                    break;
                };
                lexer.at += 1;
                value = value.wrapping_mul(radix).wrapping_add(digit);
            }
            char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        // These mean something here, and a zero byte ends the word.
        let tame = |c: char| match c <= WILD {
            true => Err("a text in it has control characters"),
            false => Ok(c),
        };
        loop {
            let Some(c) = self.next() else {
                return Err("a quote is not closed");
            };
            match c {
                '\'' => return Ok(()),
                '\\' => match self.next() {
                    None => return Err("a quote is not closed"),
                    Some('a') => return Err("a text in it has control characters"),
                    Some('n') => word.push('\n'),
                    Some('t') => word.push('\t'),
                    Some('r') => word.push('\r'),
                    Some('b') => word.push('\u{8}'),
                    Some('e' | 'E') => word.push('\u{1b}'),
                    Some('f') => word.push('\u{c}'),
                    Some('v') => word.push('\u{b}'),
                    Some('x') => {
                        let c = digits(self, 16, 2);
                        word.push(tame(c)?);
                    }
                    Some('u') => {
                        let c = digits(self, 16, 4);
                        word.push(tame(c)?);
                    }
                    Some('U') => {
                        let c = digits(self, 16, 8);
                        word.push(tame(c)?);
                    }
                    Some('c') => {
                        if let Some(c) = self.next() {
                            word.push(tame(char::from(c as u8 & 0x1f))?);
                        }
                    }
                    Some('0'..='7') => {
                        self.at -= 1;
                        let c = digits(self, 8, 3);
                        word.push(tame(c)?);
                    }
                    Some(c) => word.push(c),
                },
                c => word.push(c),
            }
        }
    }
}

/// Whether a text is a name of a variable.
fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    characters.next().is_some_and(begins)
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether the word before a redirection says which file it is about: a number, or a variable for one.
pub(super) fn numbers(word: &[char]) -> Result<bool, Broken> {
    if word.iter().all(char::is_ascii_digit) {
        return Ok(true);
    }
    let [open, inner @ .., close] = word else {
        return Ok(false);
    };
    if (*open, *close) != ('{', '}') {
        return Ok(false);
    }
    let inner: String = inner.iter().collect();
    if inner.split_once('[').is_some_and(|(name, _)| is_name(name)) {
        return Err("the number of a file goes to a place in an array");
    }
    Ok(is_name(&inner))
}
