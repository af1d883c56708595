//! The shape of a text: everything but its literals.
//!
//! Applications that write values into their statements send a new text every time, and every time
//! it means the same. Two texts of one shape are the same sequence of tokens to the server's lexer,
//! so their trees differ in the values of constants only; where nothing looked at a value
//! ([`Script::ignores_literals`]), one analysis holds for both.
//!
//! The lexer here knows the plain part of the server's: decimal numbers, quoted strings and
//! identifiers. A text with anything else (comments, backslashes, dollar quotes, prefixed strings)
//! has no shape, and is analysed for itself.

use crate::Script;

/// Stand in a shape for an integer of the server's `int4`, for any other number, for a string.
/// A text that holds one of these bytes outside of quotes has no shape.
const INTEGER: char = '\u{1}';
const NUMBER: char = '\u{2}';
const STRING: char = '\u{3}';

/// The shape of one text at a time; kept to spare the allocations.
#[derive(Debug, Default)]
pub struct Shape {
    key: String,
    literals: Vec<u32>,
}

impl Shape {
    /// Reads a text. `None` where it has no shape; compare the keys of two texts whole.
    pub fn read(&mut self, text: &str) -> Option<&str> {
        self.key.clear();
        self.literals.clear();
        Reader { text, at: 0 }.read(self)?;
        Some(&self.key)
    }

    /// The shape of the text that was read last.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The shape of the text that was read last, for people: what stands for a literal says so.
    pub fn shown(&self) -> String {
        let mut out = String::with_capacity(self.key.len() + 16 * self.literals.len());
        for c in self.key.chars() {
            match c {
                INTEGER | NUMBER => out.push_str("‹number›"),
                STRING => out.push_str("‹text›"),
                c => out.push(c),
            }
        }
        out
    }

    /// The literals of the text that was read last, as they stand in it.
    pub fn literals<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let literal = |start: &u32| {
            let at = usize::try_from(*start).ok()?;
            let reader = Reader { text, at };
            let length = match reader.peek(0) {
                b'\'' => reader.quoted(b'\'')?,
                _ => reader.run(0, |byte| byte.is_ascii_digit() || byte == b'.'),
            };
            text.get(at..at + length)
        };
        self.literals.iter().filter_map(literal).collect()
    }

    fn literal(&mut self, start: usize, stand_in: char) -> Option<()> {
        self.literals.push(u32::try_from(start).ok()?);
        self.key.push(stand_in);
        Some(())
    }
}

/// The constants of a statement, as far as its facts depend on them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    /// Where constants stand that nothing but their presence was made of, in bytes.
    pub(crate) plain: Vec<u32>,
    /// Whether some constant's value was looked at.
    pub(crate) inspected: bool,
}

impl Script {
    /// Whether any text of the shape that was read from this script's text has this analysis,
    /// but for the place of things in the text.
    pub fn ignores_literals(&self, shape: &Shape, text: &str) -> bool {
        let [statement] = self.statements.as_slice() else {
            return false;
        };
        let constants = &statement.constants;
        let planned = matches!(statement.tag, "SELECT" | "INSERT" | "UPDATE" | "DELETE");
        // The server's grammar gives a negative number the place of its sign.
        let sign = |offset: u32| {
            let before = text.get(..usize::try_from(offset).ok()?)?.trim_end();
            before
                .ends_with('-')
                .then(|| u32::try_from(before.len() - 1).ok())?
        };
        let is_plain = |offset: &u32| {
            constants.plain.contains(offset)
                || sign(*offset).is_some_and(|sign| constants.plain.contains(&sign))
        };
        planned && !constants.inspected && shape.literals.iter().all(is_plain)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        let byte = self.text.as_bytes().get(self.at + ahead);
        byte.copied().unwrap_or_default()
    }

    /// The byte before the next one.
    fn last(&self) -> u8 {
        let at = self.at.checked_sub(1);
        let byte = at.and_then(|at| self.text.as_bytes().get(at));
        byte.copied().unwrap_or_default()
    }

    /// Copies the next `count` bytes into the key.
    fn keep(&mut self, count: usize, shape: &mut Shape) -> Option<()> {
        shape.key.push_str(self.text.get(self.at..self.at + count)?);
        self.at += count;
        Some(())
    }

    fn run(&self, from: usize, goes_on: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at + from..);
        let length = rest.map(|rest| rest.iter().take_while(|byte| goes_on(**byte)).count());
        length.unwrap_or_default()
    }

    fn read(&mut self, shape: &mut Shape) -> Option<()> {
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'\'', _) => self.string(shape)?,
                (b'"', _) => {
                    if self.last() == b'&' {
                        return None;
                    }
                    let length = self.quoted(b'"')?;
                    self.keep(length, shape)?;
                }
                (b'0'..=b'9', _) => self.number(shape)?,
                (b'a'..=b'z' | b'A'..=b'Z' | b'_', _) => {
                    let length = self.run(0, is_word);
                    self.keep(length, shape)?;
                }
                (b'$', b'0'..=b'9') => {
                    let length = 1 + self.run(1, |byte| byte.is_ascii_digit());
                    self.keep(length, shape)?;
                }
                (b'-', b'-') | (b'/', b'*') | (b'$' | b'\\', _) => return None,
                (byte, _)
                    if byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\r' | b'\t') =>
                {
                    self.keep(1, shape)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// The length of what stands in quotes, with them; a doubled quote is part of it.
    fn quoted(&self, quote: u8) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end)? {
                b'\\' => return None,
                byte if *byte != quote => end += 1,
                _ if bytes.get(end + 1) == Some(&quote) => end += 2,
                _ => return Some(end + 1 - self.at),
            }
        }
    }

    fn string(&mut self, shape: &mut Shape) -> Option<()> {
        let (before, start) = (self.last(), self.at);
        if is_word(before) || before == b'&' {
            return None;
        }
        self.at += self.quoted(b'\'')?;
        let space = self.run(0, |byte| byte.is_ascii_whitespace() || byte == 0x0b);
        if self.peek(space) == b'\'' {
            return None;
        }
        shape.literal(start, STRING)
    }

    fn number(&mut self, shape: &mut Shape) -> Option<()> {
        let (before, start) = (self.last(), self.at);
        if is_word(before) || before == b'.' {
            return None;
        }
        let digits = |reader: &Self, from| reader.run(from, |byte| byte.is_ascii_digit());
        let whole = digits(self, 0);
        let fraction = match self.peek(whole) {
            b'.' => digits(self, whole + 1) + 1,
            _ => 0,
        };
        if fraction == 1 {
            return None;
        }
        let text = self.text.get(self.at..self.at + whole + fraction)?;
        self.at += whole + fraction;
        if is_word(self.peek(0)) || self.peek(0) == b'.' {
            return None;
        }
        let stand_in = match text.parse::<i32>() {
            Ok(_) => INTEGER,
            Err(_) => NUMBER,
        };
        shape.literal(start, stand_in)
    }
}

/// Whether a byte goes on with a word, or with what is not plain.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

#[cfg(test)]
mod tests;
