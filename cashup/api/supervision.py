"""Supervisors: the lease by which they work, and the token of one that keeps a single deployment."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from cashup.api.access import GatewayParts, Supervisor, Trader, require_bound, require_own
from cashup.api.deployments import PlaceBody, place_of
from cashup.storage.database import transaction
from cashup.trading.halts import Scope
from cashup.users.audit import record
from cashup.users.tokens import LIFETIME, Audience

router = APIRouter(tags=["strategy"])

_DAY = 24 * 3_600_000
_LONGEST_DAYS = 366

Name = Annotated[str, Field(min_length=1, max_length=63)]


class LeaseBody(BaseModel):
    """Who wants to start workers, and which."""

    model_config = ConfigDict(extra="forbid")

    holder: str = Field(min_length=1, max_length=200)
    place: PlaceBody | None = None
    only: Name | None = Field(
        None, description="the one deployment that it keeps; without it all that nobody else does"
    )
    running: list[Name] = Field(default_factory=list, max_length=1000, description="deployments it works for now")


class TokenBody(BaseModel):
    """How long the token is good for."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(LIFETIME[Audience.SUPERVISOR] // _DAY, ge=1, le=_LONGEST_DAYS)


@router.post("/supervisor/lease")
async def take_supervision(body: LeaseBody, claims: Supervisor, gateway: GatewayParts) -> dict[str, Any]:
    """Take or renew the right to start workers; 409 while another supervisor has it.

    `lost` in the answer are those of `running` that another supervisor works for now.
    """
    await require_bound(claims, gateway, body.only, f"supervisor:{body.only or 'machine'}")
    for name in [*([body.only] if body.only else []), *body.running]:
        await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    hold = await gateway.supervision.take(body.holder, place_of(body.place), only=body.only, running=body.running)
    return {"holder": body.holder, "expires": hold.expires, "lost": hold.lost}


@router.delete("/supervisor/lease", status_code=204)
async def end_supervision(holder: str, claims: Supervisor, gateway: GatewayParts) -> None:
    """Give the right to start workers back."""
    await gateway.supervision.release(holder, only=claims.deployment)


@router.post("/deployments/{name}/supervisor-token", status_code=201)
async def supervisor_token(
    name: str, claims: Trader, gateway: GatewayParts, body: TokenBody | None = None
) -> dict[str, Any]:
    """A token with which a supervisor can keep this deployment running, and do nothing else; for a pod's secret.

    It ends with its days, or when its user gets another password or is disabled.
    """
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    await gateway.deployments.status(name)
    lifetime = (body or TokenBody()).days * _DAY
    token = gateway.tokens.issue(
        claims.subject,
        Audience.SUPERVISOR,
        role=claims.role,
        session=claims.session,
        deployment=name,
        lifetime=lifetime,
    )
    async with transaction(gateway.database) as connection:
        detail = {"days": lifetime // _DAY}
        now = gateway.clock.now()
        await record(connection, at=now, subject=claims.subject, action="supervisor.token", target=name, detail=detail)
    return {"access_token": token, "token_type": "bearer", "expires_in": lifetime // 1000}
