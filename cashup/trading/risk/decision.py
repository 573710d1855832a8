"""What a check says: a decision for whoever asked, an objection while it is being made."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from cashup.trading.risk.draft import Draft
from cashup.types import MONEY, Symbol


class Action(StrEnum):
    """What a check decides."""

    ALLOW = "allow"
    SHRINK = "shrink"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """One risk decision on one symbol: `code` for machines, `reason` for people."""

    symbol: Symbol
    action: Action
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Objection:
    """What a check has against a draft: `draft` is the smaller order that it would allow, None when there is none."""

    code: str
    reason: str
    draft: Draft | None = None


def plain(amount: Decimal) -> str:
    """An amount for people: at most ten significant digits, never an exponent."""
    return f"{MONEY.create_decimal(f'{amount:.10g}'):f}"


def percent(ratio: Decimal) -> str:
    """A ratio for people: `12.5 %`."""
    return f"{MONEY.create_decimal(f'{ratio * 100:.4g}').normalize():f} %"
