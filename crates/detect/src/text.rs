//! Bytes that can be asked for any position: outside they read as zero, which
//! no detector takes for part of a value.

use std::ops::Range;

/// The input of one scan.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl<'a> Text<'a> {
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// The byte at `i`; zero past the end.
    pub(crate) fn at(self, i: usize) -> u8 {
        self.0.get(i).copied().unwrap_or(0)
    }

    /// The byte before `i`; zero before the start.
    pub(crate) fn before(self, i: usize) -> u8 {
        i.checked_sub(1).map_or(0, |i| self.at(i))
    }

    /// Two bytes before `i`; zero before the start.
    pub(crate) fn before2(self, i: usize) -> u8 {
        i.checked_sub(2).map_or(0, |i| self.at(i))
    }

    /// The byte before `i`, and zero where it ends an escape such as `\n`: that is a sign, not a letter.
    pub(crate) fn led(self, i: usize) -> u8 {
        match (self.before2(i), self.before(i)) {
            (b'\\', b'n' | b'r' | b't' | b'f' | b'b') => 0,
            (_, before) => before,
        }
    }

    /// A part of the bytes; empty where it is not inside.
    pub(crate) fn slice(self, range: Range<usize>) -> &'a [u8] {
        self.0.get(range).unwrap_or(&[])
    }

    /// Whether these bytes are next at `i`.
    pub(crate) fn starts_with(self, i: usize, prefix: &[u8]) -> bool {
        self.0.get(i..).is_some_and(|rest| rest.starts_with(prefix))
    }

    /// The end of the longest run of such bytes from `i`, at most `limit` long.
    pub(crate) fn run(self, i: usize, limit: usize, accept: impl Fn(u8) -> bool) -> usize {
        let rest = self.0.get(i..).unwrap_or(&[]);
        let len = rest.iter().take(limit).take_while(|b| accept(**b)).count();
        i + len
    }

    /// The start of the longest run of such bytes that ends at `i`.
    pub(crate) fn run_back(self, i: usize, limit: usize, accept: impl Fn(u8) -> bool) -> usize {
        let head = self.0.get(..i).unwrap_or(&[]);
        let len = head
            .iter()
            .rev()
            .take(limit)
            .take_while(|b| accept(**b))
            .count();
        i.saturating_sub(len)
    }
}

/// Letters of any script count as part of a word.
pub(crate) fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80
}

/// How many different bytes there are: low for placeholders.
pub(crate) fn distinct(bytes: &[u8]) -> u32 {
    let mut seen = [0u64; 4];
    for b in bytes {
        if let Some(word) = seen.get_mut(usize::from(b >> 6)) {
            *word |= 1 << (b & 63);
        }
    }
    seen.iter().map(|word| word.count_ones()).sum()
}
