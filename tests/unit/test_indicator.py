from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.strategies.bars import FIELDS, Bars
from cashup.strategies.memo import Memo


def make_bars(n: int = 50) -> Bars:
    values = np.random.default_rng(1).uniform(90, 110, (len(FIELDS), n, 2))
    return Bars(np.arange(n, dtype=np.int64) * 3_600_000, ("BTC/USDT", "ETH/USDT"), "1h", values)


def counting() -> tuple[Any, list[int]]:
    calls: list[int] = []

    @cu.indicator
    def average(bars: Bars, length: int, *, shift: int = 0) -> pd.DataFrame:
        calls.append(length)
        return bars.close.rolling(length).mean().shift(shift)

    return average, calls


def execute(source: str, **values: Any) -> dict[str, Any]:
    """A notebook's cells, executed once more."""
    namespace: dict[str, Any] = {"cu": cu, "calls": CALLS, **values}
    exec(source, namespace)  # noqa: S102
    return namespace


CALLS: list[int] = []
CELL = """
def scaled(bars):
    return bars.close * factor

@cu.indicator
def average(bars, length):
    calls.append(length)
    return scaled(bars).rolling(length).mean()
"""


def test_the_same_bars_and_arguments_are_computed_once() -> None:
    average, calls = counting()
    bars = make_bars()
    first = average(bars, 5)
    assert average(bars, 5) is first
    average(bars, 6)
    average(bars, 5, shift=1)
    assert calls == [5, 6, 5]
    pd.testing.assert_frame_equal(first, bars.close.rolling(5).mean())


def test_other_bars_are_computed_anew() -> None:
    average, calls = counting()
    bars = make_bars()
    assert len(average(bars, 5)) == 50
    assert len(average(bars.rows(10, 30), 5)) == 20
    assert calls == [5, 5]


def test_a_result_cannot_be_changed_for_the_others() -> None:
    average, _ = counting()
    found = average(make_bars(), 5)
    with pytest.raises(ValueError, match="read-only"):
        found.iloc[10, 0] = 1.0


def test_a_notebook_executed_again_finds_what_it_computed_before() -> None:
    CALLS.clear()
    bars = make_bars()
    one, two = execute(CELL, factor=2.0), execute(CELL, factor=2.0)
    assert one["average"] is not two["average"]
    assert two["average"](bars, 3) is one["average"](bars, 3)
    assert CALLS == [3]


def test_a_value_of_the_notebook_that_differs_gives_another_result() -> None:
    """Also when it is read by a function that the indicator calls."""
    bars = make_bars()
    one, two = execute(CELL, factor=2.0), execute(CELL, factor=3.0)
    expected = bars.close * 3.0
    one["average"](bars, 1)
    pd.testing.assert_frame_equal(two["average"](bars, 1), expected.rolling(1).mean())
    two["factor"] = 4.0
    pd.testing.assert_frame_equal(two["average"](bars, 1), (bars.close * 4.0).rolling(1).mean())


def test_arguments_that_cannot_be_compared_are_computed_each_time() -> None:
    calls: list[int] = []

    @cu.indicator
    def weighted(bars: Bars, weights: list[float]) -> pd.DataFrame:
        calls.append(1)
        return bars.close * weights[0]

    bars = make_bars()
    pd.testing.assert_frame_equal(weighted(bars, [2.0]), weighted(bars, [2.0]))
    assert len(calls) == 2


def test_numbers_of_another_type_are_another_argument() -> None:
    kinds: list[type] = []

    @cu.indicator
    def kind(bars: Bars, value: float) -> str:
        kinds.append(type(value))
        return type(value).__name__

    bars = make_bars()
    assert (kind(bars, 1), kind(bars, 1.0), kind(bars, True)) == ("int", "float", "bool")


def test_threads_that_ask_together_compute_once() -> None:
    gate, calls, found = threading.Barrier(4), [], []
    memo = Memo()

    def make() -> np.ndarray[Any, Any]:
        calls.append(1)
        threading.Event().wait(0.1)  # long enough for the others to come in
        return np.zeros(4)

    def ask() -> None:
        gate.wait()
        found.append(memo.get("key", make))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(value is found[0] for value in found)


def test_the_oldest_results_make_room() -> None:
    memo = Memo(most_bytes=1_000)
    for key in range(5):
        memo.get(key, lambda: np.zeros(50))  # 400 bytes
    assert len(memo) == 2
    assert memo.bytes == 800
    made: list[int] = []
    memo.get(4, lambda: made.append(1))
    assert not made, "the newest is still there"


def test_what_fails_is_tried_again() -> None:
    memo = Memo()
    with pytest.raises(ZeroDivisionError):
        memo.get("key", lambda: 1 // 0)
    assert memo.get("key", lambda: 7) == 7


def test_what_was_asked_for_again_stays() -> None:
    memo, made = Memo(most_bytes=1_000), list[str]()
    for key in ("a", "b", "a", "c"):
        memo.get(key, lambda: np.zeros(50))  # 400 bytes
    memo.get("a", lambda: made.append("a"))
    assert not made


def test_an_array_cannot_be_changed_for_the_others_either() -> None:
    memo = Memo()
    one, two = memo.get("key", lambda: (np.zeros(3), pd.Series([1.0])))
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        two.iloc[0] = 2.0
