//! `questions` and `ask`: what auditors ask again and again, answered as a table.

use serde::Deserialize;
use weir_collector::client::path_with;
use weir_collector::{About, Answer, csv};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, write};
use super::engine::PlainArgs;
use super::table::{Cell, Column, Screen, draw};
use super::text::one_line;
use super::time::{Moment, now};

/// Arguments of `weir ask`.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
    /// The question: see `weir questions`
    #[arg(value_name = "NAME", value_parser = about)]
    about: About,
    /// From the day of this time (UTC): RFC 3339, an age such as 7d, or today
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// To the day before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Data of this label; pii.* is all below pii
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// This identity; of who-read-evidence, this reader
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// This target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Decided by this person
    #[arg(long, value_name = "NAME")]
    approver: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    #[command(flatten)]
    connect: Connect,
}

fn about(text: &str) -> Result<About, String> {
    text.parse().map_err(|_| {
        let names: Vec<&str> = About::ALL.iter().map(|about| about.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[derive(Deserialize)]
struct Listed {
    questions: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    title: String,
    parameters: Vec<String>,
}

pub(super) async fn list(args: PlainArgs, home: Home) -> Result<(), Failure> {
    let client = args.connect.source(home).await?;
    let listed: Listed = client.get("/v1/questions").await?;
    if args.connect.output != Form::Table {
        return write(&document(&listed.questions, args.connect.output)?);
    }
    let questions = listed.questions.into_iter().filter_map(|question| {
        let question: Described = serde_json::from_value(question).ok()?;
        Some(vec![
            Cell::from(one_line(&question.name)),
            one_line(&question.title).into(),
            one_line(&question.parameters.join(", ")).into(),
        ])
    });
    let columns = [
        Column::text("NAME"),
        Column::text("QUESTION"),
        Column::text("NARROWED BY"),
    ];
    let rows: Vec<Vec<Cell>> = questions.collect();
    write(&draw(&columns, &rows, Screen::of_stdout()))
}

pub(super) async fn ask(args: AskArgs, home: Home) -> Result<(), Failure> {
    let (client, now) = (args.connect.source(home).await?, now());
    let time = |time: Option<Moment>| time.map(|time| time.resolve(now).to_string());
    let path = path_with(
        &format!("/v1/questions/{}", args.about),
        &[
            ("since", time(args.since)),
            ("until", time(args.until)),
            ("label", args.label),
            ("identity", args.identity),
            ("target", args.target),
            ("approver", args.approver),
            ("namespace", args.connect.namespace()),
            ("limit", Some(args.limit.to_string())),
        ],
    );
    let answer: Answer = client.get(&path).await?;
    write(&match args.connect.output {
        Form::Table => render(&answer, Screen::of_stdout()),
        Form::Csv => csv::answer(&answer),
        form => document(&answer, form)?,
    })
}

/// Columns of figures.
const NUMBERS: [&str; 9] = [
    "statements",
    "rows",
    "masked rows",
    "bytes",
    "denied",
    "held",
    "would deny",
    "engines",
    "waited ms",
];

/// The answer as a table; columns in which nothing is said are left out.
fn render(answer: &Answer, screen: Screen) -> String {
    let title = one_line(&answer.title);
    if answer.rows.is_empty() {
        return format!("{title}: nothing\n");
    }
    let said: Vec<usize> = (0..answer.columns.len())
        .filter(|at| {
            let mut cells = answer.rows.iter().filter_map(|row| row.get(*at));
            cells.any(|cell| !cell.is_empty())
        })
        .collect();
    let titles: Vec<String> = answer
        .columns
        .iter()
        .map(|name| name.to_uppercase())
        .collect();
    let columns: Vec<Column<'_>> = said
        .iter()
        .filter_map(|at| {
            let title = titles.get(*at)?;
            let number = NUMBERS.contains(&answer.columns.get(*at)?.as_str());
            Some(if number {
                Column::number(title)
            } else {
                Column::text(title)
            })
        })
        .collect();
    let rows: Vec<Vec<Cell>> = answer
        .rows
        .iter()
        .map(|row| {
            let cells = said.iter().filter_map(|at| row.get(*at));
            cells.map(|cell| Cell::from(one_line(cell))).collect()
        })
        .collect();
    let mut out = format!("{title}\n");
    out.push_str(&draw(&columns, &rows, screen));
    if answer.more {
        out.push_str("… and more: see --limit\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_text_cannot_drive_the_terminal_and_empty_columns_are_left_out() {
        let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let answer = Answer {
            title: "What".into(),
            columns: cells(&["identity", "namespace", "rows"]),
            rows: vec![cells(&["a\u{1b}[2Jb", "", "7"])],
            more: true,
        };
        let screen = Screen {
            width: 80,
            colour: false,
        };
        let shown = render(&answer, screen);
        assert!(
            !shown.contains('\u{1b}') && !shown.contains("NAMESPACE"),
            "{shown}"
        );
        assert!(
            shown.contains("ROWS") && shown.contains("… and more"),
            "{shown}"
        );
    }

    #[test]
    fn every_question_of_the_collector_can_be_asked() {
        for question in About::ALL {
            assert_eq!(about(question.name()), Ok(question));
        }
        assert!(about("who").unwrap_err().contains("who-read-label"));
    }
}
