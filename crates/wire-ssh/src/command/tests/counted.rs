//! Text that bash computes with: a place in an array that is named there runs commands.

use super::{all_are_refused, all_read_the_client, refused};

const ATTACKS: &[&str] = &[
    // a value that names a place
    "x='a[0+$(pg_''dump)]'; echo $((x))",
    "x='a[ $(pg_\"\"dump)]'; echo $((x))",
    "x='a[ $(pg_\"\"dump)]'; echo $[x]",
    "x='a[ $(pg_\"\"dump)]'; ((x))",
    "x='a[ $(pg_\"\"dump)]'; (( y = \"x\" ))",
    "x='a[ $(pg_\"\"dump)]'; ((\ny = x\n))",
    "x='a[ $(pg_\"\"dump)]'; let y=x",
    "x='a[ `pg_\"\"dump`]'; let 'y=x'",
    "d='$'; x=\"a[ $d(pg_''dump)]\"; echo $((x))",
    "x='a[ $(pg_\"\"dump)]'; y=x; z=y; echo $((z))",
    "x='a[ $(pg_\"\"dump)]'; echo ${y[x]}",
    "x='a[ $(pg_\"\"dump)]'; echo ${y[$x]}",
    "x='a[ $(pg_\"\"dump)]'; echo \"${y[x]:-1}\"",
    "x='a[ $(pg_\"\"dump)]'; echo ${#y[x]}",
    "x='a[ $(pg_\"\"dump)]'; echo ${!y[x]}",
    "x='a[ $(pg_\"\"dump)]'; echo ${y[x]#z}",
    "x='a[ $(pg_\"\"dump)]'; y=abc; echo ${y:x}",
    "x='a[ $(pg_\"\"dump)]'; y=abc; echo ${y:0:x}",
    "x='a[ $(pg_\"\"dump)]'; echo ${@:x}",
    "x='a[ $(pg_\"\"dump)]'; y[x]=1",
    "x='a[ $(pg_\"\"dump)]'; y[x]+=1",
    "x='a[ $(pg_\"\"dump)]'; y[$x]=1",
    "x='a[ $(pg_\"\"dump)]'; y=([x]=1)",
    "x='a[ $(pg_\"\"dump)]'; for ((i=x;i<1;i++)); do :; done",
    "x='a[ $(pg_\"\"dump)]'; for ((;;i=x)) { break; }",
    "x='a[ $(pg_\"\"dump)]'; [[ x -eq 1 ]]",
    "x='a[ $(pg_\"\"dump)]'; [[ 1 -lt $x ]]",
    "x='a[ $(pg_\"\"dump)]'; echo ${!x}",
    "x='a[ $(pg_\"\"dump)]'; [ -v \"$x\" ]",
    "x='a[ $(pg_\"\"dump)]'; test -v $x",
    "x='a[ $(pg_\"\"dump)]'; [[ -v $x ]]",
    "x='a[ $(pg_\"\"dump)]'; printf -v \"$x\" 1",
    "x='a[ $(pg_\"\"dump)]'; read \"$x\" <<< 1",
    "x='a[ $(pg_\"\"dump)]'; unset \"$x\"",
    "x='a[ $(pg_\"\"dump)]'; declare \"$x=1\"",
    "x='a[ $(pg_\"\"dump)]'; declare -n r=$x; echo $r",
    "x='a[ $(pg_\"\"dump)]'; typeset -i n; n=$x",
    "declare -i n; for n in 'a[ $(pg_\"\"dump)]'; do :; done",
    "declare -i n; printf -v n %s 'a[ $(pg_\"\"dump)]'",
    "x='a[ $(pg_\"\"dump)]'; f() { local -i n=$x; }; f",
    "x='a[ $(pg_\"\"dump)]'; getopts a \"$x\"",
    "x='a[ $(pg_\"\"dump)]'; : & wait -n -p \"$x\"",
    "x='a[ $(pg_\"\"dump)]'; exec {y[x]}>/dev/null",
    "exec {y[1+$(pg_dump)]}>/dev/null",
    "set -- 'a[ $(pg_\"\"dump)]'; echo $(($1))",
    "f() { echo $(($1)); }; f 'a[ $(pg_\"\"dump)]'",
    "echo $(( $(echo 'a[ $(pg_\"\"dump)]') ))",
    "x=$(echo 'a[ $(pg_\"\"dump)]'); echo $((x))",
    "x=$(echo 'a[ $(pg_\"\"dump)]' | cat); echo $((x))",
    "x=$(echo YVsgJChwZ19kdW1wKV0K | base64 -d); echo $((x))",
    "x=$(rev <<< '])pmud_gp($ [a'); echo $((x))",
    "x=$(base64 -d <<E\nYVsgJChwZ19kdW1wKV0K\nE\n); echo $((x))",
    "x=$(awk 'BEGIN{print \"a[ $(pg_\" \"dump)]\"}'); ((x))",
    "x=$(python3 -c 'print(\"a[ $(pg_\" + \"dump)]\")'); ((x))",
    "echo YVsgJChwZ19kdW1wKV0K | base64 -d > f; x=$(cat f); ((x))",
    "for f in *; do echo $((f)); done",
    "declare -A m; k='$(pg_\"\"dump)'; ((m[$k]))",
    "declare -A m; k='$(pg_\"\"dump)'; unset \"m[$k]\"",
    "declare -A m; k='$(pg_\"\"dump)'; [[ -v m[$k] ]]",
    // the words of a list, and a value, that are expanded once more
    "declare -a \"x=($'\\x24'(pg_''dump))\"",
    "declare -a x='($(pg_\"\"dump))'",
    "typeset -A x='([k]=$(pg_\"\"dump))'",
    "f() { local -a x='(`pg_\"\"dump`)'; }; f",
    "v='($(pg_\"\"dump))'; declare -a x=\"$v\"",
    "x[0]='$(pg_\"\"dump)'; i=0; : \"${x[$i]@P}\"",
    "x='$(pg_\"\"dump)'; y=x; : \"${!y@P}\"",
    "MAILPATH='/tmp/m?$(pg_\"\"dump)' bash -i",
    // what is a sum to one shell, and a command in a command to another
    "((pg_dump))",
    "((pg_d\\ump))",
    "((pg_d''ump))",
    "((pg_d${x}ump))",
    "if ((pg_dump)); then :; fi",
];

#[test]
fn text_that_bash_computes_with_is_seen_or_opaque() {
    all_are_refused(ATTACKS);
}

#[test]
fn computing_with_what_the_client_sends_counts_as_a_shell() {
    let texts = [
        "read x; echo ${y[x]}",
        "read x; echo ${y[$x]}",
        "read x; echo ${#y[x]}",
        "read x; echo ${y[x]:-1}",
        "read x; y[x]=1",
        "read x; y[$x]=1",
        "read x; z=x; echo $((z))",
        "read x; for ((i=x;i<1;i++)); do :; done",
        "read x; echo ${!x}",
        "read x; unset \"$x\"",
        "read x; declare \"$x=1\"",
        "read x; declare -n r=$x; echo $r",
        "declare -i n; read n",
        "read x; wait -n -p \"$x\"",
        "read x; (( y = \"x\" ))",
        "while read k v; do ((m[$k]++)); done",
        "read x; let \"y=x\"",
    ];
    all_read_the_client(&texts);
}

#[test]
fn everyday_sums_are_understood() {
    let texts = [
        "((i++)); echo $i",
        "i=0; while ((i < 10)); do ((i+=1)); done",
        "for ((i=0;i<3;i++)); do echo $i; done",
        "n=5; for ((i=0; i<n; i++)); do echo $i; done",
        "n=$(wc -l < f); echo $((n+1))",
        "n=$(ls | wc -l); if (( n > 3 )); then echo many; fi",
        "n=$(nproc); echo $((n*2)); [[ $n -gt 4 ]] && echo big",
        "used=$(df / | tail -1 | awk '{print $5}' | tr -d %); if [[ $used -gt 90 ]]; then echo full; fi",
        "c=$(cat count); echo $((c+1)) > count",
        "v=$(echo \"$1\" | cut -d. -f1); (( v >= 3 )) && echo new",
        "start=$(date +%s); sleep 1; echo $(( $(date +%s) - start ))",
        "a=(1 2 3); i=1; echo ${a[i]} ${a[$i]} ${a[-1]} ${a[@]:1:2} ${#a[@]} ${a[${#a[@]}-1]}",
        "declare -A m; m[x]=1; k=x; echo ${m[$k]} ${m[x]}; for k in \"${!m[@]}\"; do echo $k ${m[$k]}; done",
        "a[0]=x; a[1]=y; echo ${a[*]}",
        "declare -i n=3; n+=1; echo $n",
        "x=HOME; echo ${!x}",
        "declare -a x=(a b); declare -r y='(none)'; echo $y",
        "s=abc; echo ${s:1} ${s:0:1} ${s: -1} ${s:$((1+1))}",
        "let i=i+1 'j = i * 2'; echo $j",
        "printf -v x %03d 7; echo $x",
        "if (( $# < 1 )); then echo usage; fi",
        "if (( $? )); then exit 1; fi",
        "((n = 5 * (3 + 2))); echo $n",
        "m=$(( (a + b) / 2 )); echo $m",
        "unset x; unset a[0]; unset -f f",
        "[[ -v HOME ]] && echo set",
        "(cd x && (make; make install))",
    ];
    let refused: Vec<_> = texts
        .iter()
        .filter_map(|text| Some((text, refused(text)?)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
