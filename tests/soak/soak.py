"""A soak: orders at a rate, a fault at a rate, checks throughout; then everything heals and must come to rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sqlalchemy import text

from cashup.exchanges.rules import gate_market
from cashup.monitoring.tasks import end
from cashup.types import Symbol
from tests.soak.demand import Demand
from tests.soak.memory import Memory
from tests.soak.prices import MOVE_SECONDS, MOVES_PER_BAR, Prices
from tests.soak.record import Record, record
from tests.soak.stage import SYMBOLS, Stage, open_stage
from tests.soak.verdict import Verdict
from tests.soak.weather import Weather

REST_SECONDS = 120.0

_UNREST = {
    "orders whose fate is open": "SELECT client_order_id FROM orders WHERE reported > traded "
    "OR state IN ('pending_send', 'sending', 'unknown', 'pending_cancel')",
    "intents that are not carried out": "SELECT deployment || ' ' || key FROM intents WHERE finished_at IS NULL",
    "frames that nobody acted on": "SELECT id FROM inbox WHERE NOT applied",
    "accounts that are not ready": "SELECT account || ': ' || message FROM account_leases WHERE state <> 'ready'",
}


@dataclass(frozen=True)
class Plan:
    """What to do: `rate` is intents per second, `faults` faults per minute; `only` are the kinds to choose among."""

    minutes: float
    rate: float = 2.0
    faults: float = 1.0
    seed: int = 0
    only: frozenset[str] = frozenset()

    def random(self, purpose: str) -> Random:
        """A stream of chance of its own, so that a draw more in one place changes nothing in another."""
        return Random(f"{self.seed} {purpose}")


@dataclass
class Soak:
    """One soak on a stage, and what watches it."""

    plan: Plan
    stage: Stage
    weather: Weather
    verdict: Verdict
    prices: Prices
    gateway: Memory
    simulator: Memory
    began: float = 0.0

    @property
    def minute(self) -> float:
        """Minutes since it began."""
        return (time.monotonic() - self.began) / 60

    @property
    def lag(self) -> float:
        """How long the oldest intent that was not answered has waited (s)."""
        return max(worker.lag for worker in self.stage.workers)

    async def run(self) -> Record:
        """From the first order until all is at rest."""
        await self.prices.begin()
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            lasting = [self.verdict.run(), self.gateway.run(), self.simulator.run()]
            lasting += [worker.run() for worker in self.stage.workers]
            watching = [group.create_task(work) for work in lasting]
            moving, weather = group.create_task(self.prices.run()), group.create_task(self.weather.run())
            await self._trade()
            self.weather.clear()
            await weather
            await end(moving)
            await self.stage.ask("fault.clear")
            rest = await self._rest()
            await end(*watching)
        await self.verdict.at_rest()
        return await record(self, rest)

    async def _trade(self) -> None:
        """Ask in turn, at a steady rate, without waiting for answers."""
        markets = {Symbol(symbol): gate_market(symbol) for symbol in SYMBOLS}
        demand = Demand(self.plan.random("demand"), markets, self.prices.of)
        due = self.began
        number = 0
        while self.minute < self.plan.minutes:
            worker = self.stage.workers[number % len(self.stage.workers)]
            await worker.ask(demand.draw(worker))
            self._look()
            number, due = number + 1, due + 1 / self.plan.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _look(self) -> None:
        if not self.weather.now and self.stage.stack.gateway.exit_code is not None:
            raise self.stage.stack.gateway.failure()

    async def _rest(self) -> float:
        """Wait until all is at rest; how long that took (s)."""
        began = time.monotonic()
        while found := await self._unrest():
            if time.monotonic() - began > REST_SECONDS:
                for what in found:
                    self.stage.complain(f"{REST_SECONDS:.0f} s after the last order and fault: {what}")
                break
            await asyncio.sleep(0.5)
        return time.monotonic() - began

    async def _unrest(self) -> list[str]:
        """What is still on its way, in words. An order may go on resting at the venue."""
        async with self.stage.database.connect() as connection:
            found = {what: list(await connection.scalars(text(query))) for what, query in _UNREST.items()}
        found["intents without an answer"] = [key for worker in self.stage.workers for key in worker.waiting]
        return [f"{what}: {', '.join(map(str, some[:5]))}" for what, some in found.items() if some]


async def soak(plan: Plan, home: Path, watch: Callable[[Soak], None] = lambda soak: None) -> Record:
    """Soak as planned; `watch` is called with the soak as soon as it is set up."""
    bars = round(plan.minutes * 60 / (MOVE_SECONDS * MOVES_PER_BAR)) + 20
    async with open_stage(home, bars) as stage:
        made = Soak(
            plan=plan,
            stage=stage,
            weather=Weather(stage, plan.random("weather"), plan.faults, plan.only),
            verdict=Verdict(stage),
            prices=Prices(stage, plan.random("prices"), {Symbol(symbol): gate_market(symbol) for symbol in SYMBOLS}),
            gateway=Memory(lambda: stage.stack.gateway.pid),
            simulator=Memory(lambda: stage.stack.simulator.pid),
        )
        watch(made)
        return await made.run()
