"""Risk: limits, how far they are used, and what holds orders back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.api.answers import Rows
from cashup.errors import Forbidden
from cashup.strategies.limits import Limits
from cashup.trading.halts import Scope
from cashup.trading.risk_report import risk_report
from cashup.users.roles import Role

router = APIRouter(prefix="/risk", tags=["trading"])


@router.get("")
async def list_risk(claims: Reader, gateway: GatewayParts) -> Rows:
    """Every deployment: its state and why, its limits and how far they are used, what was lost, what is paused."""
    return Rows(await risk_report(gateway.database, gateway.engine))


@router.get("/limits")
async def list_limits(claims: Reader, gateway: GatewayParts) -> Rows:
    """The limits of accounts and users. Those of a deployment are in its spec."""
    return Rows(await gateway.risk_limits.all())


@router.put("/limits/{scope}/{name}", status_code=204)
async def put_limits(scope: Scope, name: str, body: Limits, claims: Trader, gateway: GatewayParts) -> None:
    """Set the limits of an account of yours; an admin sets those of every account and user. All of them at once."""
    await gateway.kills.owner(scope, name)
    await require_own(claims, gateway, scope, name)
    if scope is Scope.USER and not claims.role.covers(Role.ADMIN):
        raise Forbidden("the limits of users are set by an admin")
    await gateway.risk_limits.put(scope, name, body, by=claims.subject)


@router.delete("/latches", status_code=204)
async def clear_latch(
    scope: Scope,
    code: Annotated[str, Query(max_length=63, description="such as daily_loss or max_drawdown")],
    claims: Trader,
    gateway: GatewayParts,
    name: Annotated[str, Query(max_length=63)] = "",
) -> None:
    """Lift what a loss has latched, and measure losses from now on. A kill is lifted by `DELETE /kills`."""
    await require_own(claims, gateway, scope, name)
    if scope is Scope.USER and not claims.role.covers(Role.ADMIN):
        raise Forbidden("what is latched for a user is lifted by an admin")
    await gateway.risk_limits.clear(scope, name, code, by=claims.subject)
