"""Exchange accounts: stored with their keys, shown without them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import select

from cashup.api.access import GatewayParts, Reader, Trader, require_own
from cashup.bootstrap import Gateway
from cashup.exchanges.paper_terms import PaperTerms
from cashup.orders.tables import account_leases
from cashup.trading.halts import Scope
from cashup.types import Mode
from cashup.users.accounts import Account
from cashup.users.vault import Credentials

router = APIRouter(prefix="/accounts", tags=["exchange"])


class AccountBody(BaseModel):
    """A new account. Its key and secret are sealed at once and never shown again; a paper account has terms instead."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=63)
    exchange: str = "gate"
    mode: Mode
    key: SecretStr | None = Field(None, max_length=500)
    secret: SecretStr | None = Field(None, max_length=500)
    terms: dict[str, Any] | None = None
    base_url: str | None = Field(None, max_length=500)


class CountdownBody(BaseModel):
    """After how many seconds of the gateway's silence the venue cancels what rests: 10 to 600, or 0 for never."""

    model_config = ConfigDict(extra="forbid")

    seconds: int = Field(ge=0, le=600)


@router.post("", status_code=201)
async def create_account(body: AccountBody, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Store an account of yours."""
    account = await gateway.accounts.create(
        body.name,
        body.exchange,
        body.mode,
        _credentials(body),
        by=claims.subject,
        base_url=body.base_url,
        terms=PaperTerms.parse(body.terms) if body.terms is not None else None,
    )
    return _shown(account, {})


@router.get("")
async def list_accounts(claims: Reader, gateway: GatewayParts) -> list[dict[str, Any]]:
    """Every account, with its state: READY trades, RECONCILING compares with the venue, BLOCKED needs a person."""
    states = await _states(gateway)
    return [_shown(account, states) for account in await gateway.accounts.all()]


@router.get("/{name}")
async def get_account(name: str, claims: Reader, gateway: GatewayParts) -> dict[str, Any]:
    """One account."""
    return _shown(await gateway.accounts.get(name), await _states(gateway))


@router.put("/{name}/countdown")
async def put_countdown(name: str, body: CountdownBody, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Set the dead man's switch of an account of yours."""
    await require_own(claims, gateway, Scope.ACCOUNT, name)
    account = await gateway.accounts.set_countdown(name, body.seconds, by=claims.subject)
    return _shown(account, await _states(gateway))


def _credentials(body: AccountBody) -> Credentials | None:
    if body.key is None and body.secret is None:
        return None
    key, secret = (word.get_secret_value() if word is not None else "" for word in (body.key, body.secret))
    return Credentials(key, secret)


async def _states(gateway: Gateway) -> dict[str, tuple[str, str]]:
    columns = (account_leases.c.account, account_leases.c.state, account_leases.c.message)
    async with gateway.database.connect() as connection:
        return {name: (state, message) for name, state, message in await connection.execute(select(*columns))}


def _shown(account: Account, states: dict[str, tuple[str, str]]) -> dict[str, Any]:
    state, message = states.get(account.name, ("idle", ""))
    return {
        "name": account.name,
        "user": account.user,
        "exchange": account.exchange,
        "mode": account.mode,
        "base_url": account.base_url,
        "fingerprint": account.fingerprint,
        "state": state.upper(),
        "message": message,
        "created_at": account.created_at,
        "countdown": account.countdown,
        "terms": account.terms.document() if account.terms is not None else None,
        "assumptions": account.terms.assumptions() if account.terms is not None else [],
    }
