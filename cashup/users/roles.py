"""Three roles, each including the one below it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person may do: look, trade, or administer."""

    VIEWER = "viewer"
    TRADER = "trader"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """True when this role may do all that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)
