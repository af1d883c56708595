use super::*;
use crate::{Analysis, LexSettings, analyze};

fn key(text: &str) -> Option<String> {
    Shape::default().read(text).map(str::to_owned)
}

/// Whether the analysis of a text is said to hold for its whole shape.
fn is_general(text: &str) -> bool {
    let mut shape = Shape::default();
    let has_shape = shape.read(text).is_some();
    match analyze(text, &LexSettings::default()) {
        Analysis::Parsed(script) => has_shape && script.ignores_literals(&shape, text),
        _ => false,
    }
}

#[test]
fn texts_that_differ_in_literals_share_their_shape() {
    for (one, other) in [
        ("select 1", "select 2147483647"),
        ("select 1.5, 'a'", "select 99999999999, 'it''s'"),
        (
            "insert into t values (1, 'x')",
            "insert into t values (20, '')",
        ),
        (
            "select \"a'1\" from t where b = $1 and c = 'ü'",
            "select \"a'1\" from t where b = $1 and c = 'o'",
        ),
    ] {
        assert_eq!(key(one), key(other), "{one}");
        assert!(key(one).is_some(), "{one}");
    }
}

#[test]
fn what_the_server_reads_differently_has_another_shape() {
    for (one, other) in [
        ("select 1", "select 1.0"),
        ("select 1", "select 2147483648"),
        ("select 1", "select '1'"),
        ("select $1", "select $2"),
        ("select a1", "select a2"),
        ("select a.b", "select a . b"),
        ("select \"a\"", "select \"b\""),
        ("select - 1", "select -1"),
    ] {
        assert_ne!(key(one), key(other), "{one}");
    }
}

#[test]
fn a_text_that_is_not_plain_has_no_shape() {
    for text in [
        "select 1 -- x",
        "select 1 /* x */",
        "select $$a$$",
        "select $a$b$a$",
        "select e'\\n'",
        "select E'a'",
        "select 'a\\'",
        "select n'a'",
        "select x'1f'",
        "select U&'a'",
        "select U&\"a\"",
        "select 'a'\n'b'",
        "select 'a' 'b'",
        "select 1e5",
        "select 0x1f",
        "select 1_000",
        "select 1.",
        "select .5",
        "select t.5",
        "select 1..2",
        "select 1a",
        "select ü",
        "select 'open",
        "select \"open",
        "select \u{1}",
        "select \u{b}1",
    ] {
        assert_eq!(key(text), None, "{text}");
    }
}

const GENERAL: &[&str] = &[
    "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
    "select * from t where a in (1, 2, 3) and b = 'x' or c > -5 limit 10 offset 20",
    "select a + 1, b || 'x', case when c = 1 then 'y' else 'z' end from t order by a limit 5",
    "UPDATE accounts SET balance = balance + -1234 WHERE aid = 77",
    "update t set a = 'x', b = 2.5 where id = 1 and region = 'EU' and k in (1, 2)",
    "delete from t where id = 1",
    "INSERT INTO history (tid, mtime, note) VALUES (1, CURRENT_TIMESTAMP, 'x'), (2, now(), 'y')",
    "insert into t values (1) on conflict (a) do update set b = 5",
    "select date '2020-01-01', interval '1 day', '5'::int, cast('x' as text) from t",
    "select extract('year' from ts), substring(a from 2 for 3), overlay(a placing 'x' from 1) from t",
    "select sum(a) over (order by b rows 5 preceding), percentile_cont(0.5) within group (order by c) from t",
    "with x as (select 1 as a union select 2) select * from x join lateral (select 3) y on true",
    "select coalesce(a, 'none'), nullif(b, 0), greatest(c, 1), array[1, 2], (array[1])[1], row(1, 'a') from t",
    "select * from generate_series(1, 10) g where exists (select 1 from t where t.id = g.g)",
    "select data->'a', data->>'b', data #> '{a,b}' from t where data @> '{\"a\": 1}'",
    "delete from t where id = 1 returning id, 'x'",
    "select a between 1 and 2, a like 'x%', a is distinct from 5 from t fetch first 5 rows only",
];

const PARTICULAR: &[&str] = &[
    "select a, b from t order by 1",
    "select a, count(*) from t group by 1",
    "select distinct on (1) a, b from t",
    "select set_config('role', 'x', false)",
    "update t set a = 1 where 1 = 1",
    "update t set a = 1 where id = 1 or 2 = 2",
    "delete from t where a like '%'",
    "delete from t where a = 1 or a <> 1",
    "delete from t where id = 1 + 1",
    "delete from t where coalesce(a, 1) = 1",
    "delete from t where a > 1",
    "delete from t where a + 0 = a",
    "delete from t where a is not null and b = 1",
    "delete from t where a in (1, 2) is not unknown",
    "delete from t where a between 1 and 1",
    "with x as (delete from t where 1 = 1 returning *) select 5 from x",
    "select a::varchar(10) from t",
    "select 1; select 2",
    "set work_mem = 1000",
    "explain select 1",
    "prepare x as select 1",
    "declare c cursor for select 1",
    "fetch 5 from c",
    "do 'begin end'",
    "copy t to stdout (delimiter 'x')",
    "alter table t alter column a set default 5",
    "merge into t using s on t.a = s.a when matched and t.b = 1 then delete",
    "create table x as select 1",
];

#[test]
fn constants_that_are_only_data_do_not_matter() {
    for text in GENERAL {
        assert!(is_general(text), "{text}");
    }
}

#[test]
fn constants_that_were_looked_at_do() {
    for text in PARTICULAR {
        assert!(!is_general(text), "{text}");
    }
}

/// Other values of the same length and kind in the place of every literal, by turns.
fn with_other_literals(text: &str, turn: usize) -> String {
    let values: &[u8] = b"1234567890";
    let mut shape = Shape::default();
    assert!(shape.read(text).is_some());
    let mut bytes = text.as_bytes().to_vec();
    for start in &shape.literals {
        let mut at = *start as usize;
        let quoted = bytes[at] == b'\'';
        at += usize::from(quoted);
        let in_literal = |byte: &u8| byte.is_ascii_alphanumeric() || (quoted && *byte != b'\'');
        while bytes.get(at).is_some_and(in_literal) {
            if bytes[at].is_ascii_alphanumeric() {
                bytes[at] = values[(turn + at) % if quoted { 10 } else { 9 }];
            }
            at += 1;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_analysis_is_that_of_every_text_of_its_shape() {
    let facts = |text: &str| format!("{:?}", analyze(text, &LexSettings::default()));
    for text in GENERAL {
        for turn in 0..20 {
            let other = with_other_literals(text, turn);
            assert_eq!(key(text), key(&other), "{other}");
            assert_eq!(facts(text), facts(&other), "{text}\n{other}");
        }
    }
}
