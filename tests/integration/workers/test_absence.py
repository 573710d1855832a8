"""What a session does about bars that it missed, about a pause, and with a state in all of that."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

import cashup as cu
from cashup.errors import NotebookError, WorkFailed
from cashup.strategies.strategy import Strategy

from .conftest import FIRST, HOUR, Scripted, price
from .test_session import Running, intents, ready, run, whole

__all__ = ["run"]


def counting() -> Strategy:
    """It counts its bars and adds up their closes: whatever is lost or seen twice is in the number."""

    def target(bars: cu.Bars) -> Any:
        strategy.state["bars"] += 1
        strategy.state["sum"] += float(bars.close.iloc[-1, 0])
        return bars.close * 0 + (strategy.state["sum"] * strategy.state["bars"]) % 1009 / 1009

    strategy = cu.Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, state={"bars": 0, "sum": 0.0})
    return strategy


def undisturbed(gateway: Scripted) -> tuple[dict[int, float], str | None]:
    """The target of every bar from 40 on, and the state after the last one, of a run that never died."""
    strategy, bars = counting(), whole(gateway, gateway.closed)
    targets = [strategy.decide(bars.rows(row - 4, row + 1))["ETH/USDT"] for row in range(40, len(bars))]
    return dict(enumerate(targets, start=40)), strategy.kept


def missed(gateway: Scripted) -> list[int]:
    return [message["missed"] for message in gateway.messages if message["type"] == "missed"]


def decided(gateway: Scripted) -> dict[int, float]:
    return {(intent["bar"] - FIRST) // HOUR: intent["targets"]["ETH/USDT"] for intent in gateway.intents}


# --- missed bars --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["history", "stream"])
def test_act_decides_the_newest_of_them(gateway: Scripted, run: Any, away: str) -> None:
    running = run()
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    leave(gateway, away, 6)
    assert intents(gateway, 2) == [40, 46]
    gateway.close_bar()
    assert intents(gateway, 3) == [40, 46, 47]
    running.stop()
    assert missed(gateway) == [6]
    assert "decided and 6 missed" in running.status.text()


@pytest.mark.parametrize(("away", "bars"), [("history", 1), ("history", 6), ("stream", 6)])
def test_skip_waits_for_the_next_close(gateway: Scripted, run: Any, away: str, bars: int) -> None:
    gateway.missed_bars = "skip"
    running = run()
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    leave(gateway, away, bars)
    gateway.wait_for(lambda: missed(gateway) == [bars])
    gateway.close_bar()
    assert intents(gateway, 2) == [40, 41 + bars]
    running.stop()


@pytest.mark.parametrize("away", ["history", "stream"])
def test_stop_ends_the_attempt_and_says_how_many(gateway: Scripted, run: Any, away: str) -> None:
    gateway.missed_bars = "stop"
    running = run()
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    leave(gateway, away, 6)
    running.join()
    assert isinstance(running.error, WorkFailed)
    assert running.error.code == "missed_bars"
    assert "6 bars were missed, the last one at 2025-01-02T22:00" in str(running.error)
    gateway.wait_for(lambda: missed(gateway) == [6])


def test_stop_takes_one_missed_bar_as_act_does(gateway: Scripted, run: Any) -> None:
    gateway.missed_bars = "stop"
    gateway.last_decided = FIRST + 38 * HOUR
    run()
    assert intents(gateway, 1) == [39]


def test_an_absence_that_is_longer_than_the_history_is_counted_by_the_clock(gateway: Scripted, run: Any) -> None:
    gateway.last_decided = FIRST
    run()
    assert intents(gateway, 1) == [39]
    gateway.wait_for(lambda: missed(gateway) == [39])


def leave(gateway: Scripted, away: str, bars: int) -> None:
    if away == "history":
        gateway.close_unseen(bars)
    else:
        gateway.late_bars(bars)


# --- pause --------------------------------------------------------------------------------------------------------


def test_a_pause_follows_the_bars_and_decides_nothing(gateway: Scripted, run: Any) -> None:
    running = run()
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    gateway.pause()
    for _ in range(3):
        gateway.close_bar()
    gateway.disconnect()  # a restart of the gateway changes nothing about it
    ready(gateway, 2)
    gateway.close_bar()
    assert "paused" in running.status.text()
    connections = gateway.connections
    gateway.resume()
    assert intents(gateway, 2) == [40, 44]
    assert gateway.connections == connections + 1
    assert missed(gateway) == [4]
    gateway.close_bar()
    assert intents(gateway, 3) == [40, 44, 45]
    assert "connected" in running.status.text()


def test_an_intent_that_meets_the_pause_is_dropped(gateway: Scripted, run: Any) -> None:
    run()
    ready(gateway)
    gateway.paused = True  # and the worker has not heard of it yet
    gateway.close_bar()
    ready(gateway, 2)
    gateway.close_bar()
    gateway.resume()
    assert intents(gateway, 1) == [41]


# --- a state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_state_survives_every_kind_of_death(gateway: Scripted, seed: int) -> None:
    """Deaths before and after an intent was taken, lost connections, outages, pauses: each bar is counted once."""
    chance, running = random.Random(seed), Running(gateway, strategy=counting())
    ready(gateway)
    for _ in range(25):
        fate = chance.choice(["bar", "bar", "kill", "disconnect", "away", "late", "pause"])
        if fate == "late":
            gateway.late_bars(chance.randint(2, 5))
        elif fate == "pause":
            pause_for(gateway, chance.randint(0, 3))
        else:
            gateway.storing = fate == "bar" or chance.random() < 0.5
            gateway.answering = fate == "bar" or chance.random() < 0.5
            bar = gateway.close_bar()
            gateway.wait_for(lambda bar=bar: gateway.messages[-1].get("bar") == bar)  # type: ignore[misc]
            running = suffer(gateway, running, fate, chance)
        gateway.wait_for(lambda: gateway.last_decided == FIRST + (gateway.closed - 1) * HOUR)
    running.stop()
    expected, kept = undisturbed(gateway)
    assert decided(gateway) == {bar: expected[bar] for bar in decided(gateway)}
    assert len(decided(gateway)) > 20
    assert gateway.state == (kept, FIRST + (gateway.closed - 1) * HOUR)


def pause_for(gateway: Scripted, bars: int) -> None:
    gateway.pause()
    for _ in range(bars):
        gateway.close_bar()
    if bars == 0:
        gateway.closed += 1  # it closes while the worker connects again
    gateway.resume()


def suffer(gateway: Scripted, running: Running, fate: str, chance: random.Random) -> Running:
    """End the process or its connection, for as long as some bars take; who works from then on."""
    away = chance.choice([0, 0, 1, 4])
    if fate == "kill":
        running.stop()  # what it knew is gone: it writes nothing down itself
        gateway.closed += away
    gateway.storing = gateway.answering = True
    if fate == "kill":
        return Running(gateway, strategy=counting())
    if fate == "disconnect":
        gateway.disconnect()
    elif fate == "away":
        gateway.close_unseen(away)
    return running


def test_a_state_is_sent_with_the_intent_and_only_when_there_is_one(gateway: Scripted, run: Any) -> None:
    first = run()
    ready(gateway)
    gateway.close_bar()
    intents(gateway, 1)
    first.stop()
    assert "state" not in gateway.intents[0]
    assert gateway.messages[0]["state"] is False
    run(strategy=counting())
    gateway.wait_for(lambda: gateway.connections == 2)
    gateway.close_bar()
    intents(gateway, 2)
    assert json.loads(gateway.intents[1]["state"]) == {"bars": 1, "sum": price(41)}


def test_a_state_that_is_no_json_ends_the_session_with_its_name(gateway: Scripted, run: Any) -> None:
    def target(bars: cu.Bars) -> Any:
        strategy.state["when"] = bars.index[-1]
        return bars.close

    strategy = cu.Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, state={})
    running = run(strategy=strategy)
    ready(gateway)
    gateway.close_bar()
    running.join()
    assert isinstance(running.error, NotebookError)
    assert "strategy.state['when'] is a Timestamp" in str(running.error)
    assert gateway.intents == []
