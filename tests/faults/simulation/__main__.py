"""Run one seed, or some, and print the trace: `python -m tests.faults.simulation 17`."""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from cashup.storage.embedded import acquire
from tests.faults.simulation.database import create
from tests.faults.simulation.world import Outcome, World


def main() -> None:
    parser = argparse.ArgumentParser(prog="dst", description="run seeds of the deterministic simulation")
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="how many seeds, from this one on")
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--trace", action="store_true", help="print every step, statement, frame and fault")
    parser.add_argument("--url", help="a database that `database.create` made; one of its own when left out")
    given = parser.parse_args()
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()] if given.trace else [_drop])
    home = Path(tempfile.mkdtemp(prefix="cashup-dst-"))
    servers = None if given.url else acquire(home)
    try:
        url = given.url or create(servers.database_url)
        outcomes = [live(seed, url, given) for seed in range(given.seed, given.seed + given.count)]
    finally:
        if servers is not None:
            servers.release()
        shutil.rmtree(home)
    sys.exit(any(outcome.violations for outcome in outcomes))


def live(seed: int, url: str, given: argparse.Namespace) -> Outcome:
    """One seed, with no garbage collected while it runs."""
    started = time.process_time()
    gc.disable()
    outcome = World(seed, url, given.orders, print if given.trace else None).run()
    gc.enable()
    gc.collect()
    print(f"{time.process_time() - started:.2f} s  {outcome}", flush=True)
    return outcome


def _drop(logger: object, name: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
