"""A stretch of time traded on its own: flat before its first decision, flat again after its last bar.

The bars before it are history and warm the strategy up. What is held at the last close is sold there, with slippage and
fee, so that a stretch pays for its own way out and the next one for its own way in.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.research.backtest import backtest
from cashup.research.kernel import Terms, carry_out, prices
from cashup.research.rule import check_long_only
from cashup.research.spec import RunSpec
from cashup.research.splits import Span
from cashup.research.statistics import returns_of
from cashup.research.trades import positions_of
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract

Floats = NDArray[np.float64]

DUST = 1e-9
"""Of the equity: what float arithmetic leaves of a closed position is not sold."""


@dataclass(frozen=True)
class Segment:
    """What a stretch came to: as in `Result`; `capital` is the equity before its first bar."""

    equity: pd.Series[float]
    orders: pd.DataFrame
    funding: pd.DataFrame
    close: pd.DataFrame
    capital: float

    @property
    def returns(self) -> Floats:
        """The return of each bar; the first one from `capital`."""
        return returns_of(self.equity, self.capital)


class Tape:
    """Bars whose first `offset` are nobody's decision, and one strategy's targets on all of them, computed once.

    A target looks back only (`cashup check` holds it to that), so the targets of a stretch are rows of the whole.
    """

    def __init__(self, strategy: Strategy, bars: Bars, offset: int, spec: RunSpec) -> None:
        self.strategy = strategy
        self.bars = bars
        self.offset = offset
        self.spec = spec
        self._targets = strategy.targets(bars)
        self._compiled = _is_plain(strategy, spec)
        if self._compiled:
            check_long_only(self._targets.iloc[offset:], bars.rows(offset, len(bars)))

    def returns(self, span: Span) -> Floats:
        """The bar returns of `trade(span)`, without its orders where the compiled pass can do it alone."""
        if not self._compiled:
            return self.trade(span).returns
        first, stop = self.offset + span.start, self.offset + span.stop
        stretch = prices(*self.bars.values[:4, first:stop])
        made = carry_out(
            stretch, self._targets.to_numpy()[first:stop], _terms(self.strategy, self.spec), capital=self.spec.capital
        )
        equity = made.equity.copy()
        held = np.bincount(made.orders["symbol"], made.orders["quantity"], minlength=stretch.close.shape[1])
        worth = held * stretch.close[-1]
        worth[np.abs(worth) <= DUST * abs(equity[-1])] = 0.0
        equity[-1] -= float((np.abs(worth) * (1 - (1 - self.spec.slippage) * (1 - self.spec.fee))).sum())
        before = np.append(self.spec.capital, equity[:-1])
        earned: Floats = equity / before - 1
        return earned

    def trade(self, span: Span, capital: float | None = None) -> Segment:
        """Decide and trade the bars of `span` (counted from the first decision), beginning and ending flat."""
        spec = self.spec if capital is None else replace(self.spec, capital=capital)
        first, stop = self.offset + span.start, self.offset + span.stop
        start = first - self.strategy.warmup
        targets = self._targets.iloc[start:stop].copy()
        targets.iloc[self.strategy.warmup] = targets.iloc[self.strategy.warmup].fillna(0.0)  # nothing before it is kept
        made = backtest(_told(self.strategy, targets), self.bars.rows(start, stop), spec)
        orders, equity = _sold_out(made.orders, made.equity, made.close, spec)
        return Segment(equity, orders, made.funding, made.close, spec.capital)


def _is_plain(strategy: Strategy, spec: RunSpec) -> bool:
    """Whether the compiled pass needs nothing but bars and targets: no stops, no funding, no venue's lots."""
    stops = (strategy.stop_loss, strategy.take_profit, strategy.trailing_stop)
    spot = not any(is_contract(symbol) for symbol in strategy.symbols)
    return spot and not spec.venue_limits and all(stop is None for stop in stops)


def _terms(strategy: Strategy, spec: RunSpec) -> Terms:
    return Terms(
        fee=spec.fee,
        slippage=spec.slippage,
        leverage=strategy.leverage,
        rebalance=math.inf if strategy.rebalance is None else strategy.rebalance,
    )


def _told(strategy: Strategy, targets: pd.DataFrame) -> Strategy:
    """`strategy`, but with targets that are known already."""
    made = copy(strategy)
    made.target = lambda _bars, **_params: targets
    return made


def _sold_out(
    orders: pd.DataFrame, equity: pd.Series[float], close: pd.DataFrame, spec: RunSpec
) -> tuple[pd.DataFrame, pd.Series[float]]:
    """`orders` and `equity` after everything that is held at the last close was sold (or bought back) there."""
    held, prices = positions_of(orders, close).iloc[-1], close.iloc[-1]
    worth = (held * prices).abs() > DUST * abs(float(equity.iloc[-1]))
    held, prices = held[worth], prices[worth]
    if held.empty:
        return orders, equity
    rows: list[dict[str, Any]] = []
    for symbol, quantity, last in zip(held.index, held, prices, strict=True):
        price = float(last) * (1 - np.sign(quantity) * spec.slippage)
        row = {
            "timestamp": close.index[-1],
            "symbol": symbol,
            "side": "sell" if quantity > 0 else "buy",
            "quantity": abs(float(quantity)),
            "price": price,
            "fee": abs(float(quantity)) * price * spec.fee,
            "reason": "end of test",
        }
        rows.append({name: row[name] for name in orders.columns})
    way_out = pd.DataFrame(rows).astype(orders.dtypes.to_dict())
    paid = float((held * (way_out["price"].to_numpy() - prices)).sum() - way_out["fee"].sum())
    after = equity.copy()
    after.iloc[-1] += paid
    return pd.concat([orders, way_out], ignore_index=True), after
