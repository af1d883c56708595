use std::net::{IpAddr, Ipv4Addr};

use super::*;

#[test]
fn a_counter_object_is_read_and_cut_bytes_are_not() {
    let mut batch = Batch::new();
    batch.message(0, 0, &nfgen(0), |a| {
        a.text(op::OBJ_TABLE, TABLE);
        a.text(op::OBJ_NAME, "redirected");
        a.be32(op::OBJ_TYPE, op::OBJECT_COUNTER);
        a.nest(op::OBJ_DATA, |a| {
            a.bytes(1, &9_u64.to_be_bytes());
            a.bytes(op::COUNTER_PACKETS, &7_u64.to_be_bytes());
        });
    });
    let bytes = batch.bytes();
    let payload = &bytes[16..];
    assert_eq!(
        parse_counter(payload),
        Some((String::from("redirected"), 7))
    );
    for cut in 0..payload.len() {
        assert_eq!(parse_counter(&payload[..cut]), None, "{cut}");
    }
}

#[test]
fn a_rule_is_encoded_as_the_kernel_expects() {
    // `meta l4proto tcp`, as `nft --debug=mnl` shows it.
    let mut batch = Batch::new();
    message(&mut batch, op::NEWRULE, 0, |a| {
        a.nest(op::RULE_EXPRESSIONS, |a| {
            encode::Expressions(a).meta(encode::Meta::Protocol).is(&[6]);
        });
    });
    let expected: [u8; 92] = [
        104, 0, 0, 0, 6, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
        1, 0, 0, 0, // nfgenmsg: inet
        84, 0, 4, 128, // expressions
        36, 0, 1, 128, 9, 0, 1, 0, b'm', b'e', b't', b'a', 0, 0, 0, 0, // expr "meta"
        20, 0, 2, 128, 8, 0, 1, 0, 0, 0, 0, 8, 8, 0, 2, 0, 0, 0, 0, 16, // dreg 8, key l4proto
        44, 0, 1, 128, 8, 0, 1, 0, b'c', b'm', b'p', 0, // expr "cmp"
        32, 0, 2, 128, 8, 0, 1, 0, 0, 0, 0, 8, 8, 0, 2, 0, 0, 0, 0, 0, // sreg 8, eq
    ];
    let bytes = batch.bytes();
    assert_eq!(bytes.len(), 104);
    assert_eq!(&bytes[..92], &expected);
    assert_eq!(&bytes[92..], [12, 0, 3, 128, 5, 0, 1, 0, 6, 0, 0, 0]);
}

#[test]
fn every_message_has_a_name_for_its_error() {
    for dns in [
        Dns::Relay { port: 53 },
        Dns::Resolvers(vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            "::1".parse().unwrap(),
        ]),
    ] {
        let config = Config {
            port: 15001,
            exclusion: Exclusion::Uid(7),
            redirect_loopback: true,
            enforced: true,
            dns,
        };
        let (mut batch, mut labels) = (Batch::new(), Vec::new());
        rules::write(&mut batch, &mut labels, &config);
        let mut messages = 0;
        let bytes = batch.bytes();
        let mut rest = bytes;
        while let Some(len) = crate::netlink::u32_at(rest, 0) {
            messages += 1;
            rest = &rest[usize::try_from(len).unwrap()..];
        }
        assert_eq!(labels.len(), messages);
    }
}
