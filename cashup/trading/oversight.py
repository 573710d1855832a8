"""Oversight of an account's orders: what surrounds each of them when risk looks at it, out of the desks in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.orders.record import Record
from cashup.orders.tables import orders
from cashup.strategies.limits import NO_LIMITS
from cashup.trading.halts import Halt, effective
from cashup.trading.prices import Prices
from cashup.trading.risk import CALM, Allowance, Exposure, Resting, Standing, TradingState
from cashup.trading.rules import MINUTE
from cashup.types import ZERO, Millis, Side, Symbol

if TYPE_CHECKING:
    from cashup.trading.desk import Desk


class Oversight:
    """What the checks must know of `account` beyond one deployment's own book."""

    def __init__(self, account: str, desks: Mapping[str, Desk], prices: Prices) -> None:
        self.account = account
        self._desks = desks
        self._prices = prices
        self._made: deque[tuple[Millis, str]] = deque()
        self._halts: dict[str, list[Halt]] = {}

    async def load(self, connection: AsyncConnection, desks: Mapping[str, Desk], now: Millis) -> None:
        """Read what is not in the desks: the halts, and the orders of the last minute."""
        self._desks = desks
        self._halts = await effective(connection, self.account)
        order = orders.c
        query = select(order.created_at, order.deployment).where(
            order.account == self.account, order.deployment.is_not(None), order.created_at > now - MINUTE
        )
        rows = await connection.execute(query.order_by(order.created_at))
        self._made = deque((row.created_at, row.deployment) for row in rows)

    def made(self, records: Iterable[Record]) -> None:
        """These orders were made."""
        self._made.extend((record.created_at, record.deployment) for record in records)

    def watch(self, now: Millis) -> Callable[[str, Mapping[Symbol, Decimal]], Standing]:
        """`standing` at this moment."""

        def standing(deployment: str, marks: Mapping[Symbol, Decimal]) -> Standing:
            return self.standing(deployment, marks, now)

        return standing

    def standing(self, deployment: str, marks: Mapping[Symbol, Decimal], now: Millis) -> Standing:
        """What surrounds the orders of a deployment that are sized at these marks."""
        allowances = tuple(self._allowances(self._desks[deployment], marks, now))
        resting = _resting(record for desk in self._desks.values() for record in desk.records.values())
        halts = self._halts.get(deployment, [])
        if not (allowances or resting or halts):
            return CALM
        quoted = {symbol: self._prices.quoted(symbol) for symbol in marks} if allowances else {}
        state = TradingState.worst(halt.state for halt in halts)
        why = "; ".join(halt.reason for halt in halts if halt.state is state)
        return Standing(allowances=allowances, state=state, why=why, resting=resting, quoted=quoted)

    def _allowances(self, desk: Desk, marks: Mapping[Symbol, Decimal], now: Millis) -> Iterator[Allowance]:
        rules = desk.rules
        if rules.limits is NO_LIMITS or rules.limits == NO_LIMITS:
            return
        yield Allowance(
            name=f"deployment {desk.deployment}",
            limits=rules.limits,
            exposure=exposure_of([desk], self._price_of(marks)),
            recent=self._recent(now, desk.deployment),
            open=len(desk.records),
            stale_after=rules.stale_after,
        )

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
                buys[order.symbol] = buys.get(order.symbol, ZERO) + _left(record, price_of(desk, order.symbol))
    return Exposure(equity, values, buys)


def _left(record: Record, price: Decimal) -> Decimal:
    """What an order may still buy for, in quote currency; one whose fate is unknown is fully open."""
    order = record.order
    if order.cost is not None:
        return max(order.cost - order.spent, ZERO)
    return max((order.quantity or ZERO) - order.filled, ZERO) * (order.price or price)


def _resting(records: Iterable[Record]) -> dict[Symbol, tuple[Resting, ...]]:
    """The orders that have a price, by symbol: they may rest on the venue."""
    found: dict[Symbol, tuple[Resting, ...]] = {}
    for record in records:
        order = record.order
        if order.price is not None:
            found[order.symbol] = (*found.get(order.symbol, ()), Resting(order.side, order.price))
    return found
