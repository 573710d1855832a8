"""What the overview shows, as data: snapshots and events in any order end in the newest truth."""

from __future__ import annotations

import random
from typing import Any

from cashup.dashboards.board import CURVE, ORDERS, Board
from cashup.dashboards.overview import Overview
from cashup.dashboards.report import ReportPanel
from cashup.dashboards.widgets import thin
from cashup.events import Event, EventKind

HOUR = 3_600_000


def processed(seq: int, bar: int, equity: str | None, **positions: str) -> Event:
    data = {"deployment": "demo", "bar": bar, "equity": equity, "cash": "1.5", "positions": positions}
    return Event(seq, "deployment:demo", EventKind.BAR_PROCESSED, 1000 + seq, data)


def order(name: str, state: str, updated_at: int) -> dict[str, Any]:
    return {"client_order_id": name, "state": state, "updated_at": updated_at}


def changed(seq: int, row: dict[str, Any]) -> Event:
    return Event(seq, "deployment:demo", EventKind.ORDER_CHANGED, 1000 + seq, row)


def test_a_processed_bar_moves_every_figure_and_its_age() -> None:
    board = Board("demo")
    assert board.apply(processed(1, HOUR, "100.123456789", **{"BTC/USDT": "0.5", "ETH/USDT": "0"}))
    assert (board.equity, board.cash, board.bar, board.bars) == ("100.123456789", "1.5", HOUR, 1)
    assert board.positions == {"BTC/USDT": "0.5"}
    assert board.curve == [[HOUR, 100.123456789]]
    assert {board.at[name] for name in ("equity", "cash", "positions", "curve")} == {1001}


def test_an_event_that_was_seen_does_nothing() -> None:
    board = Board("demo")
    board.apply(processed(5, HOUR, "100"))
    assert not board.apply(processed(5, 2 * HOUR, "7"))
    assert board.equity == "100"


def test_the_last_word_on_a_bar_counts_and_an_older_bar_says_nothing() -> None:
    board = Board("demo")
    board.load_curve(
        [
            {"bar": HOUR, "equity": "100", "cash": "100", "at": 1},
            {"bar": 2 * HOUR, "equity": "101", "cash": "0", "at": 2},
        ]
    )
    board.apply(processed(1, HOUR, "55"))
    board.apply(processed(2, 2 * HOUR, "102"))
    assert [value for _, value in board.curve] == [100.0, 102.0]
    assert board.bars == 2


def test_without_a_price_the_equity_stays_what_it_was() -> None:
    board = Board("demo")
    board.apply(processed(1, HOUR, "100"))
    board.apply(processed(2, 2 * HOUR, None))
    assert (board.equity, board.cash) == ("100", "1.5")
    assert board.at["equity"] == 1001


def test_an_order_keeps_its_place_and_its_newest_state() -> None:
    board = Board("demo")
    board.load_orders([order("a", "filled", 20), order("b", "open", 21)])
    board.apply(changed(1, order("a", "open", 10)))
    board.apply(changed(2, order("b", "filled", 30)))
    assert [(name, row["state"]) for name, row in board.orders.items()] == [("a", "filled"), ("b", "filled")]


def test_only_the_newest_orders_are_kept() -> None:
    board = Board("demo")
    board.load_orders(order(str(number), "filled", number) for number in range(ORDERS + 20))
    assert list(board.orders) == [str(number) for number in range(20, ORDERS + 20)]


def test_a_long_curve_stays_bounded_and_keeps_its_newest_point() -> None:
    board = Board("demo")
    for number in range(1, CURVE * 3):
        board.apply(processed(number, number * HOUR, str(number)))
    assert len(board.curve) <= CURVE
    assert board.curve[-1] == [(CURVE * 3 - 1) * HOUR, float(CURVE * 3 - 1)]
    assert board.bars == CURVE * 3 - 1


def test_the_worker_is_what_the_gateway_says() -> None:
    board = Board("demo")
    board.load_deployment({"attempt": None, "desired": "running"}, now=9)
    assert (board.worker, board.at["worker"]) == ("waiting", 9)
    board.load_deployment({"attempt": {"state": "ready", "number": 3, "heartbeat_at": 5}, "desired": "running"}, now=9)
    assert (board.worker, board.attempt, board.at["worker"]) == ("ready", 3, 5)
    data = {"deployment": "demo", "attempt": 3, "state": "failed", "message": "cell [3] raised ValueError"}
    board.apply(Event(1, "deployment:demo", EventKind.ATTEMPT_FINISHED, 7, data))
    assert (board.worker, board.at["worker"]) == ("failed", 7)


def test_every_order_shows_the_version_that_asked_for_it() -> None:
    board = Board("demo")
    board.load_deployment({"attempt": {"state": "ready", "number": 1, "heartbeat_at": 5, "version": "aaa"}}, now=9)
    board.load_orders([order("a", "open", 1) | {"version": "old"}, order("hand", "open", 1) | {"version": None}])
    board.apply(changed(1, order("a", "filled", 2)))
    board.apply(changed(2, order("hand", "filled", 2)))
    board.apply(changed(3, order("b", "open", 3)))
    board.apply(Event(4, "deployment:demo", EventKind.ATTEMPT_STARTED, 7, {"attempt": 2, "version": "bbb"}))
    board.apply(changed(5, order("c", "open", 4)))
    board.apply(changed(6, order("b", "filled", 5)))
    shown = {name: row["version"] for name, row in board.orders.items()}
    assert shown == {"a": "old", "hand": None, "b": "aaa", "c": "bbb"}


def test_thinning_keeps_ends_and_spikes() -> None:
    dice = random.Random(7)
    points = [[number, dice.random()] for number in range(10_000)]
    points[4321][1], points[8765][1] = 50.0, -50.0
    kept = thin(points, 600)
    assert len(kept) <= 603
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert points[4321] in kept
    assert points[8765] in kept
    assert kept == sorted(kept)


def test_alerts_are_shown_while_they_stand() -> None:
    overview = Overview()
    overview.draw(HOUR)
    assert overview.alerts.layout.display == "none"
    alert = {"id": 7, "severity": "critical", "at": HOUR, "deployment": "demo", "message": "demo is not started again"}
    overview.board.load_alerts([alert], HOUR)
    overview.draw(HOUR)
    (shown,) = overview.alerts.rows
    assert (shown["severity"], shown["since"], shown["message"]) == ("critical", "1970-01-01 01:00", alert["message"])
    assert overview.alerts.layout.display != "none"


def test_the_newest_report_is_shown_and_hidden_as_long_as_there_is_none() -> None:
    panel = ReportPanel()
    panel.draw(None, 0)
    assert panel.view.layout.display == "none"
    board = Board("demo")
    parts = {"signal": "0", "price": "-14.9", "fee": "-5.1"}
    report = {"at": 1000, "total": "-20", "quote": "USDT", "capital": "1000", "band": "0.01", "in_band": False}
    board.load_reports([report | {"last_bar": HOUR, "document": {"parts": parts}}])
    panel.draw(board.report, 61_000)
    assert panel.view.layout.display == ""
    assert (panel.total.value, panel.total.unit, panel.total.tone) == ("-20", "USDT", "bad")
    assert panel.total.note == "-2.00% of the capital, OUTSIDE the band of 1.00%; until 1970-01-01 01:00"
    assert [(one["part"], one["amount"]) for one in panel.parts.rows] == [("price", "-14.9"), ("fee", "-5.1")]
    assert panel.total.seen == [1, 60_000]
