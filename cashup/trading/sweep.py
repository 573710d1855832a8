"""The sweep: what a kill does on one account, over and over until the venue shows that it is done.

What was never sent is given up; what rests is cancelled, market by market; an order whose fate is unknown is waited
for, and whatever it turns out to be is swept as well. The sweep is done when the venue's list of open orders, read
after the last such order was resolved, shows none of the scope. It works from the tables and the venue alone, so it
also works for an account that cannot be reconciled, and it goes on where a process that died left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import CashUpError, ExchangeError
from cashup.exchanges.base import Exchange
from cashup.orders.ids import is_ours
from cashup.orders.state import Lapsed
from cashup.orders.tables import orders
from cashup.storage.database import transaction
from cashup.trading.endings import tell_exit
from cashup.trading.halts import Scope, concerns
from cashup.trading.mailbox import News
from cashup.trading.tables import deployments, sweeps
from cashup.types import OrderReport, OrderState, SendResult, Symbol
from cashup.users.audit import record

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often an account looks for sweeps that another gateway has ordered."""

_AGAIN_SECONDS = 0.1
_AGAIN_AT_MOST_SECONDS = 2.0
_AT_ONCE = 10
_OPEN_ENDED = (OrderState.SENDING.value, OrderState.UNKNOWN.value)

Flatten = Callable[[str], Awaitable[str | None]]
"""Goes on with selling what a deployment holds: None when that is done, else a sentence that says what it waits for."""


@dataclass(slots=True)
class Sweep:
    """One row of `sweeps`. `markets` holds per symbol what was `cancelled`, what is `open` and the last `error`."""

    scope: Scope
    name: str
    account: str
    flatten: bool
    external: bool
    started_at: int
    on_exit: bool = False
    markets: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: str = "cancelling"
    message: str = ""

    @property
    def whole_account(self) -> bool:
        """True when every order of ours on the account is in the scope."""
        return self.scope in (Scope.ALL, Scope.ACCOUNT)


class Sweeper:
    """Carries out the sweeps of one account. `tell` takes what is learnt of orders."""

    def __init__(
        self,
        account: str,
        exchange: Exchange,
        database: AsyncEngine,
        clock: Clock,
        tell: Callable[[News], None],
        flatten: Flatten,
    ) -> None:
        self._account = account
        self._exchange = exchange
        self._database = database
        self._clock = clock
        self._tell = tell
        self._flatten = flatten
        self._called = asyncio.Event()

    def wake(self) -> None:
        """A kill was committed."""
        self._called.set()

    async def run(self) -> None:
        """Look for work and do it, until cancelled. What fails is tried again."""
        pause = _AGAIN_SECONDS
        while True:
            undone = True
            try:
                undone = await self._pass()
            except (CashUpError, SQLAlchemyError, OSError) as error:
                log.warning("a sweep was interrupted", account=self._account, error=str(error))
            pause = min(pause * 2, _AGAIN_AT_MOST_SECONDS) if undone else _AGAIN_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if undone else LOOK_SECONDS):
                    await self._called.wait()
            if self._called.is_set():
                pause = _AGAIN_SECONDS
            self._called.clear()

    async def _pass(self) -> bool:
        """One pass over every sweep that is not done; True when one of them still is not."""
        query = select(sweeps).where(sweeps.c.account == self._account, sweeps.c.state != "done")
        async with self._database.connect() as connection:
            rows = (await connection.execute(query.order_by(sweeps.c.started_at))).mappings().all()
        todo = [_read(dict(row)) for row in rows]
        for sweep in todo:
            await self._carry_on(sweep)
            await self._save(sweep)
        return any(sweep.state != "done" for sweep in todo)

    async def _carry_on(self, sweep: Sweep) -> None:
        await self._give_up(sweep)
        open_ended = await self._ids(sweep, *_OPEN_ENDED)
        try:
            await self._cancel(sweep)
            left = await self._open(sweep)
        except ExchangeError as error:
            sweep.state, sweep.message = "cancelling", str(error)
            return
        for symbol, market in sweep.markets.items():
            market["open"] = len(left.get(Symbol(symbol), []))
        if left:
            sweep.state = "cancelling"
            sweep.message = f"{sum(map(len, left.values()))} orders are still open in {', '.join(left)}"
        elif open_ended:
            sweep.state, sweep.message = "waiting", f"the fate of {len(open_ended)} orders is not known yet"
        elif sweep.flatten and (waits := await self._flattened(sweep)) is not None:
            sweep.state, sweep.message = "flattening", waits
        else:
            sweep.state, sweep.message = "done", ""

    async def _give_up(self, sweep: Sweep) -> None:
        """What was not sent is not sent: no claim can take it while the halt stands, and none shall later."""
        for ident in await self._ids(sweep, OrderState.PENDING_SEND.value):
            self._tell(News([Lapsed("stopped before it was sent")], ident, actor="operator", cause=_cause(sweep)))

    async def _cancel(self, sweep: Sweep) -> None:
        """Ask for the end of everything that rests, all markets at once."""
        resting = await self._exchange.open_orders()
        mine = await self._mine(sweep, resting)
        foreign = {report.symbol for report in resting} - {report.symbol for report in mine}
        foreign |= {report.symbol for report in resting if report not in mine}
        markets: dict[Symbol, list[OrderReport]] = {}
        for report in mine:
            markets.setdefault(report.symbol, []).append(report)
        await asyncio.gather(
            *(
                self._cancel_market(sweep, symbol, reports, everything=sweep.whole_account and symbol not in foreign)
                for symbol, reports in markets.items()
            )
        )

    async def _cancel_market(
        self, sweep: Sweep, symbol: Symbol, reports: Sequence[OrderReport], *, everything: bool
    ) -> None:
        """One request for the whole market when all that rests there is in the scope, else one per order."""
        market = sweep.markets.setdefault(symbol, {"cancelled": 0, "open": 0, "error": ""})
        try:
            ended = await self._exchange.cancel_all(symbol) if everything else await self._cancel_each(symbol, reports)
        except ExchangeError as error:
            market["error"] = str(error)
            log.warning("a market could not be swept", account=self._account, symbol=symbol, error=str(error))
            return
        market["error"] = ""
        market["cancelled"] += sum(report.done for report in ended)
        for report in ended:
            order = report.client_order_id if is_ours(report.client_order_id) else None
            self._tell(News([report], order, cause=_cause(sweep)))

    async def _cancel_each(self, symbol: Symbol, reports: Sequence[OrderReport]) -> list[OrderReport]:
        few = asyncio.Semaphore(_AT_ONCE)

        async def cancel(report: OrderReport) -> SendResult:
            async with few:
                return await self._exchange.cancel(symbol, report.exchange_order_id)

        answers = await asyncio.gather(*map(cancel, reports))
        return [answer.report for answer in answers if answer.report is not None]

    async def _open(self, sweep: Sweep) -> dict[Symbol, list[OrderReport]]:
        """What of the scope the venue shows as resting, by market."""
        left: dict[Symbol, list[OrderReport]] = {}
        for report in await self._mine(sweep, await self._exchange.open_orders()):
            left.setdefault(report.symbol, []).append(report)
        return left

    async def _mine(self, sweep: Sweep, resting: Sequence[OrderReport]) -> list[OrderReport]:
        """Those of the orders that the sweep is about: other people's only when they were asked for."""
        ours = [report for report in resting if is_ours(report.client_order_id)]
        if sweep.whole_account:
            return list(resting) if sweep.external else ours
        wanted = set(await self._ids(sweep, ids=[str(report.client_order_id) for report in ours]))
        return [report for report in ours if report.client_order_id in wanted]

    async def _ids(self, sweep: Sweep, *states: str, ids: Sequence[str] | None = None) -> list[str]:
        """The client ids of the scope's orders on this account, of those in one of `states` or with one of `ids`."""
        query = _orders_of(sweep)
        query = query.where(orders.c.state.in_(states) if ids is None else orders.c.client_order_id.in_(ids))
        async with self._database.connect() as connection:
            return [row.client_order_id for row in await connection.execute(query)]

    async def _flattened(self, sweep: Sweep) -> str | None:
        scope = concerns(sweep.scope, sweep.name) & (deployments.c.account == self._account)
        async with self._database.connect() as connection:
            names = list((await connection.execute(select(deployments.c.name).where(scope))).scalars())
        waits = [await self._flatten(name) for name in names]
        return next((wait for wait in waits if wait is not None), None)

    async def _save(self, sweep: Sweep) -> None:
        """Write how far it is; a sweep that was begun anew meanwhile stays as it was begun."""
        match = (sweeps.c.scope == sweep.scope.value) & (sweeps.c.name == sweep.name)
        match &= (sweeps.c.account == self._account) & (sweeps.c.started_at == sweep.started_at)
        match &= sweeps.c.flatten == sweep.flatten
        changed = {"state": sweep.state, "message": sweep.message, "markets": sweep.markets}
        async with transaction(self._database) as connection:
            now = self._clock.now()
            saved = await connection.execute(update(sweeps).where(match).values(**changed, updated_at=now))
            if saved.rowcount and sweep.on_exit and sweep.state == "done":
                detail = {"on_exit": "flatten" if sweep.flatten else "cancel", "markets": sweep.markets}
                about = {"subject": "system", "action": "deployment.on_exit.done", "target": sweep.name}
                await record(connection, at=now, **about, detail=detail)
                await tell_exit(connection, sweep.name, sweep.flatten, "done", now)
        if sweep.state == "done":
            log.warning("swept", account=self._account, scope=sweep.scope, name=sweep.name, markets=sweep.markets)


def _cause(sweep: Sweep) -> str:
    return f"exit of {sweep.name}" if sweep.on_exit else f"swept with {sweep.scope} {sweep.name}".rstrip()


def _orders_of(sweep: Sweep) -> Select[tuple[str]]:
    query = select(orders.c.client_order_id).where(orders.c.account == sweep.account, orders.c.origin == "cashup")
    if sweep.whole_account:
        return query
    return query.join(deployments, deployments.c.name == orders.c.deployment).where(concerns(sweep.scope, sweep.name))


def _read(row: Mapping[str, Any]) -> Sweep:
    return Sweep(
        scope=Scope(row["scope"]),
        name=row["name"],
        account=row["account"],
        flatten=row["flatten"],
        external=row["external"],
        started_at=row["started_at"],
        on_exit=row["on_exit"],
        markets={symbol: dict(market) for symbol, market in row["markets"].items()},
        state=row["state"],
    )
