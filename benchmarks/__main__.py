"""Run the cases that are named (default: all), store their results, and write the table of docs/performance.md."""

from __future__ import annotations

import json
import sys

from benchmarks.cases import CASES
from benchmarks.measure import ROOT, machine
from benchmarks.report import write_page
from cashup.clock import WallClock, isoformat

RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Measure; 2 for a case that does not exist."""
    names = sys.argv[1:] or list(CASES)
    unknown = [name for name in names if name not in CASES and name != "report"]
    if unknown:
        print(f"there is no case {', '.join(unknown)}; there are {', '.join(CASES)} and report", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        if name == "report":
            continue
        about = machine()
        print(f"{name}: {(CASES[name].__doc__ or '').strip()}", file=sys.stderr)
        measured = CASES[name]()
        document = {"case": name, "what": CASES[name].__doc__, "at": isoformat(WallClock().now()), "machine": about}
        (RESULTS / f"{name}.json").write_text(json.dumps(document | {"result": measured}, indent=1) + "\n")
        print(json.dumps({name: measured}))
    write_page(RESULTS, ROOT / "docs" / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
