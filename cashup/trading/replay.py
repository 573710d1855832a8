"""Replay: a strategy driven bar by bar through the code that trades live, on a virtual clock, in memory.

Per bar: the trailing window of `warmup + 1` bars -> `strategy.decide` -> planner -> risk -> order state machine ->
matching -> book. What bar t decides is executed at the open of the next bar; the last bar's decision is not executed.
On `rules.ideal_market`s it agrees with the vectorbt backtest; on a venue's markets it shows what rounding costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import VirtualClock
from cashup.errors import DataError, IntegrityError, UsageError
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.state import Claimed, Order, apply
from cashup.strategies.bars import Bars, to_index
from cashup.strategies.strategy import Strategy
from cashup.trading.book import Book, apply_trade
from cashup.trading.planner import Plan, Sizing, decide, plan_buys, plan_sells
from cashup.trading.risk import NO_LIMITS, Decision, Draft, Limits
from cashup.types import ZERO, Market, Millis, Symbol, Trade

Decisions = Literal["window", "frame"]
"""`window`: the strategy sees one trailing window per bar, as live; the truth. `frame`: it is asked once for all bars,
as in a backtest; much faster, and equal as long as a row needs no more than its window."""

Targets = NDArray[np.float64]
"""What was decided at each bar from `warmup` on, but the last: time x symbol, NaN = keep."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An order of a replay: the bar (open time, ms) that decided it, and how it ended."""

    bar: Millis
    order: Order


@dataclass(slots=True)
class Replayed:
    """The outcome of a replay.

    `equity` is marked at the close of every bar from the first decision on (float64, quote currency, index as in
    Bars); `decisions` are (bar, risk decision); `balances` what the account holds at the end, per asset.
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


def replay(
    strategy: Strategy,
    bars: Bars,
    markets: Mapping[Symbol, Market],
    *,
    capital: Decimal,
    slippage: Decimal = ZERO,
    limits: Limits = NO_LIMITS,
    decisions: Decisions | Targets = "window",
) -> Replayed:
    """Replay `strategy` over `bars`, whose first `warmup` bars are history.

    `markets` must know every symbol of the strategy and share one quote currency; `capital` is in that currency.
    `decisions` says how the strategy is asked, or is what `ask` gave: one asking serves replays on several venues.
    Raises DataError when there are not enough bars, UsageError for markets that do not fit, and whatever the
    strategy raises.
    """
    _check_markets(strategy, markets)
    targets = ask(strategy, bars, decisions) if isinstance(decisions, str) else decisions
    run = _Run(strategy, bars, markets, capital, slippage, limits)
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
    for row in range(len(targets)):
        window = bars.rows(row, row + strategy.warmup + 1)
        targets[row] = list(strategy.decide(window).values())
    return targets


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
    limits: Limits
    clock: VirtualClock = field(init=False)
    venue: PaperVenue = field(init=False)
    account: PaperAccount = field(init=False)
    book: Book = field(init=False)
    rebalance: Decimal | None = field(init=False)
    orders: list[Placed] = field(default_factory=list)
    said: list[tuple[Millis, Decision]] = field(default_factory=list)
    holdings: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A venue, an account with the capital on it, and an empty book."""
        self.clock = VirtualClock(int(self.bars.times[0]))
        self.venue = PaperVenue(self.markets.values(), self.clock, slippage=self.slippage)
        quote = self.markets[self.strategy.symbols[0]].quote
        self.account = self.venue.open_account({quote: self.capital})
        self.book = Book(self.capital)
        rebalance = self.strategy.rebalance
        self.rebalance = None if rebalance is None else exact(rebalance)
        self.holdings = [self._holding()]

    def bar(self, position: int, targets: Sequence[float]) -> None:
        """Bar `position` has closed with these targets; execute them at the open of the next."""
        bar = int(self.bars.times[position])
        wanted = {s: None if t != t else exact(t) for s, t in zip(self.strategy.symbols, targets, strict=True)}
        marks = self._prices(0, position + 1)
        self.clock.advance_to(int(self.bars.times[position + 1]))
        verdict = decide(self.book, wanted, marks, rebalance=self.rebalance)
        self.book = self.book.with_targets(verdict.targets) if verdict.targets else self.book
        self.said.extend((bar, decision) for decision in verdict.decisions)
        if verdict.sizing.aims:
            self._trade(bar, verdict.sizing, marks)
            self.holdings.append(self._holding())
        else:
            self.holdings.append(self.holdings[-1])

    def result(self) -> Replayed:
        """Everything that came of it."""
        warmup = self.strategy.warmup
        held = np.array(self.holdings)
        equity = held[:, 0] + (held[:, 1:] * self.bars.values[3, warmup:]).sum(axis=1)
        balances = {asset: balance.total for asset, balance in self.account.balances.items()}
        return Replayed(
            symbols=self.strategy.symbols,
            capital=self.capital,
            book=self.book,
            final_equity=self.book.equity(self._prices(3, len(self.bars) - 1)),
            equity=pd.Series(equity, index=to_index(self.bars.times[warmup:]), name="equity"),
            orders=self.orders,
            trades=self.account.trades,
            decisions=self.said,
            balances=balances,
        )

    def _trade(self, bar: Millis, sizing: Sizing, marks: Mapping[Symbol, Decimal]) -> None:
        """Sells first; the buys are planned from the cash that is there when the sells are booked."""
        for symbol, price in marks.items():
            self.venue.move(symbol, price)
        self._send_all(bar, plan_sells(sizing, self.book, self.markets, limits=self.limits))
        self._send_all(bar, plan_buys(sizing, self.book, self.markets, limits=self.limits, slippage=self.slippage))

    def _send_all(self, bar: Millis, plan: Plan) -> None:
        self.said.extend((bar, decision) for decision in plan.decisions)
        for draft in plan.drafts:
            self.orders.append(Placed(bar, self._send(draft)))

    def _send(self, draft: Draft) -> Order:
        """One order through the state machine until it has ended and all of its trades are booked."""
        request = draft.request(f"t-replay-{len(self.orders) + 1}")
        order = apply(Order.of(request), Claimed())
        seen = len(self.account.trades)
        order = apply(order, self.account.place(request))
        for trade in self.account.trades[seen:]:
            order = apply(order, trade)
            self.book = apply_trade(self.book, trade)
        if not order.settled:
            raise IntegrityError(f"order {order.client_order_id} is {order.state} and lacks {order.missing} in trades")
        return order

    def _prices(self, field_: int, position: int) -> dict[Symbol, Decimal]:
        row = self.bars.values[field_, position].tolist()
        return {symbol: exact(price) for symbol, price in zip(self.strategy.symbols, row, strict=True)}

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
