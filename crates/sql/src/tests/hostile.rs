//! Hostile texts: depth, size, damage. Nothing panics, nothing overflows the stack.

use crate::*;

const SEEDS: &[&str] = &[
    "SELECT c.ssn, t.* FROM customers c, LATERAL (SELECT c.id) t WHERE c.ssn IN ('a', $1) OR NOT c.id = 3",
    "WITH RECURSIVE r(n, v) AS (SELECT 1, ssn FROM customers UNION ALL SELECT n + 1, v FROM r) SELECT v FROM r ORDER BY 1",
    "INSERT INTO t (a, b) SELECT x, y FROM z ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING *, old.a",
    "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED AND s.b THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "SELECT E'\\'', U&\"\\0061\", $tag$ x $tag$, B'101', 'é' FROM a JOIN b USING (c) AS d NATURAL JOIN e",
    "CREATE FUNCTION f(a int DEFAULT 1) RETURNS text BEGIN ATOMIC SELECT 1; DELETE FROM t; END",
    "EXPLAIN (ANALYZE, FORMAT json) UPDATE t SET (a, b) = (SELECT 1, 2) FROM u WHERE t.a = u.a",
    "SELECT count(*) FILTER (WHERE a) OVER (PARTITION BY b ORDER BY c) FROM XMLTABLE('/a' PASSING x COLUMNS y text) t",
    "COPY (SELECT (c).*, ROW(1, 2), (ARRAY[1])[1], CASE a WHEN 1 THEN 2 END FROM c) TO STDOUT; SET LOCAL a = 'b'",
];

struct Blind;

impl Oracle for Blind {
    fn has_own_equality(&self) -> bool {
        false
    }

    fn has_system_columns(&self, _: usize) -> bool {
        false
    }

    fn columns(&self, _: usize) -> Option<&[Column]> {
        None
    }

    fn fills(&self, _: usize, _: Option<usize>) -> bool {
        false
    }

    fn is_trusted(&self, _: usize) -> bool {
        false
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }

    fn is_redefined(&self, _: usize) -> bool {
        false
    }

    fn is_harmless_field(&self, _: &str) -> bool {
        true
    }
}

/// Judges and traces on the stack that the crate asks for.
fn judge(text: String) -> Analysis {
    let run = move || {
        let analysis = analyze(&text, &LexSettings::default());
        if let Analysis::Parsed(script) = &analysis {
            for statement in &script.statements {
                statement.lineage.trace(&Blind);
            }
        }
        analysis
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap()
}

#[track_caller]
fn assert_too_deep(text: String) {
    let start: String = text.chars().take(40).collect();
    let analysis = judge(text);
    let expected = matches!(analysis, Analysis::Opaque(OpaqueReason::TooDeep));
    assert!(expected, "{start}: {analysis:?}");
}

#[test]
fn deep_nesting_is_opaque() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!(
            "SELECT {}{middle}{}",
            open.repeat(times),
            close.repeat(times)
        )
    };
    for times in [200, 3_000, 10_000, 40_000] {
        assert_too_deep(nested("-(", "a", ")", times));
        assert_too_deep(nested("NOT ", "true", "", times));
        assert_too_deep(nested("ARRAY[", "1", "]", times));
        assert_too_deep(nested("f(", "1", ")", times));
        assert_too_deep(nested("(SELECT ", "1", ")", times));
        assert_too_deep(nested("CASE WHEN ", "true", " THEN 1 END", times));
        let from = format!(
            "SELECT * FROM {}t{}",
            "(SELECT * FROM ".repeat(times),
            ") x".repeat(times)
        );
        assert_too_deep(from);
    }
    // Plain parentheses leave no trace in the tree.
    assert!(matches!(
        judge(nested("(", "1", ")", 1_000)),
        Analysis::Parsed(_)
    ));
    assert_too_deep(nested("(", "1", ")", 100_000));
}

#[test]
fn long_chains_are_opaque_and_short_ones_are_not() {
    assert!(matches!(
        judge(format!("SELECT 1{}", "+1".repeat(30))),
        Analysis::Parsed(_)
    ));
    for bytes in [4 << 10, 64 << 10, (1 << 20) - 100] {
        for link in ["+1", "||a", "::int", " COLLATE a", "[1]", " IS NULL"] {
            let text = format!("SELECT a{}", link.repeat(bytes / link.len()));
            let analysis = judge(text);
            // Subscripts are a list.
            let expected = if link == "[1]" {
                matches!(analysis, Analysis::Parsed(_))
            } else {
                matches!(analysis, Analysis::Opaque(OpaqueReason::TooDeep))
            };
            assert!(expected, "{bytes} {link}");
        }
        let unions = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(bytes / 19));
        assert_too_deep(unions);
        let joins = format!("SELECT 1 FROM a{}", " CROSS JOIN a".repeat(bytes / 13));
        assert_too_deep(joins);
    }
}

#[test]
fn long_lists_are_judged() {
    let values = format!("INSERT INTO t VALUES (1){}", ",(2)".repeat(100_000));
    assert!(matches!(judge(values), Analysis::Parsed(_)));
    let list = format!("SELECT 1 WHERE a IN (1{})", ",2".repeat(200_000));
    assert!(matches!(judge(list), Analysis::Parsed(_)));
    let ors = format!("DELETE FROM t WHERE a = 1{}", " OR a = 2".repeat(50_000));
    assert!(matches!(judge(ors), Analysis::Parsed(_)));
    let statements = "SELECT 1;".repeat(50_000);
    assert!(matches!(judge(statements), Analysis::Parsed(_)));
    let from = format!("SELECT a FROM t{}", ",t".repeat(50_000));
    assert!(matches!(judge(from), Analysis::Parsed(_)));
    let columns = format!("SELECT x{} FROM t", ",x".repeat(50_000));
    assert!(matches!(judge(columns), Analysis::Parsed(_)));
}

#[test]
fn work_does_not_grow_with_the_square_of_the_text() {
    let list = |count: usize, item: &dyn Fn(usize) -> String| {
        (0..count).map(item).collect::<Vec<_>>().join(",")
    };
    let texts = [
        format!(
            "SELECT {} FROM {}",
            list(40_000, &|n| format!("t{n}.a")),
            list(40_000, &|n| format!("t{n}"))
        ),
        format!(
            "SELECT {} ORDER BY {}",
            list(40_000, &|n| format!("1 a{n}")),
            list(40_000, &|n| format!("a{n}"))
        ),
        format!(
            "WITH RECURSIVE {} SELECT 1",
            list(20_000, &|n| format!("a{n} AS (TABLE a{})", n + 1))
        ),
        format!(
            "GRANT SELECT ON {} TO x",
            list(60_000, &|n| format!("t{n}"))
        ),
        format!(
            "CREATE TABLE t ({})",
            list(30_000, &|n| format!("a{n} int DEFAULT f{n}()"))
        ),
        format!(
            "UPDATE t SET {} WHERE a RETURNING {}",
            list(30_000, &|n| format!("a{n} = b")),
            list(30_000, &|n| format!("a{n}"))
        ),
        format!(
            "DELETE FROM t WHERE {}",
            vec!["a IN (1, 2) OR NOT a = 3"; 20_000].join(" OR ")
        ),
    ];
    for text in texts {
        let start: String = text.chars().take(30).collect();
        let clock = std::time::Instant::now();
        assert!(matches!(judge(text), Analysis::Parsed(_)), "{start}");
        // An unoptimised build on a busy machine takes about a second.
        assert!(
            clock.elapsed().as_secs() < 30,
            "{start}: {:?}",
            clock.elapsed()
        );
    }
}

#[test]
fn growth_by_stars_is_given_up_rather_than_done() {
    let mut text = "WITH q0 AS (SELECT 1 AS a, ssn FROM customers)".to_owned();
    for level in 1..60 {
        text += &format!(
            ", q{level} AS (SELECT x.*, y.* FROM q{0} x, q{0} y)",
            level - 1
        );
    }
    text += " SELECT * FROM q59";
    let Analysis::Parsed(script) = analyze(&text, &LexSettings::default()) else {
        panic!("parses");
    };
    let traced = script.statements[0].lineage.trace(&Blind);
    assert_eq!(traced.outputs.column(0, 5).derivation, Derivation::Derived);
}

#[test]
fn size_and_zero_bytes_are_refused() {
    let large = format!("SELECT '{}'", "x".repeat(MAX_TEXT));
    assert!(matches!(
        judge(large),
        Analysis::Opaque(OpaqueReason::TooLarge)
    ));
    assert!(matches!(
        judge("SELECT 1\0".to_owned()),
        Analysis::Opaque(OpaqueReason::NulByte)
    ));
}

#[test]
fn syntax_errors_have_the_servers_message_and_position() {
    let cases = [
        ("SELEC 1", "syntax error at or near \"SELEC\"", Some(1)),
        (
            "SELECT 1 FROM FROM t",
            "syntax error at or near \"FROM\"",
            Some(15),
        ),
        (
            "SELECT 'é', ) , ) ",
            "syntax error at or near \")\"",
            Some(13),
        ),
        (
            "SELECT 1; SELECT 2 2 2 2",
            "syntax error at or near \"2\"",
            Some(20),
        ),
        ("SELECT (1", "syntax error at end of input", Some(10)),
        (
            "SELECT 'abc",
            "unterminated quoted string at or near \"'abc\"",
            Some(8),
        ),
        (
            "SELECT /* x",
            "unterminated /* comment at or near \"/* x\"",
            Some(8),
        ),
        (
            "SELECT 1a",
            "trailing junk after numeric literal at or near \"1a\"",
            Some(8),
        ),
        ("SELECT ''::", "syntax error at end of input", Some(12)),
    ];
    for (sql, message, cursor) in cases {
        match judge(sql.to_owned()) {
            Analysis::SyntaxError(error) => {
                assert_eq!(
                    (error.message.as_str(), error.cursor),
                    (message, cursor),
                    "{sql}"
                );
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn strings_are_read_as_the_session_reads_them() {
    let text = r"SELECT 'a\' OR 1=1 --' , ssn FROM customers";
    let tags = |on: bool| {
        let lex = LexSettings {
            standard_conforming_strings: on,
        };
        match analyze(text, &lex) {
            Analysis::Parsed(script) => script.statements[0].relations.len(),
            other => panic!("{other:?}"),
        }
    };
    // On: the string ends at the first quote, and the rest is a comment.
    assert_eq!(tags(true), 0);
    // Off: the backslash escapes it, and the string ends at the second.
    assert_eq!(tags(false), 1);
    let many = format!("SELECT {}''", r"'\n',".repeat(20_000));
    let lex = LexSettings {
        standard_conforming_strings: false,
    };
    assert!(matches!(analyze(&many, &lex), Analysis::Parsed(_)));
}

#[test]
fn threads_with_different_settings_do_not_disturb_each_other() {
    let text = r"SELECT 'a\' OR 1=1 --' , ssn FROM customers";
    let run = |on: bool| {
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                let lex = LexSettings {
                    standard_conforming_strings: on,
                };
                for _ in 0..500 {
                    let Analysis::Parsed(script) = analyze(text, &lex) else {
                        panic!("parses")
                    };
                    assert_eq!(script.statements[0].relations.is_empty(), on);
                    assert!(matches!(analyze("SELEC", &lex), Analysis::SyntaxError(_)));
                }
            })
    };
    let threads = [true, false, true, false].map(run);
    for thread in threads {
        thread.unwrap().join().unwrap();
    }
}

#[test]
fn every_prefix_of_a_text_is_answered() {
    for seed in SEEDS {
        assert!(
            matches!(judge((*seed).to_owned()), Analysis::Parsed(_)),
            "{seed}"
        );
        for (end, _) in seed.char_indices() {
            judge(seed[..end].to_owned());
        }
    }
}

#[test]
fn damaged_texts_are_answered() {
    // Knuth's MMIX generator: the same texts in every run.
    let mut state = 0x5eed_u64;
    let mut next = move |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let words: Vec<&str> = SEEDS.iter().flat_map(|seed| seed.split(' ')).collect();
    let mut parsed = 0;
    for _ in 0..3_000 {
        let mut text: Vec<&str> = SEEDS[next(SEEDS.len())].split(' ').collect();
        for _ in 0..=next(3) {
            let place = next(text.len());
            match next(4) {
                0 => drop(text.remove(place)),
                1 => text.insert(place, words[next(words.len())]),
                2 => text[place] = words[next(words.len())],
                _ => text.swap(place, 0),
            }
            if text.is_empty() {
                text.push("SELECT");
            }
        }
        parsed += usize::from(matches!(judge(text.join(" ")), Analysis::Parsed(_)));
    }
    assert!(parsed > 50, "{parsed} of the damaged texts still parse");
}
