"""SSH, measured: a 1 GB sftp download, a command (also with a connection of its own), and fifty
sessions; direct, through a bare russh relay, and through Weir with everything on. The download also
goes through a relay that makes the SHA-256 of what it moves: evidence of a file needs it, and on one
CPU it cannot be had for nothing."""

import os
import statistics
import subprocess
import time

from lab import proc, sshd, weir

MEGABYTES = int(os.environ.get("SSH_MEGABYTES", "1024"))
SESSIONS = 50
CIPHER = "Ciphers=aes128-gcm@openssh.com"
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: hosts}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [host]
  audit: {record: Commands, delivery: DELIVERY}
  rules:
  - {name: no-dumps, match: {ssh: {commands: [pg_dump]}}, action: Deny}
  - {name: bulk, limits: {window: {bytes: 10Ti, per: 1h}, onExceed: Deny}}
"""


class Scene:
    """A server, a bare relay and Weir."""

    def __init__(self, a, binary, tool):
        self.server = sshd.Sshd().start()
        self.file = os.path.join(self.server.home, "bench.bin")
        if not os.path.exists(self.file) or os.path.getsize(self.file) != MEGABYTES << 20:
            with open(self.file, "wb") as f:
                block = os.urandom(1 << 20)
                for _ in range(MEGABYTES):
                    f.write(block)
        os.chmod(self.file, 0o644)
        where = proc.workdir("weir-bench-ssh-")
        relay, hashing = proc.free_port(), proc.free_port()
        self.relays = [proc.spawn([tool, "ssh-relay", f"127.0.0.1:{port}", f"127.0.0.1:{self.server.port}",
                                   "--user", self.server.user, "--key", self.server.path("key"), *more])
                       for port, more in ((relay, ()), (hashing, ("--digest",)))]
        for port in (relay, hashing):
            proc.wait_until(lambda port=port: proc.accepts(port), "the relay listens")
        secret = os.path.join(where, "state/secrets/host-login")
        os.makedirs(secret, mode=0o700)
        with open(os.path.join(secret, "ssh-privatekey"), "w", encoding="utf-8") as f:
            f.write(self.server.read("key"))
        target = f"""\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: host}}
spec:
  protocol: SSH
  addresses: [{{host: 127.0.0.1, port: {self.server.port}}}]
  credentials: {{mode: Brokered, secretRef: {{name: host-login}}}}
  ssh: {{hostKeys: ["{self.server.public()}"], user: {self.server.user}}}
"""
        self.weir = weir.Weir(binary, self.server.port, target=target, where=where, target_name="host",
                              policies=POLICY.replace("DELIVERY", a.delivery)).start()
        self.ports = {"direct": self.server.port, "relay": relay, "hashing": hashing, "weir": self.weir.port}

    def options(self, way, *more):
        """A stock client to one of them."""
        key = self.server.path("key") if way == "direct" else None
        found = sshd.client(self.ports[way], known_hosts="/dev/null", identity=key, options=(CIPHER, *more))
        return ["StrictHostKeyChecking=no" if o.startswith("StrictHostKeyChecking") else o for o in found]

    def download(self, way):
        """Megabytes per second of the file over sftp."""
        start = time.monotonic()
        proc.run(["sftp", "-q", *self.options(way), f"127.0.0.1:{self.file}", "/dev/null"], timeout=600)
        return MEGABYTES / (time.monotonic() - start)

    def connects(self, way, count):
        """Median milliseconds of a command with a connection of its own."""
        took = []
        for _ in range(count):
            start = time.monotonic()
            subprocess.run(["ssh", *self.options(way), "127.0.0.1", "true"], check=True, stdin=subprocess.DEVNULL)
            took.append((time.monotonic() - start) * 1000)
        return statistics.median(took)

    def command(self, way, count):
        """Median milliseconds of a command on a connection that is there."""
        control = os.path.join(self.weir.dir, f"cm-{way}")
        base = ["ssh", *self.options(way, f"ControlPath={control}")]
        proc.run([*base, "-M", "-fN", "127.0.0.1"])
        try:
            took = []
            for n in range(count + 3):
                start = time.monotonic()
                subprocess.run([*base, "127.0.0.1", "true"], check=True, stdin=subprocess.DEVNULL)
                if n >= 3:
                    took.append((time.monotonic() - start) * 1000)
            return statistics.median(took)
        finally:
            proc.run([*base, "-O", "exit", "127.0.0.1"], check=False)

    def sessions(self, way, pid):
        """Resident megabytes with many shells open."""
        children = [subprocess.Popen(["ssh", *self.options(way), "127.0.0.1", "echo in; sleep 60"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(SESSIONS)]
        try:
            for child in children:
                child.stdout.readline()
            time.sleep(2)
            return proc.rss_kb(pid) / 1024
        finally:
            for child in children:
                child.kill()
                child.wait()

    def stop(self):
        """Ends all of them."""
        self.weir.stop()
        for relay in self.relays:
            proc.stop(relay)
        self.server.stop()
        os.unlink(self.file)


def measure(bench, binary, tool, median_of):
    """The rows of the report."""
    scene = Scene(bench.a, binary, tool)
    try:
        ways = ["direct", "relay", "weir"]
        found = bench.interleaved([*ways, "hashing"], scene.download)
        rates = {way: statistics.median(values) for way, values in found.items()}
        ratio = {way: median_of(found["weir"], found[way], lambda v, d: v / d) for way in ("relay", "hashing", "direct")}
        bench.add("ssh.bulk", ratio["relay"], rates["direct"], rates["relay"],
                  {"weir MB/s": rates["weir"], "relay with SHA-256 MB/s": rates["hashing"],
                   "x relay with SHA-256": ratio["hashing"]})
        bench.add("ssh.direct", ratio["direct"], rates["direct"], rates["relay"], {"weir MB/s": rates["weir"]})
        count = 30 if bench.a.quick else 100
        found = bench.interleaved(ways, lambda way: scene.command(way, count))
        times = {way: statistics.median(values) for way, values in found.items()}
        bench.add("ssh.exec", median_of(found["weir"], found["direct"], lambda v, d: v / d), times["direct"],
                  times["relay"], {"weir ms": times["weir"]})
        found = bench.interleaved(ways, lambda way: scene.connects(way, count // 5))
        times = {way: statistics.median(values) for way, values in found.items()}
        bench.add("ssh.new", median_of(found["weir"], found["direct"], lambda v, d: v / d), times["direct"],
                  times["relay"], {"weir ms": times["weir"]})
        bench.add("ssh.50", scene.sessions("weir", scene.weir.pid), None, scene.sessions("relay", scene.relays[0].pid))
    finally:
        scene.stop()
