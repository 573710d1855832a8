"""Whatever is sent to the API, it answers in its own form, as its schema says, and never with a defect."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from schemathesis.checks import CheckContext, negative_data_rejection, positive_data_acceptance
from schemathesis.config import SchemathesisConfig
from sqlalchemy import text

from cashup.api.app import create_app
from cashup.api.server import listen, make_server
from cashup.bootstrap import Gateway, open_gateway
from cashup.exchanges.rules import gate_market
from cashup.settings import Settings
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.storage.embedded import EmbeddedServers
from tests.conftest import copied_database
from tests.faults.checker import Checker
from tests.faults.house import build
from tests.faults.scale import times
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.test_gateway import BTC, ETH, START, bars
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

MAY_BE = {
    # What is well formed may still be wrong, taken, not there, not allowed, or wait for a venue that stays silent.
    "positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 409, 422, 429, 503]},
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 503]},
}
config = SchemathesisConfig.from_dict({"checks": MAY_BE})
schema = schemathesis.openapi.from_dict(create_app(None).openapi(), config=config)  # type: ignore[arg-type]

ORDERS = "/api/v1/orders/{order}"
LINKED = schema.include(path_regex=r"^/api/v1/(orders/\{order\}.*|deployments/\{name\}/orders)$").exclude(
    method="GET", path="/api/v1/deployments/{name}/orders"
)
BID = {"symbol": BTC, "side": "buy", "quantity": "0.05", "price": "100"}
UNASKED = [negative_data_rejection, positive_data_acceptance]
"""The checks that do not know what was put in place of what was made up."""


@schemathesis.check
def in_the_form_of_errors(ctx: CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """An error is a code and a sentence; none is a defect, nor blames the stores, which are well."""
    if response.status_code >= 400 and case.path != "/health" and not case.path.startswith("/health/"):
        problem = response.json()["error"]
        assert set(problem) == {"code", "message"}
        assert problem["code"] != "internal"
        assert "database or Redis" not in problem["message"]


@dataclass
class Served:
    """A gateway in a thread of its own, and the tokens of people in it."""

    url: str
    tokens: dict[str, str]
    order: str

    def headers(self, person: str) -> dict[str, str]:
        """What shows who asks."""
        return {"Authorization": f"Bearer {self.tokens[person]}"}


async def check(gateway: Gateway, simulator: Simulator) -> None:
    """After all of it, books, tables and venue agree: nothing was half stored."""

    async def book() -> VenueBook:
        return simulator_book(simulator.control.book({}), "main", simulator.limits.violations)

    async def rest() -> bool:
        query = "SELECT count(*) FROM intents WHERE finished_at IS NULL"
        async with gateway.database.connect() as connection:
            return (await connection.execute(text(query))).scalar_one() == 0

    await until(rest, 60)
    assert await Checker(gateway.database, "main", book).check_at_rest() == []


@contextmanager
def serving(servers: EmbeddedServers, template: str, home: Path) -> Iterator[Served]:
    """A gateway with people in it, which agrees with its venue at the end."""
    found: list[Served] = []
    up, over = Event(), Event()

    async def serve(settings: Settings) -> None:
        venue = Venue(Tape(bars()), {symbol: gate_market(symbol) for symbol in (BTC, ETH)}, start=START)
        async with Simulator(venue) as simulator, open_gateway(settings) as gateway:
            server = uvicorn.Server(make_server(gateway).config)  # ours takes signals, which a thread cannot
            customer = simulator.venue.accounts.create("main", {"USDT": Decimal(1000)})
            with listen("127.0.0.1", 0) as listening:
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                    keys = {"key": customer.key, "secret": customer.secret}
                    house = await build(gateway, url, http, simulator.url, keys)
                tokens = {name: token for name, token in house.tokens.items() if token}
                found.append(Served(url, tokens, house.order))
                up.set()
                await asyncio.to_thread(over.wait)
                await check(gateway, simulator)
                server.should_exit = True
                await serving

    with copied_database(servers, template) as database:
        settings = Settings(home=home, database_url=database, redis_url=servers.redis_url)  # type: ignore[arg-type]
        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(lambda: asyncio.run(serve(settings)))
            assert up.wait(60)
            yield found[0]
            over.set()
            serving.result(120)


@pytest.fixture(scope="module")
def served(
    servers: EmbeddedServers, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One for all requests, whatever those before have made of it."""
    with serving(servers, template_database, tmp_path_factory.mktemp("home")) as served:
        yield served


@pytest.fixture
def fresh(servers: EmbeddedServers, template_database: str, tmp_path: Path) -> Iterator[Served]:
    """One to which nobody has done anything yet."""
    with serving(servers, template_database, tmp_path) as served:
        yield served


def examples(count: int) -> hypothesis.settings:
    """So many requests of each operation; three people make 50."""
    everything = list(hypothesis.HealthCheck)
    return hypothesis.settings(
        max_examples=times(count), deadline=None, derandomize=True, database=None, suppress_health_check=everything
    )


@schema.parametrize()
@examples(15)
def test_an_admin_may_send_anything(case: schemathesis.Case, served: Served) -> None:
    case.call_and_validate(base_url=served.url, headers=served.headers("admin"))


@schema.parametrize()
@examples(10)
def test_a_viewer_may_send_anything(case: schemathesis.Case, served: Served) -> None:
    case.call_and_validate(base_url=served.url, headers=served.headers("viewer"))


@schema.parametrize()
@examples(25)
def test_a_trader_may_send_anything_about_what_is_theirs(case: schemathesis.Case, served: Served) -> None:
    name = "main" if "/accounts/" in case.path or "/risk/" in case.path else "demo"
    known = {"name": name, "order": served.order, "number": "1", "ident": "1", "scope": "account"}
    case.path_parameters.update({key: known[key] for key in case.path_parameters})
    case.call_and_validate(base_url=served.url, headers=served.headers("owner"), excluded_checks=UNASKED)


def test_what_is_placed_is_got_amended_and_cancelled(fresh: Served) -> None:
    """The links of the schema, followed in every order, with real orders and made-up ones."""
    seen: Counter[tuple[str, int]] = Counter()

    class Orders(LINKED.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: schemathesis.Case) -> None:
            if "name" in case.path_parameters:
                case.path_parameters["name"], case.body = "demo", BID
            elif case.method == "PATCH":
                case.body = {"price": f"{90 + seen.total() % 10}"}
            if case.method in ("POST", "PATCH"):
                case.headers["Idempotency-Key"] = f"story {seen.total()}"

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": fresh.url, "headers": fresh.headers("owner")}

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case) -> None:
            seen[case.operation.label, response.status_code] += 1

        def validate_response(
            self, response: schemathesis.Response, case: schemathesis.Case, *_: Any, **kwargs: Any
        ) -> None:
            case.validate_response(response, excluded_checks=UNASKED, transport_kwargs=kwargs)

    Orders.run(settings=hypothesis.settings(examples(30), stateful_step_count=10))
    done = {f"GET {ORDERS}", f"GET {ORDERS}/explain", f"PATCH {ORDERS}", f"POST {ORDERS}/cancel"}
    assert {label for label, status in seen if status == 200} == done, seen
