//! Colours for SQL, by PostgreSQL's lexical rules (manual, section 4.1).
//!
//! Invariants: the text that is shown is the text, character by character; whatever is not shown is
//! counted. It understands no statement: what is wrong keeps its letters and loses its colours.

use super::html::Html;

/// A text made ready to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) html: Html,
    /// Characters that are not shown.
    pub(super) hidden: usize,
    /// Characters in all.
    pub(super) length: usize,
}

/// At most `limit` bytes of a statement, in colours.
pub(super) fn shown(text: &str, limit: usize) -> Shown {
    painted(text, limit, paint)
}

/// At most `limit` bytes of a text that is no SQL.
pub(super) fn plain(text: &str, limit: usize) -> Shown {
    painted(text, limit, |html, text| html.text(text))
}

fn painted(text: &str, limit: usize, paint: impl Fn(&mut Html, &str)) -> Shown {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let (head, rest) = text
        .split_at_checked(end.unwrap_or_default())
        .unwrap_or((text, ""));
    let mut html = Html::default();
    paint(&mut html, head);
    let hidden = rest.chars().count();
    Shown {
        html,
        hidden,
        length: head.chars().count() + hidden,
    }
}

fn paint(html: &mut Html, text: &str) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, class) = token(rest, first);
        let length = length.max(first.len_utf8());
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match class {
            Some(class) => html.span(class, token),
            None => html.text(token),
        }
        rest = after;
    }
}

const COMMENT: Option<&str> = Some("c");
const STRING: Option<&str> = Some("s");
const NUMBER: Option<&str> = Some("n");
const KEYWORD: Option<&str> = Some("k");
const PARAMETER: Option<&str> = Some("p");

/// Bytes of the first token, and its class.
fn token(text: &str, first: char) -> (usize, Option<&'static str>) {
    if text.starts_with("--") {
        return (text.find('\n').unwrap_or(text.len()), COMMENT);
    }
    if text.starts_with("/*") {
        return (comment(text), COMMENT);
    }
    match first {
        '\'' => (quoted(text, 1, false), STRING),
        '"' => (
            text.get(1..)
                .and_then(|rest| rest.find('"'))
                .map_or(text.len(), |at| at + 2),
            None,
        ),
        '$' => dollar(text),
        '0'..='9' => (
            run(text, |c| c.is_ascii_alphanumeric() || c == '.' || c == '_'),
            NUMBER,
        ),
        c if c.is_alphabetic() || c == '_' => word(text),
        _ => (first.len_utf8(), None),
    }
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn word(text: &str) -> (usize, Option<&'static str>) {
    let length = run(text, |c| c.is_alphanumeric() || c == '_' || c == '$');
    let word = text.get(..length).unwrap_or(text);
    let quote = text
        .get(length..)
        .is_some_and(|rest| rest.starts_with('\''));
    if quote && matches!(word, "e" | "E") {
        return (quoted(text, length + 1, true), STRING);
    }
    if quote && matches!(word, "b" | "B" | "x" | "X" | "n" | "N") {
        return (quoted(text, length + 1, false), STRING);
    }
    let upper = word.to_ascii_uppercase();
    let known = KEYWORDS.binary_search(&upper.as_str()).is_ok();
    (length, if known { KEYWORD } else { None })
}

/// To behind the closing quote; two quotes are one inside.
fn quoted(text: &str, from: usize, escapes: bool) -> usize {
    let mut bytes = text.bytes().enumerate().skip(from).peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if escapes => drop(bytes.next()),
            b'\'' if bytes.peek().is_some_and(|(_, next)| *next == b'\'') => drop(bytes.next()),
            b'\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Comments nest.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let next = match (rest.find("/*"), rest.find("*/")) {
            (Some(open), Some(close)) if open < close => (open, true),
            (_, Some(close)) => (close, false),
            (_, None) => return text.len(),
        };
        at += next.0 + 2;
        depth = if next.1 {
            depth + 1
        } else {
            depth.saturating_sub(1)
        };
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// `$1`, or a text between two equal `$tag$`.
fn dollar(text: &str) -> (usize, Option<&'static str>) {
    let rest = text.get(1..).unwrap_or_default();
    let digits = run(rest, |c| c.is_ascii_digit());
    if digits > 0 {
        return (digits + 1, PARAMETER);
    }
    let tag = run(rest, |c| c.is_alphanumeric() || c == '_');
    let Some(open) = text.get(..tag + 2).filter(|open| open.ends_with('$')) else {
        return (1, None);
    };
    let body = text.get(open.len()..).unwrap_or_default();
    let end = body.find(open).map(|at| at + 2 * open.len());
    (end.unwrap_or(text.len()), STRING)
}

/// Words that carry a statement's meaning, in order.
const KEYWORDS: &[&str] = &[
    "ABORT",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CALL",
    "CASCADE",
    "CASE",
    "CAST",
    "COALESCE",
    "COMMIT",
    "CONFLICT",
    "COPY",
    "CREATE",
    "CROSS",
    "CURSOR",
    "DATABASE",
    "DEALLOCATE",
    "DECLARE",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DISTINCT",
    "DO",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FETCH",
    "FILTER",
    "FOR",
    "FROM",
    "FULL",
    "FUNCTION",
    "GRANT",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LISTEN",
    "LOCK",
    "MATERIALIZED",
    "MERGE",
    "NATURAL",
    "NOT",
    "NOTHING",
    "NOTIFY",
    "NOTNULL",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PREPARE",
    "PROCEDURE",
    "PROGRAM",
    "RECURSIVE",
    "REFRESH",
    "RENAME",
    "RESET",
    "RETURNING",
    "REVOKE",
    "RIGHT",
    "ROLE",
    "ROLLBACK",
    "ROW",
    "SAVEPOINT",
    "SCHEMA",
    "SELECT",
    "SET",
    "SHOW",
    "SIMILAR",
    "SOME",
    "START",
    "STDIN",
    "STDOUT",
    "TABLE",
    "TEMP",
    "TEMPORARY",
    "THEN",
    "TO",
    "TRANSACTION",
    "TRIGGER",
    "TRUE",
    "TRUNCATE",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USER",
    "USING",
    "VACUUM",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        shown(text, usize::MAX).html.to_string()
    }

    /// What a reader sees of it.
    fn read(html: &str) -> String {
        let mut out = String::new();
        let mut inside = false;
        for c in html.chars() {
            match c {
                '<' => inside = true,
                '>' if inside => inside = false,
                c if !inside => out.push(c),
                _ => {}
            }
        }
        out.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    #[test]
    fn keywords_are_in_order_so_that_they_are_found() {
        assert!(KEYWORDS.is_sorted());
        assert_eq!(html("select x"), "<span class=\"k\">select</span> x");
        assert_eq!(html("selected"), "selected");
    }

    #[test]
    fn strings_comments_numbers_and_parameters_have_colours() {
        assert_eq!(
            html("'a''b'x"),
            "<span class=\"s\">&#39;a&#39;&#39;b&#39;</span>x"
        );
        assert_eq!(
            html("E'a\\'b'x"),
            "<span class=\"s\">E&#39;a\\&#39;b&#39;</span>x"
        );
        assert_eq!(
            html("$q$it's$q$x"),
            "<span class=\"s\">$q$it&#39;s$q$</span>x"
        );
        assert_eq!(
            html("$1,12.5"),
            "<span class=\"p\">$1</span>,<span class=\"n\">12.5</span>"
        );
        assert_eq!(
            html("/*a/*b*/c*/d"),
            "<span class=\"c\">/*a/*b*/c*/</span>d"
        );
        assert_eq!(html("--a\nb"), "<span class=\"c\">--a</span>\nb");
        assert_eq!(html("\"select\""), "&quot;select&quot;");
    }

    #[test]
    fn every_character_of_a_text_is_shown_however_wrong_it_is() {
        for text in [
            "select * from t where a = 'x' and b <> 7 -- end",
            "'never closed <b>",
            "\"never",
            "/* never /* closed */",
            "$tag$ never",
            "$",
            "$$",
            "$$x",
            "E'\\",
            "é$1ü'ß'",
            "'é",
            "\"é",
            "--é",
            "x'é'",
            "1é",
            "$é$x$é$",
            "<!--",
            "-",
            "/",
            "*/",
            "e",
            "E",
        ] {
            assert_eq!(read(&html(text)), text, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_counted_in_characters() {
        let text = "é".repeat(10);
        let cut = shown(&text, 7);
        assert_eq!(read(&cut.html.to_string()), "ééé");
        assert_eq!((cut.hidden, cut.length), (7, 10));
        let whole = plain(&text, usize::MAX);
        assert_eq!((whole.hidden, whole.length), (0, 10));
    }
}
