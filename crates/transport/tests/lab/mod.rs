//! Two namespaces with a link, a server in one, and cgroups for both sides.

#![allow(dead_code, reason = "each test file uses its own part")]

mod host;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[allow(unused_imports, reason = "each test file uses its own part")]
pub(crate) use host::Host;

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// uid 0 without NET_ADMIN, NET_RAW, SYS_ADMIN: as a container.
    Root,
    /// uid 0 with NET_RAW, as Kubernetes gives by default.
    RootWithRaw,
    /// An unprivileged user.
    User(u32),
    /// The user that Weir runs as, without its capabilities.
    WeirsUser,
}

/// How the cgroup v2 tree looks to Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// As this machine has it.
    AsMounted,
    /// `/sys/fs/cgroup` is cgroup2 and nothing else.
    V2Alone,
    /// As in a container: a cgroup namespace of its own.
    Container,
    /// Not mounted at all: sock_diag must tell.
    Hidden,
}

pub(crate) struct Lab {
    id: String,
    tree: Tree,
    cgroup: PathBuf,
    server: Vec<Child>,
}

pub(crate) struct Relay(Child);

pub(crate) struct Held(Child, BufReader<std::process::ChildStdout>);

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn probe() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/netns_probe")
}

pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/netns")
}

pub(crate) fn cgroup2() -> PathBuf {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = text
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .expect("cgroup v2");
    PathBuf::from(line.split(' ').nth(4).unwrap())
}

pub(crate) fn sh(script: &str) -> Output {
    let output = Command::new("bash")
        .args(["-euc", script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    output
}

fn line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .last()
        .map_or_else(|| format!("NOTHING {errors}"), str::to_owned)
}

impl Lab {
    pub(crate) fn new(tree: Tree) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "needs root");
        let id = format!(
            "w{}x{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = cgroup2().join(&id);
        sh(&format!(
            "p={id}p; s={id}s
             ip netns add $p; ip netns add $s
             ip link add veth0 netns $p type veth peer name veth0 netns $s
             for n in $p ${{s}}; do
               ip -n $n link set lo up
               nsenter --net=/run/netns/$n sysctl -qw net.ipv6.conf.all.accept_dad=0 \
                 net.ipv6.conf.veth0.accept_dad=0 net.ipv4.tcp_fastopen=1027 \
                 net.ipv4.ping_group_range='0 2147483647'
               ip -n $n link set veth0 up
             done
             ip -n $p addr add 10.77.0.1/24 dev veth0; ip -n $s addr add 10.77.0.2/24 dev veth0; ip -n $s addr add 10.77.0.53/24 dev veth0
             ip -n $p addr add fd77::1/64 dev veth0 nodad; ip -n $s addr add fd77::2/64 dev veth0 nodad
             ip -n $p addr add fe80::1/64 dev veth0 nodad; ip -n $s addr add fe80::2/64 dev veth0 nodad
             ip -n $p route add default via 10.77.0.2
             mkdir -p {c}/engine {c}/app /etc/netns-{id}
             # Other users must be able to run these, wherever they were built.
             install -m 755 {probe} {attack} /etc/netns-{id}/
             cp /etc/hosts /etc/netns-{id}/hosts; echo '10.77.0.2 orders.test' >> /etc/netns-{id}/hosts",
            c = cgroup.display(),
            probe = probe().display(),
            attack = scripts().join("attack.py").display(),
        ));
        let mut lab = Self {
            id,
            tree,
            cgroup,
            server: Vec::new(),
        };
        let serve = format!("exec {} serve", probe().display());
        lab.server.push(lab.until_ready('s', &serve));
        let udplite = scripts().join("udplite.py");
        lab.server.push(
            lab.inside('s', &format!("exec python3 {}", udplite.display()))
                .spawn()
                .unwrap(),
        );
        lab
    }

    fn attack_script(&self) -> PathBuf {
        PathBuf::from(format!("/etc/netns-{}/attack.py", self.id))
    }

    /// A shell in the pod's (`p`) or the server's (`s`) network namespace.
    fn inside(&self, side: char, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let net = format!("--net=/run/netns/{}{side}", self.id);
        command
            .args([&net, "bash", "-euc", script])
            .stdin(Stdio::null());
        command
    }

    fn until_ready(&self, side: char, script: &str) -> Child {
        let mut child = self
            .inside(side, script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == "ready"),
            "did not become ready: {script}"
        );
        // Keep reading, so that the child never blocks.
        std::thread::spawn(move || lines.for_each(drop));
        child
    }

    pub(crate) fn attack(&self, who: As, kind: &str, to: &str, port: u16) -> String {
        let caps = match who {
            As::Root | As::User(_) | As::WeirsUser => "-net_admin,-net_raw,-sys_admin",
            As::RootWithRaw => "-net_admin,-sys_admin",
        };
        let user = match who {
            As::Root | As::RootWithRaw => String::new(),
            As::WeirsUser => String::from("--reuid 0 --inh-caps=-all --bounding-set=-all"),
            As::User(uid) => format!("--reuid {uid} --regid {uid} --clear-groups"),
        };
        let user = if who == As::WeirsUser {
            user
        } else {
            format!("--bounding-set={caps} {user}")
        };
        let script = format!(
            "echo $$ > {c}/app/cgroup.procs
             exec unshare -m bash -euc 'mount --bind /etc/netns-{id}/hosts /etc/hosts
               exec setpriv {user} /usr/bin/python3 {attack} {kind} {to} {port}'",
            c = self.cgroup.display(),
            id = self.id,
            attack = self.attack_script().display(),
        );
        line(&self.inside('p', &script).output().unwrap())
    }

    /// The other half of the self-test, from the application's cgroup.
    pub(crate) fn stranger(&self) -> String {
        let script = format!(
            "echo $$ > {}/app/cgroup.procs
             exec setpriv --bounding-set=-all {} stranger 2>&1",
            self.cgroup.display(),
            probe().display()
        );
        line(&self.inside('p', &script).output().unwrap())
    }

    pub(crate) fn attack_from_server(&self, kind: &str, to: &str, port: u16) -> String {
        let attack = scripts().join("attack.py");
        let script = format!("exec python3 {} {kind} {to} {port}", attack.display());
        line(&self.inside('s', &script).output().unwrap())
    }

    pub(crate) fn hold(&self, to: &str) -> Held {
        let attack = scripts().join("attack.py");
        let script = format!("exec python3 {} hold {to}", attack.display());
        let mut command = self.inside('p', &script);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.starts_with("SERVER "), "{first}");
        Held(child, out)
    }

    /// Weir's command line in its cgroup, seeing the tree as the lab says.
    fn weir(&self, in_cgroup: &str, args: &str) -> String {
        let (view, extra) = match self.tree {
            Tree::AsMounted => (String::new(), ""),
            Tree::V2Alone => (
                String::from(
                    "umount -Rl /sys/fs/cgroup; mkdir -p /sys/fs/cgroup;
                     mount -t cgroup2 none /sys/fs/cgroup;",
                ),
                "",
            ),
            Tree::Container => (
                String::from(
                    "umount -Rl /sys/fs/cgroup; mkdir -p /sys/fs/cgroup;
                     mount -t cgroup2 none /sys/fs/cgroup;
                     grep -qx 0::/ /proc/self/cgroup;",
                ),
                "",
            ),
            Tree::Hidden => (String::from("umount -Rl /sys/fs/cgroup;"), "by-socket"),
        };
        let space = if self.tree == Tree::Container {
            "-C"
        } else {
            ""
        };
        format!(
            "{in_cgroup}
             exec unshare -m {space} bash -euc '{view} exec {} relay {extra} {args}'",
            probe().display()
        )
    }

    fn joined(&self, args: &[&str]) -> String {
        let stranger = match self.tree {
            Tree::AsMounted => format!("stranger={}/app", self.cgroup.display()),
            Tree::V2Alone => format!("stranger=/sys/fs/cgroup/{}/app", self.id),
            Tree::Container | Tree::Hidden => String::new(), // nobody can change cgroups there
        };
        format!("{stranger} {}", args.join(" "))
    }

    pub(crate) fn relay(&self, args: &[&str]) -> Relay {
        let join = format!("echo $$ > {}/engine/cgroup.procs", self.cgroup.display());
        Relay(self.until_ready('p', &self.weir(&join, &self.joined(args))))
    }

    pub(crate) fn relay_as(&self, uid: u32, args: &[&str]) -> Relay {
        let script = format!(
            "exec setpriv --reuid {uid} --regid {uid} --clear-groups \
             --inh-caps=+net_admin --ambient-caps=+net_admin {} relay {}",
            self.attack_script().with_file_name("netns_probe").display(),
            args.join(" ")
        );
        Relay(self.until_ready('p', &script))
    }

    /// As a container that has these capabilities and no other: it becomes an ordinary user once the
    /// rules are in.
    fn container(&self, capabilities: &str) -> String {
        format!(
            "echo $$ > {}/engine/cgroup.procs
             exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all{capabilities} \
               {} relay enforced own-half give-up",
            self.cgroup.display(),
            self.attack_script().with_file_name("netns_probe").display(),
        )
    }

    pub(crate) fn relay_in_container(&self, capabilities: &str) -> Relay {
        Relay(self.until_ready('p', &self.container(capabilities)))
    }

    pub(crate) fn container_fails(&self, capabilities: &str) -> String {
        self.failure(&self.container(capabilities))
    }

    pub(crate) fn relay_fails(&self, args: &[&str]) -> String {
        let join = format!("echo $$ > {}/engine/cgroup.procs", self.cgroup.display());
        let stranger = format!(
            "stranger={}/engine {}",
            self.cgroup.display(),
            args.join(" ")
        );
        self.failure(&self.weir(&join, &stranger))
    }

    pub(crate) fn relay_in_root(&self) -> String {
        let root = cgroup2();
        self.failure(&self.weir(
            &format!("echo $$ > {}/cgroup.procs", root.display()),
            "enforced",
        ))
    }

    pub(crate) fn relay_shared(&self) -> String {
        let join = format!(
            "echo $$ > {}/engine/cgroup.procs; setsid -f sleep 3",
            self.cgroup.display()
        );
        self.failure(&self.weir(&join, "enforced"))
    }

    fn failure(&self, script: &str) -> String {
        let mut child = self
            .inside('p', script)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(!child.wait().unwrap().success(), "started: {script}");
        said
    }

    pub(crate) fn server_that_never_closes(&self) -> Relay {
        let script = "exec python3 -c '
import socket
s = socket.create_server((\"10.77.0.2\", 5433)); print(\"ready\", flush=True); kept = []
while True:
    c, a = s.accept(); c.send(b\"SERVER again\\n\"); kept.append(c)'";
        Relay(self.until_ready('s', script))
    }

    /// A connection from Weir's cgroup and the given port, closed by its
    /// owner, not by the server; returns when its socket is gone.
    pub(crate) fn leave_behind(&self, port: u16) {
        let script = format!(
            "sysctl -qw net.ipv4.tcp_fin_timeout=1
             echo $$ > {}/engine/cgroup.procs
             python3 -c 'import socket
s = socket.create_connection((\"10.77.0.2\", 5433), 3, (\"10.77.0.1\", {port}))
assert s.recv(6) == b\"SERVER\"; s.recv(99)'
             while ss -Htan | grep -q ':{port} '; do sleep 0.2; done",
            self.cgroup.display()
        );
        assert!(self.inside('p', &script).status().unwrap().success());
    }

    pub(crate) fn shell(&self, script: &str) -> String {
        String::from_utf8(self.inside('p', script).output().unwrap().stdout).unwrap()
    }

    /// The server loses that connection without a word, as by a crash.
    pub(crate) fn server_forgets(&self, port: u16) {
        let script = format!(
            "nft 'add table ip quiet; add chain ip quiet o {{ type filter hook output priority 0; }};
               add rule ip quiet o tcp flags & rst == rst drop'
             ss -HKtn 'dport = :{port}' | grep -q ':{port}'
             nft delete table ip quiet"
        );
        assert!(self.inside('s', &script).status().unwrap().success());
    }

    /// An application that connects again and again, whatever comes of it.
    pub(crate) fn dials_without_pause(&self, to: &str) -> Relay {
        let script = format!(
            "echo $$ > {}/app/cgroup.procs
             exec python3 -c '
import socket
print(\"ready\", flush=True)
while True:
    try: socket.create_connection((\"{to}\", 5432), 1).close()
    except OSError: pass'",
            self.cgroup.display()
        );
        Relay(self.until_ready('p', &script))
    }

    pub(crate) fn serve_in_pod(&self) -> Relay {
        Relay(self.until_ready('p', &format!("exec {} serve", probe().display())))
    }

    pub(crate) fn counters(&self) -> String {
        line(
            &self
                .inside('p', &format!("exec {} counters", probe().display()))
                .output()
                .unwrap(),
        )
    }

    /// TCP segments that the server's namespace has received, once it is quiet.
    pub(crate) fn segments_at_server(&self) -> u64 {
        let script = "old=; while new=$(grep ^Tcp: /proc/net/snmp | tail -1 | cut -d' ' -f11)
            [ \"$new\" != \"$old\" ]; do old=$new; sleep 0.3; done; echo $new";
        line(&self.inside('s', script).output().unwrap())
            .parse()
            .unwrap()
    }

    pub(crate) fn uninstall(&self) {
        let script = format!("exec {} uninstall", probe().display());
        assert!(self.inside('p', &script).status().unwrap().success());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.server {
            let _ = child.kill();
            let _ = child.wait();
        }
        let script = format!(
            "ip netns del {0}p; ip netns del {0}s; rm -r /etc/netns-{0}
             for d in {c}/engine {c}/app {c}; do echo 1 > $d/cgroup.kill; done 2>/dev/null
             for d in {c}/engine {c}/app {c}; do
               for i in $(seq 20); do rmdir $d 2>/dev/null && break; sleep 0.05; done
             done",
            self.id,
            c = self.cgroup.display()
        );
        let _ = Command::new("bash").args(["-c", &script]).status();
    }
}

impl Relay {
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Held {
    pub(crate) fn release(mut self) -> String {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        self.1.read_line(&mut said).unwrap();
        let _ = self.0.wait();
        said.trim().to_owned()
    }
}
