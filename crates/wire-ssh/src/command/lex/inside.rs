//! What stands inside of a word: quotes, parameters, substitutions, sets of characters.

use super::super::word::WILD;
use super::{Broken, Lexer, Operation, Part, Word, read};

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
                self.at += ahead + 1;
                word.parts.push(Part::Glob);
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
        let mut index = Word::default();
        if self.peek() == Some('[') {
            self.at += 1;
            index = self.word(&[']'])?;
            self.at += 1;
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
        let operation = if length {
            Operation::Length
        } else if indirect {
            Operation::Other(Word::default())
        } else if index
            .parts
            .iter()
            .any(|part| !matches!(part, Part::Text(_) | Part::Glob))
        {
            // What is computed for the place in the array runs, too.
            Operation::Other(index)
        } else {
            operation
        };
        Ok(Part::Parameter {
            name,
            operation,
            quoted,
        })
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
