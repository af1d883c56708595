//! Claims about SFTP.

use super::*;

mod links;

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = std::iter::once(kind)
        .chain(fields.iter().flat_map(|f| f.iter().copied()))
        .collect();
    let mut packet = (body.len() as u32).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut field = (text.len() as u32).to_be_bytes().to_vec();
    field.extend_from_slice(text);
    field
}

fn number(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

fn long(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

fn begun() -> Tracker {
    let mut tracker = Tracker::new();
    tracker.request(&INIT).expect("init");
    tracker
        .response(&packet(2, &[&number(3)]))
        .expect("version");
    tracker
}

fn open(tracker: &mut Tracker, id: u32, path: &[u8], flags: u32, handle: &[u8]) -> FileId {
    tracker
        .request(&packet(
            3,
            &[&number(id), &string(path), &number(flags), &number(0)],
        ))
        .expect("open");
    match tracker.response(&packet(102, &[&number(id), &string(handle)])) {
        Ok(Answer::Opened { file, .. }) => file,
        other => panic!("{other:?}"),
    }
}

fn asked(tracker: &mut Tracker, packet: &[u8]) -> (Vec<Operation>, Vec<String>) {
    match tracker.request(packet).expect("request").what {
        What::Operation {
            operations, paths, ..
        } => (
            operations,
            paths
                .iter()
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_download_is_counted_by_its_answers() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"/srv/a", 1, b"h0");
    assert_eq!(
        tracker
            .file(file)
            .map(|file| (file.path.as_slice(), file.reads, file.writes)),
        Some((&b"/srv/a"[..], true, false))
    );
    for (id, offset) in [(2, 0), (3, 4)] {
        let read = packet(5, &[&number(id), &string(b"h0"), &long(offset), &number(4)]);
        let what = tracker.request(&read).expect("read").what;
        assert_eq!(
            what,
            What::Read {
                file,
                offset,
                length: 4
            }
        );
    }
    // Answers come in any order.
    let second = packet(103, &[&number(3), &string(b"zz")]);
    let data = tracker.response(&second).expect("data");
    assert_eq!(
        data,
        Answer::Data {
            file,
            offset: 4,
            data: 13..15
        }
    );
    let first = packet(103, &[&number(2), &string(b"abcd")]);
    let Ok(Answer::Data {
        offset: 0, data, ..
    }) = tracker.response(&first)
    else {
        panic!("no data");
    };
    assert_eq!(first.get(data), Some(&b"abcd"[..]));
    tracker
        .request(&packet(
            5,
            &[&number(4), &string(b"h0"), &long(6), &number(4)],
        ))
        .expect("read");
    assert_eq!(
        tracker.response(&status(4, code::EOF, "end")),
        Ok(Answer::End { file })
    );
    tracker
        .request(&packet(4, &[&number(5), &string(b"h0")]))
        .expect("close");
    assert!(matches!(
        tracker.response(&status(5, code::OK, "")),
        Ok(Answer::Closed { .. })
    ));
    assert_eq!(tracker.file(file), None);
    assert_eq!(tracker.outstanding(), 0);
}

#[test]
fn a_delivery_is_known_by_its_header_and_by_nothing_less() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"/f", 1, b"h");
    let read = [&number(2)[..], &string(b"h"), &long(4096), &number(100_000)];
    tracker.request(&packet(5, &read)).expect("read");
    let data = packet(103, &[&number(2), &string(&[7; 70_000])]);
    let delivery = Delivery {
        id: 2,
        file,
        offset: 4096,
        length: 70_000,
    };
    for end in HEADER..data.len() {
        assert_eq!(tracker.delivery(&data[..end]), Some(delivery));
    }
    for end in 0..HEADER {
        assert_eq!(tracker.delivery(&data[..end]), None);
    }
    let mut of_another = data.clone();
    of_another[8] = 3;
    let mut no_data = data.clone();
    no_data[4] = 104;
    let mut longer = data.clone();
    longer[12] ^= 1;
    for other in [of_another, no_data, longer] {
        assert_eq!(tracker.delivery(&other), None);
    }
    let too_much = packet(103, &[&number(2), &string(&[7; 100_001])]);
    assert_eq!(tracker.delivery(&too_much), None);
    tracker.delivered(2);
    assert_eq!(tracker.delivery(&data), None);
    assert_eq!(tracker.outstanding(), 0);
}

#[test]
fn an_upload_is_counted_by_its_requests_and_confirmed_by_its_answers() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"up", 0x1a, b"h");
    let write = packet(6, &[&number(2), &string(b"h"), &long(7), &string(b"abc")]);
    let What::Write {
        data, offset: 7, ..
    } = tracker.request(&write).expect("write").what
    else {
        panic!("no write");
    };
    assert_eq!(write.get(data), Some(&b"abc"[..]));
    let answer = tracker.response(&status(2, code::OK, ""));
    assert_eq!(
        answer,
        Ok(Answer::Written {
            file,
            offset: 7,
            length: 3,
            done: true
        })
    );
}

#[test]
fn every_request_has_its_operation_and_paths() {
    use Operation as O;
    let mut tracker = begun();
    open(&mut tracker, 1, b"/a", 1, b"r");
    open(&mut tracker, 2, b"/b", 2, b"w");
    open(&mut tracker, 3, b"/c", 6, b"a");
    let mut id = 100;
    let mut ask = |kind: u8, fields: &[&[u8]]| {
        id += 1;
        let number = number(id);
        let mut all: Vec<&[u8]> = vec![&number];
        all.extend(fields);
        asked(&mut tracker, &packet(kind, &all))
    };
    let (a, b) = (string(b"/x/../a//b"), string(b"c/./d"));
    let one = |operation, path: &str| (vec![operation], vec![path.to_owned()]);
    for (flags, expected) in [
        (0, vec![O::Read]),
        (1, vec![O::Read]),
        (2, vec![O::Write]),
        (3, vec![O::Read, O::Write]),
        (6, vec![O::Append]),
        (4, vec![O::Read, O::Append]),
        (8, vec![O::Read, O::Write]),
        (0xc, vec![O::Read, O::Append, O::Write]),
        (0x10, vec![O::Read, O::Write]),
        (0x20, vec![O::Read]),
        (0x1a, vec![O::Write]),
        (9, vec![O::Read, O::Write]),
        (0x11, vec![O::Read, O::Write]),
        (0xe, vec![O::Append, O::Write]),
    ] {
        assert_eq!(
            ask(3, &[&a, &number(flags), &number(0)]).0,
            expected,
            "{flags:#x}"
        );
    }
    for (kind, operation) in [
        (7, O::Stat),
        (17, O::Stat),
        (9, O::SetStat),
        (11, O::List),
        (13, O::Remove),
        (14, O::MakeDirectory),
        (15, O::RemoveDirectory),
        (16, O::RealPath),
        (19, O::ReadLink),
    ] {
        assert_eq!(
            ask(kind, &[&a, &number(0)]),
            one(operation, "/a/b"),
            "{kind}"
        );
    }
    assert_eq!(ask(10, &[&string(b"w"), &number(0)]), one(O::SetStat, "/b"));
    // Another size of what is open for appending only is a change of what it says.
    let sized = |handle: &[u8]| [string(handle), number(1).to_vec(), long(0).to_vec()].concat();
    assert_eq!(ask(10, &[&sized(b"w")]), one(O::SetStat, "/b"));
    assert_eq!(
        ask(10, &[&sized(b"a")]),
        (vec![O::SetStat, O::Write], vec!["/c".into()])
    );
    let two =
        |operation, from: &str, to: &str| (vec![operation], vec![from.to_owned(), to.to_owned()]);
    assert_eq!(ask(18, &[&a, &b]), two(O::Rename, "/a/b", "c/d"));
    assert_eq!(
        ask(20, &[&string(b"../t"), &a]),
        two(O::Symlink, "t", "/a/b")
    );
    assert_eq!(
        ask(20, &[&string(b"t"), &a]),
        two(O::Symlink, "/a/t", "/a/b")
    );
    assert_eq!(
        ask(20, &[&string(b"/run/.."), &a]),
        two(O::Symlink, "*", "/a/b")
    );
    assert_eq!(
        ask(9, &[&a, &number(1), &long(0)]),
        (vec![O::SetStat, O::Write], vec!["/a/b".into()])
    );
    assert_eq!(
        ask(20, &[&string(b"/etc/passwd"), &b]),
        two(O::Symlink, "/etc/passwd", "c/d")
    );
    assert_eq!(
        ask(200, &[&string(b"posix-rename@openssh.com"), &a, &b]),
        two(O::Rename, "/a/b", "c/d")
    );
    assert_eq!(
        ask(200, &[&string(b"hardlink@openssh.com"), &a, &b]),
        two(O::HardLink, "/a/b", "c/d")
    );
    assert_eq!(
        ask(200, &[&string(b"statvfs@openssh.com"), &a]),
        one(O::Statfs, "/a/b")
    );
    assert_eq!(
        ask(200, &[&string(b"lsetstat@openssh.com"), &a, &number(0)]),
        one(O::SetStat, "/a/b")
    );
    assert_eq!(
        ask(200, &[&string(b"expand-path@openssh.com"), &a]),
        one(O::RealPath, "/a/b")
    );
    let copy = ask(
        200,
        &[
            &string(b"copy-data"),
            &string(b"r"),
            &long(0),
            &long(0),
            &string(b"w"),
            &long(0),
        ],
    );
    assert_eq!(
        copy,
        (vec![O::Read, O::Write], vec!["/a".into(), "/b".into()])
    );
    assert_eq!(ask(200, &[&string(b"new@example")]).0, [O::Extended]);
}

#[test]
fn a_server_is_asked_for_the_path_that_was_judged() {
    let mut tracker = begun();
    let up = string(b"/run/../etc/./x");
    let straight = string(b"/etc/x");
    let (one, zero) = (number(1), number(0));
    let ext = string(b"posix-rename@openssh.com");
    let (plain, target) = (string(b"/etc/../run"), string(b"../t"));
    type Fields<'a> = &'a [&'a [u8]];
    let cases: [(u8, Fields<'_>, Option<Fields<'_>>); 8] = [
        (3, &[&up, &one, &zero], Some(&[&straight, &one, &zero])),
        (17, &[&up], Some(&[&straight])),
        (18, &[&straight, &up], Some(&[&straight, &straight])),
        (200, &[&ext, &up, &up], Some(&[&ext, &straight, &straight])),
        // What a link says is not changed, nor what only asks for a name.
        (20, &[&target, &up], Some(&[&target, &straight])),
        (20, &[&plain, &straight], None),
        (16, &[&up], None),
        (17, &[&straight], None),
    ];
    for (id, (kind, fields, expected)) in cases.into_iter().enumerate() {
        let id = number(u32::try_from(id).unwrap());
        let whole = |fields: &[&[u8]]| packet(kind, &[&[&id[..]], fields].concat());
        let instead = tracker.request(&whole(fields)).expect("a request").instead;
        assert_eq!(instead, expected.map(whole), "{kind}");
    }
    for (path, expected) in [("a/../../b", "../b"), ("a/..", "."), ("/a/../..", "/")] {
        assert_eq!(
            path::straight(path.as_bytes()).as_deref(),
            Some(expected.as_bytes())
        );
    }
    for path in ["/../a", "../a", "a/b", "..", "/a..b/c"] {
        assert_eq!(path::straight(path.as_bytes()), None, "{path}");
    }
    let zero_byte = packet(17, &[&number(99), &string(b"/etc/shadow\0x")]);
    assert_eq!(tracker.request(&zero_byte), Err(ProtocolError::ZeroByte));
}

#[test]
fn a_file_that_is_closed_twice_is_closed_once() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"/a", 1, b"h");
    for id in [2, 3] {
        tracker
            .request(&packet(4, &[&number(id), &string(b"h")]))
            .expect("close");
    }
    let status = |id, code| {
        packet(
            101,
            &[&number(id), &number(code), &string(b""), &string(b"")],
        )
    };
    let closed = tracker.response(&status(2, code::OK)).expect("closed");
    assert!(matches!(closed, Answer::Closed { id, .. } if id == file));
    let again = tracker
        .response(&status(3, code::FAILURE))
        .expect("not open");
    assert!(matches!(
        again,
        Answer::Done {
            id: 3,
            done: false,
            ..
        }
    ));
}

#[test]
fn relative_paths_are_resolved_once_the_server_has_said_where_they_begin() {
    let mut tracker = begun();
    let ask = |tracker: &mut Tracker, id| {
        asked(tracker, &packet(17, &[&number(id), &string(b"../x/data")])).1
    };
    assert_eq!(ask(&mut tracker, 1), ["../x/data"]);
    tracker
        .request(&packet(16, &[&number(2), &string(b".")]))
        .expect("realpath");
    let name = packet(
        104,
        &[
            &number(2),
            &number(1),
            &string(b"/home/c"),
            &string(b""),
            &number(0),
        ],
    );
    tracker.response(&name).expect("name");
    assert_eq!(tracker.home(), Some(&b"/home/c"[..]));
    assert_eq!(ask(&mut tracker, 3), ["/home/x/data"]);
    // A link's own `..`, and a directory that a process has open, lead from where nobody knows: not from home.
    for (id, target, meant) in [
        (4, "../safe/key", "safe/key"),
        (5, "..", "*"),
        (6, "/proc/self/cwd", "*"),
        (7, "/dev/fd/4", "*"),
        (8, "/proc/self/cwd/x", "x"),
        (9, "/proc/loadavg", "/proc/loadavg"),
        (10, "key", "/home/c/key"),
    ] {
        let link = packet(
            20,
            &[&number(id), &string(target.as_bytes()), &string(b"l")],
        );
        assert_eq!(
            asked(&mut tracker, &link).1,
            [meant, "/home/c/l"],
            "{target}"
        );
    }
}

#[test]
fn paths_are_normalised_by_their_text() {
    for (path, home, expected) in [
        ("/", None, "/"),
        ("", None, "."),
        ("//a///b/.", None, "/a/b"),
        ("/../../etc/passwd", None, "/etc/passwd"),
        ("a/../../b", None, "../b"),
        ("../../b", None, "../../b"),
        ("b", Some("/home/c"), "/home/c/b"),
        ("../../../b", Some("/home/c"), "/b"),
        (".", Some("/home/c"), "/home/c"),
    ] {
        let got = normalised(path.as_bytes(), home.map(str::as_bytes));
        assert_eq!(String::from_utf8_lossy(&got), expected, "{path}");
    }
}

#[test]
fn what_does_not_fit_the_account_is_an_error() {
    let mut tracker = begun();
    let read = |handle: &[u8]| packet(5, &[&number(9), &string(handle), &long(0), &number(4)]);
    assert_eq!(
        tracker.request(&read(b"no")),
        Err(ProtocolError::UnknownHandle)
    );
    open(&mut tracker, 1, b"/a", 1, b"h");
    tracker.request(&read(b"h")).expect("read");
    assert_eq!(
        tracker.request(&read(b"h")),
        Err(ProtocolError::DuplicateRequest(9))
    );
    assert_eq!(
        tracker.response(&status(8, 0, "")),
        Err(ProtocolError::UnknownRequest(8))
    );
    let more = packet(103, &[&number(9), &string(b"12345")]);
    assert_eq!(tracker.response(&more), Err(ProtocolError::Length(5)));
    tracker
        .request(&packet(17, &[&number(7), &string(b"/a")]))
        .expect("stat");
    let data = packet(103, &[&number(7), &string(b"12345")]);
    assert_eq!(
        tracker.response(&data),
        Err(ProtocolError::Unexpected(103)),
        "data that nobody asked for"
    );
    assert_eq!(tracker.request(&INIT), Err(ProtocolError::Unexpected(1)));
    assert_eq!(
        Tracker::new().request(&read(b"h")),
        Err(ProtocolError::Unexpected(5))
    );
    let version = packet(2, &[&number(6)]);
    assert_eq!(
        Tracker::new().response(&version),
        Err(ProtocolError::Version(6))
    );
    assert_eq!(
        Tracker::new().request(&packet(1, &[&number(2)])),
        Err(ProtocolError::Version(2))
    );
    tracker
        .request(&packet(
            3,
            &[&number(20), &string(b"/b"), &number(1), &number(0)],
        ))
        .expect("open");
    let again = packet(102, &[&number(20), &string(b"h")]);
    assert_eq!(
        tracker.response(&again),
        Err(ProtocolError::UnknownHandle),
        "a handle that is in use"
    );
}

#[test]
fn a_refused_request_frees_its_number() {
    let mut tracker = begun();
    let stat = packet(17, &[&number(7), &string(b"/a")]);
    tracker.request(&stat).expect("stat");
    tracker.refused(7);
    tracker.request(&stat).expect("stat again");
}

#[test]
fn requests_and_files_are_bounded() {
    let mut tracker = begun();
    let mut failed = None;
    for id in 0..10_000 {
        if let Err(error) = tracker.request(&packet(17, &[&number(id), &string(b"/a")])) {
            failed = Some((id, error));
            break;
        }
    }
    assert!(
        matches!(failed, Some((4096, ProtocolError::TooMany(4096, _)))),
        "{failed:?}"
    );
    let mut tracker = begun();
    for id in 0..1024 {
        open(&mut tracker, id, b"/a", 1, &number(id));
    }
    tracker
        .request(&packet(
            3,
            &[&number(5000), &string(b"/a"), &number(1), &number(0)],
        ))
        .expect("open");
    let handle = packet(102, &[&number(5000), &string(b"z")]);
    assert!(matches!(
        tracker.response(&handle),
        Err(ProtocolError::TooMany(1024, _))
    ));
}

#[test]
fn packets_come_whole_however_the_stream_is_cut() {
    let stream: Vec<u8> = [
        INIT.to_vec(),
        packet(17, &[&number(7), &string(b"/a")]),
        status(1, 3, "no"),
    ]
    .concat();
    let mut framer = Framer::new();
    let mut packets = Vec::new();
    for byte in &stream {
        framer.push(&[*byte]);
        while let Some(packet) = framer.packet().expect("frame") {
            packets.push(packet.to_vec());
        }
    }
    assert_eq!(packets.concat(), stream);
    assert_eq!((packets.len(), framer.waiting()), (3, 0));
    let mut framer = Framer::new();
    framer.push(&stream);
    let mut count = 0;
    while framer.packet().expect("frame").is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn impossible_lengths_are_errors_before_anything_is_kept() {
    for length in [0_u32, MAX_PACKET as u32 + 1, u32::MAX] {
        let mut framer = Framer::new();
        framer.push(&length.to_be_bytes());
        assert_eq!(framer.packet(), Err(ProtocolError::Length(length as usize)));
    }
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let packets = [
        packet(3, &[&number(1), &string(b"/a"), &number(1), &number(0)]),
        packet(6, &[&number(2), &string(b"h"), &long(7), &string(b"abc")]),
        packet(18, &[&number(2), &string(b"a"), &string(b"b")]),
        packet(
            200,
            &[
                &number(2),
                &string(b"copy-data"),
                &string(b"r"),
                &long(0),
                &long(0),
                &string(b"w"),
            ],
        ),
    ];
    for packet in packets {
        for end in 0..packet.len() - 4 {
            // The last field of OPEN is not read: what follows the flags is for the server.
            let cut = packet.get(..end).unwrap_or_default();
            assert!(Request::parse(cut).is_err(), "{end} of {packet:?}");
        }
    }
    assert!(Response::parse(&packet(104, &[&number(2), &number(1)])).is_err());
    assert!(Response::parse(&packet(103, &[&number(2), &number(9), b"x"])).is_err());
    assert!(Response::parse(&packet(50, &[&number(2)])).is_err());
}

#[test]
fn a_denial_says_why() {
    let packet = denied(7, "refused by p/r");
    assert_eq!(
        Response::parse(&packet),
        Ok((Some(7), Response::Status { code: 3 }))
    );
    let text = String::from_utf8_lossy(&packet);
    assert!(text.contains("refused by p/r"));
    assert!(status(1, 3, &"é".repeat(5000)).len() < 4200);
}

#[test]
fn a_files_size_is_asked_for_under_a_number_that_no_client_uses() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"/f", 1, b"h");
    let question = tracker.ask_size(file).expect("a question");
    let expected = packet(8, &[&number(u32::MAX), &string(b"h")]);
    assert_eq!(question, expected);
    let again = tracker.ask_size(file).expect("another");
    assert_eq!(again.get(5..9), Some(&number(u32::MAX - 1)[..]));
    let told = packet(105, &[&number(u32::MAX), &number(1), &long(7)]);
    let size = Some(7);
    assert_eq!(tracker.response(&told), Ok(Answer::Size { file, size }));
    let failed = status(u32::MAX - 1, code::FAILURE, "");
    let size = None;
    assert_eq!(tracker.response(&failed), Ok(Answer::Size { file, size }));
    assert_eq!(tracker.outstanding(), 0);
}

#[test]
fn an_answer_of_another_kind_to_what_weir_asks_is_an_error() {
    let mut tracker = begun();
    let file = open(&mut tracker, 1, b"/f", 1, b"h");
    tracker.ask_size(file).expect("a question");
    let data = packet(103, &[&number(u32::MAX), &string(b"x")]);
    assert_eq!(tracker.response(&data), Err(ProtocolError::Unexpected(103)));
}

#[test]
fn a_detour_through_a_process_leads_to_the_same_path() {
    for (path, expected) in [
        ("/proc/self/root/etc/shadow", "/etc/shadow"),
        ("/proc/1/root/proc/self/root/etc/shadow", "/etc/shadow"),
        ("/proc/self/task/7/root/etc/./x", "/etc/x"),
        ("/proc/self/root", "/"),
        ("/proc/self/cwd/secret", "secret"),
        ("/proc/thread-self/fd/4/secret", "secret"),
        ("/dev/fd/4/secret", "secret"),
        ("/dev/fd/4", "/dev/fd/4"),
        ("/proc/self/fd/4", "/proc/self/fd/4"),
        ("/proc/self/status", "/proc/self/status"),
        ("/proc/loadavg", "/proc/loadavg"),
    ] {
        let got = normalised(path.as_bytes(), None);
        assert_eq!(String::from_utf8_lossy(&got), expected, "{path}");
    }
}
