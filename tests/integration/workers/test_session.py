"""The session of a worker over a real socket: warm-up, decisions, reconnects, resumption, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import cashup as cu
from cashup.errors import Conflict, IntegrityError, IntentQuotaExceeded, NotebookError, Unauthenticated, WorkFailed
from cashup.strategies.bars import Bars
from cashup.workers.link import STOP, Link
from cashup.workers.session import Session, require_tradable, subscription_of
from cashup.workers.status import Status

from .conftest import FIRST, HOUR, TOKEN, Scripted


def target(bars: cu.Bars) -> Any:
    return (bars.close.diff() > 0).astype(float)


class Running:
    """A session on a thread, as the main thread of a kernel would run it."""

    def __init__(
        self, gateway: Scripted, token: str = TOKEN, strategy: cu.Strategy | None = None, **options: Any
    ) -> None:
        settings = {"symbols": ["ETH/USDT"], "timeframe": "1h", "warmup": 4} | options
        strategy = strategy or cu.Strategy(settings.pop("target", target), **settings)
        self.strategy = strategy
        self.link = Link(gateway.url, token, subscription_of(strategy))
        self.status = Status("demo", 1)
        self.error: Exception | None = None
        self.session = Session(strategy, self.link, self.status)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self.link:
            try:
                self.session.trade()
            except Exception as error:  # noqa: BLE001  (what ends a session is what the tests look at)
                self.error = error

    def stop(self) -> None:
        self.link.inbox.put(STOP)
        self.join()
        if self.error is not None:
            raise self.error

    def join(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def run(gateway: Scripted) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(gateway, **options))
        return started[-1]

    yield start
    for running in started:
        running.link.inbox.put(STOP)
        running.thread.join(30)


def ready(gateway: Scripted, times: int = 1) -> None:
    gateway.wait_for(lambda: [m["type"] for m in gateway.messages].count("ready") == times)


def intents(gateway: Scripted, count: int) -> list[int]:
    gateway.wait_for(lambda: len(gateway.intents) >= count)
    return [(intent["bar"] - FIRST) // HOUR for intent in gateway.intents]


def test_a_fresh_deployment_decides_at_the_first_close_after_it_is_ready(gateway: Scripted, run: Any) -> None:
    running = run()
    ready(gateway)
    assert gateway.intents == []
    bars = [gateway.close_bar() for _ in range(3)]
    intents(gateway, 3)
    running.stop()
    assert [intent["bar"] for intent in gateway.intents] == bars
    assert [intent["key"] for intent in gateway.intents] == [str(bar) for bar in bars]
    # Prices of bars 39 to 42: 109, 105, 101, 108.
    assert [intent["targets"]["ETH/USDT"] for intent in gateway.intents] == [0.0, 0.0, 1.0]


def test_a_resumed_deployment_decides_the_newest_bar_if_it_was_not(gateway: Scripted, run: Any) -> None:
    gateway.last_decided = FIRST + 36 * HOUR
    run()
    assert intents(gateway, 1) == [39]


def test_a_resumed_deployment_does_not_decide_a_bar_twice(gateway: Scripted, run: Any) -> None:
    gateway.last_decided = FIRST + 39 * HOUR
    run()
    ready(gateway)
    gateway.close_bar()
    assert intents(gateway, 1) == [40]


def test_bars_that_close_while_an_intent_is_on_its_way_are_decided_in_order(gateway: Scripted, run: Any) -> None:
    gateway.answering = False
    run()
    ready(gateway)
    first = gateway.close_bar()
    assert intents(gateway, 1) == [40]
    gateway.close_bar()
    gateway.close_bar()
    gateway.answering = True
    gateway.send({"type": "intent.accepted", "key": str(first), "state": "done", "decisions": [], "orders": []})
    assert intents(gateway, 3) == [40, 41, 42]


def test_an_unanswered_intent_is_repeated_with_its_key_after_a_reconnect(gateway: Scripted, run: Any) -> None:
    gateway.answering = False
    running = run()
    ready(gateway)
    bar = gateway.close_bar()
    intents(gateway, 1)
    gateway.last_decided = None  # the gateway died before it stored the intent
    gateway.answering = True
    gateway.disconnect()
    gateway.wait_for(lambda: [m.get("key") for m in gateway.messages].count(str(bar)) == 2)
    first, second = [m for m in gateway.messages if m["type"] == "intent"]
    assert first == second
    gateway.close_bar()
    assert intents(gateway, 2) == [40, 41]  # it goes on, so the repetition was answered
    assert running.status.decided in (bar, bar + HOUR)  # the second answer may be on its way


def test_a_bar_that_closed_while_the_connection_was_lost_is_decided(gateway: Scripted, run: Any) -> None:
    run()
    ready(gateway)
    gateway.go_away()
    gateway.closed += 1
    gateway.come_back()
    assert intents(gateway, 1) == [40]
    gateway.close_bar()
    assert intents(gateway, 2) == [40, 41]


def test_a_keep_is_sent_as_null(gateway: Scripted, run: Any) -> None:
    run(target=lambda bars: bars.close * float("nan"))
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    assert gateway.intents[0]["targets"] == {"ETH/USDT": None}


def test_too_little_history_means_waiting(gateway: Scripted, run: Any) -> None:
    gateway.closed = 3
    running = run()
    ready(gateway)
    gateway.close_bar()
    gateway.close_bar()
    assert intents(gateway, 1) == [4]
    running.stop()


def test_a_stop_of_the_gateway_ends_the_session(gateway: Scripted, run: Any) -> None:
    running = run()
    ready(gateway)
    gateway.send({"type": "stop", "reason": "a newer attempt works for this deployment"})
    running.join()
    assert running.error is None
    assert "a newer attempt" in running.status.text()


def test_what_the_strategy_raises_ends_the_session(gateway: Scripted, run: Any) -> None:
    def wrong(bars: cu.Bars) -> Any:
        raise ZeroDivisionError("no luck")

    running = run(target=wrong)
    ready(gateway)
    gateway.close_bar()
    running.join()
    assert isinstance(running.error, ZeroDivisionError)


@pytest.mark.parametrize(("code", "error"), [("conflict", Conflict), ("limit", WorkFailed)])
def test_a_refused_intent_ends_the_session(gateway: Scripted, run: Any, code: str, error: type[Exception]) -> None:
    gateway.answering = False
    running = run()
    ready(gateway)
    bar = gateway.close_bar()
    intents(gateway, 1)
    gateway.send({"type": "intent.refused", "key": str(bar), "code": code, "message": "because"})
    running.join()
    assert isinstance(running.error, error)
    assert "because" in str(running.error)


def test_an_intent_too_many_is_repeated_a_little_later(gateway: Scripted, run: Any) -> None:
    gateway.answering = False
    run()
    ready(gateway)
    bar = gateway.close_bar()
    intents(gateway, 1)
    gateway.answering = True
    gateway.send({"type": "intent.refused", "key": str(bar), "code": IntentQuotaExceeded.code, "message": "too many"})
    gateway.wait_for(lambda: [m.get("key") for m in gateway.messages].count(str(bar)) == 2)
    gateway.close_bar()
    assert len(intents(gateway, 2)) == 2


def test_a_refused_token_ends_the_session(gateway: Scripted, run: Any) -> None:
    running = run(token="expired")
    running.join()
    assert isinstance(running.error, Unauthenticated)


def test_a_renewed_token_is_used_for_the_next_connection(gateway: Scripted, run: Any) -> None:
    running = run()
    ready(gateway)
    gateway.send({"type": "token", "token": "renewed"})
    gateway.close_bar()
    intents(gateway, 1)
    gateway.disconnect()
    running.join()
    assert isinstance(running.error, Unauthenticated)  # this server knows the old token only


def test_a_gap_in_time_is_no_reason_to_trade_wrongly(gateway: Scripted, run: Any) -> None:
    running = run()
    ready(gateway)
    gateway.send({"type": "bar", "time": FIRST, "bars": {"ETH/USDT": [1, 1, 1, 1, 1]}})
    running.join()
    assert isinstance(running.error, IntegrityError)


def test_watched_symbols_are_seen_and_not_traded(gateway: Scripted, run: Any) -> None:
    gateway.symbols = ["ETH/USDT", "BTC/USDT"]

    def follow(bars: cu.Bars) -> Any:
        return bars.close.mul(0).add((bars.watch.close["BTC/USDT"].diff() > 0).astype(float), axis=0)

    running = run(target=follow, watch=["BTC/USDT"])
    ready(gateway)
    for _ in range(4):
        gateway.close_bar()
    intents(gateway, 4)
    running.stop()
    assert gateway.messages[0]["symbols"] == ["ETH/USDT", "BTC/USDT"]
    # BTC/USDT's bars 43 to 46 after 42: 108, 104, 100, 107, 103.
    assert [intent["targets"] for intent in gateway.intents] == [{"ETH/USDT": up} for up in (0.0, 0.0, 1.0, 0.0)]


def test_higher_timeframes_own_series_indicators_and_a_model_work_live(gateway: Scripted, run: Any) -> None:
    """The decisions of the worker are those of the whole history, to the last digit."""
    model = cu.RollingModel(
        LinearRegression,
        features=lambda bars: {"change": bars.close.diff()},
        label=lambda bars: bars.close.diff().shift(-1),
        train="10h",
        every="5h",
        lookback=1,
    )
    mood = pd.Series([0.0, 1.0], index=pd.to_datetime([FIRST, FIRST + 42 * HOUR + 1], unit="ms", utc=True))

    @cu.indicator
    def change(bars: cu.Bars) -> Any:
        return bars.at("4h").align(bars.at("4h").close.diff())

    def mixed(bars: cu.Bars) -> Any:
        known = bars.known(mood).to_numpy()[:, None]
        return 0.5 + model.predict(bars) / 50 + change(bars) / 100 + known / 10

    warmup = model.warmup("1h")
    running = run(target=mixed, warmup=warmup)
    ready(gateway)
    for _ in range(6):
        gateway.close_bar()
    intents(gateway, 6)
    running.stop()

    rows = np.array([gateway._ohlcv(number) for number in range(46)]).T[:, :, None]
    whole = Bars(FIRST + np.arange(46, dtype=np.int64) * HOUR, ["ETH/USDT"], "1h", np.ascontiguousarray(rows))
    strategy = cu.Strategy(mixed, symbols=["ETH/USDT"], timeframe="1h", warmup=warmup)
    expected = strategy.targets(whole)["ETH/USDT"].iloc[40:].tolist()
    assert len(set(expected)) >= 4
    assert [intent["targets"]["ETH/USDT"] for intent in gateway.intents] == expected


def test_a_universe_works_live(gateway: Scripted, run: Any) -> None:
    gateway.symbols = ["ETH/USDT", "BTC/USDT"]
    rule = cu.Universe(top=1, by=lambda bars: bars.close, over="2h", listed="2h", every="1h")
    running = run(target=lambda bars: bars.close * 0 + 1, symbols=gateway.symbols, universe=rule, warmup=6)
    ready(gateway)
    for _ in range(6):
        gateway.close_bar()
    intents(gateway, 6)
    running.stop()
    # By the closes of bars 40 to 45: ETH's is 1 above BTC's, but in bar 44 it is 100 to 110.
    chosen = ["".join(symbol for symbol, held in intent["targets"].items() if held) for intent in gateway.intents]
    assert chosen == ["ETH/USDT"] * 4 + ["BTC/USDT", "ETH/USDT"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stop_loss": 0.05}, "has stops"),
        ({"symbols": ["BTC/USDT:USDT"], "leverage": 2}, "a leverage of 2"),
        ({"symbols": ["BTC/USDT:USDT"]}, "the contract BTC/USDT:USDT"),
        ({"watch": ["BTC/USDT:USDT"], "sees": ["funding"]}, "funding among what it sees"),
    ],
)
def test_what_is_not_traded_live_yet_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        require_tradable(cu.Strategy(target, **{"symbols": ["ETH/USDT"], "timeframe": "1h", "warmup": 4} | options))
    require_tradable(cu.Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, watch=["BTC/USDT"]))


def test_the_refusal_comes_before_the_token_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASHUP_WORKER", "1")
    with pytest.raises(NotebookError, match="not traded live yet"):
        cu.run(cu.Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, trailing_stop=0.1))


@pytest.mark.parametrize("listed", [38, 41], ids=["inside the history", "after it"])
def test_a_candidate_that_lists_late_is_decided_as_in_a_backtest(gateway: Scripted, run: Any, listed: int) -> None:
    """A window with a symbol that has no bar yet is full; the symbol has NaN there, and joins when it has bars."""
    gateway.symbols = ["ETH/USDT", "NEW/USDT"]
    gateway.listed = {"NEW/USDT": listed}
    universe = cu.Universe(top=2, over="2h", listed="1h", every="1h", by=lambda bars: bars.close)
    strategy = cu.Strategy(held, symbols=gateway.symbols, timeframe="1h", warmup=4, universe=universe)
    run(target=held, symbols=gateway.symbols, universe=universe)
    ready(gateway)
    for _ in range(6):
        gateway.close_bar()
    assert intents(gateway, 6) == [40, 41, 42, 43, 44, 45]
    bars = whole(gateway, 46)
    assert np.isnan(bars.close["NEW/USDT"].iloc[listed - 1])
    expected = strategy.target_values(bars)[40:]
    assert [list(intent["targets"].values()) for intent in gateway.intents] == expected.tolist()
    assert expected[-1].all()
    assert gateway.messages[0]["outer"]


def held(bars: cu.Bars) -> pd.DataFrame:
    return bars.close.notna().astype(float) / 2


def whole(gateway: Scripted, count: int) -> Bars:
    """All bars so far, as a backtest has them."""
    none = [float("nan")] * 5
    rows = [[gateway._bar(number)[symbol] or none for symbol in gateway.symbols] for number in range(count)]
    return Bars(FIRST + HOUR * np.arange(count), gateway.symbols, "1h", np.array(rows).transpose(2, 0, 1))
