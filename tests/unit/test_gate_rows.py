"""Gate's rows and frames: quantities decide, words explain, and numbers never pass through float."""

from decimal import Decimal

import pytest

from cashup.errors import IntegrityError
from cashup.exchanges.gate_rows import frames_of, order_report, read_frame, rest_candle, stream_candle, trade
from cashup.types import OrderReport, Side, Symbol, Trade

FINISH_AS = [
    "open", "filled", "cancelled", "ioc", "poc", "fok", "stp", "small", "depth_not_enough", "trader_not_enough",
    "liquidate_cancelled", "unknown", "-", "liquidated", "auto_deleveraged", "reduce_only", "position_closed",
    "reduce_out",
]  # fmt: skip
LEFT = {"all": "3", "part": "1.5", "none": "0"}


def symbol_of(pair: str) -> Symbol:
    return Symbol(pair.replace("_", "/"))


def order(**changes: object) -> dict[str, object]:
    return {
        "id": "7",
        "text": "t-abc",
        "currency_pair": "BTC_USDT",
        "type": "limit",
        "side": "buy",
        "amount": "3",
        "left": "3",
        "filled_total": "0",
        "avg_deal_price": "0",
        "create_time_ms": "1700000000000",
        "update_time_ms": "1700000000123",
        "event": "put",
        "finish_as": "open",
    } | changes


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("finish_as", FINISH_AS)
@pytest.mark.parametrize("event", ["put", "update", "finish"])
def test_quantities_decide_whatever_the_reason_says(event: str, finish_as: str, left: str) -> None:
    row = order(event=event, finish_as=finish_as, left=left, avg_deal_price="100")
    report = order_report(row, symbol_of)
    assert report.filled == Decimal(3) - Decimal(left)
    assert report.done is (event == "finish" or left == "0")
    assert report.reason


def test_a_market_buy_is_measured_in_what_it_received() -> None:
    row = order(type="market", amount="100", left="0.4", filled_amount="0.996", filled_total="99.6", event="finish")
    report = order_report(row, symbol_of)
    assert (report.filled, report.done, report.quantity) == (Decimal("0.996"), True, None)
    assert report.average_price == Decimal(100)


def test_a_market_buy_without_its_filled_amount_cannot_be_read() -> None:
    with pytest.raises(IntegrityError, match="filled_amount"):
        order_report(order(type="market", event="finish"), symbol_of)


@pytest.mark.parametrize(
    "changes",
    [{"left": "4"}, {"left": "-1"}, {"amount": "NaN"}, {"side": "both"}, {"id": ""}, {"event": None}, {"left": None}],
)
def test_an_impossible_order_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        order_report(order(**changes), symbol_of)


def test_numbers_keep_every_digit() -> None:
    report = order_report(order(amount="0.123456789012345678901", left="0.000000000000000000001"), symbol_of)
    assert report.filled == Decimal("0.123456789012345678900")


def test_a_reserved_text_is_not_a_client_id() -> None:
    assert order_report(order(text="apiv4"), symbol_of).client_order_id is None
    assert order_report(order(), symbol_of).client_order_id == "t-abc"


TRADE = {
    "id": 5736713,
    "order_id": "7",
    "currency_pair": "BTC_USDT",
    "create_time": "1700000000",
    "create_time_ms": "1700000000123.456",
    "side": "sell",
    "amount": "1.5",
    "price": "100.1",
    "fee": "0.15015",
    "fee_currency": "USDT",
    "text": "t-abc",
}


def test_trade() -> None:
    assert trade(TRADE, symbol_of) == Trade(
        trade_id="5736713",
        exchange_order_id="7",
        client_order_id="t-abc",
        symbol=Symbol("BTC/USDT"),
        side=Side.SELL,
        price=Decimal("100.1"),
        quantity=Decimal("1.5"),
        fee=Decimal("0.15015"),
        fee_currency="USDT",
        time=1700000000123,
    )


def test_a_fee_paid_in_gt_is_a_fee_in_gt() -> None:
    paid = trade(TRADE | {"fee": "0", "gt_fee": "0.02", "point_fee": "0"}, symbol_of)
    assert (paid.fee, paid.fee_currency) == (Decimal("0.02"), "GT")


def message(channel: str, records: object, event: str = "update") -> dict[str, object]:
    return {"time": 1700000000, "channel": channel, "event": event, "result": records}


def test_one_frame_per_record_each_with_its_own_key() -> None:
    frames = frames_of(message("spot.usertrades", [TRADE, TRADE | {"id": 5736714}]))
    assert [frame.dedupe_key for frame in frames] == ["spot:BTC_USDT:5736713", "spot:BTC_USDT:5736714"]
    assert [read_frame(frame, symbol_of)[0].trade_id for frame in frames] == ["5736713", "5736714"]


def test_the_same_trade_again_has_the_same_key_whatever_surrounds_it() -> None:
    first, again = message("spot.usertrades", [TRADE]), message("spot.usertrades", [dict(TRADE)]) | {"time": 1700000009}
    assert frames_of(first)[0].dedupe_key == frames_of(again)[0].dedupe_key


@pytest.mark.parametrize("change", [{"left": "1"}, {"event": "finish"}, {"update_time_ms": "9"}, {"finish_as": "ioc"}])
def test_an_order_that_changed_has_another_key(change: dict[str, object]) -> None:
    before, after = message("spot.orders", [order()]), message("spot.orders", [order(**change)])
    assert frames_of(before)[0].dedupe_key != frames_of(after)[0].dedupe_key


def test_an_order_frame_reads_as_its_order() -> None:
    (frame,) = frames_of(message("spot.orders", [order(event="finish", left="0", avg_deal_price="100")]))
    (report,) = read_frame(frame, symbol_of)
    assert isinstance(report, OrderReport)
    assert (report.done, report.filled, report.updated_at) == (True, Decimal(3), 1700000000123)


def test_balances_are_kept_and_say_nothing() -> None:
    (frame,) = frames_of(message("spot.balances", [{"currency": "USDT", "available": "1"}]))
    assert read_frame(frame, symbol_of) == []


@pytest.mark.parametrize(
    ("channel", "event"), [("spot.orders", "subscribe"), ("spot.pong", ""), ("spot.tickers", "update")]
)
def test_what_is_no_private_record_is_no_frame(channel: str, event: str) -> None:
    assert frames_of(message(channel, [order()], event)) == []


def test_candles() -> None:
    rest = rest_candle(["1700000000", "990", "99", "101", "98", "100", "10", "true"], Symbol("BTC/USDT"), "1h")
    record = {"t": "1700000000", "v": "990", "c": "99", "h": "101", "l": "98", "o": "100", "a": "10", "w": True}
    assert stream_candle(record | {"n": "1h_BTC_USDT"}, symbol_of) == rest
    assert (rest.time, rest.open, rest.close, rest.volume, rest.closed) == (1700000000000, 100, 99, 10, True)
    assert not stream_candle(record | {"n": "1h_BTC_USDT", "w": False}, symbol_of).closed
