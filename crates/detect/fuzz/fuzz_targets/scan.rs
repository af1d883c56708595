//! Findings: in order, apart, inside of the value, on the borders of characters; and a value that
//! is masked by them is as valid as before and shows nothing of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_detect::mask::mask_spans;
use weir_detect::{Kind, KindSet, Span, scan, scan_into};
use weir_fuzz::{Input, at_most};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let value = input.rest();
    // The normalised copy, a place for each of its bytes, and the findings.
    let spans = at_most(64 * value.len() + 4096, || scan(value));
    apart(value, &spans);
    let some: KindSet = Kind::ALL
        .iter()
        .enumerate()
        .fold(KindSet::EMPTY, |set, (i, kind)| {
            if choice.rotate_left(i as u32 % 8) & 1 == 0 {
                set
            } else {
                set.with(*kind)
            }
        });
    let mut chosen = Vec::new();
    scan_into(value, some, &mut chosen);
    let wanted: Vec<Span> = spans
        .iter()
        .copied()
        .filter(|span| some.contains(span.kind))
        .collect();
    assert_eq!(
        chosen, wanted,
        "which kinds are asked for changes what is found"
    );
    masked(value, &spans);
});

fn apart(value: &[u8], spans: &[Span]) {
    let text = std::str::from_utf8(value);
    let mut end = 0;
    for span in spans {
        assert!(
            end <= span.start && span.start < span.end && span.end <= value.len(),
            "{span:?}"
        );
        if let Ok(text) = text {
            assert!(
                text.get(span.start..span.end).is_some(),
                "{span:?} cuts a character"
            );
        }
        end = span.end;
    }
}

fn masked(value: &[u8], spans: &[Span]) {
    let out = mask_spans(value, spans);
    assert!(out.len() <= value.len());
    assert!(std::str::from_utf8(value).is_err() || std::str::from_utf8(&out).is_ok());
    // Between findings nothing changes, and in them no letter and no digit stays.
    let (mut rest, mut at) = (&out[..], 0);
    for span in spans {
        rest = rest
            .strip_prefix(&value[at..span.start])
            .expect("what lies between is kept");
        let marks = value[span.start..span.end]
            .utf8_chunks()
            .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len());
        let (inside, after) = rest.split_at(marks.sum());
        assert!(
            !inside.iter().any(u8::is_ascii_alphanumeric),
            "a finding is shown"
        );
        (rest, at) = (after, span.end);
    }
    assert_eq!(rest, &value[at..]);
}
