//! Answers of the API server: valid JSON stays valid, nothing changes where nothing is replaced, no
//! covered text gets through, and cuts change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weir_fuzz::{Input, at_most};
use weir_wire_kube::{Event, FieldPattern, JsonError, Limits, Rewriter, Text, Values};

/// What stands in the place of covered texts; or nothing is replaced.
struct Mask(bool);

impl Values for Mask {
    fn replace(&mut self, text: &Text<'_>, out: &mut String) -> bool {
        let hit = self.0 && text.field.is_some();
        if hit {
            out.push_str("\"\\\n*");
        }
        hit
    }

    fn number(&mut self, _: usize) -> bool {
        self.0
    }
}

const PATTERNS: [&[&str]; 4] = [
    &["data.*"],
    &["spec.a[*].b", "status.**"],
    &["**.a", "spec[*]"],
    &[],
];

type Output = (Vec<u8>, Vec<(Event, usize)>);

fn rewrite(patterns: &[&str], mask: bool, pieces: &[&[u8]]) -> Result<Output, JsonError> {
    let fields: Vec<FieldPattern> = patterns
        .iter()
        .map(|text| FieldPattern::parse(text).unwrap())
        .collect();
    let limits = Limits {
        string: 1 << 16,
        depth: 64,
    };
    let mut rewriter = Rewriter::new(fields.into(), limits);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match rewriter.feed(&mut rest, &mut out, &mut Mask(mask))? {
                Event::None => break,
                event => events.push((event, out.len())),
            }
        }
        assert!(rest.is_empty());
    }
    rewriter.finish()?;
    Ok((out, events))
}

/// Several documents, one after another, as values.
fn values(text: &[u8]) -> Option<Vec<Value>> {
    let documents = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    documents.collect::<Result<_, _>>().ok()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let patterns = PATTERNS[input.below(PATTERNS.len())];
    let size = input.below(64) + 1;
    let text = input.rest();
    let whole = at_most(64 << 20, || rewrite(patterns, true, &[text]));
    let pieces: Vec<&[u8]> = text.chunks(size).collect();
    let cut = rewrite(patterns, true, &pieces);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (whole, cut) => assert_eq!(whole.is_err(), cut.is_err()),
    }
    let Ok((out, events)) = whole else {
        return;
    };
    let Some(read) = values(text) else {
        // Halves of surrogate pairs and numbers beyond a float are Go's JSON, and not serde's.
        let lower = text.to_ascii_lowercase();
        let pairs = lower.windows(3).any(|w| w == b"\\ud");
        assert!(pairs || lower.contains(&b'e') || text.len() > 300);
        return;
    };
    assert!(
        read.iter()
            .all(|value| value.is_object() || value.is_array())
    );
    let shown = values(&out).expect("what is written is JSON");
    assert_eq!(read.len(), shown.len());
    let begun = events
        .iter()
        .filter(|(event, _)| *event == Event::ObjectBegins);
    let ended = events
        .iter()
        .filter(|(event, _)| *event == Event::ObjectEnds);
    assert_eq!(begun.count(), ended.count());
    for document in &shown {
        if let Some(data) = document.get("data").and_then(Value::as_object)
            && patterns == ["data.*"]
        {
            assert!(data.values().all(|value| match value {
                Value::String(text) => text == "\"\\\n*",
                value => !value.is_number() && !value.is_boolean(),
            }));
        }
    }
    // Nothing replaced: the same bytes, but for paths of managers that hold values.
    if !text.windows(8).any(|w| w == b"fieldsV1") && !text.contains(&b'\\') {
        let (same, _) = rewrite(patterns, false, &pieces).unwrap();
        assert_eq!(same, text);
    }
});
