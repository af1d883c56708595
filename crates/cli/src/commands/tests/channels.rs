//! Claims about shells, commands and files in `replay` and `query`.

use std::time::Duration;

use serde_json::{Value as Json, json};
use weir_audit::{ChannelRecorder, Digest, FileTransferred, Value};

use weir_collector::exports::asciicast::{CastError, Export, Version};

use super::super::connect::Failure;
use super::super::replay::{Pace, Player, Step};
use super::*;

fn finished(number: u64, command: &str, text: Option<&str>, outcome: Outcome) -> Event {
    let finished = StatementFinished {
        statement: Statement {
            number,
            command: Some(command.into()),
            text: text.map(Into::into),
            parameters: vec![Value::text(b"TERM=xterm")],
            ..Statement::default()
        },
        outcome,
        bytes: 2048,
        duration_us: 10_000_000,
        ..StatementFinished::default()
    };
    event(10_000_000, finished)
}

/// A shell of ten seconds, most of which nobody typed.
fn shell(number: u64) -> Vec<Event> {
    let mut channel = ChannelRecorder::new(number, 1 << 20, true);
    channel.resize(0, 100, 30);
    channel.output(100, b"\x1b[1m$ \x1b[0m");
    channel.input(600, b"ls\r");
    channel.output(650, b"ls\r\n\xe2\x82");
    channel.output(700, b"\xac\x1b]52;c;eA==\x07\r\n$ ");
    channel.resize(800, 120, 40);
    channel.output(9_700, b"exit\r\n");
    let chunks = channel.finish().into_iter();
    let mut events: Vec<Event> = chunks.map(|chunk| event(9_800_000, chunk)).collect();
    events.push(finished(number, "shell", None, Outcome::exited(3)));
    events
}

fn steps(events: Vec<Event>, pace: Pace) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut player = Player::new(SCREEN, pace);
    for event in events {
        // As it comes from the API.
        let event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        let take = &mut |step| {
            steps.push(step);
            Ok(())
        };
        player.event(event, take).unwrap();
    }
    assert_eq!(player.rest(), "");
    steps
}

fn shown(steps: &[Step]) -> String {
    let text = |step: &Step| match step {
        Step::Show(text) => text.clone(),
        Step::Wait(_) => String::new(),
    };
    steps.iter().map(text).collect()
}

fn waits(steps: &[Step]) -> Vec<u128> {
    let wait = |step: &Step| match step {
        Step::Wait(time) => Some(time.as_millis()),
        Step::Show(_) => None,
    };
    steps.iter().filter_map(wait).collect()
}

#[test]
fn a_shell_is_text_where_no_terminal_is() {
    let steps = steps(shell(2), Pace::default());
    assert_eq!(waits(&steps), [0u128; 0], "nobody waits for a file");
    let wanted = "
+00:00:00.000  #2  permitted
  shell
  TERM=xterm
(terminal 100x30)
$ ls

€
$ 
(terminal 120x40)
exit
(exit 3, 2.0 KiB in 10 s)
";
    let text = shown(&steps);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let squeezed = |text: &str| text.replace("\n\n", "\n");
    assert_eq!(squeezed(&text).trim(), squeezed(wanted).trim(), "{text}");
}

#[test]
fn a_shell_draws_on_a_terminal_at_its_own_speed_and_gives_it_back() {
    let raw = Pace {
        raw: true,
        ..Pace::default()
    };
    let played = steps(shell(2), raw);
    // Unasked: as it was, but nobody sits out the nine seconds.
    assert_eq!(waits(&played), [100, 550, 50, 2_000]);
    let text = shown(&played);
    assert!(
        text.contains("\u{1b}[1m$ \u{1b}[0mls\r\n€\r\n$ exit\r\n"),
        "{text:?}"
    );
    assert!(!text.contains("52;c"), "{text:?}");
    let restored = text.find(super::super::terminal::RESTORE).unwrap();
    assert!(text[restored..].contains("exit 3"), "{text:?}");
    let twice = Pace {
        speed: Some(2.0),
        max_idle: Some(Duration::from_millis(300)),
        raw: true,
    };
    assert_eq!(waits(&steps(shell(2), twice)), [50, 275, 25, 300]);
}

#[test]
fn a_commands_streams_are_told_apart_and_what_is_missing_is_said() {
    let mut channel = ChannelRecorder::new(4, 14, false);
    channel.output(1, b"one\n");
    channel.errors(2, b"\x1b]0;x\x07\n");
    channel.output(3, b"two");
    channel.output(4, b" and more");
    let mut events: Vec<Event> = channel.finish().into_iter().map(|c| event(0, c)).collect();
    events.push(finished(
        4,
        "exec",
        Some("make all"),
        Outcome::killed("TERM"),
    ));
    let text = shown(&steps(events, Pace::default()));
    let wanted = "  make all
  TERM=xterm
one
── stderr
\\u{1b}]0;x\\u{7}
── stdout
two
(more followed than was recorded)
(signal TERM, 2.0 KiB in 10 s)
";
    assert!(text.ends_with(wanted), "{text}");
}

fn file(path: &str, digest: Option<Digest>, offset: u64, complete: bool) -> Event {
    let file = FileTransferred {
        statement: 5,
        path: path.into(),
        offset,
        bytes: 1 << 20,
        sha256: digest,
        complete,
        ..FileTransferred::default()
    };
    event(1_000, file)
}

#[test]
fn files_are_listed_with_size_and_digest() {
    let digest = Digest([0xab; 32]);
    let whole = file("/srv/a\u{1b}b", Some(digest), 0, true);
    let part = file("/srv/c", None, 4096, false);
    let drawn = events::render(&[whole.clone(), part.clone()], false, SCREEN);
    for part in [
        "0000000000005/5",
        "download",
        "1.0 MiB",
        &digest.to_string(),
        "/srv/a\\u{1b}b\n",
        "/srv/c (from byte 4,096, not to its end)\n",
    ] {
        assert!(drawn.contains(part), "{part} in {drawn}");
    }
    let replayed = shown(&steps(vec![whole, part], Pace::default()));
    assert!(
        replayed.contains(&format!("1.0 MiB by sftp, SHA-256 {digest}\n")),
        "{replayed}"
    );
}

#[test]
fn what_ssh_asks_for_is_said_with_its_path() {
    let asked = |command: &str, text: Option<&str>| {
        let event = finished(1, command, text, Outcome::Completed);
        let drawn = events::render(&[event], false, SCREEN);
        let line = drawn.lines().nth(1).unwrap().to_owned();
        assert!(line.contains("2.0 KiB"), "{line}");
        line
    };
    assert!(asked("sftp read", Some("/etc/passwd")).ends_with("sftp read /etc/passwd"));
    assert!(asked("exec", Some("id -u")).ends_with("  id -u"));
    assert!(asked("shell", None).ends_with("  shell"));
}

fn exported(events: Vec<Event>, only: Option<u64>) -> Result<Vec<Json>, CastError> {
    exported_as(Version::V3, events, only)
}

fn exported_as(
    version: Version,
    events: Vec<Event>,
    only: Option<u64>,
) -> Result<Vec<Json>, CastError> {
    let mut export = Export::new(only);
    for event in events {
        export.event(event).unwrap();
    }
    let cast = export.cast(version)?;
    Ok(cast
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect())
}

#[test]
fn a_shell_becomes_an_asciicast() {
    let lines = exported(shell(2), None).unwrap();
    let header = json!({
        "version": 3, "term": {"cols": 100, "rows": 30, "type": "xterm"},
        "timestamp": 1_700_000_000,
        "title": "reporter as app on orders-db, session 0000000000005",
    });
    assert_eq!(lines[0], header);
    let wanted = [
        json!([0.1, "o", "\u{1b}[1m$ \u{1b}[0m"]),
        json!([0.5, "i", "ls\r"]),
        json!([0.05, "o", "ls\r\n"]),
        json!([0.05, "o", "€\u{1b}]52;c;eA==\u{7}\r\n$ "]),
        json!([0.1, "r", "120x40"]),
        json!([8.9, "o", "exit\r\n"]),
        json!([0.3, "x", "3"]),
    ];
    assert_eq!(lines[1..], wanted);
}

#[test]
fn older_players_get_the_time_since_the_beginning() {
    let lines = exported_as(Version::V2, shell(2), None).unwrap();
    let header = json!({
        "version": 2, "width": 100, "height": 30, "env": {"TERM": "xterm"},
        "timestamp": 1_700_000_000,
        "title": "reporter as app on orders-db, session 0000000000005",
    });
    assert_eq!(lines[0], header);
    let wanted = [
        json!([0.1, "o", "\u{1b}[1m$ \u{1b}[0m"]),
        json!([0.6, "i", "ls\r"]),
        json!([0.65, "o", "ls\r\n"]),
        json!([0.7, "o", "€\u{1b}]52;c;eA==\u{7}\r\n$ "]),
        json!([0.8, "r", "120x40"]),
        json!([9.7, "o", "exit\r\n"]),
    ];
    assert_eq!(lines[1..], wanted);
}

#[test]
fn an_export_is_of_one_terminal() {
    let mut both = shell(2);
    both.extend(shell(6));
    let refused = Failure::from(exported(both.clone(), None).unwrap_err()).to_string();
    assert!(refused.ends_with("SESSION/NUMBER: 2, 6"), "{refused}");
    assert_eq!(exported(both, Some(6)).unwrap().len(), 8);
    let refused = Failure::from(exported(shell(2), Some(3)).unwrap_err()).to_string();
    assert!(refused.contains("nothing of a terminal"), "{refused}");
}

#[test]
fn a_command_without_a_terminal_can_be_exported_by_its_number() {
    let command = || {
        let mut channel = ChannelRecorder::new(4, 1 << 20, false);
        channel.output(1_000, b"a\nb\n");
        channel.errors(1_500, b"c\n");
        let mut events: Vec<Event> = channel.finish().into_iter().map(|c| event(0, c)).collect();
        events.push(finished(4, "exec", Some("make"), Outcome::Completed));
        events
    };
    assert!(exported(command(), None).is_err());
    let lines = exported(command(), Some(4)).unwrap();
    assert_eq!(lines[0]["command"], "make");
    assert_eq!(lines[0]["term"]["cols"], 80);
    let wanted = [
        json!([1.0, "o", "a\r\nb\r\n"]),
        json!([0.5, "o", "c\r\n"]),
        json!([8.5, "x", "0"]),
    ];
    assert_eq!(lines[1..], wanted);
}
