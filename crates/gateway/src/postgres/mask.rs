//! What stands in a masked cell, by the type and format of its column.
//!
//! A value of a type that cannot carry the mask becomes NULL; arrays and composites are masked
//! whole, which for them means NULL too. Binary formats stay valid: text types have the same bytes
//! in both, `jsonb` has a version byte, everything else that is not text becomes NULL.

use std::sync::Arc;

use weir_policy::Mask;
use weir_wire_postgres::message::Cell;

/// Type OIDs whose values are text (`pg_type.dat`): text, varchar, bpchar, name, "char", unknown.
const TEXT: [u32; 6] = [25, 1043, 1042, 19, 18, 705];
const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// The mask of one column of one result.
#[derive(Debug, Clone)]
pub(super) struct CellMask {
    mask: Mask,
    shape: Shape,
    key: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Json { version: bool },
    Other,
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
        key: &Arc<[u8]>,
    ) -> Self {
        let mask = match mask {
            Mask::Partial { .. } | Mask::Token if derived => Mask::Null,
            mask => mask,
        };
        let shape = match type_oid {
            JSON => Shape::Json { version: false },
            JSONB => Shape::Json { version: binary },
            oid if TEXT.contains(&oid) => Shape::Text,
            _ => Shape::Other,
        };
        Self {
            mask,
            shape,
            key: Arc::clone(key),
        }
    }

    /// What stands in place of `value`.
    pub(super) fn apply(&self, value: &[u8]) -> Cell {
        let text = match (&self.mask, self.shape) {
            (Mask::Null, _) | (_, Shape::Other) => return Cell::Null,
            (Mask::Constant(text), _) => text.clone(),
            (_, Shape::Json { .. }) => "masked".to_owned(),
            (Mask::Token, Shape::Text) => weir_detect::mask::token(&self.key, value),
            (
                Mask::Partial {
                    keep_first,
                    keep_last,
                },
                Shape::Text,
            ) => {
                let Ok(text) = std::str::from_utf8(value) else {
                    return Cell::Null;
                };
                let (first, last) = (*keep_first as usize, *keep_last as usize);
                weir_detect::mask::partial(text, first, last)
            }
        };
        Cell::Bytes(match self.shape {
            Shape::Json { version } => json_string(&text, version),
            _ => text.into_bytes(),
        })
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
        CellMask::new(mask, type_oid, binary, false, &Arc::from(&b"key"[..]))
    }

    #[test]
    fn a_type_that_cannot_carry_the_mask_becomes_null() {
        for oid in [23, 1700, 1082, 17, 1009, 2950] {
            assert_eq!(
                mask(Mask::Constant("***".into()), oid, true).apply(b"\0\0\0\x07"),
                Cell::Null
            );
        }
    }

    #[test]
    fn json_stays_json_in_both_formats() {
        let text = mask(Mask::Constant("a\"b".into()), JSONB, false).apply(b"{}");
        assert_eq!(text, Cell::Bytes(b"\"a\\\"b\"".to_vec()));
        let binary = mask(Mask::Constant("x".into()), JSONB, true).apply(b"\x01{}");
        assert_eq!(binary, Cell::Bytes(b"\x01\"x\"".to_vec()));
    }

    #[test]
    fn a_derived_value_shows_no_part() {
        let partial = Mask::Partial {
            keep_first: 0,
            keep_last: 4,
        };
        let derived = CellMask::new(partial, 25, false, true, &Arc::from(&b"key"[..]));
        assert_eq!(derived.apply(b"774-21-9036"), Cell::Null);
    }
}
