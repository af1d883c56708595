"""The SSH half of the evasion corpus: a real OpenSSH with the corpus's fixtures, Weir with
``ssh/*.yaml`` in front of it, and the corpus's own harness.

The budgets of the one identity are reset between items by the operator's command, which is
itself evidence. The last line of the output is the harness's JSON.
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import proc, weir  # noqa: E402

CORPUS = os.path.abspath(os.environ["CORPUS"])
NEEDS = {"socat": "socat", "xxd": "xxd", "tmux": "tmux", "ed": "ed", "ncat": "ncat", "rsync": "rsync", "git": "git",
         "rev": "bsdextrautils", "sshd": "openssh-server"}


def install():
    """What the items use."""
    missing = [package for program, package in NEEDS.items()
               if not any(os.path.exists(f"{d}/{program}") for d in ("/usr/bin", "/usr/sbin", "/bin"))]
    if missing:
        proc.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
                 env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def fixtures():
    """A server as the corpus's README wants it: its directory and its port."""
    where, port = proc.workdir("weir-corpus-ssh-"), proc.free_port()
    with open(os.path.join(CORPUS, "fixtures/ssh_setup.sh"), encoding="utf-8") as f:
        script = f.read().replace("/usr/sbin/sshd -f $D/sshd_config -E $D/sshd.log", "")
    proc.run(["bash", "-c", script, "ssh_setup.sh", where, str(port)])
    proc.spawn(["/usr/sbin/sshd", "-D", "-f", f"{where}/sshd_config", "-E", f"{where}/sshd.log"])
    proc.wait_until(lambda: proc.accepts(port), "sshd listens", log=f"{where}/sshd.log")
    return where, port


def policies(where, port):
    """The corpus's policy with the server's address and keys filled in."""
    w = weir.Weir(os.environ["WEIR"], port, identity="corpus", target_name="host")
    os.unlink(os.path.join(w.dir, "policies", "target.yaml"))
    secret = os.path.join(w.state, "secrets/host-login")
    os.makedirs(secret, mode=0o700)
    for name, text in (("username", "corpus"), ("ssh-privatekey", None)):
        if text is None:
            with open(f"{where}/key", encoding="utf-8") as f:
                text = f.read()
        with open(os.path.join(secret, name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(os.path.join(secret, name), 0o600)
    with open(f"{where}/hostkey.pub", encoding="utf-8") as f:
        key = " ".join(f.read().split()[:2])
    mode = os.environ.get("POLICY", "policy")
    for name in ("target.yaml.in", f"{mode}.yaml"):
        with open(os.path.join(HERE, "ssh", name), encoding="utf-8") as f:
            text = f.read().replace("${SSH_PORT}", str(port)).replace("${HOST_KEY}", key)
            w.write("policy.yaml" if name != "target.yaml.in" else "target.yaml", text)
    return w


def main():
    """Direct, or through Weir."""
    install()
    where, port = fixtures()
    argv = [sys.executable, os.path.join(CORPUS, "validate.py"), "ssh", "--user", "corpus", "--key", f"{where}/key"]
    if os.environ.get("ONLY"):
        argv += ["--only", os.environ["ONLY"]]
    if os.environ.get("VERBOSE"):
        argv += ["--verbose"]
    if os.environ.get("PROXY", "weir") == "direct":
        argv += ["--port", str(port)]
    else:
        w = policies(where, port).start()
        argv += ["--mode", "gateway", "--port", str(w.port), "--admin-port", str(port),
                 "--between", f"{w.binary} budgets reset --state-dir {w.state}"]
    status = subprocess.run(argv, env={**os.environ, "LC_ALL": "C.UTF-8"}, cwd=where).returncode
    # 1 only says that some item failed: the line says which
    sys.exit(0 if status in (0, 1) else status)


if __name__ == "__main__":
    main()
