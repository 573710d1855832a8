"""The simulated venue itself: customers, orders and the replayed market. No I/O; one thread.

The market stands at one bar of the tape, the open bar. `step` closes it (resting orders meet its whole range), and
opens the next one at its open price. Every unit of money belongs to an account, to the synthetic market or to the
fees; what the accounts deposited is always the sum of the three.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from cashup.clock import Clock, WallClock
from cashup.errors import NotFound, UsageError
from cashup.exchanges.matching import Fill, Matcher, MatchOrder, waypoints
from cashup.simulator.accounts import Account, Accounts, Holding
from cashup.simulator.countdown import Countdowns
from cashup.simulator.notices import (
    BalanceChange,
    Holdings,
    Notice,
    balance_changes,
    balance_notice,
    holdings_of,
    order_notice,
    trade_notice,
)
from cashup.simulator.orders import PublicTrade, SimOrder, SimTrade, pair_of
from cashup.simulator.refusals import Refusal
from cashup.simulator.skew import SkewedClock
from cashup.simulator.tape import Step, Tape
from cashup.types import ZERO, Candle, FeeIn, Market, Millis, OrderRequest, Side, Symbol, TimeInForce

TRADABLE, UNTRADABLE = "tradable", "untradable"
"""Gate's words for a market that takes orders, and for one that does not."""
CHANGES = 10_000
"""How many changes of balances are remembered for each customer."""


class Venue:
    """One simulated exchange with the markets of one tape.

    `start` is the open time of the first bar that is open; everything before it is history. Private records go to
    `notify` in the order Gate's staff describe: balances, trades, order. `strict_text` refuses a client id that was
    used before; Gate takes it, and its lookup then finds the newest order.
    """

    def __init__(
        self,
        tape: Tape,
        markets: Mapping[Symbol, Market],
        *,
        start: Millis | None = None,
        clock: Clock | None = None,
        strict_text: bool = False,
    ) -> None:
        self.tape = tape
        self.strict_text = strict_text
        self.clock = SkewedClock(clock or WallClock())
        # Gate takes its fee from what is received.
        self.markets = {symbol: replace(markets[symbol], fee_in=FeeIn.RECEIVED) for symbol in tape.symbols}
        self.by_pair = {pair_of(market): market for market in self.markets.values()}
        self.accounts = Accounts()
        self.status = dict.fromkeys(self.markets, TRADABLE)
        self.depth: dict[Symbol, Decimal] = {}
        self.remember: Callable[[SimOrder], None] | None = None
        self.notify: Callable[[list[Notice]], None] = lambda notices: None
        self.first = min(1, len(tape) - 1) if start is None else tape.position(start)
        if self.first >= len(tape):
            raise UsageError("the simulator has no bar at or after its start; choose an earlier --start")
        self.position = self.first
        self.halted = False
        self.orders: dict[str, SimOrder] = {}
        self.trades: list[SimTrade] = []
        # By customer: what lists are made of.
        self.ended: dict[int, list[SimOrder]] = defaultdict(list)
        self.traded: dict[int, list[SimTrade]] = defaultdict(list)
        self.changes: dict[int, deque[BalanceChange]] = defaultdict(lambda: deque(maxlen=CHANGES))
        self.countdowns = Countdowns(self.clock)
        self.public: dict[Symbol, deque[PublicTrade]] = {symbol: deque(maxlen=1000) for symbol in self.markets}
        self.pool: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        # Ids go on where an earlier process could not have come: no id is ever used twice for one customer's records.
        self._serial = self.clock.now() * 1000
        self._resting: dict[str, SimOrder] = {}
        self._texts: set[tuple[int, str]] = set()
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
            self.trade_at(candle.symbol, candle.open)
        return Step(closed, opened)

    def trade_at(self, symbol: Symbol, price: Decimal, quantity: Decimal | None = None) -> None:
        """The market trades at `price` now, at most `quantity` (default: as its depth allows) with what rests here."""
        limit = self.depth.get(symbol) if quantity is None else quantity
        self._book(symbol, self._matchers[symbol].move(price, limit))

    def set_depth(self, symbol: Symbol, depth: Decimal | None) -> None:
        """From now on the market trades at most `depth` (base) at each price that it moves to; None is without end."""
        if depth is None:
            self.depth.pop(symbol, None)
        else:
            self.depth[symbol] = depth
        self._matchers[symbol].liquidity = depth

    def _close(self, candle: Candle) -> None:
        """Lead the price through the bar."""
        for price in waypoints(candle, self.tape.opening(candle.symbol, self.position)):
            self.trade_at(candle.symbol, price)
        if candle.volume:
            self._publish(candle.symbol, Side.BUY, candle.close, candle.volume)

    def change_market(self, market: Market) -> None:
        """Give a market other rules; orders that rest keep theirs."""
        self.markets[market.symbol] = self.by_pair[pair_of(market)] = market
        self._matchers[market.symbol].market = market

    def holdings(self, account: Account) -> dict[str, Holding]:
        """What an account owns, by currency."""
        return account.holdings

    def transfer(self, account: Account, currency: str, amount: Decimal) -> None:
        """Move money in, or out when `amount` is below zero. Raises Refusal when it is not there."""
        self.accounts.transfer(account, currency, amount)
        holding = account.holding(currency)
        kind, held = "deposit" if amount > 0 else "withdraw", (holding.available, holding.locked)
        change = BalanceChange(holding.updates, self.clock.now(), currency, kind, amount, ZERO, *held)
        self.changes[account.uid].append(change)
        self._tell([balance_notice(account, "", change)])

    # -- orders -------------------------------------------------------------------------------------------------

    def place(
        self,
        account: Account,
        request: OrderRequest,
        text: str,
        *,
        received: Millis | None = None,
        ends: str | None = None,
    ) -> SimOrder:
        """Match an order that passed the entry checks; refused when the market halted or the money is not there.

        `received` is when its request arrived (default: now). `ends` ends it unmatched, for this reason.
        """
        self.require_open(request.symbol)
        if self.strict_text and (account.uid, text) in self._texts:
            raise Refusal("REPEATED_CREATION", f"An order with the text {text} was created already")
        market = self.markets[request.symbol]
        now = self.clock.now()
        match = MatchOrder.of(str(self._next()), request)
        order = SimOrder(match, account, market, text, now, now, now if received is None else received)
        before = holdings_of(account, market)
        self._lock(order, request.cost if request.cost is not None else request.quantity or ZERO, request.price)
        self._resting[match.id] = order
        fills: list[Fill] = []
        if ends is None:
            fills = self._matchers[market.symbol].submit(match)
        else:
            match.done, match.reason = True, ends
        if ends is None and match.reason in {"poc", "fok"}:
            self._unlock(order)
            raise _ended_at_entry(match.reason)
        self.orders[match.id] = order
        self._texts.add((account.uid, text))
        self._book(market.symbol, fills, order, before, "put")
        return order

    def amend(
        self, account: Account, order: SimOrder, quantity: Decimal, price: Decimal, text: str | None = None
    ) -> SimOrder:
        """Give a resting order another quantity (what is filled included) and price.

        Below what is filled, it is cancelled. Refused when the money is not there, or a post-only order would take.
        """
        match = order.match
        if quantity < match.filled:
            return self.end(order)
        self.require_open(order.market.symbol)
        matcher = self._matchers[order.market.symbol]
        if match.time_in_force is TimeInForce.POST_ONLY and matcher.takes(
            replace(match, quantity=quantity, price=price)
        ):
            raise _ended_at_entry("poc")
        before = holdings_of(account, order.market)
        self._lock(order, quantity - match.filled, price)
        order.amend_text = order.amend_text if text is None else text
        fills = matcher.amend(match.id, quantity=quantity, price=price)
        self._book(order.market.symbol, fills, order, before, "update")
        return order

    def end(self, order: SimOrder, reason: str = "cancelled") -> SimOrder:
        """Take a resting order out and give its money back; `reason` is Gate's word for why it ended."""
        before = holdings_of(order.account, order.market)
        self._matchers[order.market.symbol].cancel(order.match.id)
        order.match.reason = reason
        order.updated = self.clock.now()
        self._release(order)
        self._tell([*self._balances(order, before, "order-cancel"), order_notice(order, "finish")])
        return order

    def end_all(self, account: Account, pair: str | None = None, side: str | None = None) -> list[SimOrder]:
        """Cancel everything of an account that rests, in one market or on one side when these are given."""
        chosen = [order for order in self.resting(account, pair) if side in {None, str(order.match.side)}]
        return [self.end(order) for order in chosen]

    def expire(self) -> None:
        """Cancel what countdowns that ran out were armed for."""
        for uid, pair in self.countdowns.due():
            for account in self.accounts:
                if account.uid == uid:
                    self.end_all(account, pair)

    def find(self, account: Account, pair: str, ident: str) -> SimOrder:
        """An order by venue id, or by client id while it rests; the newest when several carry the same client id."""
        self.market_of(pair)
        if ident.startswith("t-"):
            for order in reversed(self._resting.values()):
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

    def require_open(self, symbol: Symbol) -> None:
        """Refuse what would trade in a market that does not."""
        if self.halted:
            raise Refusal("INVALID_CURRENCY_PAIR", "The market is closed: the replay has ended")
        if self.status[symbol] != TRADABLE:
            raise Refusal("INVALID_CURRENCY_PAIR", f"Trading of {symbol} is suspended")

    # -- booking ------------------------------------------------------------------------------------------------

    def _book(
        self,
        symbol: Symbol,
        fills: list[Fill],
        cause: SimOrder | None = None,
        before: Holdings | None = None,
        event: str = "",
    ) -> None:
        """Move the money of `fills`, then tell their owners.

        `cause` is the order that a customer placed or amended, `before` what he held before that, `event` its name.
        """
        touched = {} if cause is None else {cause.match.id: cause}
        for fill in fills:
            touched.setdefault(fill.order_id, self._resting[fill.order_id])
        held = {order.account.uid: holdings_of(order.account, order.market) for order in touched.values()}
        if cause is not None and before is not None:
            held[cause.account.uid] = before
        now = self.clock.now()
        trades: dict[str, list[SimTrade]] = {ident: [] for ident in touched}
        for fill in fills:
            trades[fill.order_id].append(self._trade(touched[fill.order_id], fill, now))
            if not fill.maker or cause is None:
                self._publish(symbol, fill.side, fill.price, fill.quantity, now)
        for order in touched.values():
            order.updated = now
            if order.match.done:
                self._release(order)
        notices: list[Notice] = []
        for ident, order in touched.items():
            kind = "order-match" if trades[ident] else "order-create" if event == "put" else "order-update"
            # A customer with several orders in this is told his balances once, with the first of them.
            notices += self._balances(order, held.pop(order.account.uid, {}), kind)
            notices += map(trade_notice, trades[ident])
            notices.append(order_notice(order, "finish" if order.match.done else event if order is cause else "update"))
        self._tell(notices)

    def _trade(self, order: SimOrder, fill: Fill, now: Millis) -> SimTrade:
        """Record one execution of `order` and move its money."""
        trade = SimTrade(self._next(), order, fill, now)
        self.trades.append(trade)
        self.traded[order.account.uid].append(trade)
        self._settle(order, fill)
        return trade

    def _balances(self, order: SimOrder, before: Holdings, kind: str) -> list[Notice]:
        """Record what an order changed in its owner's balances; the notices of it."""
        changes = balance_changes(order.account, order.market, before, kind, order.updated)
        self.changes[order.account.uid].extend(changes)
        if self.remember is not None:
            self.remember(order)
        return [balance_notice(order.account, order.pair, change) for change in changes]

    def _tell(self, notices: list[Notice]) -> None:
        if notices:
            self.notify(notices)

    def _lock(self, order: SimOrder, amount: Decimal, price: Decimal | None) -> None:
        """Set aside what `amount` may cost; a market buy's amount is its cost, and has no price."""
        needed = amount * price if order.match.side is Side.BUY and price is not None else amount
        if needed > order.locked:
            order.account.lock(order.lock_currency, needed - order.locked)
        else:
            order.account.unlock(order.lock_currency, order.locked - needed)
        order.locked = needed

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

    def _unlock(self, order: SimOrder) -> None:
        """An order rests no more: give back what it has set aside."""
        self._resting.pop(order.match.id, None)
        order.account.unlock(order.lock_currency, order.locked)
        order.locked = ZERO

    def _release(self, order: SimOrder) -> None:
        """An order that the venue had taken ended."""
        self._unlock(order)
        self.ended[order.account.uid].append(order)

    def _publish(
        self, symbol: Symbol, side: Side, price: Decimal, quantity: Decimal, time: Millis | None = None
    ) -> None:
        moment = self.clock.now() if time is None else time
        self.public[symbol].append(PublicTrade(self._next(), symbol, side, price, quantity, moment))

    def _next(self) -> int:
        self._serial += 1
        return self._serial


def _ended_at_entry(reason: str) -> Refusal:
    if reason == "poc":
        return Refusal("POC_FILL_IMMEDIATELY", "Order would match and take immediately so its cancelled")
    return Refusal("FOK_NOT_FILL", "Order cannot be filled completely")
