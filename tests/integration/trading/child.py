"""An engine in a process of its own that trades through Gate's adapter, and dies where it is told to.

Argument: one JSON object with `database`, `venue` (base URL), `key`, `secret`, and `die`: null, or [moment, side] with
the moment `claimed` (before the order is written) or `answered` (when the answer is there and nothing is booked).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from cashup.clock import WallClock
from cashup.errors import Unavailable
from cashup.exchanges.base import Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.orders.patience import Patience
from cashup.storage.database import create_engine
from cashup.trading.engine import Engine
from cashup.trading.funding import Funding
from cashup.types import OrderRequest, SendResult
from tests.integration.trading.conftest import BTC, CAPITAL, ETH, Desk, Prices

BARS = {1: {BTC: 1.0}, 2: {BTC: 0.0, ETH: 1.0}}
"""First everything into BTC, then from BTC into ETH: a buy, a sell, and a buy with the money of the sell."""

PATIENCE = Patience(fence=1_500, margin=200, apart=200)


class MortalExchange(GateExchange):
    """Gate's adapter whose process ends at a moment of the bar in which it sells."""

    die: tuple[str, str] | None = None
    sold = False

    async def place(self, request: OrderRequest) -> SendResult:
        self.sold = self.sold or request.side == "sell"
        if self.sold and self.die == ("claimed", request.side):
            os.kill(os.getpid(), signal.SIGKILL)
        result = await super().place(request)
        if self.sold and self.die == ("answered", request.side):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


async def main() -> None:
    given = json.loads(sys.argv[1])
    database = create_engine(given["database"])
    exchange = MortalExchange(Credentials(given["key"], given["secret"]), base_url=given["venue"])
    exchange.die = tuple(given["die"]) if given["die"] else None

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", exchange

    marks = Prices()
    engine = Engine(database, WallClock(), marks, connect, patience=PATIENCE)
    await engine.start()
    await engine.fund("main", Funding("demo", CAPITAL, "USDT", {}))
    desk = Desk(database, exchange, engine, marks)
    for bar, targets in BARS.items():
        await submit(desk, bar, targets)
        await desk.processed(bar)
    await engine.stop()
    await database.dispose()


async def submit(desk: Desk, bar: int, targets: dict[str, float]) -> None:
    """As a worker does: the same key until there is an answer."""
    while True:
        try:
            await desk.submit(bar, targets)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    asyncio.run(main())
