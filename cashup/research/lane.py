"""The execution rule for the commonest case of a sweep: one symbol, long or out, on no credit, without stops.

The same numbers as `kernel.py` gives (a test holds it to them), of which it keeps what a trial shows. Between two
orders nothing happens but the price, so a stretch is summed as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from cashup.research.kernel import DUST_QUANTITY, DUST_VALUE, Figures
from cashup.research.simulation import Scenario

Line = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])


def fits(scenario: Scenario) -> bool:
    """Whether this lane can take it; otherwise the kernel does."""
    return (
        len(scenario.bars.symbols) == 1
        and scenario.terms.leverage == 1.0
        and scenario.terms.rebalance == math.inf
        and not any(len(grid) for grid in (*scenario.levels, *scenario.funding))
    )


def figures(scenario: Scenario) -> Figures | None:
    """The figures of a scenario that fits; None when a target is below zero or a price is missing."""
    opens, _, _, closes = (np.ascontiguousarray(field[:, 0]) for field in scenario.bars.values[:4])
    targets = np.ascontiguousarray(scenario.targets.to_numpy()[:, 0])
    made = _pass(opens, closes, targets, scenario.terms.fee, scenario.terms.slippage, scenario.capital)
    return None if made[0] != made[0] else Figures(*made)


def _compiled(**options: Any) -> Callable[[F], F]:
    def compile_(function: F) -> F:
        made: Any = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        return cast(F, made)

    return compile_


@_compiled()
def _pass(opens: Line, closes: Line, targets: Line, fee: float, slippage: float, capital: float) -> Any:
    bars = len(closes)
    cash, held, goal, before = capital, 0.0, 0.0, capital
    peak, lowest, floor, total, squares = capital, capital, 1.0, 0.0, 0.0
    exits = orders = exposed = 0
    fees = turnover = 0.0
    bar = 0
    while bar < bars:
        if bar:
            target = targets[bar - 1]
            equity = cash + held * opens[bar]
            if target < 0.0 or equity != equity:
                cash = math.nan
                break
            if target == target and target != goal and equity > 0.0:
                value = target * equity - held * opens[bar]
                quantity, price = _order(value, cash, held, target, opens[bar], fee, slippage)
                if quantity != 0.0:
                    paid = abs(quantity) * price * fee
                    exits += quantity < 0.0
                    orders += 1
                    fees += paid
                    turnover += abs(quantity) * price
                    cash -= quantity * price + paid
                    held = 0.0 if quantity == -held else held + quantity
                goal = target
        end = _until(targets, bar, goal)
        if held != 0.0:
            exposed += end - bar
            summed, squared = _returns(closes, bar, end, cash, held, before)
            total += summed
            squares += squared
            peak, lowest, floor = _depth(closes, bar, end, cash, held, peak, lowest, floor)
            before = cash + held * closes[end - 1]
        else:
            change = cash / before - 1.0
            total += change
            squares += change * change
            peak, lowest = max(peak, cash), min(lowest, cash)
            floor = min(floor, cash / peak)
            before = cash
        bar = end
    worth = cash + held * closes[-1]
    trades = exits + (held != 0.0)
    returns = (worth, worth / capital - 1.0, 1.0 - floor, total, squares)
    return (*returns, trades, math.nan, orders, fees, 0.0, turnover, exposed, lowest)


@_compiled()
def _order(
    value: float, cash: float, held: float, target: float, opened: float, fee: float, slippage: float
) -> tuple[float, float]:
    """The signed quantity that is ordered and its price; `value` is what the position lacks."""
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


@_compiled()
def _until(targets: Line, bar: int, goal: float) -> int:
    """The first bar after `bar` at whose open the target is another one."""
    last = len(targets) - 1
    while bar < last:
        target = targets[bar]
        if target != goal and target == target:
            break
        bar += 1
    return bar + 1


@_compiled(fastmath={"reassoc", "contract"})
def _returns(closes: Line, start: int, end: int, cash: float, held: float, before: float) -> tuple[float, float]:
    """The sums of the returns and of their squares; the first one is from `before`."""
    change = (cash + held * closes[start]) / before - 1.0
    total, squares = change, change * change
    for bar in range(start + 1, end):
        earned = (cash + held * closes[bar]) / (cash + held * closes[bar - 1]) - 1.0
        total += earned
        squares += earned * earned
    return total, squares


@_compiled()
def _depth(
    closes: Line, start: int, end: int, cash: float, held: float, peak: float, lowest: float, floor: float
) -> tuple[float, float, float]:
    """The highest and the lowest equity, and the lowest as a ratio of the highest before it."""
    for bar in range(start, end):
        worth = cash + held * closes[bar]
        if worth > peak:
            peak = worth
        elif worth < floor * peak:
            floor = worth / peak
        lowest = min(lowest, worth)
    return peak, lowest, floor
