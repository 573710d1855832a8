"""`@cu.indicator`: a function of bars that is computed once per bars and arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import wraps
from types import CodeType, FunctionType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from cashup.strategies.bars import Bars

P = ParamSpec("P")
R = TypeVar("R")

_BY_VALUE = (int, float, complex, str, bytes, type(None))


def indicator(function: Callable[Concatenate[Bars, P], R]) -> Callable[Concatenate[Bars, P], R]:
    """Remember what `function(bars, ...)` returns, within one `Bars` object and for equal arguments.

        @cu.indicator
        def average(bars, length):
            return bars.close.rolling(length).mean()

    A sweep then computes each average once, however many of its parameter sets share it. The function must depend on
    its arguments, and on the notebook's own values, only; the result is read-only. Arguments that cannot be compared
    (lists, frames) are fine, but then nothing is remembered. What is kept lives as long as the bars do, and at most
    `cashup.strategies.memo.MOST_BYTES` of it.
    """
    identity = _Identity(function)

    @wraps(function)
    def remembered(bars: Bars, *args: P.args, **kwargs: P.kwargs) -> R:
        key: Hashable = (identity.now(), args, *map(type, args), *sorted(kwargs.items()))
        try:
            hash(key)
        except TypeError:
            return function(bars, *args, **kwargs)
        found: R = bars.memo.get(key, lambda: function(bars, *args, **kwargs))
        return found

    return cast(Callable[Concatenate[Bars, P], R], remembered)


class _Identity:
    """What makes a function the same one when its notebook is executed again: its code, and the values that it reads.

    A notebook is executed anew for every parameter set of a sweep, so the function object is another one each time;
    and it may read a parameter of the notebook that differs.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._names = _names(function) if isinstance(function, FunctionType) else ()

    def now(self) -> Hashable:
        """The key of this moment: a notebook may change the values later on."""
        if not isinstance(self._function, FunctionType):
            return _Same(self._function)
        return _identity(self._function, self._names, frozenset())


class _Same:
    """An object as a key: equal to itself alone, and kept alive, so that no other one takes its place."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _identity(function: FunctionType, names: tuple[str, ...], seen: frozenset[int]) -> Hashable:
    world, seen = function.__globals__, seen | {id(function)}
    reads = [world[name] for name in names if name in world]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [*reads, *cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return function.__code__, tuple([_key(value, world, seen) for value in held])


def _key(value: object, world: Mapping[str, Any], seen: frozenset[int]) -> Hashable:
    if isinstance(value, _BY_VALUE):
        return type(value), value
    if isinstance(value, tuple):
        return tuple([_key(part, world, seen) for part in value])
    inner = getattr(value, "__wrapped__", value)  # another indicator reads what its own function reads
    if isinstance(inner, FunctionType) and inner.__globals__ is world:
        return inner.__code__ if id(inner) in seen else _identity(inner, _names(inner), seen)
    return _Same(value)


def _names(function: FunctionType) -> tuple[str, ...]:
    return tuple(sorted(set(_names_in(function.__code__))))


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
