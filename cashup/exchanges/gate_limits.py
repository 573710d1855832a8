"""Gate's published rate limits for spot, and which request counts against which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cashup.exchanges.limiter import Lane, Rule

PUBLIC = Rule(200, 10_000, shared=True)
"""Per endpoint and address."""
PRIVATE = Rule(200, 10_000, shared=True)
"""Per endpoint and account."""
PLACE = Rule(10, 1_000)
"""Placing and amending, per account and market."""
CANCEL = Rule(200, 1_000)
"""Per account."""


def place_key(account: str, pair: str) -> str:
    """The bucket of placing and amending in one market."""
    return f"{account}:place:{pair}"


def limit_of(
    method: str, path: str, params: Mapping[str, Any], who: str, *, private: bool = True
) -> tuple[str, Rule, Lane]:
    """The bucket, its rule and the lane of a request: of the account `who`, or of the venue `who` when it is public."""
    endpoint = f"{path.partition('/')[0]}/*" if "/" in path else path
    if not private:
        return f"{who}:public:{endpoint}", PUBLIC, Lane.PLACE
    if method == "DELETE":
        return f"{who}:cancel", CANCEL, Lane.CANCEL
    if method in ("POST", "PATCH") and path.startswith("orders"):
        return place_key(who, str(params["currency_pair"])), PLACE, Lane.PLACE
    lane = Lane.CANCEL if path == "countdown_cancel_all" else Lane.RECONCILE
    return f"{who}:{method}:{endpoint}", PRIVATE, lane
