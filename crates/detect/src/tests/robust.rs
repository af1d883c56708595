//! Any bytes, cut anywhere.

use super::*;

const SAMPLES: &[&str] = &[
    "a@example.test;860-41-2626;4000006739051240 +44 7700 900123",
    "878\u{2013}59\u{2013}0544 837&#45;05&#45;6422 874%2D04%2D3846 \u{ff14}",
    "password=hunter2 postgres://u:p@h/x 2001:db8::1 192.0.2.1 DE03000000006284984547",
    "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- eyJhbGciOiJub25lIn0.e30.x",
    "user [at] example (dot) test [at][dot] \\u002d\\x40 %252D &#x2d; \u{200b}[at]",
    "born on March 19, 1981 %B4000006739051240^QUILL/ZORA^2912? \"x y\"@example.test",
    "\x00738-02-7859 Authorization: Bearer abc.def sk-ant-abc xoxb-1 AKIA AIza",
];

/// Spans are in order, apart, inside, and on character boundaries.
fn check(bytes: &[u8]) {
    let mut end = 0;
    for span in scan(bytes) {
        assert!(span.start >= end && span.start < span.end && span.end <= bytes.len());
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
        }
        end = span.end;
    }
    assert!(mask::mask_spans(bytes, &scan(bytes)).len() <= bytes.len());
}

#[test]
fn every_piece_of_every_sample_is_scanned_without_harm() {
    for sample in SAMPLES {
        let bytes = sample.as_bytes();
        for start in 0..bytes.len() {
            for end in start..=bytes.len() {
                check(&bytes[start..end]);
            }
        }
    }
}

#[test]
fn every_byte_in_every_place_is_scanned_without_harm() {
    for sample in SAMPLES {
        for at in 0..sample.len() {
            for byte in (0..=255).step_by(3) {
                let mut bytes = sample.as_bytes().to_vec();
                bytes[at] = byte;
                check(&bytes);
            }
        }
    }
}

#[test]
fn pseudo_random_bytes_are_scanned_without_harm() {
    let alphabet =
        b"0123456789-. :/@=_+()[]%&#;\"'eyJAKIza\xe2\x80\x93\xc2\xa0\xefx\n\\u002d[at](dot)";
    let mut state = 1u64;
    for _ in 0..5_000 {
        let bytes: Vec<u8> = (0..60)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                alphabet[(state >> 33) as usize % alphabet.len()]
            })
            .collect();
        check(&bytes);
    }
}

#[test]
fn a_card_is_found_wherever_it_stands() {
    for before in 0..40 {
        let text = format!("{}:4000006739051240", "x".repeat(before));
        only(&text, "4000006739051240", "pan");
    }
}

#[test]
fn long_runs_of_one_byte_take_linear_time() {
    for unit in [
        "0",
        "1 ",
        "-",
        "@",
        ":",
        "=",
        "a@",
        "eyJ.",
        "1.",
        "::",
        "&#45;",
        "password=",
        "://",
        "gh_",
        "DE1",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        check(text.as_bytes());
    }
}

#[test]
fn only_the_kinds_that_were_asked_for_are_reported() {
    let text = b"a@example.test;860-41-2626";
    let mut spans = Vec::new();
    scan_into(text, KindSet::EMPTY.with(Kind::Ssn), &mut spans);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].kind, Kind::Ssn);
    scan_into(text, KindSet::EMPTY, &mut spans);
    assert_eq!(spans.len(), 1);
}

#[test]
fn kinds_have_names_that_read_back() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(*kind));
    }
    assert_eq!("card".parse(), Ok(Kind::Card));
    assert!("nothing".parse::<Kind>().is_err());
    let all: KindSet = Kind::ALL.iter().copied().collect();
    assert!(all.contains(Kind::Password) && !KindSet::EMPTY.contains(Kind::Ssn));
}
