"""A venue in memory: accounts with balances, orders matched against given prices, on any clock.

`PaperVenue` is the venue: somebody moves its prices (`move`, `publish`). `PaperAccount` is one account on it and works
at once, without waiting: that is what replay drives. `exchanges/paper.py` puts the same account behind the port.

It refuses what a venue refuses (`paper_entry.py`), and accepts a client order id twice as Gate does; a lookup then
finds the newest order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from cashup.clock import Clock
from cashup.errors import IntegrityError
from cashup.exchanges.matching import Fill, Matcher, MatchOrder
from cashup.exchanges.paper_entry import gone, needs, refusal
from cashup.exchanges.paper_frames import order_frame, trade_frame
from cashup.types import (
    MONEY,
    ZERO,
    Balance,
    Candle,
    Frame,
    Market,
    Millis,
    OrderReport,
    OrderRequest,
    ResultClass,
    SendResult,
    Side,
    Symbol,
    TimeInForce,
    Trade,
)


@dataclass(slots=True)
class _Placed:
    """An order on an account: the request, what the matcher made of it, and the balance that it still holds."""

    request: OrderRequest
    match: MatchOrder
    account: PaperAccount
    reserved: Decimal
    updated_at: Millis


class PaperVenue:
    """One venue. `slippage` (a fraction) is what market orders pay on top of the price. `serial` is the last id given
    to an order or a trade."""

    def __init__(self, markets: Iterable[Market], clock: Clock, *, slippage: Decimal = ZERO, serial: int = 0) -> None:
        self.clock = clock
        self.slippage = slippage
        self.serial = serial
        self.matchers: dict[Symbol, Matcher] = {}
        for market in markets:
            self.add(market)
        self.history: dict[tuple[Symbol, str], list[Candle]] = {}
        self._accounts: list[PaperAccount] = []
        self._orders: dict[str, _Placed] = {}
        self._watchers: dict[tuple[Symbol, str], list[asyncio.Queue[Candle]]] = {}

    def add(self, market: Market) -> None:
        """`market` trades here from now on."""
        self.matchers[market.symbol] = Matcher(market, slippage=self.slippage)

    def open_account(self, balances: Mapping[str, Decimal]) -> PaperAccount:
        """A new account that holds `balances` (asset -> amount)."""
        account = PaperAccount(self, balances)
        self._accounts.append(account)
        return account

    def move(self, symbol: Symbol, price: Decimal, liquidity: Decimal | None = None) -> None:
        """`symbol` trades at `price` now; resting orders that it reaches are filled."""
        for account in self._accounts:
            account.fall_due()
        self._book(symbol, self.matchers[symbol].move(price, liquidity))

    def publish(self, candle: Candle) -> None:
        """A candle changed: the price moves to its close, and everybody who watches hears of it."""
        bars = self.history.setdefault((candle.symbol, candle.timeframe), [])
        if bars and bars[-1].time == candle.time:
            bars[-1] = candle
        else:
            bars.append(candle)
        self.move(candle.symbol, candle.close)
        for queue in self._watchers.get((candle.symbol, candle.timeframe), []):
            queue.put_nowait(candle)

    def watch(self, symbols: Sequence[Symbol], timeframe: str) -> tuple[asyncio.Queue[Candle], Callable[[], None]]:
        """A queue that receives every candle published from now on, and a function that ends that."""
        queue: asyncio.Queue[Candle] = asyncio.Queue()
        lists = [self._watchers.setdefault((symbol, timeframe), []) for symbol in symbols]
        for watchers in lists:
            watchers.append(queue)

        def stop() -> None:
            for watchers in lists:
                watchers.remove(queue)

        return queue, stop

    def submit(self, account: PaperAccount, request: OrderRequest, reserved: Decimal) -> _Placed:
        """Match an order whose balance is reserved already."""
        self.serial += 1
        order = MatchOrder.of(str(self.serial), request)
        placed = self.enter(_Placed(request, order, account, reserved, self.clock.now()))
        fills = self.matchers[request.symbol].submit(order)
        self._book(request.symbol, fills)
        if not fills:
            account.changed(placed)
        return placed

    def amend(self, placed: _Placed, request: OrderRequest) -> None:
        """Give a resting order the terms of `request`, whose balance is reserved already."""
        placed.updated_at = self.clock.now()
        quantity, price = request.quantity or ZERO, request.price or ZERO
        fills = self.matchers[request.symbol].amend(placed.match.id, quantity=quantity, price=price)
        self._book(request.symbol, fills)
        if not fills:
            placed.account.changed(placed)

    def enter(self, placed: _Placed) -> _Placed:
        """Write an order down, at the venue and on its account."""
        self._orders[placed.match.id] = placed
        placed.account.placed[placed.match.id] = placed
        return placed

    def forget(self, order_id: str) -> None:
        """An order that has ended is not kept any longer."""
        del self._orders[order_id]

    def _book(self, symbol: Symbol, fills: Sequence[Fill]) -> None:
        """Give every fill to the account of its order, as a trade."""
        for fill in fills:
            placed = self._orders[fill.order_id]
            self.serial += 1
            placed.account.traded(
                placed,
                Trade(
                    trade_id=str(self.serial),
                    exchange_order_id=fill.order_id,
                    client_order_id=placed.request.client_order_id,
                    symbol=symbol,
                    side=fill.side,
                    price=fill.price,
                    quantity=fill.quantity,
                    fee=fill.fee,
                    fee_currency=fill.fee_currency,
                    time=self.clock.now(),
                ),
            )
        for order_id in dict.fromkeys(fill.order_id for fill in fills):
            placed = self._orders[order_id]
            placed.account.changed(placed)


@dataclass(slots=True)
class PaperAccount:
    """One account: balances, orders and trades, all of them in memory. At `cancel_at` whatever rests is cancelled."""

    venue: PaperVenue
    opening: Mapping[str, Decimal]
    placed: dict[str, _Placed] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    balances: dict[str, Balance] = field(init=False)
    cancel_at: Millis | None = None
    _listeners: list[asyncio.Queue[Frame]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put the opening balances on the account."""
        self.balances = {asset: Balance(amount) for asset, amount in self.opening.items()}

    def place(self, request: OrderRequest) -> SendResult:
        """Place an order and say at once what became of it; its fills are the newest of `trades`."""
        self.fall_due()
        refused = refusal(self.venue.matchers.get(request.symbol), request, self.venue.clock.now())
        if refused is not None:
            label, message = refused
            return SendResult(ResultClass.REFUSED, label=label, message=message)
        asset, amount = needs(self.venue.matchers[request.symbol], request)
        held = self.balances.get(asset, Balance(ZERO))
        if amount > max(held.available, ZERO):
            message = f"{amount} {asset} are needed, {held.available} are available"
            return SendResult(ResultClass.REFUSED, label="BALANCE_NOT_ENOUGH", message=message)
        self._set(asset, held.available - amount, held.reserved + amount)
        placed = self.venue.submit(self, request, amount)
        report = self.report(placed)
        ended = report.done and report.filled == 0
        return SendResult(ResultClass.ENDED_AT_ENTRY if ended else ResultClass.ACCEPTED, report, message=report.reason)

    def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        """Cancel a resting order, named by the venue's id or by ours."""
        placed = self._resting(symbol, order_id, expires_at)
        if isinstance(placed, SendResult):
            return placed
        self.venue.matchers[symbol].cancel(placed.match.id)
        placed.updated_at = self.venue.clock.now()
        self.changed(placed)
        return SendResult(ResultClass.ACCEPTED, self.report(placed))

    def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        """Give a resting order another quantity (all of it) or price, named by the venue's id or by ours.

        Below what is filled it is cancelled, and a post-only order that would take stays as it is: both as on Gate.
        """
        placed = self._resting(symbol, order_id, expires_at)
        if isinstance(placed, SendResult):
            return placed
        new = replace(
            placed.request,
            quantity=placed.match.quantity if quantity is None else quantity,
            price=placed.match.price if price is None else price,
            expires_at=None,
        )
        if (new.quantity, new.price) == (placed.match.quantity, placed.match.price):
            return SendResult(ResultClass.UNKNOWN, label="NO_CHANGE", message="the order has these terms already")
        if new.quantity is not None and new.quantity < placed.match.filled:
            return self.cancel(symbol, placed.match.id)
        refused = refusal(self.venue.matchers.get(symbol), new, self.venue.clock.now())
        if refused is None and self._would_take(placed, new):
            message = "a post-only order would trade at once on these terms"
            return SendResult(ResultClass.UNKNOWN, label="POC_FILL_IMMEDIATELY", message=message)
        refused = refused or self._hold(placed, new)
        if refused is not None:
            label, message = refused
            return SendResult(ResultClass.REFUSED, label=label, message=message)
        self.venue.amend(placed, new)
        return SendResult(ResultClass.ACCEPTED, self.report(placed))

    def _resting(self, symbol: Symbol, order_id: str, expires_at: Millis | None) -> _Placed | SendResult:
        """The order when it rests, else what the venue answers instead."""
        self.fall_due()
        if expires_at is not None and self.venue.clock.now() > expires_at:
            return SendResult(ResultClass.REFUSED, label="REQUEST_EXPIRED", message="it came after its own deadline")
        placed = self.placed.get(order_id)
        if placed is None:
            named = [p for p in self.placed.values() if p.request.client_order_id == order_id and not p.match.done]
            placed = named[-1] if named else None
        if placed is None or placed.request.symbol != symbol:
            return gone(order_id, None)
        return gone(order_id, placed.match.reason) if placed.match.done else placed

    def _would_take(self, placed: _Placed, new: OrderRequest) -> bool:
        """True for a post-only order that would trade at once on its new terms."""
        if new.time_in_force is not TimeInForce.POST_ONLY:
            return False
        return self.venue.matchers[new.symbol].takes(replace(placed.match, quantity=new.quantity, price=new.price))

    def _hold(self, placed: _Placed, new: OrderRequest) -> tuple[str, str] | None:
        """Hold what the new terms need beyond what is filled; Gate's label and a sentence when it is not there."""
        left = (new.quantity or ZERO) - placed.match.filled
        asset, amount = needs(self.venue.matchers[new.symbol], replace(new, quantity=left))
        held = self.balances[asset]
        more = amount - placed.reserved
        if more > max(held.available, ZERO):
            return "BALANCE_NOT_ENOUGH", f"{more} {asset} more are needed, {held.available} are available"
        self._set(asset, held.available - more, held.reserved + more)
        placed.reserved = amount
        placed.request = new
        return None

    def cancel_all(self, symbol: Symbol) -> list[OrderReport]:
        """Cancel everything that rests in one market; the orders that it ended."""
        resting = [report for report in self.reports(symbol) if not report.done]
        answers = [self.cancel(symbol, report.exchange_order_id) for report in resting]
        return [answer.report for answer in answers if answer.report is not None]

    def arm_countdown(self, seconds: int) -> Millis | None:
        """Cancel everything that rests in `seconds`, 0 for never; when that will be."""
        self.fall_due()
        self.cancel_at = self.venue.clock.now() + seconds * 1000 if seconds else None
        return self.cancel_at

    def fall_due(self) -> None:
        """Cancel what rests if the countdown has run out."""
        if self.cancel_at is None or self.venue.clock.now() < self.cancel_at:
            return
        self.cancel_at = None
        for ident, placed in self.placed.items():
            if not placed.match.done:
                self.cancel(placed.request.symbol, ident)

    def restore(self, request: OrderRequest, match: MatchOrder, reserved: Decimal, updated_at: Millis) -> None:
        """Let an order rest that rested before this account was in memory; the balances hold `reserved` already."""
        self.venue.enter(_Placed(request, match, self, reserved, updated_at))
        self.venue.matchers[request.symbol].restore(match)

    def forget(self, order_id: str) -> None:
        """Drop an order that has ended; whoever wants it later has written it down."""
        del self.placed[order_id]
        self.venue.forget(order_id)

    def reports(self, symbol: Symbol | None = None) -> list[OrderReport]:
        """Every order ever placed (of one symbol), oldest first."""
        self.fall_due()
        return [self.report(p) for p in self.placed.values() if symbol is None or p.request.symbol == symbol]

    def report(self, placed: _Placed) -> OrderReport:
        """An order as the venue shows it."""
        match = placed.match
        return OrderReport(
            client_order_id=placed.request.client_order_id,
            exchange_order_id=match.id,
            symbol=placed.request.symbol,
            side=match.side,
            filled=match.filled,
            done=match.done,
            reason=match.reason,
            updated_at=placed.updated_at,
            quantity=match.quantity,
            average_price=MONEY.divide(match.spent, match.filled) if match.filled else None,
            price=match.price,
        )

    def traded(self, placed: _Placed, trade: Trade) -> None:
        """Move the money of one fill: what was reserved for it goes out, what it brings comes in."""
        market = self.venue.matchers[trade.symbol].market
        value = trade.price * trade.quantity
        fee_base = trade.fee if trade.fee_currency == market.base else ZERO
        fee_quote = trade.fee if trade.fee_currency == market.quote else ZERO
        if market.contract:
            bought = trade.side is Side.BUY
            self.credit(trade.symbol, trade.quantity if bought else -trade.quantity)
            self.credit(market.quote, (-value if bought else value) - fee_quote)
        elif trade.side is Side.BUY:
            self._spend(placed, market.quote, value + fee_quote)
            self.credit(market.base, trade.quantity - fee_base)
        else:
            self._spend(placed, market.base, trade.quantity)
            self.credit(market.quote, value - fee_quote)
        placed.updated_at = trade.time
        self.trades.append(trade)
        if self._listeners:
            self._tell(trade_frame(trade))

    def changed(self, placed: _Placed) -> None:
        """An order changed: when it ended, what it still holds is free again."""
        if placed.match.done and placed.reserved:
            asset, _ = needs(self.venue.matchers[placed.request.symbol], placed.request)
            held = self.balances[asset]
            self._set(asset, held.available + placed.reserved, held.reserved - placed.reserved)
            placed.reserved = ZERO
        if self._listeners:
            self._tell(order_frame(self.report(placed)))

    def listen(self) -> tuple[asyncio.Queue[Frame], Callable[[], None]]:
        """A queue that receives every private frame from now on, and a function that ends that."""
        queue: asyncio.Queue[Frame] = asyncio.Queue()
        self._listeners.append(queue)
        return queue, lambda: self._listeners.remove(queue)

    def _spend(self, placed: _Placed, asset: str, amount: Decimal) -> None:
        """Take `amount` out of what the order holds."""
        held = self.balances[asset]
        if amount > placed.reserved:
            raise IntegrityError(f"order {placed.match.id} took {amount} {asset} and had {placed.reserved} reserved")
        placed.reserved -= amount
        self._set(asset, held.available, held.reserved - amount)

    def credit(self, asset: str, amount: Decimal) -> None:
        """Put `amount` on the account (below zero: take it), such as a funding payment. A contract is an asset of its
        own, below zero when it is short, and its value is booked against the quote currency."""
        held = self.balances.get(asset, Balance(ZERO))
        self._set(asset, held.available + amount, held.reserved)

    def _set(self, asset: str, available: Decimal, reserved: Decimal) -> None:
        self.balances[asset] = Balance(available, reserved)

    def _tell(self, frame: Frame) -> None:
        for queue in self._listeners:
            queue.put_nowait(frame)
