"""`make soak MINUTES=20`: the whole stack under orders and faults. Exit code 1 when anything was violated."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from random import Random

from rich.console import Console
from rich.live import Live

from benchmarks.measure import ROOT, machine
from cashup.clock import WallClock, isoformat
from tests.soak.record import Record
from tests.soak.report import line, table
from tests.soak.soak import Plan, Soak, soak
from tests.soak.weather import FAMILIES

RESULT = ROOT / "benchmarks" / "results" / "soak.json"
WHAT = "The whole stack under orders at a rate and a fault a minute, checked throughout, and at rest at the end."


def main() -> int:
    """Soak, and say what was found."""
    given = _arguments()
    plan = Plan(given.minutes, given.rate, given.faults, given.seed, frozenset(given.only))
    about = machine()
    home = Path(tempfile.mkdtemp(prefix="cashup-soak-"))
    console = Console(stderr=True)
    record = asyncio.run(_watched(plan, home, console))
    console.print(table(record))
    for sentence in record["violations"]:
        console.print(sentence, style="red", markup=False)
    if given.json:
        print(json.dumps(record, indent=1))
    if given.save:
        document = {"case": "soak", "what": WHAT, "at": isoformat(WallClock().now()), "machine": about}
        RESULT.write_text(json.dumps(document | {"result": record}, indent=1) + "\n")
    if record["violations"]:
        console.print(f"Everything is left in {home} to be looked at.", markup=False)
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0


async def _watched(plan: Plan, home: Path, console: Console) -> Record:
    """Soak, and show a line about it meanwhile; on a terminal it stands still, elsewhere there is one every 10 s."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        showing: list[asyncio.Task[None]] = []

        async def show(made: Soak) -> None:
            while True:
                if console.is_terminal:
                    live.update(line(made), refresh=True)
                else:
                    console.print(line(made), markup=False)
                await asyncio.sleep(1 if console.is_terminal else 10)

        try:
            return await soak(plan, home, lambda made: showing.append(asyncio.create_task(show(made))))
        finally:
            for task in showing:
                task.cancel()


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5.0)
    parser.add_argument("--rate", type=float, default=2.0, help="intents per second")
    parser.add_argument("--faults", type=float, default=1.0, help="faults per minute")
    parser.add_argument("--seed", type=int, default=Random().randrange(1_000_000), help="what is drawn by chance")
    kinds = sorted(kind for family in FAMILIES.values() for kind in family)
    parser.add_argument("--only", nargs="*", default=(), choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
