//! Masked rows: valid DataRows of as many cells, in which only the masked cells differ.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Input;
use weir_wire_postgres::ProtocolError;
use weir_wire_postgres::frame::{Body, HEADER, Header};
use weir_wire_postgres::message::{Cell, masked_row};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (choice, cut) = (input.byte(), input.byte());
    let body = input.rest();
    // By column: NULL, some stars, or (in between, and behind the last column) no mask.
    let masks: Vec<(usize, Option<&[u8]>)> = (0..20)
        .filter_map(|index| match choice.rotate_left(index as u32 % 8) & 3 {
            0 => Some((index, None)),
            1 => Some((index, Some(&b"*********"[..index % 10]))),
            _ => None,
        })
        .collect();
    let mask = |index: usize| {
        masks
            .iter()
            .find(|(at, _)| *at == index)
            .map(|(_, stars)| *stars)
    };
    let mut out = b"before".to_vec();
    let mut shown = Vec::new();
    let written = masked_row(&mut out, body, &masks, |stars, value, out| {
        shown.push(value.to_vec());
        match stars {
            None => Cell::Null,
            Some(stars) => {
                out.extend_from_slice(stars);
                Cell::Value
            }
        }
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
    let row = out.strip_prefix(b"before").expect("what was there is kept");
    let whole = Header {
        tag: b'D',
        total: row.len(),
    };
    assert_eq!(Header::peek(row), Ok(Some(whole)));
    let after = self::cells(&row[HEADER..]).expect("a masked row is a row");
    assert_eq!(cells.len(), after.len());
    for (index, (was, is)) in cells.iter().zip(after).enumerate() {
        let want = was.and_then(|value| mask(index).unwrap_or(Some(value)));
        assert_eq!(want, is, "cell {index}");
    }
    let masked = cells
        .iter()
        .enumerate()
        .filter(|(index, _)| mask(*index).is_some());
    let present: Vec<_> = masked
        .filter_map(|(_, cell)| cell.map(<[u8]>::to_vec))
        .collect();
    assert_eq!(
        shown, present,
        "NULL is not shown, all else that is masked is"
    );
    let cut = &body[..usize::from(cut) % body.len()];
    let half = masked_row(&mut out, cut, &masks, |_, _, _| Cell::Null);
    assert!(half.is_err(), "half a row");
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
