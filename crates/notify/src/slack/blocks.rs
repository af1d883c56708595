//! A message as Slack shows it: Block Kit.
//!
//! Invariants
//! - What others wrote goes into plain or preformatted text, or is escaped: it can neither mention
//!   anybody nor look like a link of Weir's.
//! - Slack's limits hold (50 blocks, 3,000 characters of a text, 10 fields of 2,000): a long statement
//!   goes on in further messages, and each says which part it is.
//! - Nobody can approve by a button what is not shown in full.

use serde_json::{Value, json};
use weir_api::kinds::AccessRequestPhase;

use super::action;
use crate::facts::ending;
use crate::message::{Event, Found, HoldNews, Message, Subject};
use crate::text::{brief, mrkdwn, number, pieces, shown};

/// Characters of one preformatted block; Slack's limit of a text is 3,000.
const BLOCK: usize = 2900;
/// Blocks of statement in one message: what all texts of a message may have together is limited, too.
const BLOCKS: usize = 4;
/// Messages that a statement may take.
const PARTS: usize = 10;
/// Slack's limits.
const HEADER: usize = 150;
const FIELDS: usize = 10;
/// The block that goes when a request is decided.
pub(crate) const ACTIONS: &str = "weir_actions";

/// Where requests and findings are seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// The UI's URL, without a slash at its end.
    pub(crate) ui: Option<String>,
}

/// One message of Slack.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// For notifications of the desktop, and for readers that know no blocks.
    pub(crate) text: String,
    pub(crate) blocks: Vec<Value>,
}

impl Part {
    /// As an incoming webhook takes it.
    pub(crate) fn body(&self) -> Value {
        json!({"text": self.text, "blocks": self.blocks, "unfurl_links": false, "unfurl_media": false})
    }
}

/// The parts of a message, in order. The first of a hold that waits has the buttons, if `buttons`.
pub(crate) fn parts(message: &Message, links: &Links, buttons: bool) -> Vec<Part> {
    match &*message.subject {
        Subject::Hold(news) => match news.event {
            Event::Created => waiting(news, links, buttons),
            Event::Decided { .. } | Event::Closed { .. } => vec![outcome(news)],
        },
        Subject::Found(found) => vec![finding(found, links)],
    }
}

/// The first part of a request as it looks when the request is over.
pub(crate) fn over(message: &Message, links: &Links) -> Option<Part> {
    let Subject::Hold(news) = &*message.subject else {
        return None;
    };
    let mut first = waiting(news, links, false).into_iter().next()?;
    first.text = escaped(&news.title());
    first.blocks.push(section(&news.outcome().join("\n")));
    if let (Some(head), Event::Closed { phase, .. }) = (first.blocks.first_mut(), &news.event) {
        *head = header(&format!("{}: {}", ending(*phase), news.asks()));
    }
    Some(first)
}

fn waiting(news: &HoldNews, links: &Links, buttons: bool) -> Vec<Part> {
    let statement = news.statement();
    let all = pieces(&statement, BLOCK);
    let told = all.get(..all.len().min(BLOCKS * PARTS)).unwrap_or_default();
    let hidden: usize = all
        .iter()
        .skip(told.len())
        .map(|piece| piece.chars().count())
        .sum();
    let groups: Vec<&[&str]> = told.chunks(BLOCKS).collect();
    let count = groups.len().max(1);
    let mut parts = Vec::with_capacity(count);
    let mut first = vec![
        header(&format!("Approval needed: {}", news.asks())),
        section(&news.summary().join("\n")),
    ];
    first.extend(fields(news));
    let characters = number(statement.chars().count() as u64);
    first.push(context(&if count == 1 {
        format!("Statement, {characters} characters")
    } else {
        format!("Statement, {characters} characters: part 1 of {count}, the others follow")
    }));
    let blocks = |group: &[&str]| {
        group
            .iter()
            .map(|piece| preformatted(piece))
            .collect::<Vec<_>>()
    };
    first.extend(blocks(groups.first().copied().unwrap_or_default()));
    let commands = news.commands();
    if hidden > 0 {
        first.push(context(&format!(
            "{} characters of it are in no message: read them before you decide, with {}",
            number(hidden as u64),
            news.whole()
        )));
    }
    first.extend(actions(news, links, buttons, hidden == 0));
    first.push(context(&format!(
        "{} or {}",
        commands.approve, commands.deny
    )));
    parts.push(Part {
        text: escaped(&format!("Approval needed: {}", news.asks())),
        blocks: first,
    });
    for (at, group) in groups.iter().enumerate().skip(1) {
        let head = format!("{}: statement, part {} of {count}", news.name, at + 1);
        let mut part = vec![context(&head)];
        part.extend(blocks(group));
        parts.push(Part {
            text: escaped(&head),
            blocks: part,
        });
    }
    parts
}

fn outcome(news: &HoldNews) -> Part {
    let title = news.title();
    let mut lines = news.outcome();
    lines.insert(0, title.clone());
    let mut blocks = vec![section(&lines.join("\n"))];
    blocks.push(context(&news.name));
    Part {
        text: escaped(&title),
        blocks,
    }
}

fn finding(found: &Found, links: &Links) -> Part {
    let title = format!(
        "Finding ({}): {}",
        found.severity.as_str(),
        found.code.as_str()
    );
    let mut blocks = vec![header(&title), section(&shown(&found.message))];
    let known = [
        ("Identity", &found.identity),
        ("Session", &found.session),
        ("Engine", &found.engine),
    ];
    let known = known.into_iter().filter_map(|(name, value)| {
        let value = value.as_deref()?;
        Some(field(name, &brief(value, 300)))
    });
    let mut known: Vec<Value> = known.collect();
    if found.more > 0 {
        known.push(field("More of it", &number(found.more)));
    }
    if !known.is_empty() {
        blocks.push(json!({"type": "section", "fields": known}));
    }
    if let Some(ui) = &links.ui {
        let open = link("Open", &format!("{ui}/ui/findings"));
        blocks.push(json!({"type": "actions", "elements": [open]}));
    }
    Part {
        text: escaped(&format!("{title}: {}", brief(&found.message, 300))),
        blocks,
    }
}

fn actions(news: &HoldNews, links: &Links, buttons: bool, whole: bool) -> Option<Value> {
    let mut elements = Vec::new();
    if buttons {
        let value = action::Request {
            namespace: news.namespace.clone(),
            name: news.name.clone(),
            uid: news.uid.clone(),
        };
        let value = value.to_value();
        if whole {
            elements.push(button("Approve", action::APPROVE, "primary", &value));
        }
        elements.push(button("Deny", action::DENY, "danger", &value));
    }
    elements.extend(links.hold(news).map(|url| link("Open", &url)));
    (!elements.is_empty())
        .then(|| json!({"type": "actions", "block_id": ACTIONS, "elements": elements}))
}

impl Links {
    /// Where a request is seen.
    pub(crate) fn hold(&self, news: &HoldNews) -> Option<String> {
        self.request(news.namespace.as_deref(), &news.name)
    }

    /// Where the request of this name is seen.
    pub(crate) fn request(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        let ui = self.ui.as_ref()?;
        Some(match namespace {
            Some(namespace) => format!("{ui}/ui/holds/{namespace}/{name}"),
            None => format!("{ui}/ui/holds/{name}"),
        })
    }
}

fn fields(news: &HoldNews) -> Vec<Value> {
    let facts = news.facts();
    let groups = facts.chunks(FIELDS).map(|group| {
        let fields: Vec<Value> = group
            .iter()
            .map(|(name, value)| field(name, value))
            .collect();
        json!({"type": "section", "fields": fields})
    });
    groups.collect()
}

fn field(name: &str, value: &str) -> Value {
    let text = format!("*{name}*\n{}", mrkdwn(value));
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": plain(&cut(text, HEADER))})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": plain(&cut(text, BLOCK))})
}

fn context(text: &str) -> Value {
    json!({"type": "context", "elements": [plain(&cut(text, BLOCK))]})
}

fn plain(text: &str) -> Value {
    // Slack takes no empty text.
    let text = if text.trim().is_empty() { "–" } else { text };
    json!({"type": "plain_text", "text": text, "emoji": false})
}

fn preformatted(text: &str) -> Value {
    json!({"type": "rich_text", "elements": [
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]}]})
}

fn button(text: &str, action: &str, style: &str, value: &str) -> Value {
    json!({"type": "button", "text": plain(text), "action_id": action, "style": style, "value": value})
}

fn link(text: &str, url: &str) -> Value {
    json!({"type": "button", "text": plain(text), "action_id": action::OPEN, "url": url})
}

/// Of what Weir wrote itself and may be cut: it says so.
fn cut(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false => {
            let kept = most.saturating_sub(40);
            let kept: String = text.chars().take(kept).collect();
            let more = text.chars().count() - kept.chars().count();
            format!("{kept}… ({more} more characters)")
        }
    }
}

/// `text` is mrkdwn where blocks are not shown.
fn escaped(text: &str) -> String {
    mrkdwn(text)
}

/// What a button's message becomes once somebody decided: the blocks that Slack sent along, without the
/// buttons if the request is over, and with a line that says who did what.
pub(crate) fn decided(shown: Vec<Value>, phase: AccessRequestPhase, line: &str) -> Vec<Value> {
    let waits = phase == AccessRequestPhase::Pending;
    let is_actions = |block: &Value| block.get("block_id").and_then(Value::as_str) == Some(ACTIONS);
    let mut blocks: Vec<Value> = shown
        .into_iter()
        .filter(|block| waits || !is_actions(block))
        .take(49)
        .collect();
    blocks.push(section(line));
    blocks
}

#[cfg(test)]
mod tests;
