"""A gateway in a process of its own that trades through Gate's adapter, and dies where it is told to.

Argument: one JSON object with `database`, `redis`, `venue` (base URL), `key`, `secret`, `script`, and `die`: the name
of a moment in memory at which the process kills itself, or the number of the suspension at which it does, or null.

The script `buy` asks for a position and waits until it is carried out. `rest` places three limit orders that rest,
cancels one, and kills the account, which cancels the others. Both may be run again after any death. `hold` and `insist`
go on until the process is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.errors import Unavailable
from cashup.events import Event, EventKind
from cashup.exchanges.base import Connected, Disconnected, Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.monitoring.tasks import end
from cashup.orders.patience import Patience
from cashup.storage.database import create_engine
from cashup.storage.outbox import Relay
from cashup.storage.redis import create_redis
from cashup.trading.commands import By
from cashup.trading.engine import Engine
from cashup.trading.funding import Funding
from cashup.trading.halts import Halts, Scope
from cashup.trading.intents import Request, parse_request
from cashup.trading.kill import Kill, KillSwitch
from cashup.trading.requests import Cancel, Place, parse_cancel, parse_place
from cashup.types import Balance, Frame, Millis, OrderReport, OrderRequest, SendResult, Symbol
from tests.faults.crashes.counting import Suspensions
from tests.integration.trading.conftest import BTC, CAPITAL, ETH, Prices, until

LIMITS = {
    "first": {"symbol": BTC, "side": "buy", "quantity": "0.001", "price": "10000"},
    "second": {"symbol": ETH, "side": "buy", "quantity": "0.1", "price": "400"},
    "third": {"symbol": BTC, "side": "buy", "quantity": "0.002", "price": "11000"},
}

PATIENCE = Patience(fence=1_500, margin=200, apart=200)
SHORT = replace(PATIENCE, countdown=5, refresh=500)
"""With the shortest countdown that Gate knows."""


class Death:
    """The moment at which the process ends. `reach` is called at every moment that has a name."""

    def __init__(self, at: str | None) -> None:
        self.at = at
        self.answered = False

    def reach(self, moment: str) -> None:
        """End, when this is the moment."""
        if self.at == moment:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalExchange(GateExchange):
    """Gate's adapter, around whose calls the process may end."""

    death: Death
    cancels = 0

    async def place(self, request: OrderRequest) -> SendResult:
        self.death.reach("claimed")
        result = await super().place(request)
        self.death.answered = True
        self.death.reach("answered")
        return result

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        self._cancels()
        ended = await super().cancel_all(symbol)
        self.death.reach("cancelled")
        return ended

    async def cancel(self, *given: Any, **options: Any) -> SendResult:
        self._cancels()
        result = await super().cancel(*given, **options)
        self.death.reach("cancelled")
        return result

    async def arm_countdown(self, seconds: int) -> Millis | None:
        due = await super().arm_countdown(seconds)
        if seconds == 0:
            self.death.reach("disarmed")
        return due

    def _cancels(self) -> None:
        self.cancels += 1
        self.death.reach(f"cancel {self.cancels}")

    async def balances(self) -> Mapping[str, Balance]:
        found = await super().balances()
        self.death.reach("balances")
        return found

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        async for item in super().watch_account():
            if isinstance(item, Frame):
                self.death.reach("frame")
            yield item


class MortalEngine(Engine):
    """The engine, whose process may end when an intent arrives."""

    death: Death

    async def submit(self, deployment: str, fence: int, request: Request) -> dict[str, Any]:
        self.death.reach("intent")
        return await super().submit(deployment, fence, request)


class MortalAudience:
    """Whoever listens in the gateway; the process may end when an order's change has been told."""

    def __init__(self, death: Death) -> None:
        self._death = death

    def take_over(self) -> None:
        """Nothing to begin."""

    async def bring(self, previous: int, events: Sequence[Event]) -> None:
        if any(event.kind is EventKind.ORDER_CHANGED and event.data["state"] in ("open", "filled") for event in events):
            self._death.reach("told")

    def let_go(self) -> None:
        """Nothing to end."""


async def main() -> None:
    given = json.loads(sys.argv[1])
    last = given["die"] if isinstance(given["die"], int) else None
    suspensions = Suspensions(last)
    asyncio.get_running_loop().set_task_factory(suspensions.factory)
    await live(given, Death(None if last is not None else given["die"]), suspensions)
    print(suspensions.count, flush=True)


async def live(given: dict[str, Any], death: Death, suspensions: Suspensions) -> None:
    """A gateway's life, from its start to the end of its script. Suspensions count once it is ready to trade."""
    database = create_engine(given["database"])
    redis = create_redis(given["redis"])
    exchange = MortalExchange(Credentials(given["key"], given["secret"]), base_url=given["venue"])
    exchange.death = death
    relay = Relay(database, redis, MortalAudience(death))

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", exchange

    def emitted() -> None:
        if death.answered:
            death.reach("booked")
        relay.wake()

    patience = SHORT if given["script"] == "hold" else PATIENCE
    engine = MortalEngine(database, WallClock(), Prices(), connect, emitted, patience=patience)
    engine.death = death
    relaying = asyncio.create_task(relay.run())
    await engine.start()
    await engine.ready("main")
    suspensions.armed = True
    await SCRIPTS[given["script"]](engine, database, death)
    suspensions.armed = False
    await end(relaying)
    await engine.stop()
    await database.dispose()
    await redis.aclose()


async def buy(engine: Engine, database: AsyncEngine, death: Death) -> None:
    await engine.fund("main", Funding("demo", CAPITAL, "USDT", {}))
    await _insist(lambda: engine.submit("demo", 1, parse_request("1", 1, {BTC: 0.5})))
    await _seen(database, "SELECT 1 FROM intents WHERE finished_at IS NOT NULL")


async def rest(engine: Engine, database: AsyncEngine, death: Death) -> None:
    await engine.fund("main", Funding("demo", CAPITAL, "USDT", {}))
    placed = [await _order(engine, database, parse_place(key, order)) for key, order in LIMITS.items()]
    await _command(engine, parse_cancel("cancel", placed[-1]))
    await _seen(database, f"SELECT 1 FROM orders WHERE client_order_id = '{placed[-1]}' AND reserved = 0")  # noqa: S608
    clock = WallClock()

    def killed() -> None:
        death.reach("killed")
        engine.sweep()

    await KillSwitch(database, clock, Halts(database, clock), killed).kill(Kill(Scope.ACCOUNT, "main"), by="ann")
    await _seen(database, "SELECT 1 FROM sweeps WHERE state = 'done'")
    await _seen(database, "SELECT 1 FROM orders HAVING bool_and(reserved = 0)")


async def hold(engine: Engine, database: AsyncEngine, death: Death) -> None:
    """Buy, have an order rest, and wait for the end."""
    await buy(engine, database, death)
    await _order(engine, database, parse_place("first", LIMITS["first"]))
    await asyncio.Event().wait()


async def insist(engine: Engine, database: AsyncEngine, death: Death) -> None:
    """Place one order after the other, whatever the answer, until the end."""
    await engine.fund("main", Funding("demo", CAPITAL, "USDT", {}))
    for number in itertools.count():
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(1):
                await engine.command("demo", parse_place(f"{number}", LIMITS["first"]), By("ann"))
        await asyncio.sleep(0.1)


async def _order(engine: Engine, database: AsyncEngine, request: Place) -> str:
    """Place an order and wait until its fate is known; its id."""
    ident: str = (await _command(engine, request))["orders"][0]
    underway = "('pending_send', 'sending', 'unknown')"
    await _seen(database, f"SELECT 1 FROM orders WHERE client_order_id = '{ident}' AND state NOT IN {underway}")  # noqa: S608
    return ident


async def _command(engine: Engine, request: Place | Cancel) -> dict[str, Any]:
    return await _insist(lambda: engine.command("demo", request, By("ann")))


async def _insist(ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """As a worker does: the same request until there is an answer."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(0.1)


async def _seen(database: AsyncEngine, query: str) -> None:
    async def look() -> object:
        async with database.connect() as connection:
            return (await connection.execute(text(query))).first()

    await until(look, 60)


SCRIPTS = {"buy": buy, "rest": rest, "hold": hold, "insist": insist}

if __name__ == "__main__":
    asyncio.run(main())
