//! What a recorded terminal showed, for the terminal of whoever looks at it.
//!
//! A recording is written by the person under audit. Played as it is, it could make the reader's
//! terminal answer (and so type into the reader's shell), write its clipboard or its title, or leave
//! it in a mode of its own. [`Playback`] lets through what draws on the screen and nothing else;
//! [`Plain`] keeps the text alone.
//!
//! Invariants: a control sequence passes only if it is listed here; control strings (OSC, DCS and
//! their like) and 8-bit controls never do; a piece may end anywhere, in a character or a sequence.

use weir_collector::exports::Utf8;

/// A longer sequence is none that a terminal knows.
const LONGEST: usize = 256;

/// Puts a terminal back as it was: attributes, cursor, main screen, margins, keypad, character set.
pub(crate) const RESTORE: &str =
    "\u{1b}[!p\u{1b}[?1049l\u{1b}[?47l\u{1b}[0m\u{1b}[?25h\u{1b}[?7h\u{1b}>\u{1b}(B\r\n";

/// Final characters of control sequences (CSI, ECMA-48 and xterm) that only draw or move.
const DRAWS: &str = "@ABCDEFGHIJKLMPSTXZ`abdefmr";
/// Modes (DEC private) that only draw: none makes the terminal send something, and [`RESTORE`] ends
/// each.
const MODES: [&str; 8] = ["1", "6", "7", "12", "25", "47", "1047", "1049"];

/// What a terminal's stream consists of.
enum Piece<'a> {
    Text(char),
    Control(char),
    /// From ESC to its final character.
    Sequence(&'a str),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Csi,
    Text,
    TextEnd,
}

#[derive(Debug, Default)]
struct Scanner {
    utf8: Utf8,
    state: State,
    sequence: String,
}

impl Scanner {
    fn read(&mut self, bytes: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        for c in self.utf8.text(bytes).chars() {
            self.next(c, take);
        }
    }

    fn next(&mut self, c: char, take: &mut dyn FnMut(Piece<'_>)) {
        let state = match (self.state, c) {
            (State::Text, '\u{1b}') => {
                "\u{1b}".clone_into(&mut self.sequence);
                State::TextEnd
            }
            (State::Text, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}') => State::Ground,
            (State::Text, _) => State::Text,
            (State::TextEnd, '\\') => State::Ground,
            (_, '\u{1b}') => {
                self.sequence.clear();
                self.sequence.push(c);
                State::Escape
            }
            (State::Ground, '\u{80}'..='\u{9f}') => match c {
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => State::Text,
                _ => State::Ground,
            },
            (State::Ground, c) if c.is_control() => {
                take(Piece::Control(c));
                State::Ground
            }
            (State::Ground, c) => {
                take(Piece::Text(c));
                State::Ground
            }
            (State::Escape | State::TextEnd, ']' | 'P' | 'X' | '^' | '_') => State::Text,
            (State::Escape | State::TextEnd, '[') => {
                "\u{1b}[".clone_into(&mut self.sequence);
                State::Csi
            }
            (state, ' '..='~') => {
                self.sequence.push(c);
                let more = match state {
                    State::Csi => c < '@',
                    _ => c < '0',
                };
                if !more || self.sequence.len() > LONGEST {
                    take(Piece::Sequence(&self.sequence));
                    State::Ground
                } else if state == State::TextEnd {
                    State::Escape
                } else {
                    state
                }
            }
            _ => State::Ground,
        };
        self.state = state;
    }
}

/// Lets through what draws.
#[derive(Debug, Default)]
pub(crate) struct Playback(Scanner);

impl Playback {
    pub(crate) fn text(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        self.0.read(bytes, &mut |piece| match piece {
            Piece::Text(c) | Piece::Control(c @ '\u{7}'..='\u{f}') => out.push(c),
            Piece::Sequence(sequence) if draws(sequence) => out.push_str(sequence),
            Piece::Control(_) | Piece::Sequence(_) => {}
        });
        out
    }
}

fn draws(sequence: &str) -> bool {
    let Some(rest) = sequence.strip_prefix("\u{1b}[") else {
        // Saves, restores, index, keypads, character sets.
        let rest = sequence.trim_start_matches('\u{1b}');
        return matches!(rest, "7" | "8" | "D" | "E" | "M" | "=" | ">")
            || (rest.len() == 2 && rest.starts_with(['(', ')', '*', '+']));
    };
    let Some(last) = rest.chars().next_back() else {
        return false;
    };
    let parameters = rest.get(..rest.len() - last.len_utf8()).unwrap_or_default();
    let numbers = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':')
    };
    match (last, parameters.strip_prefix('?')) {
        ('h' | 'l', Some(modes)) => modes.split(';').all(|mode| MODES.contains(&mode)),
        ('h' | 'l', None) => parameters == "4",
        ('J' | 'K', Some(modes)) => numbers(modes),
        ('p', None) => parameters == "!",
        ('s' | 'u', None) => parameters.is_empty(),
        (last, None) => DRAWS.contains(last) && numbers(parameters),
        _ => false,
    }
}

/// Keeps the text.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    scanner: Scanner,
    /// A carriage return, of which only the next character says what it means.
    returned: bool,
}

impl Plain {
    pub(crate) fn text(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        let returned = &mut self.returned;
        self.scanner.read(bytes, &mut |piece| {
            let c = match piece {
                Piece::Sequence(_) => return,
                Piece::Text(c) | Piece::Control(c) => c,
            };
            if std::mem::take(returned) {
                out.push('\n');
                if c == '\n' {
                    return;
                }
            }
            match c {
                '\r' => *returned = true,
                '\u{8}' => {
                    if !out.ends_with('\n') {
                        out.pop();
                    }
                }
                '\n' | '\t' => out.push(c),
                c if c.is_control() => {}
                c => out.push(c),
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_draws_is_played_and_what_answers_or_reaches_out_is_not() {
        let drawn = "a\u{1b}[1;31mred\u{1b}[0m\u{1b}[2J\u{1b}[H\u{1b}[?25l\u{1b}[?1049h\u{1b}(B\u{1b}7é\r\n\t\u{8}\u{1b}[38:5:1mx";
        assert_eq!(Playback::default().text(drawn.as_bytes()), drawn);
        for dropped in [
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "\u{1b}]0;title\u{1b}\\",
            "\u{1b}P$q\"p\u{1b}\\",
            "\u{1b}_Gq\u{1b}\\",
            "\u{1b}[6n",
            "\u{1b}[c",
            "\u{1b}[>c",
            "\u{1b}[21t",
            "\u{1b}[?1000h",
            "\u{1b}[?25;1004h",
            "\u{1b}[?2004h",
            "\u{1b}[>4;2m",
            "\u{1b}[?u",
            "\u{1b}[?25$p",
            "\u{1b}[5i",
            "\u{1b}Z",
            "\u{1b}c",
            "\u{9b}6n",
            "\u{9d}52;c;ZXZpbA==\u{9c}",
            "\u{5}",
        ] {
            let played = Playback::default().text(format!("<{dropped}>").as_bytes());
            assert!(
                played == "<>" || (dropped.starts_with('\u{9b}') && played == "<6n>"),
                "{dropped:?} became {played:?}"
            );
        }
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let whole = "é\u{1b}[31mr\u{1b}]0;t\u{7}€\u{1b}[?1049h\r\nend";
        let expected = Playback::default().text(whole.as_bytes());
        let (mut playback, mut plain) = (Playback::default(), Plain::default());
        let (mut played, mut kept) = (String::new(), String::new());
        for byte in whole.bytes() {
            played.push_str(&playback.text(&[byte]));
            kept.push_str(&plain.text(&[byte]));
        }
        assert_eq!(played, expected);
        assert_eq!(kept, "ér€\nend");
    }

    #[test]
    fn plain_text_has_lines_and_corrections_and_nothing_else() {
        let shown = "$ lx\u{8}\u{1b}[Ks\r\nred \u{1b}[31mfile\u{1b}[0m\u{7}\r\n10%\r20%\r\n";
        assert_eq!(
            Plain::default().text(shown.as_bytes()),
            "$ ls\nred file\n10%\n20%\n"
        );
    }

    #[test]
    fn an_endless_sequence_ends() {
        let endless = format!("\u{1b}[{}x", "1;".repeat(10_000));
        assert!(Playback::default().text(endless.as_bytes()).len() < 2 * 10_000);
        let mut scanner = Playback::default();
        scanner.text(format!("\u{1b}]{}", "y".repeat(100_000)).as_bytes());
        assert!(scanner.0.sequence.len() <= LONGEST);
        assert_eq!(scanner.text(b"\x07z"), "z");
    }
}
