from __future__ import annotations

from cashup.workers.restarts import Restarts


def test_the_first_restart_is_immediate_then_pauses_double_and_at_last_there_is_none() -> None:
    restarts = Restarts(limit=4, base=1.0, cap=3.0)
    assert [restarts.died(float(now)) for now in range(5)] == [0.0, 1.0, 2.0, 3.0, None]


def test_deaths_that_lie_far_back_do_not_count() -> None:
    restarts = Restarts(limit=2, window=100.0)
    assert [restarts.died(now) for now in (0.0, 50.0, 120.0, 250.0)] == [0.0, 1.0, 1.0, 0.0]
