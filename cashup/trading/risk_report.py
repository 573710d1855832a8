"""Risk over all deployments: what the engine knows of those it trades, and the tables of the others."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.errors import Unavailable
from cashup.trading.engine import Engine
from cashup.trading.halts import Scope, effective
from cashup.trading.risk import TradingState
from cashup.trading.risk.worth import Worth
from cashup.trading.tables import deployments, worths

Row = dict[str, Any]

_LIVE_SECONDS = 1.0
"""How long an account may take to answer; one that another gateway trades never does."""


async def risk_report(database: AsyncEngine, engine: Engine) -> list[Row]:
    """One row per deployment, by name.

    `state`, `halts`, `losses` (of the deployment, its account and its owner), and from the engine `limits` with how far
    they are used and `pauses`; `live` is False when the account is not traded here now, and those two are missing.
    """
    query = select(deployments.c.name, deployments.c.account, deployments.c.owner, deployments.c.quote)
    async with database.connect() as connection:
        known = (await connection.execute(query.order_by(deployments.c.name))).all()
        accounts = sorted({row.account for row in known})
        halts = {name: held for account in accounts for name, held in (await effective(connection, account)).items()}
        losses = await _losses(connection)
    live: dict[str, Row] = {}
    for found in await asyncio.gather(*(_live(engine, account) for account in accounts)):
        live |= found
    return [
        {
            "deployment": row.name,
            "account": row.account,
            "owner": row.owner,
            "quote": row.quote,
            "state": TradingState.worst(halt.state for halt in halts.get(row.name, [])).value,
            "halts": [halt.row() for halt in halts.get(row.name, [])],
            "losses": [
                losses[scope, name, row.quote]
                for scope, name in (
                    (Scope.DEPLOYMENT.value, row.name),
                    (Scope.ACCOUNT.value, row.account),
                    (Scope.USER.value, row.owner),
                )
                if (scope, name, row.quote) in losses
            ],
            "live": row.name in live,
            "limits": live.get(row.name, {}).get("limits", []),
            "pauses": live.get(row.name, {}).get("pauses", []),
        }
        for row in known
    ]


async def _live(engine: Engine, account: str) -> dict[str, Row]:
    try:
        async with asyncio.timeout(_LIVE_SECONDS):
            return await engine.risk(account)
    except (Unavailable, TimeoutError):
        return {}


async def _losses(connection: AsyncConnection) -> dict[tuple[str, str, str], Row]:
    """What was lost, by scope, name and currency."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in await connection.execute(select(worths)):
        worth = Worth(row.day, row.opened, row.peak, row.value, row.capital)
        found[row.scope, row.name, row.quote] = {
            "of": f"{row.scope} {row.name}",
            "value": worth.value,
            "capital": worth.capital,
            "daily_loss": worth.daily_loss,
            "opened": worth.opened,
            "drawdown": worth.drawdown,
            "peak": worth.peak,
            "at": row.at,
        }
    return found
