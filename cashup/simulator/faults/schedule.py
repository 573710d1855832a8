"""Faults by a seed: a soak's bad weather, the same again for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from cashup.errors import UsageError

Settings = Mapping[str, Any]
WRITE = ("place", "cancel")
LASTS = 30.0
"""Seconds after which a fault that met nothing is taken back."""


def _after(random: Random) -> Settings:
    return {"what": random.choice(WRITE), "status": random.choice((500, 502, 503, 504))}


def _before(random: Random) -> Settings:
    return {"what": random.choice((*WRITE, "read")), "status": random.choice((500, 502, 503, 504))}


def _cut(random: Random) -> Settings:
    return {"what": random.choice(WRITE), "reset": random.random() < 0.5}


def _write(random: Random) -> Settings:
    return {"what": random.choice(WRITE)}


def _slow(random: Random) -> Settings:
    return {"what": random.choice(WRITE), "seconds": round(random.uniform(0.2, 6.0), 1)}


def _page(random: Random) -> Settings:
    return {"what": "read", "count": random.randint(1, 3)}


def _stale(random: Random) -> Settings:
    return {"seconds": round(random.uniform(0.5, 30.0), 1), "lasts": round(random.uniform(2.0, 20.0), 1)}


def _frames(random: Random) -> Settings:
    return {"count": random.randint(1, 5), "probability": random.choice((0.3, 1.0))}


def _plain(random: Random) -> Settings:
    return {}


def _skew(random: Random) -> Settings:
    return {
        "milliseconds": random.choice((-61_000, -2_000, 2_000, 61_000)),
        "lasts": round(random.uniform(2.0, 10.0), 1),
    }


def _while(random: Random) -> Settings:
    return {"lasts": round(random.uniform(2.0, 15.0), 1)}


MENU: Mapping[str, Callable[[Random], Settings]] = {
    "error_before": _before,
    "error_after": _after,
    "accepted_only": lambda random: {"what": "place"},
    "lost_effect": _write,
    "too_many": lambda random: {"what": "place", "seconds": 1.0},
    "late_request": _slow,
    "late_effect": _slow,
    "lost_request": _cut,
    "lost_answer": _cut,
    "no_answer": _write,
    "late_answer": _slow,
    "frame_first": _write,
    "truncated_answer": _write,
    "unreadable_answer": _write,
    "wall_before": lambda random: {"what": random.choice(WRITE), "status": random.choice((400, 403, 502))},
    "wall_after": lambda random: {"what": random.choice(WRITE), "status": random.choice((400, 403, 502))},
    "self_trade_prevented": lambda random: {"what": "place"},
    "stale_read": _stale,
    "partial_page": _page,
    "failing_page": _page,
    "maintenance": _while,
    "missing_frame": _frames,
    "duplicated_frame": _frames,
    "late_frame": _frames,
    "overtaken_frame": _frames,
    "shuffled_frames": _frames,
    "silent_subscription": _plain,
    "upgrade": _plain,
    "disconnect": _plain,
    "silent_stream": _plain,
    "clock_skew": _skew,
}
"""What a schedule may draw, with the settings it then draws. Nothing that changes what a customer owns."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come: seconds after the one before, and how it is set."""

    wait: float
    kind: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Schedule:
    """Without end: `rate` faults a minute on average, of `kinds` (default: every one of the menu)."""

    seed: int
    rate: float = 1.0
    kinds: tuple[str, ...] = tuple(MENU)

    def __post_init__(self) -> None:
        """Raises UsageError for what cannot be planned."""
        if self.rate <= 0:
            raise UsageError("the rate of faults is per minute and above zero")
        if unknown := sorted(set(self.kinds) - set(MENU)):
            raise UsageError(f"{unknown[0]!r} cannot be scheduled; choose among {', '.join(MENU)}")

    def __iter__(self) -> Iterator[Planned]:
        """The same faults at every call."""
        random = Random(self.seed)  # noqa: S311 - a seed must reproduce
        while True:
            kind = random.choice(self.kinds)
            settings = {"lasts": LASTS, **MENU[kind](random)}
            yield Planned(random.uniform(0.5, 1.5) * 60 / self.rate, kind, settings)
