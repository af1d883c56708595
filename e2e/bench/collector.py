"""The collector's store at size: ingest, bytes at rest, and each search of an auditor."""

import os
import re

import setup
from lab import proc

# a search of the issue answers within this, at the median
GOAL_MS = 300
EVENTS, FULL = 1_000_000, 10_000_000


def measure(bench):
    """Rows B9.rate, B9.size and C.search.NAME, from traffic as it is; FULL=1 for ten million events."""
    setup.example("weir-collector", "search_bench", build_only=True)
    events = FULL if os.environ.get("FULL") == "1" else EVENTS
    program = os.path.join(setup.RELEASE, "examples", "search_bench")
    text = proc.run([program, str(events)], cwd=proc.workdir("weir-search-"), timeout=3000).stdout
    print(text, flush=True)
    for ident, value in re.findall(r"^(B9\.\w+|C\.search\.\w+) ([\d.]+)", text, re.M):
        bench.add(ident, float(value))
