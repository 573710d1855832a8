"""How deployments stand: what is wished, what their newest attempt does, and what is known of both, for the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, and_, func, select

from cashup.clock import timeframe_millis
from cashup.strategies.conduct import conduct_of
from cashup.trading.endings import again_in, deaths_of, exits
from cashup.trading.tables import attempts, books, deployments
from cashup.types import Millis

HANG_MILLIS: Millis = 10_000
"""So long a worker may leave bars unanswered before it counts as hung: a simulated market closes many in a second."""

AWAY_MILLIS: Millis = 60_000
"""So long at least a worker may be without its connection, which it looks for every five seconds."""


def shown(now: Millis) -> Select[Any]:
    """Deployments with their newest attempt, the last decided bar, their workers' deaths and their exit."""
    died, left = deaths_of(now), exits()
    exit_ = func.to_jsonb(left.table_valued()).label("exit")
    newest = and_(attempts.c.deployment == deployments.c.name, attempts.c.number == deployments.c.fence)
    attempt = func.to_jsonb(attempts.table_valued()).label("attempt")
    return (
        select(deployments, attempt, books.c.decided, died.c.deaths, died.c.last, exit_)
        .outerjoin(attempts, newest)
        .outerjoin(died, died.c.deployment == deployments.c.name)
        .outerjoin(left, left.c.deployment == deployments.c.name)
        .outerjoin(books, books.c.deployment == deployments.c.name)
        .order_by(deployments.c.name)
    )


def view(row: dict[str, Any], now: Millis) -> dict[str, Any]:
    """A deployment as the API shows it at `now`."""
    spec = row["spec"]
    attempt = row["attempt"]
    deaths = row["deaths"] or 0
    return {
        "name": row["name"],
        "account": row["account"],
        "owner": row["owner"],
        "notebook": spec["notebook"],
        "params": spec.get("params", {}),
        "capital": f"{row['capital']:f}",
        "quote": row["quote"],
        "symbols": spec.get("symbols"),
        "timeframe": spec.get("timeframe"),
        "limits": spec.get("limits", {}),
        "mode": spec.get("mode"),
        "version": spec.get("version"),
        "spec": spec,
        "desired": row["desired"],
        "fence": row["fence"],
        "renew": row["renew"],
        "state": attempt["state"] if attempt else None,
        "reason": attempt["reason"] if attempt else None,
        "message": attempt["message"] if attempt else "",
        "restarts": {"deaths": deaths, "again_in": again_in(spec, deaths, row["last"], now)},
        "hung": _hangs(spec, attempt, now),
        "exit": {key: row["exit"][key] for key in ("on_exit", "state", "message")} if row["exit"] else None,
        "attempt": {key: value for key, value in attempt.items() if key != "deployment"} if attempt else None,
        "last_decided": row["decided"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _hangs(spec: Mapping[str, Any], attempt: Mapping[str, Any] | None, now: Millis) -> bool:
    """True when the worker was sent as many bars as it may be, some time ago, and answered none of them.

    Or when it was ready once, and has been away for as long: what does not run does not connect again either.
    """
    most = conduct_of(spec).hang_bars
    if attempt is None or attempt["finished_at"] is not None or not most:
        return False
    if attempt["away_since"] is not None and attempt["state"] == "ready":
        bars = most * timeframe_millis(spec.get("timeframe") or "1m")
        return bool(now - attempt["away_since"] >= max(bars, AWAY_MILLIS))
    return bool(attempt["behind"] >= most and now - attempt["behind_since"] >= HANG_MILLIS)
