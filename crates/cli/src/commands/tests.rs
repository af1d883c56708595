//! Claims about what people see.

mod channels;
mod server;

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{
    Body, ChunkBuilder, Column, Decision, Event, Identity, Outcome, RecordingChunk, Session,
    SessionId, Statement, StatementFinished, Stream, Timestamp,
};

use super::replay::{Pace, Player, Step};
use super::table::Screen;
use super::time::Moment;
use super::{events, text, values};

const SCREEN: Screen = Screen {
    width: 160,
    colour: false,
};
const BEGAN: u64 = 1_700_000_000_000_000;

fn session() -> Arc<Session> {
    Arc::new(Session {
        id: SessionId::new(5),
        identity: Arc::new(Identity::named("reporter")),
        target: Some("orders-db".into()),
        user: Some("app".into()),
        ..Session::default()
    })
}

fn event(micros: u64, body: impl Into<Body>) -> Event {
    Event {
        schema: 1,
        id: "e1-1-1".parse().unwrap(),
        time: Timestamp::from_micros(BEGAN + micros),
        session: Some(session()),
        body: body.into(),
    }
}

fn denied(sql: &str) -> Event {
    event(
        0,
        StatementFinished {
            statement: Statement {
                number: 3,
                text: Some(sql.into()),
                decision: Decision::Deny,
                rules: ["shop/no-blind-writes"].into_iter().collect(),
                reason: Some("no WHERE".into()),
                ..Statement::default()
            },
            outcome: Outcome::Denied,
            ..StatementFinished::default()
        },
    )
}

#[test]
fn a_shortened_text_says_how_much_is_hidden_and_fits() {
    assert_eq!(text::shorten("SELECT 1", 8), "SELECT 1");
    let long = "x".repeat(1500);
    let short = text::shorten(&long, 40);
    assert!(text::width(&short) <= 40, "{short}");
    assert!(short.ends_with("… (+1,470)"), "{short}");
    assert!(text::width(&text::shorten(&"漢".repeat(90), 31)) <= 31);
}

#[test]
fn what_is_to_be_pasted_is_one_word_and_runs_nothing() {
    assert_eq!(text::word("a/b+0f+AR/="), "'a/b+0f+AR/='");
    let hostile = "x'; rm -rf ~ #\u{1b}[2J\n+0";
    assert_eq!(text::word(hostile), "'x'\\''; rm -rf ~ #\\u{1b}[2J +0'");
}

#[test]
fn recorded_text_cannot_drive_the_terminal() {
    let sql = "SELECT '\u{1b}]0;pwned\u{7}' -- \u{202e}ev\u{200b}il\n, 2\t, 3";
    assert_eq!(
        text::one_line(sql),
        "SELECT '\\u{1b}]0;pwned\\u{7}' -- \\u{202e}ev\\u{200b}il ↵ , 2 , 3"
    );
    let two = "deploy  v1 # as asked \r\n rm -rf /srv\n";
    assert_eq!(text::one_line(two), "deploy v1 # as asked ↵ rm -rf /srv");
    assert_eq!(text::cell("a\u{61c}b"), "a\\u{61c}b");
    let kept = text::lines(sql);
    assert!(
        kept.contains("il\n, 2\t, 3") && !kept.contains('\u{1b}'),
        "{kept}"
    );
    for drawn in [
        events::render(&[denied(sql)], false, SCREEN),
        values::result_cell(Some(b"\x1b[2J"), None),
    ] {
        assert!(!drawn.contains('\u{1b}'), "{drawn}");
    }
}

#[test]
fn sizes_and_durations_are_in_units_people_use() {
    let sizes: Vec<String> = [0, 1023, 1024, 150 << 10, 1 << 20, 5 << 30]
        .into_iter()
        .map(text::size)
        .collect();
    assert_eq!(
        sizes,
        ["0 B", "1023 B", "1.0 KiB", "150 KiB", "1.0 MiB", "5.0 GiB"]
    );
    let durations: Vec<String> = [7, 1_500, 42_000, 2_300_000, 750_000_000, 7_260_000_000]
        .into_iter()
        .map(|micros| text::duration(Duration::from_micros(micros)))
        .collect();
    assert_eq!(
        durations,
        ["7 µs", "1.5 ms", "42 ms", "2.3 s", "12m 30s", "2h 01m"]
    );
    assert_eq!(text::grouped(1_234_567), "1,234,567");
}

#[test]
fn times_are_ages_dates_or_today() {
    let now = Timestamp::from_micros(BEGAN);
    let at = |text: &str| text.parse::<Moment>().unwrap().resolve(now).to_string();
    assert_eq!(at("15m"), "2023-11-14T21:58:20.000000Z");
    assert_eq!(at("today"), "2023-11-14T00:00:00.000000Z");
    assert_eq!(at("2023-01-02T03:04:05Z"), "2023-01-02T03:04:05.000000Z");
    for bad in ["", "m", "15", "yesterday", "15x", "-5m", "é"] {
        assert!(bad.parse::<Moment>().is_err(), "{bad}");
    }
}

#[test]
fn a_denial_is_found_by_the_audit_id_that_the_client_was_told() {
    let drawn = events::render(&[denied("DELETE\n  FROM orders")], false, SCREEN);
    let lines: Vec<&str> = drawn.lines().collect();
    assert_eq!(lines.len(), 2, "{drawn}");
    for part in [
        "0000000000005/3",
        "reporter",
        "denied",
        "shop/no-blind-writes",
        "DELETE ↵ FROM orders",
    ] {
        assert!(lines[1].contains(part), "{part} in {drawn}");
    }
    let column = lines[0].find("STATEMENT").unwrap();
    assert_eq!(lines[1].find("DELETE"), Some(column), "{drawn}");
}

#[test]
fn no_line_wraps_on_any_usual_screen() {
    let events = [
        denied(&"SELECT a_long_name, ".repeat(40)),
        denied("SELECT 1"),
    ];
    for width in [80, 100, 120, 160, 240] {
        let drawn = events::render(
            &events,
            false,
            Screen {
                width,
                colour: false,
            },
        );
        for line in drawn.lines() {
            assert!(text::width(line) <= width, "{width}: {line}");
            assert_eq!(line.trim_end(), line);
        }
        assert!(drawn.contains("shop/no-blind-writes"), "{drawn}");
        assert!(drawn.contains("… (+"), "{drawn}");
    }
}

fn column(name: &str, type_id: u32, binary: bool, masked: bool) -> Column {
    Column {
        name: name.into(),
        type_id,
        binary,
        masked,
    }
}

fn chunk(offset_ms: u32, index: u32, rows: &[[Option<&[u8]>; 2]]) -> RecordingChunk {
    let mut builder = ChunkBuilder::new(1 << 16);
    for row in rows {
        builder.push_row(row.iter().copied());
    }
    let columns: Arc<[Column]> = [
        column("id", 23, true, false),
        column("ssn", 25, false, true),
    ]
    .into();
    RecordingChunk {
        statement: 1,
        index,
        offset_ms,
        stream: Stream::Result,
        columns: (index == 0).then_some(columns),
        rows: builder.take(),
    }
}

fn played(speed: Option<f64>) -> Vec<Step> {
    let finished = StatementFinished {
        statement: Statement {
            number: 1,
            text: Some("SELECT id, ssn\nFROM customers".into()),
            ..Statement::default()
        },
        outcome: Outcome::Completed,
        rows: 3,
        masked: ["ssn"].into_iter().collect(),
        duration_us: 2_000_000,
        ..StatementFinished::default()
    };
    let first: [[Option<&[u8]>; 2]; 2] = [
        [Some(&[0, 0, 0, 7]), Some(b"***-1001")],
        [Some(&[0, 0, 1, 0]), None],
    ];
    let mut steps = Vec::new();
    let mut player = Player::new(
        SCREEN,
        Pace {
            speed,
            ..Pace::default()
        },
    );
    for event in [
        event(0, weir_audit::ConnectionOpened::default()),
        event(1_500_000, chunk(500, 0, &first)),
        event(
            2_500_000,
            chunk(1_500, 1, &[[Some(&[0, 0, 0, 9]), Some(b"x")]]),
        ),
        event(3_000_000, finished),
    ] {
        // As it comes from the API.
        let event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        player
            .event(event, &mut |step| {
                steps.push(step);
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(player.rest(), "");
    steps
}

#[test]
fn a_replay_shows_statement_then_result_as_the_client_saw_it() {
    let text: String = played(None)
        .into_iter()
        .map(|step| match step {
            Step::Show(text) => text,
            Step::Wait(time) => panic!("waits {time:?}"),
        })
        .collect();
    let wanted = "\
+00:00:00.000  opened  reporter · orders-db, database ?, user app

+00:00:01.000  #1  masked
  SELECT id, ssn
  FROM customers
   id │ ssn (masked)
 ─────┼──────────────
    7 │ ***-1001
  256 │ null
    9 │ x
(completed, 3 rows in 2.0 s)
";
    assert_eq!(text, wanted);
}

#[test]
fn a_replay_keeps_the_recorded_pace_times_its_factor() {
    let waits: Vec<u128> = played(Some(10.0))
        .into_iter()
        .filter_map(|step| match step {
            Step::Wait(time) => Some(time.as_millis()),
            Step::Show(_) => None,
        })
        .collect();
    assert_eq!(waits, [100, 50, 100, 50]);
}

#[test]
fn copy_data_is_shown_as_it_is() {
    let mut builder = ChunkBuilder::new(1 << 16);
    for line in ["1\tone\n", "2\ttwo\n"] {
        builder.push_row([Some(line.as_bytes())]);
    }
    let chunk = RecordingChunk {
        statement: 1,
        stream: Stream::CopyOut,
        rows: builder.take(),
        ..RecordingChunk::default()
    };
    let mut player = Player::new(SCREEN, Pace::default());
    player.event(event(0, chunk), &mut |_| Ok(())).unwrap();
    let rest = player.rest();
    assert!(rest.contains("statement 1 has not ended"), "{rest}");
    assert!(rest.ends_with("1\tone\n2\ttwo\n"), "{rest}");
}

#[test]
fn common_binary_values_are_readable() {
    let shown = |type_id, bytes: &[u8]| {
        values::result_cell(Some(bytes), Some(&column("c", type_id, true, false)))
    };
    assert_eq!(shown(16, &[1]), "t");
    assert_eq!(shown(20, &(-5i64).to_be_bytes()), "-5");
    assert_eq!(shown(1082, &1i32.to_be_bytes()), "2000-01-02");
    assert_eq!(shown(1082, &(-746_000_i32).to_be_bytes()), "-000043-07-10");
    assert_eq!(
        shown(1184, &1_000_000i64.to_be_bytes()),
        "2000-01-01 00:00:01+00"
    );
    assert_eq!(
        shown(2950, &[0x11; 16]),
        "11111111-1111-1111-1111-111111111111"
    );
    assert_eq!(shown(23, &[1]), "\\x01", "a wrong length is shown as it is");
    assert_eq!(shown(17, &[0xde, 0xad]), "\\xdead");
}
