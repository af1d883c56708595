//! One spelling for characters that are written in several ways.
//!
//! Digits of other scripts, full-width forms, typographic dashes and spaces all
//! become the ASCII that they stand for, with a map back to the input, and so do
//! the escapes of all of these in URLs, HTML, JSON and programs. Invisible
//! characters and the colours of terminals become nothing. Most text has none
//! of them, and is used as it is.

/// Normalized bytes and how to get back.
pub(crate) struct Normalized {
    pub(crate) bytes: Vec<u8>,
    /// Where a replacement was made: (position in `bytes`, position in the
    /// input), for the bytes from there on. Sorted by both.
    steps: Vec<(usize, usize)>,
}

const ESCAPE: u8 = 0x1B;

/// Lead bytes of what [`replace`] knows.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const LEADS: [bool; 256] = {
    let mut table = [false; 256];
    let leads = [
        b'%', b'&', b'\\', b'[', b'(', ESCAPE, 0xC2, 0xCD, 0xD8, 0xD9, 0xDB, 0xDF, 0xE0, 0xE1,
        0xE2, 0xE3, 0xEF, 0xF0, 0xF3,
    ];
    let mut i = 0;
    while i < leads.len() {
        table[leads[i] as usize] = true;
        i += 1;
    }
    table
};

/// `None` when the text needs no change.
pub(crate) fn normalize(text: &[u8]) -> Option<Normalized> {
    let first = next(text, 0)?;
    let mut out = Normalized {
        bytes: Vec::with_capacity(text.len()),
        steps: Vec::new(),
    };
    let mut copied = 0;
    let mut found = Some(first);
    while let Some((at, len, to)) = found {
        out.bytes.extend_from_slice(text.get(copied..at)?);
        copied = at + len;
        let spelled = len > 3 && matches!(text.get(at), Some(b'[' | b'('));
        if spelled {
            out.trim();
            copied += usize::from(text.get(copied) == Some(&b' '));
        }
        if to != 0 {
            out.steps.push((out.bytes.len(), at));
            out.bytes.push(to);
        }
        out.steps.push((out.bytes.len(), copied));
        found = next(text, copied);
    }
    out.bytes.extend_from_slice(text.get(copied..)?);
    Some(out)
}

impl Normalized {
    /// Takes back a blank at the end that was copied as it is.
    fn trim(&mut self) {
        let copied = self
            .steps
            .last()
            .is_none_or(|step| step.0 < self.bytes.len());
        if copied && self.bytes.last() == Some(&b' ') {
            self.bytes.pop();
        }
    }

    /// The input's position of a span's first byte.
    pub(crate) fn start(&self, at: usize) -> usize {
        self.input(at)
    }

    /// The input's position after a span's last byte.
    pub(crate) fn end(&self, at: usize) -> usize {
        match at.checked_sub(1) {
            Some(last) => {
                let replaced = self
                    .steps
                    .binary_search_by_key(&last, |step| step.0)
                    .ok()
                    .is_some();
                if replaced {
                    // The step after the last byte is where its source ends,
                    // before anything invisible that follows.
                    let index = self.steps.partition_point(|step| step.0 < at);
                    match self.steps.get(index) {
                        Some(step) if step.0 == at => return step.1,
                        _ => {}
                    }
                }
                self.input(last) + 1
            }
            None => 0,
        }
    }

    fn input(&self, at: usize) -> usize {
        // Of several steps at one place, the last is where its byte begins.
        let index = self.steps.partition_point(|step| step.0 <= at);
        match index.checked_sub(1).and_then(|i| self.steps.get(i)) {
            Some((to, from)) => from + (at - to),
            None => at,
        }
    }
}

/// The next replacement: position, length, and the ASCII byte (0: nothing).
#[inline(never)]
fn next(text: &[u8], mut at: usize) -> Option<(usize, usize, u8)> {
    loop {
        at += plain(text.get(at..)?);
        let stop = text.len().min(at + CHUNK);
        while at < stop {
            let rest = text.get(at..stop)?;
            match rest
                .iter()
                .position(|b| LEADS.get(usize::from(*b)).copied().unwrap_or(false))
            {
                Some(ahead) => at += ahead,
                None => {
                    at = stop;
                    break;
                }
            }
            if let Some((len, to)) = replace(text.get(at..)?) {
                return Some((at, len, to));
            }
            at += 1;
        }
        if at >= text.len() {
            return None;
        }
    }
}

/// How much is looked at in one step.
const CHUNK: usize = 64;

/// How many bytes at the front have nothing to replace, in steps that the
/// compiler turns into vector instructions.
fn plain(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    // No lead of Latin letters, Greek, Cyrillic or Hebrew is special.
    let special = |b: &u8| {
        (*b >= 0xD8)
            | (*b == 0xC2)
            | (*b == 0xCD)
            | (*b == b'%')
            | (*b == b'&')
            | (*b == b'\\')
            | (*b == b'[')
            | (*b == b'(')
            | (*b == ESCAPE)
    };
    let clean = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |any, b| any | special(b)));
    clean.count() * CHUNK
}

/// What the bytes at the front stand for, and how many they are.
#[inline(never)]
fn replace(rest: &[u8]) -> Option<(usize, u8)> {
    match rest {
        [b'%', ..] => character(rest, percent).or_else(|| character(rest, single)),
        [b'\\', b'/', ..] => Some((2, b'/')),
        [b'\\', b'x', ..] => character(rest, hexadecimal),
        [b'\\', b'u', digits @ ..] => code_point(number(digits.get(..4)?, 16)?).map(|to| (6, to)),
        [ESCAPE, b'[', ..] => colour(rest).map(|len| (len, 0)),
        // `user@example[.]test`.
        [b'[', sign @ (b'.' | b'@'), b']', ..] | [b'(', sign @ (b'.' | b'@'), b')', ..] => {
            Some((3, *sign))
        }
        // `user [at] example (dot) test`.
        [b'[', b'a' | b'A', b't' | b'T', b']', ..] | [b'(', b'a' | b'A', b't' | b'T', b')', ..] => {
            Some((4, b'@'))
        }
        [b'[', d, o, t, b']', ..] | [b'(', d, o, t, b')', ..]
            if [*d, *o, *t].eq_ignore_ascii_case(b"dot") =>
        {
            Some((5, b'.'))
        }
        [b'&', ..] => entity(rest),
        [0xC2, 0xA0, ..] => Some((2, b' ')),
        [0xC2, 0xAD, ..] => Some((2, 0)),
        [0xCD, 0x8F, ..] | [0xD8, 0x9C, ..] => Some((2, 0)),
        [0xDF, low @ 0x80..=0x89, ..] => Some((2, b'0' + (low - 0x80))),
        [0xD9, low @ 0xA0..=0xA9, ..] => Some((2, b'0' + (low - 0xA0))),
        [0xDB, low @ 0xB0..=0xB9, ..] => Some((2, b'0' + (low - 0xB0))),
        // Digits of the scripts of India: 0966, 09E6, 0A66, 0AE6, 0B66, 0BE6,
        // 0C66, 0CE6, 0D66; Thai 0E50.
        [
            0xE0,
            0xA5 | 0xA7 | 0xA9 | 0xAB | 0xAD | 0xAF | 0xB1 | 0xB3 | 0xB5,
            low @ 0xA6..=0xAF,
            ..,
        ] => Some((3, b'0' + (low - 0xA6))),
        [0xE0, 0xB9, low @ 0x90..=0x99, ..] => Some((3, b'0' + (low - 0x90))),
        // Lao, Tibetan, Myanmar, Khmer, Mongolian.
        [0xE0, 0xBB, low @ 0x90..=0x99, ..] => Some((3, b'0' + (low - 0x90))),
        [0xE0, 0xBC, low @ 0xA0..=0xA9, ..] => Some((3, b'0' + (low - 0xA0))),
        [0xE1, 0x81, low @ 0x80..=0x89, ..] => Some((3, b'0' + (low - 0x80))),
        [0xE1, 0x9F, low @ 0xA0..=0xA9, ..] => Some((3, b'0' + (low - 0xA0))),
        [0xE1, 0xA0, low @ 0x90..=0x99, ..] => Some((3, b'0' + (low - 0x90))),
        // Fillers, and separators of vowels.
        [0xE1, 0x85, 0x9F | 0xA0, ..] | [0xE1, 0xA0, 0x8B..=0x8F, ..] => Some((3, 0)),
        [0xE2, 0x80, low, ..] => match low {
            0x80..=0x8A | 0xA8 | 0xA9 | 0xAF => Some((3, b' ')),
            0x8B..=0x8F | 0xAA..=0xAE => Some((3, 0)),
            0x90..=0x95 => Some((3, b'-')),
            0x98..=0x9B => Some((3, b'\'')),
            0x9C..=0x9F => Some((3, b'"')),
            0xA2 => Some((3, b'*')),
            0xA4 => Some((3, b'.')),
            _ => None,
        },
        [0xE2, 0x81, 0x9F, ..] => Some((3, b' ')),
        [0xE2, 0x81, 0xA0..=0xAF, ..] | [0xE2, 0x83, 0xA3, ..] => Some((3, 0)),
        // Digits in circles.
        [0xE2, 0x91, low @ 0xA0..=0xA8, ..] => Some((3, b'1' + (low - 0xA0))),
        [0xE2, 0x93, 0xAA, ..] => Some((3, b'0')),
        [0xE2, 0x88, 0x92, ..] => Some((3, b'-')),
        [0xE3, 0x80, 0x80 | 0x81, ..] => Some((3, b' ')),
        // The ideographic full stop separates labels of domain names too.
        [0xE3, 0x80, 0x82, ..] | [0xEF, 0xBD, 0xA1, ..] => Some((3, b'.')),
        [0xEF, 0xBB, 0xBF, ..]
        | [0xEF, 0xB8, 0x80..=0x8F, ..]
        | [0xEF, 0xBE, 0xA0, ..]
        | [0xE3, 0x85, 0xA4, ..] => Some((3, 0)),
        [0xEF, 0xB9, 0x98 | 0xA3, ..] => Some((3, b'-')),
        [0xEF, 0xB9, 0xAB, ..] => Some((3, b'@')),
        [0xEF, 0xBC, low @ 0x81..=0xBF, ..] => Some((3, low - 0x81 + b'!')),
        [0xEF, 0xBD, low @ 0x80..=0x9E, ..] => Some((3, low - 0x80 + b'`')),
        // Mathematical digits, five styles of ten.
        [0xF0, 0x9D, 0x9F, low @ 0x8E..=0xBF, ..] => Some((4, b'0' + (low - 0x8E) % 10)),
        // Tags, and selectors of variants.
        [0xF3, 0xA0, 0x80..=0x87, _, ..] => Some((4, 0)),
        _ => None,
    }
}

/// The character that escaped bytes at the front make: how long its escapes are, and what it stands for.
fn character(rest: &[u8], escape: fn(&[u8]) -> Option<(usize, u8)>) -> Option<(usize, u8)> {
    let (mut used, first) = escape(rest)?;
    if let Some(to) = ascii(first) {
        return Some((used, to));
    }
    let count = match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return None,
    };
    let mut bytes = [first, 0, 0, 0];
    for slot in bytes.get_mut(1..count)? {
        let (len, byte) = escape(rest.get(used..)?)?;
        *slot = byte;
        used += len;
    }
    let (len, to) = replace(bytes.get(..count)?)?;
    (len == count).then_some((used, to))
}

/// A byte in a URL, encoded once or twice.
fn percent(rest: &[u8]) -> Option<(usize, u8)> {
    match rest {
        [b'%', b'2', b'5', high, low, ..] => hex(*high, *low).map(|byte| (5, byte)),
        _ => None,
    }
    .or_else(|| single(rest))
}

fn single(rest: &[u8]) -> Option<(usize, u8)> {
    match rest {
        [b'%', high, low, ..] => hex(*high, *low).map(|byte| (3, byte)),
        _ => None,
    }
}

/// `\x2d`.
fn hexadecimal(rest: &[u8]) -> Option<(usize, u8)> {
    match rest {
        [b'\\', b'x', high, low, ..] => hex(*high, *low).map(|byte| (4, byte)),
        _ => None,
    }
}

/// The byte of two hex digits.
fn hex(high: u8, low: u8) -> Option<u8> {
    u8::try_from(number(&[high, low], 16)?).ok()
}

/// The number that these digits are, all of them.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0, |value, b| {
        Some(value * radix + char::from(*b).to_digit(radix)?)
    })
}

/// An ASCII character that may be what an escape stands for: printable, or white space.
fn ascii(byte: u8) -> Option<u8> {
    (matches!(byte, 0x20..0x7F | b'\t' | b'\n' | b'\r')).then_some(byte)
}

/// What a character by its number stands for.
fn code_point(value: u32) -> Option<u8> {
    if let Ok(byte) = u8::try_from(value)
        && byte < 0x80
    {
        return ascii(byte);
    }
    let mut bytes = [0; 4];
    let bytes = char::from_u32(value)?.encode_utf8(&mut bytes).as_bytes();
    let (len, to) = replace(bytes)?;
    (len == bytes.len()).then_some(to)
}

/// The length of a control sequence of a terminal (ECMA-48, 5.4): a colour, mostly.
fn colour(rest: &[u8]) -> Option<usize> {
    let end = rest
        .iter()
        .skip(2)
        .take(32)
        .position(|b| !(0x20..0x40).contains(b))?;
    let last = *rest.get(end + 2)?;
    (0x40..0x7F).contains(&last).then_some(end + 3)
}

/// A numeric HTML entity for a character that is known here, or one of the named
/// ones that hide separators.
fn entity(rest: &[u8]) -> Option<(usize, u8)> {
    for (name, to) in [
        (&b"&nbsp;"[..], b' '),
        (b"&commat;", b'@'),
        (b"&period;", b'.'),
        (b"&hyphen;", b'-'),
        (b"&dash;", b'-'),
        (b"&ndash;", b'-'),
        (b"&mdash;", b'-'),
        (b"&minus;", b'-'),
        (b"&ensp;", b' '),
        (b"&emsp;", b' '),
        (b"&thinsp;", b' '),
        (b"&shy;", 0),
        (b"&zwj;", 0),
        (b"&zwnj;", 0),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&amp;", b'&'),
        (b"&apos;", b'\''),
        (b"&quot;", b'"'),
    ] {
        if rest.starts_with(name) {
            return Some((name.len(), to));
        }
    }
    let digits = rest.strip_prefix(b"&#")?;
    let (digits, radix) = match digits {
        [b'x' | b'X', hex @ ..] => (hex, 16),
        decimal => (decimal, 10),
    };
    let len = digits
        .iter()
        .take(7)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    let semicolon = usize::from(digits.get(len) == Some(&b';'));
    let total = rest.len() - digits.len() + len + semicolon;
    let to = code_point(number(digits.get(..len)?, radix)?)?;
    (len > 0).then_some((total, to))
}
