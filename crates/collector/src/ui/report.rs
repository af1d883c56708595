//! The page of a report: one file that loads nothing and runs nothing, for a screen or on paper.

use askama::Template;

use super::chart::Picture;
use super::html::{Html, visible};
use super::overview::{self, Tile};
use super::show::{count, counted, moment, size, unlisted};
use crate::report::{Engine, Report};
use crate::{Answer, Traffic};

/// Rows of a list on the page; the JSON has all.
const SHOWN: usize = 500;

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'a> {
    report: &'a Report,
    since: String,
    until: String,
    made: String,
    reader: Html,
    entries: String,
    tiles: Vec<Tile>,
    statements: Picture,
    labelled: Picture,
    traffic: Vec<Vec<Html>>,
    traffic_cut: Option<String>,
    lists: Vec<List>,
    engines: Vec<EngineRow>,
    problems: Vec<Html>,
    more_problems: Option<String>,
}

struct List {
    title: Html,
    columns: Vec<Html>,
    rows: Vec<Vec<Html>>,
    /// What is not on the page.
    cut: Option<String>,
}

struct EngineRow {
    name: Html,
    events: String,
    problems: String,
}

/// The page.
///
/// # Errors
/// It could not be written.
pub(crate) fn report_page(report: &Report) -> Result<String, askama::Error> {
    let page = ReportPage {
        report,
        since: moment(report.since),
        until: moment(report.until),
        made: moment(report.made),
        reader: visible(&report.reader),
        entries: counted(report.size, "entry", "entries"),
        tiles: overview::tiles(&report.overview),
        statements: overview::statements(&report.overview),
        labelled: overview::labelled(&report.overview),
        traffic: report
            .overview
            .traffic
            .iter()
            .take(SHOWN)
            .map(traffic)
            .collect(),
        traffic_cut: cut(report.overview.traffic.len(), report.overview.more_traffic),
        lists: report.lists.iter().map(list).collect(),
        engines: report.engines.iter().map(engine).collect(),
        problems: report.problems.iter().map(|one| visible(one)).collect(),
        more_problems: unlisted(report.more_problems),
    };
    page.render()
}

fn traffic(one: &Traffic) -> Vec<Html> {
    let amounts = [
        count(one.statements),
        count(one.rows),
        size(one.bytes),
        count(one.denials),
        count(one.holds),
    ];
    let names = [&one.identity, &one.target];
    let cells = names.into_iter().chain(&amounts);
    cells.map(|cell| visible(cell)).collect()
}

/// What of a list of so many rows is not on the page; `more` if the list was cut itself.
fn cut(rows: usize, more: bool) -> Option<String> {
    let left = rows.saturating_sub(SHOWN);
    match (left, more) {
        (0, false) => None,
        (0, true) => Some("There is more; the evidence has all of it.".to_owned()),
        (left, false) => Some(format!("{} more in report.json.", counted_rows(left))),
        (left, true) => Some(format!(
            "{} more in report.json, and more yet in the evidence.",
            counted_rows(left)
        )),
    }
}

fn list(answer: &Answer) -> List {
    let row = |cells: &Vec<String>| cells.iter().map(|cell| visible(cell)).collect();
    List {
        title: visible(&answer.title),
        columns: answer.columns.iter().map(|name| visible(name)).collect(),
        rows: answer.rows.iter().take(SHOWN).map(row).collect(),
        cut: cut(answer.rows.len(), answer.more),
    }
}

fn counted_rows(number: usize) -> String {
    counted(u64::try_from(number).unwrap_or(u64::MAX), "row", "rows")
}

fn engine(one: &Engine) -> EngineRow {
    EngineRow {
        name: visible(one.engine.as_str()),
        events: counted(one.events, "event", "events"),
        problems: count(one.problems),
    }
}
