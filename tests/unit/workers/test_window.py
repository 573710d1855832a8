from __future__ import annotations

import numpy as np
import pytest

from cashup.errors import IntegrityError
from cashup.workers.window import Window


def bar(number: int) -> list[float]:
    return [number, number + 0.5, number - 0.5, number + 0.25, 10.0]


def loaded(count: int, size: int = 4) -> Window:
    window = Window(["A/USDT", "B/USDT"], "1h", size)
    bars = [bar(number) for number in range(count)]
    window.load(list(range(count)), {"A/USDT": bars, "B/USDT": [[value * 2 for value in one] for one in bars]})
    return window


def test_a_window_holds_the_newest_bars_of_its_history() -> None:
    bars = loaded(10).bars()
    assert bars.times.tolist() == [6, 7, 8, 9]
    assert bars.close["A/USDT"].tolist() == [6.25, 7.25, 8.25, 9.25]
    assert bars.volume["B/USDT"].tolist() == [20.0] * 4


def test_a_window_is_full_when_a_decision_can_be_made() -> None:
    window = loaded(3)
    assert not window.full
    window.append(3, {"A/USDT": bar(3), "B/USDT": bar(3)})
    assert window.full


def test_a_window_without_history_is_empty() -> None:
    window = loaded(0)
    assert window.newest is None
    assert len(window.bars()) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_a_window_slides_for_ever_and_what_it_gave_out_stays(size: int) -> None:
    window = loaded(size, size)
    given = {}
    for number in range(size, 1_000):
        window.append(number, {"A/USDT": bar(number), "B/USDT": bar(number)})
        given[number] = window.bars()
    for number, bars in given.items():
        expected = np.arange(number - size + 1, number + 1)
        assert bars.times.tolist() == expected.tolist()
        assert bars.open["B/USDT"].iloc[-1] == number
        assert (bars.open["A/USDT"].to_numpy() == expected).all()


def test_a_bar_that_is_not_newer_is_refused() -> None:
    window = loaded(5)
    with pytest.raises(IntegrityError, match="bars must come in order"):
        window.append(4, {"A/USDT": bar(4), "B/USDT": bar(4)})
