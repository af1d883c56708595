"""The charts: lint, a server's opinion of what they render, the rendered manifest, installation."""

import os

from lab.build import ROOT
from lab.report import contains, equal


def lint(weir):
    for name in ("weir-crds", "weir"):
        contains(weir.shell(f"helm lint --strict charts/{name}").stdout, "0 chart(s) failed")


def manifest_is_what_the_chart_says(weir):
    rendered = weir.shell("helm template weir charts/weir -n weir-system --no-hooks").stdout
    with open(os.path.join(ROOT, "manifests/install.yaml"), encoding="utf-8") as f:
        if rendered != f.read():
            raise AssertionError("manifests/install.yaml is not what the chart renders: make manifests")


def server_accepts(weir):
    """Everything behind flags, except for kinds of other projects."""
    weir.shell("kubectl create namespace weir-dry --dry-run=client -o yaml | kubectl apply -f - && "
               "kubectl apply --server-side -f manifests/crds && "
               "helm template weir charts/weir -n weir-dry --no-hooks --set observeAll.enabled=true "
               "--set monitoring.dashboard.enabled=true --set-string settings.extraRoots=x "
               "-f manifests/quickstart/values.yaml > dry.yaml")
    warnings = weir.shell("kubectl apply --dry-run=server -f dry.yaml").stderr
    equal(warnings, "", "warnings")
    # Definitions that are deleted before they are served once hang: the API server cannot list their objects.
    weir.shell("kubectl wait --for=condition=Established --timeout=60s -f manifests/crds && kubectl get weir -A")
    weir.shell("kubectl delete namespace weir-dry --wait=false && kubectl delete -f manifests/crds")


def unknown_values_are_refused(weir):
    done = weir.shell("helm template weir charts/weir --set controller.replica=3", check=False)
    contains(done.stderr, "additional properties 'replica' not allowed")


def run(weir, report):
    """Before anything is installed."""
    for claim in (lint, manifest_is_what_the_chart_says, server_accepts, unknown_values_are_refused):
        report.check(f"chart: {claim.__name__}", claim, weir)
