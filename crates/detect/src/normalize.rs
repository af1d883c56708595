//! One spelling for characters that are written in several ways.
//!
//! Digits of other scripts, full-width forms, typographic dashes and spaces,
//! percent and HTML escapes of ASCII, and invisible characters all become the
//! ASCII that they stand for, with a map back to the input. Most text has
//! none of them, and is used as it is.

/// Normalized bytes and how to get back.
pub(crate) struct Normalized {
    pub(crate) bytes: Vec<u8>,
    /// Where a replacement was made: (position in `bytes`, position in the
    /// input), for the bytes from there on. Sorted by both.
    steps: Vec<(usize, usize)>,
}

/// Lead bytes of what [`replace`] knows.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const LEADS: [bool; 256] = {
    let mut table = [false; 256];
    let leads = [
        b'%', b'&', b'\\', b'[', b'(', 0xC2, 0xD9, 0xDB, 0xE0, 0xE2, 0xE3, 0xEF, 0xF0,
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
        let spelled = matches!(text.get(at), Some(b'[' | b'('));
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
fn next(text: &[u8], mut at: usize) -> Option<(usize, usize, u8)> {
    loop {
        let rest = text.get(at..)?;
        at += plain(rest);
        let rest = text.get(at..)?;
        at += rest
            .iter()
            .position(|b| LEADS.get(usize::from(*b)).copied().unwrap_or(false))?;
        let rest = text.get(at..)?;
        if let Some((len, to)) = replace(rest) {
            return Some((at, len, to));
        }
        at += 1;
    }
}

/// How many bytes at the front have nothing to replace, in steps that the
/// compiler turns into vector instructions.
fn plain(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<64>();
    let special = |b: &u8| {
        (*b >= 0xC2) | (*b == b'%') | (*b == b'&') | (*b == b'\\') | (*b == b'[') | (*b == b'(')
    };
    let clean = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |any, b| any | special(b)));
    clean.count() * 64
}

/// What the bytes at the front stand for, and how many they are.
fn replace(rest: &[u8]) -> Option<(usize, u8)> {
    match rest {
        // Encoded once, or twice.
        [b'%', b'2', b'5', high, low, ..] if hex(*high, *low).is_some() => {
            hex(*high, *low).map(|byte| (5, byte))
        }
        [b'%', high, low, ..] => hex(*high, *low).map(|byte| (3, byte)),
        [b'\\', b'u', b'0', b'0', high, low, ..] => hex(*high, *low).map(|byte| (6, byte)),
        [b'\\', b'u', b'2', b'0', b'1', b'0'..=b'5', ..] => Some((6, b'-')),
        [b'\\', b'x', high, low, ..] => hex(*high, *low).map(|byte| (4, byte)),
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
        [0xE2, 0x81, 0xA0..=0xA4, ..] => Some((3, 0)),
        [0xE2, 0x88, 0x92, ..] => Some((3, b'-')),
        [0xE3, 0x80, 0x80 | 0x81, ..] => Some((3, b' ')),
        // The ideographic full stop separates labels of domain names too.
        [0xE3, 0x80, 0x82, ..] | [0xEF, 0xBD, 0xA1, ..] => Some((3, b'.')),
        [0xEF, 0xBB, 0xBF, ..] => Some((3, 0)),
        [0xEF, 0xB9, 0x98 | 0xA3, ..] => Some((3, b'-')),
        [0xEF, 0xB9, 0xAB, ..] => Some((3, b'@')),
        [0xEF, 0xBC, low @ 0x81..=0xBF, ..] => Some((3, low - 0x81 + b'!')),
        [0xEF, 0xBD, low @ 0x80..=0x9E, ..] => Some((3, low - 0x80 + b'`')),
        // Mathematical digits, five styles of ten.
        [0xF0, 0x9D, 0x9F, low @ 0x8E..=0xBF, ..] => Some((4, b'0' + (low - 0x8E) % 10)),
        _ => None,
    }
}

/// The printable ASCII character of two hex digits.
fn hex(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    let byte = u8::try_from(high * 16 + low).ok()?;
    (0x20..0x7f).contains(&byte).then_some(byte)
}

/// A numeric HTML entity for a printable ASCII character, or one of the named
/// ones that hide separators.
fn entity(rest: &[u8]) -> Option<(usize, u8)> {
    for (name, to) in [
        (&b"&nbsp;"[..], b' '),
        (b"&commat;", b'@'),
        (b"&period;", b'.'),
        (b"&hyphen;", b'-'),
        (b"&dash;", b'-'),
        (b"&ndash;", b'-'),
        (b"&minus;", b'-'),
        (b"&shy;", 0),
        (b"&zwj;", 0),
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
    let mut value = 0;
    let mut len = 0;
    for b in digits.iter().take(7) {
        match char::from(*b).to_digit(radix) {
            Some(digit) => value = value * radix + digit,
            None => break,
        }
        len += 1;
    }
    let semicolon = usize::from(digits.get(len) == Some(&b';'));
    let total = rest.len() - digits.len() + len + semicolon;
    let to = match value {
        0x20..0x7f => u8::try_from(value).ok()?,
        0xA0 => b' ',
        0x2010..=0x2015 | 0x2212 => b'-',
        0xAD | 0x200B..=0x200F => 0,
        _ => return None,
    };
    (len > 0).then_some((total, to))
}
