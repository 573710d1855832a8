"""Replay: a strategy driven bar by bar through the code that trades live, on a virtual clock, in memory.

Per bar: the trailing window of `warmup + 1` bars -> `strategy.decide` -> planner -> risk -> order state machine ->
matching -> book. What bar t decides is executed at the open of the next bar; the last bar's decision is not executed.
Contracts are held on margin and pay funding; stops leave a position inside a bar.
On `rules.ideal_market`s it agrees with the backtest; on a venue's markets it shows what rounding costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import VirtualClock, timeframe_millis
from cashup.errors import DataError, IntegrityError, UsageError
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.state import Claimed, Order, apply
from cashup.strategies.bars import Bars, to_index
from cashup.strategies.levels import Distances, distances, windowed_distances
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract
from cashup.trading.book import Book, apply_trade
from cashup.trading.planner import Plan, Sizing, decide, plan_increases, plan_reductions
from cashup.trading.replay_risk import ReplayRisk
from cashup.trading.risk import CALM, Decision, Draft, Margin, Situation, Standing, check_order
from cashup.trading.risk.worth import Breach
from cashup.trading.rules import NO_RULES, Rules
from cashup.trading.stops import Exit, Guard, exit_of, guard_after
from cashup.types import ZERO, Market, Millis, OrderRequest, OrderType, Side, Symbol, TimeInForce, Trade

Decisions = Literal["window", "frame"]
"""`window`: the strategy sees one trailing window per bar, as live; the truth. `frame`: it is asked once for all bars,
as in a backtest; much faster, and equal as long as a row needs no more than its window."""

HALF = Decimal("0.5")

Targets = NDArray[np.float64]
"""What was decided at each bar from `warmup` on, but the last: time x symbol, NaN = keep."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An order of a replay: the bar (open time, ms) that decided it, how it ended, and why it was made."""

    bar: Millis
    order: Order
    reason: str = "target"


@dataclass(frozen=True, slots=True)
class Payment:
    """Funding in the bar that opened at `bar` (ms), in quote currency, below zero when paid."""

    bar: Millis
    symbol: Symbol
    amount: Decimal


@dataclass(frozen=True, slots=True)
class FundingRates:
    """Rates per bar from the first decision on, time x symbol: due at the bar's open, and due later inside it."""

    at_open: NDArray[np.float64]
    inside: NDArray[np.float64]


@dataclass(slots=True)
class Replayed:
    """The outcome of a replay.

    `equity` is marked at the close of every bar from the first decision on (float64, quote currency, index as in
    Bars); `decisions` are (bar, risk decision); `balances` what the account holds at the end, per asset; `breaches`
    (moment, limit on losses that was reached).
    """

    symbols: tuple[Symbol, ...]
    capital: Decimal
    book: Book
    final_equity: Decimal
    equity: pd.Series[float]
    orders: list[Placed]
    trades: list[Trade]
    decisions: list[tuple[Millis, Decision]]
    balances: Mapping[str, Decimal]
    payments: list[Payment]
    breaches: list[tuple[Millis, Breach]]


def replay(
    strategy: Strategy,
    bars: Bars,
    markets: Mapping[Symbol, Market],
    *,
    capital: Decimal,
    slippage: Decimal = ZERO,
    rules: Rules = NO_RULES,
    decisions: Decisions | Targets = "window",
    levels: Distances | None = None,
    funding: FundingRates | None = None,
) -> Replayed:
    """Replay `strategy` over `bars`, whose first `warmup` bars are history.

    `markets` must know every symbol of the strategy and share one quote currency; `capital` is in that currency.
    `rules` are the limits and protections that hold, as live.
    `decisions` says how the strategy is asked, or is what `ask` gave, and `levels` what `ask_levels` gave: one asking
    serves replays on several venues. Without `levels` the stops are asked as `decisions` says, or for all bars at once.
    Raises DataError when there are not enough bars, UsageError for markets that do not fit, and whatever the
    strategy raises.
    """
    _check_markets(strategy, markets)
    asking: Decisions = decisions if isinstance(decisions, str) else "frame"
    targets = ask(strategy, bars, decisions) if isinstance(decisions, str) else decisions
    stops = ask_levels(strategy, bars, asking) if levels is None else levels
    run = _Run(strategy, bars, markets, capital, slippage, rules, stops, funding)
    for position, row in enumerate(targets.tolist(), start=strategy.warmup):
        run.bar(position, row)
    return run.result()


def ask(strategy: Strategy, bars: Bars, decisions: Decisions = "window") -> Targets:
    """The targets of every bar whose decision is executed: all after the warm-up but the last.

    Raises DataError when there is no such bar, and whatever the strategy raises.
    """
    if len(bars) < strategy.warmup + 2:
        raise DataError(
            f"a replay needs the warm-up of {strategy.warmup} bars and two more, and there are {len(bars)}; "
            "load more bars or shorten the warm-up"
        )
    if decisions == "frame":
        return strategy.targets(bars).to_numpy()[strategy.warmup : -1]
    targets = np.empty((len(bars) - 1 - strategy.warmup, len(strategy.symbols)))
    strategy.begin()
    for row in range(len(targets)):
        window = bars.rows(row, row + strategy.warmup + 1)
        targets[row] = list(strategy.decide(window).values())
    return targets


def ask_levels(strategy: Strategy, bars: Bars, decisions: Decisions = "window") -> Distances:
    """The distances of the strategy's stops, asked in the same way; raises whatever the strategy raises."""
    return windowed_distances(strategy, bars) if decisions == "window" else distances(strategy, bars)


def bars_per_second(
    strategy: Strategy, bars: Bars, markets: Mapping[Symbol, Market], *, decisions: Decisions = "window"
) -> float:
    """How many bars a replay of this strategy decides per second on this machine."""
    started = time.monotonic()
    replay(strategy, bars, markets, capital=Decimal(10_000), decisions=decisions)
    return (len(bars) - strategy.warmup) / (time.monotonic() - started)


@dataclass(slots=True)
class _Run:
    """One replay under way."""

    strategy: Strategy
    bars: Bars
    markets: Mapping[Symbol, Market]
    capital: Decimal
    slippage: Decimal
    rules: Rules
    distances: Distances
    funding: FundingRates | None = None
    clock: VirtualClock = field(init=False)
    venue: PaperVenue = field(init=False)
    account: PaperAccount = field(init=False)
    book: Book = field(init=False)
    rebalance: Decimal | None = field(init=False)
    leverage: Decimal | None = field(init=False)
    orders: list[Placed] = field(default_factory=list)
    said: list[tuple[Millis, Decision]] = field(default_factory=list)
    holdings: list[tuple[float, ...]] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    marks: dict[Symbol, Decimal] = field(default_factory=dict)
    newest: dict[Symbol, Decimal] = field(default_factory=dict)
    guards: dict[Symbol, Guard] = field(default_factory=dict)
    stopped: frozenset[Symbol] = frozenset()
    risk: ReplayRisk | None = None
    length: Millis = 0

    def __post_init__(self) -> None:
        """A venue, an account with the capital on it, and an empty book."""
        self.clock = VirtualClock(int(self.bars.times[0]))
        self.venue = PaperVenue(self.markets.values(), self.clock, slippage=self.slippage)
        quote = self.markets[self.strategy.symbols[0]].quote
        self.account = self.venue.open_account({quote: self.capital})
        self.book = Book(self.capital)
        rebalance = self.strategy.rebalance
        self.rebalance = None if rebalance is None else exact(rebalance)
        on_margin = any(is_contract(symbol) for symbol in self.strategy.symbols)
        self.leverage = exact(self.strategy.leverage) if on_margin else None
        self.holdings = [self._holding()]
        if self.rules != NO_RULES:
            self.risk = ReplayRisk(self.rules)
        self.length = timeframe_millis(self.strategy.timeframe)

    def bar(self, position: int, targets: Sequence[float]) -> None:
        """Bar `position` has closed with these targets; live through the next one."""
        before = self.book
        self.clock.advance_to(int(self.bars.times[position + 1]))
        opens = self._prices(0, position + 1)
        if self.risk is not None:
            self.risk.closes = dict(self.marks)
        self.marks |= opens
        self._look_after_losses()
        if self.funding is not None:
            self._pay(position, self.funding.at_open)
        self._decide(position, targets, opens)
        if self.funding is not None:
            self._pay(position, self.funding.inside)
        if self.distances:
            self._watch_stops(position, opens)
        self.marks |= self._prices(3, position + 1)
        self._look_after_losses(self.length - 1)
        self.holdings.append(self.holdings[-1] if self.book is before else self._holding())

    def _decide(self, position: int, targets: Sequence[float], opens: Mapping[Symbol, Decimal]) -> None:
        """Trade what was decided at the open; a symbol that has none waits with its newest target."""
        bar = int(self.bars.times[position])
        self.newest |= {s: exact(t) for s, t in zip(self.strategy.symbols, targets, strict=True) if t == t}
        wanted = {symbol: self.newest.get(symbol) for symbol in opens}
        changed = {s for s, t in wanted.items() if t is not None and t != self.book.targets.get(s, ZERO)}
        verdict = decide(
            self.book, wanted, self.marks, rebalance=self.rebalance, leverage=self.leverage, stopped=self.stopped
        )
        self.book = self.book.with_targets(verdict.targets) if verdict.targets else self.book
        self.stopped -= changed & verdict.targets.keys()
        self.said.extend((bar, decision) for decision in verdict.decisions)
        if verdict.sizing.aims:
            self._trade(bar, verdict.sizing, opens, changed)

    def result(self) -> Replayed:
        """Everything that came of it."""
        warmup = self.strategy.warmup
        held = np.array(self.holdings)
        close = pd.DataFrame(self.bars.values[3, warmup:]).ffill().fillna(0.0).to_numpy()
        equity = held[:, 0] + (held[:, 1:] * close).sum(axis=1)
        balances = {asset: balance.total for asset, balance in self.account.balances.items()}
        return Replayed(
            symbols=self.strategy.symbols,
            capital=self.capital,
            book=self.book,
            final_equity=self.book.equity(self.marks),
            equity=pd.Series(equity, index=to_index(self.bars.times[warmup:]), name="equity"),
            orders=self.orders,
            trades=self.account.trades,
            decisions=self.said,
            balances=balances,
            payments=self.payments,
            breaches=[] if self.risk is None else self.risk.breaches,
        )

    def _trade(self, bar: Millis, sizing: Sizing, opens: Mapping[Symbol, Decimal], changed: set[Symbol]) -> None:
        """Reductions first; the increases are planned from what is there when the reductions are booked."""
        for symbol, price in opens.items():
            self.venue.move(symbol, price)
        reductions = plan_reductions(sizing, self.book, self.markets, standing=self._standing())
        self._send_all(bar, reductions, changed)
        increases = plan_increases(
            sizing,
            self.book,
            self.markets,
            standing=self._standing(),
            slippage=self.slippage,
            margin=self._margin(),
        )
        self._send_all(bar, increases, changed)
        if self.risk is not None:
            held = reductions.held_back(sizing, self.book) | increases.held_back(sizing, self.book)
            self.book = self.book.with_targets(held) if held else self.book

    def _look_after_losses(self, later: Millis = 0) -> None:
        """Measure at the open of a bar, and at its close, `later`."""
        if self.risk is not None:
            self.risk.look(self.book, self.capital, self.marks, self.clock.now() + later)

    def _standing(self) -> Standing:
        """What surrounds an order now."""
        return CALM if self.risk is None else self.risk.standing(self.book, self.marks, self.clock.now())

    def _margin(self) -> Margin | None:
        """What may be held on credit; None on a spot account."""
        if self.leverage is None:
            return None
        values = [self.book.quantity(symbol) * mark for symbol, mark in self.marks.items()]
        gross = sum((abs(value) for value in values), ZERO)
        return Margin(self.book.cash + sum(values, ZERO), gross, self.leverage, self.slippage)

    def _send_all(self, bar: Millis, plan: Plan, changed: set[Symbol]) -> None:
        self.said.extend((bar, decision) for decision in plan.decisions)
        for draft in plan.drafts:
            order = self._send(draft.request(f"t-replay-{len(self.orders) + 1}"))
            self.orders.append(Placed(bar, order, "target" if draft.symbol in changed else "rebalance"))

    def _send(self, request: OrderRequest, then: Decimal | None = None, reason: str = "target") -> Order:
        """One order through the state machine until it has ended and all of its trades are booked.

        One that rests is filled when its market has moved to `then`.
        """
        order = apply(Order.of(request), Claimed())
        if self.risk is not None:
            self.risk.made(self.clock.now())
        seen = len(self.account.trades)
        order = apply(order, self.account.place(request))
        if then is not None:
            self.venue.move(request.symbol, then)
        for trade in self.account.trades[seen:]:
            order = apply(order, trade)
            self.book = apply_trade(self.book, trade)
            self._guard(trade)
            if self.risk is not None:
                self.risk.booked(trade, self.markets[trade.symbol], reason)
        if not order.settled:
            raise IntegrityError(f"order {order.client_order_id} is {order.state} and lacks {order.missing} in trades")
        return order

    def _guard(self, trade: Trade) -> None:
        guard = guard_after(self.guards.pop(trade.symbol, None), trade) if self.distances else None
        if guard is not None:
            self.guards[trade.symbol] = guard

    def _watch_stops(self, position: int, opens: Mapping[Symbol, Decimal]) -> None:
        """Leave what has reached a stop or its profit in the bar after `position`."""
        highs, lows = self._prices(1, position + 1), self._prices(2, position + 1)
        for column, symbol in enumerate(self.strategy.symbols):
            guard = self.guards.get(symbol)
            if guard is None or symbol not in opens:
                continue
            self.guards[symbol] = guard.after(highs[symbol], lows[symbol])
            found = exit_of(guard, opens[symbol], highs[symbol], lows[symbol], self._levels(position, column))
            if found is not None:
                self._leave(int(self.bars.times[position]), symbol, found)

    def _levels(self, position: int, column: int) -> dict[str, Decimal]:
        """The distances of the stops that hold after bar `position`, by name."""
        rows = {name: float(grid[0 if len(grid) == 1 else position, column]) for name, grid in self.distances.items()}
        return {name: exact(distance) for name, distance in rows.items() if distance == distance}

    def _leave(self, bar: Millis, symbol: Symbol, found: Exit) -> None:
        """Close a position inside a bar: a stop at the market, a profit with an order that rested."""
        held, market = self.book.quantity(symbol), self.markets[symbol]
        side = Side.SELL if held > 0 else Side.BUY
        quantity = market.round_quantity(abs(held))
        draft = Draft(symbol, side, found.price, ZERO, -held * found.price, quantity=quantity)
        allowed, said = check_order(draft, Situation(market, self.book.cash, standing=self._standing()))
        self.said.extend((bar, decision) for decision in said)
        self.stopped |= {symbol}
        if allowed is None:
            return
        request = allowed.request(f"t-replay-{len(self.orders) + 1}")
        if found.rests:
            price = market.round_price(found.price)
            request = replace(request, type=OrderType.LIMIT, price=price, time_in_force=TimeInForce.GTC)
            self.venue.move(symbol, price * (HALF if side is Side.SELL else 1 + HALF))  # from afar, so that it rests
            order = self._send(request, then=price, reason=found.reason)
        else:
            self.venue.move(symbol, found.price)
            order = self._send(request, reason=found.reason)
        self.orders.append(Placed(bar, order, found.reason))

    def _pay(self, position: int, rates: NDArray[np.float64]) -> None:
        """Funding in the bar after `position`, on the value of the positions at its open."""
        row = rates[position + 1 - self.strategy.warmup].tolist()
        for symbol, rate in zip(self.strategy.symbols, row, strict=True):
            held = self.book.quantity(symbol)
            if not held or not rate:
                continue
            amount = -held * self.marks[symbol] * exact(rate)
            self.book = replace(self.book, cash=self.book.cash + amount)
            self.account.credit(self.markets[symbol].quote, amount)
            self.payments.append(Payment(int(self.bars.times[position + 1]), symbol, amount))

    def _prices(self, field_: int, position: int) -> dict[Symbol, Decimal]:
        """The prices of one bar; a symbol that has none (not listed) is left out."""
        row = self.bars.values[field_, position].tolist()
        return {
            symbol: exact(price) for symbol, price in zip(self.strategy.symbols, row, strict=True) if price == price
        }

    def _holding(self) -> tuple[float, ...]:
        """Cash and the quantity of each symbol, for the equity curve."""
        return (float(self.book.cash), *(float(self.book.quantity(symbol)) for symbol in self.strategy.symbols))


def exact(number: float) -> Decimal:
    """A float as the decimal number that it is written as: 0.1 becomes 0.1, not its binary neighbour."""
    return Decimal(repr(number))


def _check_markets(strategy: Strategy, markets: Mapping[Symbol, Market]) -> None:
    missing = [symbol for symbol in strategy.symbols if symbol not in markets]
    if missing:
        raise UsageError(f"there are no market rules for {', '.join(missing)}; add them to the venue")
    quotes = {markets[symbol].quote for symbol in strategy.symbols}
    if len(quotes) > 1:
        raise UsageError(f"one deployment has one quote currency; these symbols have {', '.join(sorted(quotes))}")
