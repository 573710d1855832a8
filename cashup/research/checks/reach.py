"""What a target can reach besides its bars, and cutting all of it off at a moment.

A notebook's own frames, arrays and caches hold the future. While a target is called on a shorter history they must end
where that history ends; afterwards they are as they were.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping, Set
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.strategies.bars import Bars, to_index
from cashup.strategies.model import RollingModel
from cashup.strategies.strategy import Strategy

DEPTH = 6
ALIGNED = 0.9
"""An object that has a row for this share of the bars is labelled as bars are: by their open."""


@contextmanager
def cut_off(strategy: Strategy, bars: Bars, stop: int, by_knowledge: Set[str] = frozenset()) -> Iterator[list[str]]:
    """Within this block nothing that the strategy reaches goes beyond bar `stop - 1` of `bars`; yields what was cut.

    Frames and series are cut by their time index, arrays by their length when they are as long as the bars. A row at
    the bar's close is the next bar, unless the frame's name is in `by_knowledge`: then it is known at its time.
    """
    scissors = _Scissors(bars, stop, by_knowledge)
    try:
        for function in functions_of(strategy):
            scissors.function(function)
        yield scissors.names
    finally:
        scissors.restore()


def functions_of(strategy: Strategy) -> list[Callable[..., Any]]:
    """The target, the level functions, and what ranks the universe."""
    rank = None if strategy.universe is None else strategy.universe.by
    beside = (strategy.stop_loss, strategy.take_profit, strategy.trailing_stop, rank)
    return [strategy.target, *[function for function in beside if callable(function)]]


def own_module(name: str | None) -> bool:
    """True for a notebook or a module beside it; false for what was installed."""
    module = sys.modules.get(name or "")
    if name == "__main__" or module is None:
        return True
    path = getattr(module, "__file__", None) or sys.prefix
    return not path.startswith((sys.prefix, sys.base_prefix)) and not (name or "").startswith("cashup.")


def names_in(code: CodeType) -> Iterator[str]:
    """The global and attribute names that code mentions, nested functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


class _Scissors:
    def __init__(self, bars: Bars, stop: int, by_knowledge: Set[str]) -> None:
        self._by_knowledge = by_knowledge
        self._length, self._stop = len(bars), stop
        self._times = to_index(bars.times)
        self._end = pd.Timestamp(int(bars.times[stop - 1]), unit="ms", tz="UTC")
        self._known_until = self._end + pd.Timedelta(_millis(bars), unit="ms")
        self._undo: list[Callable[[], None]] = []
        self._met: set[int] = set()
        self.names: list[str] = []

    def restore(self) -> None:
        for undo in reversed(self._undo):
            undo()

    def function(self, function: object, depth: int = 0) -> None:
        """Cut what a function reads: globals, closure, defaults, its attributes, and the object it is bound to."""
        if id(function) in self._met or depth > DEPTH:
            return
        self._met.add(id(function))
        if isinstance(function, MethodType):
            self.instance(function.__self__, depth)
            function = function.__func__
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self.function(wrapped, depth + 1)
        if isinstance(function, partial):
            self._partial(function, depth)
            return
        if not isinstance(function, FunctionType):
            self._met.discard(id(function))
            self.instance(function, depth)
            return
        if not own_module(function.__globals__.get("__name__")):
            return
        self.mapping(function.__globals__, set(names_in(function.__code__)), depth)
        self.mapping(function.__dict__, None, depth, of=function.__name__)
        self._cells(function, depth)
        self._defaults(function, depth)

    def _partial(self, function: partial[Any], depth: int) -> None:
        before = function.args
        cut = self.value(before, "an argument of a partial", depth)
        if cut is not before:
            _set_arguments(function, cut)
            self._undo.append(lambda: _set_arguments(function, before))
        self.mapping(function.keywords, None, depth)
        self.function(function.func, depth + 1)

    def _cells(self, function: FunctionType, depth: int) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = cell.cell_contents
            cut = self.value(value, name, depth)
            if cut is not value:
                cell.cell_contents = cut
                self._undo.append(lambda cell=cell, value=value: setattr(cell, "cell_contents", value))  # type: ignore[misc]

    def _defaults(self, function: FunctionType, depth: int) -> None:
        before = function.__defaults__
        if before:
            cut = tuple(self.value(value, f"a default of {function.__name__}", depth) for value in before)
            function.__defaults__ = cut
            self._undo.append(lambda: setattr(function, "__defaults__", before))
        if function.__kwdefaults__:
            self.mapping(function.__kwdefaults__, None, depth, of=function.__name__)

    def mapping(self, found: MutableMapping[Any, Any], names: set[str] | None, depth: int, of: str = "") -> None:
        """Cut the values of a namespace or a dict in place."""
        for key in list(found):
            if (names is not None and key not in names) or key == "__wrapped__":
                continue
            value = found[key]
            cut = self.value(value, f"{of}[{key!r}]" if of else str(key), depth)
            if cut is not value:
                found[key] = cut
                self._undo.append(lambda key=key, value=value, cut=cut: _put_back(found, key, value, cut))  # type: ignore[misc]

    def instance(self, value: Any, depth: int) -> None:
        """Cut the attributes of an object and of its class, when the notebook defined the class."""
        kind = value if isinstance(value, type) else type(value)
        if id(value) in self._met and not isinstance(value, MethodType | FunctionType):
            return
        self._met.add(id(value))
        if isinstance(value, RollingModel):  # ours, but what it learns from is the notebook's
            for function in (value.make, value.features, value.label):
                self.function(function, depth + 1)
        if not own_module(kind.__module__):
            return
        if not isinstance(value, type) and hasattr(value, "__dict__"):
            self.mapping(vars(value), None, depth + 1, of=kind.__name__)
        for name, held in list(vars(kind).items()):
            if name.startswith("__") and name != "__call__":
                continue
            cut = self.value(held, f"{kind.__name__}.{name}", depth + 1)
            if cut is not held:
                setattr(kind, name, cut)
                self._undo.append(lambda name=name, held=held: setattr(kind, name, held))  # type: ignore[misc]

    def value(self, value: Any, name: str, depth: int) -> Any:
        """`value` without the future: a shorter copy, the same object with shorter contents, or the object as it is."""
        if isinstance(value, pd.DataFrame | pd.Series | np.ndarray | Bars | pd.DatetimeIndex):
            cut = self._series(value, name)
            if cut is not value:
                self.names.append(name)
            return cut
        if type(value) is tuple:
            parts = tuple(self.value(part, name, depth + 1) for part in value)
            return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
        if depth <= DEPTH and not isinstance(value, str | bytes | int | float | complex | type(None)):
            self._inside(value, name, depth)
        return value

    def _inside(self, value: Any, name: str, depth: int) -> None:
        """Cut what an object holds, in place."""
        if isinstance(value, dict):
            if id(value) not in self._met:
                self._met.add(id(value))
                self.mapping(value, None, depth + 1, of=name)
        elif isinstance(value, list):
            self._list(value, name, depth)
        elif isinstance(value, FunctionType | MethodType | partial) or hasattr(value, "__wrapped__"):
            self.function(value, depth + 1)
        elif isinstance(value, staticmethod | classmethod):
            self.function(value.__func__, depth + 1)
        elif isinstance(value, ModuleType):
            if own_module(value.__name__) and id(value) not in self._met:
                self._met.add(id(value))
                self.mapping(vars(value), None, depth + 1)
        else:
            self.instance(value, depth + 1)

    def _list(self, value: list[Any], name: str, depth: int) -> None:
        if id(value) in self._met:
            return
        self._met.add(id(value))
        before = list(value)
        if len(value) == self._length:
            self.names.append(name)
            del value[self._stop :]
        else:
            for position, part in enumerate(before[:1000]):
                value[position] = self.value(part, name, depth + 1)
        if len(value) != len(before) or any(new is not old for new, old in zip(value, before, strict=True)):
            self._undo.append(lambda: value.__setitem__(slice(None), before))

    def _series(self, value: Any, name: str) -> Any:
        if isinstance(value, Bars):
            return value.rows(0, min(len(value), int(np.searchsorted(value.times, self._end_of(value)))))
        if isinstance(value, np.ndarray):
            return value[: self._stop] if value.ndim and len(value) == self._length else value
        if isinstance(value, pd.DatetimeIndex):
            return value  # times without values: a calendar is known in advance
        if isinstance(value.index, pd.DatetimeIndex):
            keep = self._kept(value, name)
            return value if bool(keep.all()) else value[keep]
        return value.iloc[: self._stop] if len(value) == self._length else value

    def _end_of(self, bars: Bars) -> int:
        """The first open time of other bars that is not known: a bar is known when it is closed."""
        return int(self._known_until.timestamp() * 1000) - _millis(bars) + 1

    def _kept(self, value: pd.DataFrame | pd.Series, name: str) -> NDArray[np.bool_]:
        stamps = [_utc(pd.DatetimeIndex(value.index))]
        if isinstance(value, pd.DataFrame):  # announced before it happens: known from the earliest of its times on
            stamps += [
                _utc(pd.DatetimeIndex(column))
                for _, column in value.items()
                if pd.api.types.is_datetime64_any_dtype(column)
            ]
        aligned = (
            name not in self._by_knowledge
            and len(self._times) > 0
            and float(self._times.isin(stamps[0]).mean()) >= ALIGNED
        )
        known = [(stamp <= self._end) if aligned else (stamp <= self._known_until) for stamp in stamps]
        kept: NDArray[np.bool_] = np.logical_or.reduce([np.asarray(one) for one in known])
        return kept


def _put_back(found: MutableMapping[Any, Any], key: Any, value: Any, cut: Any) -> None:
    if found.get(key) is cut:  # otherwise the strategy has put something else there itself
        found[key] = value


def _set_arguments(function: Any, arguments: tuple[Any, ...]) -> None:
    function.__setstate__((function.func, arguments, function.keywords, function.__dict__))


def _utc(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")


def _millis(bars: Bars) -> int:
    return timeframe_millis(bars.timeframe)
