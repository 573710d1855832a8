"""The simulated venue itself: customers, orders and the replayed market. No I/O; one thread.

The market stands at one bar of the tape, the open bar. `step` closes it (resting orders meet its whole range), and
opens the next one at its open price. Every unit of money belongs to an account, to the synthetic market or to the
fees; what the accounts deposited is always the sum of the three.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from cashup.clock import Clock, WallClock
from cashup.errors import NotFound, UsageError
from cashup.exchanges.matching import Fill, Matcher, MatchOrder
from cashup.simulator.accounts import Account, Accounts
from cashup.simulator.orders import SimOrder, SimTrade, order_event, pair_of, text_of, trade_row
from cashup.simulator.refusals import Refusal
from cashup.simulator.tape import Tape
from cashup.types import ZERO, Candle, FeeIn, Market, Millis, OrderRequest, Side, Symbol


@dataclass(frozen=True, slots=True)
class Notice:
    """One record for a private channel of one account."""

    account: Account
    channel: str
    pair: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One execution as everybody sees it."""

    id: int
    symbol: Symbol
    side: Side
    price: Decimal
    quantity: Decimal
    time: Millis


@dataclass(frozen=True, slots=True)
class Step:
    """What one step changed: the candles that closed and those that opened (none after the last bar)."""

    closed: list[Candle]
    opened: list[Candle]


class Venue:
    """One simulated exchange with the markets of one tape.

    `start` is the open time of the first bar that is open; everything before it is history. Private records go to
    `notify` in the order Gate's staff describe: balances, trades, order.
    """

    def __init__(
        self, tape: Tape, markets: Mapping[Symbol, Market], *, start: Millis | None = None, clock: Clock | None = None
    ) -> None:
        self.tape = tape
        self.clock = clock or WallClock()
        # Gate takes its fee from what is received.
        self.markets = {symbol: replace(markets[symbol], fee_in=FeeIn.RECEIVED) for symbol in tape.symbols}
        self.by_pair = {pair_of(market): market for market in self.markets.values()}
        self.accounts = Accounts()
        self.notify: Callable[[list[Notice]], None] = lambda notices: None
        self.first = min(1, len(tape) - 1) if start is None else tape.position(start)
        if self.first >= len(tape):
            raise UsageError("the simulator has no bar at or after its start; choose an earlier --start")
        self.position = self.first
        self.halted = False
        self.orders: dict[str, SimOrder] = {}
        self.trades: list[SimTrade] = []
        self.public: dict[Symbol, deque[PublicTrade]] = {symbol: deque(maxlen=1000) for symbol in self.markets}
        self.pool: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        # Ids go on where an earlier process could not have come: no id is ever used twice for one customer's records.
        self._serial = self.clock.now() * 1000
        self._resting: dict[str, SimOrder] = {}
        self._matchers = {symbol: Matcher(market) for symbol, market in self.markets.items()}
        for symbol in self.markets:
            self._matchers[symbol].move(tape.opening(symbol, self.position).open)

    # -- the market ---------------------------------------------------------------------------------------------

    @property
    def open_time(self) -> Millis | None:
        """The open time of the bar that is open; None when the tape has ended."""
        return None if self.halted else self.tape.times[self.position]

    @property
    def closed_time(self) -> Millis | None:
        """The open time of the newest closed bar; None at the very beginning of the tape."""
        newest = self.position if self.halted else self.position - 1
        return self.tape.times[newest] if newest >= 0 else None

    @property
    def simulated(self) -> Millis:
        """How far the market has been replayed since the start."""
        end = self.tape.times[-1] + self.tape.duration if self.halted else self.tape.times[self.position]
        return end - self.tape.times[self.first]

    def price(self, symbol: Symbol) -> Decimal:
        """The market's price now."""
        price = self._matchers[symbol].price
        if price is None:
            raise NotFound(f"{symbol} has no price yet; step the simulator")
        return price

    def candle(self, symbol: Symbol) -> Candle:
        """The newest candle: the open bar, or the last one after the end of the tape."""
        if self.halted:
            return self.tape.candle(symbol, self.position)
        return self.tape.opening(symbol, self.position)

    def market_of(self, pair: str) -> Market:
        """The market with Gate's id; refused when it does not trade here."""
        market = self.by_pair.get(pair)
        if market is None:
            raise Refusal("INVALID_CURRENCY_PAIR", f"Currency pair {pair} is not supported")
        return market

    def step(self) -> Step:
        """Close the open bar of every symbol and open the next; nothing happens after the end of the tape."""
        if self.halted:
            return Step([], [])
        closed = [self.tape.candle(symbol, self.position) for symbol in self.markets]
        for candle in closed:
            self._close(candle)
        if self.position + 1 == len(self.tape):
            self.halted = True
            return Step(closed, [])
        self.position += 1
        opened = [self.tape.opening(symbol, self.position) for symbol in self.markets]
        for candle in opened:
            self._book(candle.symbol, self._matchers[candle.symbol].move(candle.open))
        return Step(closed, opened)

    def _close(self, candle: Candle) -> None:
        """Lead the price through the bar: away from its close first, so a rising bar sees its low before its high."""
        extremes = (candle.low, candle.high) if candle.close >= candle.open else (candle.high, candle.low)
        for price in (*extremes, candle.close):
            self._book(candle.symbol, self._matchers[candle.symbol].move(price))
        if candle.volume:
            self._publish(candle.symbol, Side.BUY, candle.close, candle.volume)

    # -- orders -------------------------------------------------------------------------------------------------

    def place(self, account: Account, request: OrderRequest, text: str) -> SimOrder:
        """Match an order that passed the entry checks; refused when the market halted or the money is not there."""
        if self.halted:
            raise Refusal("INVALID_CURRENCY_PAIR", "The market is closed: the replay has ended")
        market = self.markets[request.symbol]
        now = self.clock.now()
        order = SimOrder(MatchOrder.of(str(self._next()), request), account, market, text, now, now)
        before = _snapshot(account, market)
        if order.match.side is Side.BUY:
            cost = request.cost if request.cost is not None else (request.quantity or ZERO) * (request.price or ZERO)
            order.locked = cost
        else:
            order.locked = request.quantity or ZERO
        account.lock(order.lock_currency, order.locked)
        self._resting[order.match.id] = order
        fills = self._matchers[market.symbol].submit(order.match)
        if order.match.reason in {"poc", "fok"}:
            self._release(order)
            raise _ended_at_entry(order.match.reason)
        self.orders[order.match.id] = order
        self._book(market.symbol, fills, order, before)
        return order

    def cancel(self, account: Account, order: SimOrder) -> SimOrder:
        """Take a resting order out and give its money back."""
        before = _snapshot(account, order.market)
        self._matchers[order.market.symbol].cancel(order.match.id)
        order.updated = self.clock.now()
        self._release(order)
        self.notify(
            [
                *_changes(account, order.market, before, "order-cancel", order.updated),
                Notice(account, "spot.orders", order.pair, order_event(order, "finish")),
            ]
        )
        return order

    def find(self, account: Account, pair: str, ident: str) -> SimOrder:
        """An order by venue id, or by client id while it rests; the newest when several carry the same client id."""
        self.market_of(pair)
        if ident.startswith("t-"):
            for order in reversed(list(self._resting.values())):
                if order.text == ident and order.account is account and order.pair == pair:
                    return order
            raise Refusal("CLIENT_ID_NOT_FOUND", f"Order with client id {ident} not found", status=404)
        found = self.orders.get(ident)
        if found is None or found.account is not account or found.pair != pair:
            raise Refusal("ORDER_NOT_FOUND", f"Order with ID {ident} not found", status=404)
        return found

    def resting(self, account: Account, pair: str | None = None) -> list[SimOrder]:
        """The orders of an account that rest, newest first."""
        rows = [order for order in self._resting.values() if order.account is account and pair in {None, order.pair}]
        return rows[::-1]

    def book(self, symbol: Symbol) -> Iterable[MatchOrder]:
        """Every resting order of a market."""
        return self._matchers[symbol].resting

    # -- booking ------------------------------------------------------------------------------------------------

    def _book(
        self,
        symbol: Symbol,
        fills: list[Fill],
        placed: SimOrder | None = None,
        before: dict[str, tuple[Decimal, Decimal]] | None = None,
    ) -> None:
        """Move the money of `fills`, then tell their owners. `placed` is the order that caused them, if one did."""
        touched: dict[str, SimOrder] = {} if placed is None else {placed.match.id: placed}
        for fill in fills:
            touched.setdefault(fill.order_id, self._resting[fill.order_id])
        if not touched:
            return
        snapshots = {
            ident: before if order is placed and before is not None else _snapshot(order.account, order.market)
            for ident, order in touched.items()
        }
        trades: dict[str, list[SimTrade]] = {ident: [] for ident in touched}
        now = self.clock.now()
        for fill in fills:
            order = touched[fill.order_id]
            trade = SimTrade(self._next(), order, fill, now)
            self.trades.append(trade)
            trades[fill.order_id].append(trade)
            self._settle(order, fill)
            if not fill.maker or placed is None:
                self._publish(symbol, fill.side, fill.price, fill.quantity, now)
        notices: list[Notice] = []
        for ident, order in touched.items():
            order.updated = now
            if order.match.done:
                self._release(order)
            kind = "order-match" if trades[ident] else "order-create"
            notices += _changes(order.account, order.market, snapshots[ident], kind, now)
            notices += [Notice(order.account, "spot.usertrades", order.pair, trade_row(t)) for t in trades[ident]]
            notices.append(Notice(order.account, "spot.orders", order.pair, order_event(order, _event(order, placed))))
        self.notify(notices)

    def _settle(self, order: SimOrder, fill: Fill) -> None:
        """Exchange what one fill exchanges, with the synthetic market as the other side; the fee is kept apart."""
        account = order.account
        cost = fill.price * fill.quantity
        paid, received = (cost, fill.quantity) if fill.side is Side.BUY else (fill.quantity, cost)
        paid_in, received_in = order.lock_currency, order.fee_currency
        account.take_locked(paid_in, paid)
        order.locked -= paid
        account.credit(received_in, received - fill.fee)
        order.fee += fill.fee
        self.pool[paid_in] = self.pool.get(paid_in, ZERO) + paid
        self.pool[received_in] = self.pool.get(received_in, ZERO) - received
        self.fees[received_in] = self.fees.get(received_in, ZERO) + fill.fee

    def _release(self, order: SimOrder) -> None:
        """An order ended: it locks nothing any more."""
        self._resting.pop(order.match.id, None)
        order.account.unlock(order.lock_currency, order.locked)
        order.locked = ZERO

    def _publish(
        self, symbol: Symbol, side: Side, price: Decimal, quantity: Decimal, time: Millis | None = None
    ) -> None:
        moment = self.clock.now() if time is None else time
        self.public[symbol].append(PublicTrade(self._next(), symbol, side, price, quantity, moment))

    def _next(self) -> int:
        self._serial += 1
        return self._serial


def _event(order: SimOrder, placed: SimOrder | None) -> str:
    if order.match.done:
        return "finish"
    return "put" if order is placed else "update"


def _ended_at_entry(reason: str) -> Refusal:
    if reason == "poc":
        return Refusal("POC_FILL_IMMEDIATELY", "Order would match and take immediately so its cancelled")
    return Refusal("FOK_NOT_FILL", "Order cannot be filled completely")


def _snapshot(account: Account, market: Market) -> dict[str, tuple[Decimal, Decimal]]:
    """Available and locked, before something happens."""
    return {
        currency: (account.holding(currency).available, account.holding(currency).locked)
        for currency in (market.base, market.quote)
    }


def _changes(
    account: Account, market: Market, before: Mapping[str, tuple[Decimal, Decimal]], kind: str, now: Millis
) -> list[Notice]:
    """One record for `spot.balances` per currency that changed."""
    notices = []
    for currency, (available, locked) in before.items():
        holding = account.holding(currency)
        if (holding.available, holding.locked) == (available, locked):
            continue
        total = holding.available + holding.locked
        record = {
            "timestamp": str(now // 1000),
            "timestamp_ms": str(now),
            "user": str(account.uid),
            "currency": currency,
            "change": text_of(total - available - locked),
            "total": text_of(total),
            "available": text_of(holding.available),
            "freeze": text_of(holding.locked),
            "freeze_change": text_of(holding.locked - locked),
            "change_type": kind,
        }
        notices.append(Notice(account, "spot.balances", pair_of(market), record))
    return notices
