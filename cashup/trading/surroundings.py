"""The surroundings of an account: owners, halts and limits, which others may change at any time.

They are read every second for each account, so the statements are prepared and go past SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import Text, and_, bindparam, or_, select

from cashup.storage.lines import Lines
from cashup.storage.statement import Prepared, prepare
from cashup.strategies.limits import Limits
from cashup.trading.halts import Halt, Scope, effective_query
from cashup.trading.tables import deployments, risk_limits


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The owner of each deployment of an account, the halts that concern it, and the limits of account and owners."""

    owners: Mapping[str, str] = field(default_factory=dict)
    halts: Mapping[str, list[Halt]] = field(default_factory=dict)
    limits: Mapping[tuple[Scope, str], Limits] = field(default_factory=dict)

    @classmethod
    async def read(cls, lines: Lines, account: str) -> Surroundings:
        """As they are now; raises StorageError."""
        held = await lines.run(_halts(), {"account": account})
        limited = await lines.run(_limits(), {"account": account})
        owners: dict[str, str] = {}
        halts: dict[str, list[Halt]] = {}
        for row in held:
            owners[row["deployment"]] = row["owner"]
            found = halts.setdefault(row["deployment"], [])
            if row["scope"] is not None:
                found.append(Halt.of(row))
        limits = {(Scope(row["scope"]), row["name"]): Limits.model_validate(row["limits"]) for row in limited}
        return cls(owners, halts, limits)


@cache
def _halts() -> Prepared:
    return prepare(effective_query().where(deployments.c.account == bindparam("account", type_=Text)))


@cache
def _limits() -> Prepared:
    limit, account = risk_limits.c, bindparam("account", type_=Text)
    owners = select(deployments.c.owner).where(deployments.c.account == account)
    concerned = or_(
        and_(limit.scope == Scope.ACCOUNT.value, limit.name == account),
        and_(limit.scope == Scope.USER.value, limit.name.in_(owners)),
    )
    return prepare(select(limit.scope, limit.name, limit.limits).where(concerned))
