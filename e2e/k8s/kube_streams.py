"""Streams of the Kubernetes API from governed pods: terminals, copies, logs, tunnels and watches. Their sizes are
reduced unless FULL is set."""

import os
import re

from lab.report import equal

import kube_scene as scene

FULL = bool(os.environ.get("FULL"))
COPIED = "200M" if FULL else "40M"
LOGGED = 2_000_000 if FULL else 100_000
EVENTS = 10_000 if FULL else 1_000
CONNECTIONS = 50
# Types into a shell on a terminal that changes its size, and leaves it with an exit code of its own.
TERMINAL = r"""
import fcntl, os, pty, select, signal, struct, sys, termios, time
def sized(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
pid, fd = pty.fork()
if pid == 0:
    sized(0, 31, 97)
    os.execvp("kubectl", ["kubectl", "exec", "-it", "peer", "--", "sh"])
shown = b""
def until(mark, seconds=30):
    global shown
    end = time.time() + seconds
    while mark not in shown:
        if time.time() > end:
            sys.exit(f"{mark} is not in {shown}")
        if select.select([fd], [], [], 0.2)[0]:
            shown += os.read(fd, 65536)
    found, shown = shown, b""
    return found
def asked(text, mark):
    os.write(fd, text)
    return until(mark)
until(b"#")
end = time.time() + 20
while b"31 97" not in asked(b"stty size; echo do''ne\n", b"done"):
    assert time.time() < end
sized(fd, 44, 120)
os.kill(pid, signal.SIGWINCH)
while b"44 120" not in asked(b"stty size; echo do''ne\n", b"done"):
    assert time.time() < end
os.write(fd, b"exit 9\n")
print("sizes seen, exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
COPY = f"""\
set -e
cd /tmp
head -c {COPIED} /dev/urandom > sent
kubectl cp sent peer:/srv/copied
kubectl exec peer -- sha256sum /srv/copied | cut -c1-64 > there
sha256sum sent | cut -c1-64 | cmp - there
kubectl cp peer:/srv/copied back > said 2>&1 || cat said
cmp sent back
rm -f sent back said there
echo copied
"""
# Fifty at once over one tunnel, one more, and one that comes to nothing: kubectl gives up the others with it.
TUNNEL = f"""\
cd /tmp
kubectl port-forward pod/peer 18000:8000 18001:8001 > forward.log 2>&1 &
child=$!
for _ in $(seq 600); do grep -q 'Forwarding from 127.0.0.1:18000' forward.log && break; sleep 0.1; done
seq {CONNECTIONS} | xargs -P {CONNECTIONS} -I@ curl -sS -m 60 -o got-@ http://127.0.0.1:18000/file
sha256sum got-* | cut -c1-64 | sort | uniq -c | awk '{{print $1}}'
curl -sS -m 20 http://127.0.0.1:18000/file | wc -c
curl -s -m 20 http://127.0.0.1:18001/ > /dev/null || echo refused
kill $child 2> /dev/null || true
rm -f got-* forward.log
"""
TALKER = """\
kubectl run talker --image=weir.test/api:1 --restart=Never --command -- \
  python3 -c 'import time
for n in range(@COUNT@):
    print(f"{n:08d} " + "x" * 40)
    if n % 20000 == 0: time.sleep(0.2)' > /dev/null
kubectl wait --for=jsonpath={.status.phase}=Succeeded pod/talker --timeout=300s > /dev/null
kubectl logs talker -c talker | sha256sum
kubectl logs talker -c talker | wc -l
kubectl delete pod talker --wait=false > /dev/null
"""


class Streams(scene.Scene):
    """The claims."""

    def a_terminal_has_its_size_and_its_exit_code(self):
        self.same("python3 -", "sizes seen, exit 9\n", input=TERMINAL)

    def files_are_copied_whole(self):
        self.same(COPY, "copied\n")

    def a_log_is_whole(self):
        governed, direct = self.both(TALKER.replace("@COUNT@", str(LOGGED)))
        equal(governed, direct)

    def fifty_connections_share_a_tunnel(self):
        self.same(TUNNEL, f"{CONNECTIONS}\n300000\nrefused\n")

    def no_event_of_a_watch_is_lost(self):
        expected = f'{{"gone":true,"seen":{EVENTS}}}\n'
        self.same(f"EVENTS={EVENTS} apis events $(cat {scene.PATH}/namespace)", expected)

    def same(self, script, expected, **kwargs):
        """It prints this, governed and not."""
        for name, found in zip(("governed", "direct"), self.both(script, **kwargs)):
            equal((found[0], re.sub(r"(?m)^ +", "", found[1])), (0, expected), f"{name}: {found[2][-600:]}")


CLAIMS = (Streams.a_terminal_has_its_size_and_its_exit_code, Streams.files_are_copied_whole, Streams.a_log_is_whole,
          Streams.fifty_connections_share_a_tunnel, Streams.no_event_of_a_watch_is_lost)
