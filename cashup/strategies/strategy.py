"""Strategy: what an author hands to `cu.run`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import NotebookError, UsageError
from cashup.strategies.bars import BESIDE, Bars
from cashup.strategies.card import card
from cashup.strategies.state import Kept, declared
from cashup.strategies.symbols import check_symbol, did_you_mean, is_contract
from cashup.strategies.universe import Universe
from cashup.types import Symbol

Target = Callable[..., pd.DataFrame]
"""`target(bars, **params)`: the wanted exposure, time x symbol."""

Level = float | Callable[..., pd.DataFrame]
"""A distance from a price: a fraction such as 0.05, or a function of the bars (and the parameters) that returns one per
bar and symbol, NaN where there is none. A bar's value holds during the next bar."""


class Strategy:
    """A target function with its symbols, timeframe, warm-up and parameters.

    The target function gets `Bars` and the parameters, and returns a DataFrame of the shape of `bars.close`: per bar
    and symbol the wanted exposure as a fraction of equity (0 = out, 1 = all of it, NaN = keep). A row may use its own
    bar and earlier ones only; it is executed at the open of the next bar.

    `warmup` is how many bars the target needs before its first decision. `rebalance` is how far a held exposure may
    drift from its target before it is traded back (default: never).

    `leverage` is the most that all positions together may be worth, in equities (default 1); above 1 it takes
    perpetuals (`BTC/USDT:USDT`), which may also be short: a target below zero. `stop_loss`, `take_profit` and
    `trailing_stop` close a position inside a bar at that fraction from its average entry (the trailing one: from its
    best price since); the symbol then stays out until its target changes.

    `watch` names symbols that the target sees (`bars.watch`) and does not trade; `sees` what it sees beside the bars of
    perpetuals (`["funding", "open_interest"]`: `bars.funding`). With a `universe` (`cu.Universe`) the symbols are
    candidates, and the target of those outside is 0.

    `state` is what `strategy.state` begins with, a dict of JSON values that the target may read and write. It is stored
    with every bar that was decided, and is there again after a death. Such a target is called once per bar, in order,
    with the last `warmup + 1` bars, in every mode; without `state` it is a function of the bars alone.
    Raises NotebookError for what cannot be meant.
    """

    def __init__(
        self,
        target: Target,
        *,
        symbols: Sequence[str],
        timeframe: str,
        warmup: int | None = None,
        params: Mapping[str, Any] | None = None,
        rebalance: float | None = None,
        leverage: float = 1.0,
        stop_loss: Level | None = None,
        take_profit: Level | None = None,
        trailing_stop: Level | None = None,
        watch: Sequence[str] = (),
        sees: Sequence[str] = (),
        universe: Universe | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.target = target
        self.symbols = _check_symbols(symbols)
        self.watch = _check_watch(watch, self.symbols)
        self.timeframe = _check_timeframe(timeframe)
        self.warmup = _check_warmup(warmup)
        self.params: Mapping[str, Any] = MappingProxyType(dict(params or {}))
        self.rebalance = _check_rebalance(rebalance)
        self.leverage = _check_leverage(leverage, self.symbols)
        self.stop_loss = _check_level("stop_loss", stop_loss)
        self.take_profit = _check_level("take_profit", take_profit)
        self.trailing_stop = _check_level("trailing_stop", trailing_stop)
        self.sees = _check_sees(sees, (*self.symbols, *self.watch))
        self.universe = _check_universe(universe, self.warmup, self.timeframe)
        self._kept: Kept | None = declared(state)
        _check_params(target, self.params)

    def __repr__(self) -> str:
        params = "".join(f", {name}={value!r}" for name, value in self.params.items())
        return f"<Strategy {self.name} on {', '.join(self.symbols)} {self.timeframe}, warmup={self.warmup}{params}>"

    def _repr_html_(self) -> str:
        settings = {
            "symbols": ", ".join(self.symbols),
            "watch": ", ".join(self.watch),
            "sees": ", ".join(self.sees),
            "universe": self.universe,
            "timeframe": self.timeframe,
            "warmup": f"{self.warmup} bars",
            "rebalance": self.rebalance,
            "leverage": None if self.leverage == 1 else f"{self.leverage:g}",
            "stop_loss": self.stop_loss,
            "take_profit": self.take_profit,
            "trailing_stop": self.trailing_stop,
            "state": None if self._kept is None else self._kept.declared,
        }
        rows = [(name, value) for name, value in settings.items() if value not in (None, "")]
        params = [(f"params: {name}", repr(value)) for name, value in self.params.items()]
        about = (inspect.getdoc(self.target) or "").partition("\n")[0]
        return card(f"Strategy {self.name}", (), [*rows, *params], about)

    @property
    def name(self) -> str:
        """The name of the target function."""
        return getattr(self.target, "__name__", type(self.target).__name__)

    @property
    def bar_millis(self) -> int:
        """The length of one bar in milliseconds."""
        return timeframe_millis(self.timeframe)

    @property
    def stateful(self) -> bool:
        """True when it keeps a state from bar to bar."""
        return self._kept is not None

    @property
    def state(self) -> dict[str, Any]:
        """What the target keeps from bar to bar. Raises NotebookError when `cu.Strategy` was given no `state`."""
        if self._kept is None:
            raise NotebookError(
                f"{self.name} keeps no state; say what it begins with: cu.Strategy(..., state={{'entered': None}})",
                code="state",
            )
        if self._kept.hidden:
            raise NotebookError("a stop is a function of bars; strategy.state is for the target alone", code="state")
        return self._kept.values

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        kept = dict(values)
        self.state.clear()
        self.state.update(kept)

    @property
    def kept(self) -> str | None:
        """The state after the last decision as JSON; None when there is none to keep."""
        return None if self._kept is None else self._kept.text

    def begin(self, kept: str | None = None) -> None:
        """Go on from a state that was `kept`, or from the declared one. Nothing happens when there is none."""
        if self._kept is not None:
            self._kept.begin(kept)

    def state_aside(self) -> AbstractContextManager[None]:
        """Within this block decisions do not change what the state is after it."""
        return nullcontext() if self._kept is None else self._kept.aside()

    def state_hidden(self) -> AbstractContextManager[None]:
        """Within this block the state cannot be read."""
        return nullcontext() if self._kept is None else self._kept.out_of_sight()

    def with_params(self, params: Mapping[str, Any]) -> Strategy:
        """The same strategy with other values of some of its target's parameters; its warm-up must suit them too."""
        made = copy(self)
        made.params = MappingProxyType(dict(self.params) | dict(params))
        _check_params(made.target, made.params)
        return made

    def targets(self, bars: Bars) -> pd.DataFrame:
        """The target of every bar: float64, time x symbol as in `bars.close`, NaN = keep.

        The first `warmup` rows are not decisions. Raises NotebookError when the function returns anything but a frame
        of that shape, or no number at all; what the function itself raises comes through unchanged.
        """
        return bars.frame(self.target_values(bars))

    def target_values(self, bars: Bars) -> NDArray[np.float64]:
        """The same as an array, n x symbols."""
        return np.asarray(self.wanted(bars), dtype=np.float64)

    def wanted(self, bars: Bars) -> NDArray[Any]:
        """The same as an array of float64, or of truth values where the function returned those: an eighth to read."""
        values = self.all_wanted(bars)
        decisions = values[self.warmup :]
        # One row tells of nearly every strategy that it has decided something.
        if len(decisions) and bool(np.isnan(decisions[0]).all()) and bool(np.isnan(decisions).all()):
            raise NotebookError(
                f"{self.name}() returned nothing but NaN after its warm-up of {self.warmup} bars, so it would never "
                "trade; check its averages against the warm-up and the number of bars"
            )
        return values

    def all_wanted(self, bars: Bars) -> NDArray[Any]:
        """The same, and nothing but NaN is fine: a history that ends early may hold no decision yet.

        With a state each bar after the warm-up is decided by itself, from the declared state on.
        """
        if self._kept is None:
            return self._call(bars)
        self.begin()
        values = np.full((len(bars), len(self.symbols)), np.nan)
        for row in range(self.warmup, len(bars)):
            values[row] = list(self.decide(bars.rows(row - self.warmup, row + 1)).values())
        return values

    def decide(self, window: Bars) -> dict[Symbol, float]:
        """The target at the last bar of `window` (which is `warmup + 1` bars long) per symbol; NaN = keep.

        With a state it is the next bar's turn. Raises NotebookError for a state that cannot be kept.
        """
        wanted = dict(zip(self.symbols, map(float, self._call(window)[-1]), strict=True))
        if self._kept is not None:
            self._kept.settle()
        return wanted

    def view(self, bars: Bars) -> Bars:
        """`bars` as the strategy's functions see them: with its universe, when it has one."""
        return bars if self.universe is None else bars.under(self.universe)

    def _call(self, bars: Bars) -> NDArray[Any]:
        if bars.symbols != self.symbols:
            raise NotebookError(
                f"the strategy trades {', '.join(self.symbols)}, the bars hold {', '.join(bars.symbols)}"
            )
        seen = self.view(bars)
        wanted = check_targets(self.target(seen, **self.params), seen, self.name)
        return wanted if self.universe is None else np.where(seen.universe.to_numpy(), wanted, 0.0)


def check_targets(result: object, bars: Bars, name: str) -> NDArray[Any]:
    """What a target function returned, as float64 or truth values in the shape of `bars.close`.

    Raises NotebookError for anything else.
    """
    wanted = f"a DataFrame like bars.close ({len(bars)} bars x {', '.join(bars.symbols)})"
    if not isinstance(result, pd.DataFrame):
        raise NotebookError(f"{name}() returned {_describe(result)}; return {wanted}")
    if result.shape != bars.close.shape:
        raise NotebookError(f"{name}() returned a frame of shape {result.shape}; return {wanted}")
    if result.index is not bars.index and not result.index.equals(bars.index):
        raise NotebookError(f"{name}() returned a frame with other times than the bars; return {wanted}")
    if result.columns is not bars.close.columns and list(result.columns) != list(bars.symbols):
        if set(result.columns) != set(bars.symbols):
            raise NotebookError(f"{name}() returned the columns {list(result.columns)}; return {wanted}")
        result = result[list(bars.symbols)]
    values = result.to_numpy()
    if values.dtype == np.bool_:
        return values
    if values.dtype != np.float64:
        try:
            values = result.astype(np.float64).to_numpy()
        except (TypeError, ValueError) as error:
            raise NotebookError(f"{name}() returned values that are not numbers ({error}); return {wanted}") from error
    if bool(np.isinf(values).any()):
        raise NotebookError(f"{name}() returned an infinite target; a target is a fraction of equity such as 0.5")
    return values


def _describe(result: object) -> str:
    if result is None:
        return "nothing"
    shape = getattr(result, "shape", None)
    return f"a {type(result).__name__}" + (f" of shape {shape}" if shape is not None else "")


def _check_symbols(symbols: Sequence[str], name: str = "symbols") -> tuple[Symbol, ...]:
    if isinstance(symbols, str):
        raise NotebookError(f"{name} is a list: write {name}=[{symbols!r}]")
    try:
        checked = tuple(check_symbol(symbol) for symbol in symbols)
    except UsageError as error:
        raise NotebookError(str(error), code=error.code) from None
    if not checked:
        raise NotebookError("a strategy needs at least one symbol, such as symbols=['BTC/USDT']")
    if len(set(checked)) != len(checked):
        raise NotebookError(f"a symbol is listed twice in {', '.join(checked)}")
    return checked


def _check_timeframe(timeframe: str) -> str:
    try:
        timeframe_millis(timeframe)
    except UsageError as error:
        raise NotebookError(str(error)) from None
    return timeframe


def _check_warmup(warmup: int | None) -> int:
    if warmup is None:
        raise NotebookError(
            "the strategy names no warm-up; say how many bars the target needs before its first decision, "
            "such as cu.Strategy(..., warmup=30)"
        )
    if isinstance(warmup, bool) or not isinstance(warmup, int | np.integer) or warmup < 0:
        raise NotebookError(f"warmup is a number of bars, 0 or more; it is {warmup!r}")
    return int(warmup)


def _check_rebalance(rebalance: float | None) -> float | None:
    if rebalance is None:
        return None
    if isinstance(rebalance, bool) or not isinstance(rebalance, int | float) or not 0 < rebalance < 1:
        raise NotebookError(f"rebalance is a drift between 0 and 1, such as 0.05; it is {rebalance!r}")
    return float(rebalance)


def _check_leverage(leverage: float, symbols: Sequence[Symbol]) -> float:
    if isinstance(leverage, bool) or not isinstance(leverage, int | float) or not 0 < leverage <= 100:
        raise NotebookError(f"leverage is a number of equities, such as 2; it is {leverage!r}")
    spot = [symbol for symbol in symbols if not is_contract(symbol)]
    if leverage > 1 and spot:
        raise NotebookError(
            f"{spot[0]} is a spot symbol and cannot be bought on credit; "
            f"leverage above 1 takes perpetuals such as {spot[0]}:{spot[0].partition('/')[2]}"
        )
    return float(leverage)


def _check_level(name: str, level: Level | None) -> Level | None:
    if level is None or (callable(level) and not isinstance(level, type)):
        return level
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        if name == "take_profit" and isinstance(level, int | float) and not isinstance(level, bool) and level >= 1:
            return float(level)  # a profit may be more than the price itself
        raise NotebookError(f"{name} is a fraction of the price, such as 0.05, or a function of bars; it is {level!r}")
    return float(level)


def _check_watch(watch: Sequence[str], symbols: Sequence[Symbol]) -> tuple[Symbol, ...]:
    if not isinstance(watch, str) and not watch:
        return ()
    watched = _check_symbols(watch, "watch")
    both = [symbol for symbol in watched if symbol in symbols]
    if both:
        raise NotebookError(f"{both[0]} is traded, so the target sees it anyway; take it out of watch")
    return watched


def _check_sees(sees: Sequence[str], symbols: Sequence[Symbol]) -> tuple[str, ...]:
    if isinstance(sees, str):
        raise NotebookError(f"sees is a list: write sees=[{sees!r}]")
    for name in sees:
        if name not in BESIDE:
            raise NotebookError(f"sees names {name!r}; {did_you_mean(str(name), BESIDE)}")
    if sees and not any(is_contract(symbol) for symbol in symbols):
        raise NotebookError(
            f"spot symbols have no {sees[0]}; name a perpetual such as {symbols[0]}:{symbols[0].partition('/')[2]} "
            "in symbols or watch"
        )
    return tuple(dict.fromkeys(sees))


def _check_universe(universe: Universe | None, warmup: int, timeframe: str) -> Universe | None:
    if universe is None:
        return None
    if not isinstance(universe, Universe):
        raise NotebookError(f"universe is a rule such as cu.Universe(top=10); it is {_describe(universe)}")
    needed = -(-universe.lookback // timeframe_millis(timeframe))
    if warmup < needed:
        raise NotebookError(
            f"the universe looks back {needed} bars of {timeframe} (over, listed and every), so the warm-up of "
            f"{warmup} is too short; use warmup={needed} or more"
        )
    return universe


def _check_params(target: Target, params: Mapping[str, Any]) -> None:
    if not callable(target):
        raise NotebookError(f"a strategy needs a target function; it got {_describe(target)}")
    parameters = inspect.signature(target).parameters
    names = [name for name, parameter in list(parameters.items())[1:] if parameter.kind is not parameter.VAR_KEYWORD]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in params:
            if name not in names:
                raise NotebookError(f"the target function takes no parameter {name!r}; {did_you_mean(name, names)}")
    for name in names:
        if name not in params and parameters[name].default is inspect.Parameter.empty:
            raise NotebookError(f"the target function needs {name!r}; add it to params of cu.Strategy")
