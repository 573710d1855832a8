"""The source of a strategy's functions, and what in it is known to look ahead."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from cashup.research.checks.reach import functions_of, names_in, own_module
from cashup.strategies.model import RollingModel
from cashup.strategies.strategy import Strategy

AHEAD, RESAMPLE, WHOLE = "ahead", "resample", "whole"

BACKWARD_FILLS = {"bfill", "backfill", "interpolate"}
WHOLE_FRAME = {
    *("mean", "std", "var", "median", "min", "max", "quantile", "rank", "sum", "idxmax", "idxmin", "argmax", "argmin"),
    *("fit", "fit_transform", "fit_predict", "gradient", "fft", "rfft", "filtfilt", "sosfiltfilt", "savgol_filter"),
    *("percentile", "zscore", "hilbert", "detrend", "lowess", "seasonal_decompose", "corr", "cov", "qcut", "cut"),
    *("argsort", "sort_values", "nanmean", "nanmax", "nanmin", "nanstd", "polyfit", "normalize", "scale", "iloc"),
}
BY_WINDOW = {"rolling", "expanding", "ewm", "groupby", "resample"}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A piece of source that can look ahead. `kind`: a few bars `ahead`, a `resample`, or the `whole` frame."""

    kind: str
    line: int
    code: str
    reason: str


def suspects(strategy: Strategy) -> list[Suspect]:
    """What looks suspicious in the functions of `strategy` and in the notebook's functions that they call."""
    found: list[Suspect] = []
    for function in _own_functions(strategy):
        tree, lines, first = _parse(function)
        for node in ast.walk(tree):
            for kind, reason in _reasons(node):
                line = getattr(node, "end_lineno", None) or 1
                found.append(Suspect(kind, first + line - 1, lines[line - 1].strip(), reason))
    return found


def passed_to_known(strategy: Strategy) -> set[str]:
    """The names of what is joined by its time of knowledge: `bars.known(NAME)`."""
    return {
        argument.id
        for function in _own_functions(strategy, labels=True)
        for node in ast.walk(_parse(function)[0])
        if isinstance(node, ast.Call) and _name(node) == "known"
        for argument in [*node.args, *[keyword.value for keyword in node.keywords]]
        if isinstance(argument, ast.Name)
    }


def _own_functions(strategy: Strategy, *, labels: bool = False) -> list[FunctionType]:
    """What the strategy calls of the notebook; the `labels` of its models only when asked for: they may look ahead."""
    waiting: list[Any] = [_function(one) for one in functions_of(strategy)]
    found: dict[CodeType, FunctionType] = {}
    while waiting:
        function = inspect.unwrap(waiting.pop()) if waiting[-1] is not None else waiting.pop()
        if not isinstance(function, FunctionType) or function.__code__ in found:
            continue
        if not own_module(function.__globals__.get("__name__")):
            continue
        found[function.__code__] = function
        held = [function.__globals__.get(name) for name in names_in(function.__code__)]
        waiting += [one for one in held if isinstance(one, FunctionType)]
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        waiting += [one for one in cells if callable(one)]
        for model in (one for one in (*held, *cells) if isinstance(one, RollingModel)):
            waiting += [_function(model.features), *([_function(model.label)] if labels else [])]
    return list(found.values())


def _function(one: Callable[..., Any]) -> Any:
    while isinstance(one, partial):
        one = one.func
    if isinstance(one, FunctionType):
        return one
    return getattr(one, "__func__", None) or getattr(type(one).__call__, "__wrapped__", type(one).__call__)


def _parse(function: FunctionType) -> tuple[ast.Module, list[str], int]:
    try:
        lines, first = inspect.getsourcelines(function)
        source = textwrap.dedent("".join(lines))
        return ast.parse(source), source.splitlines(), first
    except (OSError, SyntaxError, TypeError):  # made by exec or a lambda inside a call: there is no text to look at
        return ast.Module([], []), [], 1


def _reasons(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Slice) and _negative(node.step):
        yield WHOLE, "runs through the bars backwards"
    if isinstance(node, ast.Subscript) and _name(node.value) == "iloc":
        yield WHOLE, "takes a row by its position in the whole frame"
    if isinstance(node, ast.Call):
        yield from _call_reasons(node)


def _call_reasons(node: ast.Call) -> Iterator[tuple[str, str]]:
    name = _name(node)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("shift", "diff", "pct_change", "roll") and any(map(_negative, [*node.args, *keywords.values()])):
        yield AHEAD, f"a negative {name} takes values of later bars"
    if _constant(keywords.get("center")) is True:
        yield AHEAD, "a centred window takes half of its values from later bars"
    if name in BACKWARD_FILLS or _constant(keywords.get("method")) in BACKWARD_FILLS:
        yield AHEAD, f"{name} fills holes from later bars"
    if _constant(keywords.get("direction")) in ("forward", "nearest"):
        yield AHEAD, f"{name} joins rows of later times"
    if _constant(keywords.get("side")) == "right" and name == "convolve":
        yield AHEAD, "convolve reaches into later bars"
    if name == "convolve" or (name == "gradient"):
        yield AHEAD, f"{name} takes later bars into account"
    if name in ("resample", "groupby", "transform", "asfreq"):
        yield RESAMPLE, "a higher bar is used before it is closed; use bars.at() or shift it by one"
    elif name in WHOLE_FRAME and not _windowed(node):
        yield WHOLE, f"{name} over the whole frame knows the later bars"


def _windowed(node: ast.Call) -> bool:
    """True for `frame.rolling(3).mean()`."""
    value: ast.AST = node.func
    while isinstance(value, ast.Attribute | ast.Call | ast.Subscript):
        if isinstance(value, ast.Call):
            if _name(value) in BY_WINDOW:
                return True
            value = value.func
        else:
            value = value.value
    return False


def _name(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else node
    return getattr(function, "attr", "") or getattr(function, "id", "")


def _constant(node: ast.AST | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _negative(node: ast.AST | None) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
