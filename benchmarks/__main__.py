"""Run the cases that are named (default: all), store their results, and write the table of docs/performance.md.

Words like `deployments=4` behind a case change its size; such a result is printed and not stored.
"""

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
    sizes = {name: int(value) for name, _, value in (word.partition("=") for word in sys.argv[1:]) if value}
    names = [word for word in sys.argv[1:] if "=" not in word] or list(CASES)
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
        measured = CASES[name](**sizes)
        document = {"case": name, "what": CASES[name].__doc__, "at": isoformat(WallClock().now()), "machine": about}
        if sizes:
            print(json.dumps({name: measured}, indent=1))
            continue
        (RESULTS / f"{name}.json").write_text(json.dumps(document | {"result": measured}, indent=1) + "\n")
        print(json.dumps({name: measured}))
    if not sizes:
        write_page(RESULTS, ROOT / "docs" / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
