"""Deployments, attempts and the supervisor's lease on a real database, with the engine beneath."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.errors import Conflict, DeploymentError, NotFound
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.notifications.alerts import Alert, Alerts
from cashup.orders.journal import FenceLost
from cashup.strategies.endings import Reason
from cashup.trading import requests
from cashup.trading.commands import By
from cashup.trading.deployments import Deployments, Spec
from cashup.trading.endings import Place
from cashup.trading.engine import Engine
from cashup.trading.intents import parse_request
from cashup.trading.requests import Cancel
from cashup.trading.supervision import Supervision
from cashup.types import OrderType, Side, TimeInForce
from cashup.users.roles import Role
from cashup.users.tokens import Audience, Claims, Tokens
from tests.integration.trading.conftest import BTC, Prices

ANN = Claims("ann", Role.TRADER, Audience.API, 1, "id", 0)


def spec(capital: str = "10000", account: str = "main", **more: object) -> Spec:
    document = {"notebook": "sma.ipynb", "params": {"fast": 10}, "account": account, "capital": capital, **more}
    return Spec("sma.ipynb", account, Decimal(capital), document)


async def end(
    deployments: Deployments, name: str, number: int, reason: Reason, message: str = "it died"
) -> dict[str, Any]:
    """Record an end of this kind; what follows."""
    state = "finished" if reason is Reason.STOPPED else "failed"
    code = 1 if reason is Reason.STRATEGY_ERROR else 0
    about = {"exit_code": code, "message": message, "output": None}
    return await deployments.finish(name, number, state=state, reason=reason, **about)  # type: ignore[arg-type]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path, WallClock())


@pytest.fixture
async def engine(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> AsyncIterator[Engine]:
    exchange = PaperExchange(venue, paper_account)

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", exchange

    engine = Engine(database, WallClock(), marks, connect)
    yield engine
    await engine.stop()


@pytest.fixture
def deployments(database: AsyncEngine, engine: Engine, tokens: Tokens) -> Deployments:
    return Deployments(database, engine, tokens, WallClock(), lambda: None)


async def test_from_spec_to_attempt(deployments: Deployments, tokens: Tokens) -> None:
    row = await deployments.put("demo", spec(symbols=["BTC/USDT"], timeframe="1h"), by="ann")
    assert (row["desired"], row["attempt"], row["capital"], row["quote"]) == ("stopped", None, "10000", "USDT")
    with pytest.raises(Conflict, match="shall not run"):
        await deployments.new_attempt("demo", ANN)
    await deployments.start("demo", by="ann")
    attempt = await deployments.new_attempt("demo", ANN)
    assert (attempt["attempt"], attempt["notebook"], attempt["params"]) == (1, "sma.ipynb", {"fast": 10})
    claims = tokens.verify(attempt["token"], Audience.WORKER)
    assert (claims.subject, claims.deployment, claims.attempt, claims.fence) == ("ann", "demo", 1, 1)
    await deployments.ready("demo", 1, 3_600_000)
    await deployments.heartbeat("demo", 1)
    row = await deployments.get("demo")
    assert (row["state"], row["attempt"]["number"], row["attempt"]["bar"]) == ("ready", 1, 3_600_000)
    assert [row["name"] for row in await deployments.all()] == ["demo"]


async def test_a_new_attempt_takes_the_fence(deployments: Deployments, engine: Engine) -> None:
    await deployments.put("demo", spec(), by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    second = await deployments.new_attempt("demo", ANN)
    request = parse_request("1", 1, {BTC: 0.5})
    with pytest.raises(FenceLost):
        await engine.submit("demo", 1, request)
    answer = await engine.submit("demo", second["fence"], request)
    assert len(answer["orders"]) == 1
    with pytest.raises(Conflict, match="replaced"):
        await end(deployments, "demo", 1, Reason.STOPPED)


async def test_intents_of_a_stopped_deployment_are_refused(deployments: Deployments, engine: Engine) -> None:
    await deployments.put("demo", spec(), by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    await deployments.stop("demo", by="ann")
    with pytest.raises(FenceLost):
        await engine.submit("demo", 1, parse_request("1", 1, {BTC: 0.5}))
    await deployments.start("demo", by="ann")
    assert (await engine.submit("demo", 1, parse_request("1", 1, {BTC: 0.5})))["orders"]


async def test_a_paused_deployment_keeps_its_attempt_and_gets_new_ones(
    deployments: Deployments, engine: Engine
) -> None:
    await deployments.put("demo", spec(), by="ann")
    with pytest.raises(Conflict, match="is stopped"):
        await deployments.pause("demo", by="ann")
    await deployments.start("demo", by="ann")
    first = await deployments.new_attempt("demo", ANN)
    assert (await deployments.pause("demo", by="ann"))["desired"] == "paused"
    intent, by = parse_request("1", 1, {BTC: 0.5}), By("the worker", first["fence"])
    with pytest.raises(Conflict, match="demo is paused and decides nothing") as refused:
        await engine.submit("demo", first["fence"], intent)
    assert refused.value.code == "paused"
    await deployments.resume("demo", by="ann")
    terms = {"quantity": Decimal(1), "price": Decimal(50)}
    place = requests.Place("2", BTC, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, **terms)
    (order,) = (await engine.command("demo", place, by))["orders"]
    await deployments.pause("demo", by="ann")
    with pytest.raises(Conflict, match="is paused"):
        await engine.command("demo", replace(place, key="3"), by)
    assert (await engine.command("demo", Cancel("4", order), by))["orders"] == [order], "cancels pass"
    assert (await deployments.new_attempt("demo", ANN))["attempt"] == 2
    assert (await deployments.status("demo")).desired == "paused"
    assert (await deployments.resume("demo", by="ann"))["desired"] == "running"
    await deployments.stop("demo", by="ann")
    with pytest.raises(Conflict, match="is stopped"):
        await deployments.resume("demo", by="ann")


async def test_a_restart_asks_the_attempt_to_make_room_and_changes_no_wish(
    deployments: Deployments, database: AsyncEngine
) -> None:
    await deployments.put("demo", spec(), by="ann")
    with pytest.raises(Conflict, match="is stopped"):
        await deployments.restart("demo", by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    await deployments.pause("demo", by="ann")
    row = await deployments.restart("demo", by="ann")
    assert (row["desired"], row["fence"], row["renew"]) == ("paused", 1, 1)
    await deployments.new_attempt("demo", ANN)
    status = await deployments.status("demo")
    assert (status.fence, status.renew) == (2, 1)
    async with database.connect() as connection:
        found = await connection.execute(text("SELECT action FROM audit WHERE object = 'demo' ORDER BY id"))
        events = await connection.execute(
            text("SELECT data FROM outbox WHERE kind = 'deployment_changed' ORDER BY seq DESC LIMIT 1")
        )
    wishes = [action.removeprefix("deployment.") for action in found.scalars()]
    assert wishes == ["put", "start", "pause", "restart"]
    assert events.scalar_one() == {"deployment": "demo", "desired": "paused", "state": "starting", "renew": 1}


async def test_finish(deployments: Deployments) -> None:
    await deployments.put("demo", spec(), by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    await end(deployments, "demo", 1, Reason.STRATEGY_ERROR, "ValueError: x")
    row = await deployments.get("demo")
    assert (row["state"], row["message"], row["attempt"]["exit_code"]) == ("failed", "ValueError: x", 1)
    assert (row["reason"], row["attempt"]["reason"]) == ("strategy_error", "strategy_error")
    with pytest.raises(NotFound):
        await deployments.heartbeat("demo", 7)


async def test_who_gives_up_raises_an_alert_once(deployments: Deployments, database: AsyncEngine) -> None:
    alerts = Alerts(database, WallClock())
    await deployments.put("demo", spec(), by="ann")
    for number in (1, 2):
        await deployments.start("demo", by="ann")
        await deployments.new_attempt("demo", ANN)
        answer = await end(deployments, "demo", number, Reason.STRATEGY_ERROR, "ValueError: x")
        assert answer["verdict"] == "given_up"
    assert (await deployments.get("demo"))["desired"] == "stopped"
    (alert,) = await alerts.all()
    assert (alert["code"], alert["severity"], alert["times"]) == ("given_up", "critical", 2)
    assert "attempt 2 failed: ValueError: x" in alert["message"]
    assert [row["id"] for row in await alerts.all("other")] == []
    seen = await alerts.acknowledge(alert["id"], by="ann")
    assert (seen["acknowledged_by"], await alerts.acknowledge(alert["id"], by="bob")) == ("ann", seen)
    assert (await alerts.all(), len(await alerts.all(acknowledged=True))) == ([], 1)
    with pytest.raises(NotFound):
        await alerts.acknowledge(99, by="ann")
    await alerts.raise_(Alert("given_up", "again", deployment="demo"))
    assert [row["times"] for row in await alerts.all()] == [1]


async def test_deaths_are_counted_in_the_tables(
    deployments: Deployments, engine: Engine, tokens: Tokens, database: AsyncEngine
) -> None:
    few = {"limit": 2, "window": 100, "pause": 3, "longest": 5}
    await deployments.put("demo", spec(restarts=few), by="ann")
    await deployments.start("demo", by="ann")
    waits = []
    for number in (1, 2):
        # A gateway that was started anew, which knows nothing but the tables.
        deployments = Deployments(database, engine, tokens, WallClock(), lambda: None)
        await deployments.new_attempt("demo", ANN)
        answer = await end(deployments, "demo", number, Reason.KERNEL_DIED)
        waits.append((answer["verdict"], answer["again_in"], answer["deaths"]))
    assert waits == [("again", 0, 1), ("again", 3000, 2)]
    row = await deployments.get("demo")
    assert row["restarts"]["deaths"] == 2
    assert 0 < row["restarts"]["again_in"] <= 3000
    await deployments.new_attempt("demo", ANN)
    assert (await end(deployments, "demo", 3, Reason.HUNG))["verdict"] == "given_up"
    await deployments.start("demo", by="ann")  # somebody has looked: what was is forgiven
    assert (await deployments.get("demo"))["restarts"]["deaths"] == 0


async def test_an_upgrade_is_no_death_unless_the_worker_never_was_ready(deployments: Deployments) -> None:
    await deployments.put("demo", spec(restarts={"limit": 1}), by="ann")
    await deployments.start("demo", by="ann")
    for number in (1, 2, 3):
        await deployments.new_attempt("demo", ANN)
        await deployments.ready("demo", number, 3_600_000)
        assert (await end(deployments, "demo", number, Reason.GATEWAY_UPGRADED))["again_in"] == 0
    verdicts = []
    for number in (4, 5):
        await deployments.new_attempt("demo", ANN)
        verdicts.append((await end(deployments, "demo", number, Reason.GATEWAY_UPGRADED))["verdict"])
    assert verdicts == ["again", "given_up"]


async def test_attempts_from_before_the_machine_was_started_anew_are_lost(
    deployments: Deployments, supervision: Supervision, database: AsyncEngine
) -> None:
    for name in ("demo", "other", "elsewhere"):
        await deployments.put(name, spec("1000"), by="ann")
        await deployments.start(name, by="ann")
        host = "there" if name == "elsewhere" else "here"
        await deployments.new_attempt(name, ANN, Place(host, "first life"))
    await deployments.stop("other", by="ann")
    await supervision.take("here:1", Place("here", "first life"))
    assert {row["reason"] for row in await deployments.all()} == {None}
    await supervision.take("here:1", Place("here", "second life"))
    found = {row["name"]: (row["state"], row["reason"], row["restarts"]["deaths"]) for row in await deployments.all()}
    assert found == {
        "demo": ("lost", "rebooted", 0),
        "other": ("lost", "rebooted", 0),
        "elsewhere": ("starting", None, 0),
    }
    await deployments.new_attempt("demo", ANN, Place("here", "second life"))
    await deployments.new_attempt("demo", ANN, Place("here", "third life"))
    await deployments.new_attempt("demo", ANN, Place("here", "third life"))
    async with database.connect() as connection:
        reasons = await connection.execute(
            text("SELECT reason FROM attempts WHERE deployment = 'demo' ORDER BY number")
        )
        assert list(reasons.scalars()) == ["rebooted", "rebooted", "replaced", None]


async def test_a_worker_hangs_when_its_bars_stay_unanswered_for_a_while(
    deployments: Deployments, database: AsyncEngine
) -> None:
    await deployments.put("demo", spec(hang_bars=2), by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    now = WallClock().now()
    for bars, since, hangs in ((1, now - 60_000, False), (2, now, False), (2, now - 60_000, True), (0, None, False)):
        await deployments.behind("demo", 1, bars, since)
        assert (await deployments.get("demo"))["hung"] is hangs
    await deployments.put("demo", spec(hang_bars=0), by="ann")
    await deployments.behind("demo", 1, 99, now - 60_000)
    assert (await deployments.get("demo"))["hung"] is False


async def test_a_worker_that_does_not_come_back_hangs_too(deployments: Deployments, database: AsyncEngine) -> None:
    """A process that is stopped answers nothing, and its connection breaks: nobody sends it bars any more."""
    await deployments.put("demo", spec(timeframe="1m"), by="ann")
    await deployments.start("demo", by="ann")
    await deployments.new_attempt("demo", ANN)
    shown = []
    for ready, here in ((False, False), (True, False), (True, True)):
        if ready:
            await deployments.ready("demo", 1, 3_600_000)
        await deployments.present("demo", 1, here=here)
        async with database.begin() as connection:
            await connection.execute(text("UPDATE attempts SET away_since = away_since - 180000"))
        shown.append(((await deployments.get("demo"))["hung"], (await deployments.status("demo")).away))
    assert shown == [(False, True), (True, True), (False, False)]
    await deployments.absent()  # a gateway that comes back knows of nobody, and has patience with all
    assert ((await deployments.get("demo"))["hung"], (await deployments.status("demo")).away) == (False, True)


async def test_capital_must_be_covered(deployments: Deployments, database: AsyncEngine) -> None:
    await deployments.put("one", spec("20000"), by="ann")
    await deployments.put("two", spec("6000"), by="ann")
    await deployments.start("one", by="ann")
    with pytest.raises(Conflict, match="5000 free"):
        await deployments.start("two", by="ann")
    assert (await deployments.get("two"))["desired"] == "stopped"
    await deployments.put("one", spec("19000"), by="ann")  # running: the thousand is free at once
    await deployments.start("two", by="ann")
    with pytest.raises(Conflict, match="0 free"):
        await deployments.put("one", spec("19001"), by="ann")
    assert (await deployments.get("one"))["capital"] == "19000"
    async with database.connect() as connection:
        books = (await connection.execute(text("SELECT deployment, cash FROM books ORDER BY 1"))).all()
    assert [tuple(row) for row in books] == [("one", Decimal(19000)), ("two", Decimal(6000))]


async def test_a_book_stays_where_it_is(deployments: Deployments) -> None:
    await deployments.put("demo", spec(), by="ann")
    with pytest.raises(Conflict, match="another name"):
        await deployments.put("demo", spec(account="other"), by="ann")
    with pytest.raises(DeploymentError, match="one quote currency"):
        await deployments.put("mixed", spec(symbols=["BTC/USDT", "ETH/USDC"]), by="ann")


@pytest.fixture
def supervision(database: AsyncEngine) -> Supervision:
    return Supervision(database, WallClock())


async def test_one_supervisor_of_a_machine(supervision: Supervision) -> None:
    await supervision.take("host:1")
    await supervision.take("host:1")
    with pytest.raises(Conflict, match="host:1"):
        await supervision.take("host:2")
    await supervision.release("host:2")  # not the holder: nothing happens
    with pytest.raises(Conflict):
        await supervision.take("host:2")
    await supervision.release("host:1")
    await supervision.take("host:2")


async def test_two_supervisors_never_work_for_one_deployment(
    deployments: Deployments, supervision: Supervision, database: AsyncEngine
) -> None:
    for name in ("demo", "other"):
        await deployments.put(name, spec("4000"), by="ann")
        await deployments.start(name, by="ann")
    await supervision.take("machine")
    await supervision.take("pod", only="demo")
    with pytest.raises(Conflict, match="pod works for demo") as caught:
        await deployments.new_attempt("demo", ANN, holder="machine")
    assert caught.value.code == "supervised"
    with pytest.raises(Conflict, match="pod works for demo"):
        await deployments.new_attempt("demo", ANN)  # by hand
    assert (await deployments.get("demo"))["fence"] == 0
    assert (await deployments.new_attempt("demo", ANN, holder="pod"))["attempt"] == 1

    await deployments.new_attempt("other", ANN, holder="machine")
    assert (await supervision.take("machine", running=["other"])).lost == ()
    with pytest.raises(Conflict, match="machine works for other"):
        await supervision.take("pod 2", only="other")
    async with database.begin() as connection:  # the machine is silent for too long
        await connection.execute(text("UPDATE supervisor_leases SET expires = 1 WHERE holder = 'machine'"))
    await supervision.take("pod 2", only="other")
    assert (await supervision.take("machine", running=["demo", "other"])).lost == ("demo", "other")

    await supervision.release("pod 2", only="demo")  # has the other one
    with pytest.raises(Conflict):
        await supervision.take("machine", only="other")
    await supervision.release("pod 2", only="other")
    await deployments.new_attempt("other", ANN, holder="machine")
