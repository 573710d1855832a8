"""What holds for a deployment: its limits and protections, as its spec says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cashup.clock import timeframe_millis
from cashup.strategies.limits import NO_LIMITS, Limits, Protection
from cashup.types import Millis

MINUTE: Millis = 60_000


@dataclass(frozen=True, slots=True)
class Rules:
    """`row` is the limits as they are stored with every order; `timeframe` the length of a bar, if it is known."""

    limits: Limits = NO_LIMITS
    protections: tuple[Protection, ...] = ()
    timeframe: Millis | None = None
    row: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Rules:
        """The rules in a deployment's spec."""
        row = spec.get("limits", {})
        protections = tuple(Protection.model_validate(one) for one in spec.get("protections", ()))
        timeframe = spec.get("timeframe")
        length = None if timeframe is None else timeframe_millis(timeframe)
        return cls(Limits.model_validate(row), protections, length, row)

    @property
    def stale_after(self) -> Millis | None:
        """The age in milliseconds at which a price is too old to trade on."""
        return self.limits.stale_after(self.timeframe)


NO_RULES = Rules()
