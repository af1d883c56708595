//! Statement texts: judged on the stack that the crate asks for, with ranges and indices that lie
//! where they should, and no statement that hides behind another.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{Input, Stack, survive_overflow, utf8};
use weir_sql::{
    Analysis, Column, LexSettings, MAX_TEXT, OpaqueReason, Oracle, Origin, OutputItem, STACK,
    Script, Statement, Traced, analyze, fingerprint, normalize,
};

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
            assert_eq!(
                (fingerprint(text, &lex), normalize(text, &lex)),
                (None, None)
            );
            return;
        }
        Analysis::Opaque(reason) => {
            assert_eq!(reason == OpaqueReason::NulByte, text.contains('\0'));
            assert_eq!(reason == OpaqueReason::TooLarge, text.len() > MAX_TEXT);
            return;
        }
    };
    ranges(&script, text);
    let facts = facts(&script.statements);
    if choice & 4 == 0 {
        // What follows a text that is whole is another statement, whatever the text ends with.
        let both = [text, "\n;\nDELETE FROM zz_other"].concat();
        let Analysis::Parsed(both) = analyze(&both, &lex) else {
            panic!("a second statement is not seen");
        };
        let (last, first) = both.statements.split_last().expect("two statements");
        assert_eq!((last.tag, &*last.relations[0].name), ("DELETE", "zz_other"));
        assert_eq!(
            self::facts(first),
            facts,
            "a second statement changes the first"
        );
    } else {
        // Two texts in one message are the statements of both.
        let cut = text.floor_char_boundary(usize::from(cut) * text.len() / 256);
        let (a, b) = text.split_at(cut);
        if let (Analysis::Parsed(a), Analysis::Parsed(b)) = (analyze(a, &lex), analyze(b, &lex)) {
            let joined = [text.get(..cut).unwrap_or_default(), "\n;", &text[cut..]].concat();
            let Analysis::Parsed(joined) = analyze(&joined, &lex) else {
                panic!("two whole texts are not one message");
            };
            let parts = [self::facts(&a.statements), self::facts(&b.statements)].concat();
            assert_eq!(self::facts(&joined.statements), parts);
        }
    }
    if choice & 8 != 0 {
        assert!(fingerprint(text, &lex).is_some_and(|print| print.len() == 16));
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

/// All that does not depend on where a statement stands, and what it traces to.
fn facts(statements: impl AsRef<[Statement]>) -> Vec<String> {
    statements.as_ref().iter().map(fact).collect()
}

fn fact(it: &Statement) -> String {
    assert!(it.opaque.is_some() || !it.tag.is_empty());
    let named = (
        &it.relations,
        &it.functions,
        &it.operators,
        &it.types,
        &it.settings,
    );
    let does = (
        it.tag,
        it.effects,
        it.where_clause,
        it.returns_rows,
        it.returning,
        it.opaque,
    );
    let also = (
        it.changes_schema,
        it.has_literals,
        &it.transaction,
        &it.code,
        &it.copy,
    );
    let blind = it.lineage.trace(&Catalog(None));
    let seeing = it.lineage.trace(&Catalog(Some(columns())));
    traced(it, &blind);
    traced(it, &seeing);
    assert_eq!(
        seeing,
        it.lineage.trace(&Catalog(Some(columns()))),
        "tracing is a function"
    );
    let inner = [
        &it.prepares.as_ref().map(|p| fact(&p.body)),
        &it.declares.as_ref().map(|d| fact(&d.body)),
    ];
    format!("{named:?} {does:?} {also:?} {blind:?} {seeing:?} {inner:?}")
}

/// Indices that lead somewhere.
fn traced(statement: &Statement, traced: &Traced) {
    let valid = |origin: &Origin| match *origin {
        Origin::Column { relation, column } => {
            assert!(relation < statement.relations.len() && column < columns().len());
        }
        Origin::Relation(relation) => assert!(relation < statement.relations.len()),
        Origin::Function(function) => assert!(function < statement.functions.len()),
        Origin::Unresolved => {}
    };
    for item in &traced.outputs.items {
        let (OutputItem::Column(column) | OutputItem::Star(column)) = item;
        column.origins.iter().for_each(valid);
    }
    traced.touched.iter().for_each(valid);
    for found in &traced.uses {
        valid(&found.origin);
        assert!(
            found
                .into
                .as_ref()
                .is_none_or(|to| to.relation < statement.relations.len())
        );
    }
}

/// Every relation has the same columns, or none is known; no function is trusted.
struct Catalog(Option<[Column; 3]>);

fn columns() -> [Column; 3] {
    [("id", false), ("ssn", true), ("a", true)].map(|(name, labelled)| Column {
        name: name.to_owned(),
        labelled,
    })
}

impl Oracle for Catalog {
    fn columns(&self, _: usize) -> Option<&[Column]> {
        self.0.as_ref().map(<[Column; 3]>::as_slice)
    }

    fn is_trusted(&self, _: usize) -> bool {
        false
    }
}
