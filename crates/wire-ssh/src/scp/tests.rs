//! Claims about scp, on what OpenSSH's own scp sends.

use super::*;

/// `scp -r -p -f` of a directory with two files.
const TREE: &[u8] =
    b"T1700000000 0 1700000001 0\nD0755 0 data\nC0644 5 a\nhello\0C0600 0 empty file\n\0E\n";

fn all(chunks: &[&[u8]]) -> Result<Vec<Event>, ProtocolError> {
    let (mut sender, mut events) = (Sender::new(), Vec::new());
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
        let mut sender = Sender::new();
        assert!(
            sender.feed(bad, &mut Vec::new()).is_err(),
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
    let long = vec![b'C'; MAX_LINE + 2];
    assert!(Sender::new().feed(&long, &mut Vec::new()).is_err());
    let deep = b"D0755 0 d\n".repeat(MAX_DEPTH + 1);
    assert!(Sender::new().feed(&deep, &mut Vec::new()).is_err());
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
