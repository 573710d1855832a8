"""A deployment on a paper account, through a whole gateway that dies and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.bootstrap import Gateway, open_gateway
from cashup.exchanges.paper_terms import PaperTerms
from cashup.settings import Settings
from cashup.simulator.server import Simulator
from cashup.trading.funding import Funding
from cashup.trading.intents import parse_request
from cashup.types import Mode
from tests.contract.conftest import BTC, start_simulator
from tests.faults.checker import Checker
from tests.faults.venue_book import port_book
from tests.integration.trading.conftest import Desk, deploy

D = Decimal
TERMS = PaperTerms({"USDT": D(20_000)}, timeframe="1h", latency=1, jitter=2, liquidity=None)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = await start_simulator()
    yield simulator
    await simulator.stop()


async def take(gateway: Gateway, bar: int, target: float) -> dict[str, Any]:
    """Have the target traded; what the bar's last event says."""
    account = await gateway.accounts.get("toy")
    await gateway.feed.watch(account.venue, [BTC], "1h")
    await gateway.engine.submit("demo", 1, parse_request(str(bar), bar, {BTC: target}))
    _, exchange = await connect(gateway)
    return await Desk(gateway.database, exchange, gateway.engine, None).processed(bar)  # type: ignore[arg-type]


async def connect(gateway: Gateway) -> tuple[str, Any]:
    actor = await gateway.engine.actor("toy")
    return actor.venue, actor.exchange


async def check(gateway: Gateway) -> None:
    """The books are right, and are what the paper venue says."""
    _, exchange = await connect(gateway)
    assert await Checker(gateway.database, "toy", lambda: port_book(exchange, [BTC])).check_at_rest() == []


async def test_a_deployment_goes_on_after_a_restart(
    settings: Settings, simulator: Simulator, database: AsyncEngine
) -> None:
    async with open_gateway(settings) as gateway:
        made = await gateway.accounts.create(
            "toy", "gate", Mode.PAPER, None, by="admin", base_url=simulator.url, terms=TERMS
        )
        assert made.fingerprint == ""
        await deploy(database, account="toy")
        await gateway.engine.fund("toy", Funding("demo", D(10_000), "USDT", {}))
        bought = await take(gateway, 1, 0.5)
        assert D(bought["positions"][BTC]) == D("49.95")
        await check(gateway)
        _, exchange = await connect(gateway)
        before = await exchange.balances()
    simulator.control.step({})
    async with open_gateway(settings) as gateway:
        await gateway.engine.ready("toy")
        _, exchange = await connect(gateway)
        assert await exchange.balances() == before
        sold = await take(gateway, 2, 0.0)
        assert D(sold["cash"]) == 5000 + D("49.95") * 90 * D("0.999")
        await check(gateway)
    async with database.connect() as connection:
        fills = (await connection.execute(text("SELECT price FROM fills ORDER BY id"))).scalars().all()
    assert fills == [100, 90]
