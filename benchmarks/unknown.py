"""How long the fate of an order may be unknown: from the deterministic simulation, in virtual seconds."""

from __future__ import annotations

import gc
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from cashup.storage.embedded import acquire
from tests.faults.simulation.database import create
from tests.faults.simulation.world import Outcome, World

SEEDS = 12
ORDERS = 100
LIMIT_P99_SECONDS = 15


def order_unknown() -> dict[str, Any]:
    """Seeds of the deterministic simulation: virtual seconds from UNKNOWN to a fate, beside venue outages."""
    with TemporaryDirectory(prefix="cashup-bench-") as folder, structlog.testing.capture_logs():
        servers = acquire(Path(folder))
        try:
            url = create(servers.database_url)
            outcomes = [_live(seed, url) for seed in range(SEEDS)]
        finally:
            servers.release()
    unknown = [span for outcome in outcomes for span in outcome.unknown]
    return {
        "seeds": SEEDS,
        "orders": sum(outcome.orders for outcome in outcomes),
        "faults": sum(outcome.faults.total() for outcome in outcomes),
        "unknown": len(unknown),
        "seconds_p50": round(statistics.median(unknown), 1),
        "seconds_p99": round(statistics.quantiles(unknown, n=100, method="inclusive")[98], 1),
        "seconds_max": round(max(unknown), 1),
        "limit_p99_seconds": LIMIT_P99_SECONDS,
        "violations": [sentence for outcome in outcomes for sentence in outcome.violations],
    }


def _live(seed: int, url: str) -> Outcome:
    """One seed; nothing is collected while it runs, so that it is the same each time."""
    gc.disable()
    try:
        return World(seed, url, ORDERS).run()
    finally:
        gc.enable()
        gc.collect()
