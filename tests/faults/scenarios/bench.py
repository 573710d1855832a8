"""The bench of a scenario: the real engine with Gate's adapter on a simulator that can do everything wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.orders.patience import Patience
from cashup.simulator.faults.board import Fault
from cashup.simulator.register import Seen
from cashup.trading.halts import Halts
from cashup.trading.kill import KillSwitch
from tests.faults.checker import Checker
from tests.faults.rules import Rule
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import BTC, Desk, until
from tests.integration.trading.simulated import Simulated, simulated

PATIENCE = Patience(fence=2_500, margin=200, apart=200, trades=20, retry=50, survey=600_000, quiet=600_000)
"""The waits of trading, shorter; venue and books are compared while trading only where a scenario asks for it."""

TIMEOUT = 1.0
"""How long the adapter waits for an answer (s): shorter than the fence, as in trading."""

LIMIT = {"symbol": BTC, "side": "buy", "quantity": "0.01", "price": "45000"}
"""An order that rests below the market of 50,000."""

CROSSING = {"symbol": BTC, "side": "buy", "quantity": "0.01", "price": "50500"}
"""An order that fills at once."""


@dataclass
class Bench(Simulated):
    """A ready desk on a simulator, the scenario that runs on it, and a checker that watches it."""

    scenario: Scenario
    checker: Checker

    def fault(self, name: str, **settings: Any) -> Fault:
        """Switch a fault of the simulator on."""
        return self.simulator.faults.set(name, **settings)

    def silence(self) -> None:
        """No frame comes any more: whatever is learnt from here on is read."""
        self.fault("missing_frame", count=None)

    def heal(self) -> None:
        """Switch every fault off."""
        self.simulator.faults.clear()

    def move(self, price: int, amount: str | None = None) -> None:
        """BTC trades at another price, with what rests at most `amount`."""
        self.fault("market_move", pair="BTC_USDT", price=str(price), amount=amount)

    def writes(self, what: str) -> list[Seen]:
        """What the venue was asked for: place, cancel, amend, countdown."""
        return [seen for seen in self.simulator.register.writes if seen.what == what]

    def venue_orders(self, ident: str | None = None) -> int:
        """How many orders the venue has ever had, with this client id or ours at all."""
        orders = self.simulator.venue.orders.values()
        return sum(order.text == ident if ident else order.text.startswith("t-") for order in orders)

    async def placed(self, **order: Any) -> str:
        """The id of an order by hand, made for the deployment."""
        answer = await self.place(f"key-{WallClock().now()}", **(order or LIMIT))
        assert answer["orders"], answer["decisions"]
        return str(answer["orders"][0])

    async def resting_order(self, **order: Any) -> str:
        """The id of an order that rests."""
        ident = await self.placed(**order)
        await self.order(ident, "open")
        return ident

    async def path(self, ident: str) -> str:
        """The states that an order went through."""
        rows = await self.rows(
            "SELECT to_state FROM order_events WHERE client_order_id = :ident ORDER BY id", ident=ident
        )
        states = [row["to_state"] for row in rows]
        return " → ".join(state for before, state in zip(["", *states], states, strict=False) if state != before)

    async def happened(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query, as soon as there are any."""

        async def look() -> list[Any]:
            return await self.rows(query, **values)

        return list(await until(look))

    async def reached(self, ident: str, state: str) -> None:
        """An order has been in this state."""
        query = "SELECT 1 FROM order_events WHERE client_order_id = :ident AND to_state = :state"
        await self.happened(query, ident=ident, state=state)

    async def count(self, table: str, where: str = "true") -> int:
        """How many rows a table has."""
        rows = await self.rows(f"SELECT count(*) AS n FROM {table} WHERE {where}")  # noqa: S608
        return int(rows[0]["n"])

    async def account_state(self) -> tuple[str, str]:
        """The account's state and message."""
        row = (await self.rows("SELECT state, message FROM account_leases"))[0]
        return row["state"], row["message"]

    async def blocked(self) -> str:
        """Why the account is blocked, when it is."""
        return str((await self.happened("SELECT message FROM account_leases WHERE state = 'blocked'"))[0]["message"])

    def switch(self) -> KillSwitch:
        """The kill switch of the gateway."""
        clock = WallClock()
        return KillSwitch(self.database, clock, Halts(self.database, clock), self.engine.sweep)

    async def at_rest(self, *, without: tuple[Rule, ...] = ()) -> None:
        """Everything holds; what the venue was told to break is left out."""
        await until(self.heard)
        await self.scenario.at_rest(self.checker, without=without)


@asynccontextmanager
async def open_bench(database: AsyncEngine, scenario: Scenario, patience: Patience = PATIENCE) -> AsyncIterator[Bench]:
    """A bench that is ready to trade."""
    async with simulated(database, patience, TIMEOUT) as desk:
        bench = Bench(
            database,
            desk.exchange,
            desk.engine,
            desk.marks,
            desk.simulator,
            desk.account,
            patience,
            TIMEOUT,
            scenario,
            Checker(database, "main", desk.book, secrets=[desk.account.key, desk.account.secret]),
        )
        try:
            yield bench
        finally:
            if bench.engine is not desk.engine:
                await bench.engine.stop()


def plain(amount: Decimal) -> str:
    """An amount without trailing zeros."""
    return f"{amount.normalize():f}"


__all__ = ["BTC", "CROSSING", "LIMIT", "PATIENCE", "Bench", "Desk", "open_bench", "plain", "until"]
