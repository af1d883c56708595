"""Child processes that cannot outlive the script, free ports, and waiting.

A child dies with its parent even after ``kill -9`` (PDEATHSIG). ``wait_until`` is
the only way the suites wait: it polls a claim and fails loudly at its deadline.
"""

import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_children = []
_workdirs = []


def _die_with_parent():
    os.setsid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv, log=None, **kwargs):
    """Starts argv in the background; output goes to the file ``log``."""
    out = open(log, "ab") if log else subprocess.DEVNULL
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs.setdefault("stdout", out)
    kwargs.setdefault("stderr", subprocess.STDOUT if log else subprocess.DEVNULL)
    child = subprocess.Popen(argv, preexec_fn=_die_with_parent, **kwargs)
    if log:
        out.close()
    _children.append(child)
    return child


def stop(child, sig=signal.SIGTERM, timeout=10):
    """Asks, then kills. Returns the exit status."""
    if child.poll() is None:
        child.send_signal(sig)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child in _children:
        _children.remove(child)
    return child.returncode


def workdir(prefix="weir-e2e-"):
    """A directory that other users may traverse and that goes away at exit
    (kept, and named, when WEIR_KEEP is set)."""
    path = tempfile.mkdtemp(prefix=prefix)
    os.chmod(path, 0o755)
    _workdirs.append(path)
    return path


_handed_out = set()
_BIND = "import socket, sys; socket.socket().bind(('127.0.0.1', int(sys.argv[1])))"


def free_port(inside=()):
    """A TCP port of 127.0.0.1 that nobody has now and that was not handed out before; ``inside`` is the command line that
    leads into another network namespace. It lies below those that the kernel hands out, so that no connection takes it
    meanwhile, and suites that run beside each other hardly ever draw the same."""
    while True:
        port = random.randrange(10000, 30000)
        if port not in _handed_out and _is_free(port, inside):
            _handed_out.add(port)
            return port


def _is_free(port, inside):
    if inside:
        return subprocess.run([*inside, "python3", "-c", _BIND, str(port)], stderr=subprocess.DEVNULL).returncode == 0
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# How much longer than on an idle machine what is waited for may take: builds, images that are unpacked and their
# writes run beside it. What is claimed about a time is measured, not waited for.
SLACK = 4


def wait_until(claim, what, timeout=30, every=0.05, child=None, log=None):
    """Polls ``claim()`` until it is true and returns its value. ``timeout``, in seconds, is for an idle machine."""
    if timeout >= 10:
        timeout = max(timeout, min(timeout * SLACK, 240))
    deadline = time.monotonic() + timeout
    while True:
        value = claim()
        if value:
            return value
        if child is not None and child.poll() is not None:
            raise RuntimeError(f"{what}: process ended with {child.returncode}\n{tail(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {timeout} s\n{tail(log)}")
        time.sleep(every)


def calm(timeout=60):
    """Waits until half of the machine has been idle for a second, so that what is measured next is not others' work; where
    it stays busy the figure has to hold as it is."""
    def times():
        with open("/proc/stat", encoding="ascii") as f:
            return [int(ticks) for ticks in f.readline().split()[1:9]]
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        before = times()
        time.sleep(1)
        after = times()
        if (after[3] - before[3]) * 2 > sum(after) - sum(before):
            return
    print("      the machine is busy with something else")


def tail(path, lines=25):
    """The last lines of a log, for error messages."""
    if not path or not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return "".join(f.readlines()[-lines:])


def accepts(port, host="127.0.0.1"):
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def rss_kb(pid):
    """Resident memory of one process in kB, from /proc."""
    return _status_kb(pid, "VmRSS:")


def held_kb(pid):
    """Resident memory in kB that is the process's own: without pages of its program and libraries, which the kernel
    takes and gives back as it likes."""
    return _status_kb(pid, "RssAnon:") + _status_kb(pid, "RssShmem:")


def _status_kb(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(field):
                return int(line.split()[1])
    return 0


def run(argv, check=True, **kwargs):
    """Runs argv to its end with captured text output; on failure shows that output."""
    kwargs.setdefault("stdin", subprocess.DEVNULL if "input" not in kwargs else None)
    if kwargs["stdin"] is None:
        del kwargs["stdin"]
    kwargs.setdefault("timeout", 600)
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", **kwargs)
    if check and done.returncode != 0:
        raise RuntimeError(f"{argv}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


@atexit.register
def _cleanup():
    for child in list(_children):
        stop(child, signal.SIGKILL)
    for path in _workdirs:
        if os.environ.get("WEIR_KEEP"):
            print(f"kept: {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


def exit_on_signals():
    """SIGTERM and SIGHUP end the script through atexit."""
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda n, _frame: sys.exit(128 + n))


exit_on_signals()
