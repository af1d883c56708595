use super::*;

/// `<` is typed, `>` is shown; the result is what may be recorded, as text.
fn recorded(script: &[(char, &str)]) -> String {
    let mut filter = EchoFilter::default();
    let mut typed = Vec::new();
    for (at, (way, text)) in script.iter().enumerate() {
        match way {
            '<' => filter.input(at as u64, text.as_bytes()),
            _ => filter.output(text.as_bytes()),
        }
        typed.extend(filter.take());
    }
    typed.extend(filter.finish());
    let keys: Vec<u8> = typed.into_iter().flat_map(|typed| typed.keys).collect();
    String::from_utf8(keys).unwrap()
}

#[test]
fn a_line_that_was_shown_is_recorded_with_the_times_of_its_keys() {
    let mut filter = EchoFilter::default();
    filter.input(10, b"l");
    filter.output(b"l");
    filter.input(25, b"s");
    assert_eq!(filter.take(), []);
    filter.output(b"s");
    filter.input(40, b"\r");
    let typed = |at_ms, keys: &[u8]| Typed {
        at_ms,
        keys: keys.to_vec(),
    };
    assert_eq!(
        filter.take(),
        [typed(10, b"l"), typed(25, b"s"), typed(40, b"\r")]
    );
}

#[test]
fn lines_are_known_however_the_echo_comes() {
    for script in [
        &[('<', "ls\r"), ('>', "ls\r\nfile\r\n$ ")][..],
        &[
            ('<', "ls\r"),
            ('>', "l"),
            ('>', "s\r"),
            ('>', "\nfile\r\n$ "),
        ],
        &[
            ('<', "l"),
            ('<', "s"),
            ('>', "ls"),
            ('<', "\r"),
            ('>', "\r\n"),
        ],
        // Drawn in colour, and drawn again from further left.
        &[
            ('<', "l"),
            ('>', "\x1b[32ml\x1b[0m"),
            ('<', "s"),
            ('>', "\x08\x1b[1mls\x1b[m"),
            ('<', "\r"),
        ],
        // A sequence that is split, and a title in between.
        &[
            ('<', "l"),
            ('>', "\x1b[3"),
            ('>', "2ml"),
            ('<', "s"),
            ('>', "\x1b]0;host: x\x07s"),
            ('<', "\r"),
        ],
    ] {
        assert_eq!(recorded(script), "ls\r", "{script:?}");
    }
}

#[test]
fn editing_completion_and_pasted_text_are_recorded() {
    let script = [
        ('<', "cx"),
        ('>', "cx"),
        ('<', "\x7f"),
        ('>', "\x08 \x08"),
        ('<', "d /e"),
        ('>', "d /e"),
        ('<', "\t"),
        ('>', "tc/"),
        ('<', "\x1b[D"),
        ('>', "\x08"),
        ('<', "\r"),
        ('>', "\r\n$ "),
    ];
    assert_eq!(recorded(&script), "cx\x7fd /e\t\x1b[D\r");
    let script = [
        ('<', "\x1b[200~id\x1b[201~"),
        ('>', "\x1b[7mid\x1b[27m"),
        ('<', "\r"),
    ];
    assert_eq!(recorded(&script), "\x1b[200~id\x1b[201~\r");
}

#[test]
fn what_is_not_shown_is_not_recorded() {
    for script in [
        // Typed at once, key by key, corrected, given up, and with a newline at once.
        &[('<', "hunter2\r"), ('>', "\r\n# ")][..],
        &[
            ('<', "h"),
            ('<', "unter2"),
            ('<', "\r"),
            ('>', "\r\nSorry, try again.\r\n"),
        ],
        &[('<', "wrong\x15hunter2\r"), ('>', "\r\n# ")],
        &[('<', "hunx\x7fter2\r"), ('>', "\r\n# ")],
        // No newline behind the prompt, and output that begins like the password.
        &[('<', "h"), ('<', "\r"), ('>', "hello\r\n")],
        &[('<', "he\r"), ('>', "h"), ('>', "ello\r\n")],
        // Stars for keys.
        &[
            ('<', "h"),
            ('>', "*"),
            ('<', "u"),
            ('>', "*"),
            ('<', "\r"),
            ('>', "\r\n"),
        ],
        // A log that goes on while the password is typed.
        &[
            ('<', "hun"),
            ('>', "2026 thunder has hun\r\n"),
            ('<', "ter2"),
            ('>', "ter2\r\n"),
            ('<', "\r"),
        ],
        // A string that would hide the keys from the filter.
        &[('<', "hunter2\r"), ('>', "\x1b]hunter2\r\n")],
    ] {
        assert_eq!(recorded(script), "\r", "{script:?}");
    }
}

#[test]
fn a_control_string_is_no_key() {
    let script = [('<', "\x1b]hunter2\r"), ('>', "\r\n")];
    assert_eq!(recorded(&script), "\x1b\r");
    let script = [
        ('<', "\x1b]11;rgb:0/0/0\x1b"),
        ('<', "\\ls"),
        ('>', "ls"),
        ('<', "\r"),
    ];
    assert_eq!(recorded(&script), "\x1b\\ls\r");
}

#[test]
fn a_line_is_recorded_as_a_whole_or_not_at_all() {
    // One key answers a question and is shown; the prompt that follows shows nothing.
    let script = [
        ('<', "y"),
        ('>', "y\r\nPassword: "),
        ('<', "hunter2\r"),
        ('>', "\r\n$ "),
    ];
    assert_eq!(recorded(&script), "\r");
    let script = [
        ('<', "hunter2\r"),
        ('<', "id\r"),
        ('>', "\r\n"),
        ('>', "id\r\n"),
        ('<', "w"),
        ('>', "w"),
    ];
    assert_eq!(recorded(&script), "\rid\rw");
}

#[test]
fn keys_whose_echo_never_came_are_left_out_at_the_end() {
    assert_eq!(recorded(&[('<', "hunter2")]), "");
    assert_eq!(recorded(&[('<', "hunter2\r")]), "\r");
    assert_eq!(recorded(&[('<', "ls"), ('>', "l")]), "");
}

#[test]
fn endless_lines_and_endless_typing_are_bounded() {
    let mut filter = EchoFilter::default();
    filter.input(0, &vec![b'x'; 10 * MAX_LINE]);
    assert!(filter.held <= MAX_LINE + 1, "{}", filter.held);
    filter.output(&vec![b'x'; 10 * MAX_LINE]);
    filter.input(1, b"\r");
    let line = [vec![b'y'; 1000], vec![b'\r']].concat();
    for at in 2..100 {
        filter.input(at, &line);
        assert!(filter.held <= MAX_HELD + line.len(), "{}", filter.held);
    }
    let typed = filter.finish();
    assert!(typed.iter().all(|typed| typed.keys == b"\r"), "{typed:?}");
}
