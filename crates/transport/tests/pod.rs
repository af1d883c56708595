//! Claims about the redirect in a namespace like a pod's: a link to a server,
//! Weir in one cgroup, attackers in another. Needs root; fails without it.
//!
//! Every attack is a pair: with the rules off it must reach the server, with
//! the rules on it must not. What answers is a real server in a second
//! namespace; what captures is the crate, in the `netns_probe` example.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a failure is a failed test"
)]

mod lab;

use lab::{As, Lab, Tree};

/// Attacks that end at Weir once the rules are on: kind, destination.
const CAPTURED: [(&str, &str); 12] = [
    ("tcp", "10.77.0.2"),
    ("tcp", "fd77::2"),
    ("tcp", "fe80::2%veth0"),
    ("tcp", "orders.test"),
    ("mapped", "10.77.0.2"),
    ("source-port", "10.77.0.2"),
    ("device", "10.77.0.2"),
    ("device", "fd77::2"),
    ("device", "fe80::2%veth0"),
    ("mptcp", "10.77.0.2"),
    ("mptcp", "fd77::2"),
    ("fast-open", "10.77.0.2"),
];

/// Attacks that reach nobody once the rules are on.
const DROPPED: [(&str, &str, u16); 6] = [
    ("udp", "10.77.0.2", 5432),
    ("udp", "fd77::2", 5432),
    ("udp", "fe80::2%veth0", 5432),
    ("udp", "10.77.0.2", 443),
    ("udplite", "10.77.0.2", 5432),
    ("ping", "10.77.0.2", 5432),
];

fn every_attack_is_held(lab: &Lab) {
    for who in [As::Root, As::User(2103), As::WeirsUser] {
        for (kind, to) in CAPTURED {
            if kind == "source-port" && who != As::Root {
                continue; // binds a privileged port
            }
            let said = lab.attack(who, kind, to, 5432);
            assert!(said.starts_with("CAPTURED "), "{who:?} {kind} {to}: {said}");
            assert!(
                said.contains("SERVER "),
                "Weir's own dial failed: {who:?} {kind} {to}: {said}"
            );
        }
        for (kind, to, port) in DROPPED {
            let said = lab.attack(who, kind, to, port);
            assert!(
                said.starts_with("ERROR "),
                "{who:?} {kind} {to} {port}: {said}"
            );
        }
    }
    let mark = lab.attack(As::RootWithRaw, "mark", "10.77.0.2", 5432);
    assert!(
        mark.starts_with("CAPTURED "),
        "a packet's mark lets nobody out: {mark}"
    );
    let raw = lab.attack(As::Root, "raw", "10.77.0.2", 5432);
    assert_eq!(
        raw, "ERROR EPERM",
        "without NET_RAW there are no raw sockets"
    );
    // Weir's listener answers in the server's name, so ask the server itself.
    let before = lab.segments_at_server();
    lab.attack(As::RootWithRaw, "raw", "10.77.0.2", 5432);
    assert_eq!(
        lab.segments_at_server(),
        before,
        "a hand-made SYN reached the server"
    );
}

fn every_attack_reaches_the_server_without_rules(lab: &Lab) {
    for (kind, to) in CAPTURED {
        let said = lab.attack(As::Root, kind, to, 5432);
        assert!(said.starts_with("SERVER "), "control: {kind} {to}: {said}");
    }
    for (kind, to, port) in DROPPED {
        let said = lab.attack(As::Root, kind, to, port);
        assert!(
            said.starts_with("SERVER "),
            "control: {kind} {to} {port}: {said}"
        );
    }
    let before = lab.segments_at_server();
    for kind in ["mark", "raw"] {
        let said = lab.attack(As::RootWithRaw, kind, "10.77.0.2", 5432);
        assert!(said.starts_with("SERVER "), "control: {kind}: {said}");
    }
    assert!(
        lab.segments_at_server() > before,
        "control: the server counts segments"
    );
}

fn whole_story(tree: Tree) {
    let lab = Lab::new(tree);
    every_attack_reaches_the_server_without_rules(&lab);
    let relay = lab.relay(&["enforced"]);
    every_attack_is_held(&lab);
    relay.kill();
    for (kind, to) in CAPTURED {
        let said = lab.attack(As::Root, kind, to, 5432);
        // Fast open and MPTCP report the refusal of the same handshake.
        assert_eq!(said, "ERROR ECONNREFUSED", "Weir down: {kind} {to}");
    }
    lab.uninstall();
    every_attack_reaches_the_server_without_rules(&lab);
}

#[test]
fn nothing_reaches_the_server_ungoverned_in_the_hybrid_tree() {
    whole_story(Tree::AsMounted);
}

#[test]
fn nothing_reaches_the_server_ungoverned_with_cgroup_v2_alone() {
    whole_story(Tree::V2Alone);
}

#[test]
fn nothing_reaches_the_server_ungoverned_in_a_cgroup_namespace() {
    whole_story(Tree::Container);
}

#[test]
fn only_the_configured_resolvers_may_be_asked() {
    let lab = Lab::new(Tree::AsMounted);
    let both = ["10.77.0.53", "10.77.0.2"];
    for to in both {
        assert!(
            lab.attack(As::Root, "udp", to, 53).starts_with("SERVER "),
            "control"
        );
    }
    let relay = lab.relay(&["enforced"]);
    let said = both.map(|to| lab.attack(As::Root, "udp", to, 53));
    assert!(
        said[0].starts_with("SERVER ") && said[1].starts_with("ERROR "),
        "{said:?}"
    );
    relay.kill();
}

#[test]
fn nothing_reaches_the_server_ungoverned_where_the_tree_is_not_mounted() {
    whole_story(Tree::Hidden);
}

#[test]
fn a_connection_from_before_the_rules_is_cut() {
    let lab = Lab::new(Tree::AsMounted);
    for to in ["10.77.0.2", "fd77::2"] {
        let control = lab.hold(to);
        assert_eq!(
            control.release(),
            "SERVER echoed on the old connection",
            "control"
        );
        let held = lab.hold(to);
        let relay = lab.relay(&["enforced"]);
        let said = held.release();
        assert!(said.starts_with("ERROR "), "{to}: {said}");
        relay.kill();
        lab.uninstall();
    }
}

#[test]
fn a_connection_that_weir_left_behind_cannot_be_taken_over() {
    // Conntrack remembers a half-closed connection longer than its socket
    // lives, and a new one on the same four numbers would pass as Weir's.
    let lab = Lab::new(Tree::AsMounted);
    let _server = lab.server_that_never_closes();
    let relay = lab.relay(&["enforced"]);
    lab.leave_behind(45000);
    lab.server_forgets(45000);
    assert!(
        lab.shell("cat /proc/net/nf_conntrack")
            .contains("sport=45000"),
        "control"
    );
    let said = lab.attack(As::Root, "reuse:45000", "10.77.0.2", 5433);
    assert!(!said.starts_with("SERVER "), "{said}");
    relay.kill();
    lab.uninstall();
    let said = lab.attack(As::Root, "reuse:45000", "10.77.0.2", 5433);
    assert!(said.starts_with("SERVER "), "control: {said}");
}

#[test]
fn the_redirect_port_is_closed_to_the_network() {
    let lab = Lab::new(Tree::AsMounted);
    let relay = lab.relay(&["enforced"]);
    for to in ["10.77.0.1", "fd77::1", "fe80::1%veth0"] {
        assert_eq!(
            lab.attack_from_server("tcp", to, 15001),
            "ERROR ETIMEDOUT",
            "{to}"
        );
    }
    relay.kill();
}

#[test]
fn the_loop_guard_refuses_a_dial_to_the_redirect_port() {
    let lab = Lab::new(Tree::AsMounted);
    let relay = lab.relay(&["enforced"]);
    for to in ["10.77.0.1", "127.0.0.1", "::1", "fd77::1"] {
        let said = lab.attack(As::Root, "tcp", to, 15001);
        assert!(
            ["CLOSED", "ERROR ECONNRESET"].contains(&said.as_str()),
            "{to}: {said}"
        );
    }
    relay.kill();
}

#[test]
fn connections_inside_of_the_pod_stay_inside() {
    let lab = Lab::new(Tree::AsMounted);
    let _server = lab.serve_in_pod();
    let relay = lab.relay(&["enforced"]);
    for to in ["127.0.0.1", "::1", "10.77.0.1", "fd77::1"] {
        let said = lab.attack(As::Root, "tcp", to, 5432);
        assert!(said.starts_with("SERVER "), "{to}: {said}");
    }
    // And the pod still serves others.
    let said = lab.attack_from_server("tcp", "10.77.0.1", 5432);
    assert!(said.starts_with("SERVER "), "{said}");
    relay.kill();
}

#[test]
fn without_enforcement_only_tcp_and_quic_are_governed() {
    let lab = Lab::new(Tree::AsMounted);
    let relay = lab.relay(&[]);
    assert!(
        lab.attack(As::Root, "tcp", "10.77.0.2", 5432)
            .starts_with("CAPTURED ")
    );
    assert!(
        lab.attack(As::Root, "udp", "10.77.0.2", 5432)
            .starts_with("SERVER ")
    );
    assert!(
        lab.attack(As::Root, "udp", "10.77.0.2", 443)
            .starts_with("ERROR ")
    );
    let counted = lab.counters();
    assert!(counted.contains("quic_rejected: 1"), "{counted}");
    relay.kill();
}

#[test]
fn a_container_needs_three_capabilities_and_keeps_none() {
    let lab = Lab::new(Tree::AsMounted);
    for (capabilities, missing) in [
        (",+setuid,+setgid", "Permission"),
        (",+net_admin,+setgid", "SETUID is needed"),
        (",+net_admin,+setuid", "SETGID is needed"),
    ] {
        let said = lab.container_fails(capabilities);
        assert!(said.contains(missing), "{capabilities}: {said}");
    }
    let relay = lab.relay_in_container(",+net_admin,+setuid,+setgid");
    let said = lab.attack(As::User(2103), "tcp", "10.77.0.2", 5432);
    assert!(
        said.starts_with("CAPTURED ") && said.contains("SERVER "),
        "an ordinary user serves: {said}"
    );
    // Whoever becomes that user gains nothing: the exclusion is the cgroup.
    let said = lab.attack(As::User(2177), "tcp", "10.77.0.2", 5432);
    assert!(said.starts_with("CAPTURED "), "{said}");
    relay.kill();
}

#[test]
fn exclusion_by_user_holds_only_against_other_users() {
    let lab = Lab::new(Tree::AsMounted);
    let relay = lab.relay_as(2103, &["enforced", "uid=2103"]);
    let other = lab.attack(As::Root, "tcp", "10.77.0.2", 5432);
    assert!(
        other.starts_with("CAPTURED ") && other.contains("SERVER "),
        "{other}"
    );
    // The known weakness of the fallback, stated by a test.
    let same = lab.attack(As::User(2103), "tcp", "10.77.0.2", 5432);
    assert!(same.starts_with("SERVER "), "{same}");
    relay.kill();
}

#[test]
fn the_self_test_refuses_an_exclusion_that_covers_the_stranger() {
    let lab = Lab::new(Tree::AsMounted);
    let said = lab.relay_fails(&["enforced", "stranger-is-self"]);
    assert!(said.contains("StrangerNotCaptured"), "{said}");
}

#[test]
fn the_self_test_comes_apart_where_nobody_can_change_cgroups() {
    for tree in [Tree::Container, Tree::Hidden] {
        let lab = Lab::new(tree);
        let said = lab.stranger();
        assert!(said.contains("Error"), "control: {said}");
        let relay = lab.relay(&["enforced", "own-half"]);
        assert_eq!(lab.stranger(), "captured");
        relay.kill();
        let said = lab.stranger();
        assert!(said.contains("ConnectionRefused"), "Weir down: {said}");
        lab.uninstall();
    }
}

#[test]
fn weir_comes_back_while_applications_dial_without_pause() {
    let lab = Lab::new(Tree::AsMounted);
    lab.relay(&["enforced", "own-half"]).kill();
    let _dialling = lab.dials_without_pause("10.77.0.2");
    for _ in 0..5 {
        let relay = lab.relay(&["enforced", "own-half"]);
        let said = lab.attack(As::Root, "tcp", "10.77.0.2", 5432);
        assert!(said.starts_with("CAPTURED "), "{said}");
        relay.kill();
    }
}

#[test]
fn the_self_test_serves_where_there_is_no_ipv4() {
    let lab = Lab::new(Tree::AsMounted);
    lab.shell(
        "ip addr flush dev veth0 scope global; ip -6 addr add fd77::1/64 dev veth0 nodad
        ip -6 route add default via fd77::2",
    );
    let relay = lab.relay(&["enforced"]);
    assert!(
        lab.attack(As::Root, "tcp", "fd77::2", 5432)
            .starts_with("CAPTURED ")
    );
    relay.kill();
}

#[test]
fn the_root_cgroup_and_a_shared_one_are_refused() {
    let lab = Lab::new(Tree::AsMounted);
    assert!(
        lab.relay_in_root().contains("Root"),
        "{}",
        lab.relay_in_root()
    );
    let shared = lab.relay_shared();
    assert!(shared.contains("Shared"), "{shared}");
}
