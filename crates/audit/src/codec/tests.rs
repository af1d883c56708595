use super::*;

#[test]
fn varints_survive_the_round_trip_at_their_edges() {
    for value in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(Reader::new(&out).varint(), Ok(value));
    }
}

#[test]
fn refuses_a_number_with_zeros_in_front() {
    for long in [&[0x80, 0][..], &[0x81, 0x80, 0], &[0xff, 0x80, 0x80, 0]] {
        assert_eq!(Reader::new(long).varint(), Err(DecodeError::Range));
    }
}

#[test]
fn refuses_a_varint_beyond_64_bits() {
    assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(DecodeError::Range));
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint(),
        Err(DecodeError::Range)
    );
}

#[test]
fn refuses_a_count_larger_than_what_is_left() {
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0x03, 0]).count(),
        Err(DecodeError::Short)
    );
}

#[test]
fn refuses_a_reference_to_nothing() {
    assert_eq!(Reader::new(&[5]).text(), Err(DecodeError::Unknown));
    assert_eq!(Reader::new(&[5]).names(), Err(DecodeError::Unknown));
    assert_eq!(Reader::new(&[5]).session(), Err(DecodeError::Unknown));
}
