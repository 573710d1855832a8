"""What strategies keep from bar to bar: JSON that is stored in the commit that takes the bar's intent.

So a bar is decided and its state kept together, or neither. The text is stored as it came: a number that went through
the database's own JSON would come back as another one (-0.0 as 0, 1e16 as a whole number).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import NotFound, UsageError
from cashup.orders.journal import Write
from cashup.trading.tables import attempts, books, deployments, strategy_states
from cashup.types import Millis

MOST_BYTES = 256 * 1024
"""The largest state that is taken; `cashup.strategies.state` says so to authors before it is sent."""

SAVE_STATE = Write("save_state", strategy_states, ("bar", "state", "updated_at"), keys=("deployment",), mode="upsert")


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a worker goes on.

    `decided` is the last bar that has an intent; before the first one, the newest bar when a worker was first ready, so
    that the bar that closed while that worker died is decided all the same. None: no worker was ever ready. `state` is
    what the strategy kept with `state_bar`. `spec` is the deployment's.
    """

    account: str
    spec: dict[str, Any]
    decided: Millis | None
    state: str | None
    state_bar: Millis | None


def parse_state(state: Any) -> str | None:
    """The state that came with an intent, JSON text of an object. Raises UsageError for anything else."""
    if state is None:
        return None
    if not isinstance(state, str) or len(state) > MOST_BYTES or len(state.encode(errors="replace")) > MOST_BYTES:
        raise UsageError(f"the state of an intent is JSON text of at most {MOST_BYTES} bytes")
    try:
        values = orjson.loads(state)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the state of an intent is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise UsageError("the state of an intent is a JSON object")
    return state


async def resumption(database: AsyncEngine, name: str) -> Resumption:
    """Where a worker of the deployment goes on, as of one moment; raises NotFound."""
    first_ready = select(func.min(attempts.c.bar)).where(attempts.c.deployment == name).scalar_subquery()
    query = (
        select(
            deployments.c.account,
            deployments.c.spec,
            func.coalesce(books.c.decided, first_ready).label("decided"),
            strategy_states.c.state,
            strategy_states.c.bar.label("state_bar"),
        )
        .outerjoin(books, books.c.deployment == deployments.c.name)
        .outerjoin(strategy_states, strategy_states.c.deployment == deployments.c.name)
        .where(deployments.c.name == name)
    )
    async with database.connect() as connection:
        row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound(f"there is no deployment {name}; `cashup live ps` shows what there is")
    return Resumption(**row)
