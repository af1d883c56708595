//! A hold in at most three lines, for the people who decide it.
//!
//! What a requester can write (the statement) comes last in its line and cannot add lines, move the
//! text around or hide parts of it: control characters and those that change the direction of text
//! or are not seen become `\u{fffd}`.

use crate::kinds::{AccessRequestSpec, Requester};

/// Characters of one line.
const LINE: usize = 256;
/// Characters of a name within a line.
const NAME: usize = 80;
/// Labels that are named; the rest are counted.
const LABELS: usize = 3;

/// Who asks for what; how much it is, as far as that is known; why it is held.
pub fn summary(request: &AccessRequestSpec) -> Vec<String> {
    let mut lines = vec![format!(
        "{} on {}: {}",
        cut(&who(&request.requester), NAME),
        cut(&plain(&request.target), NAME),
        plain(&request.statement)
    )];
    let amounts = amounts(request);
    if !amounts.is_empty() {
        lines.push(amounts.join("; "));
    }
    lines.push(format!(
        "held by {}/{}: {}",
        cut(&plain(&request.policy), NAME),
        cut(&plain(&request.rule), NAME),
        plain(&request.reason)
    ));
    lines.iter().map(|line| cut(line, LINE)).collect()
}

fn who(requester: &Requester) -> String {
    match (&requester.namespace, &requester.service_account) {
        (Some(namespace), Some(account)) => plain(&format!("{namespace}/{account}")),
        _ => plain(&requester.name),
    }
}

fn amounts(request: &AccessRequestSpec) -> Vec<String> {
    let mut amounts = Vec::new();
    if let Some(rows) = request.estimated_rows {
        amounts.push(format!("about {} expected", of_rows(rows)));
    }
    if let Some(rows) = request.delivered_rows {
        amounts.push(format!("{} delivered so far", of_rows(rows)));
    }
    if !request.labels.is_empty() {
        let named = request.labels.iter().take(LABELS);
        let named: Vec<String> = named.map(|label| cut(&plain(label), NAME / 2)).collect();
        let more = match request.labels.len().saturating_sub(LABELS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        amounts.push(format!("touches {}{more}", named.join(", ")));
    }
    amounts
}

fn of_rows(rows: u64) -> String {
    if rows == 1 {
        "1 row".to_owned()
    } else {
        format!("{rows} rows")
    }
}

/// One line, in which everything is seen where it stands.
fn plain(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.chars().map(visible).collect())
        .collect();
    words.join(" ")
}

/// Whether people would not see a character, or would see others elsewhere because of it.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    hidden || c.is_control()
}

fn visible(c: char) -> char {
    if is_hidden(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// At most so many characters; what was longer ends with dots.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((end, last)) if end + last.len_utf8() < text.len() => {
            let kept = text.get(..end).unwrap_or_default();
            format!("{}…", kept.trim_end())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(statement: &str) -> AccessRequestSpec {
        let text = format!(
            "kind: AccessRequest
metadata: {{name: r}}
spec:
  requester: {{name: x, namespace: billing, serviceAccount: reporter}}
  target: orders-db
  policy: reporting
  rule: bulk
  statement: {}
  reason: more than 10000 rows
  deadline: 2027-01-01T00:00:00Z
  groups: [stewards]
  count: 1
",
            serde_json::Value::from(statement)
        );
        let loaded = crate::load_str("x", &text).expect("loads");
        loaded.requests.into_iter().next().expect("one").spec
    }

    #[test]
    fn three_lines_say_who_wants_what_how_much_and_why() {
        let mut request = request("SELECT *\n  FROM customers");
        request.estimated_rows = Some(120_000);
        request.delivered_rows = Some(1);
        request.labels = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(
            summary(&request),
            [
                "billing/reporter on orders-db: SELECT * FROM customers",
                "about 120000 rows expected; 1 row delivered so far; touches a, b, c and 2 more",
                "held by reporting/bulk: more than 10000 rows",
            ]
        );
    }

    #[test]
    fn what_is_not_known_takes_no_line() {
        assert_eq!(summary(&request("SELECT 1")).len(), 2);
    }

    #[test]
    fn a_statement_cannot_add_lines_or_hide_or_turn_text() {
        let mut request = request("");
        request.statement =
            "DELETE\u{0} FROM a\n\nheld by x: ok\u{202e}kcab\u{200b}\u{1b}[2K".to_owned();
        let lines = summary(&request);
        assert_eq!(
            lines[0],
            "billing/reporter on orders-db: DELETE\u{fffd} FROM a held by x: \
             ok\u{fffd}kcab\u{fffd}\u{fffd}[2K"
        );
        assert!(
            lines
                .iter()
                .flat_map(|line| line.chars())
                .all(|c| !c.is_control())
        );
    }

    #[test]
    fn lines_are_cut_between_characters() {
        for (text, most) in [("ä", 0), ("ä", 300), ("a", 255), ("a", 256), ("é ", 500)] {
            let mut request = request(&text.repeat(most));
            request.requester.service_account = Some("s".repeat(500));
            request.reason = text.repeat(1000);
            request.labels = vec!["l".repeat(253); 40];
            let lines = summary(&request);
            assert!(lines.len() <= 3);
            assert!(lines.iter().all(|line| line.chars().count() <= LINE));
            assert!(lines[0].contains("on orders-db"), "{}", lines[0]);
        }
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("", 3), "");
    }
}
