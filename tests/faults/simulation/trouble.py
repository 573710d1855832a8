"""What goes wrong beside single messages: breakdowns of the venue, of gateways and of clocks, and moving prices."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from cashup.types import Symbol

if TYPE_CHECKING:
    from tests.faults.simulation.gateway import Gateway
    from tests.faults.simulation.world import World


class Trouble:
    """Strikes about once a second, as the seed says."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self._random = random

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._random.expovariate(1))
            self._move_prices()
            self._trouble_the_venue()
            self._trouble_gateways()

    def _move_prices(self) -> None:
        paper = self.world.venue.paper
        for symbol, matcher in paper.matchers.items():
            step = 1 + Decimal(self._random.randint(-20, 20)) / 10_000
            assert matcher.price is not None
            liquidity = None if self._random.random() < 0.7 else Decimal(self._random.randint(0, 50)) / 1_000
            self.world.venue.move(Symbol(symbol), matcher.market.round_price(matcher.price * step), liquidity)

    def _trouble_the_venue(self) -> None:
        venue, now = self.world.venue, self.world.loop.time()
        if venue.happens("broken_stream"):
            venue.break_streams()
        if venue.happens("silent_stream"):
            venue.silence_streams(self._random.uniform(1, 20))
        if venue.happens("maintenance"):
            venue.break_streams()
            venue.down_until = now + self._random.uniform(2, 40)
            self.world.outage(venue.down_until - now)

    def _trouble_gateways(self) -> None:
        world = self.world
        if not world.gateways or (len(world.gateways) < 2 and self._random.random() < 0.02):
            world.start_gateway()
        gateway = self._random.choice(world.gateways)
        if self._random.random() < 0.01:
            world.pause(gateway, self._random.uniform(1, 25))
        if self._random.random() < 0.02:
            gateway.clock.wrong_by = self._random.randint(-400, 400)
            world.note(f"fault: clock wrong by {gateway.clock.wrong_by} ms")
        elif self._random.random() < 0.005:
            gateway.clock.wrong_by = self._random.choice((-1, 1)) * self._random.randint(600, 20_000)
            world.note(f"fault: clock jumped by {gateway.clock.wrong_by} ms")
            away = self._random.uniform(1, 30)
            world.outage(away)
            world.loop.call_later(away, self._set_right, gateway, context=copy_context())

    def _set_right(self, gateway: Gateway) -> None:
        """As NTP does, in one step."""
        gateway.clock.wrong_by = 0
        self.world.note(f"the clock of gateway {gateway.number} is right again")
