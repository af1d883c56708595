#!/usr/bin/env python3
"""The web UI in a real browser: logins, holds, search, replay, and attacks on all of them.

    run.py --weir PATH [--only replay] [--keep]

Scene: a PostgreSQL and an sshd behind ``weir standalone``, a real OpenID Connect provider, Chromium.
The claims are in claims/*.mjs; pictures of what they saw go to target/browser. Last line: N passed,
N failed.
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, postgres, proc, sshd, weir  # noqa: E402

PLAYWRIGHT, PROVIDER = "1.65.1", "9.13.3"
SCREENS = os.path.join(HERE, "../../target/browser")


def modules():
    """The node modules that drive the browser and that log people in."""
    install.need("node", "nodejs")
    name = f"browser-playwright-core-{PLAYWRIGHT}-oidc-provider-{PROVIDER}"
    with install.cached(name) as (path, fresh):
        if fresh:
            install.need("npm", "npm")
            install.say(f"npm install playwright-core@{PLAYWRIGHT} oidc-provider@{PROVIDER}")
            with open(os.path.join(fresh, "package.json"), "w", encoding="utf-8") as f:
                f.write('{"private": true}')
            install.sh(["npm", "install", "--no-audit", "--no-fund", "--silent",
                        f"playwright-core@{PLAYWRIGHT}", f"oidc-provider@{PROVIDER}"], cwd=fresh)
    return path


class Scene:
    """Everything that the claims talk to."""

    def __init__(self, binary):
        self.modules = modules()
        install.need("chromium", "chromium")
        self.server = postgres.Postgres(15).start()
        with open(os.path.join(HERE, "fixture.sql"), encoding="utf-8") as f:
            self.server.psql(f.read())
        self.sshd = sshd.Sshd().start()
        self.issuer_port, self.ssh_port = proc.free_port(), proc.free_port()
        self.weir = self.configured(binary)
        self.redirect = f"http://127.0.0.1:{self.weir.collector_port}/ui/login/return"
        self.provider = self.provided()
        self.weir.start()

    def configured(self, binary):
        """Weir in front of both servers, with a provider."""
        where = proc.workdir("weir-browser-")
        with open(os.path.join(HERE, "policy.yaml"), encoding="utf-8") as f:
            policy = f.read()
        one = weir.Weir(binary, self.server.port, policies=policy, where=where)
        one.write("host.yaml", f"""\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: host}}
spec:
  protocol: SSH
  addresses: [{{host: 127.0.0.1, port: {self.sshd.port}}}]
  ssh: {{hostKeys: ["{self.sshd.public()}"], user: {self.sshd.user}}}
  credentials: {{mode: Brokered, secretRef: {{name: host-login}}}}
""")
        secret = os.path.join(one.state, "secrets/host-login")
        os.makedirs(secret, mode=0o700)
        key = os.path.join(secret, "ssh-privatekey")
        with open(key, "w", encoding="utf-8") as f:
            f.write(self.sshd.read("key"))
        os.chmod(key, 0o600)
        with open(os.path.join(where, "client-secret"), "w", encoding="utf-8") as f:
            f.write("weir-secret\n")
        with open(one.config, encoding="utf-8") as f:
            text = f.read()
        text = text.replace('target: db}]', f'target: db}}, {{address: "127.0.0.1:{self.ssh_port}", target: host}}]')
        text = text.replace(f'collector: {{address: "127.0.0.1:{one.collector_port}"}}', f"""\
collector:
  address: "127.0.0.1:{one.collector_port}"
  ui: {{auditors: [auditors]}}
oidc:
  issuer: http://127.0.0.1:{self.issuer_port}
  clientId: weir
  clientSecretFile: client-secret
  usernameClaim: email
  groupsClaim: groups
  allowHttp: true""")
        with open(one.config, "w", encoding="utf-8") as f:
            f.write(text)
        return one

    def provided(self):
        """The provider, running."""
        log = os.path.join(self.weir.dir, "provider.log")
        child = proc.spawn(["node", os.path.join(HERE, "provider.mjs"), f"http://127.0.0.1:{self.issuer_port}",
                            self.redirect],
                           log=log, env={**os.environ, "MODULES": self.modules})

        def ready():
            with open(log, encoding="utf-8", errors="replace") as f:
                return "provider: ready" in f.read()
        proc.wait_until(ready, "the provider is ready", child=child, log=log)
        return child

    def told(self):
        """What the claims need to know."""
        psql, extra = install.psql(15)
        return {"weir": self.weir.binary, "state": self.weir.state, "dir": self.weir.dir, "log": self.weir.log,
                "ui": f"http://127.0.0.1:{self.weir.collector_port}", "issuer": f"http://127.0.0.1:{self.issuer_port}",
                "psql": psql, "env": postgres.clean_env(
                    PGHOST="127.0.0.1", PGPORT=str(self.weir.port), PGUSER="app", PGPASSWORD="app-secret",
                    PGDATABASE="shop", PGCONNECT_TIMEOUT="15", **extra),
                "ssh": {"port": self.ssh_port, "user": self.sshd.user, "known": os.path.join(self.weir.state, "known_hosts")},
                "screens": os.path.abspath(SCREENS), "chromium": "/usr/bin/chromium", "repository": os.path.join(HERE, "../..")}


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", default="", help="parts of names, by comma")
    ap.add_argument("--keep", action="store_true", help="leave the scene up and wait for a key")
    a = ap.parse_args()
    os.makedirs(SCREENS, exist_ok=True)
    scene = Scene(a.weir)
    path = os.path.join(scene.weir.dir, "scene.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(scene.told(), f)
    env = {**os.environ, "MODULES": scene.modules, "SCENE": path, "ONLY": a.only}
    done = subprocess.run(["node", os.path.join(HERE, "claims.mjs")], env=env, check=False)
    if a.keep:
        input(f"scene: {path}")
    scene.weir.stop()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
