"""What a soak gave: a document of numbers, and the sentences of its violations."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tests.faults.simulation.tables import spans_of_unknown
from tests.soak.weather import Struck, Weather

if TYPE_CHECKING:
    from tests.soak.soak import Soak

Record = dict[str, Any]

AFTERMATH = 1_000_000_000
"""How long after its end a fault still counts as on (ns)."""


async def record(soak: Soak, rest: float) -> Record:
    """The document. `rest` is how many seconds it took after the last order until all was at rest."""
    stage = soak.stage
    inside, outside = _delays(soak)
    unknown = [(until - since) / 1000 for since, until in await spans_of_unknown(stage.database)]
    return {
        "minutes": soak.plan.minutes,
        "rate": soak.plan.rate,
        "seed": soak.plan.seed,
        "accounts": len(stage.secrets),
        "deployments": len(stage.workers),
        "intents": {"asked": stage.asked, **_sum(worker.heard for worker in stage.workers)},
        "orders": await _orders(soak),
        "faults": dict(Counter(struck.kind for struck in soak.weather.struck)),
        "checks": soak.verdict.checks,
        "violations": list(stage.violations),
        "ms_to_sent": percentiles([delay / 1e6 for delay in outside]),
        "ms_to_sent_in_faults": percentiles([delay / 1e6 for delay in inside]),
        "seconds_unknown": percentiles(unknown),
        "seconds_to_recover": _recoveries(soak.weather),
        "seconds_to_rest": round(rest, 1),
        "memory": {"gateway": soak.gateway.row(), "simulator": soak.simulator.row()},
    }


def percentiles(values: Sequence[float]) -> Record:
    """How many, the median, the 99th percentile and the largest; rounded to two digits behind the point."""
    if len(values) < 2:
        return {"count": len(values), "p50": None, "p99": None, "max": max(values, default=None)}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    found = {"p50": cuts[49], "p99": cuts[98], "max": max(values)}
    return {"count": len(values)} | {name: round(value, 2) for name, value in found.items()}


def _delays(soak: Soak) -> tuple[list[int], list[int]]:
    """From the intent to its first request at the venue (ns): while a fault was on, and otherwise."""
    delays: tuple[list[int], list[int]] = ([], [])
    for worker in soak.stage.workers:
        first: dict[str, int] = {}
        for order, key in worker.keys.items():
            if order in soak.stage.passage.sent and key in worker.asked:
                first[key] = min(soak.stage.passage.sent[order], first.get(key, 1 << 63))
        for key, sent in first.items():
            calm = not any(_covers(struck, worker.asked[key]) for struck in soak.weather.struck)
            delays[calm].append(sent - worker.asked[key])
    return delays


def _covers(struck: Struck, moment: int) -> bool:
    return struck.began <= moment and (struck.ended is None or moment <= struck.ended + AFTERMATH)


def _recoveries(weather: Weather) -> Record:
    """For each fault of a process: seconds from its beginning until everybody was answered again, one after another."""
    found: dict[str, list[float]] = {}
    for struck in weather.struck:
        if struck.recovered is not None:
            found.setdefault(struck.kind, []).append(round(struck.recovered, 1))
    return found


async def _orders(soak: Soak) -> Record:
    query = text("SELECT state, count(*) FROM orders WHERE origin = 'cashup' GROUP BY state ORDER BY state")
    fills = text("SELECT count(*) FROM fills")
    async with soak.stage.database.connect() as connection:
        states = {row.state: row.count for row in await connection.execute(query)}
        return {"total": sum(states.values()), "fills": await connection.scalar(fills), "states": states}


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())
