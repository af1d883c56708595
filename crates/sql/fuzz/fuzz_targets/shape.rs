//! Shapes: where one analysis is used for every text of a shape, the analysis of each of these
//! texts says the same.
#![no_main]

#[path = "../facts.rs"]
mod facts;

use std::sync::LazyLock;

use facts::facts;
use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, Stack, survive_overflow, utf8};
use weir_sql::{Analysis, LexSettings, STACK, Shape, analyze};

static JUDGE: LazyLock<Stack> = LazyLock::new(|| Stack::new(STACK, judge));

fuzz_target!(
    init: survive_overflow(),
    |data: &[u8]| JUDGE.judge(data)
);

fn judge(data: &[u8]) {
    let mut input = Input::new(data);
    let lex = LexSettings {
        standard_conforming_strings: input.byte() & 1 == 0,
    };
    let mut choices = Input::new(input.short());
    let text = utf8(input.rest());
    let mut shape = Shape::default();
    let Some(key) = shape.read(text).map(str::to_owned) else {
        return;
    };
    let Analysis::Parsed(script) = analyze(text, &lex) else {
        return;
    };
    if !script.ignores_literals(&shape, text) {
        return;
    }
    let other = filled(&key, &mut choices);
    if Shape::default().read(&other) != Some(&key) {
        return;
    }
    let Analysis::Parsed(again) = analyze(&other, &lex) else {
        panic!("a text of the shape of {text:?} does not parse: {other:?}");
    };
    let (one, two) = (facts(&script.statements), facts(&again.statements));
    assert_eq!(one, two, "{text:?} and {other:?}");
}

/// A text of this shape, with other literals where the shape has stand-ins.
fn filled(key: &str, choices: &mut Input<'_>) -> String {
    const INTEGERS: [&str; 6] = ["0", "1", "7", "2147483647", "007", "42"];
    const NUMBERS: [&str; 4] = ["1.5", "2147483648", "99999999999999999999", "0.0"];
    const STRINGS: [&str; 8] = [
        "''",
        "'t'",
        "'ssn'",
        "'a''b'",
        "'1 day'",
        "'pg_catalog'",
        "'{1,2}'",
        "'<a/>'",
    ];
    let mut text = String::new();
    for c in key.chars() {
        match c {
            '\u{1}' => text.push_str(INTEGERS[usize::from(choices.byte()) % 6]),
            '\u{2}' => text.push_str(NUMBERS[usize::from(choices.byte()) % 4]),
            '\u{3}' => text.push_str(STRINGS[usize::from(choices.byte()) % 8]),
            other => text.push(other),
        }
    }
    text
}
