//! What a page says of a hold.
//!
//! Pure.

use std::time::Duration;

use weir_api::kinds::{AccessRequestPhase, AccessRequestStatus, Binding, RequestDecision};
use weir_audit::Timestamp;
use weir_uplink::control::{RequestView, RequestsListed};

use crate::ui::door::encoded;
use crate::ui::html::{Html, visible};
use crate::ui::rows::Tone;
use crate::ui::show::{between, count, counted, moment, short_name, size, span};
use crate::ui::sql::{self, Shown};

/// Bytes of a statement that a page shows; the rest is a link away.
const TEXT: usize = 128 << 10;
/// Bytes of what decides beside it.
const DETAIL: usize = 256 << 10;
/// Bytes of it in the list.
const IN_A_LIST: usize = 160;
/// Decisions of the past that are shown.
const HISTORY: usize = 12;
const MINUTES: u32 = 15;

/// A hold in the list.
pub(super) struct Item {
    pub(super) path: String,
    pub(super) open: bool,
    pub(super) who: Html,
    pub(super) target: Html,
    pub(super) summary: Html,
    pub(super) text: Shown,
    pub(super) phase: &'static str,
    pub(super) tone: Tone,
    pub(super) waits: bool,
    pub(super) mine: bool,
    pub(super) left_ms: Option<u64>,
    pub(super) left: String,
    pub(super) repeats: u32,
}

/// A hold on its page.
pub(super) struct Detail {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) summary: Vec<Html>,
    pub(super) text: Shown,
    /// What decides beside the text.
    pub(super) beside: Option<Shown>,
    pub(super) whole: String,
    pub(super) parameters: Vec<Html>,
    pub(super) facts: Vec<(&'static str, Html)>,
    pub(super) labels: Vec<(Html, Html)>,
    pub(super) tables: Vec<Html>,
    pub(super) shape: Option<Shown>,
    pub(super) free: Vec<Html>,
    pub(super) minutes: Option<(u32, u32)>,
    pub(super) state: State,
    pub(super) history: Vec<Past>,
    pub(super) held_before: String,
}

/// What changes of a hold while people look at it.
pub(super) struct State {
    pub(super) phase: &'static str,
    pub(super) tone: Tone,
    pub(super) waits: bool,
    pub(super) may_decide: bool,
    pub(super) why_not: Option<String>,
    pub(super) left_ms: Option<u64>,
    pub(super) left: String,
    pub(super) deadline: String,
    pub(super) approvals: String,
    pub(super) repeats: u32,
    pub(super) decisions: Vec<Decided>,
    /// Equal for equal states.
    pub(super) mark: String,
}

pub(super) struct Decided {
    pub(super) who: Html,
    pub(super) tone: Tone,
    pub(super) what: String,
    pub(super) when: String,
    pub(super) reason: Option<Html>,
}

pub(super) struct Past {
    pub(super) path: String,
    pub(super) when: String,
    pub(super) phase: &'static str,
    pub(super) tone: Tone,
    pub(super) who: Html,
    pub(super) by: Html,
    pub(super) here: bool,
}

pub(super) fn path(namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("/ui/holds/{}", encoded(name)),
        namespace => format!("/ui/holds/{}/{}", encoded(namespace), encoded(name)),
    }
}

pub(super) fn path_of(view: &RequestView) -> String {
    path(&view.namespace, &view.name)
}

pub(super) fn waits(status: Option<&AccessRequestStatus>) -> bool {
    status.is_none_or(|status| status.phase == AccessRequestPhase::Pending)
}

pub(super) fn phase(status: Option<&AccessRequestStatus>) -> (&'static str, Tone) {
    match status.map(|status| status.phase) {
        None | Some(AccessRequestPhase::Pending) => ("waits", Tone::Warn),
        Some(AccessRequestPhase::Approved) => ("approved", Tone::Good),
        Some(AccessRequestPhase::Denied) => ("denied", Tone::Bad),
        Some(AccessRequestPhase::Expired) => ("expired", Tone::Plain),
        Some(AccessRequestPhase::Withdrawn) => ("withdrawn", Tone::Plain),
        Some(AccessRequestPhase::Superseded) => ("superseded", Tone::Plain),
    }
}

/// Those that wait, the most urgent first, and those that are over.
pub(super) fn items(listed: &RequestsListed, open: &str, now: Timestamp) -> (Vec<Item>, Vec<Item>) {
    let all = listed.requests.iter().map(|view| item(view, open, now));
    let (mut waiting, mut over): (Vec<_>, Vec<_>) = all.partition(|item| item.waits);
    waiting.sort_by_key(|item| (!item.mine, item.left_ms));
    over.truncate(HISTORY);
    (waiting, over)
}

pub(super) fn item(view: &RequestView, open: &str, now: Timestamp) -> Item {
    let spec = &view.spec;
    let (phase, tone) = phase(view.status.as_ref());
    let (left_ms, left) = left(&spec.deadline, now);
    let path = path_of(view);
    Item {
        open: path == open,
        path,
        who: visible(short_name(&spec.requester.name)),
        target: visible(&spec.target),
        summary: visible(spec.summary.first().map_or(&*spec.reason, String::as_str)),
        text: text(view, IN_A_LIST),
        phase,
        tone,
        waits: waits(view.status.as_ref()),
        mine: view.may_decide,
        left_ms,
        left,
        repeats: view.status.as_ref().map_or(0, |status| status.repeats),
    }
}

pub(super) fn text(view: &RequestView, limit: usize) -> Shown {
    match view.spec.protocol.as_deref() {
        None | Some("postgresql") => sql::shown(&view.spec.statement, limit),
        Some(_) => sql::plain(&view.spec.statement, limit),
    }
}

/// Milliseconds until a deadline, and what people read.
pub(super) fn left(deadline: &str, now: Timestamp) -> (Option<u64>, String) {
    let Ok(deadline) = deadline.parse::<Timestamp>() else {
        return (None, String::new());
    };
    let left = between(now, deadline);
    (
        u64::try_from(left.as_millis()).ok(),
        span(Duration::from_secs(left.as_secs())),
    )
}

pub(super) fn state(view: &RequestView, now: Timestamp) -> State {
    let status = view.status.as_ref();
    let (phase, tone) = phase(status);
    let (left_ms, left) = left(&view.spec.deadline, now);
    let decisions = status.map_or(&[][..], |status| &status.decisions);
    let approved = decisions
        .iter()
        .filter(|one| one.decision == RequestDecision::Approve)
        .count();
    let repeats = status.map_or(0, |status| status.repeats);
    State {
        mark: format!("{phase}-{}-{repeats}-{}", decisions.len(), view.may_decide),
        phase,
        tone,
        waits: waits(status),
        may_decide: view.may_decide,
        why_not: view.why_not.clone(),
        left_ms,
        left,
        deadline: view.spec.deadline.clone(),
        approvals: format!("{approved} of {} approvals", view.spec.count),
        repeats,
        decisions: decisions.iter().map(decided).collect(),
    }
}

pub(super) fn decided(decision: &weir_api::kinds::ApproverDecision) -> Decided {
    let (mut what, tone) = match decision.decision {
        RequestDecision::Approve => ("approved".to_owned(), Tone::Good),
        RequestDecision::Deny => ("denied".to_owned(), Tone::Bad),
    };
    if let (Some(Binding::Shape), minutes) = (decision.binding, decision.minutes) {
        let minutes = u64::from(minutes.unwrap_or_default());
        what = format!(
            "{what} the shape for {}",
            counted(minutes, "minute", "minutes")
        );
    }
    if let Some(rows) = decision.rows {
        what = format!("{what}, {} at most", counted(rows, "row", "rows"));
    }
    Decided {
        who: visible(&decision.approver),
        tone,
        what,
        when: decision
            .at
            .parse()
            .map_or_else(|_| decision.at.clone(), moment),
        reason: decision.reason.as_deref().map(visible),
    }
}

/// What a person is told after their decision.
pub(super) fn took(view: &RequestView, approves: bool, binding: Binding) -> String {
    let who = short_name(&view.spec.requester.name);
    let (phase, _) = phase(view.status.as_ref());
    match (approves, waits(view.status.as_ref())) {
        (true, true) => format!(
            "Your approval counts. {} needed before {who} goes on.",
            counted(u64::from(view.spec.count), "approval is", "approvals are")
        ),
        (true, false) if phase == "approved" => match binding {
            Binding::Exact => format!("Approved: {who} goes on with this statement, once."),
            Binding::Shape => {
                format!("Approved: {who} goes on, and so do statements of this shape.")
            }
        },
        (false, false) if phase == "denied" => format!("Denied: {who} was told your reason."),
        _ => format!("Your decision was taken; the request is now {phase}."),
    }
}

pub(super) fn detail(view: &RequestView, listed: &RequestsListed, now: Timestamp) -> Detail {
    let spec = &view.spec;
    let shapes = spec.binding == Binding::Shape;
    let most = spec.max_minutes.unwrap_or(MINUTES);
    let (history, held_before) = history(view, listed);
    Detail {
        whole: format!(
            "/ui/hold/statement?namespace={}&name={}",
            encoded(&view.namespace),
            encoded(&view.name)
        ),
        namespace: view.namespace.clone(),
        name: view.name.clone(),
        uid: view.uid.clone(),
        summary: match spec.summary.is_empty() {
            true => vec![visible(&spec.reason)],
            false => spec.summary.iter().map(|line| visible(line)).collect(),
        },
        text: text(view, TEXT),
        beside: spec
            .detail
            .as_deref()
            .map(|detail| sql::plain(detail, DETAIL)),
        parameters: spec
            .parameters
            .iter()
            .map(|value| visible(value.as_deref().unwrap_or("NULL")))
            .collect(),
        facts: facts(view),
        labels: spec
            .labels
            .iter()
            .map(|label| {
                let columns = spec
                    .columns
                    .iter()
                    .filter(|columns| columns.label == *label);
                let columns: Vec<_> = columns
                    .flat_map(|c| c.columns.iter().map(String::as_str))
                    .collect();
                (visible(label), visible(&columns.join(", ")))
            })
            .collect(),
        tables: spec.tables.iter().map(|table| visible(table)).collect(),
        shape: spec
            .shape
            .as_deref()
            .filter(|_| shapes)
            .map(|text| sql::shown(text, TEXT)),
        free: spec
            .free_literals
            .iter()
            .filter(|_| shapes)
            .map(|one| visible(one))
            .collect(),
        minutes: shapes.then_some((most.min(MINUTES), most)),
        state: state(view, now),
        history,
        held_before,
    }
}

pub(super) fn facts(view: &RequestView) -> Vec<(&'static str, Html)> {
    let spec = &view.spec;
    let rows = spec
        .estimated_rows
        .map(|rows| format!("about {}", count(rows)));
    let delivered = spec.delivered_rows.map(|rows| match spec.delivered_bytes {
        Some(bytes) => format!("{} ({})", counted(rows, "row", "rows"), size(bytes)),
        None => counted(rows, "row", "rows"),
    });
    let created = view
        .created
        .parse()
        .map_or_else(|_| view.created.clone(), moment);
    let login = match (&spec.login, &spec.database) {
        (Some(login), Some(database)) => Some(format!("{login} in {database}")),
        (login, database) => login.clone().or_else(|| database.clone()),
    };
    let who = &spec.requester;
    let approvers: Vec<_> = spec
        .groups
        .iter()
        .chain(&spec.users)
        .map(String::as_str)
        .collect();
    let optional = [
        ("Identity", Some(who.name.clone())),
        ("Pod", who.pod.clone()),
        ("Workload", who.workload.clone()),
        ("Target", Some(spec.target.clone())),
        ("Login", login),
        ("Rows expected", rows),
        ("Delivered so far", delivered),
        (
            "Effects",
            Some(spec.effects.join(", ")).filter(|all| !all.is_empty()),
        ),
        ("Policy", Some(format!("{} / {}", spec.policy, spec.rule))),
        ("Why", Some(spec.reason.clone())),
        (
            "Who may approve",
            Some(approvers.join(", ")).filter(|all| !all.is_empty()),
        ),
        ("Raised", Some(created)),
    ];
    let shown = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    shown.map(|(name, value)| (name, visible(&value))).collect()
}

/// What became of others of the same shape.
pub(super) fn history(view: &RequestView, listed: &RequestsListed) -> (Vec<Past>, String) {
    let Some(shape) = &view.spec.fingerprint else {
        return (
            Vec::new(),
            "This statement has no shape that others could share.".to_owned(),
        );
    };
    let same = listed.requests.iter().filter(|other| {
        other.spec.fingerprint.as_ref() == Some(shape)
            && other.spec.target == view.spec.target
            && other.uid != view.uid
    });
    let same: Vec<_> = same.collect();
    let number = |wanted: AccessRequestPhase| {
        let is = |other: &&&RequestView| other.status.as_ref().is_some_and(|s| s.phase == wanted);
        same.iter().filter(is).count()
    };
    let said = match same.len() {
        0 => "No statement of this shape was held before, as far as is known here.".to_owned(),
        all => format!(
            "Held {} before: {} approved, {} denied.",
            counted(u64::try_from(all).unwrap_or(u64::MAX), "time", "times"),
            number(AccessRequestPhase::Approved),
            number(AccessRequestPhase::Denied)
        ),
    };
    let past = same.into_iter().take(HISTORY).map(|other| {
        let (phase, tone) = phase(other.status.as_ref());
        let decisions = other
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.decisions);
        let by: Vec<_> = decisions.iter().map(|one| one.approver.as_str()).collect();
        Past {
            path: path_of(other),
            when: other
                .created
                .parse()
                .map_or_else(|_| other.created.clone(), moment),
            phase,
            tone,
            who: visible(short_name(&other.spec.requester.name)),
            by: visible(&by.join(", ")),
            here: waits(other.status.as_ref()),
        }
    });
    (past.collect(), said)
}
