//! AccessRequests of a cluster: what waits, and a person's decision on it.
//!
//! Invariants: a decision is appended and nothing else is touched; who decided is stamped by the
//! API server's admission, and an answer without that stamp is an error, not a decision.

use std::fmt::Write as _;

use serde_json::{Value, json};
use weir_audit::Timestamp;

use super::access::Cluster;
use super::error::ClusterError;
use super::object::{full_name, is_name, list, name, number, text};
use super::weir_path;
use crate::commands::table::{Screen, Style};
use crate::commands::text::{counted, duration, folded, grouped, one_line, shorten};
use crate::commands::time::between;

/// Stands where admission writes who decided.
const UNSTAMPED: &str = "-";
/// Lines of what decides beside a statement that a card has.
const DETAIL: usize = 60;
/// Lines of a statement that a card has, and of each of the other texts that are approved with it.
const WHOLE: usize = 240;
/// How often a decision is tried anew because somebody else decided in between.
const TRIES: usize = 5;

/// A decision, as typed.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// Yes or no.
    pub(crate) approve: bool,
    /// For how many rows; all, if left out.
    pub(crate) rows: Option<u64>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// For its shape, for so many minutes; for this statement alone, if left out.
    pub(crate) minutes: Option<u32>,
}

/// A decision that was taken.
pub(crate) struct Decided {
    /// The request, as it is now.
    pub(crate) object: Value,
    /// The same for people.
    pub(crate) text: String,
}

/// The requests that wait, oldest first.
pub(crate) async fn waiting(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let mut found = read(cluster).await?;
    found.retain(is_open);
    found.sort_by(|a, b| created(a).cmp(created(b)));
    Ok(found)
}

/// Whether a request waits for people.
pub(crate) fn is_open(request: &Value) -> bool {
    matches!(text(request, "/status/phase"), "" | "Pending")
}

/// All requests, those that are over as well, oldest first.
pub(crate) async fn all(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let mut found = read(cluster).await?;
    found.sort_by(|a, b| created(a).cmp(created(b)));
    Ok(found)
}

/// What tells a request from others, and what changes of it.
pub(crate) fn state(request: &Value) -> (String, String) {
    let phase = match text(request, "/status/phase") {
        "" => "Pending",
        phase => phase,
    };
    let decisions = list(request, "/status/decisions").len();
    let repeats = number(request, "/status/repeats");
    let key = format!("{}/{}", full_name(request), text(request, "/metadata/uid"));
    (key, format!("{phase} {decisions} {repeats}"))
}

/// A change of a request on one line.
pub(crate) fn change(request: &Value) -> String {
    let phase = text(request, "/status/phase").to_lowercase();
    let mut line = format!("{}: ", full_name(request));
    match (is_open(request), list(request, "/status/decisions").last()) {
        (true, None) => {
            let more = number(request, "/status/repeats");
            let _ = write!(line, "asked {} more", counted(more, "time"));
        }
        (open, Some(last)) => {
            let by = one_line(text(last, "/approver"));
            let yes = text(last, "/decision") == "Approve";
            let word = if yes { "approved" } else { "denied" };
            let still = if open { ", and still waits" } else { "" };
            let _ = write!(line, "{word} by {by}{still}");
            let reason = one_line(text(last, "/reason"));
            if !reason.is_empty() {
                let _ = write!(line, " ({reason})");
            }
        }
        (false, None) => line.push_str(&phase),
    }
    line.push('\n');
    line
}

async fn read(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let path = weir_path(cluster.namespace(), "accessrequests");
    match cluster.list(&path).await {
        Ok(found) => found.ok_or(ClusterError::NotInstalled),
        Err(ClusterError::Forbidden(why)) if cluster.namespace().is_none() => {
            Err(ClusterError::Forbidden(format!(
                "{why}; -n NAMESPACE asks for those of one namespace"
            )))
        }
        Err(error) => Err(error),
    }
}

/// Decides on a request.
pub(crate) async fn decide(
    cluster: &Cluster,
    typed: &str,
    decision: &Decision,
    now: Timestamp,
) -> Result<Decided, ClusterError> {
    let path = find(cluster, typed).await?;
    let mut tries = 0;
    loop {
        let request = cluster.get(&path).await?;
        let request =
            request.ok_or_else(|| ClusterError::NotFound(format!("no request {typed} waits")))?;
        if !is_open(&request) {
            let phase = text(&request, "/status/phase").to_lowercase();
            let text = format!("{} was decided before: it is {phase}", full_name(&request));
            return Err(ClusterError::Usage(text));
        }
        let patched = cluster
            .merge(&format!("{path}/status"), &patch(&request, decision, now))
            .await;
        tries += 1;
        match patched {
            Ok(object) => {
                let text = said(&object, decision)?;
                return Ok(Decided { object, text });
            }
            Err(ClusterError::Conflict(_)) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// The path of the request that was typed as `NAME` or `NAMESPACE/NAME`.
async fn find(cluster: &Cluster, typed: &str) -> Result<String, ClusterError> {
    let (namespace, request) = match typed.split_once('/') {
        Some((namespace, request)) => (Some(namespace), request),
        None => (cluster.namespace(), typed),
    };
    if !is_name(request) || !namespace.is_none_or(is_name) {
        let text = format!("`{}` is no name of a request", one_line(typed));
        return Err(ClusterError::Usage(text));
    }
    let at =
        |namespace: &str| format!("{}/{request}", weir_path(Some(namespace), "accessrequests"));
    if let Some(namespace) = namespace {
        return Ok(at(namespace));
    }
    let all = match read(cluster).await {
        Ok(all) => all,
        // Who sees only some namespaces means the one that they work in.
        Err(ClusterError::Forbidden(_)) => return Ok(at(cluster.current_namespace())),
        Err(error) => return Err(error),
    };
    let named: Vec<&str> = all
        .iter()
        .filter(|candidate| name(candidate) == request)
        .map(|candidate| text(candidate, "/metadata/namespace"))
        .collect();
    match named.as_slice() {
        [namespace] => Ok(at(namespace)),
        [] => Err(ClusterError::NotFound(format!("no request {request}"))),
        several => Err(ClusterError::Usage(format!(
            "{request} exists in {}; say which with -n NAMESPACE",
            several.join(", ")
        ))),
    }
}

/// The request's decisions with one more, bound to the version that was read.
fn patch(request: &Value, decision: &Decision, now: Timestamp) -> Value {
    let mut mine = json!({
        "approver": UNSTAMPED,
        "decision": if decision.approve { "Approve" } else { "Deny" },
        "at": now.to_string(),
    });
    if let Some(mine) = mine.as_object_mut() {
        if let Some(reason) = &decision.reason {
            mine.insert("reason".to_owned(), json!(reason));
        }
        if let Some(rows) = decision.rows {
            mine.insert("rows".to_owned(), json!(rows));
        }
        if let Some(minutes) = decision.minutes {
            mine.insert("binding".to_owned(), json!("Shape"));
            mine.insert("minutes".to_owned(), json!(minutes));
        }
    }
    let mut decisions = list(request, "/status/decisions").to_vec();
    decisions.push(mine);
    let phase = match text(request, "/status/phase") {
        "" => "Pending",
        phase => phase,
    };
    json!({
        "metadata": {"resourceVersion": text(request, "/metadata/resourceVersion")},
        "status": {"phase": phase, "decisions": decisions},
    })
}

/// What became of a decision, and what is still missing.
pub(crate) fn said(request: &Value, decision: &Decision) -> Result<String, ClusterError> {
    let mine = list(request, "/status/decisions").last();
    let approver = mine.map(|mine| text(mine, "/approver")).unwrap_or_default();
    if matches!(approver, "" | UNSTAMPED) {
        let text = "the decision came back without an approver: Weir's admission webhook did not \
                    see it, so it does not count";
        return Err(ClusterError::Answer(text.to_owned()));
    }
    let (request_name, approver) = (full_name(request), one_line(approver));
    if !decision.approve {
        return Ok(format!(
            "denied {request_name} as {approver}: {}'s statement is refused\n",
            who(request)
        ));
    }
    let needed = number(request, "/spec/count").max(1);
    let have = u64::try_from(approvers(request).len()).unwrap_or(u64::MAX);
    if have < needed {
        let groups = words(list(request, "/spec/groups"));
        return Ok(format!(
            "approved {request_name} as {approver}: {have} of {needed} approvals, so it still \
             waits for {} of {groups}\n",
            counted(needed - have, "person").replace("persons", "people")
        ));
    }
    let until = match decision.rows {
        Some(rows) => format!("for {} more", counted(rows, "row")),
        None => "to its end".to_owned(),
    };
    let who = who(request);
    let what = match minutes(request) {
        Some(minutes) => format!(
            "{who}'s statements of this shape go on {}, for {}",
            until.replace("its", "their"),
            counted(minutes, "minute")
        ),
        None => format!("{who}'s statement goes on {until}"),
    };
    Ok(format!("approved {request_name} as {approver}: {what}\n"))
}

/// For how many minutes the shape is approved, if all who approved meant the shape.
fn minutes(request: &Value) -> Option<u64> {
    let decisions = list(request, "/status/decisions").iter();
    let minutes = decisions.map(|decision| number(decision, "/minutes"));
    minutes.min().filter(|minutes| *minutes > 0)
}

/// The different people who approved.
fn approvers(request: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = list(request, "/status/decisions")
        .iter()
        .filter(|decision| text(decision, "/decision") == "Approve")
        .map(|decision| text(decision, "/approver"))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// One card per request: what a reviewer needs to decide.
pub(crate) fn cards(requests: &[Value], now: Timestamp, screen: Screen) -> String {
    if requests.is_empty() {
        return "no request waits\n".to_owned();
    }
    let cards: Vec<String> = requests
        .iter()
        .map(|request| card(request, now, screen))
        .collect();
    cards.join("\n")
}

fn card(request: &Value, now: Timestamp, screen: Screen) -> String {
    let time = |pointer: &str| text(request, pointer).parse::<Timestamp>().ok();
    let age = match time("/metadata/creationTimestamp") {
        Some(created) => duration(between(created, now)),
        None => "?".to_owned(),
    };
    let left = time("/spec/deadline").map(|deadline| between(now, deadline));
    let left = match left {
        Some(left) if left.is_zero() => "deadline reached".to_owned(),
        Some(left) => format!("{} left", duration(left)),
        None => "no deadline".to_owned(),
    };
    let name = screen.paint(&full_name(request), Style::Waits);
    let mut card = Card {
        out: format!("{name}  waits {age}, {left}\n"),
        screen,
    };
    let summary = list(request, "/spec/summary");
    for (index, part) in summary.iter().enumerate() {
        let title = if index == 0 { "summary" } else { "" };
        card.line(title, part.as_str().unwrap_or_default());
    }
    if summary.is_empty() {
        card.line("who", &who(request));
        card.line("reason", text(request, "/spec/reason"));
    }
    let mut target = one_line(text(request, "/spec/target"));
    for (before, field) in [(" (database ", "database"), (" (as ", "login")] {
        let part = text(request, &format!("/spec/{field}"));
        if !part.is_empty() {
            let _ = write!(target, "{before}{})", one_line(part));
        }
    }
    card.line("target", &target);
    let rule = format!(
        "{}/{}",
        text(request, "/spec/policy"),
        text(request, "/spec/rule")
    );
    card.line("rule", &rule);
    card.line("does", &words(list(request, "/spec/effects")));
    card.line("tables", &words(list(request, "/spec/tables")));
    card.line("labels", &labels(request));
    card.line("rows", &rows(request));
    card.whole("statement", text(request, "/spec/statement"));
    let mut detail = text(request, "/spec/detail").lines();
    for (index, part) in detail.by_ref().take(DETAIL).enumerate() {
        card.line(if index == 0 { "detail" } else { "" }, part);
    }
    let more = detail.count();
    if more > 0 {
        let how = format!(
            "… {} more, with --output json",
            counted(more as u64, "line")
        );
        card.line("", &how);
    }
    let parameters: Vec<String> = list(request, "/spec/parameters")
        .iter()
        .map(|value| {
            value
                .as_str()
                .map_or("null".to_owned(), |text| format!("'{text}'"))
        })
        .collect();
    card.whole("parameters", &parameters.join(", "));
    if text(request, "/spec/binding") == "Shape" {
        let most = number(request, "/spec/maxMinutes");
        let shape = text(request, "/spec/shape");
        card.whole("shape", &format!("for at most {most}m: {shape}"));
        card.whole("free", &words(list(request, "/spec/freeLiterals")));
    }
    match number(request, "/status/repeats") {
        0 => {}
        more => card.line("repeats", &format!("asked {} more", counted(more, "time"))),
    }
    let (have, needed) = (approvers(request), number(request, "/spec/count").max(1));
    if needed > 1 || !have.is_empty() {
        let by = if have.is_empty() {
            String::new()
        } else {
            format!(" ({})", have.join(", "))
        };
        card.line("approvals", &format!("{} of {needed}{by}", have.len()));
    }
    let mut deciders = list(request, "/spec/groups").to_vec();
    deciders.extend(list(request, "/spec/users").iter().cloned());
    card.line("decided by", &words(&deciders));
    let session = text(request, "/spec/session");
    if !session.is_empty() {
        let of = number(request, "/spec/number");
        card.line("session", &format!("{session}/{of}"));
    }
    card.out
}

/// What is drawn of a request.
struct Card {
    out: String,
    screen: Screen,
}

impl Card {
    fn titled(&mut self, title: &str, said: &str) {
        let title = format!("  {title:<10} ");
        let title = self.screen.paint(&title, Style::Dim);
        let _ = writeln!(self.out, "{title}{said}");
    }

    /// Columns behind a title.
    const fn room(&self) -> usize {
        self.screen.width.saturating_sub(13)
    }

    /// What fits a line; what does not is counted.
    fn line(&mut self, title: &str, said: &str) {
        if !said.is_empty() {
            self.titled(title, &shorten(&one_line(said), self.room()));
        }
    }

    /// A text that is approved, over as many lines as it needs. Where that is more than a card has, a line
    /// says how much is missing, which text it is, and where all of it is.
    fn whole(&mut self, title: &str, text: &str) {
        let lines = folded(&one_line(text), self.room());
        let missing = lines.iter().skip(WHOLE);
        let missing: usize = missing.map(|line| line.chars().count()).sum();
        let shown = lines.iter().filter(|line| !line.is_empty());
        for (index, line) in shown.take(WHOLE).enumerate() {
            self.titled(if index == 0 { title } else { "" }, line);
        }
        if missing > 0 {
            let more = counted(missing as u64, "character");
            self.titled(
                "",
                &format!("… NOT ALL OF IT: {more} more, with --output json"),
            );
            self.titled("", &format!("SHA-256 of all: {}", weir_api::digest(text)));
        }
    }
}

/// The labels, with their columns where they are known.
fn labels(request: &Value) -> String {
    let columns = list(request, "/spec/columns");
    let of = |label: &str| {
        let mut known = columns.iter();
        let known = known.find(|one| text(one, "/label") == label)?;
        Some(words(list(known, "/columns"))).filter(|columns| !columns.is_empty())
    };
    let labels = list(request, "/spec/labels")
        .iter()
        .filter_map(Value::as_str);
    let labels = labels.map(|label| match of(label) {
        Some(columns) => format!("{} ({columns})", one_line(label)),
        None => one_line(label),
    });
    labels.collect::<Vec<_>>().join(", ")
}

/// How much it is, as far as that is known.
fn rows(request: &Value) -> String {
    let known = |field: &str| request.pointer(&format!("/spec/{field}"))?.as_u64();
    let delivered = match (known("deliveredRows"), known("deliveredBytes")) {
        (None | Some(0), None | Some(0)) => "none delivered yet".to_owned(),
        (rows, None | Some(0)) => format!("{} delivered", grouped(rows.unwrap_or_default())),
        (rows, Some(bytes)) => format!(
            "{} delivered ({})",
            grouped(rows.unwrap_or_default()),
            counted(bytes, "byte")
        ),
    };
    match known("estimatedRows") {
        Some(rows) => format!("{delivered}, about {} expected", grouped(rows)),
        None => delivered,
    }
}

/// Who asks: the pod where it is known.
fn who(request: &Value) -> String {
    let part = |field: &str| text(request, &format!("/spec/requester/{field}"));
    let who = match (part("namespace"), part("pod")) {
        ("", _) | (_, "") => part("name").to_owned(),
        (namespace, pod) => format!("{namespace}/{pod}"),
    };
    one_line(&who)
}

fn words(list: &[Value]) -> String {
    let words: Vec<String> = list
        .iter()
        .filter_map(Value::as_str)
        .map(one_line)
        .collect();
    words.join(", ")
}

fn created(request: &Value) -> &str {
    text(request, "/metadata/creationTimestamp")
}

#[cfg(test)]
mod tests;
