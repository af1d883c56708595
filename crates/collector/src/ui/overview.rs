//! The overview: pictures of what happened, of what policies did, and of who is governed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use askama::Template;
use hyper::Response;
use weir_audit::{FindingCode, Timestamp};
use weir_serve::Body;
use weir_uplink::control::Coverage;

use super::Inner;
use super::assets;
use super::chart::{Bar, Picture, bars, share};
use super::frame::{Frame, Here, page};
use super::holds::person;
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::Asked;
use super::rows::{Tone, days_ago, tone_of};
use super::sessions::Session;
use super::show::{count, counted, short_name, size, span};
use crate::{Overview, Traffic};

const SPANS: &[(u64, &str)] = &[
    (1, "today"),
    (7, "7 days"),
    (30, "30 days"),
    (90, "90 days"),
];
const PAIRS: usize = 12;

pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) tone: &'static str,
}

struct TrafficRow {
    identity: String,
    target: String,
    who: Html,
    shown: Html,
    picture: Picture,
    told: String,
}

struct LabelRow {
    name: String,
    picture: Picture,
    told: String,
}

struct FindingChip {
    code: String,
    name: String,
    tone: &'static str,
    count: String,
}

struct PolicyRow {
    policy: Html,
    rule: Html,
    denied: String,
    held: String,
    masked: String,
    would_deny: String,
}

/// Who is governed, if anybody can say.
enum Covered {
    Nothing,
    Unknown(Html),
    Namespaces(Vec<NamespaceRow>),
}

struct NamespaceRow {
    name: Html,
    mode: String,
    picture: Picture,
    told: String,
    unprotected: Vec<Html>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    span: u64,
    within: &'static str,
    tiles: Vec<Tile>,
    statements: Picture,
    labelled: Picture,
    traffic: Vec<TrafficRow>,
    more_traffic: Option<String>,
    labels: Vec<LabelRow>,
    holds_raised: bool,
    holds: Picture,
    holds_told: String,
    findings: Vec<FindingChip>,
    policies: Vec<PolicyRow>,
    more_policies: Option<String>,
    coverage: Covered,
}

impl Inner {
    pub(super) async fn overview_page(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let days = asked.fields.parsed("days")?.unwrap_or(7_u64).clamp(1, 366);
        let reads = self.reading(session, asked).await?;
        let until = Timestamp::from(SystemTime::now());
        let since = days_ago(until, days - 1);
        let namespace = reads.namespace;
        let overview = self
            .blocking(&reads.on, move |store| {
                store.overview(since, until, namespace.as_deref())
            })
            .await?;
        let coverage = match &self.desk {
            Some(desk) => match desk.coverage(person(&session.who)).await {
                Ok(None) => Covered::Nothing,
                Ok(Some(coverage)) => covered(&coverage),
                Err(error) => Covered::Unknown(visible(&error.to_string())),
            },
            None => Covered::Nothing,
        };
        let frame = self.frame(session, Here::Overview).await;
        page(&shown(frame, days, &overview, coverage))
    }
}

fn shown(frame: Frame, span: u64, overview: &Overview, coverage: Covered) -> OverviewPage {
    let most = overview
        .traffic
        .iter()
        .map(|one| one.statements)
        .max()
        .unwrap_or(0);
    let holds = &overview.holds;
    OverviewPage {
        frame,
        span,
        within: match span {
            1 => "24h",
            2..=7 => "7d",
            8..=30 => "30d",
            _ => "90d",
        },
        tiles: tiles(overview),
        statements: statements(overview),
        labelled: labelled(overview),
        traffic: overview
            .traffic
            .iter()
            .take(PAIRS)
            .map(|one| traffic(one, most))
            .collect(),
        more_traffic: more(
            overview.traffic.len().saturating_sub(PAIRS),
            overview.more_traffic,
            "pairs",
        ),
        labels: labels(overview),
        holds_raised: holds.raised > 0,
        holds: share(
            "Holds by their end",
            &[
                ("approved", holds.approved),
                ("denied", holds.denied),
                ("expired", holds.expired),
                ("withdrawn", holds.withdrawn),
            ],
            holds.raised,
        ),
        holds_told: format!(
            "{} raised: {} approved, {} denied, {} expired, {} withdrawn.{}",
            count(holds.raised),
            count(holds.approved),
            count(holds.denied),
            count(holds.expired),
            count(holds.withdrawn),
            holds
                .median_wait_ms
                .map_or_else(String::new, |wait| format!(
                    " Half of them waited no longer than {}.",
                    self::span(Duration::from_millis(wait))
                ))
        ),
        findings: overview
            .findings
            .iter()
            .map(|finding| FindingChip {
                name: finding.code.replace('_', " "),
                tone: FindingCode::ALL
                    .iter()
                    .find(|code| code.as_str() == finding.code)
                    .map_or(Tone::Warn, |code| tone_of(code.severity()))
                    .class(),
                count: count(finding.count),
                code: finding.code.clone(),
            })
            .collect(),
        policies: overview
            .policies
            .iter()
            .map(|policy| PolicyRow {
                policy: visible(&policy.policy),
                rule: visible(&policy.rule),
                denied: count(policy.denied),
                held: count(policy.held),
                masked: count(policy.masked),
                would_deny: count(policy.would_deny),
            })
            .collect(),
        more_policies: more(0, overview.more_policies, "rules"),
        coverage,
    }
}

/// How much of a list is not shown: so much of it, and what was not even read.
fn more(left: usize, unread: bool, what: &str) -> Option<String> {
    match (left, unread) {
        (0, false) => None,
        (0, true) => Some(format!("There are more {what}.")),
        (left, false) => Some(format!("{left} more {what}.")),
        (left, true) => Some(format!("{left} more {what}, and others.")),
    }
}

pub(super) fn tiles(overview: &Overview) -> Vec<Tile> {
    let sum = |of: fn(&crate::Day) -> u64| overview.days.iter().map(of).sum::<u64>();
    let labelled = overview.labelled.iter().map(|day| day.rows).sum();
    let findings = overview.findings.iter().map(|finding| finding.count).sum();
    let tile = |name, number: u64, tone: Tone| Tile {
        name,
        value: count(number),
        tone: if number > 0 { tone.class() } else { "plain" },
    };
    let holds = &overview.holds;
    vec![
        tile("statements", sum(|day| day.statements), Tone::Plain),
        tile("rows", sum(|day| day.rows), Tone::Plain),
        tile("rows of labelled data", labelled, Tone::Plain),
        tile("denied", sum(|day| day.denials), Tone::Bad),
        tile("held", holds.raised, Tone::Warn),
        Tile {
            name: "median wait of a hold",
            value: holds
                .median_wait_ms
                .map_or_else(|| "–".to_owned(), |wait| span(Duration::from_millis(wait))),
            tone: "plain",
        },
        tile("findings", findings, Tone::Bad),
    ]
}

/// `11-28` of `2026-11-28`.
fn day(day: &str) -> String {
    day.get(5..).unwrap_or(day).to_owned()
}

pub(super) fn statements(overview: &Overview) -> Picture {
    let bar = |one: &crate::Day| Bar {
        name: day(&one.day),
        parts: vec![
            (
                "statements",
                one.statements
                    .saturating_sub(one.denials)
                    .saturating_sub(one.holds),
            ),
            ("denied", one.denials),
            ("held", one.holds),
        ],
    };
    let all: Vec<_> = overview.days.iter().map(bar).collect();
    bars("Statements per day", &all)
}

pub(super) fn labelled(overview: &Overview) -> Picture {
    let mut days: BTreeMap<&str, (u64, u64)> = overview
        .days
        .iter()
        .map(|one| (one.day.as_str(), (0, 0)))
        .collect();
    for one in &overview.labelled {
        let sums = days.entry(&one.day).or_default();
        sums.0 += one.rows.saturating_sub(one.masked);
        sums.1 += one.masked;
    }
    let bar = |(name, (rows, masked)): (&str, (u64, u64))| Bar {
        name: day(name),
        parts: vec![("rows", rows), ("masked", masked)],
    };
    let all: Vec<_> = days.into_iter().map(bar).collect();
    bars("Rows of labelled data per day", &all)
}

fn traffic(one: &Traffic, most: u64) -> TrafficRow {
    let through = one
        .statements
        .saturating_sub(one.denials)
        .saturating_sub(one.holds);
    let told = format!(
        "{}, {} ({})",
        counted(one.statements, "statement", "statements"),
        counted(one.rows, "row", "rows"),
        size(one.bytes)
    );
    TrafficRow {
        who: visible(short_name(&one.identity)),
        shown: visible(&one.target),
        picture: share(
            &told,
            &[
                ("statements", through),
                ("denied", one.denials),
                ("held", one.holds),
            ],
            most,
        ),
        identity: one.identity.clone(),
        target: one.target.clone(),
        told,
    }
}

fn labels(overview: &Overview) -> Vec<LabelRow> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in &overview.labelled {
        let sum = sums.entry(&one.label).or_default();
        sum.0 += one.rows;
        sum.1 += one.masked;
    }
    let most = sums.values().map(|(rows, _)| *rows).max().unwrap_or(0);
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
    let row = |(name, (rows, masked)): (&str, (u64, u64))| {
        let told = format!("{}, {} masked", counted(rows, "row", "rows"), count(masked));
        LabelRow {
            picture: share(
                &told,
                &[("rows", rows.saturating_sub(masked)), ("masked", masked)],
                most,
            ),
            name: name.to_owned(),
            told,
        }
    };
    rows.into_iter().take(PAIRS).map(row).collect()
}

fn covered(coverage: &Coverage) -> Covered {
    let row = |one: &weir_uplink::control::NamespaceCoverage| {
        let unprotected = u64::try_from(one.unprotected.len()).unwrap_or(u64::MAX);
        let (governed, waiting, out) = (
            u64::from(one.governed),
            u64::from(one.not_ready),
            u64::from(one.opted_out),
        );
        let told = format!(
            "{} governed, {waiting} not connected, {out} opted out, {unprotected} unprotected",
            counted(governed, "pod", "pods")
        );
        NamespaceRow {
            name: visible(&one.namespace),
            mode: one.mode.clone(),
            picture: share(
                &told,
                &[
                    ("governed", governed),
                    ("waiting", waiting),
                    ("out", out),
                    ("unprotected", unprotected),
                ],
                governed + waiting + out + unprotected,
            ),
            told,
            unprotected: one.unprotected.iter().map(|pod| visible(pod)).collect(),
        }
    };
    Covered::Namespaces(coverage.namespaces.iter().map(row).collect())
}
