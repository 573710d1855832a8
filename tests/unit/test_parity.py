"""Parity: what agrees, what differs, and how a person is told."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.trading.parity import Line, Record, compare
from cashup.types import Side, Symbol

D = Decimal
ETH, BTC = Symbol("ETH/USDT"), Symbol("BTC/USDT")
LINES = [
    Line(0, ETH, Side.BUY, D("1.5"), D(2000)),
    Line(3_600_000, ETH, Side.SELL, D("1.5"), D(2100)),
    Line(3_600_000, BTC, Side.BUY, D("0.01"), D(90_000)),
]


def a_record(lines: list[Line] = LINES, equity: str = "10000", name: str = "replay") -> Record:
    return Record(name, lines, D(equity))


def test_the_same_orders_in_another_order_are_equal():
    parity = compare(a_record(), a_record(LINES[::-1], name="live"))
    assert parity.equal
    assert (parity.matched, parity.equity_difference) == (3, 0)
    assert "3 orders agree, 0 differ" in parity.report()


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (LINES[:2], "missing"),
        ([*LINES, Line(7_200_000, BTC, Side.SELL, D(1), D(1))], "extra"),
        ([*LINES, LINES[0]], "extra"),
        ([replace(LINES[0], quantity=D("1.4999")), *LINES[1:]], "quantity"),
        ([replace(LINES[0], price=D("2000.01")), *LINES[1:]], "price"),
    ],
)
def test_each_difference_is_named_with_its_place(lines: list[Line], what: str):
    parity = compare(a_record(), a_record(lines, name="live"))
    assert not parity.equal
    (difference,) = parity.differences
    assert difference.what == what
    assert str(difference).startswith(("1970-01-01T0", "1970-01-01T1"))
    document = json.loads(json.dumps(parity.to_json()))
    assert (document["equal"], document["differences"], len(document["first_differences"])) == (False, 1, 1)


def test_another_bar_or_side_is_another_order():
    moved = [replace(LINES[0], bar=3_600_000), replace(LINES[1], side=Side.BUY), LINES[2]]
    parity = compare(a_record(), a_record(moved))
    assert sorted(difference.what for difference in parity.differences) == ["extra", "extra", "missing", "missing"]


def test_equity_alone_can_differ():
    parity = compare(a_record(), a_record(equity="9999.99"))
    assert parity.equity_difference == D("-0.000001")
    assert not parity.equal
    assert compare(a_record(), a_record(equity="9999.99"), tolerance=D("0.000001")).equal
    assert not compare(a_record(equity="0"), a_record()).equal


@given(st.decimals("0.5", "2", places=6))
def test_the_tolerance_is_a_fraction_of_the_left(factor: Decimal):
    scaled = [replace(line, quantity=line.quantity * factor) for line in LINES]
    assert compare(a_record(), a_record(scaled), tolerance=D("0.1")).equal is (abs(factor - 1) <= D("0.1"))


def test_a_report_does_not_drown_its_reader():
    many = [Line(bar * 3_600_000, ETH, Side.BUY, D(1), D(1)) for bar in range(50)]
    report = compare(a_record(), a_record(many)).report()
    assert "and " in report.splitlines()[-1]
    assert len(report.splitlines()) == 14
