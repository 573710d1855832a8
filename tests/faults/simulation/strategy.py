"""Strategies of the simulation: they ask for positions, bar after bar, and insist until they are answered."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from cashup.errors import Conflict
from cashup.trading.intents import Request
from cashup.types import Symbol
from tests.faults.simulation.gateway import Gateway

if TYPE_CHECKING:
    from tests.faults.simulation.world import World

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
_WEIGHTS = tuple(Decimal(tenth) / 10 for tenth in (0, 0, 1, 2, 3, 5))


class Strategy:
    """One deployment's. It trades until enough orders have reached the venue."""

    def __init__(self, world: World, deployment: str, random: Random) -> None:
        self.world = world
        self.deployment = deployment
        self._random = random

    async def run(self) -> None:
        """Bar after bar."""
        bar = 0
        while self.world.trading:
            bar += 1
            await self._decide(bar)
            await asyncio.sleep(self._random.expovariate(0.4))

    async def _decide(self, bar: int) -> None:
        targets = {symbol: self._random.choice(_WEIGHTS) for symbol in (BTC, ETH) if self._random.random() < 0.8}
        request = Request(str(bar), bar, targets or {BTC: Decimal(0)})
        answer = await self._submit(request)
        if self._random.random() < 0.15:
            again = await self._submit(request)
            if again["key"] != answer["key"] or again["orders"][: len(answer["orders"])] != answer["orders"]:
                self.world.complain(f"I17: the same intent was answered with {answer} and then with {again}")
        if self._random.random() < 0.05:
            await self._contradict(request)

    async def _contradict(self, request: Request) -> None:
        try:
            await self._submit(Request(request.key, request.bar, {ETH: Decimal("0.77")}))
        except Conflict:
            return
        self.world.complain(f"I17: the key {request.key} was taken for another body")

    async def _submit(self, request: Request) -> dict[str, list[str]]:
        async def submit(gateway: Gateway) -> dict[str, list[str]]:
            return await gateway.engine.submit(self.deployment, 1, request)

        answer: dict[str, list[str]] = await self.world.ask(submit)
        self.world.note(f"{self.deployment} bar {request.bar} -> {answer}")
        return answer
