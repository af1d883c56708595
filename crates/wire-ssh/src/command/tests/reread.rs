//! Text that a shell reads once more, or otherwise than it looks: seen, or opaque.

use super::{all_are_refused, all_read_the_client, of, refused};

const ATTACKS: &[&str] = &[
    // names of files, of directories and of the terminal, read as code
    "sh -c \": $TERM\"",
    "eval \"echo $TERM\"",
    "cd '/tmp/;pg_dum'; sh -c \": ${PWD}p\"",
    "cd \"/tmp/;pg_dum\"; cd /; sh -c \": ${OLDPWD}p\"",
    "cd -P link; sh -c \": $PWD\"",
    "cd '/tmp/;x'; eval \": $(pwd)\"",
    "eval \": $(pwd -P)\"",
    "eval : a*",
    "sh -c \": $(echo a*)\"",
    "echo : a* | sh",
    "for f in a*; do sh -c \"echo $f\"; done",
    "find . -name 'a*' -exec sh -c 'echo {}' \\;",
    "eval \": $(readlink lnk)\"",
    "trap \": $(echo a*)\" EXIT",
    "x=(a*); eval \": ${x[0]}\"",
    "sh -c \"echo $(cat x)\"",
    "sh -c \": $(basename \"$(ls)\")\"",
    "sh -c \"git log $(git rev-parse --abbrev-ref HEAD)\"",
    "eval \": $(stat -c %N l)\"",
    "[[ ';pg_dump' =~ .* ]]; eval \": $BASH_REMATCH\"",
    // words that go on with a compound command behind the end of another
    "if [[ x ]] then pg_dump; fi",
    "if ((1)) then pg_dump; fi",
    "if (true) then pg_dump; fi",
    "if { true; } then pg_dump; fi",
    "while ((1)) do pg_dump; break; done",
    "until ! [[ x ]] do pg_dump; break; done",
    "if case x in x) true;; esac then pg_dump; fi",
    "if for x in a; do true; done then pg_dump; fi",
    "if time [[ x ]] then pg_dump; fi",
    "for ((i=0;i<1;i++)) do pg_dump; done",
    "for ((;;)) { pg_dump; break; }",
    "f() if [[ x ]] then pg_dump; fi; f",
    "function f if [[ x ]] then pg_dump; fi; f",
    "case x in x) if [[ x ]] then pg_dump; fi;; esac",
    "coproc if ((1)) then pg_dump >&2; fi; wait",
    "coproc X { pg_dump; }",
    "coproc X (pg_dump)",
    "set -- a; for x; { pg_dump; }",
    "set -- a; for x { pg_dump; }",
    "case x in (esac) pg_dump;; esac",
    // the ends of here-documents
    "cat <<$'E'\nE\npg_dump",
    "cat <<$\"E\"\nE\npg_dump",
    "cat <<-$'E'\n\tE\npg_dump",
    "cat <<$'a\\tb'\na\tb\npg_dump",
    "cat <<\\\nE\nE\npg_dump",
    "cat <<E\nE\\\n\npg_dump",
    "cat <<E\\F\nEF\npg_dump",
    "cat <<*\n*\npg_dump",
    "cat <<$E\n$E\npg_dump",
    "echo $(cat <<E)\nE\npg_dump",
    "cat <<E $(echo\n)\nE\npg_dump",
    // values that are not what was assigned
    "x=([5]=pg_dump); ${x[5]}",
    "x=([\"k\"]=pg_dump); ${x[k]}",
    "declare -l a; a=PG_DUMP; $a",
    "typeset -l a=PG_DUMP; $a",
    "BASH_ALIASES[qq]=pg_''dump; shopt -s expand_aliases\nqq",
    "BASH_CMDS[qq]=/usr/bin/pg_''dump; qq",
    "compgen -W '$(pg_''dump)'",
    "x='$(pg_\"\"dump)'; : \"${x@P}\"",
    "$'pg_dump\\0x' shop",
    "PS1='$(pg_\"\"dump)' bash -i",
    // options and variables by which programs run others
    "script -qcpg_dump /dev/null",
    "env 'BASH_FUNC_x%%=() { pg_\"\"dump; }' bash -c x",
    "tar xf t --to-comm=pg_dump",
    "sort --compress-prog=pg_dump f",
    "env --split='pg_dump shop'",
    "RSYNC_CONNECT_PROG='pg_dump>&2' rsync x::z",
    "git -c protocol.ext.allow=always ls-remote 'ext::sh -c pg_\"\"dump% x'",
    "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=alias.x GIT_CONFIG_VALUE_0='!pg_''dump' git x",
    "FOO='!pg_''dump' git --config-env=alias.x=FOO x",
    "perl -e 'open F,q(pg_).q(dump).q(|);print <F>'",
    "perl -ne print 'pg_\"\"dump|'",
    // files that the text writes and then runs
    "{ cat; } > f; sh f",
    "(cat) > f; sh f",
    "cat 1<>f; sh f",
    "cat > /tmp/q3; cd /tmp; . ./q*",
    "sort -of; sh f",
    "cp /dev/fd/0 f; sh f",
    "install -m755 /proc/self/fd/0 f; ./f",
    "sed -n wf; sh f",
    "sed -n 's/x/y/wf' z; sh f",
    "awk '{print > \"f\"}'; sh f",
    "split - sp_; sh sp_aa",
    "csplit -s -f cs_ - 1; sh cs_01",
    "cat > c1; ln c1 c2; sh c2",
    "cat > d1; mv d1 d2; sh d2",
    "cat > d1; cp d1 d2; cp d2 d3; sh d3",
    "echo 'pg-_dump' > f; sed -i s/-// f; sh f",
    "rsync /usr/bin/pg_dump xx; xx",
    "cat > h/.bash_profile; HOME=h bash -l -c true",
    "gcc -xc - -o f && ./f",
    "make --file=-",
    "make -sf/dev/fd/0",
];

#[test]
fn what_is_read_once_more_or_otherwise_is_seen_or_opaque() {
    all_are_refused(ATTACKS);
}

#[test]
fn what_reads_code_from_the_client_counts_as_a_shell() {
    let texts = [
        "sh //dev/stdin",
        "sh /dev/../dev/stdin",
        "cd /dev; sh stdin",
        "cd /dev; . ./stdin",
        "cd /dev/fd; sh 0",
        "ln -sf /dev/stdin f; sh f",
        "python3",
        "python3 -",
        "python3 /dev/stdin",
        "python3 -i",
        "python3 -m code",
        "perl",
        "ruby",
        "node",
        "php",
        "m4",
        "gdb -q",
        "ed",
        "ex -s",
        "vim -es",
        "awk -f /dev/stdin",
        "awk -f-",
        "sed -f - x",
        "sed -nf /dev/stdin x",
        "sed --file=- x",
        "read x; echo $((x))",
        "read x; (( x ))",
        "read x; [[ $x -eq 1 ]]",
        "read x; [ -v $x ]",
        "read x; y=abc; echo ${y:x:1}",
        "read x; declare -i y=$x",
        "read x; printf -v \"$x\" 1",
        "read x; read \"$x\"",
        "read x; echo $[x]",
        "read -a y; echo $((y))",
        "IFS=: read x y; let y",
    ];
    all_read_the_client(&texts);
    for text in [
        "python3 x.py",
        "perl -pe 's/a/b/' f",
        "awk '{print $1}'",
        "vim x",
        "[[ $a -eq 1 ]]",
    ] {
        assert!(!of(text).shell, "{text}");
    }
}

#[test]
fn variables_that_a_client_sends_count_as_assigned() {
    let opaque = |name: &str, value: &str, text: &str| {
        let command = super::super::analyze(text.as_bytes(), &[(name, value)]);
        command.opaque.is_some() || command.programs.iter().any(|one| one == "pg_dump")
    };
    for (name, value) in [
        ("BASH_FUNC_true%%", "() { x; }"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("PERL5OPT", "-Mx"),
        ("GIT_SSH_COMMAND", "pg_dump"),
        ("GIT_CONFIG_PARAMETERS", "'core.pager=x'"),
        ("PATH", "/tmp"),
        ("BASH_ENV", "$(pg_dump)"),
        ("NOBODY_KNOWS", "1"),
    ] {
        assert!(opaque(name, value, "git status"), "{name}");
    }
    for (name, value) in [
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("TERM", "xterm-256color"),
        ("COLORTERM", "truecolor"),
        ("GIT_PROTOCOL", "version=2"),
        ("EDITOR", "vim"),
    ] {
        assert!(!opaque(name, value, "git status"), "{name}");
    }
}

#[test]
fn everyday_commands_that_are_read_once_more_are_understood() {
    let texts = [
        "sh -c \"cd /x && ls\"",
        "sh -c \"cd $HOME/x && ls\"",
        "tmp=$(mktemp -d); trap \"rm -rf $tmp\" EXIT; cd \"$tmp\"; ls",
        "su -c \"echo $USER $$\" app",
        "ssh other \"echo $(hostname) $(date +%s)\"",
        "cd /srv/app && sh -c \"ls $PWD\"",
        "cd $HOME && sh -c \"ls $(pwd)\"",
        "for i in {1..3}; do ssh h$i \"echo $i\"; done",
        "for i in 1 2; do sh -c \"echo $i\"; done",
        "sh -c \"echo $FOO\"",
        "sh -c \"echo $((1+2)) $? ${#x}\"",
        "find . -name '*.sh' -exec sh -c 'ls \"$1\"' _ {} \\;",
        "ls | xargs -n1 sh -c 'echo \"$1\"' _",
        "cd \"$(dirname \"$0\")\" && ls",
        "if [[ -f x ]]; then ls; fi > log 2>&1",
        "for f in a b; do echo $f; done | sort > out",
        "cat <<'E' > x\nbody\nE",
        "cat <<\"E\"\nbody\nE",
        "n=$(wc -l < f); echo $((n+1))",
        "x=([a]=1 [b]=2); echo ${x[a]}",
        "[ \"$TERM\" = dumb ] || tput clear",
        "export TERM=xterm; ls",
        "perl -e 'open F, \"<\", \"f\"; print <F>'",
        "coproc cat",
        "while [[ $n -lt 3 ]]; do n=$((n+1)); done",
    ];
    let refused: Vec<_> = texts
        .iter()
        .filter_map(|text| Some((text, refused(text)?)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
