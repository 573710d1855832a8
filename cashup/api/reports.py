"""What a report of live against its re-run is made of, and the reports that were made."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator

from cashup.api.access import DeploymentReader, GatewayParts, Trader, require_own
from cashup.api.answers import Rows
from cashup.clock import timeframe_millis
from cashup.errors import UsageError
from cashup.markets.seen_bars import read_seen
from cashup.notifications.alerts import Alert, raise_alert
from cashup.storage.database import transaction
from cashup.trading.decisions import PAGE, list_decisions, list_payments
from cashup.trading.halts import Scope
from cashup.trading.live_reports import add_report, list_reports
from cashup.trading.waterfall.band import BAND, drift, within
from cashup.types import Symbol

router = APIRouter(tags=["trading"])

LATEST = 1 << 53
BARS = 10_000
"""Bars of record that one answer holds at most; the venue itself gives fewer."""

Time = Annotated[int, Query(ge=0, lt=LATEST, description="ms, UTC")]
Name = Annotated[str, Query(max_length=50, description="such as BTC/USDT")]
Timeframe = Annotated[str, Query(max_length=8, description="such as 1h")]


class ReportBody(BaseModel):
    """A report. Money is text; `parts` sum to `total`, and `document` is all that it says."""

    model_config = ConfigDict(extra="forbid")

    first_bar: StrictInt = Field(ge=0, lt=LATEST)
    last_bar: StrictInt = Field(ge=0, lt=LATEST)
    total: Decimal = Field(max_digits=60)
    parts: dict[str, Decimal] = Field(max_length=20)
    document: dict[str, Any]

    @field_validator("total", mode="before")
    @classmethod
    def _money_is_text(cls, value: object) -> object:
        if isinstance(value, float):
            raise ValueError(f'write money as text: "{value}"')  # noqa: TRY004  (pydantic reports ValueError only)
        return value


@router.get("/deployments/{name}/decisions")
async def deployment_decisions(
    name: str,
    claims: DeploymentReader,
    gateway: GatewayParts,
    since: Time = 0,
    until: Time | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> Rows:
    """What was decided on the bars that opened in [since, until), at which prices, and what risk said; oldest first."""
    await gateway.deployments.status(name)
    return Rows(await list_decisions(gateway.database, name, since, until, limit))


@router.get("/deployments/{name}/payments")
async def deployment_payments(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """When the deployment got capital or gave some back, oldest first."""
    await gateway.deployments.status(name)
    return Rows(await list_payments(gateway.database, name))


@router.get("/deployments/{name}/markets")
async def deployment_markets(name: str, claims: DeploymentReader, gateway: GatewayParts) -> Rows:
    """The venue's steps, minimums and public fees for what the deployment trades or has traded, by symbol."""
    shown = await gateway.deployments.get(name)
    account = await gateway.accounts.get(shown["account"])
    markets = await (await gateway.feed.exchange(account.venue)).markets()
    return Rows(
        {
            market.symbol: {field: getattr(market, field) for field in market.__slots__}
            for market in markets.values()
            if market.quote == shown["quote"]
        }
    )


@router.get("/deployments/{name}/bars")
async def deployment_bars(
    name: str,
    symbol: Name,
    timeframe: Timeframe,
    since: Time,
    until: Time,
    claims: DeploymentReader,
    gateway: GatewayParts,
    seen: Annotated[bool, Query(description="as live trading saw them; false: as the venue has them today")] = True,
) -> Rows:
    """Closed bars that opened in [since, until), oldest first: [time, open, high, low, close, volume].

    An answer is cut after some thousand bars; ask on from the last one.
    """
    shown = await gateway.deployments.get(name)
    account = await gateway.accounts.get(shown["account"])
    length = timeframe_millis(timeframe)
    if seen:
        return Rows(await read_seen(gateway.database, account.venue, symbol, timeframe, since, until, BARS))
    exchange = await gateway.feed.exchange(account.venue)
    if symbol not in await exchange.markets():
        raise UsageError(f"{account.venue} has no market {symbol}", code="symbol")
    until = min(until, since + BARS * length)
    found = await exchange.candles(Symbol(symbol), timeframe, since)
    bars = [candle for candle in found if candle.closed and candle.time < until]
    return Rows([[c.time, *(float(v) for v in (c.open, c.high, c.low, c.close, c.volume))] for c in bars])


@router.get("/deployments/{name}/reports")
async def deployment_reports(
    name: str,
    claims: DeploymentReader,
    gateway: GatewayParts,
    limit: Annotated[int, Query(ge=1, le=1_000, description="the newest so many")] = 30,
) -> Rows:
    """The reports of live against its re-run that were made, newest first."""
    await gateway.deployments.status(name)
    return Rows(await list_reports(gateway.database, name, limit))


@router.post("/deployments/{name}/reports", status_code=201)
async def add_deployment_report(name: str, body: ReportBody, claims: Trader, gateway: GatewayParts) -> dict[str, Any]:
    """Store a report; when live has left the deployment's band around its re-run, that is an alert."""
    await require_own(claims, gateway, Scope.DEPLOYMENT, name)
    if sum(body.parts.values(), Decimal(0)) != body.total:
        raise UsageError("the parts of a report sum to its total")
    shown = await gateway.deployments.get(name)
    band = Decimal(str(shown["spec"].get("report_band", BAND)))
    capital = Decimal(shown["capital"])
    row = {
        "deployment": name,
        "at": gateway.clock.now(),
        "quote": shown["quote"],
        "capital": capital,
        "band": band,
        "in_band": within(body.total, capital, band),
        **{field: getattr(body, field) for field in ("first_bar", "last_bar", "total", "document")},
    }
    async with transaction(gateway.database) as connection:
        ident = await add_report(connection, row)
        if not row["in_band"]:
            sentence = drift(name, body.total, capital, band, body.parts, shown["quote"])
            await raise_alert(connection, Alert("drift", sentence, deployment=name), row["at"])
    gateway.relay.wake()
    return {"id": ident, "in_band": row["in_band"]}
