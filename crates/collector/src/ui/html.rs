//! Text that is safe in a page.
//!
//! Invariants: everything that came from outside is escaped; what cannot be seen is shown. Control
//! characters, characters that turn text around and those that take no room become marks that say what
//! they are, so that a statement reads as it is.

use std::fmt::{self, Write as _};

use weir_api::is_hidden;

/// HTML that this module's callers have made of escaped parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}

impl Html {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Text of anybody's, lines kept.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                hidden if is_hidden(hidden) => self.hidden(hidden),
                plain => self.0.push(plain),
            }
        }
    }

    /// Text in a span of a class.
    pub(super) fn span(&mut self, class: &'static str, text: &str) {
        let _ = write!(self.0, "<span class=\"{class}\">");
        self.text(text);
        self.0.push_str("</span>");
    }

    fn hidden(&mut self, character: char) {
        let number = u32::from(character);
        let _ = write!(self.0, "<span class=\"hidden\" title=\"U+{number:04X}\">");
        let name = usize::try_from(number).ok().and_then(|at| CONTROLS.get(at));
        match (number, name) {
            (_, Some(name)) => self.0.push_str(name),
            (0x7f, _) => self.0.push_str("DEL"),
            _ => drop(write!(self.0, "U+{number:04X}")),
        }
        self.0.push_str("</span>");
    }
}

/// What ASCII calls its control characters. Pictures of them are in few fonts.
const CONTROLS: [&str; 32] = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR",
    "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC",
    "FS", "GS", "RS", "US",
];

/// Text of anybody's, with what cannot be seen shown.
pub(super) fn visible(text: &str) -> Html {
    let mut html = Html::default();
    html.text(text);
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_text() {
        let shown = visible("<script>alert('x')</script>&\"").to_string();
        assert_eq!(
            shown,
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(visible("a\nb\tc").to_string(), "a\nb\tc");
        let shown = visible("\u{1b}[2J\r\u{0}\u{7f}\u{202e}drop\u{200b}").to_string();
        for mark in [
            "title=\"U+001B\">ESC<",
            "title=\"U+000D\">CR<",
            "title=\"U+0000\">NUL<",
            "title=\"U+007F\">DEL<",
            "title=\"U+202E\">U+202E<",
            "title=\"U+200B\">U+200B<",
        ] {
            assert!(shown.contains(mark), "{mark} in {shown}");
        }
        assert!(!shown.chars().any(is_hidden));
    }
}
