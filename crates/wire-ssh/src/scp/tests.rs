//! Claims about scp, on what OpenSSH's own scp sends.

use super::*;

/// `scp -r -p -f` of a directory with two files.
const TREE: &[u8] =
    b"T1700000000 0 1700000001 0\nD0755 0 data\nC0644 5 a\nhello\0C0600 0 empty file\n\0E\n";

fn all(chunks: &[&[u8]]) -> Result<Vec<Event>, ProtocolError> {
    let (mut sender, mut events) = (Sender::new(false), Vec::new());
    for chunk in chunks {
        sender.feed(chunk, &mut events)?;
    }
    assert!(sender.is_between_files() || chunks.is_empty());
    Ok(events)
}

#[test]
fn a_tree_is_files_in_directories() {
    let events = all(&[TREE]).expect("scp");
    let expected = [
        Event::Times,
        Event::Directory {
            path: b"data".to_vec(),
            mode: 0o755,
        },
        Event::File {
            path: b"data/a".to_vec(),
            mode: 0o644,
            size: 5,
        },
        Event::Data(50..55),
        Event::FileEnd { complete: true },
        Event::File {
            path: b"data/empty file".to_vec(),
            mode: 0o600,
            size: 0,
        },
        Event::FileEnd { complete: true },
        Event::DirectoryEnd,
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_byte_at_a_time_says_the_same() {
    let whole: Vec<Event> = all(&[TREE])
        .expect("scp")
        .into_iter()
        .filter(|e| !matches!(e, Event::Data(_)))
        .collect();
    let chunks: Vec<&[u8]> = TREE.chunks(1).collect();
    let bytes = all(&chunks).expect("scp");
    let data = bytes
        .iter()
        .filter(|event| matches!(event, Event::Data(_)))
        .count();
    assert_eq!(data, 5);
    let rest: Vec<Event> = bytes
        .into_iter()
        .filter(|e| !matches!(e, Event::Data(_)))
        .collect();
    assert_eq!(rest, whole);
}

#[test]
fn data_that_looks_like_messages_is_data() {
    let events = all(&[b"C0644 12 x\nC0644 1 y\n\0\0\0"]).expect("scp");
    assert_eq!(events.len(), 3);
    assert_eq!(events.get(1), Some(&Event::Data(11..23)));
}

#[test]
fn a_file_that_could_not_be_read_is_not_complete() {
    let events = all(&[b"C0644 2 x\nab\x01scp: x: Input/output error\n\x02gone\n"]).expect("scp");
    assert_eq!(events.get(2), Some(&Event::FileEnd { complete: false }));
    assert!(matches!(
        events.get(3),
        Some(Event::Message { fatal: false, .. })
    ));
    assert!(matches!(
        events.get(4),
        Some(Event::Message { fatal: true, .. })
    ));
}

#[test]
fn what_scp_does_not_say_is_an_error() {
    for bad in [
        &b"C0644 5 ../x\n"[..],
        b"C0644 5 a/b\n",
        b"C0644 5 ..\n",
        b"C0644 5 \n",
        b"C0644 5\n",
        b"C0644 -5 x\n",
        b"C0644 99999999999999999999999 x\n",
        b"C99999 5 x\n",
        b"C0888 5 x\n",
        b"D0755 0 .\n",
        b"E\n",
        b"Ex\n",
        b"T1 0 1\n",
        b"T1 0 1 x\n",
        b"\n",
        b"X\n",
        b"C0644 1 x\nab",
    ] {
        let mut sender = Sender::new(false);
        assert!(
            sender.feed(bad, &mut Vec::new()).is_err(),
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
    let long = vec![b'C'; MAX_LINE + 2];
    assert!(Sender::new(false).feed(&long, &mut Vec::new()).is_err());
    let deep = b"D0755 0 d\n".repeat(MAX_DEPTH + 1);
    assert!(Sender::new(false).feed(&deep, &mut Vec::new()).is_err());
}

fn file(path: &str, size: u64) -> Event {
    Event::File {
        path: path.into(),
        mode: 0o644,
        size,
    }
}

#[test]
fn no_content_follows_a_file_that_the_client_does_not_want() {
    let (mut sender, mut events) = (Sender::new(false), Vec::new());
    sender.answers(b"\0").expect("the first answer");
    sender.feed(b"C0644 50 a\n", &mut events).expect("a file");
    sender.answers(b"\x01not").expect("half of an error");
    sender.answers(b" now\n").expect("the rest of it");
    sender
        .feed(b"C0644 3 key\n", &mut events)
        .expect("the next");
    sender.answers(b"\0").expect("an answer");
    sender.feed(b"abc\0", &mut events).expect("its content");
    let end = |complete| Event::FileEnd { complete };
    let expected = [
        file("a", 50),
        end(false),
        file("key", 3),
        Event::Data(0..3),
        end(true),
    ];
    assert_eq!(events, expected);
}

#[test]
fn answers_that_come_early_are_about_what_comes_later() {
    let (mut sender, mut events) = (Sender::new(false), Vec::new());
    sender.answers(b"\0\0\0\0\x01no\n\0\0").expect("answers");
    let stream = b"D0755 0 d\nC0644 1 a\nx\0C0644 9 b\nC0644 1 c\nx\0E\n";
    sender.feed(stream, &mut events).expect("scp");
    assert_eq!(events.get(4), Some(&file("d/b", 9)));
    assert_eq!(events.get(5), Some(&Event::FileEnd { complete: false }));
    assert_eq!(events.get(6), Some(&file("d/c", 1)));
    assert_eq!(events.last(), Some(&Event::DirectoryEnd));
}

/// A client's stream, and what was read of it.
fn upload(sender: &mut Sender, bytes: &[u8]) -> (usize, Vec<Event>) {
    let mut events = Vec::new();
    let read = sender.feed(bytes, &mut events).expect("scp");
    (read, events)
}

#[test]
fn what_a_client_sends_is_read_as_far_as_it_was_answered() {
    let mut sender = Sender::new(true);
    assert_eq!(upload(&mut sender, b"C0644 2 a\nxy\0"), (0, Vec::new()));
    sender.answers(b"\0").expect("the first answer");
    assert_eq!(
        upload(&mut sender, b"C0644 2 a\nxy\0"),
        (10, vec![file("a", 2)])
    );
    assert!(sender.is_waiting());
    sender.answers(b"\0").expect("it may come");
    let expected = vec![Event::Data(0..2), Event::FileEnd { complete: true }];
    assert_eq!(upload(&mut sender, b"xy\0C0644"), (3, expected));
}

#[test]
fn what_follows_a_file_that_the_server_refused_is_no_content_of_it() {
    let mut sender = Sender::new(true);
    sender.answers(b"\0").expect("the first answer");
    let (read, _) = upload(&mut sender, b"C0644 17 a\nC0644 3 secret\nabc\0");
    assert_eq!(read, 11);
    sender
        .answers(b"\x01scp: a: Is a directory\n")
        .expect("an error");
    let (read, events) = upload(&mut sender, b"C0644 3 secret\nabc\0");
    assert_eq!(read, 15);
    assert_eq!(
        events,
        [Event::FileEnd { complete: false }, file("secret", 3)]
    );
}

#[test]
fn nothing_lies_in_a_directory_that_was_refused() {
    for waits in [true, false] {
        let mut sender = Sender::new(waits);
        sender.answers(b"\0").expect("the first answer");
        upload(&mut sender, b"D0755 0 d\n");
        sender
            .answers(b"\x01scp: d: Not a directory\n")
            .expect("an error");
        assert_eq!(upload(&mut sender, b"C0644 1 f\n").1, [file("f", 1)]);
    }
}

#[test]
fn an_answer_to_nothing_ends_what_a_client_sends() {
    let mut sender = Sender::new(true);
    sender.answers(b"\0\0").expect("one too many");
    assert!(sender.feed(b"C0644 1 f\n", &mut Vec::new()).is_err());
}

#[test]
fn what_a_peer_would_take_for_two_is_an_error() {
    let text = [b"\x01".as_slice(), &vec![b'x'; MAX_LINE + 1]].concat();
    assert!(Sender::new(false).answers(&text).is_err());
    let mut sender = Sender::new(true);
    sender.answers(b"\0").expect("the first answer");
    assert!(sender.feed(&text, &mut Vec::new()).is_err());
    // A server's words are for people only.
    assert!(Sender::new(false).feed(&text, &mut Vec::new()).is_ok());
    assert!(Sender::new(true).answers(&text).is_ok());
    let early = b"\0\x01\n".repeat(MAX_EARLY);
    assert!(Sender::new(false).answers(&early).is_err());
}

#[test]
fn a_path_that_may_lie_anywhere_is_relative() {
    for (text, expected) in [
        ("~", "."),
        ("~/a", "a"),
        ("~//etc/a", "etc/a"),
        ("~root/.profile", ".profile"),
        ("~root", "*"),
        ("/run/../etc/shadow", "etc/shadow"),
        ("/run/x/..", "*"),
        ("../../etc/shadow", "../../etc/shadow"),
        ("/../etc/shadow", "/etc/shadow"),
        ("/etc/./shadow", "/etc/shadow"),
    ] {
        assert_eq!(String::from_utf8_lossy(&path(text)), expected, "{text}");
    }
}

fn lies(asked: &[&str], sends: bool, announced: &str) -> Vec<String> {
    let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
    let places = places(&asked, sends, announced.as_bytes());
    let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    places.iter().map(text).collect()
}

#[test]
fn a_file_lies_where_the_command_says() {
    assert_eq!(lies(&["/etc/shadow"], true, "shadow"), ["/etc/shadow"]);
    assert_eq!(lies(&["~/a/../b"], true, "b"), ["b"]);
    assert_eq!(lies(&["/srv/data"], true, "data/x/y"), ["/srv/data/x/y"]);
    assert_eq!(lies(&["/a/x*.txt", "/b/y"], true, "x1.txt"), ["/a/x1.txt"]);
    assert_eq!(lies(&["/a/f", "/b/f"], true, "f"), ["/a/f", "/b/f"]);
    assert_eq!(lies(&["/srv/up"], false, "f"), ["/srv/up", "/srv/up/f"]);
    assert_eq!(
        lies(&["/srv/up"], false, "tree/a/f"),
        ["/srv/up/a/f", "/srv/up/tree/a/f"]
    );
}

#[test]
fn a_file_by_a_name_that_nobody_asked_for_may_lie_wherever_was_asked() {
    assert_eq!(lies(&["/a/x"], true, "other"), ["/a/x", "/a/x/other"]);
    assert_eq!(lies(&["/"], true, "etc"), ["/", "/etc"]);
}
