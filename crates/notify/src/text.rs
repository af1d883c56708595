//! Text that others wrote, in messages that people read.
//!
//! Invariants: nothing in it hides, turns or adds to what is shown, and what is left out is counted.

use weir_api::{abridged, is_hidden};

/// Text in which everything is seen where it stands: characters that would not be seen, or that would
/// move others, are written as `\u{…}`. Line breaks and tabs stay.
pub(crate) fn shown(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') || !is_hidden(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// As [`shown`], on one line and at most about so many characters; what is left out is counted.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let line = shown(text).split_whitespace().collect::<Vec<_>>().join(" ");
    abridged(&line, most)
}

/// Pieces of at most `most` UTF-16 units, which is how Slack and browsers count, cut after a line's end
/// where one is near.
pub(crate) fn pieces(text: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(cut(rest, most));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn cut(text: &str, most: usize) -> usize {
    let (mut units, mut line_end) = (0, None);
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > most {
            let near = line_end.filter(|end| *end > at / 2);
            // A piece has one character at least, so that there is an end.
            let least = if at == 0 { c.len_utf8() } else { at };
            return near.unwrap_or(least);
        }
        if c == '\n' {
            line_end = Some(at + 1);
        }
    }
    text.len()
}

/// For Slack's mrkdwn: three characters have a meaning everywhere.
pub(crate) fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// For HTML, in text and in attributes between double quotes.
pub(crate) fn html(text: &str) -> String {
    let text = mrkdwn(text);
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// A number with commas between thousands.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_written_out() {
        assert_eq!(
            shown("a\u{202e}b\u{0}\r\n\tc\u{200b}\u{1b}[2K"),
            "a\\u{202e}b\\u{0}\n\tc\\u{200b}\\u{1b}[2K"
        );
        assert_eq!(shown("a\rb"), "a\\u{d}b");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        assert_eq!(brief("a\n b", 10), "a b");
        assert_eq!(
            brief(&"x".repeat(12), 10),
            "xxxxxxxxxx… (2 more characters)"
        );
    }

    #[test]
    fn pieces_are_all_of_a_text_and_none_is_too_long() {
        let lines = "select 1;\n".repeat(50);
        for text in ["", "a", "ab", "äöü😀😀😀", &lines, &"😀".repeat(100)] {
            for most in [1, 2, 3, 7, 100, 10_000] {
                let pieces = pieces(text, most);
                assert_eq!(pieces.concat(), text);
                for piece in pieces {
                    let units = piece.encode_utf16().count();
                    assert!(
                        units <= most || piece.chars().count() == 1,
                        "{most}: {piece}"
                    );
                }
            }
        }
        assert_eq!(pieces("aaaa\nbbbb\ncc", 7), ["aaaa\n", "bbbb\ncc"]);
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        let all = [0, 999, 1000, 50_000, 1_234_567].map(number);
        assert_eq!(all, ["0", "999", "1,000", "50,000", "1,234,567"]);
    }

    #[test]
    fn markup_of_others_is_text() {
        assert_eq!(mrkdwn("<!channel> a&b"), "&lt;!channel&gt; a&amp;b");
        assert_eq!(html("<a href=\"x'\">"), "&lt;a href=&quot;x&#39;&quot;&gt;");
    }
}
