//! Links, and files that get a name in another directory.

use super::*;

#[test]
fn a_file_that_goes_to_another_directory_may_be_a_link_that_leads_elsewhere_from_there() {
    let mut tracker = begun();
    let mut moves = |id: u32, kind: u8, fields: &[&[u8]]| {
        let number = number(id);
        let all: Vec<&[u8]> = [&number[..]]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        match tracker.request(&packet(kind, &all)).map(|asked| asked.what) {
            Ok(What::Operation { moves, .. }) => moves.map(|path| String::from_utf8(path).unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let (posix, hard) = (
        string(b"posix-rename@openssh.com"),
        string(b"hardlink@openssh.com"),
    );
    let name = |text: &str| string(text.as_bytes());
    assert_eq!(moves(1, 18, &[&name("/a/l"), &name("/a/./m")]), None);
    assert_eq!(
        moves(2, 18, &[&name("/a/l"), &name("/b/l")]).as_deref(),
        Some("/a/l")
    );
    assert_eq!(
        moves(3, 200, &[&posix, &name("l"), &name("b/l")]).as_deref(),
        Some("l")
    );
    assert_eq!(
        moves(4, 200, &[&hard, &name("/a/x/../l"), &name("/l")]).as_deref(),
        Some("/a/l")
    );
    assert_eq!(
        moves(5, 18, &[&name("/proc/self/fd/4/l"), &name("/etc/l")]).as_deref(),
        Some("/proc/self/fd/4/l")
    );
    assert_eq!(moves(6, 20, &[&name("t"), &name("/etc/l")]), None);
}

#[test]
fn where_a_file_leads_is_asked_for_and_told_apart() {
    let mut tracker = begun();
    let mut ask = |answer: &dyn Fn(u32) -> Vec<u8>| {
        let question = tracker.ask_link(b"/a/l").expect("a question");
        assert_eq!(question, packet(19, &[&number(u32::MAX), &string(b"/a/l")]));
        assert!(tracker.asks_link(u32::MAX) && !tracker.asks_link(1));
        tracker.response(&answer(u32::MAX))
    };
    let names = |target: &'static [u8]| {
        move |id| {
            packet(
                104,
                &[
                    &number(id),
                    &number(1),
                    &string(target),
                    &string(b""),
                    &number(0),
                ],
            )
        }
    };
    assert_eq!(ask(&names(b"/etc/x")), Ok(Answer::Link(Link::Fixed)));
    assert_eq!(
        ask(&names(b"x")),
        Ok(Answer::Link(Link::Relative(b"x".to_vec())))
    );
    for (code, expected) in [
        (2, Link::Fixed),
        (3, Link::Unknown),
        (4, Link::Fixed),
        (5, Link::Fixed),
        (8, Link::Unknown),
    ] {
        assert_eq!(
            ask(&|id| status(id, code, "")),
            Ok(Answer::Link(expected)),
            "{code}"
        );
    }
    assert_eq!(
        ask(&|id| packet(103, &[&number(id), &string(b"x")])),
        Err(ProtocolError::Unexpected(103))
    );
    let leads = |target: &[u8], link: &[u8]| {
        String::from_utf8(tracker.leads(target, link).unwrap()).unwrap()
    };
    assert_eq!(leads(b"shadow", b"/etc/l"), "/etc/shadow");
    assert_eq!(leads(b"x/./shadow", b"l"), "x/shadow");
    assert_eq!(leads(b"../shadow", b"/etc/l"), "shadow");
}
