"""A condition on a trial: `fast < slow`, `max_drawdown < 0.3`, `slow - fast >= 5 and trades > 30`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import reduce
from typing import Any

from cashup.errors import UsageError

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class Condition:
    """Names, numbers, texts, + - * /, comparisons, and `and or not`; nothing else is read, so nothing is executed."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError:
            raise _unreadable(text) from None
        if not isinstance(self._tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
            raise _unreadable(text)
        self.names = frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name))
        with suppress(TypeError, ZeroDivisionError):  # what stands for the names is no value of theirs
            _value(self._tree, dict.fromkeys(self.names, 1.0))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether `values` meet it; a figure that is missing (None) meets nothing."""
        return not self.excess(values) > 0

    def excess(self, values: Mapping[str, Any]) -> float:
        """How far `values` are from meeting it: 0 or less when they do. A comparison says by how much."""
        if any(values.get(name) is None for name in self.names):
            return 1.0
        if _value(self._tree, values):
            return 0.0
        sides = self._tree
        if isinstance(sides, ast.Compare) and len(sides.ops) == 1 and not isinstance(sides.ops[0], ast.NotEq):
            gap = _gap(_value(sides.left, values), _value(sides.comparators[0], values))
            return max(gap, 1e-12)
        return 1.0


def _gap(left: Any, right: Any) -> float:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    return abs(float(left - right)) if numbers else 1.0


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values)
        case ast.BoolOp(op=op, values=parts):
            join: Callable[[Any, Any], Any] = operator.and_ if isinstance(op, ast.And) else operator.or_
            return reduce(join, [bool(_value(part, values)) for part in parts])
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            sides = [_value(side, values) for side in (left, *others)]
            return all(_COMPARISONS[type(op)](sides[number], sides[number + 1]) for number, op in enumerate(ops))
    raise _unreadable(ast.unparse(node))


def _unreadable(text: str) -> UsageError:
    return UsageError(f'{text!r} is no condition; write a comparison such as "fast < slow" or "max_drawdown < 0.3"')
