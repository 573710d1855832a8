"""A space: the parameters of a sweep and what each of them may be.

5:50:5            whole numbers or floats from 5 to 50, both included, in steps of 5
5,10,20           these values, as YAML reads them
[[BTC/USDT], [ETH/USDT]]   a YAML list of values, here for a parameter that is a list itself
0.1..0.9          every number between; whole numbers when both ends are whole
log:1e-4..1e-1    every number between, small ones as likely as large ones
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice, product
from random import Random
from typing import Any

import yaml

from cashup.errors import UsageError

MOST_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Between:
    """Every number in [low, high]; whole ones when `whole`, drawn evenly in the logarithm when `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, random: Random) -> float:
        """A number of it by chance."""
        if self.log:
            drawn = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = random.uniform(self.low, self.high + (1 if self.whole else 0))
        return min(int(drawn), int(self.high)) if self.whole else drawn


Choices = tuple[Any, ...]
Range = Choices | Between


class Space:
    """What a sweep may try: a `Range` per parameter, in the order in which they were named."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        if not ranges:
            raise UsageError("name at least one parameter to sweep, such as -g fast 5:50:5")
        self.ranges = dict(ranges)

    def __len__(self) -> int:
        """The number of sets of the whole grid; raises UsageError when a range is continuous."""
        return math.prod(len(choices) for choices in self._choices().values())

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every set, the last parameter changing fastest; never all of them in memory."""
        choices = self._choices()
        for values in product(*choices.values()):
            yield dict(zip(choices, values, strict=True))

    def draws(self, seed: int) -> Iterator[dict[str, Any]]:
        """Sets by chance without end, the same ones for the same seed."""
        random = Random(seed)  # noqa: S311 (not for secrets)
        while True:
            yield {
                name: wanted.draw(random) if isinstance(wanted, Between) else random.choice(wanted)
                for name, wanted in self.ranges.items()
            }

    def corners(self, most: int = 64) -> Iterator[dict[str, Any]]:
        """The sets of every range's ends: where a warm-up is likely to be the longest."""
        ends = {name: _ends(wanted) for name, wanted in self.ranges.items()}
        # The last ends first: the longest warm-up commonly stands there, and the number of corners is limited.
        for values in islice(product(*ends.values()), most):
            yield dict(zip(ends, values, strict=True))

    def _choices(self) -> dict[str, Choices]:
        made: dict[str, Choices] = {}
        for name, wanted in self.ranges.items():
            if isinstance(wanted, Between):
                raise UsageError(
                    f"a grid needs steps, and {name} is continuous; write low:high:step, or take --method random or tpe"
                )
            made[name] = wanted
        return made


def space(ranges: Mapping[str, str | Iterable[Any] | Between]) -> Space:
    """A space of what a person wrote per parameter: text as above, or any iterable of values."""
    return Space({name: as_range(name, wanted) for name, wanted in ranges.items()})


def as_range(name: str, wanted: str | Iterable[Any] | Between) -> Range:
    """One range; raises UsageError for what is none."""
    if isinstance(wanted, Between):
        return wanted
    if isinstance(wanted, str):
        return _read(name, wanted.strip())
    values = tuple(value.item() if hasattr(value, "item") else value for value in wanted)
    if not values:
        raise UsageError(f"the range of {name} is empty")
    return values


def _read(name: str, text: str) -> Range:
    if not text.startswith("["):
        if ".." in text:
            return _between(name, text)
        if re.fullmatch(r"[-+.\deE]+(:[-+.\deE]+){1,2}", text):
            return _steps(name, text)
        text = f"[{text}]"
    try:
        values = yaml.load(text, yaml.BaseLoader if re.search(r"\d{4}-\d\d-\d\d", text) else yaml.SafeLoader)  # noqa: S506
    except yaml.YAMLError as error:
        raise _unreadable(name, text) from error
    if not isinstance(values, list) or not values:
        raise _unreadable(name, text)
    return tuple(_number(value) for value in values)


def _steps(name: str, text: str) -> Choices:
    try:
        low, high, *rest = [Decimal(part) for part in text.split(":")]
    except InvalidOperation as error:
        raise _unreadable(name, text) from error
    step = rest[0] if rest else Decimal(1)
    if step <= 0 or high < low:
        raise UsageError(f"the range of {name} goes from low to high in steps above 0, such as 5:50:5; it is {text!r}")
    count = int((high - low) / step) + 1
    if count > MOST_STEPS:
        raise UsageError(f"the range of {name} has {count:,} steps; take longer ones")
    whole = all(part == part.to_integral_value() for part in (low, step))
    return tuple(int(value) if whole else float(value) for value in (low + step * number for number in range(count)))


def _between(name: str, text: str) -> Between:
    log = text.startswith("log:")
    low, _, high = text.removeprefix("log:").partition("..")
    try:
        ends = float(low), float(high)
    except ValueError as error:
        raise _unreadable(name, text) from error
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        raise UsageError(f"{name} lies between a lower and a higher number{' above 0' if log else ''}; it is {text!r}")
    return Between(*ends, log=log, whole=all(re.fullmatch(r"[-+]?\d+", end.strip()) for end in (low, high)))


def _number(value: Any) -> Any:
    """1e-3 is text in YAML 1.1."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _ends(wanted: Range) -> tuple[Any, ...]:
    if isinstance(wanted, Between):
        ends = (wanted.high, wanted.low)
        return tuple(int(end) for end in ends) if wanted.whole else ends
    numeric = all(isinstance(value, int | float) for value in wanted)
    return (max(wanted), min(wanted)) if numeric and len(wanted) > 1 else wanted[:4]


def _unreadable(name: str, text: str) -> UsageError:
    return UsageError(
        f"{text!r} is no range for {name}; write 5:50:5, or 5,10,20, or 0.1..0.9, or log:1e-4..1e-1, or a YAML list"
    )
