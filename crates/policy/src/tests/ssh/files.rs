//! Operations on files.

use super::*;

#[test]
fn file_operations_are_judged_by_operation_and_path() {
    let rules = [(
        DENY,
        sftp(&[SftpOperation::Read], &["/srv/secret/*", "/etc/shadow"]),
    )];
    let ask = |operation, paths: &[&[u8]]| on(&rules, SshRequest::Sftp { operation, paths });
    assert_eq!(ask(SftpOperation::Read, &[b"/srv/secret/key"]), "deny p/r0");
    assert_eq!(
        ask(SftpOperation::Read, &[b"/srv/other", b"/etc/shadow"]),
        "deny p/r0"
    );
    assert_eq!(ask(SftpOperation::Write, &[b"/srv/secret/key"]), "permit");
    assert_eq!(ask(SftpOperation::Read, &[b"/srv/secrets"]), "permit");
    assert_eq!(
        ask(SftpOperation::Read, &[b"key"]),
        "deny p/r0",
        "it may lie there"
    );
    assert_eq!(ask(SftpOperation::Read, &[b"data/big.bin"]), "deny p/r0");
    let exact = [(DENY, sftp(&[SftpOperation::Read], &["/etc/shadow"]))];
    let relative = SshRequest::Sftp {
        operation: SftpOperation::Read,
        paths: &[b"data/big.bin"],
    };
    assert_eq!(on(&exact, relative), "permit");
}

#[test]
fn a_relative_path_may_lie_above_where_the_session_begins() {
    let rules = [(DENY, sftp(&[SftpOperation::Read], &["/etc/shadow"]))];
    let ask = |path: &[u8]| {
        let (operation, paths) = (SftpOperation::Read, &[path][..]);
        on(&rules, SshRequest::Sftp { operation, paths })
    };
    assert_eq!(ask(b"../../etc/shadow"), "deny p/r0");
    assert_eq!(ask(b".."), "deny p/r0");
    assert_eq!(ask(b"*"), "deny p/r0");
    assert_eq!(ask(b"../../etc/passwd"), "permit");
}

#[test]
fn what_a_rule_is_about_keeps_its_name() {
    use SftpOperation as O;
    let paths = ["/srv/secret/*", "*.pem", "/home/*/.ssh/*"];
    let reads = [(DENY, sftp(&[O::Read], &paths))];
    let writes = [(DENY, sftp(&[O::Write], &["/srv/conf/*", "/etc/passwd"]))];
    let names = |rules: &[(_, _)], operation, from: &str, to: &str| {
        let paths = &[from.as_bytes(), to.as_bytes()][..];
        on(rules, SshRequest::Sftp { operation, paths })
    };
    for operation in [O::Rename, O::HardLink, O::Symlink] {
        for (from, to) in [
            ("/srv/secret/key", "/tmp/key"),
            ("/srv/secret", "/tmp/x"),
            ("/srv", "/tmp/x"),
            ("/", "/tmp/x"),
            ("*", "/tmp/x"),
            ("/tmp/a.pem", "/tmp/a"),
            ("/home/c/.ssh", "/home/c/x"),
            ("/home/c", "/tmp/c"),
            ("secret", "x"),
        ] {
            assert_eq!(
                names(&reads, operation, from, to),
                "deny p/r0",
                "{operation} {from} {to}"
            );
        }
        for (from, to) in [
            ("/tmp/a.part", "/tmp/a"),
            ("/home/c/a.part", "/home/c/a"),
            ("/home/c/a.part", "/home/c/b/a"),
            ("/tmp/a", "/srv/secret/a"),
            ("/srv/secrets", "/srv/x"),
        ] {
            assert_eq!(
                names(&reads, operation, from, to),
                "permit",
                "{operation} {from} {to}"
            );
        }
        for to in ["/srv/conf/x", "/srv/conf", "/etc/passwd"] {
            assert_eq!(
                names(&writes, operation, "/tmp/x", to),
                "deny p/r0",
                "{operation} {to}"
            );
        }
        let nothing = [(DENY, sftp(&[O::Read], &[]))];
        assert_eq!(names(&nothing, operation, "/a", "/b"), "permit");
        let nothing = [(DENY, sftp(&[O::Write], &[]))];
        assert_eq!(names(&nothing, operation, "/a", "/b"), "deny p/r0");
    }
    for link in [O::HardLink, O::Symlink] {
        assert_eq!(names(&writes, link, "/etc/passwd", "/tmp/x"), "deny p/r0");
        assert_eq!(names(&writes, link, "/etc", "/tmp/x"), "deny p/r0");
    }
    assert_eq!(names(&writes, O::Rename, "/etc/passwd", "/tmp/x"), "permit");
}

#[test]
fn an_extension_that_nobody_knows_may_do_anything_to_any_file() {
    let request = SshRequest::Sftp {
        operation: SftpOperation::Extended,
        paths: &[],
    };
    let rules = [(DENY, sftp(&[SftpOperation::Read], &["/etc/shadow"]))];
    assert_eq!(on(&rules, request), "deny p/r0");
    assert_eq!(on(&[], request), "permit");
}

#[test]
fn an_allow_list_for_files_lets_the_subsystem_start_and_nothing_else() {
    let rules = [(
        ALLOW,
        sftp(&[SftpOperation::Read, SftpOperation::Stat], &["/srv/*"]),
    )];
    let ask = |operation, paths: &[&[u8]]| by_list(&rules, SshRequest::Sftp { operation, paths });
    assert_eq!(
        by_list(&rules, SshRequest::Subsystem { name: "sftp" }),
        "permit"
    );
    assert_eq!(by_list(&rules, SshRequest::Session), "permit");
    assert_eq!(by_list(&rules, SshRequest::Pty), "permit");
    assert_eq!(by_list(&rules, SshRequest::Shell), "deny p/(default)");
    assert_eq!(ask(SftpOperation::Read, &[b"/srv/a"]), "permit");
    assert_eq!(ask(SftpOperation::Read, &[b"srv/a"]), "deny p/(default)");
    assert_eq!(
        ask(SftpOperation::Read, &[b"/srv/a", b"/etc/x"]),
        "deny p/(default)"
    );
    assert_eq!(ask(SftpOperation::Write, &[b"/srv/a"]), "deny p/(default)");
}
