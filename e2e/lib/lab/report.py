"""The suites' test runner: named claims, one line each, and the closing line
``N passed, N failed`` that CI reads.

A claim that cannot run fails. Nothing is skipped in silence.
"""

import sys
import time
import traceback


class Report:
    """Counts claims; ``finish`` prints the closing line and ends the process. ``show`` is called after the
    first that fails, while what it saw is still there."""

    def __init__(self, only=None, show=None):
        self.passed = 0
        self.failed = 0
        self.only = only
        self.show = show
        self.failures = []

    def wanted(self, name):
        """Whether the user's ``--only`` selects this claim."""
        return self.only is None or any(part in name for part in self.only.split(","))

    def check(self, name, test, *args):
        """Runs one claim; an exception is its failure."""
        if not self.wanted(name):
            return
        start = time.monotonic()
        try:
            test(*args)
        except AssertionError as error:
            self.record(name, False, str(error) or _where(error), start)
        except Exception as error:  # a suite goes on after a broken test
            detail = f"{type(error).__name__}: {error}"
            self.record(name, False, f"{detail} ({_where(error)})", start)
        else:
            self.record(name, True, "", start)

    def record(self, name, ok, detail="", start=None):
        """Notes one outcome."""
        took = f" ({time.monotonic() - start:.1f} s)" if start is not None else ""
        if ok:
            self.passed += 1
            print(f"ok    {name}{took}{'  ' + detail if detail else ''}", flush=True)
        else:
            self.failed += 1
            self.failures.append(name)
            print(f"FAIL  {name}{took}", flush=True)
            for line in detail.splitlines()[:40]:
                print(f"        {line}", flush=True)
            if self.show and self.failed == 1:
                self.show()

    def finish(self):
        """Prints the closing line; exit status 1 when a claim failed or none ran."""
        if self.failures:
            print("failed: " + ", ".join(self.failures))
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def _where(error):
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}: {frame.line}"


def equal(actual, expected, what=""):
    """Asserts equality and shows both sides."""
    if actual != expected:
        raise AssertionError(f"{what + ': ' if what else ''}expected {expected!r}, got {actual!r}")


def contains(text, part, what=""):
    """Asserts that ``part`` is in ``text`` and shows the text."""
    if part not in text:
        raise AssertionError(f"{what + ': ' if what else ''}{part!r} is not in {text!r}")


def lacks(text, part, what=""):
    """Asserts that ``part`` is not in ``text``."""
    if part in text:
        raise AssertionError(f"{what + ': ' if what else ''}{part!r} must not be in {text!r}")
