"""Halts, the kill switch, and flattening."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.api.answers import Rows
from cashup.trading.halts import Scope
from cashup.trading.kill import Kill

router = APIRouter(tags=["trading"])

Name = Annotated[str, Query(max_length=63, description="whose; empty for everything")]


class KillBody(BaseModel):
    """What shall be killed. Without a name only `all` can be."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    name: str = Field("", max_length=63)
    flatten: StrictBool = Field(False, description="also sell what is held, at the market")
    external: StrictBool = Field(False, description="with everything: also cancel orders that CashUp did not make")
    reason: str = Field("", max_length=500)


@router.get("/halts")
async def list_halts(claims: Reader, gateway: GatewayParts) -> Rows:
    """Every halt that is latched, whoever or whatever set it, oldest first."""
    return Rows([halt.row() for halt in await gateway.halts.all()])


@router.get("/kills")
async def list_kills(claims: Reader, gateway: GatewayParts) -> Rows:
    """Every kill, and how far it is on each account."""
    return Rows(await gateway.kills.all())


@router.post("/kills", status_code=201)
async def kill(body: KillBody, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Block all new orders in the scope, cancel what rests, and sell what is held if asked to. Until it is lifted.

    You may kill what is yours; an admin may kill all of it.
    """
    await require_own(claims, gateway, body.scope, body.name)
    return await gateway.kills.kill(Kill(**body.model_dump()), by=claims.subject)


@router.delete("/kills", status_code=204)
async def unkill(scope: Scope, claims: Trader, gateway: GatewayParts, name: Name = "") -> None:
    """Lift a kill: orders pass again, unless another halt holds them back."""
    await require_own(claims, gateway, scope, name)
    await gateway.kills.unkill(scope, name, by=claims.subject)


@router.post("/deployments/{name}/flatten", status_code=202)
async def flatten(name: str, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Cancel what rests of a deployment and sell what it holds. It may buy again when its strategy says so."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.kills.flatten(name, by=claims.subject)


@router.get("/deployments/{name}/flatten")
async def flattening(name: str, claims: Reader, gateway: GatewayParts) -> dict[str, Any]:
    """How far the flattening of a deployment is."""
    return await gateway.kills.flattening(name)
