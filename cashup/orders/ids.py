"""Client order ids: `t-` and a ULID, 28 characters that every venue takes and that sort by time of creation."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from cashup.types import Millis

PREFIX = "t-"
"""Marks an order as ours on the venue. Always present: adapters must not have to add it."""

random_bits: ContextVar[Callable[[int], int]] = ContextVar("random_bits", default=secrets.randbits)
"""Where ids get their random bits from, that many at a time. A run that must repeat itself sets its own source."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OURS = re.compile(f"{PREFIX}[0-7][{_ALPHABET}]{{25}}")


def ulid(now: Millis) -> str:
    """26 characters of Crockford's base 32: 48 bits of `now`, 80 random bits."""
    number = (now << 80) | random_bits.get()(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def client_order_id(now: Millis) -> str:
    """A new id; used for one order and one socket write, ever."""
    return PREFIX + ulid(now)


def is_ours(client_order_id: str | None) -> bool:
    """True for an id of the shape that `client_order_id` makes."""
    return client_order_id is not None and _OURS.fullmatch(client_order_id) is not None
