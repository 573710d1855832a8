"""A gateway's process in the simulation: the real engine with a life, a clock, ids and connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextvars import Context
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import ExchangeTransient
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper_venue import PaperVenue
from cashup.orders.ids import random_bits
from cashup.orders.lease import Holder
from cashup.storage.database import create_engine
from cashup.trading.engine import Engine
from cashup.types import Symbol
from tests.faults.simulation.clock import SimulatedClock
from tests.faults.simulation.loop import Life
from tests.faults.simulation.venue import SimulatedExchange


class SimulatedHolder(Holder):
    """The process as the lease sees it; `gone` holds the processes that are seen to have died."""

    def __init__(self, number: int, gone: Container[str]) -> None:
        self.host = "simulated"
        self.name = f"simulated/{number}"
        self._gone = gone

    def gone(self, name: str) -> bool:
        return name in self._gone


class Marks:
    """The prices that gateways see: the venue's own."""

    def __init__(self, venue: PaperVenue) -> None:
        self._venue = venue

    def mark(self, venue: str, symbol: Symbol) -> Decimal:
        price = self._venue.matchers[symbol].price
        if price is None:
            raise ExchangeTransient(f"no price of {symbol} yet")
        return price

    def quoted(self, venue: str, symbol: Symbol) -> tuple[int | None, Decimal | None]:
        return None, None


@dataclass(eq=False)
class Gateway:
    """One process. `ended` is set when it dies; `crash_at` is the step of its life at which it will."""

    number: int
    life: Life
    context: Context
    clock: SimulatedClock
    exchange: SimulatedExchange
    database: AsyncEngine
    engine: Engine
    holder: SimulatedHolder
    ended: asyncio.Event
    crash_at: int

    @classmethod
    def open(
        cls,
        number: int,
        url: str,
        clock: SimulatedClock,
        exchange: SimulatedExchange,
        marks: Marks,
        gone: Container[str],
        ids: Random,
        crash_at: int,
    ) -> Gateway:
        """A process that has not started yet."""
        life = Life(f"gateway {number}")
        context = life.context()
        context.run(random_bits.set, ids.getrandbits)
        database = create_engine(url)
        holder = SimulatedHolder(number, gone)

        async def connect(account: str) -> tuple[str, Exchange]:
            return "gate", exchange

        def build() -> Engine:
            return Engine(database, clock, marks, connect, holder=holder)

        engine = context.run(build)
        return cls(number, life, context, clock, exchange, database, engine, holder, asyncio.Event(), crash_at)

    def do(self, work: Any) -> asyncio.Task[Any]:
        """Have a coroutine run as part of the process."""
        return asyncio.get_running_loop().create_task(work, context=self.context)
