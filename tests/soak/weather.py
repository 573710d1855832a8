"""The weather: a fault now and then, drawn by a seed, each kind of fault as often as any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random

from cashup.simulator.faults.schedule import MENU
from tests.soak import faults_network, faults_operator, faults_process, faults_venue
from tests.soak.faults_network import TOXICS
from tests.soak.stage import Stage

Strike = Callable[[Stage, Random], Awaitable[None]]

RECOVERED_WITHIN = 60.0
PAUSE_SECONDS = 5.0


def _toxic(name: str) -> Strike:
    return lambda stage, random: faults_network.poison(stage, random, TOXICS[name](random))


FAMILIES: Mapping[str, Mapping[str, Strike]] = {
    "venue": {name: partial(faults_venue.strike, kind=name) for name in MENU},
    "network": {
        **{name: _toxic(name) for name in TOXICS},
        "refused": faults_network.refused,
        "cut": faults_network.cut,
    },
    "gateway": {
        "gateway_killed": faults_process.gateway_killed,
        "gateway_replaced": faults_process.gateway_replaced,
        "gateway_frozen": faults_process.gateway_frozen,
    },
    "stores": {
        "redis_flushed": faults_process.redis_flushed,
        "redis_restarted": faults_process.redis_restarted,
        "postgres_restarted": faults_process.postgres_restarted,
        "postgres_crashed": faults_process.postgres_crashed,
    },
    "people": {
        **{
            f"kill_{scope}": partial(faults_operator.kill, scope=scope)
            for scope in ("deployment", "account", "user", "all")
        },
        "workers_reconnect": faults_operator.workers_reconnect,
    },
}
"""Every fault there is, by family. Two of the venue for each of another family: it has most to go wrong."""

PROCESSES = frozenset({"gateway", "stores"})
"""The families after whose faults the gateway has to come back."""


@dataclass
class Struck:
    """One fault: from when until its consequences were over (ns, monotonic).

    `recovered` is, for a fault of a process, after how many seconds everybody was answered again.
    """

    kind: str
    family: str
    began: int
    ended: int | None = None
    recovered: float | None = None


@dataclass
class Weather:
    """Strikes `rate` times a minute on average."""

    stage: Stage
    random: Random
    rate: float
    only: frozenset[str] = frozenset()
    struck: list[Struck] = field(default_factory=list)
    _cleared: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def now(self) -> str:
        """The fault that is on, or nothing."""
        return self.struck[-1].kind if self.struck and self.struck[-1].ended is None else ""

    async def run(self) -> None:
        """Until `clear`; a fault that is on then comes to its end."""
        for family, kind in self._draws():
            wait = 60 / self.rate * self.random.uniform(0.5, 1.5)
            if self.struck:  # from one beginning to the next, but with a pause between
                last = self.struck[-1]
                wait = max(wait - ((last.ended or last.began) - last.began) / 1e9, PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._cleared.wait()
            if self._cleared.is_set():
                return
            await self._strike(family, kind)

    def clear(self) -> None:
        """No more faults."""
        self._cleared.set()

    async def _strike(self, family: str, kind: str) -> None:
        struck = Struck(kind, family, time.perf_counter_ns())
        self.struck.append(struck)
        await FAMILIES[family][kind](self.stage, self.random)
        if await self._within(self._answered(), f"everybody is answered again after {kind}") and family in PROCESSES:
            struck.recovered = (time.perf_counter_ns() - struck.began) / 1e9
        await self._within(self._known(), f"the fate of every order is known again after {kind}")
        struck.ended = time.perf_counter_ns()

    async def _within(self, work: Coroutine[None, None, None], what: str) -> bool:
        """False, and a violation, when it takes too long."""
        try:
            async with asyncio.timeout(RECOVERED_WITHIN):
                await work
        except TimeoutError:
            self.stage.complain(f"it takes more than {RECOVERED_WITHIN:.0f} s until {what}")
            return False
        return True

    async def _answered(self) -> None:
        """Until every account is traded and every worker is answered."""
        while not await self.stage.ready():
            await asyncio.sleep(0.1)
        await asyncio.gather(*(worker.repeat() for worker in self.stage.workers))

    async def _known(self) -> None:
        """Until the fate of every order is known: orders in the same symbols wait for that."""
        while not await self.stage.knows():
            await asyncio.sleep(0.1)

    def _draws(self) -> Iterator[tuple[str, str]]:
        """Families in turn and in any order; of each family its kinds, none twice before all have been."""
        decks: dict[str, list[str]] = {family: [] for family in FAMILIES}
        while True:
            round_ = ["venue", *FAMILIES]
            self.random.shuffle(round_)
            for family in round_:
                if not decks[family]:
                    decks[family] = [kind for kind in FAMILIES[family] if not self.only or kind in self.only]
                    self.random.shuffle(decks[family])
                if decks[family]:
                    yield family, decks[family].pop()
