//! Masked cells: valid for the column's type and format, and nothing of a value that is hidden.
#![no_main]

#[path = "../../src/postgres/mask.rs"]
mod mask;
#[path = "../../src/values.rs"]
#[expect(dead_code, reason = "values that are found are another matter")]
mod values;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mask::CellMask;
use weir_detect::mask::TokenKey;
use weir_fuzz::Input;
use weir_policy::Mask;
use weir_wire_postgres::message::Cell;

const TEXT: [u32; 6] = [25, 1043, 1042, 19, 18, 705];
const JSON: [u32; 2] = [114, 3802];
/// int4, numeric, date, bytea, text[], uuid, record, xml.
const OTHER: [u32; 8] = [23, 1700, 1082, 17, 1009, 2950, 2249, 142];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let types = [&TEXT[..], &JSON, &OTHER].concat();
    let type_oid = types[input.below(types.len())];
    let (binary, derived) = (input.byte() & 1 == 1, input.byte() & 1 == 1);
    let (choice, first, last) = (input.byte() % 4, input.byte() % 5, input.byte() % 5);
    let (keep_first, keep_last) = (u32::from(first), u32::from(last));
    let constant = input.text();
    let mask = match choice {
        0 => Mask::Null,
        1 => Mask::Constant(constant.clone()),
        2 => Mask::Token,
        _ => Mask::Partial {
            keep_first,
            keep_last,
        },
    };
    let key = Arc::new(TokenKey::new(input.short()));
    let value = input.rest();
    let whole = matches!(mask, Mask::Null | Mask::Constant(_)) || derived;
    let cell_mask = CellMask::new(mask, type_oid, binary, derived, &key);
    let shown = |value: &[u8]| {
        let mut out = b"before".to_vec();
        let cell = cell_mask.apply(value, &mut out);
        let bytes = out.strip_prefix(b"before").expect("what was there is kept");
        (cell == Cell::Value).then(|| bytes.to_vec())
    };
    let Some(bytes) = shown(value) else {
        return;
    };
    assert!(
        !OTHER.contains(&type_oid),
        "a type that cannot carry a mask"
    );
    let text = if JSON.contains(&type_oid) {
        let text = match (type_oid, binary) {
            (3802, true) => bytes.strip_prefix(&[1]).expect("the version of jsonb"),
            _ => &bytes[..],
        };
        let json: Result<String, _> = serde_json::from_slice(text);
        assert!(json.is_ok(), "{}", text.escape_ascii());
        text
    } else {
        &bytes[..]
    };
    let text = std::str::from_utf8(text).expect("text");
    if whole {
        let other = shown(b"another value");
        assert_eq!(
            other.as_ref(),
            Some(&bytes),
            "a whole mask depends on the value"
        );
    }
    if choice == 3 && !whole && TEXT.contains(&type_oid) {
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
        assert!(
            letters(text) <= usize::from(first + last),
            "more is shown than kept"
        );
    }
});
