//! This machine as the outside of a sandbox: a server on all its addresses.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{line, probe, scripts, sh};

/// A network namespace that plays the host, so that ports are free.
pub(crate) struct Host {
    id: String,
    dir: PathBuf,
    servers: Vec<Child>,
}

pub(crate) struct Killed(Child);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Host {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "needs root");
        let id = format!(
            "h{}x{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = PathBuf::from(format!("/var/tmp/weir-{id}"));
        sh(&format!(
            "for n in {id} {id}s; do ip netns add $n; ip -n $n link set lo up; done
             ip -n {id} link add eth0 type veth peer name eth0 netns {id}s
             for n in {id} {id}s; do
               nsenter --net=/run/netns/$n sysctl -qw net.ipv6.conf.all.accept_dad=0 \
                 net.ipv6.conf.eth0.accept_dad=0 \
                 net.ipv4.tcp_fastopen=1027 net.ipv4.ping_group_range='0 2147483647'
               ip -n $n link set eth0 up
             done
             ip -n {id}s addr add 10.78.0.2/24 dev eth0
             ip -n {id}s addr add fd78::2/64 dev eth0 nodad
             ip -n {id}s addr add fe80::10/64 dev eth0 nodad
             ip -n {id} addr add 10.78.0.1/24 dev eth0; ip -n {id} addr add fd78::1/64 dev eth0 nodad
             ip -n {id} addr add fe80::9/64 dev eth0 nodad
             ip -n {id} route add default dev eth0
             mkdir -p {dir}; chmod 755 {dir}; install -m 755 {probe} {attack} {dir}/",
            dir = dir.display(),
            probe = probe().display(),
            attack = scripts().join("attack.py").display(),
        ));
        let mut host = Self {
            id,
            dir,
            servers: Vec::new(),
        };
        for side in ["", "s"] {
            let serve = format!("exec {} serve", probe().display());
            let mut server = host
                .on(side, &serve)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = std::io::BufReader::new(server.stdout.take().unwrap());
            let mut ready = String::new();
            std::io::BufRead::read_line(&mut out, &mut ready).unwrap();
            assert_eq!(ready, "ready\n");
            host.servers.push(server);
        }
        host
    }

    fn command(&self, script: &str) -> Command {
        self.on("", script)
    }

    fn on(&self, side: &str, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let script = format!(
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin; {}",
            self.with_addresses(script)
        );
        command.args([
            &format!("--net=/run/netns/{}{side}", self.id),
            "bash",
            "-c",
            &script,
        ]);
        command.stdin(Stdio::null());
        command
    }

    fn with_addresses(&self, script: &str) -> String {
        script
            .replace("HOST4", "10.78.0.1")
            .replace("HOST6", "fd78::1")
            .replace("FAR4", "10.78.0.2")
            .replace("FAR6", "fd78::2")
    }

    pub(crate) fn script(&self) -> String {
        self.dir.join("attack.py").display().to_string()
    }

    pub(crate) fn outside(&self, script: &str) -> String {
        text(&mut self.command(script))
    }

    pub(crate) fn inside(&self, options: &[&str], script: &str) -> String {
        text(&mut self.sandboxed(options, script, "exec"))
    }

    fn sandboxed(&self, options: &[&str], script: &str, before: &str) -> Command {
        let sandbox = format!(
            "{before} {} sandbox {} -- bash -c \"$0\"",
            probe().display(),
            options.join(" ")
        );
        let mut command = self.command(&sandbox);
        command.arg(format!(
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin; {}",
            self.with_addresses(script)
        ));
        command
    }

    /// The same attack outside, then inside.
    pub(crate) fn attack(&self, options: &[&str], kind: &str, to: &str) -> (String, String) {
        let script = format!("exec /usr/bin/python3 {} {kind} {to}", self.script());
        let control = line(&self.command(&script).output().unwrap());
        (
            control,
            line(&self.sandboxed(options, &script, "exec").output().unwrap()),
        )
    }

    pub(crate) fn link_local(&self) -> (String, String) {
        let outside = format!("exec /usr/bin/python3 {} tcp fe80::10%eth0", self.script());
        let inside = format!("exec /usr/bin/python3 {} tcp fe80::10%weir0", self.script());
        (
            line(&self.command(&outside).output().unwrap()),
            line(&self.sandboxed(&[], &inside, "exec").output().unwrap()),
        )
    }

    pub(crate) fn dir(&self, name: &str) -> String {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir.display().to_string()
    }

    /// A server on a unix socket named as PostgreSQL names its own.
    pub(crate) fn unix_server(&self, dir: &str) -> Killed {
        let script = format!(
            "mkdir -p {dir}; rm -f {dir}/.s.PGSQL.5432; exec python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.bind(\"{dir}/.s.PGSQL.5432\"); s.listen()
while True:
    c, _ = s.accept()
    try: c.send(b\"SERVER\")
    except OSError: pass
    c.close()'"
        );
        let child = self.command(&script).spawn().unwrap();
        let path = PathBuf::from(dir).join(".s.PGSQL.5432");
        while !path.exists() || std::os::unix::net::UnixStream::connect(&path).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Killed(child)
    }

    pub(crate) fn path(&self) -> String {
        self.dir.display().to_string()
    }

    /// One of Weir's other listeners.
    pub(crate) fn listen(&self, address: &str, port: u16) -> Killed {
        let script = format!(
            "exec python3 -c '
import socket
s = socket.create_server((\"{address}\", {port})); print(\"ready\", flush=True)
while True:
    c, _ = s.accept(); c.send(b\"ADMIN\"); c.close()'"
        );
        let mut child = self
            .command(&script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
        Killed(child)
    }

    /// A resolver on loopback, as systemd-resolved is.
    pub(crate) fn resolver(&self) -> Killed {
        std::fs::write(self.dir.join("resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
        let script = "exec python3 -c '
import socket, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((\"127.0.0.53\", 53))
t = socket.create_server((\"127.0.0.53\", 53))
def stream():
    while True:
        c, _ = t.accept(); c.send(c.recv(99)); c.close()
threading.Thread(target=stream, daemon=True).start()
print(\"ready\", flush=True)
while True:
    q, a = u.recvfrom(999); u.sendto(q[:12] + b\"answered\", a)'";
        let mut child = self.command(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
        Killed(child)
    }

    pub(crate) fn inside_with_resolver(&self, script: &str) -> String {
        let bind = format!(
            "mount --make-rprivate / && mount --bind {}/resolv.conf /etc/resolv.conf && exec",
            self.dir.display()
        );
        let command = self.sandboxed(&[], script, &bind);
        let mut unshared = Command::new("unshare");
        unshared
            .arg("-m")
            .arg(command.get_program())
            .args(command.get_args());
        text(&mut unshared)
    }
}

fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !errors.is_empty() {
        eprintln!("{errors}");
    }
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

impl Drop for Host {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let script = format!(
            "ip netns del {0}; ip netns del {0}s; rm -rf {1}",
            self.id,
            self.dir.display()
        );
        let _ = Command::new("bash").args(["-c", &script]).status();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
