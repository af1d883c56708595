//! Masked rows: valid DataRows of as many cells, in which only the masked cells differ.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;
use weir_wire_postgres::ProtocolError;
use weir_wire_postgres::frame::{Body, HEADER, Header};
use weir_wire_postgres::message::{Cell, masked_row};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (masks, cut, stars) = (input.byte(), input.byte(), [b'*'; 9]);
    let body = input.rest();
    let mask = |index: usize| match masks.rotate_left(index as u32 % 8) & 3 {
        0 => Some(Cell::Null),
        1 => Some(Cell::Bytes(stars[..index % 10].into())),
        _ => None,
    };
    let mut out = b"before".to_vec();
    let shown = &mut Vec::new();
    let written = masked_row(&mut out, body, |index, value| {
        shown.push((index, value));
        mask(index)
    });
    let cells = cells(body);
    assert_eq!(
        written.is_ok(),
        cells.is_ok(),
        "two readers of one row disagree"
    );
    let Ok(cells) = cells else {
        assert_eq!(out, b"before");
        return;
    };
    let row = out.strip_prefix(b"before").unwrap();
    let whole = Header {
        tag: b'D',
        total: row.len(),
    };
    assert_eq!(Header::peek(row), Ok(Some(whole)));
    let after = self::cells(&row[HEADER..]).expect("a masked row is a row");
    assert_eq!(cells.len(), after.len());
    for (index, (was, is)) in cells.iter().zip(after).enumerate() {
        let want = match was.and_then(|value| Some((value, mask(index)?))) {
            None => *was,
            Some((_, Cell::Null)) => None,
            Some((_, Cell::Bytes(_))) => Some(&stars[..index % 10]),
        };
        assert_eq!(want, is, "cell {index}");
    }
    let present: Vec<_> = cells
        .iter()
        .enumerate()
        .filter_map(|(i, c)| Some((i, (*c)?)))
        .collect();
    assert_eq!(*shown, present, "NULL is not shown, all else is");
    let cut = &body[..usize::from(cut) % body.len()];
    assert!(
        masked_row(&mut out, cut, |_, _| None).is_err(),
        "half a row"
    );
});

/// The cells of a row, read without the code under test.
fn cells(body: &[u8]) -> Result<Vec<Option<&[u8]>>, ProtocolError> {
    let mut body = Body::new(body);
    let count = body.bytes(2)?;
    let count = u16::from_be_bytes([count[0], count[1]]);
    let cells = (0..count)
        .map(|_| match body.i32()? {
            -1 => Ok(None),
            length @ 0.. => body.bytes(length as usize).map(Some),
            _ => Err(ProtocolError::Count),
        })
        .collect::<Result<Vec<_>, _>>()?;
    body.end().map(|()| cells)
}
