//! What stands in a masked cell, by the type and format of its column.
//!
//! A value of a type that cannot carry the mask becomes NULL; arrays and composites are masked
//! whole, which for them means NULL too. Binary formats stay valid: text types have the same bytes
//! in both, `jsonb` has a version byte, everything else that is not text becomes NULL.

use std::sync::Arc;

use weir_detect::mask::TokenKey;
use weir_policy::Mask;
use weir_wire_postgres::message::Cell;

use crate::values::Shown;

/// Type OIDs whose values are text (`pg_type.dat`): text, varchar, bpchar, name, "char", unknown.
const TEXT: [u32; 6] = [25, 1043, 1042, 19, 18, 705];
const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// The mask of one column of one result.
#[derive(Debug, Clone)]
pub(super) struct CellMask {
    shown: Shown,
}

/// Whether a type's values are text.
pub(super) fn is_text(type_oid: u32) -> bool {
    TEXT.contains(&type_oid)
}

/// Whether a type's values are JSON documents.
pub(super) const fn is_json(type_oid: u32) -> bool {
    matches!(type_oid, JSON | JSONB)
}

impl CellMask {
    /// The mask for a column of this type and format. `key` is what tokens are made with; `derived`
    /// values are not the labelled value itself, so that keeping a part of them proves nothing:
    /// only a whole mask is safe.
    pub(super) fn new(
        mask: Mask,
        type_oid: u32,
        binary: bool,
        derived: bool,
        key: &Arc<TokenKey>,
    ) -> Self {
        let version = type_oid == JSONB && binary;
        let json = |text: &str| Shown::Fixed(json_string(text, version).into());
        let shown = match (mask, type_oid) {
            (Mask::Null, _) => Shown::Null,
            (Mask::Partial { .. } | Mask::Token, _) if derived => Shown::Null,
            (Mask::Constant(text), oid) if is_json(oid) => json(&text),
            (_, oid) if is_json(oid) => json("masked"),
            (_, oid) if !is_text(oid) => Shown::Null,
            (mask, _) => Shown::new(mask, key),
        };
        Self { shown }
    }

    /// Appends what stands in place of `value`.
    pub(super) fn apply(&self, value: &[u8], out: &mut Vec<u8>) -> Cell {
        match self.shown.write(value, out) {
            Some(()) => Cell::Value,
            None => Cell::Null,
        }
    }
}

fn json_string(text: &str, version: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 3);
    if version {
        out.push(1);
    }
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend([b'\\', c as u8]),
            c if c.is_control() => out.push(b' '),
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(mask: Mask, type_oid: u32, binary: bool) -> CellMask {
        CellMask::new(mask, type_oid, binary, false, &key())
    }

    fn key() -> Arc<TokenKey> {
        Arc::new(TokenKey::new(b"key"))
    }

    fn shown(mask: &CellMask, value: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let cell = mask.apply(value, &mut out);
        (cell == Cell::Value).then_some(out)
    }

    #[test]
    fn a_type_that_cannot_carry_the_mask_becomes_null() {
        for oid in [23, 1700, 1082, 17, 1009, 2950] {
            let mask = mask(Mask::Constant("***".into()), oid, true);
            assert_eq!(shown(&mask, b"\0\0\0\x07"), None);
        }
    }

    #[test]
    fn json_stays_json_in_both_formats() {
        let text = mask(Mask::Constant("a\"b".into()), JSONB, false);
        assert_eq!(shown(&text, b"{}"), Some(b"\"a\\\"b\"".to_vec()));
        let binary = mask(Mask::Constant("x".into()), JSONB, true);
        assert_eq!(shown(&binary, b"\x01{}"), Some(b"\x01\"x\"".to_vec()));
    }

    #[test]
    fn a_derived_value_shows_no_part() {
        let partial = Mask::Partial {
            keep_first: 0,
            keep_last: 4,
        };
        let derived = CellMask::new(partial, 25, false, true, &key());
        assert_eq!(shown(&derived, b"774-21-9036"), None);
    }
}
