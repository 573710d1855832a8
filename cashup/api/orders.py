"""Single orders by hand: place, cancel, amend. Each request carries a key, so that repeating it does nothing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.api.answers import Rows
from cashup.bootstrap import Gateway
from cashup.errors import NotFound
from cashup.trading import views
from cashup.trading.commands import By
from cashup.trading.explain import explain
from cashup.trading.halts import Scope
from cashup.trading.requests import parse_amend, parse_cancel, parse_place
from cashup.users.tokens import Claims

router = APIRouter(tags=["order"])

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key", max_length=64, description="yours to choose; the same key again gives the same answer"
    ),
]


class OrderBody(BaseModel):
    """An order. Amounts are text of plain digits, such as "0.25": a market buy has a cost, any other a quantity."""

    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(max_length=50)
    side: str = Field(max_length=10, description="buy or sell")
    type: str | None = Field(None, max_length=10, description="market or limit; a limit when there is a price")
    time_in_force: str | None = Field(None, max_length=10, description="gtc, ioc, fok, or poc (post-only)")
    quantity: str | None = Field(None, max_length=60, description="base currency")
    cost: str | None = Field(None, max_length=60, description="quote currency")
    price: str | None = Field(None, max_length=60)


class TermsBody(BaseModel):
    """Other terms for an order that rests; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    quantity: str | None = Field(None, max_length=60, description="all of it, what is filled included; base currency")
    price: str | None = Field(None, max_length=60)


def _of_placed(operation: str) -> dict[str, Any]:
    """What can be done with the order that an answer to placing names, as the schema of the API says it."""
    return {"operationId": operation, "parameters": {"order": "$response.body#/orders/0"}}


PLACED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "what was decided; `orders` names the order unless it was denied",
        "links": {
            "get": _of_placed("get_order_api_v1_orders__order__get"),
            "explain": _of_placed("explain_order_api_v1_orders__order__explain_get"),
            "amend": _of_placed("amend_order_api_v1_orders__order__patch"),
            "cancel": _of_placed("cancel_order_api_v1_orders__order__cancel_post"),
        },
    }
}


@router.post("/deployments/{name}/orders", status_code=201, responses=PLACED)
async def place_order(name: str, body: OrderBody, key: Key, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Place an order for a deployment, with its money and under its limits; the decisions say when it was denied."""
    request = parse_place(key, body.model_dump(exclude_none=True))
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    await gateway.watch_price(name, request.symbol)
    return await gateway.engine.command(name, request, _by(claims))


@router.get("/orders/{order}")
async def get_order(order: str, claims: Reader, gateway: GatewayParts) -> dict[str, Any]:
    """One order, by our id or the venue's."""
    found = await views.find_order(gateway.database, order)
    if found is None:
        raise NotFound(f"there is no order {order}")
    return found


@router.get("/orders/{order}/explain")
async def explain_order(order: str, claims: Reader, gateway: GatewayParts) -> Rows:
    """Why an order is what it is: bar, target, plan, risk, request, answers, fills, ledger; in order of time.

    `order` is our id or the venue's, or the beginning of one that no other order has.
    """
    return Rows(await explain(gateway.database, order))


@router.post("/orders/{order}/cancel")
async def cancel_order(order: str, key: Key, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """End an order, by our id or the venue's. It is `working` until the venue has said what became of it."""
    request = parse_cancel(key, order)
    return await gateway.engine.command(await _own(claims, gateway, order), request, _by(claims))


@router.patch("/orders/{order}")
async def amend_order(order: str, body: TermsBody, key: Key, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Give a resting order another quantity or price. It is `working` until the venue has said what became of it."""
    request = parse_amend(key, order, body.model_dump(exclude_none=True))
    return await gateway.engine.command(await _own(claims, gateway, order), request, _by(claims))


async def _own(claims: Claims, gateway: Gateway, order: str) -> str:
    """The deployment of an order, which is the asking person's own."""
    deployment = await gateway.engine.owner_of(order)
    await require_own(claims, gateway, Scope.DEPLOYMENT, deployment)
    return deployment


def _by(claims: Claims) -> By:
    return By(claims.subject)
