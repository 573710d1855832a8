"""The trading engine of a gateway: one actor per account, and the questions that the API asks of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound, Unavailable
from cashup.exchanges.base import Exchange
from cashup.monitoring.tasks import end
from cashup.orders.journal import FenceLost
from cashup.orders.lease import AccountState, Holder
from cashup.orders.patience import Patience
from cashup.orders.tables import orders
from cashup.storage.lines import Lines
from cashup.trading.actor import AccountActor
from cashup.trading.commands import By
from cashup.trading.desks import Desks
from cashup.trading.funding import Funding, fund
from cashup.trading.intake import command, submit
from cashup.trading.intents import Request
from cashup.trading.prices import Marks, Prices
from cashup.trading.quota import Quota
from cashup.trading.requests import Cancel, OrderIntent, Place
from cashup.trading.risk_view import risk_view
from cashup.trading.tables import deployments
from cashup.trading.unrecorded import cancel_unrecorded
from cashup.types import Symbol

log = structlog.get_logger()

OpenExchange = Callable[[str], Awaitable[tuple[str, Exchange]]]
"""Gives the venue's key and a connection with the account's credentials, by the account's name."""

DEFAULT_PATIENCE = Patience()

_PRICE_SECONDS = 15.0
_PRICE_STEP_SECONDS = 0.02


class Engine:
    """Trades every account that has a deployment. `emitted` is called after each commit with events in it."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        marks: Marks,
        open_exchange: OpenExchange,
        emitted: Callable[[], None] = lambda: None,
        *,
        patience: Patience = DEFAULT_PATIENCE,
        holder: Holder | None = None,
    ) -> None:
        self._engine = engine
        self._lines = Lines(engine)
        self._clock = clock
        self._marks = marks
        self._open_exchange = open_exchange
        self._emitted = emitted
        self._patience = patience
        self._holder = holder or Holder()
        self._quota = Quota(clock)
        self._actors: dict[str, AccountActor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._accounts: dict[str, str] = {}

    async def start(self) -> None:
        """Take up every account that has a deployment; they reconcile by themselves."""
        query = select(deployments.c.name, deployments.c.account)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        for name, account in rows:
            self._accounts[name] = account
            await self.actor(account)

    async def stop(self) -> None:
        """Let the answers of the venue in, give the leases back, close the connections."""
        await end(*self._tasks.values())
        for actor in self._actors.values():
            await actor.close()
        await self._lines.close()
        self._tasks.clear()
        self._actors.clear()

    async def actor(self, account: str) -> AccountActor:
        """The actor of an account, started when it does not run. Raises NotFound when there is no such account."""
        async with self._opening:
            actor = self._actors.get(account)
            if actor is None:
                venue, exchange = await self._open_exchange(account)
                actor = AccountActor(
                    account,
                    venue,
                    exchange,
                    self._engine,
                    self._lines,
                    self._clock,
                    self._marks,
                    self._holder,
                    self._patience,
                    self._emitted,
                )
                self._actors[account] = actor
                self._tasks[account] = asyncio.create_task(actor.run(), name=f"account {account}")
        return actor

    def state(self, account: str) -> tuple[AccountState, str] | None:
        """Whether this gateway trades the account, and why not; None when it has not taken it up."""
        actor = self._actors.get(account)
        return None if actor is None else (actor.state, actor.message)

    async def ready(self, account: str, seconds: float = 60.0) -> None:
        """Wait until the account is ready. Raises Unavailable with the reason when it is blocked or takes too long."""
        actor = await self.actor(account)
        try:
            async with asyncio.timeout(seconds):
                await actor.call(_nothing)
        except TimeoutError:
            raise Unavailable(
                f"account {account} is not ready: {actor.message or actor.state}", code="account_not_ready"
            ) from None

    async def submit(self, deployment: str, fence: int, request: Request) -> dict[str, Any]:
        """Take an intent of the attempt with this fence; the answer is `{key, state, decisions, orders}`.

        Repeating it gives the stored answer. Raises Conflict, UsageError, NotFound; Unavailable when the account is
        blocked; FenceLost (an Unavailable) when the attempt must stop; TooManyRequests when it floods.
        """
        self._quota.use(deployment)
        actor = await self._actor_of(deployment)
        await self._priced(actor, list(request.targets))

        async def work(desks: Desks) -> dict[str, Any]:
            return await submit(desks, deployment, fence, request)

        answer: dict[str, Any] = await actor.call(work)
        return answer

    async def command(self, deployment: str, request: OrderIntent, by: By) -> dict[str, Any]:
        """Place, cancel or amend one order; the answer is `{key, kind, state, decisions, orders}`.

        Repeating it gives the stored answer. A cancel is taken whatever state the account is in. Raises Conflict,
        UsageError, NotFound; Unavailable when the account is blocked; FenceLost when the attempt must stop;
        TooManyRequests when too many orders are placed or amended. Cancels are not counted, and one that cannot be
        written down is sent to the venue before Unavailable is raised.
        """
        if not isinstance(request, Cancel):
            self._quota.use(deployment)
        actor = await self._actor_of(deployment)
        if isinstance(request, Place):
            await self._priced(actor, [request.symbol])

        async def work(desks: Desks) -> dict[str, Any]:
            return await command(desks, deployment, request, by)

        try:
            answer: dict[str, Any] = await actor.call(work, always=isinstance(request, Cancel))
        except Unavailable as error:
            if not isinstance(request, Cancel) or isinstance(error, FenceLost):
                raise
            told = await cancel_unrecorded(actor.exchange, self._engine, deployment, request.order, self._clock, error)
            raise told from error
        return answer

    async def owner_of(self, order: str) -> str:
        """The deployment that an order belongs to, by our id or the venue's. Raises NotFound."""
        mine = or_(orders.c.client_order_id == order, orders.c.exchange_order_id == order)
        query = select(orders.c.deployment).where(mine, orders.c.deployment.is_not(None))
        async with self._engine.connect() as connection:
            found = set((await connection.execute(query)).scalars())
        if len(found) != 1:
            what = (
                "is not an order of a deployment"
                if not found
                else "names several orders; use the id that begins with t-"
            )
            raise NotFound(f"{order} {what}")
        return str(found.pop())

    async def fund(self, account: str, funding: Funding) -> None:
        """Give a deployment its capital from its account. Raises Conflict when the money is not there."""
        actor = await self.actor(account)
        self._accounts[funding.deployment] = account

        async def work(desks: Desks) -> None:
            await fund(desks, funding)

        await actor.call(work)

    async def risk(self, account: str) -> dict[str, dict[str, Any]]:
        """The limits of each deployment on the account, how far they are used, and what holds its orders back.

        Raises Unavailable when the account is not traded here now.
        """
        actor = await self.actor(account)

        async def work(desks: Desks) -> dict[str, dict[str, Any]]:
            return risk_view(desks.oversight, self._clock.now())

        found: dict[str, dict[str, Any]] = await actor.call(work)
        return found

    async def accept_difference(self, account: str, subject: str) -> None:
        """An operator accepts what blocks the account; it is booked and compared again. Raises Conflict."""
        await (await self.actor(account)).accept(subject)

    def sweep(self) -> None:
        """A kill was committed: every account looks at once whether it concerns it."""
        for actor in self._actors.values():
            actor.sweep()

    async def _actor_of(self, deployment: str) -> AccountActor:
        account = self._accounts.get(deployment)
        if account is None:
            query = select(deployments.c.account).where(deployments.c.name == deployment)
            async with self._engine.connect() as connection:
                account = (await connection.execute(query)).scalar_one_or_none()
            if account is None:
                raise NotFound(f"there is no deployment {deployment}")
            self._accounts[deployment] = account
        return self._actors.get(account) or await self.actor(account)

    async def _priced(self, actor: AccountActor, symbols: Sequence[Symbol]) -> None:
        """Wait for a price of every symbol that is asked for: after a start the feed needs a moment."""
        prices = Prices(self._marks, actor.venue)
        if all(prices.of(symbol) is not None for symbol in symbols):
            return
        markets = await actor.exchange.markets()
        traded = [symbol for symbol in symbols if symbol in markets]
        waited = 0.0
        while waited < _PRICE_SECONDS and any(prices.of(symbol) is None for symbol in traded):
            await asyncio.sleep(_PRICE_STEP_SECONDS)
            waited += _PRICE_STEP_SECONDS


async def _nothing(desks: Desks) -> None:
    """Only to be called when the account is ready."""
