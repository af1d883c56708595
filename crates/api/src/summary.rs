//! A hold in at most three lines of plain English, for the people who decide it: who wants to do what,
//! how much it is and what it touches, why it waits. Pure.
//!
//! What a requester can write (the statement, names) cannot add lines, move the text around or hide parts
//! of it: control characters and those that change the direction of text or are not seen become
//! `\u{fffd}`, an end of a line `↵`. What is left out is counted in its place. Of a statement that is too long
//! for its line the beginning and the end are shown, and a line says that there is more.

use sha2::{Digest as _, Sha256};

use crate::kinds::{AccessRequestSpec, LabelledColumns};

/// Characters of one line.
const LINE: usize = 256;
/// Characters of a name within a line.
const NAME: usize = 80;
/// Names that are given in a row; the rest are counted.
const NAMES: usize = 3;

/// Who wants to do what; how much it is and what it touches, as far as that is known; why it waits.
pub fn summary(request: &AccessRequestSpec) -> Vec<String> {
    let (wish, hidden) = wish(request);
    let mut lines = vec![wish];
    let mut amounts = amounts(request);
    if hidden > 0 {
        amounts.insert(0, unseen(&request.statement, hidden));
    }
    if !amounts.is_empty() {
        lines.push(format!("{}.", capital(&amounts.join("; "))));
    }
    let rule = cut(
        &plain(&format!("{}/{}", request.policy, request.rule)),
        NAME,
    );
    lines.push(format!("Held by {rule}: {}", plain(&request.reason)));
    lines.iter().map(|line| cut(line, LINE)).collect()
}

/// Who wants to do what, and where; and how many characters of the statement are not in it.
fn wish(request: &AccessRequestSpec) -> (String, usize) {
    let who = who(request);
    let target = cut(&plain(&request.target), NAME);
    let login = request.login.as_deref().map(plain);
    let login = login.filter(|login| !login.is_empty());
    let login = login.map_or_else(String::new, |login| {
        format!(" as {}", cut(&login, NAME / 2))
    });
    let begin = match request.protocol.as_deref() {
        Some("ssh") => format!("{who} wants to run on {target}{login}: "),
        Some("kubernetes") => format!("{who} wants to ask {target}: "),
        _ => match deed(request) {
            Some(deed) => return (format!("{who} wants to {deed} on {target}{login}."), 0),
            None => format!("{who} wants to run on {target}{login}: "),
        },
    };
    let room = LINE.saturating_sub(begin.chars().count());
    let (statement, hidden) = ends(&text(&request.statement), room);
    (begin + &statement, hidden)
}

/// That a part of a statement is not shown, and which statement it is.
fn unseen(statement: &str, hidden: usize) -> String {
    let digest = digest(statement);
    format!(
        "only a part of the statement stands here, {} are hidden: read it whole (SHA-256 {}…)",
        counted(u64::try_from(hidden).unwrap_or(u64::MAX), "character"),
        digest.get(..16).unwrap_or(&digest)
    )
}

/// The SHA-256 of a statement, by which it is told from others where it is not shown whole.
pub fn digest(statement: &str) -> String {
    let digest = Sha256::digest(statement);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn who(request: &AccessRequestSpec) -> String {
    let requester = &request.requester;
    let name = match (&requester.namespace, &requester.service_account) {
        (Some(namespace), Some(account)) => plain(&format!("{namespace}/{account}")),
        _ => plain(&requester.name),
    };
    let name = cut(&name, NAME);
    match requester.workload.as_deref() {
        Some(workload) => format!("{name} ({})", cut(&plain(workload), NAME)),
        None => name,
    }
}

/// What SQL does to rows of tables, in words: the verbs in the order of how much they do, and the tables. What
/// does anything else beside, such as to take on a role or to define code, has none: words that leave a
/// part out would mislead.
fn deed(request: &AccessRequestSpec) -> Option<String> {
    const VERBS: [(&str, &str); 8] = [
        ("Truncate", "empty"),
        ("Delete", "delete rows of"),
        ("Update", "change rows of"),
        ("Merge", "merge rows into"),
        ("Insert", "add rows to"),
        ("CopyIn", "load rows into"),
        ("CopyOut", "copy out"),
        ("Select", "read"),
    ];
    let has_words = |effect: &String| VERBS.iter().any(|(known, _)| known == effect);
    if request.tables.is_empty() || !request.effects.iter().all(has_words) {
        return None;
    }
    let does = |(effect, _): &&(&str, &str)| request.effects.iter().any(|have| have == effect);
    let mut verbs: Vec<&str> = VERBS.iter().filter(does).map(|(_, verb)| *verb).collect();
    // What is changed is read, too; that goes without saying.
    if verbs.len() > 1 {
        verbs.retain(|verb| *verb != "read" || verbs_only_read(request));
    }
    if verbs.is_empty() {
        return None;
    }
    let verbs: Vec<String> = verbs.into_iter().map(str::to_owned).collect();
    Some(format!("{} {}", listed(&verbs), listed(&request.tables)))
}

/// Whether nothing but reading is asked for.
fn verbs_only_read(request: &AccessRequestSpec) -> bool {
    let reads = |effect: &String| matches!(effect.as_str(), "Select" | "CopyOut");
    request.effects.iter().all(reads)
}

fn amounts(request: &AccessRequestSpec) -> Vec<String> {
    let mut amounts = Vec::new();
    if let Some(rows) = request.estimated_rows {
        amounts.push(format!("about {} expected", counted(rows, "row")));
    }
    match (request.delivered_rows, request.delivered_bytes) {
        (None | Some(0), None | Some(0)) => {
            if request.delivered_rows.is_some() {
                amounts.push("nothing delivered yet".to_owned());
            }
        }
        (rows, None | Some(0)) => {
            amounts.push(format!(
                "{} delivered so far",
                counted(rows.unwrap_or(0), "row")
            ));
        }
        (None | Some(0), Some(bytes)) => {
            amounts.push(format!("{} delivered so far", counted(bytes, "byte")));
        }
        (Some(rows), Some(bytes)) => amounts.push(format!(
            "{} ({}) delivered so far",
            counted(rows, "row"),
            counted(bytes, "byte")
        )),
    }
    if !request.labels.is_empty() {
        let labels = request.labels.iter();
        let labels: Vec<String> = labels
            .map(|label| labelled(label, &request.columns))
            .collect();
        amounts.push(format!("touches {}", joined(&labels)));
    }
    amounts
}

/// A label with its columns, where they are known.
fn labelled(label: &str, columns: &[LabelledColumns]) -> String {
    let label = cut(&plain(label), NAME / 2);
    let known = columns.iter().find(|known| known.label == label);
    match known.filter(|known| !known.columns.is_empty()) {
        Some(known) => format!("{label} ({})", listed(&known.columns)),
        None => label,
    }
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 2 more`: names as they may be shown.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().map(|name| cut(&plain(name), NAME)).collect();
    joined(&shown)
}

fn joined(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if names.len() <= NAMES => format!("{} and {last}", first.join(", ")),
        _ => {
            let shown = names.get(..NAMES).unwrap_or_default();
            format!(
                "{} and {} more",
                shown.join(", "),
                names.len() - shown.len()
            )
        }
    }
}

/// `1 row`, `2,000 rows`.
fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// One line, in which everything is seen where it stands.
fn plain(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.chars().map(visible).collect())
        .collect();
    words.join(" ")
}

fn visible(c: char) -> char {
    if crate::is_hidden(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// A statement on one line, in which everything is seen where it stands, and where its lines end.
fn text(statement: &str) -> String {
    let lines = statement.lines().map(plain);
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ↵ ")
}

/// The beginning and the end of a text, at most so many characters, and how many are hidden between them:
/// `tar … (+1,204) … | sh`.
fn ends(text: &str, most: usize) -> (String, usize) {
    let total = text.chars().count();
    if total <= most {
        return (text.to_owned(), 0);
    }
    let mark = |hidden: usize| format!("… (+{}) … ", grouped(hidden as u64));
    let keep = most.saturating_sub(mark(total).chars().count());
    let tail = keep / 2;
    let head: String = text.chars().take(keep - tail).collect();
    let tail: String = text.chars().skip(total - tail).collect();
    let (head, tail) = (head.trim_end(), tail.trim_start());
    let hidden = total - head.chars().count() - tail.chars().count();
    (format!("{head}{}{tail}", mark(hidden)), hidden)
}

/// At most so many characters; what is hidden is counted: `SELECT a… (+1,204)`.
fn cut(text: &str, most: usize) -> String {
    let total = text.chars().count();
    if total <= most {
        return text.to_owned();
    }
    let room = |hidden: usize| {
        format!(
            "… (+{})",
            grouped(u64::try_from(hidden).unwrap_or(u64::MAX))
        )
    };
    let keep = most.saturating_sub(room(total).chars().count());
    let kept: String = text.chars().take(keep).collect();
    let kept = kept.trim_end();
    format!("{kept}{}", room(total - kept.chars().count()))
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

    fn of(protocol: &str, effects: &[&str], tables: &[&str], statement: &str) -> AccessRequestSpec {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        AccessRequestSpec {
            protocol: Some(protocol.to_owned()),
            effects: texts(effects),
            tables: texts(tables),
            ..request(statement)
        }
    }

    #[test]
    fn three_lines_say_who_wants_what_how_much_and_why() {
        let mut request = of("postgresql", &["Select"], &["public.customers"], "SELECT *");
        request.requester.workload = Some("Deployment/reports".to_owned());
        request.login = Some("app".to_owned());
        request.estimated_rows = Some(120_000);
        request.delivered_rows = Some(10_000);
        request.delivered_bytes = Some(2_048_000);
        request.labels = ["pii.ssn", "pii.email"].map(str::to_owned).to_vec();
        request.columns = vec![LabelledColumns {
            label: "pii.ssn".to_owned(),
            columns: vec!["public.customers.ssn".to_owned()],
        }];
        assert_eq!(
            summary(&request),
            [
                "billing/reporter (Deployment/reports) wants to read public.customers on orders-db as \
                 app.",
                "About 120,000 rows expected; 10,000 rows (2,048,000 bytes) delivered so far; touches \
                 pii.ssn (public.customers.ssn) and pii.email.",
                "Held by reporting/bulk: more than 10000 rows",
            ]
        );
    }

    #[test]
    fn what_sql_does_is_said_in_words() {
        for (effects, tables, expected) in [
            (&["Delete"][..], &["a"][..], "delete rows of a"),
            (&["Select", "Update"], &["a", "b"], "change rows of a and b"),
            (
                &["Insert", "Select"],
                &["a", "b", "c"],
                "add rows to a, b and c",
            ),
            (
                &["Truncate"],
                &["a", "b", "c", "d", "e"],
                "empty a, b, c and 2 more",
            ),
            (
                &["Truncate", "Delete"],
                &["a"],
                "empty and delete rows of a",
            ),
            (&["CopyOut", "Select"], &["a"], "copy out and read a"),
            (&["Select"], &["a"], "read a"),
        ] {
            let request = of("postgresql", effects, tables, "x");
            let line = &summary(&request)[0];
            assert_eq!(
                *line,
                format!("billing/reporter wants to {expected} on orders-db.")
            );
        }
    }

    #[test]
    fn what_has_no_words_is_shown_as_it_is() {
        for (protocol, effects, expected) in [
            (
                "postgresql",
                "Set",
                "billing/reporter wants to run on orders-db: rm -rf ↵ /srv",
            ),
            (
                "ssh",
                "",
                "billing/reporter wants to run on orders-db: rm -rf ↵ /srv",
            ),
            (
                "kubernetes",
                "get",
                "billing/reporter wants to ask orders-db: rm -rf ↵ /srv",
            ),
        ] {
            let request = of(protocol, &[effects], &[], "rm  -rf\n /srv");
            assert_eq!(summary(&request)[0], expected);
        }
    }

    #[test]
    fn words_leave_no_effect_out() {
        // All that a policy knows, but for `Select`: `weir_policy::Effect`.
        for effect in weir_policy::Effect::ALL {
            let name = effect.name();
            if name == "Select" {
                continue;
            }
            let mut request = of("postgresql", &["Select", name], &["items"], "the text");
            let line = summary(&request).swap_remove(0);
            assert!(!line.contains("wants to read items"), "{name}: {line}");
            // Nor do those of the worst that has words.
            request.effects.push("Delete".to_owned());
            let worse = summary(&request).swap_remove(0);
            let only_rows = worse.contains("rows") || worse.contains("empty");
            assert!(only_rows || worse.contains("the text"), "{name}: {worse}");
        }
        for effects in [
            &["Create", "Select"][..],
            &["Drop"],
            &["Grant"],
            &["CopyProgram"],
        ] {
            let request = of("postgresql", effects, &["items"], "the text");
            assert!(summary(&request)[0].ends_with(": the text"));
        }
    }

    #[test]
    fn amounts_are_said_as_far_as_they_are_known() {
        let amounts = |rows: Option<u64>, bytes: Option<u64>, estimate: Option<u64>| {
            let mut request = request("x");
            (request.delivered_rows, request.delivered_bytes) = (rows, bytes);
            request.estimated_rows = estimate;
            summary(&request).get(1..).unwrap().join("|")
        };
        let held = "Held by reporting/bulk: more than 10000 rows";
        assert_eq!(amounts(None, None, None), held);
        assert_eq!(
            amounts(Some(0), Some(0), None),
            format!("Nothing delivered yet.|{held}")
        );
        assert_eq!(
            amounts(Some(0), Some(0), Some(1)),
            format!("About 1 row expected; nothing delivered yet.|{held}")
        );
        assert_eq!(
            amounts(Some(1), None, None),
            format!("1 row delivered so far.|{held}")
        );
        assert_eq!(
            amounts(Some(0), Some(1000), None),
            format!("1,000 bytes delivered so far.|{held}")
        );
    }

    #[test]
    fn many_labels_are_counted() {
        let mut request = request("x");
        request.labels = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(summary(&request)[1], "Touches a, b, c and 2 more.");
    }

    #[test]
    fn a_statement_cannot_add_lines_or_hide_or_turn_text() {
        let mut request = request("");
        request.statement =
            "DELETE\u{0} FROM a\n\nHeld by x: ok\u{202e}kcab\u{200b}\u{1b}[2K".to_owned();
        request.requester.service_account = Some("rep\u{202e}orter\n".to_owned());
        let lines = summary(&request);
        assert_eq!(
            lines[0],
            "billing/rep\u{fffd}orter wants to run on orders-db: DELETE\u{fffd} FROM a ↵ Held by \
             x: ok\u{fffd}kcab\u{fffd}\u{fffd}[2K"
        );
        assert!(
            lines
                .iter()
                .flat_map(|line| line.chars())
                .all(|c| !c.is_control())
        );
    }

    #[test]
    fn a_long_statement_hides_nothing_unnoticed() {
        let padding = "true; ".repeat(200);
        for (statement, shown) in [
            (format!("{padding}rm -rf /srv"), "rm -rf /srv"),
            (format!("rm -rf /srv; {padding}"), "rm -rf /srv"),
            (format!("{padding}rm -rf /srv; {padding}"), "true"),
        ] {
            let lines = summary(&of("ssh", &[], &[], &statement));
            assert!(lines.len() == 3 && lines[0].contains(shown), "{lines:?}");
            assert!(lines[0].contains("… (+"), "{lines:?}");
            let known = digest(&statement);
            assert!(
                lines[1].starts_with("Only a part of the statement stands here, ")
                    && lines[1].contains(known.get(..16).unwrap()),
                "{lines:?}"
            );
        }
        let whole = summary(&of("ssh", &[], &[], "rm -rf /srv # ok\nrm -rf /etc"));
        assert_eq!(whole.len(), 2);
        assert!(
            whole[0].ends_with("rm -rf /srv # ok ↵ rm -rf /etc"),
            "{whole:?}"
        );
    }

    #[test]
    fn what_is_hidden_is_counted_and_no_line_is_too_long() {
        for (text, most) in [("ä", 0), ("ä", 300), ("a", 255), ("a", 256), ("é ", 500)] {
            let mut request = request(&text.repeat(most));
            request.requester.service_account = Some("s".repeat(500));
            request.reason = text.repeat(1000);
            request.labels = vec!["l".repeat(253); 40];
            let lines = summary(&request);
            assert!(lines.len() <= 3);
            assert!(lines.iter().all(|line| line.chars().count() <= LINE));
            assert!(lines[0].contains("on orders-db"), "{}", lines[0]);
            assert!(lines[0].contains("… (+"), "{}", lines[0]);
        }
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut(&"a".repeat(2000), 20), "aaaaaaaaaa… (+1,990)");
        assert_eq!(cut("", 3), "");
    }
}
