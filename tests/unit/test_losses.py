"""What is lost is measured against the day's beginning and the peak, and paying in or out is neither."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cashup.clock import parse_time
from cashup.strategies.limits import Limits
from cashup.trading.risk.worth import DAILY_LOSS, MAX_DRAWDOWN, Worth
from cashup.types import MONEY

D = Decimal
NOON, EVENING = parse_time("2025-03-01T12:00"), parse_time("2025-03-01T23:59")
TOMORROW = parse_time("2025-03-02T00:00")
LIMITS = Limits(max_daily_loss=D("0.05"), max_drawdown=D("0.2"))


def codes(worth: Worth, limits: Limits = LIMITS) -> list[str]:
    return [breach.code for breach in worth.breaches(limits)]


def begun(value: str = "1000") -> Worth:
    return Worth.begin(D(value), D(1000), NOON)


def test_a_loss_up_to_the_limit_is_no_breach_and_at_the_limit_it_is_one() -> None:
    assert codes(begun().after(D("950.01"), D(1000), EVENING)) == []
    assert codes(begun().after(D(950), D(1000), EVENING)) == [DAILY_LOSS]
    reason = next(begun().after(D(940), D(1000), EVENING).breaches(LIMITS)).reason
    assert reason == "6 % were lost since 00:00 UTC (from 1000 to 940), 5 % are allowed"


def test_a_loss_on_either_side_of_midnight_is_two_losses() -> None:
    evening = begun().after(D(960), D(1000), EVENING)
    night = evening.after(D(930), D(1000), TOMORROW)
    assert (night.daily_loss, codes(night)) == (D("0.03125"), [])
    assert codes(evening.after(D(930), D(1000), EVENING)) == [DAILY_LOSS]


def test_what_was_lost_while_nobody_looked_belongs_to_the_day_that_sees_it() -> None:
    later = begun().after(D(940), D(1000), TOMORROW + 5 * 86_400_000)
    assert (later.opened, codes(later)) == (D(1000), [DAILY_LOSS])


def test_a_drawdown_counts_from_the_peak_over_days() -> None:
    worth = begun().after(D(1500), D(1000), EVENING)
    for day, value in enumerate(("1430", "1365", "1300", "1240", "1199")):
        worth = worth.after(D(value), D(1000), TOMORROW + day * 86_400_000)
    assert (worth.peak, codes(worth)) == (D(1500), [MAX_DRAWDOWN])


def test_capital_that_comes_or_goes_is_neither_gain_nor_loss() -> None:
    richer = begun().after(D(1400), D(1500), EVENING)
    assert (richer.opened, richer.peak, richer.daily_loss) == (D(1500), D(1500), MONEY.divide(D(100), D(1500)))
    poorer = begun().after(D(500), D(500), EVENING)
    assert (poorer.daily_loss, poorer.drawdown) == (0, 0)


def test_a_new_beginning_is_for_one_limit_only() -> None:
    worth = begun().after(D(700), D(1000), EVENING)
    assert codes(worth) == [DAILY_LOSS, MAX_DRAWDOWN]
    assert codes(worth.rebased(DAILY_LOSS)) == [MAX_DRAWDOWN]
    assert codes(worth.rebased(MAX_DRAWDOWN)) == [DAILY_LOSS]


STEPS = st.lists(st.tuples(st.integers(1, 10**6), st.integers(-(10**4), 10**4), st.integers(1, 10**8)), min_size=1)


@given(steps=STEPS)
def test_the_peak_is_never_below_the_worth_and_ratios_stay_between_none_and_all(
    steps: list[tuple[int, int, int]],
) -> None:
    capital, now, worth = D(10_000), NOON, Worth.begin(D(10_000), D(10_000), NOON)
    for value, paid_in, later in steps:
        capital, now = capital + paid_in, now + later
        worth = worth.after(D(value), capital, now)
        assert worth.peak >= worth.value
        assert 0 <= worth.drawdown <= 1
        assert 0 <= worth.daily_loss <= 1
        assert worth.day <= now < worth.day + 86_400_000
