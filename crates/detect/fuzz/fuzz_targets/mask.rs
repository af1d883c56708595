//! Masks of whole values: at most what may be shown is shown, and the shape says no more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_detect::mask::{MARK, TokenKey, constant, partial, partial_into, token};
use weir_fuzz::{Input, utf8};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (first, last) = (usize::from(input.byte() % 9), usize::from(input.byte() % 9));
    let huge = input.byte() == 0;
    let key = input.short();
    let value = input.rest();
    let name = token(key, value);
    assert!(name.len() == 16 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
    let again = TokenKey::new(key).token(value);
    assert_eq!(name.as_bytes(), again, "equal values have equal tokens");
    let text = utf8(value);
    shown(text, if huge { usize::MAX } else { first }, last);
});

fn shown(text: &str, first: usize, last: usize) {
    let out = partial(text, first, last);
    let mut again = b"before".to_vec();
    partial_into(text.as_bytes(), first, last, &mut again);
    assert_eq!(again.strip_prefix(b"before"), Some(out.as_bytes()));
    let total = text.chars().filter(|c| c.is_alphanumeric()).count();
    let kept = first.saturating_add(last);
    if total == 0 || kept.saturating_mul(2) > total {
        assert_eq!(out, constant());
        return;
    }
    assert_eq!(out.chars().count(), text.chars().count());
    let mut seen = 0;
    for (was, is) in text.chars().zip(out.chars()) {
        if !was.is_alphanumeric() {
            assert_eq!(was, is, "separators stay");
            continue;
        }
        seen += 1;
        let hidden = seen > first && seen <= total - last;
        assert_eq!(is, if hidden { MARK } else { was });
    }
}
