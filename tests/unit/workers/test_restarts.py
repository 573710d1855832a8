from __future__ import annotations

from cashup.strategies.conduct import Restarts
from cashup.strategies.endings import DEATHS, FINAL, Reason
from cashup.trading.endings import pause_after


def test_the_first_restart_is_immediate_then_pauses_double_and_at_last_there_is_none() -> None:
    restarts = Restarts(limit=4, pause=1.0, longest=3.0)
    assert [pause_after(restarts, deaths) for deaths in range(1, 6)] == [0, 1000, 2000, 3000, None]
    assert pause_after(Restarts(limit=1_000), 1_000) == 60_000


def test_no_reason_is_a_death_and_final_at_once() -> None:
    assert not DEATHS & FINAL
    assert {Reason.STOPPED, Reason.REPLACED, Reason.REBOOTED, Reason.GATEWAY_UPGRADED}.isdisjoint(DEATHS | FINAL)
