"""A real OpenSSH server on loopback, with a user of its own.

Root only: sshd changes users. The server dies with the script.
"""

import getpass
import os
import pwd
import subprocess

from . import proc

USER = "weirssh"


class Sshd:
    """One sshd; ``key`` is a private key that its user may log in with."""

    def __init__(self, where=None, *, options="", user=USER):
        if getpass.getuser() != "root":
            raise RuntimeError("sshd needs root")
        self.dir = where or proc.workdir("weir-sshd-")
        self.port, self.user, self.options = proc.free_port(), user, options
        self.log = os.path.join(self.dir, "sshd.log")
        if user != getpass.getuser():
            try:
                pwd.getpwnam(user)
            except KeyError:
                subprocess.run(["useradd", "-m", "-s", "/bin/bash", user], check=True)
            subprocess.run(["usermod", "-p", "*", user], check=True)
        self.home = pwd.getpwnam(user).pw_dir
        for name in ("key", "hostkey", "otherhostkey", "ca", "hostca"):
            self.keygen(name)
        self.child = None

    def path(self, name):
        """A file of the server's directory."""
        return os.path.join(self.dir, name)

    def keygen(self, name, kind="ed25519"):
        """Makes a key."""
        if not os.path.exists(self.path(name)):
            proc.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", self.path(name)])
        return self.path(name)

    def read(self, name):
        """The text of one of its files."""
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def public(self, name="hostkey"):
        """``ALGORITHM BASE64`` of one of its keys."""
        return " ".join(self.read(name + ".pub").split()[:2])

    def start(self, hostkey="hostkey", extra=""):
        """Starts it and waits until it listens."""
        os.makedirs("/run/sshd", exist_ok=True)
        with open(self.path("authorized_keys"), "w", encoding="utf-8") as f:
            f.write(self.read("key.pub"))
        config = self.path("sshd_config")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"""\
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.path(hostkey)}
PidFile {self.path("sshd.pid")}
StrictModes no
AuthorizedKeysFile {self.path("authorized_keys")}
TrustedUserCAKeys {self.path("ca.pub")}
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
X11Forwarding yes
AllowAgentForwarding yes
AcceptEnv LANG LC_* GIT_PROTOCOL
MaxSessions 1000
MaxStartups 200
LogLevel VERBOSE
Subsystem sftp internal-sftp
Subsystem raw /bin/cat
{extra}
{self.options}
""")
        self.child = proc.spawn(["/usr/sbin/sshd", "-D", "-f", config, "-E", self.log])
        proc.wait_until(lambda: proc.accepts(self.port), "sshd listens", child=self.child, log=self.log)
        return self

    def stop(self):
        """Ends it."""
        return proc.stop(self.child)


def client(port, *, known_hosts, user=USER, options=(), identity=None, agent=False):
    """The options that point stock clients (ssh, scp, sftp) at a port, and nothing of the
    machine's own configuration."""
    found = ["-F", "/dev/null", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null",
             "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15",
             "-o", "LogLevel=ERROR", "-o", f"Port={port}", "-o", f"User={user}"]
    if identity:
        found += ["-o", f"IdentityFile={identity}", "-o", "IdentitiesOnly=yes"]
    else:
        found += ["-o", "IdentityFile=none", *([] if agent else ["-o", "IdentityAgent=none"])]
    for option in options:
        found += ["-o", option]
    return found
