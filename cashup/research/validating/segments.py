"""A stretch of time traded on its own: flat before its first decision, flat again after its last bar.

The bars before it are history and warm the strategy up. What is held at the last close is sold there, with slippage and
fee, so that a stretch pays for its own way out and the next one for its own way in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.research.backtest import scenario_of
from cashup.research.funding import Rates
from cashup.research.kernel import Funding, Levels, carry_out, prices_of
from cashup.research.reporting.statistics import returns_of
from cashup.research.rule import check_long_only
from cashup.research.simulation import Scenario, by_kernel
from cashup.research.spec import RunSpec
from cashup.research.trades import positions_of
from cashup.research.validating.splits import Span
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

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
    """One strategy on bars whose first `offset` are nobody's decision; its targets and stops are computed once.

    A target looks back only (`cashup check` holds it to that), so the targets of a stretch are rows of the whole.
    """

    def __init__(self, strategy: Strategy, bars: Bars, offset: int, spec: RunSpec, rates: Rates) -> None:
        self.spec = spec
        self._first = offset - strategy.warmup
        self._whole = scenario_of(strategy, bars, spec, rates)
        check_long_only(self._whole.targets, self._whole.bars)

    def returns(self, span: Span) -> Floats:
        """The bar returns of `trade(span)`, without the making of its tables."""
        cut = self._cut(span, self.spec.capital)
        made = carry_out(
            prices_of(cut.bars), cut.targets.to_numpy(), cut.terms, cut.levels, cut.funding, capital=cut.capital
        )
        equity, last = made.equity.copy(), cut.bars.values[3, -1]
        worth = np.bincount(made.orders["symbol"], made.orders["quantity"], minlength=len(last)) * last
        worth[np.abs(worth) <= DUST * abs(equity[-1])] = 0.0
        # What is long is sold below the close, what is short bought above it; the fee is of that price.
        prices = 1 - np.sign(worth) * self.spec.slippage
        equity[-1] += float((worth * (prices - 1) - np.abs(worth) * prices * self.spec.fee).sum())
        earned: Floats = equity / np.append(cut.capital, equity[:-1]) - 1
        return earned

    def trade(self, span: Span, capital: float | None = None) -> Segment:
        """Decide and trade the bars of `span` (counted from the first decision), beginning and ending flat."""
        cut = self._cut(span, self.spec.capital if capital is None else capital)
        made = by_kernel(cut)
        orders, equity = _sold_out(made.orders, made.equity, cut.bars.close, self.spec)
        return Segment(equity, orders, made.funding, cut.bars.close, cut.capital)

    def _cut(self, span: Span, capital: float) -> Scenario:
        start, stop = self._first + span.start, self._first + span.stop
        whole = self._whole
        return replace(
            whole,
            bars=whole.bars.rows(start, stop),
            targets=whole.targets.iloc[start:stop],
            capital=capital,
            levels=Levels(*(grid if len(grid) < 2 else grid[start:stop] for grid in whole.levels)),
            funding=Funding(*(grid[start:stop] for grid in whole.funding)),
        )


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
