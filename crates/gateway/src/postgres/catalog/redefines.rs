//! Code that gives names another meaning: by definitions of its own, or by texts that it runs.

use super::words;

/// Whether code gives names another meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Redefines {
    #[default]
    No,
    /// It runs texts, which nobody has read.
    Perhaps,
    /// It has the words for that.
    Yes,
}

/// Whether code gives names another meaning, by its words, where `format` is the server's own or not.
pub(super) fn redefines(source: &str, own_format: bool) -> Redefines {
    let of_word = |word: String| match word.as_str() {
        "create" | "alter" | "drop" => Redefines::Yes,
        "execute" => Redefines::Perhaps,
        _ => Redefines::No,
    };
    match words(source).map(of_word).max() {
        Some(Redefines::Perhaps) if own_format && runs_plain_texts(source) => Redefines::No,
        found => found.unwrap_or_default(),
    }
}

/// Whether each text that code runs is seen to be one statement that defines nothing: a literal, or one in which
/// `format` puts names and values in quotes.
fn runs_plain_texts(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    let mut texts = source.split("execute").skip(1);
    texts.all(|text| is_plain_text(text).is_some())
}

fn is_plain_text(text: &str) -> Option<()> {
    let text = text.trim_start();
    let format = text.strip_prefix("pg_catalog.").unwrap_or(text);
    let format = format
        .strip_prefix("format")
        .and_then(|rest| rest.trim_start().strip_prefix('('));
    let (literal, mut rest) = literal(format.unwrap_or(text))?;
    let verb = literal.split_whitespace().next()?;
    let runs_rows = matches!(verb, "insert" | "update" | "delete" | "select" | "merge");
    let mut holes = literal.split('%').skip(1);
    let in_quotes = holes.all(|hole| hole.starts_with(['i', 'l']));
    if !runs_rows || literal.contains([';', '\\']) || format.is_some() && !in_quotes {
        return None;
    }
    if format.is_some() {
        rest = behind_arguments(rest)?;
    }
    let rest = rest.trim_start();
    (rest.starts_with([';']) || rest.starts_with("using") || rest.starts_with("into")).then_some(())
}

/// The string that a text begins with, and what is behind it.
fn literal(text: &str) -> Option<(&str, &str)> {
    let (literal, rest) = text.trim_start().strip_prefix('\'')?.split_once('\'')?;
    (!rest.starts_with('\'')).then_some((literal, rest))
}

/// What stands behind the parenthesis that closes.
fn behind_arguments(mut text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    loop {
        let at = text.find(['(', ')', '\'', '"', '$'])?;
        let (found, rest) = (text.get(at..=at)?, text.get(at + 1..)?);
        text = match (found, depth) {
            (")", 0) => return Some(rest),
            (")", _) => {
                depth -= 1;
                rest
            }
            ("(", _) => {
                depth += 1;
                rest
            }
            ("'", _) => rest.split_once('\'')?.1,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Redefines, redefines};

    #[test]
    fn texts_that_run_rows_only_redefine_nothing() {
        for plain in [
            "EXECUTE 'INSERT INTO log VALUES ($1)' USING NEW.id;",
            "EXECUTE format('INSERT INTO %I VALUES (%L)', TG_TABLE_NAME, now());",
            "EXECUTE pg_catalog.format ( 'select count(*) from %I', 'a' || lower('B') ) INTO n;",
            "BEGIN INSERT INTO log VALUES (1); END",
        ] {
            assert_eq!(redefines(plain, true), Redefines::No, "{plain}");
        }
        for unread in [
            "EXECUTE 'AL' || 'TER TABLE t RENAME a TO b';",
            "EXECUTE x;",
            "EXECUTE 'INSERT INTO log VALUES (1)' || x;",
            "EXECUTE 'INSERT INTO log VALUES (1); al' || x;",
            "EXECUTE format('INSERT INTO log VALUES (1)%s', x);",
            "EXECUTE format('INSERT INTO %I VALUES (1)', x) || y;",
            "EXECUTE format(x, 'INSERT');",
            "EXECUTE E'INSERT INTO log VALUES (1)';",
            "EXECUTE 'INSERT INTO log VALUES (1)'; EXECUTE x;",
            "EXECUTE format('DO %L', x);",
        ] {
            assert_eq!(redefines(unread, true), Redefines::Perhaps, "{unread}");
        }
        let by_another_format = "EXECUTE format('INSERT INTO %I VALUES (1)', x);";
        assert_eq!(redefines(by_another_format, false), Redefines::Perhaps);
        assert_eq!(redefines("EXECUTE 'DROP TABLE t'", true), Redefines::Yes);
    }
}
