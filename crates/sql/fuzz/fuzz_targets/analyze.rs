//! Statement texts: judged on the stack that the crate asks for, with ranges and indices that lie
//! where they should, and no statement that hides behind another.
#![no_main]

#[path = "../facts.rs"]
mod facts;

use std::sync::LazyLock;

use facts::facts;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, Stack, survive_overflow, utf8};
use weir_sql::{Analysis, LexSettings, MAX_TEXT, OpaqueReason, STACK, Script, analyze, normalize};

static JUDGE: LazyLock<Stack> = LazyLock::new(|| Stack::new(STACK, judge));

fuzz_target!(
    init: survive_overflow(),
    |data: &[u8]| JUDGE.judge(data)
);

fn judge(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, cut) = (input.byte(), input.byte());
    let lex = LexSettings {
        standard_conforming_strings: choice & 3 != 0,
    };
    let text = utf8(input.rest());
    let script = match analyze(text, &lex) {
        Analysis::Parsed(script) => script,
        Analysis::SyntaxError(error) => {
            let end = text.chars().count() + 1;
            assert!(
                error
                    .cursor
                    .is_none_or(|at| (1..=end).contains(&(at as usize)))
            );
            assert_eq!(normalize(text, &lex), None);
            return;
        }
        Analysis::Opaque(reason) => {
            assert_eq!(reason == OpaqueReason::NulByte, text.contains('\0'));
            assert_eq!(reason == OpaqueReason::TooLarge, text.len() > MAX_TEXT);
            return;
        }
    };
    ranges(&script, text);
    let all = facts(&script.statements);
    if choice & 4 == 0 {
        // What follows a text that is whole is another statement, whatever the text ends with.
        let both = [text, "\n;\nDELETE FROM zz_other"].concat();
        let Analysis::Parsed(both) = analyze(&both, &lex) else {
            panic!("a second statement is not seen");
        };
        let (last, first) = both.statements.split_last().expect("two statements");
        assert_eq!((last.tag, &*last.relations[0].name), ("DELETE", "zz_other"));
        assert_eq!(facts(first), all, "a second statement changes the first");
    } else {
        // Two texts in one message are the statements of both.
        let cut = text.floor_char_boundary(usize::from(cut) * text.len() / 256);
        let (a, b) = text.split_at(cut);
        if let (Analysis::Parsed(a), Analysis::Parsed(b)) = (analyze(a, &lex), analyze(b, &lex)) {
            let joined = [text.get(..cut).unwrap_or_default(), "\n;", &text[cut..]].concat();
            let Analysis::Parsed(joined) = analyze(&joined, &lex) else {
                panic!("two whole texts are not one message");
            };
            let parts = [facts(&a.statements), facts(&b.statements)].concat();
            assert_eq!(facts(&joined.statements), parts);
        }
    }
    if choice & 8 != 0 {
        assert!(
            script
                .fingerprint(text, &lex)
                .is_some_and(|print| print.len() == 16)
        );
    }
}

/// Statements stand in the text, one behind the other.
fn ranges(script: &Script, text: &str) {
    let mut end = 0;
    for statement in &script.statements {
        let range = statement.range.clone();
        assert!(
            end <= range.start && range.start <= range.end,
            "{range:?} after {end}"
        );
        assert!(
            text.get(range.clone()).is_some(),
            "{range:?} is no part of the text"
        );
        end = range.end;
    }
}
