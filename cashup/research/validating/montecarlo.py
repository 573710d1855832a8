"""Monte Carlo: what else could have happened with the same trades, or on other bars of the same kind.

Trades shuffled tell how much of a drawdown is the order in which they came; trades drawn anew also vary the result.
Bars resampled in blocks make other histories with the same candles, on which the strategy runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cashup.errors import UsageError
from cashup.research.validating.bootstrap import default_block, stationary_indices
from cashup.strategies.bars import Bars

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from cashup.research.backtest import Backtest
    from cashup.research.result import Result
    from cashup.research.spec import RunSpec
    from cashup.strategies.strategy import Strategy

Floats = NDArray[np.float64]

PERCENTILES = (5, 25, 50, 75, 95)
POINTS = 250
"""Points of a percentile curve."""


@dataclass(frozen=True)
class MonteCarlo:
    """Runs that could have been. Per run `final_equity` (quote currency), `max_drawdown` (ratio, 0 or more).

    `bands` has the percentiles of equity: rows PERCENTILES, columns the steps of `steps` (trades or bars, as `unit`
    says). `equity` is the run as it was, on the same steps.
    """

    method: str
    unit: str
    capital: float
    equity: Floats
    observed_drawdown: float
    final_equity: Floats
    max_drawdown: Floats
    steps: Floats
    bands: Floats
    seed: int

    @property
    def loss_probability(self) -> float:
        """How often the account ends below its capital."""
        return float(np.mean(self.final_equity < self.capital))

    def drawdown(self, percentile: float) -> float:
        """The drawdown that this share of the runs (in percent) does not exceed."""
        return float(np.percentile(self.max_drawdown, percentile))

    def to_json(self) -> dict[str, Any]:
        """The percentiles, and where the run as it was stands among the others."""
        return {
            "method": self.method,
            "samples": len(self.final_equity),
            "seed": self.seed,
            "loss_probability": self.loss_probability,
            "final_equity": {str(p): float(np.percentile(self.final_equity, p)) for p in PERCENTILES},
            "max_drawdown": {str(p): self.drawdown(p) for p in PERCENTILES},
            "observed_final_equity": float(self.equity[-1]),
            "observed_max_drawdown": self.observed_drawdown,
            "drawdown_rank": float(np.mean(self.max_drawdown <= self.observed_drawdown)),
        }

    def plot(self) -> go.Figure:
        """Percentile bands of the equity, and the equity as it was."""
        from cashup.research.validating.pictures import bands

        levels = {f"{p} %": row for p, row in zip(PERCENTILES, self.bands, strict=True)}
        title = f"{len(self.final_equity)} runs by {self.method}"
        return bands(self.steps, levels, self.equity, title=title, axis=self.unit)


def monte_carlo_trades(
    result: Result, *, method: Literal["shuffle", "resample"] = "shuffle", samples: int = 1_000, seed: int = 0
) -> MonteCarlo:
    """The closed and open trades of `result` in other orders (`shuffle`) or drawn with replacement (`resample`).

    A trade is a factor on the account: the equity after its exit over the equity before, exits in order of time, open
    trades at the last close. So the trades as they were give the run's final equity again, and drawdowns are those at
    exits: what happens inside a trade is not seen. Raises UsageError for fewer than 2 trades.
    """
    trades = result.trades
    if len(trades) < 2:
        raise UsageError(f"a shuffle needs at least 2 trades, here are {len(trades)}; take a longer time")
    gains = trades.sort_values("exit_time", kind="stable")["pnl"].to_numpy(dtype=np.float64)
    account: Floats = result.capital + np.cumsum(gains)
    factors = _factors(account, result.capital)
    random = np.random.default_rng(seed)
    if method == "shuffle":
        drawn = random.permuted(np.broadcast_to(factors, (samples, len(factors))), axis=1)
    elif method == "resample":
        drawn = random.choice(factors, (samples, len(factors)))
    else:
        raise UsageError(f"trades are drawn by 'shuffle' or 'resample', not by {method!r}")
    paths = _compounded(drawn, result.capital)
    return _summary(f"trade {method}", "trades", result.capital, account, paths, seed)


def monte_carlo_returns(
    result: Result, *, samples: int = 1_000, block: float | None = None, seed: int = 0
) -> MonteCarlo:
    """The bar returns of `result` drawn anew in blocks of `block` bars on average (default: as their memory asks).

    Stationary bootstrap: Politis and Romano 1994. It keeps the strategy's own decisions; `monte_carlo_bars` does not.
    """
    equity = _equity(result)
    if len(equity) < 4:
        raise UsageError(f"{len(equity)} bars are too few to resample; take a longer time")
    factors = _factors(equity, result.capital)
    length = default_block(factors) if block is None else block

    def run(random: np.random.Generator) -> Floats:
        return _compounded(factors[stationary_indices(len(factors), length, random)], result.capital)

    return _runs(run, "block bootstrap of returns", result.capital, equity, samples, seed)


def monte_carlo_bars(
    strategy: Strategy,
    bars: Bars,
    spec: RunSpec,
    *,
    samples: int = 100,
    block: float | None = None,
    seed: int = 0,
    observed: Backtest | None = None,
) -> MonteCarlo:
    """Run `strategy` again on `samples` histories made of the blocks of `bars` (default length: as the returns ask).

    The same times are drawn for all symbols. `observed` is the backtest on `bars` itself when it is there already.
    """
    from cashup.research.backtest import backtest, rates_of, scenario_of
    from cashup.research.rule import check_long_only
    from cashup.research.simulation import by_kernel

    made = backtest(strategy, bars, spec) if observed is None else observed
    closes = bars.close.to_numpy()
    length = default_block(np.abs(np.diff(np.log(closes[:, 0])))) if block is None else block

    rates, _ = rates_of(strategy, bars, spec)  # the rates keep their times: they are not part of the candles

    def run(random: np.random.Generator) -> Floats:
        scenario = scenario_of(strategy, resampled_bars(bars, length, random), spec, rates)
        check_long_only(scenario.targets, scenario.bars)
        return np.asarray(by_kernel(scenario).equity.to_numpy(), dtype=np.float64)

    return _runs(run, "block bootstrap of bars", spec.capital, _equity(made), samples, seed)


def resampled_bars(bars: Bars, block: float, random: int | np.random.Generator) -> Bars:
    """Bars with the times of `bars` and another history: its candles in blocks, one after the other.

    A candle is kept as ratios: its gap to the close before, its body, and its wicks beyond the body, so that the high
    stays the highest and the low the lowest. The first candle starts at the first open. Watched symbols and what lies
    beside the bars are drawn at the same times. Raises UsageError when a symbol lacks bars.
    """
    return _rebuilt(bars, stationary_indices(len(bars), block, np.random.default_rng(random)))


def _rebuilt(bars: Bars, rows: NDArray[np.int64]) -> Bars:
    opened, high, low, close, volume = bars.values
    if np.isnan(close).any():
        raise UsageError(
            "bars are resampled only where every symbol has one at every time; begin after the last listing"
        )
    before = np.vstack([opened[:1], close[:-1]])
    gap, body = (opened / before)[rows], (close / opened)[rows]
    above, below = (high / np.maximum(opened, close))[rows], (low / np.minimum(opened, close))[rows]
    gap[0] = 1.0
    closes = opened[0] * np.cumprod(gap * body, axis=0)
    opens = closes / body
    highs, lows = np.maximum(opens, closes) * above, np.minimum(opens, closes) * below
    return Bars(
        bars.times,
        bars.symbols,
        bars.timeframe,
        np.array([opens, highs, lows, closes, volume[rows]]),
        watched=None if bars.watched is None else _rebuilt(bars.watched, rows),
        beside={name: known[rows] for name, known in bars.beside.items()},
    )


def _runs(
    run: Callable[[np.random.Generator], Floats], method: str, capital: float, equity: Floats, samples: int, seed: int
) -> MonteCarlo:
    """`samples` runs, each from a stream of its own: more samples begin with the same ones. Paths are kept thin."""
    if samples < 1:
        raise UsageError(f"at least one sample is drawn; {samples} were asked for")
    kept = _kept(len(equity))
    final, worst, paths = np.empty(samples), np.empty(samples), np.empty((samples, len(kept)))
    for number, stream in enumerate(np.random.SeedSequence(seed).spawn(samples)):
        path = run(np.random.default_rng(stream))
        final[number], worst[number], paths[number] = path[-1], max_drawdown(path, capital), path[kept]
    return _made(method, "bars", capital, equity, final, worst, paths, kept, seed)


def _summary(method: str, unit: str, capital: float, equity: Floats, paths: Floats, seed: int) -> MonteCarlo:
    worst = max_drawdown(paths, capital)
    kept = _kept(paths.shape[1])
    return _made(method, unit, capital, equity, paths[:, -1], worst, paths[:, kept], kept, seed)


def _made(
    method: str,
    unit: str,
    capital: float,
    equity: Floats,
    final: Floats,
    worst: Floats,
    paths: Floats,
    kept: NDArray[np.int64],
    seed: int,
) -> MonteCarlo:
    return MonteCarlo(
        method=method,
        unit=unit,
        capital=capital,
        equity=equity[kept],
        observed_drawdown=float(max_drawdown(equity, capital)),
        final_equity=final,
        max_drawdown=worst,
        steps=kept.astype(np.float64) + 1,
        bands=np.percentile(paths, PERCENTILES, axis=0),
        seed=seed,
    )


def max_drawdown(paths: Floats, capital: float) -> Any:
    """The largest fall from a peak along the last axis, as a ratio of 0 or more; `capital` is the first peak."""
    peaks = np.maximum(np.maximum.accumulate(paths, axis=-1), capital)
    return (1 - paths / peaks).max(axis=-1)


def _factors(account: Floats, capital: float) -> Floats:
    before = np.concatenate([[capital], account[:-1]])
    if (before <= 0).any():
        raise UsageError("the account was lost on the way, so there is nothing to resample")
    made: Floats = account / before
    return made


def _compounded(factors: Floats, capital: float) -> Floats:
    return np.asarray(capital * np.cumprod(factors, axis=-1), dtype=np.float64)


def _equity(result: Result) -> Floats:
    return np.asarray(result.equity.to_numpy(), dtype=np.float64)


def _kept(length: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, POINTS)).round().astype(np.int64))
