#!/usr/bin/env python3
"""What somebody in a governed pod tries against a real API server: to see labelled values in one of the many forms in
which the server shows them, to learn them from how it answers guesses, to have done what a rule denies under another
spelling. A real etcd and a real API server, without nodes, ``weir standalone`` in front.

    attacks.py --weir PATH [--only forms,guesses,spellings]

Each form shows the value where Weir is not, each guess is answered otherwise than a wrong one, and each spelling is
understood by the server: that is claimed first. Last line: N passed, N failed.
"""

import argparse
import base64
import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
from clients import TARGET, TOKEN, Server  # noqa: E402
from lab import proc, report, weir  # noqa: E402
from lab.report import equal  # noqa: E402

VALUE = "s3cr3t-of-the-attacks"
NUMBER = 471147114711
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.kubernetes}
spec:
  kubernetes:
  - {resource: secrets, fields: ["data.*", "metadata.labels[\\"attacks.test/key\\"]"]}
  - {resource: configmaps, fields: [data.password]}
  - {resource: pods, fields: ["spec.containers[*].env[*].value", spec.nodeName]}
  - {resource: services, fields: [spec.externalName]}
  - {resource: events, fields: [message]}
  - group: attacks.weir.test
    resource: gadgets
    fields: [spec.pin, spec.token, spec.data, spec.tags, "spec.users[*].token"]
  mask: {constant: "[masked]"}
---
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.looks-like}
spec:
  detectors: [password_assignment]
  mask: {constant: "[masked]"}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: attacks}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [kubernetes]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: effects, match: {kubernetes: {effects: [RunsCommand, Tunnels, MountsSecrets, Privileged]}}, action: Deny}
  - name: deletes
    match: {kubernetes: {verbs: [delete, deletecollection], resources: [configmaps]}, when: "!request.dryRun"}
    action: Deny
  - name: images
    match: {kubernetes: {verbs: [create], resources: [pods]}, when: "object.spec.containers.exists(c, c.image == 'bad')"}
    action: Deny
  - {name: events, match: {kubernetes: {groups: [""], resources: [events], verbs: [delete]}}, action: Deny}
  - {name: services, match: {kubernetes: {resources: [services], verbs: [create], names: [made]}}, action: Deny}
  - {name: references, match: {kubernetes: {resources: [gadgets], verbs: [patch], effects: [NamesSecrets]}}, action: Deny}
"""
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KIND = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.attacks.weir.test"},
    "spec": {"group": "attacks.weir.test", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [{
        "name": "v1", "served": True, "storage": True, "selectableFields": [{"jsonPath": ".spec.token"}],
        "additionalPrinterColumns": [{"name": name, "type": kind, "jsonPath": f".spec.{name.lower()}"} for name, kind in (
            ("Pin", "integer"), ("Token", "string"), ("Data", "string"))],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "more": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "pin": {"type": "integer"}, "token": {"type": "string"}, "data": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "users": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["token"], "items": {
                "type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}}}}}}}}]}}
SPACE = "/api/v1/namespaces/attacks"
GADGETS = "/apis/attacks.weir.test/v1/namespaces/attacks/gadgets"
JSON = "application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PATCHES = {"json": "application/json-patch+json", "merge": "application/merge-patch+json",
           "apply": "application/apply-patch+yaml"}


def encoded(text):
    """As a Secret has it."""
    return base64.b64encode(text.encode()).decode()


def shows(data):
    """Whether the value is in what came, also in Base64, and in what that holds."""
    if VALUE.encode() in data or str(NUMBER).encode() in data:
        return True
    texts = re.findall(rb"[A-Za-z0-9+/]{8,}", data)
    return any(VALUE.encode() in base64.b64decode(text[:len(text) // 4 * 4]) for text in texts)


class Scene:
    """The server, what it holds, and Weir."""

    def __init__(self, binary):
        where = proc.workdir("weir-kube-attacks-")
        self.server = Server(where)
        self.fill()
        token = os.path.join(where, "token")
        with open(token, "w", encoding="ascii") as f:
            f.write(TOKEN)
        os.chmod(token, 0o600)
        target = TARGET.format(port=self.server.port, ca=self.server.ca, token=token)
        self.weir = weir.Weir(binary, self.server.port, target=target, target_name="kubernetes", policies=POLICY).start()
        self.ways = {"direct": (self.server.port, self.server.trust),
                     "governed": (self.weir.port, ssl.create_default_context(cafile=self.weir.ca()))}

    def fill(self):
        """Objects with the value in every labelled field."""
        make = self.server.make
        make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", KIND)
        make("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": "attacks"}})
        make(f"{SPACE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "default"}})
        make(f"{SPACE}/secrets", secret("db"))
        make(f"{SPACE}/configmaps", {"kind": "ConfigMap", "metadata": {"name": "db", "annotations": {
            APPLIED: json.dumps({"data": {"password": VALUE}})}}, "data": {"password": VALUE, "other": "x"}})
        make(f"{SPACE}/pods", pod({"nodeName": VALUE, "containers": [
            {"name": "c", "image": "x", "env": [{"name": "A", "value": VALUE}]}]}, name="db"))
        make(f"{SPACE}/services", {"kind": "Service", "metadata": {"name": "db"}, "spec": {
            "type": "ExternalName", "externalName": VALUE}})
        make(f"{SPACE}/events", {"kind": "Event", "metadata": {"name": "db"}, "message": VALUE, "type": "Normal",
                                 "involvedObject": {"kind": "Pod", "name": "db", "namespace": "attacks"}})
        gadget = {"kind": "Gadget", "apiVersion": "attacks.weir.test/v1", "metadata": {"name": "db"}, "spec": {
            "pin": NUMBER, "token": VALUE, "data": VALUE, "tags": [VALUE], "users": [{"token": VALUE}]}}

        def applied():
            return self.server.ask(f"{GADGETS}/db") or self.server.ask(GADGETS, json.dumps(gadget).encode())
        proc.wait_until(applied, "the custom kind is served", every=0.2)

    def ask(self, way, method, path, body=None, **headers):
        """The status and the body of an answer; of a watch, of its first seconds."""
        port, trust = self.ways[way]
        conn = http.client.HTTPSConnection("127.0.0.1", port, context=trust, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if way == "direct":
            named["Authorization"] = f"Bearer {TOKEN}"
        try:
            conn.request(method, path, body.encode() if isinstance(body, str) else body, named)
            answer = conn.getresponse()
            return answer.status, answer.read()
        finally:
            conn.close()


def secret(name):
    """A Secret that was applied, by two tools."""
    applied = json.dumps({"kind": "Secret", "stringData": {"password": VALUE}})
    original = json.dumps({"kind": "Secret", "data": {"password": encoded(VALUE)}})
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {
        "name": name, "labels": {"attacks.test/key": VALUE}, "annotations": {
            APPLIED: applied, "kapp.k14s.io/original": original}},
        "data": {"password": encoded(VALUE)}}


def pod(spec, **metadata):
    """A Pod."""
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata or {"generateName": "x-"}, "spec": {
        "automountServiceAccountToken": False, "containers": [{"name": "c", "image": "x"}], **spec}}


# ------------------------------------------------------------------------------------------- forms

RESOURCES = [f"{SPACE}/{name}" for name in ("secrets", "configmaps", "pods", "services", "events")] + [
    GADGETS, "/apis/events.k8s.io/v1/namespaces/attacks/events"]


def forms(scene, resource):
    """Every form of a resource's objects, alone, listed and watched."""
    watch, old = f"{resource}?watch=1&timeoutSeconds=1", resource.replace("/v1/", "/v1/watch/", 1) + "?timeoutSeconds=1"
    asked = [(path, accept) for path in (f"{resource}/db", resource, f"{resource}?limit=1") for accept in (
        JSON, TABLE, PARTIAL, YAML, TABLE.replace("json", "yaml"), "*/*", PROTOBUF, f"{PROTOBUF},{JSON}", "application/cbor")]
    asked += [(f"{resource}?includeObject=Object", TABLE), (f"{watch}&includeObject=Object", TABLE), (old, JSON)]
    asked += [(watch, accept) for accept in (JSON, PARTIAL, YAML, PROTOBUF, f"{PROTOBUF},{JSON}")]
    shown = 0
    for path, accept in asked:
        shown += shows(scene.ask("direct", "GET", path, Accept=accept)[1])
        status, body = scene.ask("governed", "GET", path, Accept=accept)
        assert not shows(body), f"{path} as {accept} shows it: {body[-300:]!r}"
        assert status in (200, 406), f"{path} as {accept}: {status} {body[:300]!r}"
    assert shown > len(asked) / 2, f"where Weir is not, {shown} of {len(asked)} show the value"


def yaml_is_yaml(scene):
    """A client that takes YAML only has the same object, its values masked."""
    direct = scene.ask("direct", "GET", f"{SPACE}/secrets/db", Accept=YAML)
    governed = scene.ask("governed", "GET", f"{SPACE}/secrets/db", Accept=YAML)
    equal((direct[0], governed[0]), (200, 200))
    assert b"  password: " + encoded("[masked]").encode() in governed[1].replace(b'"', b""), governed[1]
    names = [{line.split(b":")[0].replace(b'"', b"") for line in body.splitlines()} for _, body in (direct, governed)]
    assert {b"apiVersion", b"kind", b"metadata", b"data", b"  password", b"  name"} <= names[0] & names[1], names


def copies(scene):
    """What a patch copies somewhere else."""
    applied = APPLIED.replace("/", "~1")
    for resource, source, target in (
            ("secrets", "/data/password", "/metadata/annotations/z"), ("secrets", "", "/metadata/annotations/z"),
            ("secrets", f"/metadata/annotations/{applied}", "/metadata/annotations/z"),
            ("secrets", "/metadata/annotations", "/stringData"),
            ("secrets", "/metadata/labels/attacks.test~1key", "/metadata/annotations/z"),
            ("configmaps", f"/metadata/annotations/{applied}", "/data/other")):
        for what in ("copy", "move"):
            patch = json.dumps([{"op": what, "from": source, "path": target}])
            status, body = scene.ask("governed", "PATCH", f"{SPACE}/{resource}/db", patch, Content_Type=PATCHES["json"])
            assert status == 403 and not shows(body), f"{patch}: {status} {body[:300]!r}"
    stored = json.loads(scene.ask("direct", "GET", f"{SPACE}/secrets/db")[1])
    equal(stored["metadata"]["annotations"], secret("db")["metadata"]["annotations"])


MAP, GADGET = f"{SPACE}/configmaps/copied", f"{GADGETS}/db"
COPIED = {
    "a copy of another tool's": (MAP, "/metadata/annotations/kapp.k14s.io~1original", "/data/other"),
    "a note": (MAP, "/metadata/annotations/note", "/data/other"),
    "what is named by its value in managed fields": (GADGET, "/metadata/managedFields/0", "/spec/more"),
    "what only its name gives away": (MAP, "/data/api_key", "/data/other"),
    "what only its form gives away": (MAP, "/data/file", "/metadata/ownerReferences/0/name")}


def copied(scene, path, source, target):
    """What a patch copies to where it is shown: where Weir is not, its answer has the value there."""
    scene.server.ask(f"{SPACE}/configmaps", json.dumps({"kind": "ConfigMap", "metadata": {
        "name": "copied", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}],
        "annotations": {"note": f"it is {VALUE}", "kapp.k14s.io/original": json.dumps({"data": {"password": VALUE}})}},
        "data": {"password": VALUE, "api_key": VALUE, "file": f"password={VALUE}", "other": "x"}}).encode())
    patches = [json.dumps([{"op": what, "from": source, "path": target}]) for what in ("copy", "move")]
    status, body = scene.ask("direct", "PATCH", f"{path}?dryRun=All", patches[0], Content_Type=PATCHES["json"])
    top, member = target.split("/")[1:3]
    assert status == 200 and VALUE in json.dumps(json.loads(body)[top][member]), f"{status} {body[:300]!r}"
    for patch in patches:
        status, body = scene.ask("governed", "PATCH", f"{path}?dryRun=All", patch, Content_Type=PATCHES["json"])
        assert status == 403 and not shows(body), f"{patch}: {status} {body[:300]!r}"


def enlarged(scene):
    """An object whose note holds its value, made so large that it goes out in parts."""
    path, name = f"{SPACE}/configmaps", "large"
    scene.server.make(path, {"kind": "ConfigMap", "metadata": {"name": name, "annotations": {"note": f"it is {VALUE}"}},
                             "data": {"password": VALUE}})
    patch = json.dumps({"data": {f"a{n}": "<" * 100_000 for n in range(8)}})
    told = [scene.ask("governed", "PATCH", f"{path}/{name}", patch, Content_Type=PATCHES["merge"]),
            scene.ask("governed", "GET", f"{path}/{name}"),
            scene.ask("governed", "GET", f"{path}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}")]
    equal([status for status, _ in told], [200, 200, 200])
    assert shows(scene.ask("direct", "GET", f"{path}/{name}")[1])
    assert not any(shows(body) for _, body in told)
    scene.ask("direct", "DELETE", f"{path}/{name}")


def noted(scene, text):
    """A Secret whose annotation holds its value among other words."""
    name = "noted" if VALUE in text else "coded"
    scene.server.make(f"{SPACE}/secrets", {"kind": "Secret", "metadata": {"name": name, "annotations": {"a": text}},
                                           "data": {"password": encoded(VALUE)}})
    for path in (f"{SPACE}/secrets/{name}", f"{SPACE}/secrets", f"{SPACE}/secrets?watch=1&timeoutSeconds=1"):
        status, body = scene.ask("governed", "GET", path)
        assert status == 200 and b"note: " in body and not shows(body), f"{path}: {status} {body[-300:]!r}"


# ----------------------------------------------------------------------------------------- guesses

def selector(path, kind, text):
    """A list by what a selector says of a guess."""
    return lambda guess: ("GET", f"{path}?{kind}Selector={urllib.parse.quote(text.format(guess), safe='')}", None, JSON)


def patched(kind, path, body):
    """A patch that holds a guess."""
    return lambda guess: ("PATCH", path, json.dumps(body(guess)), PATCHES[kind])


def applied_as(guess):
    """A Secret of which only what was applied is said."""
    text = secret("db")["metadata"]["annotations"][APPLIED].replace(VALUE, guess)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "annotations": {APPLIED: text}}}


def original_as(guess):
    """A Secret of which only what another tool keeps is said."""
    text = secret("db")["metadata"]["annotations"]["kapp.k14s.io/original"].replace(encoded(VALUE), encoded(guess))
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "annotations": {"kapp.k14s.io/original": text}}}


DB = f"{SPACE}/secrets/db"
GUESSES = {
    "a test of another tool's copy": patched("json", DB, lambda guess: [{
        "op": "test", "path": "/metadata/annotations/kapp.k14s.io~1original",
        "value": original_as(guess)["metadata"]["annotations"]["kapp.k14s.io/original"]}]),
    "an apply of another tool's copy": patched("apply", f"{DB}?fieldManager=g&dryRun=All", original_as),
    "a test of what is named by its value": patched("json", f"{GADGETS}/db", lambda guess: [{
        "op": "test", "path": f'/metadata/managedFields/0/fieldsV1/f:spec/f:tags/v:"{guess}"', "value": {}}]),
    "a label selector": selector(f"{SPACE}/secrets", "label", "attacks.test/key={}"),
    "a label selector of several": selector(f"{SPACE}/secrets", "label", "!x,attacks.test/key in (a, {})"),
    "a field selector": selector(GADGETS, "field", "spec.token={}"),
    "a field selector of a Pod": selector(f"{SPACE}/pods", "field", "spec.nodeName={}"),
    "a field selector by another name": selector(f"{SPACE}/pods", "field", "spec.host={}"),
    "a test of the field": patched("json", DB, lambda guess: [{"op": "test", "path": "/data/password", "value": encoded(guess)}]),
    "a test of what was applied": patched("json", DB, lambda guess: [{
        "op": "test", "path": "/metadata/annotations/" + APPLIED.replace("/", "~1"),
        "value": applied_as(guess)["metadata"]["annotations"][APPLIED]}]),
    "an apply that conflicts": patched("apply", f"{DB}?fieldManager=g&dryRun=All", lambda guess: {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"password": encoded(guess)}}),
    "an apply of what was applied": patched("apply", f"{DB}?fieldManager=g&dryRun=All", applied_as),
}


def guesses(scene, guess):
    """The server answers a right guess and a wrong one differently, Weir alike."""
    def told(way, value):
        method, path, body, kind = guess(value)
        status, text = scene.ask(way, method, path, body, Content_Type=kind)
        items = json.loads(text).get("items") if status == 200 else None
        return status, None if items is None else len(items)
    right, wrong = (told("direct", value) for value in (VALUE, "wrong"))
    assert right != wrong, f"where Weir is not, both are answered {right}"
    equal([told("governed", value)[0] for value in (VALUE, "wrong")], [403, 403])


# --------------------------------------------------------------------------------------- spellings

PLAIN = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\nspec:\n  containers: [{name: c, image: x}]\n"
SPELLINGS = {
    "plain": "  hostPID: true\n", "a break that YAML 1.1 knows: NEL": "  # x\u0085  hostPID: true\n",
    "a break that YAML 1.1 knows: LS": "  # x\u2028  hostPID: true\n",
    "a break that YAML 1.1 knows: PS": "  # x\u2029  hostPID: true\n", "a bare carriage return": "  # x\r  hostPID: true\n",
    "yes": "  hostPID: yes\n", "on": "  hostPID: on\n", "a tag": "  hostPID: !!bool true\n", "a merge": "  <<: {hostPID: true}\n",
    "a quoted key": '  "hostPID": true\n', "an escaped key": '  "host\\x50ID": true\n', "an explicit key": "  ? hostPID\n  : true\n",
}


def spellings(scene, text):
    """A Pod that the server reads as one of the node, however it is written, is denied as one."""
    path = f"{SPACE}/pods?dryRun=All"
    status, body = scene.ask("direct", "POST", path, PLAIN + text, Content_Type=YAML)
    assert status == 201 and json.loads(body)["spec"].get("hostPID"), f"the server does not read it so: {status} {body[:300]!r}"
    status, body = scene.ask("governed", "POST", path, PLAIN + text, Content_Type=YAML)
    assert status == 403 and b'rule \\"effects\\"' in body, f"{status} {body[:300]!r}"


def volumes(scene):
    """A volume of the cluster that is a directory of the node."""
    for source in ("local", "hostPath"):
        volume = {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], source: {"path": "/"}, "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}
        for way, wanted in (("direct", 201), ("governed", 403)):
            path = "/api/v1/persistentvolumes?dryRun=All"
            equal(scene.ask(way, "POST", path, json.dumps(volume), Content_Type=JSON)[0], wanted, f"{source} {way}")


def number(value):
    """A number as protobuf has it."""
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(at, content):
    """A field of protobuf."""
    content = content.encode() if isinstance(content, str) else content
    return number(at << 3 | 2) + number(len(content)) + content


REFERENCE = field(1, "db")
SOURCES = {
    "secret": (6, REFERENCE), "azureFile": (18, REFERENCE + field(2, "s")), "cephfs": (14, field(1, "m") + field(5, REFERENCE)),
    "cinder": (13, field(1, "i") + field(4, REFERENCE)), "flexVolume": (12, field(1, "a/b") + field(3, REFERENCE)),
    "iscsi": (8, field(1, "1.1.1.1:3") + field(2, "iqn.2001-04.com.example:x") + number(3 << 3) + number(0) + field(10, REFERENCE)),
    "rbd": (11, field(1, "m") + field(2, "i") + field(7, REFERENCE)),
    "scaleIO": (25, field(1, "g") + field(2, "s") + field(3, REFERENCE) + field(8, "v")),
    "storageos": (27, field(1, "v") + field(5, REFERENCE)), "a field of a later version": (99, REFERENCE), "emptyDir": (2, b"")}


def typed(scene, at, content):
    """A pod in protobuf with a volume that is given a Secret."""
    volume = field(1, "v") + field(2, field(at, content) if at < 99 else field(2, b"") + field(at, content))
    spec = field(1, volume) + field(2, field(1, "c") + field(2, "x")) + number(21 << 3) + number(0)
    pod_object = field(1, field(2, "x-")) + field(2, spec)
    body = b"k8s\0" + field(1, field(1, "v1") + field(2, "Pod")) + field(2, pod_object)
    path = f"{SPACE}/pods?dryRun=All"
    status, answer = scene.ask("direct", "POST", path, body, Content_Type=PROTOBUF, Accept=JSON)
    assert status == 201 and json.loads(answer)["spec"]["volumes"], f"the server does not take it: {status} {answer[:300]!r}"
    status, answer = scene.ask("governed", "POST", path, body, Content_Type=PROTOBUF, Accept=JSON)
    assert status == (201 if at == 2 else 403), f"{status} {answer[:300]!r}"


MOUNTS = {
    "a workspace": {"workspaces": [{"name": "w", "secret": {"secretName": "db"}}]}, "names": {"podSpec": {"secrets": ["db"]}},
    "paths": {"driver": {"secrets": [{"name": "db", "path": "/x"}]}},
    "variables": {"driver": {"envSecretKeyRefs": {"A": {"name": "db", "key": "password"}}}},
    "a reference of a variable": {"env": [{"name": "A", "valueFrom": {"secretRef": {"name": "db"}}}]},
    "a key for artifacts": {"s3": {"secretKeySecret": {"name": "db", "key": "password"}}},
    "mounts": {"extraSecretMounts": [{"secretName": "db", "mountPath": "/x"}]},
    "none: what a controller reads": None}


def mounted(scene, spec):
    """A custom resource that gives a pod a Secret."""
    more = spec or {"secretName": "db", "issuerRef": {"name": "ca"}, "privateKeySecretRef": {"name": "db"},
                    "tls": [{"secretName": "db"}], "secretStoreRef": {"name": "db"}}
    gadget = json.dumps({"kind": "Gadget", "apiVersion": "attacks.weir.test/v1", "metadata": {"generateName": "x-"},
                         "spec": {"more": more}})
    for way, wanted in (("direct", 201), ("governed", 403 if spec else 201)):
        status, body = scene.ask(way, "POST", f"{GADGETS}?dryRun=All", gadget, Content_Type=JSON)
        assert status == wanted, f"{way}: {status} {body[:300]!r}"


def driven(scene):
    """A volume of the cluster whose driver is given a Secret of any namespace."""
    reference = {"name": "db", "namespace": "attacks"}
    for source in ({"csi": {"driver": "a.b", "volumeHandle": "h", "nodeStageSecretRef": reference}},
                   {"csi": {"driver": "a.b", "volumeHandle": "h", "controllerPublishSecretRef": reference}},
                   {"cephfs": {"monitors": ["m"], "secretRef": reference}},
                   {"azureFile": {"secretName": "db", "secretNamespace": "attacks", "shareName": "s"}}):
        volume = {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source}}
        for way, wanted in (("direct", 201), ("governed", 403)):
            path = "/api/v1/persistentvolumes?dryRun=All"
            equal(scene.ask(way, "POST", path, json.dumps(volume), Content_Type=JSON)[0], wanted, f"{source} {way}")


def subresources(scene):
    """What a rule says of the objects of pods is not about an eviction, and is about a pod."""
    eviction = json.dumps({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "db"},
                           "deleteOptions": {"dryRun": ["All"]}})
    told = [scene.ask(way, "POST", f"{SPACE}/pods/db/eviction", eviction, Content_Type=JSON)[0] for way in ("direct", "governed")]
    equal(told, [201, 201])
    bad = json.dumps(pod({"containers": [{"name": "c", "image": "bad"}]}))
    told = [scene.ask(way, "POST", f"{SPACE}/pods?dryRun=All", bad, Content_Type=JSON)[0] for way in ("direct", "governed")]
    equal(told, [201, 403])


def made(scene):
    """What is created by an apply or a PUT is created."""
    bad = pod({"containers": [{"name": "c", "image": "bad"}]}, name="made")
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "made"}, "spec": {"ports": [{"port": 80}]}}
    for method, path, content, kind in (
            ("PATCH", f"{SPACE}/pods/made?fieldManager=g&dryRun=All", bad, PATCHES["apply"]),
            ("PUT", f"{SPACE}/services/made?dryRun=All", service, JSON)):
        told = [scene.ask(way, method, path, json.dumps(content), Content_Type=kind)[0] for way in ("direct", "governed")]
        equal(told, [201, 403], path)


def collected(scene):
    """A rule about `delete` means a collection, too."""
    equal([scene.ask(way, "DELETE", f"{SPACE}/events?dryRun=All")[0] for way in ("direct", "governed")], [200, 403])


def configured(scene):
    """A pod that is given a ConfigMap of which fields are labelled."""
    given = pod({"containers": [{"name": "c", "image": "x", "env": [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "db", "key": "password"}}}]}]})
    told = [scene.ask(way, "POST", f"{SPACE}/pods?dryRun=All", json.dumps(given), Content_Type=JSON)[0]
            for way in ("direct", "governed")]
    equal(told, [201, 403])


def named(scene):
    """A rule about what names Secrets means references of every shape."""
    for more in ({"auth": {"existingSecret": "db"}}, {"valuesFrom": [{"kind": "Secret", "name": "db"}]},
                 {"manifest": "volumes: [{secret: {secretName: db}}]"}, {"plain": "x"}):
        gadget = json.dumps({"kind": "Gadget", "apiVersion": "attacks.weir.test/v1", "metadata": {"name": "named"},
                             "spec": {"more": more}})
        told = [scene.ask(way, "PATCH", f"{GADGETS}/named?dryRun=All&fieldManager=g", gadget, Content_Type=PATCHES["apply"])[0]
                for way in ("direct", "governed")]
        equal(told, [201, 201 if "plain" in more else 403], str(more))


def late(scene):
    """Values that stand before what says that they are secret, and words of commands."""
    more = {"list": [{"default": VALUE, "name": "password"}], "one": {"content": {"values": [VALUE]}, "key": "api_key"},
            "args": ["set", "db.password", VALUE]}
    gadget = {"kind": "Gadget", "apiVersion": "attacks.weir.test/v1", "metadata": {"name": "late", "annotations": {
        APPLIED: json.dumps({"spec": {"more": more}})}}, "spec": {"more": more}}
    assert scene.server.ask(GADGETS, json.dumps(gadget).encode())
    for path in (f"{GADGETS}/late", GADGETS, f"{GADGETS}?watch=1&timeoutSeconds=1"):
        assert shows(scene.ask("direct", "GET", path)[1])
        status, body = scene.ask("governed", "GET", path)
        assert status == 200 and b"db.password" in body and not shows(body), f"{path}: {status} {body[-900:]!r}"


def created_dry(scene):
    """Nothing is told by what is to be created, which may be tried."""
    new = json.dumps(secret("new"))
    told = [scene.ask(way, "POST", f"{SPACE}/secrets?dryRun=All", new, Content_Type=JSON) for way in ("direct", "governed")]
    equal([status for status, _ in told], [201, 201])
    assert not shows(told[1][1])


def twins(scene):
    """An event is the same object in both groups, for a rule that names one of them as well."""
    for path in (SPACE, "/apis/events.k8s.io/v1/namespaces/attacks"):
        equal([scene.ask(way, "DELETE", f"{path}/events/db?dryRun=All")[0] for way in ("direct", "governed")], [200, 403])


def dry_runs(scene):
    """A delete with a body is a dry run where the body says so, whatever the URL says."""
    path = f"{SPACE}/configmaps/x?dryRun=All"

    def deleted(way, body):
        scene.server.ask(f"{SPACE}/configmaps", json.dumps({"kind": "ConfigMap", "metadata": {"name": "x"}}).encode())
        status = scene.ask(way, "DELETE", path, body, Content_Type=JSON)[0]
        return status, scene.ask("direct", "GET", f"{SPACE}/configmaps/x")[0] == 404
    for body, direct, governed in ((None, (200, False), (200, False)), ("{}", (200, True), (403, False)),
                                   ('{"dryRun":["All"]}', (200, False), (200, False))):
        equal((deleted("direct", body), deleted("governed", body)), (direct, governed), str(body))


def headers(scene):
    """What a header says behind a character that is not ASCII is not overlooked."""
    patch = json.dumps([{"op": "test", "path": "/data/password", "value": encoded(VALUE)}])
    kind = PATCHES["json"] + "; x=\u00e9"
    equal([scene.ask(way, "PATCH", DB, patch, Content_Type=kind)[0] for way in ("direct", "governed")], [200, 400])


def bindings(scene):
    """A pod that runs is bound again: the server says where it runs."""
    binding = json.dumps({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "db"},
                          "target": {"kind": "Node", "name": "x"}})
    told = [shows(scene.ask(way, "POST", f"{SPACE}/bindings", binding, Content_Type=JSON)[1]) for way in ("direct", "governed")]
    equal(told, [True, False])


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    results = report.Report(a.only)
    started = time.monotonic()
    scene = Scene(a.weir)
    print(f"# the server is up after {time.monotonic() - started:.0f} s", flush=True)
    for resource in RESOURCES:
        results.check(f"forms: {resource} is masked in all of them", forms, scene, resource)
    results.check("forms: YAML is made of what is masked", yaml_is_yaml, scene)
    results.check("forms: a patch copies no labelled value", copies, scene)
    results.check("forms: a value in a note of its Secret", noted, scene, f"note: {VALUE}!")
    results.check("forms: a value in Base64 in a note of its Secret", noted, scene, f"note: {encoded(VALUE)}")
    for name, (path, source, target) in COPIED.items():
        results.check(f"forms: a patch copies no value out of {name}", copied, scene, path, source, target)
    results.check("forms: a note of an object that goes out in parts", enlarged, scene)
    results.check("forms: values before their names, and words of commands", late, scene)
    for name, guess in GUESSES.items():
        results.check(f"guesses: {name} tells nothing", guesses, scene, guess)
    for name, text in SPELLINGS.items():
        results.check(f"spellings: {name}", spellings, scene, text)
    results.check("spellings: a directory of the node as a volume", volumes, scene)
    results.check("spellings: a volume of the cluster that is given a Secret", driven, scene)
    for name, (at, content) in SOURCES.items():
        results.check(f"spellings: a volume in protobuf: {name}", typed, scene, at, content)
    for name, spec in MOUNTS.items():
        results.check(f"spellings: a custom resource's Secret: {name}", mounted, scene, spec)
    results.check("spellings: a delete that is no dry run", dry_runs, scene)
    results.check("spellings: a subresource that carries no pod", subresources, scene)
    results.check("spellings: an event by its other group", twins, scene)
    results.check("spellings: what creates by another verb", made, scene)
    results.check("spellings: a collection is deleted", collected, scene)
    results.check("spellings: a ConfigMap with labelled fields in a pod", configured, scene)
    results.check("spellings: references to Secrets of every shape", named, scene)
    results.check("spellings: a Secret that is to be created is tried", created_dry, scene)
    results.check("spellings: a header that is not ASCII", headers, scene)
    results.check("forms: where a pod runs is not told by its binding", bindings, scene)
    scene.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
