//! What rules say about SSH.

use super::*;

mod files;

fn ssh(ssh: SshMatch) -> Match {
    Match {
        ssh: Some(ssh),
        ..Match::default()
    }
}

fn globs(list: &[&str]) -> Vec<Glob> {
    list.iter().map(|text| Glob::free(text)).collect()
}

fn commands(list: &[&str]) -> Match {
    ssh(SshMatch {
        commands: globs(list),
        ..SshMatch::default()
    })
}

fn argv(words: &[&str]) -> Match {
    ssh(SshMatch {
        argv: vec![globs(words)],
        ..SshMatch::default()
    })
}

fn sftp(operations: &[SftpOperation], paths: &[&str]) -> Match {
    ssh(SshMatch {
        sftp: Some(SftpMatch {
            operations: operations.to_vec(),
            paths: globs(paths),
        }),
        ..SshMatch::default()
    })
}

const DENY: Option<Action> = Some(Action::Deny);
const ALLOW: Option<Action> = Some(Action::Allow);

fn on(rules: &[(Option<Action>, Match)], request: SshRequest<'_>) -> String {
    let rules = rules.iter().enumerate();
    let rules =
        rules.map(|(i, (action, matches))| rule(&format!("r{i}"), *action, matches.clone()));
    asked(vec![policy("p", rules.collect())], request)
}

fn asked(policies: Vec<Policy>, request: SshRequest<'_>) -> String {
    verdict(policies, &Operation::Ssh(&SshOperation { request }))
}

fn by_list(rules: &[(Option<Action>, Match)], request: SshRequest<'_>) -> String {
    let rules = rules.iter().enumerate();
    let rules =
        rules.map(|(i, (action, matches))| rule(&format!("r{i}"), *action, matches.clone()));
    let listed = Policy {
        default: DefaultAction::Deny,
        ..policy("p", rules.collect())
    };
    asked(vec![listed], request)
}

fn plain<'a>(text: &'a str, argv: &'a [&'a str], programs: &'a [&'a str]) -> SshCommand<'a> {
    SshCommand {
        text,
        programs,
        commands: std::slice::from_ref(&EMPTY),
        mentions: &[],
        argv: Some(argv),
        opaque: None,
        shell: false,
    }
}

const EMPTY: &str = "";

#[test]
fn a_command_is_refused_by_its_program_its_words_and_its_text() {
    let command = SshCommand {
        text: "cd /x && /usr/bin/pg_dump shop",
        programs: &["cd", "/usr/bin/pg_dump", "pg_dump"],
        commands: &["cd /x", "pg_dump shop"],
        ..SshCommand::default()
    };
    let run = |glob: &str| {
        on(
            &[(DENY, commands(&[glob]))],
            SshRequest::Exec { command: &command },
        )
    };
    for glob in [
        "pg_dump",
        "/usr/bin/pg_*",
        "pg_dump shop",
        "pg_dump *",
        "cd /x && *",
    ] {
        assert_eq!(run(glob), "deny p/r0", "{glob}");
    }
    for glob in ["shop", "pg_dumpall", "dump", "cd"] {
        let expected = if glob == "cd" { "deny p/r0" } else { "permit" };
        assert_eq!(run(glob), expected, "{glob}");
    }
}

#[test]
fn a_program_that_may_turn_out_to_be_the_one_meant_is_meant() {
    for (program, meant) in [
        ("*dump", true),
        ("pg_d*ump", true),
        ("/home/*/pg_dum?", true),
        ("*", true),
        ("bin/?g_dump", true),
        ("*/bin/deploy.sh", false),
        ("tool-*.sh", false),
    ] {
        let command = SshCommand {
            text: "x",
            programs: &[program],
            ..SshCommand::default()
        };
        let rules = [(DENY, commands(&["pg_dump", "*/pg_dump"]))];
        let said = on(&rules, SshRequest::Exec { command: &command });
        assert_eq!(said == "deny p/r0", meant, "{program}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused_where_a_rule_is_about_commands() {
    let command = SshCommand {
        text: "eval $x",
        programs: &["eval"],
        opaque: Some("what eval runs is not known"),
        ..SshCommand::default()
    };
    let run = SshRequest::Exec { command: &command };
    let dump = || (DENY, commands(&["pg_dump"]));
    let opaque = Match {
        opaque: true,
        ..Match::default()
    };
    assert_eq!(on(&[dump()], run), "deny p/(opaque)");
    assert_eq!(on(&[dump(), (ALLOW, opaque.clone())], run), "permit");
    assert_eq!(on(&[(DENY, opaque)], run), "deny p/r0");
    assert_eq!(on(&[], run), "permit");
    let about_files = (DENY, sftp(&[SftpOperation::Write], &[]));
    assert_eq!(on(&[about_files], run), "permit");
    let words = ["eval", "$x"];
    let exact = SshCommand {
        argv: Some(&words),
        ..command
    };
    let run = SshRequest::Exec { command: &exact };
    assert_eq!(on(&[dump(), (ALLOW, argv(&words))], run), "permit");
    assert_eq!(
        on(&[dump(), (ALLOW, commands(&["eval*"]))], run),
        "deny p/(opaque)"
    );
}

#[test]
fn an_allowed_command_cannot_be_extended() {
    let allow = || [(ALLOW, commands(&["git-upload-pack *"]))];
    let words = ["git-upload-pack", "/srv/a.git"];
    let fetch = plain("git-upload-pack '/srv/a.git'", &words, &["git-upload-pack"]);
    assert_eq!(
        by_list(&allow(), SshRequest::Exec { command: &fetch }),
        "permit"
    );
    let more = SshCommand {
        text: "git-upload-pack /srv/a.git; id",
        programs: &["git-upload-pack", "id"],
        ..SshCommand::default()
    };
    assert_eq!(
        by_list(&allow(), SshRequest::Exec { command: &more }),
        "deny p/(default)"
    );
}

#[test]
fn what_an_allowed_program_runs_has_to_be_allowed_too() {
    let words = ["find", ".", "-exec", "sh", "x", ";"];
    let find = plain("find . -exec sh x ;", &words, &["find", "sh"]);
    let run = SshRequest::Exec { command: &find };
    assert_eq!(
        by_list(&[(ALLOW, commands(&["find *"]))], run),
        "deny p/(default)"
    );
    for list in [&["find *", "sh *"][..], &["find . -exec sh *"], &["*"]] {
        assert_eq!(
            by_list(&[(ALLOW, commands(list))], run),
            "permit",
            "{list:?}"
        );
    }
}

#[test]
fn argv_is_compared_word_for_word() {
    let allow = || [(ALLOW, argv(&["systemctl", "restart", "web-*"]))];
    let words = ["systemctl", "restart", "web-1"];
    let good = plain("systemctl  restart 'web-1'", &words, &["systemctl"]);
    assert_eq!(
        by_list(&allow(), SshRequest::Exec { command: &good }),
        "permit"
    );
    for words in [
        &["systemctl", "restart", "web-1", "db"][..],
        &["systemctl", "restart"],
        &["/tmp/systemctl", "restart", "web-1"],
    ] {
        let bad = plain("systemctl restart web-1", words, &["systemctl"]);
        assert_eq!(
            by_list(&allow(), SshRequest::Exec { command: &bad }),
            "deny p/(default)"
        );
    }
    let deny = || [(DENY, argv(&["rm", "-rf", "/"]))];
    let inside = SshCommand {
        text: "true; rm -rf /",
        programs: &["true", "rm"],
        ..SshCommand::default()
    };
    assert_eq!(
        on(&deny(), SshRequest::Exec { command: &inside }),
        "deny p/r0"
    );
    let other = ["rm", "x"];
    let other = plain("rm x", &other, &["rm"]);
    assert_eq!(on(&deny(), SshRequest::Exec { command: &other }), "permit");
}

#[test]
fn forwarding_other_subsystems_and_the_unknown_need_a_name() {
    let forward = |to| SshRequest::Forward {
        kind: ForwardKind::DirectTcpip,
        destination: to,
    };
    let raw = SshRequest::Subsystem { name: "raw" };
    let odd = SshRequest::Unknown { name: "odd" };
    let here = Some("db:5432");
    assert_eq!(on(&[], forward(here)), "deny p/(forwarding)");
    assert_eq!(on(&[], raw), "deny p/(subsystem)");
    assert_eq!(on(&[], odd), "deny p/(unknown)");
    assert_eq!(on(&[], SshRequest::Subsystem { name: "sftp" }), "permit");
    let observing = Policy {
        mode: Mode::Observe,
        ..policy("p", Vec::new())
    };
    assert_eq!(asked(vec![observing], odd), "permit");
    let channel = |channel| {
        ssh(SshMatch {
            channels: vec![channel],
            ..SshMatch::default()
        })
    };
    let to = |to: &str| {
        ssh(SshMatch {
            destinations: globs(&[to]),
            ..SshMatch::default()
        })
    };
    let everything = (ALLOW, Match::default());
    assert_eq!(
        on(std::slice::from_ref(&everything), forward(here)),
        "deny p/(forwarding)"
    );
    assert_eq!(
        on(&[(ALLOW, channel(SshChannel::DirectTcpip))], forward(here)),
        "permit"
    );
    assert_eq!(
        on(&[(ALLOW, channel(SshChannel::X11))], forward(here)),
        "deny p/(forwarding)"
    );
    assert_eq!(on(&[(ALLOW, to("db:*"))], forward(here)), "permit");
    assert_eq!(
        on(&[(ALLOW, to("db:*"))], forward(None)),
        "deny p/(forwarding)"
    );
    assert_eq!(
        on(&[(ALLOW, to("web:*"))], forward(here)),
        "deny p/(forwarding)"
    );
    assert_eq!(on(&[(ALLOW, channel(SshChannel::Unknown))], odd), "permit");
    let subsystem = ssh(SshMatch {
        subsystems: globs(&["raw"]),
        ..SshMatch::default()
    });
    assert_eq!(on(&[(ALLOW, subsystem)], raw), "permit");
}

#[test]
fn a_destination_is_refused_however_it_is_spelt() {
    let to = |list: &[&str]| {
        ssh(SshMatch {
            destinations: globs(list),
            ..SshMatch::default()
        })
    };
    let rules = [
        (
            DENY,
            to(&[
                "169.254.169.254:80",
                "127.0.0.1:*",
                "/run/docker.sock",
                "*.corp:22",
            ]),
        ),
        (ALLOW, to(&["*"])),
    ];
    let go = |kind, destination| {
        let destination = Some(destination);
        on(&rules, SshRequest::Forward { kind, destination })
    };
    for denied in [
        "169.254.169.254:80",
        "0xa9fea9fe:80",
        "2852039166:80",
        "169.254.43518:80",
        "[::ffff:169.254.169.254]:80",
        "localhost:5432",
        "0:5432",
        "DB.Corp.:22",
    ] {
        assert_eq!(
            go(ForwardKind::DirectTcpip, denied),
            "deny p/r0",
            "{denied}"
        );
    }
    assert_eq!(
        go(ForwardKind::DirectTcpip, "169.254.169.254:8080"),
        "permit"
    );
    assert_eq!(go(ForwardKind::DirectTcpip, "db.other:22"), "permit");
    for denied in [
        "/run/../run/docker.sock",
        "/var/run/docker.sock",
        "/x/y/../docker.sock",
        "run/docker.sock",
    ] {
        assert_eq!(
            go(ForwardKind::DirectStreamlocal, denied),
            "deny p/r0",
            "{denied}"
        );
    }
    assert_eq!(go(ForwardKind::DirectStreamlocal, "/run/x.sock"), "permit");
    // What is allowed is allowed as it is written.
    let list = [(ALLOW, to(&["127.0.0.1:80"]))];
    let spelt = SshRequest::Forward {
        kind: ForwardKind::DirectTcpip,
        destination: Some("127.1:80"),
    };
    assert_eq!(on(&list, spelt), "deny p/(forwarding)");
}

#[test]
fn a_word_on_a_list_does_not_lead_out_of_its_directory() {
    let rules = [
        (ALLOW, argv(&["cat", "data/*"])),
        (ALLOW, commands(&["head data/*"])),
    ];
    let run = |program: &str, word: &str| {
        let (words, text) = ([program, word], format!("{program} {word}"));
        let command = plain(&text, &words, &words[..1]);
        by_list(&rules, SshRequest::Exec { command: &command })
    };
    for program in ["cat", "head"] {
        for word in ["data/a", "data/a/b..c", "data/..a"] {
            assert_eq!(run(program, word), "permit", "{program} {word}");
        }
        for word in ["data/../secret", "data/a/../../secret", "data/.."] {
            assert_eq!(run(program, word), "deny p/(default)", "{program} {word}");
        }
    }
    let refused = [(DENY, argv(&["cat", "/etc/*"]))];
    let command = plain(
        "cat /etc/x/../shadow",
        &["cat", "/etc/x/../shadow"],
        &["cat"],
    );
    assert_eq!(
        on(&refused, SshRequest::Exec { command: &command }),
        "deny p/r0"
    );
}

#[test]
fn no_policy_lifts_what_another_one_protects() {
    let forward = SshRequest::Forward {
        kind: ForwardKind::Agent,
        destination: None,
    };
    let allow = rule(
        "agent",
        ALLOW,
        ssh(SshMatch {
            forwarding: true,
            ..SshMatch::default()
        }),
    );
    let deny = rule("dump", DENY, commands(&["pg_dump"]));
    let policies = |second: Vec<Rule>| vec![policy("a", vec![allow.clone()]), policy("b", second)];
    assert_eq!(asked(policies(Vec::new()), forward), "permit");
    assert_eq!(asked(policies(vec![deny]), forward), "deny b/(forwarding)");
}

#[test]
fn a_deny_for_all_subsystems_but_one_spares_that_one() {
    let rules = [(
        DENY,
        ssh(SshMatch {
            except_subsystems: globs(&["sftp"]),
            ..SshMatch::default()
        }),
    )];
    assert_eq!(
        on(&rules, SshRequest::Subsystem { name: "raw" }),
        "deny p/r0"
    );
    assert_eq!(on(&rules, SshRequest::Subsystem { name: "sftp" }), "permit");
    assert_eq!(on(&rules, SshRequest::Shell), "permit");
}

#[test]
fn rules_about_sql_say_nothing_about_ssh_and_the_other_way_round() {
    let about_sql = [
        effects(&[Effect::Update]),
        labels(&["pii.*"]),
        Match {
            except_tables: vec![TablePattern::parse("public.x").expect("table")],
            ..Match::default()
        },
    ];
    for matches in about_sql {
        assert_eq!(on(&[(DENY, matches.clone())], SshRequest::Shell), "permit");
        assert_eq!(
            by_list(&[(ALLOW, matches)], SshRequest::Shell),
            "deny p/(default)"
        );
    }
    let shell = ssh(SshMatch {
        channels: vec![SshChannel::Shell],
        ..SshMatch::default()
    });
    let sql = SqlOperation::default();
    let rules = vec![rule("shell", DENY, shell.clone())];
    assert_eq!(
        verdict(vec![policy("p", rules)], &Operation::Sql(&sql)),
        "permit"
    );
    assert_eq!(on(&[(DENY, shell)], SshRequest::Shell), "deny p/r0");
    let anything = [(DENY, Match::default())];
    assert_eq!(on(&anything, SshRequest::Shell), "deny p/r0");
}

#[test]
fn any_shell_can_be_held() {
    let mut held = rule(
        "shells",
        Some(Action::RequireApproval),
        ssh(SshMatch {
            channels: vec![SshChannel::Shell],
            ..SshMatch::default()
        }),
    );
    held.approval = Some(approval());
    assert_eq!(
        asked(vec![policy("p", vec![held])], SshRequest::Shell),
        "hold p/shells"
    );
}

#[test]
fn a_command_that_is_a_shell_is_restricted_like_one_and_not_allowed_like_one() {
    let channel = |channel| {
        ssh(SshMatch {
            channels: vec![channel],
            ..SshMatch::default()
        })
    };
    let command = SshCommand {
        text: "bash -s",
        programs: &["bash"],
        shell: true,
        ..SshCommand::default()
    };
    let run = SshRequest::Exec { command: &command };
    assert_eq!(on(&[(DENY, channel(SshChannel::Shell))], run), "deny p/r0");
    assert_eq!(on(&[(DENY, channel(SshChannel::Pty))], run), "permit");
    assert_eq!(
        by_list(&[(ALLOW, channel(SshChannel::Shell))], run),
        "deny p/(default)"
    );
}

#[test]
fn a_refusal_speaks_in_the_words_of_the_policy() {
    let command = SshCommand {
        text: "secret; pg_dump",
        programs: &["secret", "pg_dump"],
        ..SshCommand::default()
    };
    let operation = SshOperation {
        request: SshRequest::Exec { command: &command },
    };
    let rules = vec![rule("dump", DENY, commands(&["mysqldump", "pg_d*"]))];
    let decision = decide(vec![policy("p", rules)], &Operation::Ssh(&operation));
    let Verdict::Deny(denial) = decision.verdict else {
        panic!("permitted");
    };
    assert_eq!(denial.reason, "a command that runs `pg_d*` is not allowed");
}

#[test]
fn names_of_channels_and_operations_are_stable() {
    for channel in SshChannel::ALL {
        assert_eq!(SshChannel::parse(channel.name()), Some(*channel));
    }
    for operation in SftpOperation::ALL {
        assert_eq!(SftpOperation::parse(operation.name()), Some(*operation));
    }
    let before = Match::default();
    let text = serde_json::to_string(&before).expect("json");
    assert!(!text.contains("ssh"), "budgets keep their names: {text}");
}

#[test]
fn a_value_of_the_hosts_own_is_not_all_that_a_pattern_says() {
    let silent = |glob: &str, part: &str| {
        let command = SshCommand {
            text: "x",
            commands: &[part],
            ..SshCommand::default()
        };
        let nothing = SshCommand {
            text: "x",
            ..SshCommand::default()
        };
        let rules = [(DENY, commands(&[glob]))];
        on(&rules, SshRequest::Exec { command: &command })
            == on(&rules, SshRequest::Exec { command: &nothing })
    };
    assert!(silent("*shadow*", "echo \u{6}"));
    assert!(silent("*shadow*", "cat \u{6}/x"));
    assert!(!silent("*shadow*", "cat *"));
    assert!(!silent("*shadow*", "cat \u{6}shadow"));
    assert!(!silent("*shadow*", "cat sha*\u{6}"));
    assert!(!silent("cat /home/*", "cat \u{6}/x"));
    assert!(!silent("*/secret*", "cat \u{6}/secret"));
}

#[test]
fn a_word_given_to_a_program_of_which_nothing_is_known_is_meant_by_its_name_alone() {
    let command = SshCommand {
        text: "x",
        mentions: &["pg_dump"],
        ..SshCommand::default()
    };
    let nothing = SshCommand {
        text: "x",
        ..SshCommand::default()
    };
    let said = |glob: &str, command: &SshCommand<'_>| {
        on(&[(DENY, commands(&[glob]))], SshRequest::Exec { command })
    };
    assert_ne!(said("pg_dump", &command), said("pg_dump", &nothing));
    assert_eq!(said("pg_*", &command), said("pg_*", &nothing));
}

#[test]
fn a_rule_about_sessions_names_them() {
    let about = |channels: &[SshChannel]| {
        ssh(SshMatch {
            channels: channels.to_vec(),
            ..SshMatch::default()
        })
    };
    let named = [(DENY, about(&[SshChannel::Session]))];
    assert_eq!(on(&named, SshRequest::Session), "deny p/r0");
    assert_eq!(by_list(&named, SshRequest::Session), "deny p/r0");
    assert_eq!(on(&named, SshRequest::Shell), "permit");
    // What holds for everything holds for what comes in a session.
    for rule in [Match::default(), about(&[]), about(&[SshChannel::Shell])] {
        assert_eq!(on(&[(DENY, rule.clone())], SshRequest::Session), "permit");
        assert_eq!(on(&[(DENY, rule)], SshRequest::Shell), "deny p/r0");
    }
}

#[test]
fn a_list_of_commands_needs_variables_that_are_harmless_or_named() {
    let set = |name, harmless| SshRequest::Env { name, harmless };
    let env = ssh(SshMatch {
        env: globs(&["GIT_*"]),
        ..SshMatch::default()
    });
    let listed = [(ALLOW, argv(&["git", "status"])), (ALLOW, env)];
    assert_eq!(by_list(&listed, set("LANG", true)), "permit");
    assert_eq!(
        by_list(&listed, set("LD_PRELOAD", false)),
        "deny p/(default)"
    );
    assert_eq!(by_list(&listed, set("GIT_DIR", false)), "permit");
    // Without a list there is nothing that a variable could change.
    let files = [(ALLOW, sftp(&[SftpOperation::Read], &["/srv/*"]))];
    assert_eq!(by_list(&files, set("LD_PRELOAD", false)), "permit");
    assert_eq!(on(&listed, set("LD_PRELOAD", false)), "permit");
}
