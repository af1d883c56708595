//! Digits with separators between them, the raw material of most numbers.

use crate::text::Text;

/// The most digits that one number can have here (an 8-digit date may follow
/// a 16-digit card).
const MAX: usize = 24;

/// Up to 24 digits from one place on, and what lies between them.
pub(crate) struct Run {
    start: usize,
    len: usize,
    digits: [u8; MAX],
    /// From the start on; separators are short, so it fits.
    at: [u8; MAX],
    gap: [u8; MAX],
}

impl Run {
    /// Reads from `i`, which holds a digit.
    pub(crate) fn read(text: Text<'_>, i: usize) -> Self {
        let mut run = Self {
            start: i,
            len: 0,
            digits: [0; MAX],
            at: [0; MAX],
            gap: [0; MAX],
        };
        let mut at = i;
        let mut gap = 0;
        while text.at(at).is_ascii_digit() && run.push(text.at(at) - b'0', at - i, gap) {
            at += 1;
            (at, gap) = match separator(text, at) {
                Some(found) => found,
                None => (at, 0),
            };
        }
        run
    }

    fn push(&mut self, digit: u8, at: usize, gap: u8) -> bool {
        let len = self.len;
        let (Some(d), Some(a), Some(g)) = (
            self.digits.get_mut(len),
            self.at.get_mut(len),
            self.gap.get_mut(len),
        ) else {
            return false;
        };
        (*d, *a, *g) = (digit, u8::try_from(at).unwrap_or(u8::MAX), gap);
        self.len += 1;
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The digit values of the first `n`.
    pub(crate) fn digits(&self, n: usize) -> &[u8] {
        self.digits.get(..n.min(self.len)).unwrap_or(&[])
    }

    /// One digit; 255 past the end.
    pub(crate) fn digit(&self, k: usize) -> u8 {
        self.digits(MAX).get(k).copied().unwrap_or(u8::MAX)
    }

    /// What is before digit `k`: 0 for nothing, else the separator that says
    /// most (see [`separator`]). 0 past the end.
    pub(crate) fn gap(&self, k: usize) -> u8 {
        if k < self.len {
            self.gap.get(k).copied().unwrap_or(0)
        } else {
            0
        }
    }

    /// Where the first `n` digits end.
    pub(crate) fn end(&self, n: usize) -> usize {
        n.checked_sub(1)
            .and_then(|last| self.at.get(last))
            .map_or(0, |at| self.start + usize::from(*at) + 1)
    }

    /// Whether the first `n` digits are followed by another one directly.
    pub(crate) fn continues(&self, text: Text<'_>, n: usize) -> bool {
        text.at(self.end(n)).is_ascii_digit()
    }

    /// The sizes of the groups that the first `n` digits form.
    pub(crate) fn groups(&self, n: usize) -> Groups {
        let mut groups = Groups {
            len: 0,
            sizes: [0; MAX],
        };
        for k in 0..n.min(self.len) {
            if k == 0 || self.gap(k) != 0 {
                groups.len += 1;
            }
            if let Some(size) = groups.sizes.get_mut(groups.len - 1) {
                *size += 1;
            }
        }
        groups
    }
}

/// Sizes of groups of digits.
pub(crate) struct Groups {
    len: usize,
    sizes: [u8; MAX],
}

impl Groups {
    pub(crate) fn sizes(&self) -> &[u8] {
        self.sizes.get(..self.len).unwrap_or(&[])
    }
}

/// The separator from `at` to a digit: at most four characters, with the one
/// that says most as its name: bracket, dash, slash, dot, underscore, plus,
/// line break, space. Two dashes, or two dots, do not separate parts of one number.
fn separator(text: Text<'_>, at: usize) -> Option<(usize, u8)> {
    let mut name = b' ';
    let mut end = at;
    loop {
        let b = text.at(end);
        match b {
            b'0'..=b'9' => return (end > at).then_some((end, name)),
            b' ' | b'\t' => {}
            b'\n' | b'\r' => {
                if name == b' ' {
                    name = b'\n';
                }
            }
            b'\\' if matches!(text.at(end + 1), b'n' | b'r' | b't') => {
                if name == b' ' {
                    name = b'\n';
                }
                end += 1;
            }
            b'(' | b')' => name = b,
            b'-' | b'/' | b'.' | b'_' | b'+' => match name {
                b' ' => name = b,
                b'(' | b')' => {}
                _ => return None,
            },
            _ => return None,
        }
        end += 1;
        if end - at > 4 {
            return None;
        }
    }
}

/// The separator that ties the digit at `i` to one before it; 0 for none.
pub(crate) fn gap_before(text: Text<'_>, i: usize) -> u8 {
    let b = text.before(i);
    if matches!(b, b'-' | b'.' | b'/' | b'_' | b' ') && text.before2(i).is_ascii_digit() {
        b
    } else {
        0
    }
}
