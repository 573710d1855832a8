"""A person who trades by hand beside a deployment's targets: places orders that rest or take, amends and cancels them,
each under a key, and insists until it is answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from cashup.errors import Conflict
from cashup.trading.commands import By
from cashup.trading.requests import Amend, Cancel, OrderIntent, Place
from cashup.types import OrderType, Side, TimeInForce
from tests.faults.simulation.gateway import Gateway
from tests.faults.simulation.strategy import BTC, ETH
from tests.faults.simulation.tables import resting

if TYPE_CHECKING:
    from tests.faults.simulation.world import World

_FORCES = (TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTC, TimeInForce.POST_ONLY, TimeInForce.IOC, TimeInForce.FOK)


class Trader:
    """One person on one deployment, until enough orders have reached the venue; what is left then is cancelled."""

    def __init__(self, world: World, deployment: str, random: Random) -> None:
        self.world = world
        self.deployment = deployment
        self._random = random
        self._keys = 0
        self._orders: list[Place] = []
        self._ids: list[str] = []

    async def run(self) -> None:
        """Order after order."""
        while self.world.trading:
            await asyncio.sleep(self._random.expovariate(0.3))
            await self._random.choice((self._place, self._place, self._amend, self._cancel))()
        while open_ := await resting(self.world.database, self.deployment):
            for ident in open_:
                await self._ask(Cancel(self._key(), ident))
            await asyncio.sleep(1)

    async def _place(self) -> None:
        request = self._order()
        answer = await self._ask(request)
        for ident in answer["orders"]:
            self._orders.append(request)
            self._ids.append(ident)
        if self._random.random() < 0.05:
            await self._contradict(request)

    async def _amend(self) -> None:
        if self._ids:
            position = self._random.randrange(len(self._ids))
            again = self._order(self._orders[position])
            quantity = again.quantity if self._random.random() < 0.5 else None
            await self._ask(Amend(self._key(), self._ids[position], quantity, again.price))

    async def _cancel(self) -> None:
        if self._ids:
            await self._ask(Cancel(self._key(), self._random.choice(self._ids[-5:])))

    def _order(self, like: Place | None = None) -> Place:
        """A limit order near the market, or other terms for one."""
        symbol = self._random.choice((BTC, ETH)) if like is None else like.symbol
        side = self._random.choice((Side.BUY, Side.BUY, Side.SELL)) if like is None else like.side
        matcher = self.world.venue.paper.matchers[symbol]
        assert matcher.price is not None
        away = Decimal(self._random.randint(-80, 20)) / 10_000
        price = matcher.market.round_price(matcher.price * (1 + (away if side is Side.BUY else -away)))
        quantity = matcher.market.round_quantity(Decimal(self._random.randint(20, 900)) / price)
        force = self._random.choice(_FORCES)
        return Place(self._key(), symbol, side, OrderType.LIMIT, force, quantity, None, price)

    def _key(self) -> str:
        self._keys += 1
        return f"hand {self._keys}"

    async def _contradict(self, request: Place) -> None:
        try:
            await self._submit(replace(request, price=(request.price or Decimal(0)) * 2))
        except Conflict:
            return
        self.world.complain(f"I17: the key {request.key} was taken for another order")

    async def _ask(self, request: OrderIntent) -> dict[str, Any]:
        answer = await self._submit(request)
        if self._random.random() < 0.15:
            again = await self._submit(request)
            if (again["key"], again["orders"]) != (answer["key"], answer["orders"]):
                self.world.complain(f"I17: the same command was answered with {answer} and then with {again}")
        return answer

    async def _submit(self, request: OrderIntent) -> dict[str, Any]:
        async def command(gateway: Gateway) -> dict[str, Any]:
            return await gateway.engine.command(self.deployment, request, By("ann"))

        answer: dict[str, Any] = await self.world.ask(command)
        self.world.note(f"{self.deployment} {request.key} {request.kind} -> {answer}")
        return answer
