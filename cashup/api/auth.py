"""Logging in, and the tokens of the other surfaces."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from cashup.api.access import GatewayParts, Person, Reader
from cashup.users.tokens import LIFETIME, Audience

router = APIRouter(prefix="/auth", tags=["user"])


class LoginBody(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=100)
    password: SecretStr = Field(max_length=1000)


@router.post("/login")
async def login(body: LoginBody, request: Request, gateway: GatewayParts) -> dict[str, Any]:
    """An access token for a name and a password."""
    address = request.client.host if request.client else "local"
    token = await gateway.login.login(body.name, body.password.get_secret_value(), address)
    return _token(token, Audience.API)


@router.get("/me")
async def me(claims: Reader) -> dict[str, Any]:
    """Who the token belongs to."""
    return {
        "name": claims.subject,
        "role": claims.role,
        "audience": claims.audience,
        "expires_at": claims.expires_at,
    }


@router.post("/renew")
async def renew(claims: Person, gateway: GatewayParts) -> dict[str, Any]:
    """Another access token for one that is still good: for processes that run longer than a token lives."""
    token = gateway.tokens.issue(claims.subject, Audience.API, role=claims.role, session=claims.session)
    return _token(token, Audience.API)


@router.post("/view-token")
async def view_token(claims: Person, gateway: GatewayParts) -> dict[str, Any]:
    """A token that can only read, for a dashboard."""
    token = gateway.tokens.issue(claims.subject, Audience.VIEW, role=claims.role, session=claims.session)
    return _token(token, Audience.VIEW)


def _token(token: str, audience: Audience) -> dict[str, Any]:
    return {"access_token": token, "token_type": "bearer", "expires_in": LIFETIME[audience] // 1000}
