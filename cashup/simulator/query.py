"""What Gate's query strings ask for: numbers, ranges of time and pages."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from aiohttp import web

from cashup.simulator.refusals import Refusal
from cashup.types import Millis

T = TypeVar("T")
DAY: Millis = 86_400_000


def digits(step: Decimal) -> int:
    """How many decimals a step has: 0.01 has two; no step at all counts as eighteen."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent)) if step else 18


def whole(request: web.Request, name: str, default: int, most: int | None) -> int:
    """A whole number from the query; refused when it is none, or negative, or above `most`."""
    given = request.query.get(name)
    if given is None:
        return default
    if not given.isdecimal() or (most is not None and int(given) > most):
        raise Refusal("INVALID_PARAM_VALUE", f"Invalid argument: {name}")
    return int(given)


def span(request: web.Request, earliest: Millis = 0) -> tuple[Millis, Millis]:
    """`from` and `to` (whole seconds, both included) as milliseconds [begin, end); without `from` it is `earliest`."""
    begin = whole(request, "from", 0, None) * 1000 if "from" in request.query else earliest
    return begin, (whole(request, "to", 2**40, None) + 1) * 1000


def page(request: web.Request, rows: list[T], most: int) -> list[T]:
    """One page of `rows`; pages count from 1."""
    limit = whole(request, "limit", 100, most)
    number = max(1, whole(request, "page", 1, None))
    return rows[(number - 1) * limit : number * limit]
