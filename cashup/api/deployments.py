"""Deployments and their attempts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator

from cashup.api.access import DeploymentReader, GatewayParts, Reader, Supervisor, Trader, require_own
from cashup.api.answers import Rows
from cashup.api.modes import account_of, require_live_allowed
from cashup.errors import NotFound
from cashup.strategies.conduct import Conduct, conduct_of
from cashup.strategies.endings import Reason
from cashup.strategies.limits import Limits, Protection
from cashup.trading import views
from cashup.trading.deployments import Spec
from cashup.trading.endings import Place
from cashup.trading.halts import Scope
from cashup.trading.profit import profit_of, valued_positions
from cashup.types import Mode

router = APIRouter()

_TRADING: list[Any] = ["trading"]
_STRATEGY: list[Any] = ["strategy"]


class DeploymentBody(Conduct):
    """What shall run. Money is text. Without an account it is a paper account of the deployment's own."""

    notebook: str = Field(min_length=1, max_length=4096)
    params: dict[str, Any] = Field(default_factory=dict)
    account: str | None = Field(None, min_length=1, max_length=63)
    capital: Decimal = Field(gt=0, le=Decimal(10) ** 15, max_digits=34)
    symbols: list[str] | None = Field(None, max_length=100)
    timeframe: str | None = Field(None, max_length=8)
    notebook_hash: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the sources of the version")
    limits: Limits = Field(default_factory=Limits)
    protections: list[Protection] = Field(default_factory=list, max_length=20)
    allow_live: StrictBool = Field(False, description="yes, real money: needed to change what runs on a live account")

    @field_validator("capital", mode="before")
    @classmethod
    def _money_is_text(cls, value: object) -> object:
        if isinstance(value, float):
            raise ValueError(f'write money as text: "{value}"')  # noqa: TRY004  (pydantic reports ValueError only)
        return value

    def spec(self, account: str) -> Spec:
        """As it is stored, on `account`."""
        plain = {"notebook", "params", "symbols", "timeframe", "notebook_hash"}
        document = self.model_dump(mode="python", exclude_none=True, include=plain) | {
            "account": account,
            "capital": f"{self.capital:f}",
            "limits": self.limits.row(),
            **self.row(),
        }
        if self.protections:
            document["protections"] = [protection.row() for protection in self.protections]
        return Spec(self.notebook, account, self.capital, document)


class StartBody(BaseModel):
    """How sure one is."""

    model_config = ConfigDict(extra="forbid")

    allow_live: StrictBool = Field(False, description="yes, real money: needed on a live account")


class FinishBody(BaseModel):
    """How an attempt ended."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["finished", "failed"]
    exit_code: StrictInt | None = Field(None, ge=-(2**31), lt=2**31)
    message: str = Field("", max_length=10_000)
    output: str | None = Field(None, max_length=4096)
    reason: Reason = Field(Reason.STOPPED, description="why it ended")


class PlaceBody(BaseModel):
    """Where a worker will run."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=1, max_length=255, description="the machine's name")
    boot: str = Field(min_length=1, max_length=64, description="an id that is new with each start of the machine")


class AttemptBody(BaseModel):
    """Who begins it, and where."""

    model_config = ConfigDict(extra="forbid")

    holder: str | None = Field(None, min_length=1, max_length=200, description="the supervisor that works for it now")
    place: PlaceBody | None = None


_NOBODY = AttemptBody(holder=None)


@router.get("/deployments", tags=_TRADING)
async def list_deployments(claims: Reader, gateway: GatewayParts) -> list[dict[str, Any]]:
    """Every deployment, what is wished of it and what its newest attempt does."""
    return await gateway.deployments.all()


@router.get("/deployments/{name}", tags=_TRADING)
async def get_deployment(name: str, claims: DeploymentReader, gateway: GatewayParts) -> dict[str, Any]:
    """One deployment."""
    return await gateway.deployments.get(name)


@router.put("/deployments/{name}", tags=_TRADING)
async def put_deployment(name: str, body: DeploymentBody, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Store what shall run, on an account of yours; it runs when it is started.

    The deployment's own paper account, `paper-NAME`, is made with the capital when it is not there.
    """
    known = await gateway.deployments.exists(name)
    if known:
        await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    opening = {body.spec("").quote: body.capital}
    account = await account_of(gateway, claims, name, body.account, body, opening)
    if known and account.mode is Mode.LIVE and (await gateway.deployments.status(name)).desired != "stopped":
        await require_live_allowed(gateway, name, account, body, allowed=body.allow_live)
    return await gateway.deployments.put(name, body.spec(account.name), by=claims.subject)


@router.post("/deployments/{name}/start", tags=_TRADING)
async def start_deployment(
    name: str, claims: Trader, gateway: GatewayParts, body: StartBody | None = None
) -> dict[str, Any]:
    """Wish it to run. Its capital is taken out of what is free on the account."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    row = await gateway.deployments.get(name)
    account = await gateway.accounts.get(row["account"])
    allowed = body is not None and body.allow_live
    await require_live_allowed(gateway, name, account, conduct_of(row["spec"]), allowed=allowed)
    return await gateway.deployments.start(name, by=claims.subject)


@router.post("/deployments/{name}/stop", tags=_TRADING)
async def stop_deployment(name: str, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Wish it to stop; its `on_exit` says what becomes of its orders and positions."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.stop(name, by=claims.subject)


@router.post("/deployments/{name}/pause", tags=_TRADING)
async def pause_deployment(name: str, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Wish it to follow its bars and decide nothing; 409 when it is stopped."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.pause(name, by=claims.subject)


@router.post("/deployments/{name}/resume", tags=_TRADING)
async def resume_deployment(name: str, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Wish a paused one to decide again; 409 when it is stopped."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.resume(name, by=claims.subject)


@router.post("/deployments/{name}/restart", tags=_TRADING)
async def restart_deployment(name: str, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """End its attempt and begin another one of what is stored now; what is wished stays. 409 when it is stopped."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.restart(name, by=claims.subject)


@router.get("/deployments/{name}/orders", tags=["order"])
async def deployment_orders(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """The orders of a deployment, oldest first."""
    await gateway.deployments.status(name)
    return Rows(await views.list_orders(gateway.database, name))


@router.get("/deployments/{name}/fills", tags=["order"])
async def deployment_fills(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """The executions of a deployment, oldest first."""
    await gateway.deployments.status(name)
    return Rows(await views.list_fills(gateway.database, name))


@router.get("/deployments/{name}/positions", tags=_TRADING)
async def deployment_positions(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """What a deployment holds."""
    await gateway.deployments.status(name)
    return Rows(await valued_positions(gateway.database, await gateway.marks(), name))


@router.get("/deployments/{name}/profit", tags=_TRADING)
async def deployment_profit(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """What a deployment has earned: realised, unrealised at the newest price, and the fees that the account paid."""
    await gateway.deployments.get(name)
    profit = await profit_of(gateway.database, await gateway.marks(), name)
    if profit is None:
        raise NotFound(f"{name} has no capital yet; start it first")
    return Rows(profit)


@router.get("/deployments/{name}/equity", tags=_TRADING)
async def deployment_equity(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """What the book was worth right after the close of each decided bar, oldest first."""
    await gateway.deployments.status(name)
    return Rows(await views.list_equity(gateway.database, name))


@router.post("/deployments/{name}/attempts", tags=_STRATEGY, status_code=201)
async def new_attempt(
    name: str, claims: Supervisor, gateway: GatewayParts, body: AttemptBody = _NOBODY
) -> dict[str, Any]:
    """Begin an attempt: older ones lose, and the token in the answer is for the new one's worker alone.

    409 while another supervisor works for the deployment.
    """
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.new_attempt(name, claims, place_of(body.place), body.holder)


@router.post("/deployments/{name}/attempts/{number}/heartbeat", tags=_STRATEGY, status_code=204)
async def heartbeat(name: str, number: int, claims: Supervisor, gateway: GatewayParts) -> None:
    """The worker process of this attempt lives."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    await gateway.deployments.heartbeat(name, number)


@router.post("/deployments/{name}/attempts/{number}/finish", tags=_STRATEGY)
async def finish_attempt(
    name: str, number: int, body: FinishBody, claims: Supervisor, gateway: GatewayParts
) -> dict[str, Any]:
    """Record how an attempt ended; what follows: `stopped`, `again` in so many ms, or `given_up`."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    return await gateway.deployments.finish(name, number, **body.model_dump())


def place_of(body: PlaceBody | None) -> Place | None:
    """As the tables have it."""
    return None if body is None else Place(body.host, body.boot)
