//! The ruleset itself, in the order in which the kernel asks.
//!
//! Three chains: `capture` (nat, output) changes destinations, `guard`
//! (filter, output) turns away what must not leave, `inlet` (filter, input)
//! keeps strangers from the redirect port and mid-stream packets from posing
//! as connections made from outside.
//! Refuses to contain a rule that an application could satisfy by itself: no
//! mark of a packet, no port, no source address lets TCP out.

use crate::netlink::{Batch, NLM_F_APPEND, NLM_F_CREATE};

use super::encode::{Conntrack, Expressions, Meta, Reject, Verdict, message, op};
use super::{Config, Dns, Exclusion, TABLE};

pub(super) const REDIRECTED: &str = "redirected";
pub(super) const EXCLUDED: &str = "excluded";
pub(super) const TCP_DROPPED: &str = "tcp_dropped";
pub(super) const QUIC_REJECTED: &str = "quic_rejected";
pub(super) const OTHER_DROPPED: &str = "other_dropped";
pub(super) const INPUT_DROPPED: &str = "input_dropped";

const CAPTURE: &str = "capture";
const GUARD: &str = "guard";
const INLET: &str = "inlet";

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const LOOPBACK_INTERFACE: u32 = 1;
const DNS_PORT: u16 = 53;
const REPLY: u8 = 1;
const RELATED: u32 = 4;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN_SYN_RST_ACK: u8 = 0x17;
/// Connection mark of Weir's own connections, so that packets which no longer
/// have a socket (a late acknowledgement) pass as well. Only the kernel's rules
/// can set it.
const OWN: u32 = 0x5765_6972;

pub(super) fn write(batch: &mut Batch, labels: &mut Vec<String>, config: &Config) {
    let mut rules = Rules { batch, labels };
    for name in [
        REDIRECTED,
        EXCLUDED,
        TCP_DROPPED,
        QUIC_REJECTED,
        OTHER_DROPPED,
        INPUT_DROPPED,
    ] {
        rules.counter(name);
    }
    rules.chain(CAPTURE, "nat", op::HOOK_OUTPUT, -100);
    rules.chain(GUARD, "filter", op::HOOK_OUTPUT, 0);
    rules.chain(INLET, "filter", op::HOOK_INPUT, 0);
    capture(&mut rules, config);
    guard(&mut rules, config);
    inlet(&mut rules, config);
}

fn capture(rules: &mut Rules<'_>, config: &Config) {
    rules.exclusion(CAPTURE, config, |e| {
        e.count(EXCLUDED).verdict(Verdict::Accept);
    });
    if let Dns::Relay { port } = config.dns {
        for protocol in [UDP, TCP] {
            for family in [IPV4, IPV6] {
                rules.rule(CAPTURE, "dns", |e| {
                    e.meta(Meta::Protocol).is(&[protocol]);
                    e.transport_header(2, 2).is(&DNS_PORT.to_be_bytes());
                    to_own_source(e, family, port);
                });
            }
        }
    }
    if !config.redirect_loopback {
        rules.rule(CAPTURE, "local", |e| {
            e.destination_is_local().verdict(Verdict::Accept);
        });
    }
    for family in [IPV4, IPV6] {
        rules.rule(CAPTURE, "redirect", |e| {
            e.meta(Meta::Protocol).is(&[TCP]);
            e.meta(Meta::Family).is(&[family]).count(REDIRECTED);
            to_own_source(e, family, config.port);
        });
    }
}

fn to_own_source(e: &mut Expressions<'_, '_>, family: u8, port: u16) {
    e.meta(Meta::Family).is(&[family]);
    let (offset, len) = if family == IPV4 { (12, 4) } else { (8, 16) };
    e.network_header(offset, len)
        .destination_becomes(family, port);
}

fn guard(rules: &mut Rules<'_>, config: &Config) {
    rules.rule(GUARD, "local", |e| {
        e.destination_is_local().verdict(Verdict::Accept);
    });
    // Never a SYN: conntrack remembers a connection longer than its socket
    // lives, and whoever dials on the same four numbers would inherit its mark.
    rules.rule(GUARD, "own connection", |e| {
        e.conntrack(Conntrack::Mark).is(&OWN.to_ne_bytes());
        e.meta(Meta::Protocol).is(&[TCP]);
        e.transport_header(13, 1)
            .masked(&[SYN])
            .is(&[0])
            .verdict(Verdict::Accept);
    });
    rules.exclusion(GUARD, config, |e| {
        e.set_conntrack_mark(OWN).verdict(Verdict::Accept);
    });
    // Whoever begins a connection does not answer one.
    rules.rule(GUARD, "tcp begin", |e| {
        e.meta(Meta::Protocol).is(&[TCP]);
        e.transport_header(13, 1).masked(&[SYN | ACK]).is(&[SYN]);
        e.count(TCP_DROPPED).reject(Reject::TcpReset);
    });
    rules.rule(GUARD, "reply", |e| {
        e.conntrack(Conntrack::Direction)
            .is(&[REPLY])
            .verdict(Verdict::Accept);
    });
    rules.rule(GUARD, "tcp", |e| {
        e.meta(Meta::Protocol)
            .is(&[TCP])
            .count(TCP_DROPPED)
            .reject(Reject::TcpReset);
    });
    rules.rule(GUARD, "quic", |e| {
        e.meta(Meta::Protocol).is(&[UDP]);
        e.transport_header(2, 2).is(&443_u16.to_be_bytes());
        e.count(QUIC_REJECTED).reject(Reject::PortUnreachable);
    });
    if config.enforced {
        guard_other(rules, config);
    }
}

/// Everything that is not TCP, in an enforced namespace.
fn guard_other(rules: &mut Rules<'_>, config: &Config) {
    if let Dns::Resolvers(resolvers) = &config.dns {
        for resolver in resolvers {
            rules.rule(GUARD, "resolver", |e| {
                e.meta(Meta::Protocol).is(&[UDP]);
                e.transport_header(2, 2).is(&DNS_PORT.to_be_bytes());
                match resolver {
                    std::net::IpAddr::V4(ip) => {
                        e.meta(Meta::Family).is(&[IPV4]);
                        e.network_header(16, 4).is(&ip.octets());
                    }
                    std::net::IpAddr::V6(ip) => {
                        e.meta(Meta::Family).is(&[IPV6]);
                        e.network_header(24, 16).is(&ip.octets());
                    }
                }
                e.verdict(Verdict::Accept);
            });
        }
    }
    // Neighbour and router discovery, multicast listening: without them there
    // is no IPv6, and only raw sockets could abuse them.
    for kind in [131_u8, 132, 133, 135, 136, 143] {
        rules.rule(GUARD, "neighbour discovery", |e| {
            e.meta(Meta::Protocol).is(&[ICMP_V6]);
            e.transport_header(0, 1)
                .is(&[kind])
                .verdict(Verdict::Accept);
        });
    }
    rules.rule(GUARD, "related", |e| {
        e.conntrack(Conntrack::State).masked(&RELATED.to_ne_bytes());
        e.is_not(&[0; 4]).verdict(Verdict::Accept);
    });
    rules.rule(GUARD, "other", |e| {
        e.count(OTHER_DROPPED).reject(Reject::Prohibited);
    });
}

fn inlet(rules: &mut Rules<'_>, config: &Config) {
    let mut ports = vec![config.port];
    if let Dns::Relay { port } = config.dns {
        ports.push(port);
    }
    for port in ports {
        rules.rule(INLET, "port", |e| {
            e.meta(Meta::InputInterface)
                .is_not(&LOOPBACK_INTERFACE.to_ne_bytes());
            e.transport_header(2, 2).is(&port.to_be_bytes());
            e.count(INPUT_DROPPED).verdict(Verdict::Drop);
        });
    }
    // A packet in mid-stream would make conntrack believe that the peer began
    // this connection, and our answers would pass as replies.
    rules.rule(INLET, "mid-stream", |e| {
        const NEW: u32 = 8;
        e.meta(Meta::Protocol).is(&[TCP]);
        e.conntrack(Conntrack::State)
            .masked(&NEW.to_ne_bytes())
            .is_not(&[0; 4]);
        e.transport_header(13, 1)
            .masked(&[FIN_SYN_RST_ACK])
            .is_not(&[SYN]);
        e.count(INPUT_DROPPED).verdict(Verdict::Drop);
    });
}

struct Rules<'a> {
    batch: &'a mut Batch,
    labels: &'a mut Vec<String>,
}

impl Rules<'_> {
    fn counter(&mut self, name: &str) {
        self.labels.push(format!("counter {name}"));
        message(self.batch, op::NEWOBJ, NLM_F_CREATE, |a| {
            a.text(op::OBJ_TABLE, TABLE);
            a.text(op::OBJ_NAME, name);
            a.be32(op::OBJ_TYPE, op::OBJECT_COUNTER);
            a.nest(op::OBJ_DATA, |_| {});
        });
    }

    fn chain(&mut self, name: &str, kind: &str, hook: u32, priority: i32) {
        self.labels.push(format!("chain {name}"));
        message(self.batch, op::NEWCHAIN, NLM_F_CREATE, |a| {
            a.text(op::CHAIN_TABLE, TABLE);
            a.text(op::CHAIN_NAME, name);
            a.nest(op::CHAIN_HOOK, |a| {
                a.be32(op::HOOK_NUM, hook);
                a.bytes(op::HOOK_PRIORITY, &priority.to_be_bytes());
            });
            a.be32(op::CHAIN_POLICY, Verdict::Accept as u32);
            a.text(op::CHAIN_TYPE, kind);
        });
    }

    fn rule(&mut self, chain: &str, what: &str, body: impl FnOnce(&mut Expressions<'_, '_>)) {
        self.labels.push(format!("rule {chain}/{what}"));
        message(self.batch, op::NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |a| {
            a.text(op::RULE_TABLE, TABLE);
            a.text(op::RULE_CHAIN, chain);
            a.nest(op::RULE_EXPRESSIONS, |a| body(&mut Expressions(a)));
        });
    }

    /// One rule per level at which Weir's cgroup may stand: identifiers are
    /// unique in the whole tree, so a match at any level is a match.
    fn exclusion(&mut self, chain: &str, config: &Config, then: impl Fn(&mut Expressions<'_, '_>)) {
        match &config.exclusion {
            Exclusion::Nobody => {}
            Exclusion::Uid(uid) => self.rule(chain, "own uid", |e| {
                then(e.meta(Meta::SocketUid).is(&uid.to_ne_bytes()));
            }),
            Exclusion::Cgroup(cgroup) => {
                for level in cgroup.levels() {
                    self.rule(chain, "own cgroup", |e| {
                        then(e.socket_cgroup(*level).is(&cgroup.id().to_ne_bytes()));
                    });
                }
            }
        }
    }
}
