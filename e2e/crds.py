#!/usr/bin/env python3
"""The custom resource definitions against a real API server, as ``kubectl`` finds it.

Applies ``manifests/crds``, then asks the server in dry runs what it says about the documents that
the unit tests of crates/api use: the valid ones are taken, those with a defect are refused for the
reason that they name. An AccessRequest is made, changed (refused) and removed again. The definitions
stay. Options: ``--kubectl CMD``, such as ``"kubectl --kubeconfig FILE"``.
"""
import argparse
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "crates/api/src/crd/tests"
VALID = [TESTS / "accepted.yaml", ROOT / "crates/api/src/tests/design.yaml",
         ROOT / "crates/api/src/tests/other_protocols.yaml",
         ROOT / "e2e/corpus/pg/labels.yaml", ROOT / "e2e/corpus/pg/policy.yaml"]
DEFECTIVE = [TESTS / "refused.yaml", TESTS / "refused_rules.yaml"]
REASON = re.compile(r"""weir\.dev/schema: (?:"([^"]*)"|'((?:[^']|'')*)')""")
REQUEST = """apiVersion: weir.dev/v1alpha1
kind: AccessRequest
metadata: {name: weir-crds-test, namespace: default}
spec:
  requester: {name: "spiffe://test/ns/default/sa/test"}
  summary: [DELETE public.orders]
  target: db
  policy: p
  rule: r
  statement: DELETE FROM public.orders
  parameters: [null, "1"]
  labels: [pii.ssn]
  deliveredRows: 10
  reason: test
  deadline: "2027-01-01T00:00:00Z"
  groups: [stewards]
  count: 1
"""


def documents(path):
    """The documents of a file, each with the version that files may leave out."""
    for text in re.split(r"(?m)^---.*\n", path.read_text(encoding="utf-8")):
        if not re.search(r"(?m)^kind:", text):
            continue
        yield text if re.search(r"(?m)^apiVersion:", text) else "apiVersion: weir.dev/v1alpha1\n" + text


def title(text):
    """Kind and name of a document, for people."""
    return " ".join(re.search(r"(?m)^kind: *(\w+)[\s\S]*?name: *([\w.-]+)", text).groups())


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--kubectl", default="kubectl")
    kubectl = shlex.split(options.parse_args().kubectl)
    wrong, right = [], 0

    def run(*args, text=None):
        done = subprocess.run([*kubectl, *args], input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def claim(name, holds, said):
        nonlocal right
        right += holds
        if not holds:
            wrong.append(f"{name}: {said.strip()}")

    for args in (["apply", "--server-side", "-f", str(ROOT / "manifests/crds")],
                 ["wait", "--for=condition=Established", "--timeout=30s",
                  "-f", str(ROOT / "manifests/crds")]):
        code, said = run(*args)
        if code:
            sys.exit(f"kubectl {' '.join(args)}: {said}")
    dry = ["create", "--dry-run=server", "--validate=strict", "-f", "-"]
    for path in VALID:
        for text in documents(path):
            code, said = run(*dry, text=text)
            claim(f"{path.name}, {title(text)}", code == 0, said)
    for path in DEFECTIVE:
        for text in documents(path):
            double, single = REASON.search(text).groups()
            reason = double if single is None else single.replace("''", "'")
            code, said = run(*dry, text=text)
            claim(f"{path.name}, {title(text)}", code != 0 and reason in said,
                  f"expected `{reason}`, got: {said}")

    request = ["-n", "default", "accessrequest", "weir-crds-test"]
    run("delete", "--ignore-not-found", *request)
    code, said = run("create", "-f", "-", text=REQUEST)
    claim("an AccessRequest can be made", code == 0, said)
    code, said = run("patch", *request, "--type=merge", "-p", '{"spec":{"statement":"SELECT 1"}}')
    claim("its spec cannot be changed", code != 0 and "cannot be changed" in said, said)
    code, said = run("patch", *request, "--type=merge", "--subresource=status",
                     "-p", '{"status":{"phase":"Denied"}}')
    claim("its status can be changed", code == 0, said)
    code, said = run("get", "ar", "-n", "default", "weir-crds-test", "--no-headers")
    claim("kubectl get shows who, what and state",
          all(part in said for part in ("sa/test", "DELETE public.orders", "Denied")), said)
    run("delete", "--ignore-not-found", *request)
    code, said = run("explain", "cgp.spec.rules.match.sql.effects")
    claim("kubectl explain has the comments of the types", "those of its parts included" in said, said)

    for line in wrong:
        print("FAILED", line)
    print(f"crds: {right} right, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
