//! `query --saw`: who was given a value, which the store does not hold.
//!
//! The value goes to the collector in a body, never in an address, and is not written anywhere. With `-` it
//! is a line of standard input, so that it is in no history of commands and no list of processes.

use std::io::BufRead as _;

use serde_json::value::RawValue;
use weir_collector::client::path_with;
use weir_collector::{Saw, SawPerhaps};

use crate::cluster::Home;

use super::connect::{Connect, Failure, Form, document, parsed, write};
use super::table::{Column, Screen, draw};
use super::text::{grouped, one_line};
use super::time::{Moment, now, shown};

const BY: [Column; 6] = [
    Column::text("IDENTITY"),
    Column::text("NAMESPACE"),
    Column::text("AS"),
    Column::number("STATEMENTS"),
    Column::text("FIRST (UTC)"),
    Column::text("LAST (UTC)"),
];

const IN: [Column; 5] = [
    Column::text("TIME (UTC)"),
    Column::text("AUDIT ID"),
    Column::text("IDENTITY"),
    Column::text("AS"),
    Column::detail("TARGET"),
];

/// What is asked.
pub(super) struct Asked {
    /// The value, or `-`.
    pub(super) value: String,
    pub(super) label: Option<String>,
    pub(super) since: Option<Moment>,
    pub(super) until: Option<Moment>,
}

pub(super) async fn saw(asked: Asked, connect: &Connect, home: Home) -> Result<(), Failure> {
    let value = match asked.value.as_str() {
        "-" => line(std::io::stdin().lock())?,
        _ => asked.value,
    };
    let source = connect.source(home).await?;
    let time = |time: Option<Moment>| time.map(|time| time.resolve(now()).to_string());
    let path = path_with(
        "/v1/saw",
        &[
            ("since", time(asked.since)),
            ("until", time(asked.until)),
            ("label", asked.label),
            ("namespace", connect.namespace()),
        ],
    );
    let body = serde_json::json!({ "value": value });
    let answer: Box<RawValue> = source.post(&path, &body).await?;
    let text = match connect.output {
        Form::Table => render(&parsed(&answer)?, Screen::of_stdout()),
        Form::Csv => return Err(Failure::NoTable),
        form => document(&parsed::<serde_json::Value>(&answer)?, form)?,
    };
    write(&text)
}

/// The first line that is read.
fn line(mut input: impl std::io::BufRead) -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::Read::take(&mut input, 64 << 10).read_line(&mut text);
    read.map_err(|error| Failure::Input(error.to_string()))?;
    Ok(text)
}

fn render(saw: &Saw, screen: Screen) -> String {
    if saw.labels.is_empty() {
        return "fingerprints of no label are kept: see spec.audit.fingerprints of policies\n"
            .to_owned();
    }
    let mut out = String::new();
    if saw.identities.is_empty() {
        let labels: Vec<String> = saw.labels.iter().map(|label| one_line(label)).collect();
        out.push_str(&format!(
            "nobody was given it, as far as fingerprints of {} are kept\n",
            labels.join(", ")
        ));
    } else {
        let by = saw.identities.iter().map(|by| {
            vec![
                one_line(&by.identity).into(),
                one_line(by.namespace.as_deref().unwrap_or_default()).into(),
                one_line(&by.labels.join(", ")).into(),
                grouped(by.statements).into(),
                shown(by.first).into(),
                shown(by.last).into(),
            ]
        });
        out.push_str(&draw(&BY, &by.collect::<Vec<_>>(), screen));
        out.push('\n');
        let statements = saw.statements.iter().map(|seen| {
            vec![
                shown(seen.time).into(),
                format!("{}/{}", seen.session, seen.statement).into(),
                one_line(&seen.identity).into(),
                one_line(&seen.label).into(),
                one_line(seen.target.as_deref().unwrap_or_default()).into(),
            ]
        });
        out.push_str(&draw(&IN, &statements.collect::<Vec<_>>(), screen));
        let listed = saw.statements.len() as u64;
        let all: u64 = saw.identities.iter().map(|by| by.statements).sum();
        if saw.more {
            out.push_str("… and more than could be counted: numbers are a least\n");
        } else if all > listed {
            out.push_str("… and older ones: see --until\n");
        }
    }
    for perhaps in &saw.perhaps {
        out.push_str(&told(perhaps));
    }
    if saw.left_out > 0 {
        let others = grouped(saw.left_out);
        out.push_str(&format!(
            "not looked at: fingerprints of {others} more labels, which --label can name\n"
        ));
    }
    out
}

/// What the answer cannot say.
fn told(perhaps: &SawPerhaps) -> String {
    let mut why = Vec::new();
    if perhaps.beyond > 0 {
        why.push(format!(
            "{} beyond what is kept of one statement",
            grouped(perhaps.beyond)
        ));
    }
    if perhaps.uncertain > 0 {
        why.push(format!(
            "{} computed, or without one text",
            grouped(perhaps.uncertain)
        ));
    }
    format!(
        "perhaps {} too: {} of its statements gave values that no fingerprint stands for ({})\n",
        one_line(&perhaps.identity),
        grouped(perhaps.statements),
        why.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(text: serde_json::Value) -> Saw {
        serde_json::from_value(text).unwrap()
    }

    fn screen() -> Screen {
        Screen {
            width: 120,
            colour: false,
        }
    }

    #[test]
    fn an_answer_says_who_and_what_it_cannot_say() {
        let answer = saw(serde_json::json!({
            "labels": ["pii.ssn"],
            "identities": [{"identity": "agent", "labels": ["pii.ssn"], "statements": 2, "sessions": 1,
                "first": "2026-11-28T05:00:00Z", "last": "2026-11-28T05:10:00Z"}],
            "statements": [{"time": "2026-11-28T05:10:00Z", "identity": "agent", "label": "pii.ssn",
                "session": weir_audit::SessionId::new(7), "statement": 3, "target": "shop"}],
            "perhaps": [{"identity": "other", "statements": 1, "beyond": 40, "uncertain": 2,
                "first": "2026-11-28T05:00:00Z", "last": "2026-11-28T05:00:00Z"}],
        }));
        let text = render(&answer, screen());
        assert!(text.contains("agent") && text.contains("/3"), "{text}");
        assert!(text.contains("older ones"), "{text}");
        assert!(
            text.contains("perhaps other too") && text.contains("40 beyond"),
            "{text}"
        );
    }

    #[test]
    fn nobody_is_said_as_far_as_it_is_known() {
        let nobody = saw(serde_json::json!({
            "labels": ["pii.ssn"], "identities": [], "statements": [], "perhaps": []}));
        assert!(render(&nobody, screen()).starts_with("nobody was given it, as far as"));
        assert!(!render(&nobody, screen()).contains("not looked at"));
        let some = Saw {
            left_out: 1200,
            ..nobody
        };
        assert!(render(&some, screen()).contains("1,200 more labels"));
        assert!(render(&Saw::default(), screen()).contains("spec.audit.fingerprints"));
    }

    #[test]
    fn a_value_is_a_line_of_standard_input() {
        assert_eq!(line(&b"805-36-9215\nmore\n"[..]).unwrap(), "805-36-9215\n");
    }
}
