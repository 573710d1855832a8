"""Alerts: what somebody must look at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.api.answers import Rows
from cashup.trading.halts import Scope

router = APIRouter(tags=["notification"])

Deployment = Annotated[str | None, Query(max_length=63, description="of this deployment only")]
Acknowledged = Annotated[bool, Query(description="also what somebody has looked at")]
Ident = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/alerts")
async def list_alerts(
    claims: Reader, gateway: GatewayParts, deployment: Deployment = None, acknowledged: Acknowledged = False
) -> Rows:
    """What stands, the newest first."""
    return Rows(await gateway.alerts.all(deployment, acknowledged=acknowledged))


@router.post("/alerts/{ident}/acknowledge")
async def acknowledge_alert(ident: Ident, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """You have looked: it stands no more. Of a deployment its owner may say so, of everything else an admin."""
    deployment = (await gateway.alerts.get(ident))["deployment"]
    await require_own(claims, gateway, Scope.DEPLOYMENT if deployment else Scope.ALL, deployment)
    return await gateway.alerts.acknowledge(ident, by=claims.subject)
