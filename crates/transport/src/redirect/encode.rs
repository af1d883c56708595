//! nf_tables in netlink terms: message kinds, attribute numbers, expressions.
//!
//! The numbers are those of `linux/netfilter/nf_tables.h`. Each function
//! writes one expression; registers are named, so that a rule reads as a
//! sentence. Refuses nothing: the kernel validates the whole batch.

use crate::netlink::{Attrs, Batch, NLM_F_ACK};

pub(super) const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFPROTO_INET: u8 = 1;

/// Message kinds and attribute numbers.
pub(super) mod op {
    pub(crate) const NEWTABLE: u16 = 0;
    pub(crate) const DELTABLE: u16 = 2;
    pub(crate) const NEWCHAIN: u16 = 3;
    pub(crate) const NEWRULE: u16 = 6;
    pub(crate) const NEWOBJ: u16 = 18;
    pub(crate) const GETOBJ: u16 = 19;
    pub(crate) const TABLE_NAME: u16 = 1;
    pub(crate) const CHAIN_TABLE: u16 = 1;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_POLICY: u16 = 5;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const HOOK_NUM: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    pub(crate) const RULE_TABLE: u16 = 1;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const OBJ_TABLE: u16 = 1;
    pub(crate) const OBJ_NAME: u16 = 2;
    pub(crate) const OBJ_TYPE: u16 = 3;
    pub(crate) const OBJ_DATA: u16 = 4;
    pub(crate) const OBJECT_COUNTER: u32 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
    pub(crate) const HOOK_INPUT: u32 = 1;
    pub(crate) const HOOK_OUTPUT: u32 = 3;
}

/// 4-byte registers; an IPv6 address takes the first four.
const VALUE: u32 = 8;
const PORT: u32 = 12;

/// What `meta` can load.
#[derive(Clone, Copy)]
pub(super) enum Meta {
    InputInterface = 4,
    SocketUid = 10,
    Family = 15,
    Protocol = 16,
}

/// What `ct` can load.
#[derive(Clone, Copy)]
pub(super) enum Conntrack {
    State = 0,
    Direction = 1,
    Mark = 3,
}

/// How a packet ends.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// How a packet is turned away.
#[derive(Clone, Copy)]
pub(super) enum Reject {
    TcpReset,
    PortUnreachable,
    Prohibited,
}

pub(super) fn nfgen(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [NFPROTO_INET, 0, high, low]
}

pub(super) fn begin(batch: &mut Batch) {
    batch.message(BATCH_BEGIN, 0, &[0, 0, 0, 10], |_| {});
}

pub(super) fn end(batch: &mut Batch) {
    batch.message(BATCH_END, 0, &[0, 0, 0, 10], |_| {});
}

pub(super) fn message(batch: &mut Batch, kind: u16, flags: u16, body: impl FnOnce(&mut Attrs<'_>)) {
    batch.message(SUBSYSTEM | kind, NLM_F_ACK | flags, &nfgen(0), body);
}

/// Writes the expressions of one rule.
pub(super) struct Expressions<'a, 'b>(pub(super) &'a mut Attrs<'b>);

impl Expressions<'_, '_> {
    fn one(&mut self, name: &str, body: impl FnOnce(&mut Attrs<'_>)) -> &mut Self {
        self.0.nest(1, |a| {
            a.text(1, name);
            a.nest(2, body);
        });
        self
    }

    fn load_immediate(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.one("immediate", |a| {
            a.be32(1, register);
            a.nest(2, |a| a.bytes(1, value));
        })
    }

    pub(super) fn meta(&mut self, key: Meta) -> &mut Self {
        self.one("meta", |a| {
            a.be32(1, VALUE);
            a.be32(2, key as u32);
        })
    }

    pub(super) fn conntrack(&mut self, key: Conntrack) -> &mut Self {
        self.one("ct", |a| {
            a.be32(1, VALUE);
            a.be32(2, key as u32);
        })
    }

    pub(super) fn set_conntrack_mark(&mut self, mark: u32) -> &mut Self {
        self.load_immediate(VALUE, &mark.to_ne_bytes())
            .one("ct", |a| {
                a.be32(2, Conntrack::Mark as u32);
                a.be32(4, VALUE);
            })
    }

    pub(super) fn is(&mut self, value: &[u8]) -> &mut Self {
        self.compare(0, value)
    }

    pub(super) fn is_not(&mut self, value: &[u8]) -> &mut Self {
        self.compare(1, value)
    }

    fn compare(&mut self, operation: u32, value: &[u8]) -> &mut Self {
        self.one("cmp", |a| {
            a.be32(1, VALUE);
            a.be32(2, operation);
            a.nest(3, |a| a.bytes(1, value));
        })
    }

    pub(super) fn masked(&mut self, mask: &[u8]) -> &mut Self {
        let zero = vec![0; mask.len()];
        self.one("bitwise", |a| {
            a.be32(1, VALUE);
            a.be32(2, VALUE);
            a.be32(3, u32::try_from(mask.len()).unwrap_or(0));
            a.nest(4, |a| a.bytes(1, mask));
            a.nest(5, |a| a.bytes(1, &zero));
        })
    }

    pub(super) fn network_header(&mut self, offset: u32, len: u32) -> &mut Self {
        self.payload(1, offset, len)
    }

    pub(super) fn transport_header(&mut self, offset: u32, len: u32) -> &mut Self {
        self.payload(2, offset, len)
    }

    fn payload(&mut self, base: u32, offset: u32, len: u32) -> &mut Self {
        self.one("payload", |a| {
            a.be32(1, VALUE);
            a.be32(2, base);
            a.be32(3, offset);
            a.be32(4, len);
        })
    }

    /// Matches when the destination is one of this namespace's addresses.
    pub(super) fn destination_is_local(&mut self) -> &mut Self {
        const DADDR: u32 = 2;
        const ADDRESS_TYPE: u32 = 3;
        self.one("fib", |a| {
            a.be32(1, VALUE);
            a.be32(2, ADDRESS_TYPE);
            a.be32(3, DADDR);
        })
        .is(&u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    pub(super) fn socket_cgroup(&mut self, level: u8) -> &mut Self {
        const CGROUP_V2: u32 = 3;
        self.one("socket", |a| {
            a.be32(1, CGROUP_V2);
            a.be32(2, VALUE);
            a.be32(3, u32::from(level));
        })
    }

    /// The address that is in the value register, at `port`, is the new
    /// destination.
    pub(super) fn destination_becomes(&mut self, family: u8, port: u16) -> &mut Self {
        const DNAT: u32 = 1;
        const PORT_GIVEN: u32 = 2;
        self.load_immediate(PORT, &port.to_be_bytes())
            .one("nat", |a| {
                a.be32(1, DNAT);
                a.be32(2, u32::from(family));
                a.be32(3, VALUE);
                a.be32(5, PORT);
                a.be32(7, PORT_GIVEN);
            })
    }

    pub(super) fn count(&mut self, name: &str) -> &mut Self {
        self.one("objref", |a| {
            a.be32(1, op::OBJECT_COUNTER);
            a.text(2, name);
        })
    }

    pub(super) fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.one("immediate", |a| {
            a.be32(1, 0);
            a.nest(2, |a| a.nest(2, |a| a.be32(1, verdict as u32)));
        })
    }

    pub(super) fn reject(&mut self, how: Reject) -> &mut Self {
        let (kind, code) = match how {
            Reject::TcpReset => (1, 0),
            Reject::PortUnreachable => (2, 1),
            Reject::Prohibited => (2, 3),
        };
        self.one("reject", |a| {
            a.be32(1, kind);
            a.bytes(2, &[code]);
        })
    }
}
