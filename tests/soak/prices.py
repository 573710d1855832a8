"""Prices that move under the orders: a little every second or two, in thin markets now and then, a bar at times."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from random import Random

from cashup.types import Market, Symbol
from tests.soak.stage import Stage

MOVE_SECONDS = 1.5
MOVES_PER_BAR = 15
"""A bar that closes is an hour for the venue's rate limits; so it does not happen often."""


class Prices:
    """What each symbol costs now."""

    def __init__(self, stage: Stage, random: Random, markets: Mapping[Symbol, Market]) -> None:
        self._stage = stage
        self._random = random
        self._markets = markets
        self._now: dict[Symbol, Decimal] = {}

    def of(self, symbol: Symbol) -> Decimal:
        """The price of `symbol`."""
        return self._now[symbol]

    async def begin(self) -> None:
        """Close the first bar, and read the prices."""
        self._read(await self._stage.ask("step"))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for _ in range(MOVES_PER_BAR):
                await asyncio.sleep(MOVE_SECONDS)
                await self._move(self._random.choice(list(self._markets)))
            self._read(await self._stage.ask("step"))

    async def _move(self, symbol: Symbol) -> None:
        step = 1 + Decimal(self._random.randint(-60, 60)) / 10_000
        price = self._now[symbol] = self._markets[symbol].round_price(self._now[symbol] * step)
        terms = {"pair": symbol.replace("/", "_"), "price": f"{price:f}"}
        if self._random.random() < 0.5:  # too little for everything that rests there: orders fill in part
            terms["amount"] = f"{self._random.randint(20, 3_000) / price:.4f}"
        await self._stage.ask("fault.set", name="market_move", **terms)

    def _read(self, state: Mapping[str, Mapping[str, str]]) -> None:
        self._now = {symbol: Decimal(state["prices"][symbol]) for symbol in self._markets}
