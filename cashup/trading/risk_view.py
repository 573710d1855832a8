"""What the API shows of risk: whose limits hold for a deployment, how far they are used, and what holds orders back."""

from __future__ import annotations

from typing import Any

from cashup.trading.halts import Halt
from cashup.trading.oversight import Oversight
from cashup.trading.risk import Allowance, Lock, Standing
from cashup.types import Millis, Side


def risk_view(oversight: Oversight, now: Millis) -> dict[str, dict[str, Any]]:
    """Every deployment of an account, as things stand."""
    return {
        name: _standing(oversight.standing(name, marks, now), oversight.halts_of(name))
        for name, marks in oversight.marks()
    }


def _standing(standing: Standing, halts: list[Halt]) -> dict[str, Any]:
    """One deployment."""
    return {
        "state": standing.state.value,
        "halts": [halt.row() for halt in halts],
        "pauses": [_pause(lock) for lock in standing.locks],
        "limits": [_allowance(allowance) for allowance in standing.allowances],
    }


def _allowance(allowance: Allowance) -> dict[str, Any]:
    found: dict[str, Any] = {"of": allowance.name, "limits": allowance.limits.row()}
    exposure = allowance.exposure
    if exposure is None:
        return found
    used = {
        "equity": exposure.equity,
        "positions": {s: exposure.long(s) for s in {**exposure.values, **exposure.buys} if exposure.long(s)},
        "gross_exposure": exposure.gross(),
        "net_exposure": exposure.net(Side.BUY),
        "orders_last_minute": allowance.recent,
        "open_orders": allowance.open,
    }
    return {**found, "used": used}


def _pause(lock: Lock) -> dict[str, Any]:
    return {"code": lock.code, "symbol": lock.symbol, "reason": lock.reason, "until": lock.until}
