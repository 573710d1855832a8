"""Is it well? One question per domain, each with a check that looks at the real thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.api.access import GatewayParts
from cashup.bootstrap import Gateway
from cashup.errors import CashUpError
from cashup.orders.tables import account_leases, orders
from cashup.storage.database import check_safety, durability
from cashup.storage.outbox import outbox
from cashup.storage.schema import check_head
from cashup.trading.tables import attempts, deployments
from cashup.types import Mode, OrderState
from cashup.users.tables import users

Detail = dict[str, Any]
Check = Callable[[Gateway], Awaitable[Detail]]

CHECK_SECONDS = 5.0
RELAY_LAG_MILLIS = 5_000
FRAME_AGE_SECONDS = 60.0
UNKNOWN_MILLIS = 60_000
LOOP_LAG_SECONDS = 0.5


class Unwell(CashUpError):
    """A check did not pass; the message says what is wrong and what to do."""


async def _one(engine: AsyncEngine, query: Any) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(query)).scalar_one()


async def check_user(gateway: Gateway) -> Detail:
    """People can log in: the table answers, somebody is in it, attempts can be counted."""
    count = await _one(gateway.database, select(func.count()).select_from(users).where(~users.c.disabled))
    await gateway.redis.ping()
    if not count:
        raise Unwell("nobody can log in; create a user with `cashup user create`")
    return {"users": count}


async def check_trading(gateway: Gateway) -> Detail:
    """No account is blocked."""
    query = select(account_leases.c.account, account_leases.c.state, account_leases.c.message)
    async with gateway.database.connect() as connection:
        rows = (await connection.execute(query)).all()
    if blocked := [row for row in rows if row.state == "blocked"]:
        raise Unwell(f"account {blocked[0].account} is blocked: {blocked[0].message}")
    return {"accounts": {row.account: row.state for row in rows}}


async def check_exchange(gateway: Gateway) -> Detail:
    """The keys of every account open, and every venue in use is connected."""
    accounts = await gateway.accounts.all()
    for account in accounts:
        await gateway.accounts.credentials(account.name)
    if cut := sorted({channel.venue for channel in gateway.feed.channels() if not channel.connected}):
        raise Unwell(f"{cut[0]} is not connected; the gateway keeps trying")
    return {"accounts": len(accounts), "venues": sorted({channel.venue for channel in gateway.feed.channels()})}


async def check_strategy(gateway: Gateway) -> Detail:
    """What shall run has an attempt that runs."""
    alive = select(attempts.c.deployment).where(attempts.c.state.in_(["starting", "ready"]))
    wanted = select(deployments.c.name).where(deployments.c.desired != "stopped")
    async with gateway.database.connect() as connection:
        running = (await connection.execute(wanted)).scalars().all()
        missing = (await connection.execute(wanted.where(deployments.c.name.not_in(alive)))).scalars().all()
    if missing:
        raise Unwell(f"deployment {missing[0]} shall run and no worker does it; is the supervisor up?")
    return {"running": len(running)}


async def check_market(gateway: Gateway) -> Detail:
    """Every channel has moved lately."""
    now = time.monotonic()
    ages = {f"{c.symbol} {c.timeframe} on {c.venue}": now - c.newest_at for c in gateway.feed.channels() if c.newest}
    if stale := [name for name, age in ages.items() if age > FRAME_AGE_SECONDS]:
        raise Unwell(f"no news of {stale[0]} for {ages[stale[0]]:.0f} s")
    return {"channels": len(ages), "oldest_seconds": round(max(ages.values(), default=0.0), 1)}


async def check_notification(gateway: Gateway) -> Detail:
    """Events reach those who listen: how many are behind, and since when."""
    query = select(func.count(), func.min(outbox.c.at)).where(outbox.c.seq > gateway.events.last)
    async with gateway.database.connect() as connection:
        waiting, oldest = (await connection.execute(query)).one()
    lag = gateway.clock.now() - oldest if oldest is not None else 0
    if lag > RELAY_LAG_MILLIS:
        raise Unwell(f"{waiting} events wait since {lag / 1000:.0f} s; is Redis up?")
    return {"waiting": waiting, "lag_ms": lag, "listening": gateway.events.listening}


async def check_order(gateway: Gateway) -> Detail:
    """No order's fate is unknown for long."""
    open_states = [state.value for state in OrderState if not state.terminal]
    since = gateway.clock.now() - UNKNOWN_MILLIS
    lost = select(func.count()).where(orders.c.state == OrderState.UNKNOWN.value, orders.c.updated_at < since)
    working = await _one(gateway.database, select(func.count()).where(orders.c.state.in_(open_states)))
    if unknown := await _one(gateway.database, lost):
        raise Unwell(f"the fate of {unknown} orders is unknown for more than a minute; look at `cashup orders`")
    return {"working": working}


async def check_config(gateway: Gateway) -> Detail:
    """The settings are sound: a database that keeps what it confirms, with the schema of this version."""
    async with gateway.database.connect() as connection:
        await check_safety(connection, Mode.LIVE)
        await check_head(connection)
        return {"durability": await durability(connection)}


async def check_monitoring(gateway: Gateway) -> Detail:
    """This process keeps up: its event loop is not late."""
    lag = gateway.lag
    if lag.latest > LOOP_LAG_SECONDS:
        raise Unwell(f"the gateway's event loop is {lag.latest:.1f} s late; the machine or the process is overloaded")
    return {"loop_lag_ms": round(lag.latest * 1000, 1), "worst_ms": round(lag.worst * 1000, 1)}


CHECKS: dict[str, Check] = {
    "user": check_user,
    "trading": check_trading,
    "exchange": check_exchange,
    "strategy": check_strategy,
    "market": check_market,
    "notification": check_notification,
    "order": check_order,
    "config": check_config,
    "monitoring": check_monitoring,
}
"""The nine domains."""


async def examine(domain: str, gateway: Gateway) -> dict[str, Any]:
    """The outcome of one domain's check: `domain`, `status` (`ok` or `failing`), `message`, `detail`."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return {"domain": domain, "status": "ok", "message": "", "detail": await CHECKS[domain](gateway)}
    except CashUpError as error:
        message = str(error)
    except TimeoutError:
        message = f"no answer within {CHECK_SECONDS:.0f} s"
    except Exception as error:  # noqa: BLE001  (whatever breaks a check is its finding)
        message = f"the check failed: {type(error).__name__}"
    return {"domain": domain, "status": "failing", "message": message, "detail": {}}


def install(app: FastAPI) -> None:
    """Add `/health` and one `/health/{domain}` per domain, each in its own section of the docs."""
    router = APIRouter(
        prefix="/health", responses={503: {"description": "Something is not well; the answer says what."}}
    )

    @router.get("", tags=["monitoring"])
    async def health(gateway: GatewayParts, response: Response) -> dict[str, Any]:
        """All nine domains; 503 when one fails."""
        found = await asyncio.gather(*(examine(domain, gateway) for domain in CHECKS))
        failing = [one["domain"] for one in found if one["status"] != "ok"]
        response.status_code = 503 if failing else 200
        return {"status": "failing" if failing else "ok", "domains": {one.pop("domain"): one for one in found}}

    for domain, check in CHECKS.items():
        router.add_api_route(
            f"/{domain}",
            _endpoint(domain),
            methods=["GET"],
            tags=[domain],
            summary=f"Health of {domain}",
            description=check.__doc__,
            name=f"health_{domain}",
        )
    app.include_router(router)


def _endpoint(domain: str) -> Callable[[Gateway, Response], Awaitable[dict[str, Any]]]:
    async def endpoint(gateway: GatewayParts, response: Response) -> dict[str, Any]:
        found = await examine(domain, gateway)
        response.status_code = 200 if found["status"] == "ok" else 503
        return found

    return endpoint
