"""The split of live against its re-run: every part alone, by numbers worked out by hand, and all of them together."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cashup.errors import DataError
from cashup.exchanges.rules import ideal_market
from cashup.trading.waterfall.facts import Facts
from cashup.trading.waterfall.reading import read_facts
from cashup.trading.waterfall.split import PARTS, Split, split
from cashup.trading.waterfall.world import Step, World
from cashup.types import ZERO, FeeIn, Side

from .waterfall_case import BTC, ETH, HOUR, IDEAL, Figures, Live, bar, case_of, rerun, split_of

OPENS = [90, 100, 110, 120, 130]
"""A decision of bar n is executed at the open of bar n + 1: 100, 110, 120."""


def only(name: str, amount: str, found: Split) -> None:
    """`found` has this one part, and every other is exactly zero."""
    nonzero = {part: value for part, value in found.parts.items() if value}
    assert nonzero == {name: Decimal(amount)}
    assert found.total == Decimal(amount)
    assert tuple(found.parts) == PARTS


def bought_and_sold(**first: Any) -> Live:
    """All in at bar 0, out at bar 2, measured at bar 3; `first` is what is special about the purchase."""
    live = Live()
    live.decide(0, first.pop("target", "1"), first.pop("mark", 100), **first)
    live.decide(1, None, 110)
    live.decide(2, "0", 120)
    live.decide(3, None, 130)
    return live


PROMISED = rerun(OPENS, ["1", None, "0"])
"""1000 buy 10 at 100, which are sold at 120: 1200."""


def test_live_as_promised_differs_in_nothing() -> None:
    found = split_of(bought_and_sold(), PROMISED)
    assert (found.rerun, found.live, found.total) == (1200, 1200, 0)
    assert not any(found.parts.values())


def test_data_revision_alone() -> None:
    # Live saw an open of 80 and bought 12.5, worth 1500 at the end; today the venue says 100.
    seen = rerun([90, 80, 110, 120, 130], ["1", None, "0"])
    only("data_revision", "300", split_of(bought_and_sold(mark=80), PROMISED, seen))


def test_a_revision_that_changes_what_the_strategy_wants_is_data_and_not_signal() -> None:
    # On the bars of then it wanted half: 5 are bought, 500 + 600 = 1100.
    seen = rerun(OPENS, ["0.5", None, "0"])
    only("data_revision", "-100", split_of(bought_and_sold(target="0.5"), PROMISED, seen))


def test_signal_alone() -> None:
    only("signal", "-100", split_of(bought_and_sold(target="0.5"), PROMISED))


def test_missed_bar_alone() -> None:
    # Out at bar 0. The re-run buys 1000 / 110 at bar 1; live was away and buys at bar 2 for 120. Measured at 130.
    live = Live()
    live.decide(0, "0", 100)
    live.decide(2, "1", 125)
    live.decide(3, None, 150)
    promised = rerun([90, 100, 100, 125, 150], ["0", "1", "1"])
    # 10 x 150 = 1500 against 8 x 150 = 1200.
    only("missed_bar", "-300", split_of(live, promised))


def test_a_decision_that_came_too_late_is_a_missed_bar() -> None:
    live = Live()
    live.decide(0, "0", 100)
    live.decide_too_late(1, "1")
    live.decide(2, "1", 125)
    live.decide(3, None, 150)
    only("missed_bar", "-300", split_of(live, rerun([90, 100, 100, 125, 150], ["0", "1", "1"])))


def test_orders_by_hand_alone() -> None:
    live = Live()
    live.decide(0, "0.5", 100)  # 5 for 500
    live.trade_by_hand(Side.BUY, "2", 105)  # worth 2 x 25 more at 130, less what they cost
    live.decide(1, None, 110)
    live.decide(2, None, 120)
    live.decide(3, None, 130)
    only("by_hand", "50", split_of(live, rerun(OPENS, ["0.5", None, None])))


def test_a_kill_that_flattens_is_by_hand_and_the_target_is_zero_from_then_on() -> None:
    live = Live()
    live.decide(0, "1", 100)
    live.trade_by_hand(Side.SELL, "10", 90, flatten=True)  # 900 instead of 10 x 130
    live.decide(1, None, 110)
    live.decide(2, None, 120)
    live.decide(3, None, 130)
    only("by_hand", "-400", split_of(live, rerun(OPENS, ["1", None, None])))


def test_what_was_flattened_is_bought_again_when_the_strategy_still_wants_it() -> None:
    live = Live()
    live.decide(0, "1", 100)
    live.trade_by_hand(Side.SELL, "10", 100, flatten=True)
    live.decide(1, "1", 125)  # 8 instead of 10
    live.decide(2, "1", 120)
    live.decide(3, None, 130)
    only("by_hand", "-260", split_of(live, rerun([90, 100, 125, 120, 130], ["1", "1", "1"])))


def test_what_risk_made_smaller_alone() -> None:
    live = Live()
    live.limit(max_order_notional="400")
    live.decide(0, "1", 100)  # 4 for 400
    live.free()
    live.decide(1, None, 110)
    live.decide(2, "0", 120)  # 600 + 480
    live.decide(3, None, 130)
    only("risk_blocked", "-120", split_of(live, PROMISED))


def test_what_risk_stopped_is_wanted_again_at_the_next_bar_when_the_cause_passes() -> None:
    live = Live()
    live.lock()
    live.decide(0, "1", 100)
    live.free()
    live.decide(1, "1", 125)  # 8 for 1000, sold for 150
    live.decide(2, "0", 150)
    live.decide(3, None, 130)
    # The re-run bought 10 at 100 and sold them for 1500.
    only("risk_blocked", "-300", split_of(live, rerun([90, 100, 125, 150, 130], ["1", "1", "0"])))


def test_an_order_that_a_halt_held_back_at_the_last_moment_is_risk() -> None:
    live = Live()
    live.decide(0, "1", 100, halted=True)
    live.decide(1, "1", 125)
    live.decide(2, "0", 150)
    live.decide(3, None, 130)
    only("risk_blocked", "-300", split_of(live, rerun([90, 100, 125, 150, 130], ["1", "1", "0"])))


def test_an_order_that_was_held_back_had_taken_its_cash() -> None:
    live = Live()
    nothing, both = {BTC: None, ETH: None}, {BTC: "1", ETH: "1"}
    marks = {BTC: 100, ETH: 100}
    live.decide(0, nothing, marks)
    live.decide(1, both, marks, halted=True)  # all goes to the first one, which is then held back
    live.decide(2, nothing, {BTC: 120, ETH: 130})
    opens: list[Figures] = [marks, marks, marks, {BTC: 120, ETH: 130}]
    only("risk_blocked", "-200", split_of(live, rerun(opens, [nothing, both])))


def test_increases_that_came_too_late_are_a_missed_bar() -> None:
    live = Live()
    live.decide(0, "0", 100)
    live.decide(1, "1", 100, expires=True)
    live.decide(2, "1", 125)
    live.decide(3, None, 150)
    # The target is on record as followed, so nothing is bought any more: 1000 against 10 x 150.
    only("missed_bar", "-500", split_of(live, rerun([90, 100, 100, 125, 150], ["0", "1", "1"])))


def test_rounding_alone() -> None:
    market = replace(IDEAL, lot=Decimal(4), min_quantity=Decimal(4))
    live = Live(market=market)
    live.decide(0, "1", 100)  # 8 for 800: two lots of four; 200 stay
    live.decide(1, None, 110)
    live.decide(2, "0", 120)  # 200 + 960
    live.decide(3, None, 130)
    only("rounding", "-40", split_of(live, PROMISED))


def test_price_alone() -> None:
    # Sized at 100 and filled at 125: 8 instead of 10, sold for 120 each.
    only("price", "-240", split_of(bought_and_sold(price=125), PROMISED))


def test_a_price_that_had_moved_when_live_decided_is_price_and_not_signal() -> None:
    only("price", "-240", split_of(bought_and_sold(mark=125), PROMISED))


def test_modelled_slippage_buys_what_the_mark_stands_for() -> None:
    # 5 at 125 leave 375, and are sold at 90: 825. Live: 500 + 600.
    found = split_of(bought_and_sold(target="0.5"), rerun(OPENS, ["0.5", None, "0"]), slippage=Decimal("0.25"))
    only("price", "275", found)


def test_a_sale_by_hand_takes_the_same_share_in_every_run() -> None:
    live = Live()
    live.decide(0, "1", 100, price=125)  # 8, where the runs before hold 10
    live.trade_by_hand(Side.SELL, "4", 150)  # half of it
    live.decide(1, None, 110)
    live.decide(2, "0", 120)
    live.decide(3, None, 130)
    found = split_of(live, PROMISED)
    assert found.parts["by_hand"] == 150  # 5 x 30 more
    assert found.parts["price"] == -270  # 2 fewer: one of them sold at 150, one at 120
    assert found.total == -120


def test_an_order_that_was_carried_out_in_part_alone() -> None:
    # Half of the 10: 500 + 600.
    only("unfilled", "-100", split_of(bought_and_sold(share="0.5"), PROMISED))


def test_an_order_that_the_venue_refused_alone() -> None:
    only("unfilled", "-200", split_of(bought_and_sold(share="0"), PROMISED))


def test_fee_alone_in_quote_and_in_base_currency() -> None:
    market = replace(ideal_market(BTC, Decimal("0.25")))
    live = Live(market=market)
    live.decide(0, "1", 100)  # 1000 / 1.25 = 800 buy 8, and 200 are the fee
    live.decide(1, None, 110)
    live.decide(2, "0", 120)  # 960 less 240
    live.decide(3, None, 130)
    only("fee", "-480", split_of(live, PROMISED))

    live = Live(market=replace(market, fee_in=FeeIn.RECEIVED))
    live.decide(0, "1", 100)  # 10 less 2.5 in base
    live.decide(1, None, 110)
    live.decide(2, "0", 120)  # 7.5 x 120 less a quarter
    live.decide(3, None, 130)
    only("fee", "-525", split_of(live, PROMISED))


def test_a_modelled_fee_that_is_the_real_one_makes_no_part() -> None:
    market = ideal_market(BTC, Decimal("0.25"))
    live = Live(market=market)
    for number, target, mark in ((0, "1", 100), (1, None, 110), (2, "0", 120), (3, None, 130)):
        live.decide(number, target, mark)
    found = split_of(live, PROMISED, fee=Decimal("0.25"))
    assert found.rerun == 720
    assert not any(found.parts.values())


def test_modelled_slippage_that_did_not_happen_is_price() -> None:
    # Modelled: bought at 125, sold at 90: 8 x 90 = 720. Live: 1200.
    only("price", "480", split_of(bought_and_sold(), PROMISED, slippage=Decimal("0.25")))


def test_what_nothing_explains_is_said_to_be_unexplained() -> None:
    live = bought_and_sold()
    live.decisions[-1]["equity"] = "1195"
    only("unexplained", "-5", split_of(live, PROMISED))


def test_an_order_that_is_not_the_planned_one_pays_its_share_of_the_fee_and_is_unexplained() -> None:
    # 1000 were planned; live bought for 800, as when another order holds cash, and paid 0.5 of 8 as the fee.
    live = Live()
    live.decide(0, "1", 100, share="0.8", fee=("0.0625", True))
    live.orders[0] |= {"cost": "800", "state": "filled"}
    live.decide(1, None, 110)
    case = case_of(live, rerun([90, 100, 110], ["1"]))
    world = World(case, Step.FEE)
    world.run()
    assert world.book.fees == {"BTC": Decimal("0.625")}
    found = split(case)
    assert found.parts["fee"] == Decimal("-68.75")
    # 200 and 7.5 pieces at 110, less 9.375 at 110.
    assert found.parts["unexplained"] == Decimal("-6.25")


def test_capital_that_was_paid_in_is_no_difference() -> None:
    live = Live()
    live.decide(0, "0.5", 100)
    live.pay_in("500")
    live.decide(1, None, 110)
    live.decide(2, "0", 120)
    live.decide(3, None, 130)
    found = split_of(live, rerun(OPENS, ["0.5", None, "0"]))
    assert (found.rerun, found.live) == (1600, 1600)
    assert not any(found.parts.values())


def test_a_stretch_begins_with_the_book_that_live_had_then() -> None:
    live = bought_and_sold(price=125)  # 8 are held from bar 0 on
    case = case_of(live, PROMISED, since=bar(1))
    assert (case.facts.start.cash, case.facts.start.quantity(BTC)) == (0, 8)
    assert case.facts.start.targets == {BTC: 1}
    found = split(case)
    assert (found.rerun, found.live, found.total) == (960, 960, 0)


def test_the_drift_of_a_held_position_is_traded_back_in_both() -> None:
    live = Live()
    live.decide(0, "0.5", 100, rebalance="0.1")
    live.decide(1, "0.5", 200, rebalance="0.1")  # 1000 of 1500 is too much: 250 are sold
    live.decide(2, "0.5", 400, rebalance="0.1")
    live.decide(3, "0.5", 400)
    found = split_of(live, rerun([90, 100, 200, 400, 400], ["0.5", "0.5", "0.5"]), rebalance=Decimal("0.1"))
    assert not any(found.parts.values())
    assert found.live == found.rerun > 1000


@pytest.mark.parametrize("decided", [0, 1])
def test_too_few_decisions_are_told_in_one_sentence(decided: int) -> None:
    live = Live()
    for number in range(decided):
        live.decide(number, "1", 100)
    with pytest.raises(DataError, match=r"has decided (no|one) bar"):
        read_facts("demo", live.rows)


# -- all together ------------------------------------------------------------------------------------------------------

SYMBOLS = st.sampled_from([(BTC,), (BTC, ETH)])
PRICE = st.integers(50, 200)
TARGET = st.sampled_from([None, "0", "0.25", "0.5", "1"])
HAPPENS = st.sampled_from(["decide"] * 3 + ["miss", "late", "limit", "lock", "halt", "expire"])
FEE = st.sampled_from([("0", False), ("0.001", True), ("0.002", True), ("0.0015", False)])

Made = tuple[Live, list[Figures], list[Figures], list[Figures]]
"""A life, the opens of its bars, and what two re-runs wanted."""


@st.composite
def lives(draw: st.DrawFn) -> Made:
    """A deployment in one symbol or two to which everything happens."""
    symbols = draw(SYMBOLS)
    count = draw(st.integers(3, 8))
    opens: list[Any] = [{s: draw(PRICE) for s in symbols} for _ in range(count + 1)]
    wanted: list[Any] = [{s: draw(TARGET) for s in symbols} for _ in range(count)]
    revised: list[Any] = [{s: draw(st.sampled_from([t, t, "0.5"])) for s, t in row.items()} for row in wanted]
    fee_in = draw(st.sampled_from(list(FeeIn)))
    market = replace(IDEAL, lot=Decimal("0.01"), min_cost=Decimal(5), taker_fee=Decimal("0.001"), fee_in=fee_in)
    live = Live(market=market)
    for number in range(count):
        happens = "decide" if number in (0, count - 1) else draw(HAPPENS)
        live.free()
        if happens == "limit":
            live.limit(max_order_notional=str(draw(st.integers(1, 600))))
        if happens == "lock":
            live.lock(draw(st.sampled_from(["cooldown_period", "max_position_notional"])))
        target = {s: draw(st.sampled_from([t, t, "0.75"])) for s, t in wanted[number].items()}
        if happens == "late":
            live.decide_too_late(number, target)
        elif happens != "miss":
            mark = {s: opens[number + 1][s] + draw(st.sampled_from([0, 0, 1, -1])) for s in symbols}
            price = {s: max(mark[s] + draw(st.sampled_from([0, 1, -2])), 1) for s in symbols}
            share = draw(st.sampled_from(["1", "1", "0.5", "0"]))
            stops = {"halted": happens == "halt", "expires": happens == "expire"}
            live.decide(number, target, mark, price=price, share=share, fee=draw(FEE), **stops)
            meddle(draw, live, mark[BTC])
    return live, opens, wanted, revised


def meddle(draw: st.DrawFn, live: Live, price: int) -> None:
    """What happens between two bars that no decision made."""
    what = draw(st.sampled_from(["nothing"] * 6 + ["pay", "buy", "flatten"]))
    held = live.market.round_quantity(live.book.quantity(BTC))
    if what == "pay":
        live.pay_in(str(draw(st.integers(1, 100))))
    elif what == "buy" and live.book.cash > 50:
        live.trade_by_hand(Side.BUY, "0.03", price)
    elif what == "flatten" and held > 1:
        live.trade_by_hand(Side.SELL, str(held), price, flatten=True)


@settings(max_examples=150, deadline=None)
@given(lives())
def test_the_parts_sum_to_the_difference_and_nothing_is_left_over(
    made: Made,
) -> None:
    live, opens, wanted, revised = made
    found = split_of(
        live,
        rerun(opens, wanted),
        rerun([opens[0], *({s: price + 3 for s, price in row.items()} for row in opens[1:])], revised),
        fee=Decimal("0.001"),
        slippage=Decimal("0.0005"),
    )
    assert sum(found.parts.values(), ZERO) == found.total == found.live - found.rerun
    assert found.parts["unexplained"] == 0


@settings(max_examples=50, deadline=None)
@given(lives(), st.decimals(-1000, 1000, places=9))
def test_the_parts_sum_to_the_difference_even_when_the_records_make_no_sense(made: Made, wrong: Decimal) -> None:
    live, opens, wanted, _ = made
    live.decisions[-1]["equity"] = str(Decimal(live.decisions[-1]["equity"]) + wrong)
    del live.fills[1::2]
    found = split_of(live, rerun(opens, wanted))
    assert sum(found.parts.values(), ZERO) == found.total == found.live - found.rerun


def test_a_run_with_everything_from_live_holds_what_live_holds() -> None:
    live = bought_and_sold(price=125, share="0.5", fee=("0.01", True))
    live.decide(4, "1", 140, price=141)
    live.decide(5, None, 150)
    case = case_of(live, rerun([*OPENS, 140, 150], ["1", None, "0", None, "1"]))
    world = World(case, Step.FEE)
    world.run()
    assert world.book.cash == live.book.cash
    assert world.book.quantity(BTC) == live.book.quantity(BTC)
    assert isinstance(case.facts, Facts)
    assert case.facts.last.bar == 5 * HOUR
