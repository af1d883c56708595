//! A message as a letter: text and HTML, both whole.
//!
//! Invariants: what others wrote is escaped in HTML, and cannot begin a header; what is left out of a
//! very long statement is counted.

use lettre::Message as Letter;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};

use crate::error::SendError;
use crate::facts::Fact;
use crate::message::{Event, Found, HoldNews, Message, Subject, plain};
use crate::slack::Links;
use crate::text::{brief, html, number, shown};

/// Characters of statement in a letter; mail servers refuse large ones.
const STATEMENT: usize = 200_000;
/// Characters of a subject.
const SUBJECT: usize = 160;

/// By RFC 3834, this is no letter of a person: nobody's absence is answered.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// What a letter says.
struct Content {
    subject: String,
    title: String,
    lines: Vec<String>,
    facts: Vec<Fact>,
    statement: Option<String>,
    link: Option<String>,
    commands: Vec<String>,
}

/// The letter about a message.
pub(crate) fn letter(
    message: &Message,
    from: &Mailbox,
    to: &[Mailbox],
    links: &Links,
) -> Result<Letter, SendError> {
    let content = match &*message.subject {
        Subject::Hold(news) => of_hold(news, links),
        Subject::Found(found) => of_finding(found, links),
    };
    let domain = from.email.domain();
    let id = |name: &str| format!("<{name}@{domain}>");
    let mut letter = Letter::builder()
        .from(from.clone())
        .subject(brief(&content.subject, SUBJECT))
        .header(AutoSubmitted)
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned());
    for one in to {
        letter = letter.to(one.clone());
    }
    letter = match &*message.subject {
        Subject::Hold(news) => {
            let first = id(&format!("hold_{}", plain(&news.uid)));
            match news.event {
                Event::Created => letter.message_id(Some(first)),
                Event::Decided { .. } | Event::Closed { .. } => letter
                    .message_id(Some(id(&message.id)))
                    .in_reply_to(first.clone())
                    .references(first),
            }
        }
        Subject::Found(_) => letter.message_id(Some(id(&message.id))),
    };
    let parts = MultiPart::alternative()
        .singlepart(
            SinglePart::builder()
                .header(ContentType::TEXT_PLAIN)
                .body(text(&content)),
        )
        .singlepart(
            SinglePart::builder()
                .header(ContentType::TEXT_HTML)
                .body(page(&content)),
        );
    letter
        .multipart(parts)
        .map_err(|error| SendError::Mail(error.to_string()))
}

fn of_hold(news: &HoldNews, links: &Links) -> Content {
    let waits = matches!(news.event, Event::Created);
    let statement = news.statement();
    let count = statement.chars().count();
    let whole = if count <= STATEMENT {
        statement
    } else {
        let kept: String = statement.chars().take(STATEMENT).collect();
        let more = number((count - STATEMENT) as u64);
        let how = news.whole();
        format!("{kept}\n\n… {more} more characters: read them before you decide, with {how}")
    };
    let commands = news.commands();
    let subject = format!("Approval needed: {} ({})", news.asks(), news.name);
    Content {
        subject: if waits {
            subject
        } else {
            format!("Re: {subject}")
        },
        title: news.title(),
        lines: if waits {
            news.summary()
        } else {
            news.outcome()
        },
        facts: if waits { news.facts() } else { Vec::new() },
        statement: waits.then_some(whole),
        link: links.hold(news),
        commands: match news.event {
            Event::Closed { .. } => Vec::new(),
            Event::Created | Event::Decided { .. } => vec![commands.approve, commands.deny],
        },
    }
}

fn of_finding(found: &Found, links: &Links) -> Content {
    let (code, severity) = (found.code.as_str(), found.severity.as_str());
    let known = [
        ("Identity", &found.identity),
        ("Session", &found.session),
        ("Engine", &found.engine),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, brief(value.as_deref()?, 300))));
    let mut facts: Vec<Fact> = known.collect();
    if found.more > 0 {
        facts.push(("More of it", number(found.more)));
    }
    Content {
        subject: format!("Finding ({severity}): {code}"),
        title: format!("Finding ({severity}): {code}"),
        lines: vec![shown(&found.message)],
        facts,
        statement: None,
        link: links.ui.as_ref().map(|ui| format!("{ui}/ui/findings")),
        commands: Vec::new(),
    }
}

fn text(content: &Content) -> String {
    let mut out = format!("{}\n\n", content.title);
    for line in &content.lines {
        out.push_str(&format!("{line}\n"));
    }
    if !content.facts.is_empty() {
        out.push('\n');
    }
    for (name, value) in &content.facts {
        out.push_str(&format!("{name}: {value}\n"));
    }
    if let Some(statement) = &content.statement {
        out.push_str(&format!("\nStatement:\n\n{statement}\n"));
    }
    if let Some(link) = &content.link {
        out.push_str(&format!("\n{link}\n"));
    }
    if !content.commands.is_empty() {
        out.push_str(&format!("\n{}\n", content.commands.join("\n")));
    }
    out
}

fn page(content: &Content) -> String {
    let mut out = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"></head>\
         <body style=\"font-family:sans-serif;max-width:60em\"><h2>{}</h2>",
        html(&content.title)
    );
    let lines: Vec<String> = content.lines.iter().map(|line| html(line)).collect();
    out.push_str(&format!("<p>{}</p>", lines.join("<br>")));
    if !content.facts.is_empty() {
        out.push_str("<table>");
        for (name, value) in &content.facts {
            out.push_str(&format!(
                "<tr><td style=\"vertical-align:top;padding-right:1em\"><b>{}</b></td><td>{}</td></tr>",
                html(name),
                html(value)
            ));
        }
        out.push_str("</table>");
    }
    if let Some(statement) = &content.statement {
        out.push_str(&format!(
            "<pre style=\"white-space:pre-wrap;border:1px solid #888;padding:0.5em\">{}</pre>",
            html(statement)
        ));
    }
    if let Some(link) = &content.link {
        out.push_str(&format!(
            "<p><a href=\"{}\">{}</a></p>",
            html(link),
            html(link)
        ));
    }
    if !content.commands.is_empty() {
        let commands: Vec<String> = content.commands.iter().map(|one| html(one)).collect();
        out.push_str(&format!("<p><code>{}</code></p>", commands.join("<br>")));
    }
    out.push_str("</body></html>\n");
    out
}

#[cfg(test)]
mod tests {
    use weir_api::kinds::{AccessRequestPhase, AccessRequestSpec};

    use super::*;
    use crate::message::Hold;

    fn spec(statement: &str) -> AccessRequestSpec {
        serde_json::from_value(serde_json::json!({
            "requester": {"name": "x", "namespace": "billing", "serviceAccount": "reporter"},
            "summary": ["who and what", "how much <b>", "why"], "target": "orders\r\nBcc: x@example.org",
            "policy": "reporting", "rule": "bulk", "statement": statement, "parameters": ["a'b", null],
            "reason": "r", "deadline": "2126-11-27T12:00:00Z", "groups": ["stewards"], "count": 1,
        }))
        .unwrap()
    }

    fn sent(statement: &str, event: Event) -> String {
        let spec = spec(statement);
        let hold = Hold {
            name: "weir-x",
            namespace: Some("billing"),
            uid: "1-2",
            spec: &spec,
        };
        let message = Message::of_hold("hold_1-2_closed", "2026-11-27T11:00:00Z", &hold, event);
        let from: Mailbox = "Weir <weir@example.org>".parse().unwrap();
        let to = ["jane@example.org".parse().unwrap()];
        let links = Links {
            ui: Some("https://weir.example".to_owned()),
        };
        let letter = letter(&message, &from, &to, &links).unwrap();
        String::from_utf8(letter.formatted()).unwrap()
    }

    fn headers(letter: &str) -> String {
        letter
            .split("\r\n\r\n")
            .next()
            .unwrap()
            .replace("\r\n ", " ")
    }

    #[test]
    fn a_letter_is_text_and_html_and_others_cannot_write_its_headers() {
        let letter = sent("select '<script>' -- \u{202e}x", Event::Created);
        let headers = headers(&letter);
        assert!(!headers.contains("\nBcc:"), "{headers}");
        assert!(
            headers.contains("Subject: Approval needed: billing/reporter on orders Bcc:"),
            "{headers}"
        );
        assert!(
            headers.contains("Auto-Submitted: auto-generated"),
            "{headers}"
        );
        assert!(
            headers.contains("Message-ID: <hold_1-2@example.org>"),
            "{headers}"
        );
        let body = letter.replace("=\r\n", "").replace("=3D", "=");
        assert!(body.contains("select '<script>' -- \\u{202e}x"), "{body}");
        assert!(
            body.contains("select &#39;&lt;script&gt;&#39; -- \\u{202e}x"),
            "{body}"
        );
        assert!(body.contains("how much &lt;b&gt;"), "{body}");
        assert!(body.contains("$1 = 'a''b'\r\n$2 = NULL"), "{body}");
        assert!(
            body.contains("https://weir.example/ui/holds/billing/weir-x"),
            "{body}"
        );
    }

    #[test]
    fn what_follows_refers_to_the_first_letter() {
        let event = Event::Closed {
            phase: AccessRequestPhase::Expired,
            decisions: Vec::new(),
        };
        let letter = sent("select 1", event);
        let headers = headers(&letter);
        for line in [
            "Message-ID: <hold_1-2_closed@example.org>",
            "In-Reply-To: <hold_1-2@example.org>",
            "References: <hold_1-2@example.org>",
            "Subject: Re: Approval needed: billing/reporter",
        ] {
            assert!(headers.contains(line), "{line}: {headers}");
        }
        assert!(letter.contains("Nobody decided in time"), "{letter}");
    }

    #[test]
    fn a_statement_that_is_too_long_for_a_letter_says_how_much_is_missing() {
        let letter = sent(&"x".repeat(STATEMENT + 5), Event::Created);
        let text = letter.replace("=\r\n", "");
        // parameters are part of what is read
        assert!(
            text.contains("29 more characters"),
            "{}",
            &text[text.len() - 2000..]
        );
        assert!(text.contains("kubectl get accessrequest weir-x -n billing -o yaml"));
    }
}
