"""The execution rule for the commonest case of a sweep: one symbol, long or out, on no credit, without stops.

    course = course_of(bars)                                    # once
    figures(strategy.wanted(bars), course, terms, capital)      # for every set

The same numbers as `kernel.py` gives (a test holds it to them), of which it keeps what a trial shows. Between two
orders nothing happens but the price. So the bars are looked at where the target turns, and a stretch between two turns
is summed as a whole: the returns of an account that is all in are the price's own, whose sums are known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from cashup.research.kernel import DUST_QUANTITY, DUST_VALUE, Figures, Terms
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract

Line = NDArray[np.float64]
Grid = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])

ALL_IN = 1e-12
"""Cash that is this small beside the position is what rounding left: the account's returns are the price's."""


OPEN, CLOSE, RETURNS, SQUARES = range(4)


class Course(NamedTuple):
    """One symbol's bars: its closes, and rows of open, close, and the running sums of returns and of their squares.

    Returns are from close to close. A pass looks at few bars, far apart: what it wants of one lies together.
    """

    closes: Line
    rows: Grid

    def since(self, first: int) -> Course:
        """The bars from position `first` on, on the same memory."""
        return Course(self.closes[first:], self.rows[first:])


def course_of(bars: Bars) -> Course | None:
    """The course of the bars' symbol; None when there are several, or a price that is no price."""
    if len(bars.symbols) != 1 or not bool((bars.values[[0, 3]] > 0.0).all()):
        return None
    closes = np.ascontiguousarray(bars.values[3, :, 0])
    returns = np.zeros(len(closes))
    returns[1:] = closes[1:] / closes[:-1] - 1.0
    rows = np.column_stack([bars.values[0, :, 0], closes, np.cumsum(returns), np.cumsum(returns * returns)])
    return Course(closes, rows)


def fits(strategy: Strategy) -> bool:
    """Whether this lane can take the strategy; otherwise the kernel does."""
    plain = strategy.leverage == 1.0 and strategy.rebalance is None and strategy.universe is None
    stops = (strategy.stop_loss, strategy.take_profit, strategy.trailing_stop)
    return plain and len(strategy.symbols) == 1 and not is_contract(strategy.symbols[0]) and stops == (None,) * 3


def figures(targets: NDArray[Any], course: Course, terms: Terms, capital: float) -> Figures | None:
    """The figures of the targets (one per bar of `course`, NaN keeps). None when one is below zero."""
    last = len(targets) - 1
    if targets[last] < 0:  # the pass does not come to it, and the kernel's way says what is wrong
        return None
    turned = np.flatnonzero(targets[1:last] != targets[: max(last - 1, 0)])  # NaN, which keeps, changes nothing later
    turns = np.concatenate([np.arange(min(last, 1)), turned + 1, [last]])
    begins, ends = course.rows.take(np.append(0, turns[:-1] + 1), axis=0), course.rows.take(turns, axis=0)
    asked = targets[turns].astype(np.float64)
    made = _pass(course.closes, begins, ends, turns, asked, terms.fee, terms.slippage, capital)
    return None if made[0] != made[0] else Figures(*made)


def _compiled(**options: Any) -> Callable[[F], F]:
    # What a pass calls for each stretch is inlined: to hand arrays on costs as much as the sums themselves.
    def compile_(function: F) -> F:
        made: Any = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        return cast(F, made)

    return compile_


@_compiled()
def _pass(
    closes: Line,
    begins: Grid,
    ends: Grid,
    turns: NDArray[np.int64],
    targets: Line,
    fee: float,
    slippage: float,
    capital: float,
) -> Any:
    """A stretch ends with each of the bars `turns`; `begins` and `ends` are the rows of its first and its last bar.

    `targets` are those of its last bar; the one of the last stretch is not executed.
    """
    cash, held, goal, before = capital, 0.0, 0.0, capital
    peak, lowest, floor, total, squared = capital, capital, 1.0, 0.0, 0.0
    exits = orders = exposed = 0
    fees = turnover = 0.0
    start = 0
    for stretch in range(len(turns)):
        end, target = turns[stretch] + 1, targets[stretch]
        change = (cash + held * begins[stretch, CLOSE]) / before - 1.0
        total += change
        squared += change * change
        if held != 0.0:
            exposed += end - start
            summed = ends[stretch, RETURNS] - begins[stretch, RETURNS]
            summed_squares = ends[stretch, SQUARES] - begins[stretch, SQUARES]
            if abs(cash) > ALL_IN * held * begins[stretch, CLOSE]:
                summed, summed_squares = _earned(closes, start, end, cash, held)
            total += summed
            squared += summed_squares
            peak, lowest, floor = _depth(closes, start, end, cash, held, peak, lowest, floor)
        else:
            peak, lowest = max(peak, cash), min(lowest, cash)
            floor = min(floor, cash / peak)
        before = cash + held * ends[stretch, CLOSE]
        start = end
        if stretch + 1 == len(turns):
            break
        if target < 0.0:
            cash = math.nan
            break
        if target == target and target != goal:
            quantity, price = _order(cash, held, target, begins[stretch + 1, OPEN], fee, slippage)
            if quantity != 0.0:
                paid = abs(quantity) * price * fee
                exits += quantity < 0.0
                orders += 1
                fees += paid
                turnover += abs(quantity) * price
                cash -= quantity * price + paid
                held = 0.0 if quantity == -held else held + quantity
            goal = target
    worth = cash + held * closes[-1]
    trades = exits + (held != 0.0)
    sums = (worth, worth / capital - 1.0, 1.0 - floor, total, squared)
    return (*sums, trades, math.nan, orders, fees, 0.0, turnover, exposed, lowest)


@_compiled(inline="always")
def _order(cash: float, held: float, target: float, opened: float, fee: float, slippage: float) -> tuple[float, float]:
    """The signed quantity that is ordered at this open, and its price."""
    value = target * (cash + held * opened) - held * opened
    if value > 0.0:
        most = cash / (1.0 + slippage + (1.0 + slippage) * fee)
        quantity, price = min(value, most) / opened, opened * (1.0 + slippage)
    else:
        quantity, price = -min(-value / opened, held), opened * (1.0 - slippage)
        if target == 0.0:
            quantity = -held
    size = abs(quantity)
    if size < DUST_QUANTITY or size * opened < DUST_VALUE:
        return 0.0, price
    return quantity, price


@_compiled(fastmath={"reassoc", "contract"})
def _earned(closes: Line, start: int, end: int, cash: float, held: float) -> tuple[float, float]:
    """The sums of the returns after the first bar of a stretch, and of their squares."""
    total = squared = 0.0
    for bar in range(start + 1, end):
        earned = (cash + held * closes[bar]) / (cash + held * closes[bar - 1]) - 1.0
        total += earned
        squared += earned * earned
    return total, squared


@_compiled(inline="always")
def _depth(
    closes: Line, start: int, end: int, cash: float, held: float, peak: float, lowest: float, floor: float
) -> tuple[float, float, float]:
    """The highest and the lowest equity, and the lowest as a ratio of the highest before it."""
    low, high = _extremes(closes, start, end)
    low, high = cash + held * low, cash + held * high
    lowest = min(lowest, low)
    if high <= peak:
        return peak, lowest, min(floor, low / peak)
    if low >= floor * high:  # not even its lowest after its highest is a deeper one
        return high, lowest, floor
    for bar in range(start, end):  # which of them came first decides
        worth = cash + held * closes[bar]
        if worth > peak:
            peak = worth
        elif worth < floor * peak:
            floor = worth / peak
    return peak, lowest, floor


@_compiled(inline="always")
def _extremes(closes: Line, start: int, end: int) -> tuple[float, float]:
    low = high = closes[start]
    for bar in range(start + 1, end):
        low, high = min(low, closes[bar]), max(high, closes[bar])
    return low, high
