//! Words, simple commands, transfers.

use super::*;

fn words(text: &str) -> Option<Vec<String>> {
    of(text).argv
}

#[test]
fn a_command_without_any_feature_of_the_shell_has_words() {
    let some = |list: &[&str]| {
        Some(
            list.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        words("git-upload-pack '/srv/a b.git'"),
        some(&["git-upload-pack", "/srv/a b.git"])
    );
    assert_eq!(words("ls  -l\t\"x\" \\*"), some(&["ls", "-l", "x", "*"]));
    assert_eq!(words("ls ~/data"), some(&["ls", "~/data"]));
    assert_eq!(words("echo ''"), some(&["echo", ""]));
    for text in [
        "a; b",
        "a | b",
        "a & b",
        "a && b",
        "a > b",
        "a < b",
        "a $x",
        "a $(b)",
        "a `b`",
        "a *",
        "a ?",
        "a [b]",
        "a {b,c}",
        "X=1 a",
        "(a)",
        "a\nb",
        "a # b\nc",
        "~/a",
        "!",
        "if",
        "{ a; }",
        "time a",
        "a 'b",
        "a <(b)",
        "",
        "a\n",
        "'' a",
        "a <<E\nb\nE",
        "a $'\\x41' $x",
    ] {
        assert_eq!(words(text), None, "{text}");
    }
}

#[test]
fn simple_commands_are_listed_with_their_words() {
    let command = of("cd /x && /usr/sbin/service nginx restart > log; rm -rf \"$dir\" /tmp/'a b'");
    for expected in ["cd /x", "service nginx restart", "rm -rf * /tmp/a b"] {
        assert!(
            command.commands.iter().any(|one| one == expected),
            "{expected}: {command:?}"
        );
    }
    assert_eq!(
        command.programs,
        ["/usr/sbin/service", "cd", "rm", "service"]
    );
}

#[test]
fn far_ends_of_transfers_are_recognised() {
    let of = |text: &str| super::of(text).recognised;
    assert_eq!(
        of("scp -r -p -f 'data/x y'"),
        Some(Recognised::ScpSource {
            paths: vec!["data/x y".into()],
            recursive: true
        })
    );
    assert_eq!(
        of("scp -pt -- up/"),
        Some(Recognised::ScpSink {
            path: "up/".into(),
            recursive: false
        })
    );
    assert_eq!(
        of("rsync --server --sender -logDtpre.iLsfxCIvu . data/big.bin"),
        Some(Recognised::RsyncSender {
            paths: vec!["data/big.bin".into()]
        })
    );
    assert_eq!(
        of("rsync --server -e.Lsf . up"),
        Some(Recognised::RsyncReceiver {
            paths: vec!["up".into()]
        })
    );
    for (text, path) in [
        ("scp -ct -f a", "a"),
        ("scp -f -t a", "a"),
        ("scp -o -t -f a", "a"),
        ("scp -l 5 -f a", "a"),
    ] {
        let expected = Recognised::ScpSource {
            paths: vec![path.into()],
            recursive: false,
        };
        assert_eq!(of(text), Some(expected), "{text}");
    }
    for (text, paths) in [
        ("rsync --server --sender -slogDtpre.iLsfxC", &[][..]),
        ("rsync --server --sender -re.Lsf --protect-args . x", &[]),
        (
            "rsync --server --sender -re.iLsfxC /etc shadow",
            &["/etc", "shadow"],
        ),
        (
            "rsync --server --sender -re.iLsfxC -T /tmp . x",
            &["/tmp", ".", "x"],
        ),
    ] {
        let paths = paths.iter().map(ToString::to_string).collect();
        assert_eq!(of(text), Some(Recognised::RsyncSender { paths }), "{text}");
    }
    assert_eq!(
        of("rsync --config=r.conf --server --daemon ."),
        Some(Recognised::RsyncDaemon)
    );
    let path = || "~/repo.git".to_owned();
    assert_eq!(
        of("git-upload-pack '~/repo.git'"),
        Some(Recognised::GitUploadPack { path: path() })
    );
    assert_eq!(
        of("git upload-pack ~/repo.git"),
        Some(Recognised::GitUploadPack { path: path() })
    );
    assert_eq!(
        of("git-receive-pack '~/repo.git'"),
        Some(Recognised::GitReceivePack { path: path() })
    );
    assert_eq!(
        of("git-upload-archive '~/repo.git'"),
        Some(Recognised::GitUploadArchive { path: path() })
    );
    assert_eq!(
        of("/usr/lib/openssh/sftp-server"),
        Some(Recognised::SftpServer)
    );
    // A word of several may be what an option takes, and behind `--` no word is an option.
    let any = Some(Recognised::GitUploadPack {
        path: "*".to_owned(),
    });
    assert_eq!(of("git-upload-pack /a.git --timeout 5"), any);
    assert_eq!(of("git upload-pack --timeout 5 /a.git"), any);
    let paths = ["plain", "-d/../x"].map(ToString::to_string).to_vec();
    assert_eq!(
        of("rsync --server --sender -l -- . plain -d/../x"),
        Some(Recognised::RsyncSender { paths })
    );
    for (text, reads, writes) in [
        ("scp a b", &["a"][..], Some("b")),
        ("scp -P 22 -i k a h:b", &["a"], None),
        ("scp -r h:a /srv/b c", &["/srv/b"], Some("c")),
        ("rsync -avze 'ssh -p 2' --delete a/ b/", &["a/"], Some("b/")),
        ("rsync -a h:a .", &[], Some(".")),
        ("scp ./a:b /c", &["./a:b"], Some("/c")),
        ("scp a* b", &["a*"], Some("b")),
    ] {
        let expected = Recognised::Copy {
            reads: reads.iter().map(ToString::to_string).collect(),
            writes: writes.map(str::to_owned),
        };
        assert_eq!(of(text), Some(expected), "{text}");
    }
    for text in [
        "scp a",
        "scp -f x; id",
        "rsync a",
        "git log",
        "git status --short",
        "scp -t",
    ] {
        assert_eq!(of(text), None, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_control_characters_are_not_understood() {
    assert_eq!(analyze(b"ls \xff", &[]).text, "ls \u{fffd}");
    assert!(analyze(b"ls \x01", &[]).opaque.is_some());
    assert!(analyze(b"ls\0; id", &[]).opaque.is_some());
    assert_eq!(analyze(b"", &[]), Command::default());
}

#[test]
fn values_of_the_hosts_own_are_told_from_what_somebody_may_have_chosen() {
    let lists = |text: &str, command: &str| {
        let found = of(text);
        assert!(
            found.commands.iter().any(|one| one == command),
            "{text}: {:?}",
            found.commands
        );
    };
    lists("echo $HOME", "echo \u{6}");
    lists("echo $$ $((1+2)) ${#x}", "echo \u{6} \u{6} \u{6}");
    lists("echo $(hostname) $(date +%s)", "echo \u{6} \u{6}");
    lists("echo $(date +shadow)", "echo *");
    lists("cat $(basename /x/shadow)", "cat *");
    lists("cat $LC_X", "cat *");
    lists("cat /etc/sh*", "cat /etc/sh*");
    lists("HOME=a; cat $HOME", "cat a");
    lists("env HOME=a sh -c 'cat $HOME'", "cat a");
    assert!(
        super::super::analyze(b"cat $HOME", &[("HOME", "/x")])
            .commands
            .contains(&"cat *".to_owned())
    );
    assert!(of("echo \u{6}").opaque.is_some());
}
