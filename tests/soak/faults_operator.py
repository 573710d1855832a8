"""What people do: kill and lift it again; and workers that lose their connection."""

from __future__ import annotations

import asyncio
import time
from random import Random

from sqlalchemy import text

from tests.soak.stage import DEPLOYMENTS, Stage

DONE_WITHIN = 60.0

_CLAIMED = text(
    "SELECT client_order_id FROM orders WHERE claimed_at IS NOT NULL AND NOT flattens AND deployment = ANY(:concerned)"
)
_RESTING = text(
    "SELECT client_order_id, state FROM orders WHERE deployment = ANY(:concerned) "
    "AND state IN ('sending', 'open', 'unknown', 'pending_cancel')"
)


async def kill(stage: Stage, random: Random, scope: str) -> None:
    """Kill, wait until it is done, see that nothing goes out for some seconds, and lift it."""
    names = {"deployment": list(DEPLOYMENTS), "account": list(DEPLOYMENTS.values()), "user": ["admin"], "all": [""]}
    name = random.choice(names[scope])
    concerned = [one for one, account in DEPLOYMENTS.items() if name in (one, account, "admin", "")]
    client, flatten = stage.stack.client, random.random() < 0.3
    await asyncio.to_thread(client.login, "admin", stage.stack.admin_password)
    await asyncio.to_thread(client.kill, scope, name, flatten=flatten)
    try:
        claimed = await _rows(stage, _CLAIMED, concerned)
        await _until_done(stage, scope, name)
        if resting := await _rows(stage, _RESTING, concerned):
            stage.complain(f"a kill of {scope} {name} is done, and orders go on: {sorted(resting)[:5]}")
        await asyncio.sleep(random.uniform(1, 5))
        if more := await _rows(stage, _CLAIMED, concerned) - claimed:
            stage.complain(f"I13: orders were claimed behind a kill of {scope} {name}: {sorted(more)[:5]}")
    finally:
        await asyncio.to_thread(client.unkill, scope, name)


async def _until_done(stage: Stage, scope: str, name: str) -> None:
    deadline = time.monotonic() + DONE_WITHIN
    while True:
        kills = await asyncio.to_thread(stage.stack.client.kills)
        (mine,) = [one for one in kills if (one["scope"], one["name"]) == (scope, name)]
        if all(account["state"] == "done" for account in mine["accounts"]):
            return
        if time.monotonic() > deadline:
            stage.complain(f"a kill of {scope} {name} is not done after {DONE_WITHIN:.0f} s: {mine['accounts']}")
            return
        await asyncio.sleep(0.1)


async def _rows(stage: Stage, query: object, concerned: list[str]) -> set[tuple[str, ...]]:
    async with stage.database.connect() as connection:
        return {tuple(row) for row in await connection.execute(query, {"concerned": concerned})}  # type: ignore[call-overload]


async def workers_reconnect(stage: Stage, random: Random) -> None:
    """Every worker loses its connection some times, and asks for what it asked last once more each time."""
    for _ in range(random.randint(1, 4)):
        for worker in stage.workers:
            await worker.hang_up()
        await asyncio.gather(*(worker.repeat() for worker in stage.workers))
