"""Coming back: a gateway that died while a thousand orders rested, of which half filled before it was there again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.resting import NAME, SYMBOLS, Resting, resting
from cashup.settings import Settings
from cashup.storage.database import create_engine
from cashup.storage.servers import open_servers
from tests.faults.checker import Checker
from tests.faults.venue_book import VenueBook, simulator_book

OPEN, MISSED = 1_000, 500
LIMIT_SECONDS = 60
SECONDS_AT_MOST = 300.0

_READY = "SELECT state = 'ready' AND fence > :fence FROM account_leases"
_BOOKED = "SELECT count(*) >= :count FROM fills"


def order_recovery() -> dict[str, Any]:
    """From a gateway's start until 1,000 open orders are compared and 500 missed fills booked, at Gate's limits."""
    with resting() as made:
        made.place(MISSED, "0.01")
        made.place(OPEN - MISSED, "0.2")
        made.until_open(OPEN)
        servers = open_servers(Settings(home=made.stack.home, database_url=None, redis_url=None))
        try:
            return asyncio.run(_recover(made, servers.database_url))
        finally:
            servers.close()


async def _recover(made: Resting, database_url: str) -> dict[str, Any]:
    database = create_engine(database_url)
    async with database.connect() as connection:
        fence = await connection.scalar(text("SELECT fence FROM account_leases"))
    made.stack.gateway.kill()
    async with made.stack.control() as control:
        for symbol in SYMBOLS:
            price = f"{made.prices[symbol] * 9 / 10:.1f}"
            await control.request("fault.set", name="market_move", pair=symbol.replace("/", "_"), price=price)
        before = await control.request("requests")
        began = time.perf_counter()
        await asyncio.to_thread(made.stack.gateway.start)
        started = time.perf_counter() - began
        ready = await _until(database, _READY, began, fence=fence)
        booked = await _until(database, _BOOKED, began, count=MISSED)
        await asyncio.sleep(2)  # what the stream brings besides
        asked = await control.request("requests")

        async def read_book() -> VenueBook:
            book = await control.request("book", account=NAME)
            return simulator_book(book, NAME, (await control.request("state"))["rate_limit_violations"])

        violations = await Checker(database, NAME, read_book, secrets=made.secrets).check_at_rest()
    await database.dispose()
    return {
        "open_orders": OPEN,
        "missed_fills": MISSED,
        "seconds_to_process": round(started, 2),
        "seconds_to_ready": round(ready, 2),
        "seconds_to_booked": round(booked, 2),
        "limit_seconds": LIMIT_SECONDS,
        "requests": _requests(asked, before),
        "violations": violations,
    }


async def _until(database: AsyncEngine, query: str, began: float, **values: int) -> float:
    """Seconds since `began` when the answer is true."""
    while time.perf_counter() - began < SECONDS_AT_MOST:
        async with database.connect() as connection:
            if await connection.scalar(text(query), values):
                return time.perf_counter() - began
        await asyncio.sleep(0.02)
    raise RuntimeError(f"not within {SECONDS_AT_MOST:.0f} s: {query}")


def _requests(after: dict[str, Any], before: dict[str, Any]) -> dict[str, int]:
    """How often the venue was asked what since `before`, private requests by path; orders and accounts by name."""
    counts: Counter[str] = Counter()
    for kind in ("reads", "writes"):
        counts.update(f"{row['method']} {_plain(row['path'])}" for row in after[kind][len(before[kind]) :])
    return dict(counts.most_common())


def _plain(path: str) -> str:
    """A path without the number of an order."""
    return "/".join("{id}" if part.isdigit() or part.startswith("t-") else part for part in path.split("/"))
