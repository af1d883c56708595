"""A pytest plugin: what became of each test, one JSON line a test, in the file ``WEIR_OUTCOMES``.

pytest's own summary cuts test ids at spaces and shortens messages, so two runs cannot be
compared by it.
"""

import json
import os

_found = {}


def pytest_runtest_logreport(report):
    """The phase that says most: a failure in any, else the call, else a skip in the set-up."""
    if report.when != "call" and report.passed:
        return
    said = "" if report.passed else getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    _found[report.nodeid] = {
        "outcome": report.outcome if report.when == "call" or report.skipped else f"{report.outcome} in {report.when}",
        "expected": hasattr(report, "wasxfail"),
        "said": _reason(report.longrepr) if said is None else said[:400],
    }


def _reason(longrepr):
    """A skip is (file, line, reason)."""
    return str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)[:400]


def pytest_collectreport(report):
    """A file that cannot be read is an outcome too."""
    if report.failed:
        _found[report.nodeid] = {"outcome": "not collected", "said": str(report.longrepr)[-400:]}


def pytest_sessionfinish():
    """Writes what was found."""
    with open(os.environ["WEIR_OUTCOMES"], "w", encoding="utf-8") as f:
        for test, what in sorted(_found.items()):
            f.write(json.dumps({"test": test, **what}) + "\n")
