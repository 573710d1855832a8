"""The order path against a perfect exchange, by rules that strike in any order.

The engine, PostgreSQL and the tables are the real ones; the exchange is the paper venue, which is perfect, behind a
network that is not; time is virtual. After each rule everything that may never be so is looked for; at the end all is
healed, every deployment asks for nothing, and the books must equal the exchange to the last digit.

A failing example is printed as a list of rules, shrunk, with a blob that reproduces it. Each of the four groups runs 12
examples of up to 30 rules; `CASHUP_PROOF_SCALE=10` runs ten times as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cashup.storage.embedded import EmbeddedServers
from cashup.trading.halts import Scope
from cashup.trading.intents import Request
from cashup.trading.requests import parse_amend, parse_cancel, parse_place
from cashup.types import Side
from tests.faults.scale import times
from tests.faults.simulation.database import create
from tests.faults.simulation.strategy import BTC, ETH
from tests.faults.simulation.world import ACCOUNT, DEPLOYMENTS
from tests.faults.stage import Stage

GROUPS = 4
EXAMPLES = 12
STEPS = 30

pytestmark = pytest.mark.faults

D = Decimal
deployments = st.sampled_from(DEPLOYMENTS)
weights = st.sampled_from([None, D(0), D("0.1"), D("0.25"), D("0.5")])
symbols = st.sampled_from([BTC, ETH])
sides = st.sampled_from(Side)
rates = st.sampled_from([0.3, 1.0])
places = st.sampled_from(
    [
        (Scope.ALL, ""),
        (Scope.USER, "ann"),
        (Scope.ACCOUNT, ACCOUNT),
        *((Scope.DEPLOYMENT, name) for name in DEPLOYMENTS),
    ]
)


class OrderPath(RuleBasedStateMachine):
    """What may happen to the order path."""

    intents = Bundle("intents")

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._outside = 0

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        self.stage = Stage(self._url, seed)

    # -- asked for --------------------------------------------------------------------------------------------------

    @rule(target=intents, deployment=deployments, btc=weights, eth=weights)
    def targets(self, deployment: str, btc: Decimal | None, eth: Decimal | None) -> tuple[str, Request]:
        return deployment, self.stage.submit(deployment, {BTC: btc, ETH: eth})

    @rule(intent=intents)
    def the_same_again(self, intent: tuple[str, Request]) -> None:
        self.stage.repeat(*intent)

    @rule(intent=consumes(intents))
    def the_same_key_with_another_body(self, intent: tuple[str, Request]) -> None:
        self.stage.contradict(*intent)

    @rule(deployment=deployments, symbol=symbols, tenths=st.integers(1, 10))
    def a_market_buy(self, deployment: str, symbol: str, tenths: int) -> None:
        body = {"symbol": symbol, "side": "buy", "cost": str(100 * tenths)}
        self.stage.command(deployment, lambda key: parse_place(key, body))

    @rule(
        deployment=deployments,
        side=sides,
        percent=st.integers(-3, 3),
        lots=st.integers(1, 50),
        tif=st.sampled_from(["gtc", "gtc", "poc", "ioc", "fok"]),
    )
    def a_limit_order(self, deployment: str, side: Side, percent: int, lots: int, tif: str) -> None:
        price = self.stage.venue.paper.matchers[BTC].price
        assert price is not None
        body = {"symbol": BTC, "side": side.value, "type": "limit", "time_in_force": tif}
        body |= {"quantity": str(D(lots) / 1000), "price": str((price * (100 + percent) / 100).quantize(D("0.1")))}
        self.stage.command(deployment, lambda key: parse_place(key, body))

    @rule(choice=st.integers(0, 9))
    def a_cancel(self, choice: int) -> None:
        for deployment, order in self._resting(choice):
            self.stage.command(deployment, partial(parse_cancel, order=order))

    @rule(choice=st.integers(0, 9), lots=st.integers(1, 50), price=st.none() | st.integers(45_000, 55_000))
    def an_amendment(self, choice: int, lots: int, price: int | None) -> None:
        body = {"quantity": str(D(lots) / 1000)} | ({} if price is None else {"price": str(price)})
        for deployment, order in self._resting(choice):
            self.stage.command(deployment, partial(parse_amend, order=order, body=body))

    def _resting(self, choice: int) -> Iterator[tuple[str, str]]:
        resting = self.stage.resting()
        if resting:
            yield resting[choice % len(resting)]

    # -- the market -------------------------------------------------------------------------------------------------

    @rule(symbol=symbols, bips=st.integers(-300, 300))
    def the_price_moves(self, symbol: Any, bips: int) -> None:
        self.stage.move(symbol, bips, None)

    @rule(symbol=symbols, bips=st.integers(-100, 100), lots=st.integers(0, 30))
    def the_price_moves_in_a_thin_market(self, symbol: Any, bips: int, lots: int) -> None:
        self.stage.move(symbol, bips, D(lots) / 1000)

    @rule(side=sides)
    def somebody_trades_on_the_web_site(self, side: Side) -> None:
        self._outside += 1
        if self._outside < 20:
            self.stage.trade_outside(side, self._outside)

    @rule()
    def somebody_leaves_an_order_on_the_web_site(self) -> None:
        self._outside += 1
        self.stage.rest_outside(self._outside)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    # -- the way to the venue ---------------------------------------------------------------------------------------

    @rule(
        fault=st.sampled_from(["not_sent", "lost_request", "late", "error_before", "too_many", "refused"]), rate=rates
    )
    def requests_suffer(self, fault: str, rate: float) -> None:
        setattr(self.stage.venue.weather, fault, rate)

    @rule(fault=st.sampled_from(["lost_answer", "error_after"]), rate=rates)
    def answers_suffer(self, fault: str, rate: float) -> None:
        setattr(self.stage.venue.weather, fault, rate)

    @rule(fault=st.sampled_from(["failed_read", "stale_read"]), rate=rates)
    def reads_suffer(self, fault: str, rate: float) -> None:
        setattr(self.stage.venue.weather, fault, rate)

    @rule(fault=st.sampled_from(["lost_frame", "repeated_frame", "overtaking_frame", "late_frame"]), rate=rates)
    def frames_suffer(self, fault: str, rate: float) -> None:
        setattr(self.stage.venue.weather, fault, rate)

    @rule()
    def messages_arrive_again(self) -> None:
        self.stage.calm()

    @rule()
    def the_streams_break(self) -> None:
        self.stage.venue.break_streams()

    @rule(seconds=st.sampled_from([2.0, 20.0]))
    def the_streams_fall_silent(self, seconds: float) -> None:
        self.stage.silence(seconds)

    @rule(seconds=st.sampled_from([2.0, 30.0]))
    def the_venue_is_down(self, seconds: float) -> None:
        self.stage.outage_of(seconds)

    # -- gateways ---------------------------------------------------------------------------------------------------

    @rule()
    def another_gateway_starts(self) -> None:
        self.stage.open_gateway()

    @rule()
    def a_gateway_dies(self) -> None:
        self.stage.crash()

    @rule()
    def a_gateway_is_stopped(self) -> None:
        self.stage.stop()

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def a_gateway_freezes(self, seconds: float) -> None:
        self.stage.freeze(seconds)

    @rule()
    def the_lease_is_taken_away(self) -> None:
        self.stage.steal_lease()

    # -- operators --------------------------------------------------------------------------------------------------

    @rule(place=places, flatten=st.booleans())
    def somebody_kills(self, place: tuple[Scope, str], flatten: bool) -> None:
        self.stage.kill(*place, flatten=flatten)

    @rule(place=places)
    def somebody_lifts_a_kill(self, place: tuple[Scope, str]) -> None:
        self.stage.unkill(*place)

    @rule(deployment=deployments)
    def a_loss_limit_latches(self, deployment: str) -> None:
        self.stage.reduce(deployment)

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "stage"))
    def nothing_is_as_it_may_never_be(self) -> None:
        found = self.stage.check()
        assert found == [], "\n".join(found)

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            try:
                found = self.stage.finish()
                assert found == [], "\n".join(found)
            finally:
                self.stage.close()


@pytest.fixture(scope="module", autouse=True)
def _silence() -> Iterator[None]:
    """What the engine logs of thousands of faults nobody reads."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_order_path_is_as_good_as_a_perfect_exchange(servers: EmbeddedServers, group: int) -> None:
    url = create(servers.database_url, f"model_{group}")
    machine: Callable[[], OrderPath] = lambda: OrderPath(url)  # noqa: E731
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=times(EXAMPLES),
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
