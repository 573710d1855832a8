"""Orders, fills, positions and events over all deployments, and what an operator accepts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.api.answers import Rows
from cashup.storage.outbox import read_events
from cashup.trading import views
from cashup.trading.halts import Scope
from cashup.trading.profit import valued_positions

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=views.MOST, description="the newest so many rows")]
Deployment = Annotated[str | None, Query(max_length=63, description="of this deployment only")]


@router.get("/orders", tags=["order"])
async def list_orders(
    claims: Reader, gateway: GatewayParts, deployment: Deployment = None, limit: Limit = views.MOST
) -> Rows:
    """Orders, oldest first."""
    return Rows(await views.list_orders(gateway.database, deployment, limit))


@router.get("/fills", tags=["order"])
async def list_fills(
    claims: Reader, gateway: GatewayParts, deployment: Deployment = None, limit: Limit = views.MOST
) -> Rows:
    """Executions, oldest first."""
    return Rows(await views.list_fills(gateway.database, deployment, limit))


@router.get("/positions", tags=["trading"])
async def list_positions(claims: Reader, gateway: GatewayParts, deployment: Deployment = None) -> Rows:
    """What is held, what it cost, and what it is worth at the newest price."""
    return Rows(await valued_positions(gateway.database, await gateway.marks(), deployment))


@router.get("/ledger", tags=["trading"])
async def list_ledger(
    claims: Reader,
    gateway: GatewayParts,
    deployment: Deployment = None,
    account: Annotated[str | None, Query(max_length=63, description="of this account only")] = None,
    limit: Limit = 1_000,
) -> Rows:
    """The entries of the ledger, oldest first, each with the balance after it."""
    return Rows(await views.list_ledger(gateway.database, deployment, account, limit))


@router.get("/accounts/{name}/reconciliation", tags=["exchange"])
async def get_reconciliation(name: str, claims: Reader, gateway: GatewayParts) -> Rows:
    """What the last comparison of the books with the venue found: what each says, why probably, and what to do."""
    await gateway.accounts.get(name)
    return Rows(await views.reconciliation(gateway.database, name))


@router.get("/events", tags=["notification"])
async def list_events(
    claims: Reader,
    gateway: GatewayParts,
    stream: Annotated[str | None, Query(max_length=100, description="such as deployment:demo or account:*")] = None,
    after: Annotated[int, Query(ge=0, description="events with a higher number only")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Rows:
    """What happened, in order. Ask again with the last number to go on."""
    async with gateway.database.connect() as connection:
        events = await read_events(connection, after, None if stream is None else [stream], limit)
    return Rows(
        [
            {"seq": event.seq, "stream": event.stream, "kind": event.kind.value, "at": event.at, "data": event.data}
            for event in events
        ]
    )


@router.post("/accounts/{name}/accept-difference", tags=["exchange"], status_code=204)
async def accept_difference(name: str, claims: Trader, gateway: GatewayParts) -> None:
    """You have looked: the difference that blocks the account is booked as it is, and the account compared again."""
    await gateway.accounts.get(name)
    await require_own(claims, gateway, Scope.ACCOUNT, name)
    await gateway.engine.accept_difference(name, claims.subject)
