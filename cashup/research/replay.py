"""A replay beside the backtest of the same strategy on the same bars, and beside the venue's lots and ticks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from cashup.clock import isoformat
from cashup.markets.lake import Lake
from cashup.research.backtest import Backtest, backtest, bars_of, rates_of
from cashup.research.history import priced, waiting
from cashup.research.result import Result
from cashup.research.spec import RunSpec
from cashup.research.venue import funding_rates, ideal_markets, orders_of, payments_of, venue_markets
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy
from cashup.trading.parity import Line, Parity, Record, compare
from cashup.trading.replay import Decisions, Replayed, ask, ask_levels, exact, replay
from cashup.trading.rules import NO_RULES, Rules
from cashup.types import MONEY, Market, Side, Symbol

TOLERANCE = Decimal("1e-9")
"""The fraction by which a float64 backtest may differ from the same in Decimal."""


class Replay(Result):
    """What came of a replay, with the statistics and the picture of a backtest. `exact` holds it in Decimal."""

    title = "replay"

    def __init__(self, strategy: Strategy, bars: Bars, exactly: Replayed) -> None:
        super().__init__(
            equity=exactly.equity,
            orders=orders_of(exactly),
            funding=payments_of(exactly),
            close=bars.close.iloc[strategy.warmup :],
            timeframe=strategy.timeframe,
            capital=float(exactly.capital),
        )
        self.exact = exactly


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """One strategy three times on the same bars: the backtest, the replay without steps, the replay on the venue.

    `parity` compares the first two; `venue` against `ideal` is what the venue's steps cost.
    """

    backtest: Backtest
    ideal: Replay
    venue: Replay
    parity: Parity

    @property
    def rounding_cost(self) -> Decimal:
        """Final equity lost to lots, ticks and minimums, in quote currency (negative when they helped)."""
        return self.ideal.exact.final_equity - self.venue.exact.final_equity

    @property
    def rounding_cost_ratio(self) -> Decimal:
        """The same as a fraction of the final equity without steps."""
        final = self.ideal.exact.final_equity
        return MONEY.divide(self.rounding_cost, final) if final else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """The replay's figures, then `backtest`, `parity`, `venue` and `rounding`; money as text, ratios as numbers.

        `parity`: equal, matched, differences, first_differences, equity_difference (replay / backtest - 1).
        `venue`: final_equity, orders, balances per asset, how often each risk decision was taken, and the limits on
        losses that were reached (`breaches`).
        `rounding`: cost in quote currency and as a ratio.
        """
        venue = self.venue.exact
        return self.ideal.metrics() | {
            "exact_final_equity": str(self.ideal.exact.final_equity),
            "orders": len(self.ideal.exact.orders),
            "bars": len(self.ideal.equity),
            "symbols": list(self.ideal.exact.symbols),
            "timeframe": self.ideal.timeframe,
            "first_bar": self.ideal.equity.index[0].isoformat(),
            "last_bar": self.ideal.equity.index[-1].isoformat(),
            "data_version": self.backtest.data_version,
            "backtest": self.backtest.metrics() | {"orders": len(self.backtest.orders)},
            "parity": self.parity.to_json(),
            "venue": self.venue.metrics()
            | {
                "exact_final_equity": str(venue.final_equity),
                "orders": len(venue.orders),
                "balances": {asset: str(amount) for asset, amount in sorted(venue.balances.items())},
                "decisions": dict(sorted(Counter(decision.code for _, decision in venue.decisions).items())),
                "breaches": [{"at": at, "code": one.code, "reason": one.reason} for at, one in venue.breaches],
            },
            "rounding": {"cost": str(self.rounding_cost), "cost_ratio": float(self.rounding_cost_ratio)},
        }

    def report(self) -> str:
        """The comparison for people."""
        verdict = "replay and backtest agree" if self.parity.equal else "REPLAY AND BACKTEST DIFFER"
        venue = self.venue.exact
        return "\n".join(
            [
                f"{verdict}:",
                *(f"  {line}" for line in self.parity.report().splitlines()),
                "with the venue's lots, ticks and minimums:",
                f"  {len(venue.orders)} orders, final equity {venue.final_equity:.2f}; "
                f"rounding costs {self.rounding_cost:.2f} ({self.rounding_cost_ratio:.4%})",
                *(f"  {isoformat(at)} {one.code}: {one.reason}" for at, one in venue.breaches),
            ]
        )


def replay_report(
    strategy: Strategy, lake: Lake, spec: RunSpec, *, decisions: Decisions = "window", rules: Rules = NO_RULES
) -> ReplayReport:
    """Backtest and replay `strategy` on the bars that `spec` names.

    `rules` hold in the replay on the venue only: a backtest knows no limits, and the first replay must agree with it.
    Raises DataError when the lake lacks bars, NotebookError for a target that breaks the contract.
    """
    bars = bars_of(strategy, spec, lake)
    rates, _ = rates_of(strategy, bars, spec)
    tested = backtest(strategy, bars, replace(spec, venue_limits=False), funding=rates)
    shown, funding = priced(bars), funding_rates(tested.scenario.funding)
    targets = waiting(ask(strategy, bars, decisions), bars, strategy.warmup)
    levels = ask_levels(strategy, bars, decisions)

    def on(markets: Mapping[Symbol, Market], rules: Rules = NO_RULES) -> Replayed:
        return replay(
            strategy,
            shown,
            markets,
            capital=exact(spec.capital),
            slippage=exact(spec.slippage),
            rules=rules,
            decisions=targets,
            levels=levels,
            funding=funding,
        )

    ideal, venue = on(ideal_markets(strategy, spec)), on(venue_markets(lake, strategy, spec), rules)
    parity = compare(backtest_record(tested, bars), Record.of("replay", ideal), tolerance=TOLERANCE)
    return ReplayReport(tested, Replay(strategy, shown, ideal), Replay(strategy, shown, venue), parity)


def backtest_record(tested: Backtest, bars: Bars) -> Record:
    """A backtest as a record: an order belongs to the bar before the one in which it was executed."""
    rows = np.searchsorted(bars.times, pd.DatetimeIndex(tested.orders["timestamp"]).as_unit("ms").asi8) - 1
    lines = [
        Line(int(bars.times[row]), Symbol(symbol), Side(side), exact(quantity), exact(price))
        for row, symbol, side, quantity, price in zip(
            rows,
            tested.orders["symbol"].tolist(),
            tested.orders["side"].tolist(),
            tested.orders["quantity"].tolist(),
            tested.orders["price"].tolist(),
            strict=True,
        )
    ]
    return Record("backtest", lines, exact(float(tested.equity.iloc[-1])))
