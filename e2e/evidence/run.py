#!/usr/bin/env python3
"""Proofs kept elsewhere, by others' programs: an archive in a bucket of a real S3 gateway, and a real witness of C2SP.

    run.py --weir PATH [--only bucket]

versitygw checks each request's signature and keeps the bucket's objects as files; litewitness checks that the log only
grows. Both are built from source. Last line: N passed, N failed.
"""

import argparse
import base64
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, postgres, proc, report, weir, wire  # noqa: E402
from lab.report import contains, equal  # noqa: E402

GATEWAY = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
WITNESS = "filippo.io/torchwood/cmd/litewitness@v0.9.0"
ACCESS, SECRET = "weir-archive", "of-no-use-elsewhere"
NAME = "witness.example/weir"


class Scene:
    """A database behind Weir, a bucket, a witness."""

    def __init__(self, binary):
        self.tools = install.go_tools("proofs", GATEWAY, WITNESS)
        install.need("ssh-agent", "openssh-client")
        self.dir = proc.workdir("weir-evidence-")
        self.s3_port, self.witness_port = proc.free_port(), proc.free_port()
        self.bucket = os.path.join(self.dir, "s3/evidence")
        self.server = postgres.Postgres(15).start()
        self.server.psql("CREATE ROLE app LOGIN PASSWORD 'app-secret';")
        self.server.psql("CREATE DATABASE shop OWNER app;")
        target = weir.target_yaml(self.server.port, client_tls="Refuse")
        self.weir = weir.Weir(binary, self.server.port, target=target)
        self.login(SECRET)
        self.gateway()
        self.key = self.witness_key()
        with open(self.weir.config, encoding="utf-8") as f:
            text = f.read()
        text = text.replace("collector: {", "collector:\n  archive:\n    to: s3://evidence/cluster-1\n"
                            f"    endpoint: http://127.0.0.1:{self.s3_port}\n    credentialsDir: {self.dir}/login\n"
                            f'  witnesses: [{{key: "{self.key}", url: "http://127.0.0.1:{self.witness_port}"}}]\n  ')
        text = re.sub(r'(?m)^  (address: "[^"]*")}$', r"  \1", text)
        with open(self.weir.config, "w", encoding="utf-8") as f:
            f.write(text)
        self.weir.start()
        self.witness()

    def login(self, secret):
        """What Weir logs in to the bucket with."""
        os.makedirs(f"{self.dir}/login", mode=0o700, exist_ok=True)
        for name, value in (("access-key-id", ACCESS), ("secret-access-key", secret)):
            with open(f"{self.dir}/login/{name}", "w", encoding="utf-8") as f:
                f.write(value)

    def gateway(self):
        """The S3 gateway."""
        os.makedirs(self.bucket)
        proc.spawn([f"{self.tools}/versitygw", "--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{self.s3_port}",
                    "posix", "--nometa", f"{self.dir}/s3"], log=f"{self.dir}/s3.log")
        proc.wait_until(lambda: proc.accepts(self.s3_port), "the gateway listens", log=f"{self.dir}/s3.log")

    def witness_key(self):
        """A key of the witness's in an agent of its own; what Weir must know of it."""
        agent = f"{self.dir}/agent.sock"
        proc.spawn(["ssh-agent", "-D", "-a", agent], log=f"{self.dir}/agent.log")
        proc.wait_until(lambda: os.path.exists(agent), "the agent listens")
        proc.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.dir}/witness"])
        proc.run(["ssh-add", "-q", f"{self.dir}/witness"], env={**os.environ, "SSH_AUTH_SOCK": agent})
        with open(f"{self.dir}/witness.pub", encoding="ascii") as f:
            return verifier_key(f.read().split()[1])

    def witness(self):
        """The witness, which knows this log."""
        with open(self.weir.log, encoding="utf-8", errors="replace") as f:
            self.log_key = re.search(r"signed by.*?(weir\.dev/log/[^\s\"+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+)", f.read()).group(1)
        name = proc.run(["ssh-keygen", "-l", "-E", "sha256", "-f", f"{self.dir}/witness.pub"]).stdout.split()[1]
        db, log = f"{self.dir}/witness.db", f"{self.dir}/witness.log"
        proc.spawn([f"{self.tools}/litewitness", "-db", db, "-name", NAME, "-key", name, "-ssh-agent", f"{self.dir}/agent.sock",
                    "-listen", f"127.0.0.1:{self.witness_port}"], log=log)
        proc.wait_until(lambda: proc.accepts(self.witness_port), "the witness listens", log=log)
        origin, nothing = self.log_key.split("+", 1)[0], base64.b64encode(hashlib.sha256(b"").digest()).decode()
        with contextlib.closing(sqlite3.connect(db)) as known, known:
            known.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, nothing))
            known.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (origin, self.log_key))

    def root(self):
        """The certificate that this engine signs with."""
        return glob.glob(f"{self.weir.state}/signing-*.crt")[0]

    def statements(self, count, what):
        """Some evidence, shipped."""
        conn = wire.Conn(self.weir.port)
        for i in range(count):
            conn.query(f"SELECT {i} AS {what}")
        conn.close()
        self.weir.settle()

    def again(self):
        """A restart, which brings archive and witness up to date at once."""
        self.weir.stop()
        self.weir.start()

    def size(self, note):
        """Entries that a checkpoint counts."""
        with open(note, encoding="utf-8") as f:
            return int(f.read().splitlines()[1])

    def archived(self):
        """Entries in the bucket's newest checkpoint."""
        note = f"{self.bucket}/cluster-1/checkpoint"
        return self.size(note) if os.path.exists(note) else 0


def verifier_key(public):
    """The verifier key of a cosigner, as C2SP's signed-note and tlog-cosignature write it, from an SSH public key."""
    key = b"\x04" + base64.b64decode(public)[-32:]
    number = hashlib.sha256(NAME.encode() + b"\n" + key).digest()[:4].hex()
    return f"{NAME}+{number}+{base64.b64encode(key).decode()}"


def the_bucket_has_the_log_and_its_evidence(scene):
    scene.statements(20, "first")
    scene.again()
    proc.wait_until(lambda: scene.archived() > 0, "the bucket has a checkpoint", 20)
    bundles = sorted(glob.glob(f"{scene.bucket}/cluster-1/bundles/*.weir"))
    said = scene.weir.cli("verify", bundles[0], "--log-key", scene.log_key, "--roots", scene.root()).stdout
    contains(said, "the record is complete and unaltered")
    whole = os.path.join(scene.dir, "whole.weir")
    scene.weir.cli("export", "--file", whole)
    contains(scene.weir.cli("verify", whole, "--log-key", scene.log_key, "--checkpoint", f"{scene.bucket}/cluster-1/checkpoint").stdout,
             "the record is complete and unaltered")
    # By the key that it brings itself, a file is whole in itself: no script may take that for proof.
    done = scene.weir.cli("verify", whole, check=False)
    equal(done.returncode, 3, done.stdout)
    assert done.stdout.startswith("NOT PROVED: "), done.stdout


def a_wrong_login_says_so_and_a_right_one_catches_up(scene):
    scene.login("wrong")
    before = scene.archived()
    scene.statements(20, "second")
    scene.again()
    proc.wait_until(lambda: "SignatureDoesNotMatch" in proc.tail(scene.weir.log, 60), "the log says why the bucket refuses", 20)
    equal(scene.archived(), before)
    scene.login(SECRET)
    scene.again()
    proc.wait_until(lambda: scene.archived() > before, "the bucket catches up", 20)


def sections(bundle):
    """Tags and contents of a bundle's sections."""
    at, out = 16, []
    while at < len(bundle):
        length = int.from_bytes(bundle[at + 1:at + 5], "big")
        out.append((bundle[at:at + 1], bundle[at + 5:at + 5 + length]))
        at += 5 + length
    return out


def joined(parts):
    """A bundle of sections."""
    return b"weir-evidence/2\n" + b"".join(tag + len(content).to_bytes(4, "big") + content for tag, content in parts)


def a_report_without_its_evidence_is_no_report(scene):
    """What an auditor is handed on: the folder of a report, which verifies, and the same with its evidence taken out."""
    scene.statements(20, "reported")
    folder, kept = os.path.join(scene.dir, "november"), os.path.join(scene.dir, "october.checkpoint")
    shutil.copy(f"{scene.bucket}/cluster-1/checkpoint", kept)
    scene.statements(20, "later")
    trust = ["--log-key", scene.log_key, "--roots", scene.root()]

    def judged(*more):
        done = scene.weir.cli("verify", folder, *trust, *more, check=False)
        return done.returncode, done.stdout
    scene.weir.cli("report", "--from", "1h", "--dir", folder)
    equal(judged()[0], 0)
    code, said = judged("--checkpoint", kept)
    if code != 0:  # Where the period is not all of the log.
        equal(code, 3, said)
        contains(said, "was NOT shown")
    shutil.rmtree(folder)
    scene.weir.cli("report", "--from", "1h", "--dir", folder, "--checkpoint", kept)
    equal(judged("--checkpoint", kept)[0], 0)
    evidence = os.path.join(folder, "evidence.weir")
    with open(evidence, "rb") as f:
        whole = f.read()
    parts = sections(whole)
    manifest = json.loads(parts[0][1])
    root = base64.b64decode(next(content for tag, content in parts if tag == b"c").split(b"\n")[2])
    nothing = json.dumps({**manifest, "first": manifest["size"], "end": manifest["size"]}).encode()
    emptied = [(b"m", nothing), *[part for part in parts[1:] if part[0] in b"RCcko"], (b"p", root), parts[-1]]
    other = os.path.join(scene.dir, "other.weir")
    scene.weir.cli("export", "--to", "2001-01-01", "--file", other)
    with open(other, "rb") as f:
        other = f.read()
    for forged in (joined(emptied), joined(parts[:-1]), joined(parts[:-2] + parts[-1:]), other, whole + whole):
        with open(evidence, "wb") as f:
            f.write(forged)
        code, said = judged()
        assert code in (1, 3), f"{code}: {said}"
    with open(evidence, "wb") as f:
        f.write(whole)
    equal(judged()[0], 0)


def the_witness_cosigns_what_continues(scene):
    whole = os.path.join(scene.dir, "cosigned.weir")

    def cosigned():
        scene.weir.cli("export", "--file", whole)
        return scene.weir.cli("verify", whole, "--log-key", scene.log_key, "--witness", scene.key, check=False).returncode == 0
    proc.wait_until(cosigned, "the export's checkpoint is cosigned", 20, every=1)
    other = scene.key.replace(NAME, "witness.example/other")
    done = scene.weir.cli("verify", whole, "--log-key", scene.log_key, "--witness", other, check=False)
    assert done.returncode != 0, f"a witness that has signed nothing: {done.stdout}"


def a_store_put_back_is_told_from_what_others_have(scene):
    """Store, key and the checkpoint beside them, all as they were yesterday: the bucket and the witness remember."""
    scene.weir.stop()
    yesterday = os.path.join(scene.dir, "yesterday")
    shutil.copytree(scene.weir.state, yesterday, symlinks=True, ignore=lambda _, names: [n for n in names if n.endswith(".sock")])
    scene.weir.start()
    scene.statements(20, "third")
    known = scene.archived()
    scene.again()
    proc.wait_until(lambda: scene.archived() > known, "the bucket has today's", 60)
    scene.weir.stop()
    before = scene.archived()  # Nobody writes any more.
    for name in os.listdir(scene.weir.state):
        path = os.path.join(scene.weir.state, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    shutil.copytree(yesterday, scene.weir.state, symlinks=True, dirs_exist_ok=True)
    scene.weir.start()

    def told():
        return [e for e in scene.weir.events(kind="finding") if "tampered" in str(e)]
    found = proc.wait_until(told, "a finding", 20)
    contains(str(found), "its end is gone")
    equal(scene.archived(), before, "nothing is written over what contradicts")
    done = scene.weir.cli("verify", check=False)
    equal(done.returncode, 1, done.stdout)


CLAIMS = (the_bucket_has_the_log_and_its_evidence, a_wrong_login_says_so_and_a_right_one_catches_up,
          a_report_without_its_evidence_is_no_report, the_witness_cosigns_what_continues, a_store_put_back_is_told_from_what_others_have)


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    out = report.Report(a.only)
    scene = Scene(a.weir)
    for claim in CLAIMS:
        out.check(claim.__name__, claim, scene)
    scene.weir.stop()
    out.finish()


if __name__ == "__main__":
    main()
