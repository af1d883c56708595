//! Values that are masked in what commands and shells show, whatever protocol carries it.
//!
//! Best effort: a stream of text has no fields. Text is looked at line by line; a line that is not
//! whole waits a moment ([`PATIENCE`]) for its rest, and goes on without it then. What went on is
//! remembered, so that the rest of a value whose beginning has been shown is still starred.
//! Not found: what is encoded, coloured inside, drawn out of order, or shown letter by letter slower
//! than that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weir_audit::Names;
use weir_detect::{Kind, Span, mask};

use crate::values::{Scanner, star};

/// How long a line waits for its rest.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);
/// A line that is longer is looked at in parts.
const MAX_LINE: usize = 8 << 10;
/// What is remembered of what went on.
const CONTEXT: usize = 256;
/// How the last line of a private key begins.
const KEY_END: &[u8] = b"-----END";
/// The most that waits at the beginning of a part until it is known whether it is the rest of a key.
const MAX_KEY: usize = 16 << 10;

/// What masks the text of one command or shell.
#[derive(Debug)]
pub(crate) struct Masking {
    scanner: Arc<Scanner>,
    output: Stream,
    errors: Stream,
    /// Somebody will come and flush.
    is_timed: bool,
    /// Labels of what was masked.
    labels: BTreeSet<Arc<str>>,
}

impl Masking {
    pub(crate) fn new(scanner: Arc<Scanner>) -> Self {
        Self {
            scanner,
            output: Stream::default(),
            errors: Stream::default(),
            is_timed: false,
            labels: BTreeSet::new(),
        }
    }

    /// The same for a part of a text, which may begin within a private key.
    pub(crate) fn of_part(scanner: Arc<Scanner>) -> Self {
        let mut masking = Self::new(scanner);
        masking.output.may_be_key = true;
        masking
    }

    /// Whether a line waits for its rest.
    pub(crate) fn is_waiting(&self) -> bool {
        self.output.waits() || self.errors.waits()
    }

    fn stream(&mut self, is_error: bool) -> &mut Stream {
        if is_error {
            &mut self.errors
        } else {
            &mut self.output
        }
    }

    /// Takes text of standard output or error; what may be shown now is appended to `out`. Whether the
    /// caller has to [`Masking::flush`] after [`PATIENCE`].
    pub(crate) fn take(&mut self, is_error: bool, text: &[u8], out: &mut Vec<u8>) -> bool {
        let scanner = Arc::clone(&self.scanner);
        let mut labels = std::mem::take(&mut self.labels);
        let stream = self.stream(is_error);
        stream.take(&scanner, text, &mut labels, out);
        let waits = stream.waits();
        self.labels = labels;
        let is_new = waits && !self.is_timed;
        self.is_timed |= waits;
        is_new
    }

    /// The rest of a line does not come.
    pub(crate) fn flush(&mut self, is_error: bool, out: &mut Vec<u8>) {
        let scanner = Arc::clone(&self.scanner);
        let mut labels = std::mem::take(&mut self.labels);
        self.stream(is_error).flush(&scanner, &mut labels, out);
        self.labels = labels;
        self.is_timed = false;
    }

    /// The text ends where whoever asked for it said. What waits may be the beginning of a value: it is
    /// starred.
    pub(crate) fn cut(&mut self, is_error: bool, out: &mut Vec<u8>) {
        let stream = self.stream(is_error);
        let mut waiting = stream.text.split_off(stream.gone);
        star(&mut waiting);
        out.append(&mut waiting);
    }

    /// Labels of what was masked.
    pub(crate) fn labels(&self) -> Names {
        self.labels.iter().cloned().collect()
    }
}

/// One stream of text.
#[derive(Debug, Default)]
struct Stream {
    /// What went on lately, and what waits.
    text: Vec<u8>,
    /// How much of it went on.
    gone: usize,
    /// Whether a private key has begun and not ended.
    in_key: bool,
    /// Nothing was shown, and what comes may be the rest of a private key.
    may_be_key: bool,
    spans: Vec<Span>,
}

impl Stream {
    /// Takes text; what goes on now is appended to `out`. Labels of what was masked are added to
    /// `labels`.
    fn take(
        &mut self,
        scanner: &Scanner,
        text: &[u8],
        labels: &mut BTreeSet<Arc<str>>,
        out: &mut Vec<u8>,
    ) {
        self.text.extend_from_slice(text);
        let waiting = self.text.get(self.gone..).unwrap_or_default();
        let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let whole = waiting.iter().rposition(breaks).map_or(0, |at| at + 1);
        let whole = if waiting.len() - whole > MAX_LINE {
            waiting.len() - CONTEXT
        } else {
            whole
        };
        if whole == 0 {
            return;
        }
        if self.may_be_key {
            let lines = waiting.get(..whole).unwrap_or_default();
            let lines = lines.split(|byte| *byte == b'\n');
            let mut other = lines.skip_while(|line| is_of_key(line));
            let other = other.next();
            if other.is_none() && whole < MAX_KEY {
                return;
            }
            let ends = |line: &[u8]| memchr::memmem::find(line, KEY_END).is_some();
            self.in_key = other.is_some_and(ends);
            self.may_be_key = false;
        }
        self.pass(scanner, self.gone + whole, labels, out);
    }

    /// Whether something waits for the rest of its line.
    fn waits(&self) -> bool {
        self.gone < self.text.len()
    }

    /// The rest does not come: what waits goes on.
    fn flush(&mut self, scanner: &Scanner, labels: &mut BTreeSet<Arc<str>>, out: &mut Vec<u8>) {
        if self.waits() {
            self.pass(scanner, self.text.len(), labels, out);
        }
    }

    /// Lets the text up to `end` go on.
    fn pass(
        &mut self,
        scanner: &Scanner,
        end: usize,
        labels: &mut BTreeSet<Arc<str>>,
        out: &mut Vec<u8>,
    ) {
        let mut at = self.gone;
        if self.in_key {
            let text = self.text.get(at..end).unwrap_or_default();
            let last = memchr::memmem::find(text, KEY_END);
            let rest = last.map_or(text.len(), |last| last);
            let mut hidden = text.get(..rest).unwrap_or_default().to_vec();
            star(&mut hidden);
            out.extend_from_slice(&hidden);
            at += rest;
            self.in_key = last.is_none();
        }
        let text = self.text.get(..end).unwrap_or_default();
        if at < end {
            let mut found = BTreeSet::new();
            scanner.scan(text, &mut self.spans, &mut found);
            for span in self.spans.iter().filter(move |span| span.end > at) {
                out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
                let value = text.get(at.max(span.start)..span.end).unwrap_or_default();
                show(scanner, span, value, span.start < at, out);
                at = span.end;
                if span.kind == Kind::PrivateKey {
                    self.in_key = memchr::memmem::find(value, KEY_END).is_none();
                }
                labels.append(&mut found);
            }
            out.extend_from_slice(text.get(at..end).unwrap_or_default());
        }
        let keep = end.saturating_sub(CONTEXT);
        self.text.drain(..keep);
        self.gone = end - keep;
    }
}

/// Whether a line, behind its time, may be one of those between the first and the last of a private key.
fn is_of_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let (time, word) = match line.iter().position(|byte| *byte == b' ') {
        Some(at) => line.split_at(at),
        None => (&[][..], line),
    };
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    (time.is_empty() || time.contains(&b':')) && word.trim_ascii_start().iter().all(digit)
}

/// Writes what stands in place of a value, or of the rest of one.
fn show(scanner: &Scanner, span: &Span, value: &[u8], is_rest: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let shown = scanner.shown(span.kind).filter(|_| !is_rest);
    if shown.and_then(|shown| shown.write(value, out)).is_some() {
        return;
    }
    out.truncate(start);
    if is_rest {
        let mut rest = value.to_vec();
        star(&mut rest);
        out.extend_from_slice(&rest);
    } else {
        out.extend_from_slice(mask::constant().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use weir_detect::mask::TokenKey;
    use weir_policy::{LabelId, Mask, ValueMask};

    use super::*;

    fn scanner() -> Arc<Scanner> {
        let value = |at: u16, detector: &str, mask| ValueMask {
            label: LabelId(at),
            detectors: [detector.to_owned()].into(),
            mask,
        };
        let partial = Mask::Partial {
            keep_first: 0,
            keep_last: 4,
        };
        let values = [
            value(0, "ssn", partial),
            value(1, "email", Mask::Constant("[mail]".into())),
            value(2, "private_key", Mask::Null),
        ];
        let name = |id: LabelId| Some(Arc::from(format!("pii.{}", id.0)));
        Scanner::new(&values, name, &Arc::new(TokenKey::new(b"key"))).unwrap()
    }

    /// What is shown of text that comes in these parts, each after a pause where it is `None`.
    fn shown(parts: &[Option<&str>]) -> (String, Vec<String>) {
        let (scanner, mut stream, mut out) = (scanner(), Stream::default(), Vec::new());
        let mut labels = BTreeSet::new();
        for part in parts {
            match part {
                Some(text) => stream.take(&scanner, text.as_bytes(), &mut labels, &mut out),
                None => stream.flush(&scanner, &mut labels, &mut out),
            }
        }
        stream.flush(&scanner, &mut labels, &mut out);
        let labels = labels.iter().map(ToString::to_string).collect();
        (String::from_utf8(out).unwrap(), labels)
    }

    #[test]
    fn values_are_masked_however_the_text_is_cut() {
        let text = "a zora@example.test b\r\nssn 805-36-9215\nend";
        let wanted = "a [mail] b\r\nssn ***-**-9215\nend";
        for cut in 0..=text.len() {
            let (one, two) = text.split_at(cut);
            let (found, labels) = shown(&[Some(one), Some(two)]);
            assert_eq!(found, wanted, "cut at {cut}");
            assert_eq!(labels, ["pii.0", "pii.1"]);
        }
    }

    #[test]
    fn the_rest_of_a_value_whose_beginning_was_shown_is_starred() {
        let (found, labels) = shown(&[Some("ssn 805-36"), None, Some("-9215 b\n")]);
        assert_eq!(found, "ssn 805-36-**** b\n");
        assert_eq!(labels, ["pii.0"]);
    }

    #[test]
    fn text_without_values_goes_on_as_it_is() {
        for text in ["", "$ ", "no value\n", "x\r\ny", "\u{1b}[1mü\u{1b}[0m"] {
            assert_eq!(shown(&[Some(text)]), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn a_line_without_end_does_not_pile_up() {
        let (scanner, mut stream, mut out) = (scanner(), Stream::default(), Vec::new());
        let mut labels = BTreeSet::new();
        for _ in 0..1000 {
            stream.take(&scanner, &[b'x'; 1000], &mut labels, &mut out);
            assert!(stream.text.len() <= MAX_LINE + 1000 + CONTEXT);
        }
        stream.flush(&scanner, &mut labels, &mut out);
        assert_eq!(out.len(), 1_000_000);
    }

    #[test]
    fn the_rest_of_a_key_at_the_beginning_of_a_part_is_hidden() {
        let lines = "QyNTUxOQAAACDkq7b1cV0Jg2f0n2l0yqj2m9w3j1V8y3Jm2w1z0q9l0g\n1z0q9l==\n";
        let key = format!("{lines}-----END OPENSSH PRIVATE KEY-----\nafter\n");
        let stamped = key.replace("1z0q9l==", "2026-01-01T00:00:00Z 1z0q9l==");
        let plain = format!("{lines}after all\n");
        let shown = |text: &str, cut: usize| {
            let (mut masking, mut out) = (Masking::of_part(scanner()), Vec::new());
            for piece in [&text[..cut], &text[cut..]] {
                masking.take(false, piece.as_bytes(), &mut out);
            }
            masking.flush(false, &mut out);
            String::from_utf8(out).unwrap()
        };
        for text in [&key, &stamped] {
            for cut in 0..text.len() {
                let found = shown(text, cut);
                assert!(!found.contains("QyNT") && !found.contains("1z0"), "{found}");
                assert!(found.ends_with("after\n"), "{found}");
            }
        }
        for cut in 0..plain.len() {
            assert_eq!(shown(&plain, cut), plain);
        }
        // No key is as long as that.
        let numbers: String = (0..10_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(shown(&numbers, 20_000), numbers);
    }

    #[test]
    fn a_value_that_is_cut_off_on_demand_is_hidden() {
        let (mut masking, mut out) = (Masking::of_part(scanner()), Vec::new());
        masking.take(false, b"whole line\nssn 805-36-92", &mut out);
        masking.cut(false, &mut out);
        assert_eq!(out, b"whole line\n*** ***-**-**");
    }

    #[test]
    fn a_private_key_is_hidden_over_all_its_lines() {
        let lines = [
            "-----BEGIN OPENSSH PRIVATE KEY-----\n",
            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n",
            "QyNTUxOQAAACDkq7b1cV0Jg2f0n2l0yqj2m9w3j1V8y3Jm2w1z0q9l0gAAAJgq7cJ3Ku3C\n",
            "-----END OPENSSH PRIVATE KEY-----\n",
            "after\n",
        ];
        let parts: Vec<_> = lines.iter().map(|line| Some(*line)).collect();
        let (found, _) = shown(&parts);
        assert!(
            !found.contains("b3Blbn") && !found.contains("QyNTUx"),
            "{found}"
        );
        assert!(found.ends_with("after\n"), "{found}");
    }
}
