"""Oversight of an account: what surrounds each of its orders when risk looks at it, and what its desks are worth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.orders.record import Record
from cashup.orders.state import Order
from cashup.orders.tables import orders
from cashup.storage.lines import Lines
from cashup.strategies.limits import NO_LIMITS, Limits
from cashup.trading.external import ExternalOrder
from cashup.trading.halts import Halt, Scope
from cashup.trading.loss_watch import Equity
from cashup.trading.prices import Prices
from cashup.trading.risk import CALM, Allowance, Exposure, Resting, Standing, TradingState
from cashup.trading.risk.protections import locks
from cashup.trading.rules import MINUTE
from cashup.trading.surroundings import Surroundings
from cashup.types import ZERO, Millis, Side, Symbol

if TYPE_CHECKING:
    from cashup.trading.desk import Desk


class Oversight:
    """What the checks must know of `account` beyond one deployment's own book.

    Halts and limits of others are as they were at the last `refresh`. That is for planning: the send claim reads the
    halts itself.
    """

    def __init__(self, account: str, prices: Prices, lines: Lines) -> None:
        self.account = account
        self._prices = prices
        self._lines = lines
        self.external: Mapping[str, ExternalOrder] = {}
        self._desks: Mapping[str, Desk] = {}
        self._made: deque[tuple[Millis, str]] = deque()
        self._around = Surroundings()

    async def load(self, connection: AsyncConnection, desks: Mapping[str, Desk], now: Millis) -> None:
        """Read what was made: after a start, or when the desks were read again. Call `refresh` after it."""
        self._desks = desks
        order = orders.c
        query = select(order.created_at, order.deployment).where(
            order.account == self.account, order.deployment.is_not(None), order.created_at > now - MINUTE
        )
        rows = await connection.execute(query.order_by(order.created_at))
        self._made = deque((row.created_at, row.deployment) for row in rows)

    async def refresh(self) -> None:
        """Read what others may have changed: halts, limits, owners."""
        self._around = await Surroundings.read(self._lines, self.account)

    def made(self, records: Iterable[Record]) -> None:
        """These orders were made."""
        self._made.extend((record.created_at, record.deployment) for record in records)

    @property
    def limits(self) -> dict[tuple[Scope, str], Limits]:
        """Every limit that concerns the account, by whose it is."""
        own = {(Scope.DEPLOYMENT, name): desk.rules.limits for name, desk in self._desks.items()}
        return {**self._around.limits, **own}

    @property
    def halts(self) -> list[Halt]:
        """Every halt that concerns a deployment of the account."""
        return [halt for halts in self._around.halts.values() for halt in halts]

    def halts_of(self, deployment: str) -> list[Halt]:
        """The halts that concern one deployment."""
        return self._around.halts.get(deployment, [])

    def holding(self, record: Record) -> Halt | None:
        """The halt that holds an order back, as the send claim sees it; None when none does."""
        if record.flattens:
            return None
        halts = self.halts_of(record.deployment)
        return next((h for h in halts if h.state is TradingState.HALTED or not record.reduces), None)

    def equities(self) -> Iterator[Equity]:
        """What each desk is worth now; one that holds something without a price or is new is left out."""
        for name, desk in self._desks.items():
            marks = {symbol: self._prices.of(symbol) or desk.prices.get(symbol) for symbol in desk.book.positions}
            known = {symbol: mark for symbol, mark in marks.items() if mark is not None}
            priced = all(symbol in known for symbol, position in desk.book.positions.items() if position.quantity)
            if priced and name in self._around.owners:
                yield Equity(name, self._around.owners[name], desk.quote, desk.book.equity(known), desk.capital)

    def marks(self) -> Iterator[tuple[str, dict[Symbol, Decimal]]]:
        """Each deployment with the newest prices of what it has held, as far as there are any."""
        for name, desk in self._desks.items():
            yield name, {s: price for s in desk.book.positions if (price := self._prices.of(s)) is not None}

    def at(self, now: Millis) -> Callable[[str, Mapping[Symbol, Decimal]], Standing]:
        """`standing` at this moment."""

        def standing(deployment: str, marks: Mapping[Symbol, Decimal]) -> Standing:
            return self.standing(deployment, marks, now)

        return standing

    def standing(self, deployment: str, marks: Mapping[Symbol, Decimal], now: Millis) -> Standing:
        """What surrounds the orders of a deployment that are sized at these marks."""
        desk = self._desks.get(deployment)
        if desk is None:
            return CALM
        allowances = tuple(self.allowances(desk, marks, now))
        resting = _resting(record for desk in self._desks.values() for record in desk.records.values())
        halts = self.halts_of(deployment)
        state = TradingState.worst(halt.state for halt in halts)
        paused = locks(desk.rules.protections, desk.rules.timeframe, desk.closed, now)
        if not (allowances or resting or halts or paused):
            return CALM
        return Standing(
            allowances=allowances,
            state=state,
            why="; ".join(halt.reason for halt in halts if halt.state is state),
            resting=resting,
            quoted={symbol: self._prices.quoted(symbol) for symbol in marks} if allowances else {},
            locks=paused,
        )

    def allowances(self, desk: Desk, marks: Mapping[Symbol, Decimal], now: Millis) -> Iterator[Allowance]:
        """The limits of the deployment, its account and its owner, and how far they are used."""
        rules, owner = desk.rules, self._around.owners.get(desk.deployment, "")
        price = self._price_of(marks)
        if rules.limits != NO_LIMITS:
            yield Allowance(
                name=f"deployment {desk.deployment}",
                limits=rules.limits,
                exposure=exposure_of([desk], price),
                recent=self._recent(now, desk.deployment),
                open=len(desk.records),
                stale_after=rules.stale_after,
            )
        if (of_account := self._around.limits.get((Scope.ACCOUNT, self.account))) is not None:
            yield Allowance(
                name=f"account {self.account}",
                limits=of_account,
                exposure=self._of_account(desk.quote, price),
                recent=self._recent(now),
                open=sum(len(one.records) for one in self._desks.values()) + len(self.external),
                stale_after=of_account.stale_after(None),
            )
        if (of_user := self._around.limits.get((Scope.USER, owner))) is not None:
            yield Allowance(f"user {owner}", of_user, stale_after=of_user.stale_after(None))

    def _of_account(self, quote: str, price: Callable[[Desk, Symbol], Decimal]) -> Exposure:
        """What the deployments in one currency have together, and what somebody else's open buys may add."""
        exposure = exposure_of((one for one in self._desks.values() if one.quote == quote), price)
        buys = dict(exposure.buys)
        for order in (one.order for one in self.external.values()):
            if order.side is Side.BUY and order.symbol.partition("/")[2] == quote:
                left = _left(order, self._prices.of(order.symbol) or ZERO)
                buys[order.symbol] = buys.get(order.symbol, ZERO) + left
        return replace(exposure, buys=buys)

    def _recent(self, now: Millis, deployment: str | None = None) -> int:
        """The orders of the last minute, of one deployment or of all."""
        while self._made and self._made[0][0] <= now - MINUTE:
            self._made.popleft()
        return sum(1 for _, name in self._made if deployment in (None, name))

    def _price_of(self, marks: Mapping[Symbol, Decimal]) -> Callable[[Desk, Symbol], Decimal]:
        """Prices by the marks that are given, else the newest, else the last that was traded at, else what it cost."""

        def price(desk: Desk, symbol: Symbol) -> Decimal:
            known = marks.get(symbol) or self._prices.of(symbol) or desk.prices.get(symbol)
            if known is not None:
                return known
            position = desk.book.positions.get(symbol)
            return (position.average_cost if position is not None else None) or ZERO

        return price


def exposure_of(desks: Iterable[Desk], price_of: Callable[[Desk, Symbol], Decimal]) -> Exposure:
    """What the desks hold together, and what their open orders may add."""
    equity = ZERO
    values: dict[Symbol, Decimal] = {}
    buys: dict[Symbol, Decimal] = {}
    for desk in desks:
        equity += desk.book.cash
        for symbol, position in desk.book.positions.items():
            if position.quantity:
                worth = position.quantity * price_of(desk, symbol)
                equity += worth
                values[symbol] = values.get(symbol, ZERO) + worth
        for record in desk.records.values():
            order = record.order
            if order.side is Side.BUY:
                buys[order.symbol] = buys.get(order.symbol, ZERO) + _left(order, price_of(desk, order.symbol))
    return Exposure(equity, values, buys)


def _left(order: Order, price: Decimal) -> Decimal:
    """What an order may still buy for, in quote currency; one whose fate is unknown is fully open.

    What the venue says it has bought and no trade has brought yet is in no position, so it is counted here.
    """
    if order.cost is not None:
        return max(order.cost - order.spent, ZERO)
    most = order.filled if order.state.terminal else order.quantity or ZERO
    return max(most - order.traded, ZERO) * (order.price or price)


def _resting(records: Iterable[Record]) -> dict[Symbol, tuple[Resting, ...]]:
    """The orders that have a price, by symbol: they may rest on the venue."""
    found: dict[Symbol, tuple[Resting, ...]] = {}
    for record in records:
        order = record.order
        if order.price is not None:
            found[order.symbol] = (*found.get(order.symbol, ()), Resting(order.side, order.price))
    return found
