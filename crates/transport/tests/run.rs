//! Claims about the sealed namespace of `weir run`. Needs root; fails without
//! it.
//!
//! Every attack is a pair: outside of the sandbox it must reach the server on
//! this host, inside it must not. The sandbox is the crate's, driven by the
//! `netns_probe` example, whose relay answers `CAPTURED`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a failure is a failed test"
)]

mod lab;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Host, probe, sh};

const CAPTURED: [(&str, &str); 14] = [
    ("tcp", "127.0.0.1"),
    ("tcp", "::1"),
    ("tcp", "localhost"),
    ("tcp", "HOST4"),
    ("tcp", "HOST6"),
    ("mapped", "HOST4"),
    ("mptcp", "127.0.0.1"),
    ("mptcp", "::1"),
    ("source-port", "HOST4"),
    ("fast-open", "HOST4"),
    ("tcp", "FAR4"),
    ("tcp", "FAR6"),
    ("device", "FAR4"),
    ("device", "FAR6"),
];

#[test]
fn every_connection_leads_to_weir_and_nothing_else_leaves() {
    let host = Host::new();
    for options in [&[][..], &["uid=2103"], &["uid=0"]] {
        for (kind, to) in CAPTURED {
            if kind == "source-port" && options.contains(&"uid=2103") {
                continue; // binds a privileged port
            }
            let (control, said) = host.attack(options, kind, to);
            assert!(
                control.starts_with("SERVER "),
                "control: {kind} {to}: {control}"
            );
            assert!(
                said.starts_with("CAPTURED "),
                "{options:?} {kind} {to}: {said}"
            );
            assert!(
                said.contains("SERVER "),
                "relayed from the host: {kind} {to}: {said}"
            );
        }
        for (kind, to) in [
            ("udp", "127.0.0.1"),
            ("udp", "HOST4"),
            ("udp", "HOST6"),
            ("ping", "HOST4"),
            ("udp", "FAR4"),
        ] {
            let (control, said) = host.attack(options, kind, to);
            assert!(
                control.starts_with("SERVER "),
                "control: {kind} {to}: {control}"
            );
            assert!(
                said.starts_with("ERROR "),
                "{options:?} {kind} {to}: {said}"
            );
        }
    }
}

#[test]
fn link_local_destinations_lead_to_weir() {
    let host = Host::new();
    let (control, said) = host.link_local();
    assert!(control.starts_with("SERVER "), "control: {control}");
    assert!(said.starts_with("CAPTURED [fe80::"), "{said}");
}

#[test]
fn raw_and_vsock_sockets_do_not_exist_inside() {
    let host = Host::new();
    let (control, said) = host.attack(&[], "raw", "HOST4");
    assert!(!control.contains("EPERM"), "control: {control}");
    assert_eq!(said, "ERROR EPERM");
    let said = host.inside(
        &[],
        "python3 -c 'import socket; socket.socket(socket.AF_VSOCK, 1)' 2>&1",
    );
    assert!(said.contains("not supported"), "{said}");
}

#[test]
fn unix_sockets_of_servers_are_out_of_reach() {
    let host = Host::new();
    for dir in ["/run/weir-test-sockets", "/tmp/weir-test-sockets"] {
        let _server = host.unix_server(dir);
        let script = format!(
            "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); \
             s.connect(\"{dir}/.s.PGSQL.5432\"); print(s.recv(9).decode())' 2>&1 | tail -1"
        );
        assert_eq!(host.outside(&script), "SERVER", "control");
        let said = host.inside(&[], &script);
        assert!(said.contains("Error"), "{dir}: {said}");
    }
}

#[test]
fn a_hidden_directory_is_empty_and_read_only() {
    let host = Host::new();
    let dir = host.dir("state");
    std::fs::write(format!("{dir}/ca.key"), "secret").unwrap();
    let script = format!(
        "cat {dir}/ca.key 2>/dev/null; touch {dir}/x 2>/dev/null && echo wrote; ls -A {dir}"
    );
    assert!(
        host.outside(&format!("{script}; rm -f {dir}/x"))
            .contains("ca.key"),
        "control"
    );
    assert_eq!(host.inside(&[&format!("hide={dir}")], &script), "");
}

#[test]
fn a_working_directory_that_is_hidden_is_hidden_too() {
    let host = Host::new();
    let dir = host.dir("state");
    std::fs::write(format!("{dir}/ca.key"), "secret").unwrap();
    let run = |options: &str| {
        let sandbox = format!(
            "cd {dir}; exec {} sandbox {options} -- cat ca.key 2>&1",
            probe().display()
        );
        host.outside(&sandbox)
    };
    assert_eq!(run(""), "secret", "control");
    assert!(run(&format!("hide={dir}")).contains("No such file"));
}

#[test]
fn weirs_other_listeners_are_not_reached_through_weir() {
    let host = Host::new();
    let _admin = host.listen("0.0.0.0", 443);
    let ask = "python3 -c 'import socket; s = socket.create_connection((\"HOST4\", 443), 3); \
        print(s.recv(99) or \"CLOSED\")' 2>&1 | tail -1";
    assert!(host.outside(ask).contains("ADMIN"), "control");
    let said = host.inside(&[], ask);
    assert!(said.contains("CLOSED") || said.contains("reset"), "{said}");
}

#[test]
fn a_closed_pipe_ends_a_program_as_outside() {
    let host = Host::new();
    let script = "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]}";
    assert_eq!(host.outside(script), "141", "control");
    assert_eq!(host.inside(&[], script), "141");
}

#[test]
fn without_root_a_user_namespace_serves() {
    let host = Host::new();
    let run = |command: &str| {
        let sandbox = format!(
            "cd {dir}; exec setpriv --reuid 2103 --regid 2103 --clear-groups {dir}/{command}",
            dir = host.path(),
        );
        host.outside(&sandbox)
    };
    assert!(
        run("attack.py tcp 10.78.0.2").starts_with("SERVER "),
        "control"
    );
    let said = run(&format!(
        "netns_probe sandbox -- {} tcp 10.78.0.2",
        host.script()
    ));
    assert!(said.starts_with("CAPTURED "), "{said}");
    let said = run("netns_probe sandbox -- grep CapEff /proc/self/status");
    assert_eq!(said, "CapEff:\t0000000000000000");
}

#[test]
fn other_ways_out_are_shut() {
    let host = Host::new();
    let weir = std::process::id();
    // Each prints OUT on success. Outside they succeed, which is the control.
    let attempts = [
        (
            "join another cgroup",
            format!(
                "echo $$ > {}/cgroup.procs && echo OUT",
                lab::cgroup2().display()
            ),
        ),
        (
            "see a process outside",
            format!("test -d /proc/{weir} && grep -q . /proc/{weir}/cmdline && echo OUT"),
        ),
        (
            "write a kernel switch",
            String::from(
                "echo 1 > /proc/sys/vm/compaction_proactiveness && echo OUT; echo 20 > /proc/sys/vm/compaction_proactiveness",
            ),
        ),
        (
            "mount",
            String::from(
                "mkdir -p /tmp/weir-m; mount -t tmpfs x /tmp/weir-m && echo OUT; umount /tmp/weir-m",
            ),
        ),
        (
            "read the kernel log",
            String::from("dd if=/dev/kmsg of=/dev/null bs=8192 count=1 && echo OUT"),
        ),
        (
            "write to /etc",
            String::from("touch /etc/weir-x && echo OUT; rm -f /etc/weir-x"),
        ),
        (
            "new network rules",
            String::from("nft add table inet weirx && echo OUT; nft delete table inet weirx"),
        ),
        (
            "new link",
            String::from("ip link add weirx type ifb && echo OUT; ip link del weirx"),
        ),
    ];
    for (what, script) in attempts {
        let script = format!("({script}) 2>/dev/null || true");
        assert!(host.outside(&script).contains("OUT"), "control: {what}");
        let said = host.inside(&[], &script);
        assert!(!said.contains("OUT"), "{what}: {said}");
    }
}

#[test]
fn the_network_namespace_of_the_host_cannot_be_entered() {
    let host = Host::new();
    let outer = host.outside("readlink /proc/self/ns/net");
    for enter in [
        "nsenter --net=/proc/1/ns/net",
        "nsenter -t 1 -n",
        "unshare -n",
        "unshare -Ur -n",
        "unshare -Urm --propagation private",
        "unshare -Urm sh -c 'umount -l /run; umount -l /proc; exec \"$@\"' x",
    ] {
        let script = format!("{enter} readlink /proc/self/ns/net 2>/dev/null || echo refused");
        assert_ne!(host.inside(&[], &script), outer, "{enter}");
        // And whatever was entered, the server is not there.
        let script = format!(
            "{enter} python3 {} tcp HOST4 2>/dev/null || echo refused",
            host.script()
        );
        let said = host.inside(&[], &script);
        assert!(!said.starts_with("SERVER "), "{enter}: {said}");
    }
    // Masks cannot be lifted in a user namespace either.
    let dir = host.dir("state");
    std::fs::write(format!("{dir}/secret"), "secret").unwrap();
    let script = format!(
        "unshare -Urm sh -c 'umount -l {dir}; cat {dir}/secret' 2>/dev/null || echo refused"
    );
    assert_eq!(host.inside(&[&format!("hide={dir}")], &script), "refused");
}

#[test]
fn the_command_has_few_capabilities_and_gains_none() {
    let host = Host::new();
    let status = host.inside(
        &[],
        "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status",
    );
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000000004fb",
        "CapEff:\t00000000000004fb",
        "CapBnd:\t00000000000004fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let status = host.inside(&["uid=2103"], "id -u; grep CapEff /proc/self/status");
    assert_eq!(status, "2103\nCapEff:\t0000000000000000");
}

#[test]
fn names_are_resolved_through_the_relay() {
    let host = Host::new();
    let _resolver = host.resolver();
    let query = "python3 -c \"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
s.sendto(b'id' + bytes(10) + b'question', ('192.0.2.99', 53)); print(s.recv(99)[-8:].decode())
t = socket.create_connection(('2001:db8::53', 53), 3); t.send(b'over tcp'); print(t.recv(8).decode())\"";
    assert_eq!(host.inside_with_resolver(query), "answered\nover tcp");
}

#[test]
fn exit_status_signals_and_orphans_are_handled() {
    assert_eq!(sandbox("exit 42").wait().unwrap().code(), Some(42));
    assert_eq!(
        sandbox("kill -KILL $$").wait().unwrap().code(),
        Some(128 + 9)
    );
    let missing = Command::new(probe())
        .args(["sandbox", "--", "/no/such/program"])
        .stderr(Stdio::null())
        .status();
    assert_eq!(missing.unwrap().code(), Some(127));
    // SIGTERM goes to the command, which may take its time.
    let child = sandbox("trap 'exit 7' TERM; touch /tmp/weir-up; while :; do sleep 0.1; done");
    wait_for("/tmp/weir-up");
    nix::sys::signal::kill(pid(&child), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!({ child }.wait().unwrap().code(), Some(7));
    std::fs::remove_file("/tmp/weir-up").unwrap();
    // What the command leaves behind ends with it.
    let started = Instant::now();
    assert!(
        sandbox("setsid sleep 917 & exit 0")
            .wait()
            .unwrap()
            .success()
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(host_count("sleep 917"), 0);
}

#[test]
fn everything_inside_dies_with_weir() {
    let mut child = sandbox("touch /tmp/weir-up2; setsid sleep 918 & sleep 918");
    wait_for("/tmp/weir-up2");
    std::fs::remove_file("/tmp/weir-up2").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while host_count("sleep 918") > 0 {
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminal_works_and_keeps_its_foreground_group() {
    let script = format!(
        "script -qec '{} sandbox -- bash -c \"tty; test -t 0 && stty size >/dev/null && echo tty-ok\"' /dev/null < /dev/null",
        probe().display()
    );
    let said = String::from_utf8(sh(&script).stdout).unwrap();
    assert!(said.contains("tty-ok"), "{said}");
}

#[test]
fn the_command_runs_in_its_own_cgroup() {
    let host = Host::new();
    let name = format!("weir-run-{}", std::process::id());
    let said = host.inside(&[&format!("cgroups={name}")], "grep ^0:: /proc/self/cgroup");
    assert_eq!(
        said, "0::/",
        "the command's cgroup is the root of its own view"
    );
    let dir = lab::cgroup2().join(&name);
    for part in ["cmd", "engine", ""] {
        std::fs::remove_dir(dir.join(part)).unwrap();
    }
}

fn sandbox(script: &str) -> Child {
    Command::new(probe())
        .args(["sandbox", "--", "bash", "-c", script])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().cast_signed())
}

fn wait_for(path: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::path::Path::new(path).exists() {
        assert!(Instant::now() < deadline, "no {path}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn host_count(command: &str) -> usize {
    let output = Command::new("pgrep")
        .args(["-fxc", command])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or(0)
}
