"""Gate's rows and frames in our words, and our orders in Gate's. Pure; numbers are read as text, never as float."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from cashup.errors import ExchangeRefused, IntegrityError
from cashup.types import MONEY, Candle, Frame, Millis, OrderReport, OrderRequest, OrderType, Side, Symbol, Trade

ORDERS = "spot.orders"
TRADES = "spot.usertrades"
BALANCES = "spot.balances"
CANDLES = "spot.candlesticks"

_OPEN_EVENTS = frozenset({"put", "update"})
_ENDED = frozenset({"closed", "cancelled"})
_EXPLAINS_NOTHING = frozenset({"", "-", "unknown"})

SymbolOf = Callable[[str], Symbol]


def order_body(request: OrderRequest, pair: str) -> dict[str, str]:
    """A placement as Gate takes it; raises ExchangeRefused for one that Gate has no words for."""
    by_cost = request.type is OrderType.MARKET and request.side is Side.BUY
    amount = request.cost if by_cost else request.quantity
    if amount is None:
        wanted = "a cost" if by_cost else "a quantity"
        raise ExchangeRefused(
            f"a {request.type} {request.side} on Gate is given as {wanted}", code="invalid_param_value"
        )
    body = {
        "text": request.client_order_id,
        "currency_pair": pair,
        "type": str(request.type),
        "account": "spot",
        "side": str(request.side),
        "amount": format(amount, "f"),
        "time_in_force": str(request.time_in_force),
        "action_mode": "FULL",
    }
    if request.price is not None:
        body["price"] = format(request.price, "f")
    if request.expires_at is not None:
        body["x-gate-exptime"] = str(request.expires_at)
    return body


def order_report(row: Mapping[str, Any], symbol_of: SymbolOf) -> OrderReport:
    """An order row of REST or of the channel `spot.orders`. Quantities decide; `finish_as` only explains.

    The amounts of a market buy are in quote currency, so what it filled is `filled_amount`. Raises IntegrityError.
    """
    side = _side(row)
    amount, left = money(row, "amount"), money(row, "left")
    by_cost = row.get("type") == "market" and side is Side.BUY
    filled = money(row, "filled_amount") if by_cost or row.get("filled_amount") is not None else amount - left
    if amount < 0 or left < 0 or filled < 0 or left > amount:
        raise IntegrityError(
            f"Gate's order {row.get('id')} has impossible amounts: {amount}, {left} left, {filled} filled"
        )
    ended = _ended(row)
    reason = str(row.get("finish_as") or "")
    if reason in _EXPLAINS_NOTHING:
        reason = ("filled" if left == 0 else "ended") if ended else "open"
    text = str(row.get("text") or "")
    return OrderReport(
        client_order_id=text if text.startswith("t-") else None,
        exchange_order_id=_word(row, "id"),
        symbol=symbol_of(_word(row, "currency_pair")),
        side=side,
        filled=filled,
        done=ended or left == 0,
        reason=reason,
        updated_at=moment(row, "update_time"),
        quantity=None if by_cost else amount,
        average_price=_average(row, filled),
        price=_limit(row),
    )


def _ended(row: Mapping[str, Any]) -> bool:
    status, event = row.get("status"), row.get("event")
    if status in _ENDED or event == "finish":
        return True
    if status == "open" or event in _OPEN_EVENTS:
        return False
    raise IntegrityError(f"Gate's order {row.get('id')} has the unknown status {status!r} and event {event!r}")


def _limit(row: Mapping[str, Any]) -> Decimal | None:
    """The price of a limit order; a market order carries none, or a zero."""
    return (money(row, "price") or None) if row.get("price") is not None else None


def _average(row: Mapping[str, Any], filled: Decimal) -> Decimal | None:
    if filled == 0:
        return None
    stated = row.get("avg_deal_price")
    if stated is not None and money(row, "avg_deal_price") > 0:
        return money(row, "avg_deal_price")
    return MONEY.divide(money(row, "filled_total"), filled)


def trade(row: Mapping[str, Any], symbol_of: SymbolOf) -> Trade:
    """A row of `my_trades` or of the channel `spot.usertrades`. Fees paid in GT or points are reported as such."""
    fee, currency = money(row, "fee"), str(row.get("fee_currency") or "")
    for other, name in (("gt_fee", "GT"), ("point_fee", "POINT")):
        if fee == 0 and row.get(other) is not None and money(row, other) > 0:
            fee, currency = money(row, other), name
    text = str(row.get("text") or "")
    return Trade(
        trade_id=_word(row, "id"),
        exchange_order_id=_word(row, "order_id"),
        client_order_id=text if text.startswith("t-") else None,
        symbol=symbol_of(_word(row, "currency_pair")),
        side=_side(row),
        price=money(row, "price"),
        quantity=money(row, "amount"),
        fee=fee,
        fee_currency=currency,
        time=moment(row, "create_time"),
    )


def rest_candle(row: list[Any], symbol: Symbol, timeframe: str) -> Candle:
    """A row of `/spot/candlesticks`: time, quote volume, close, high, low, open, base volume, closed."""
    if not isinstance(row, list) or len(row) < 8:
        raise IntegrityError(f"Gate sent a candle that cannot be read: {row!r}")
    numbers = dict(zip(("t", "v", "c", "h", "l", "o", "a"), row, strict=False))
    return _candle(numbers, symbol, timeframe, closed=row[7] in {"true", True})


def stream_candle(record: Mapping[str, Any], symbol_of: SymbolOf) -> Candle:
    """A record of the channel `spot.candlesticks`; `w` is true in a bar's last frame."""
    timeframe, _, pair = str(record.get("n", "")).partition("_")
    if not pair:
        raise IntegrityError(f"Gate sent a candle without its market: {record!r}")
    return _candle(record, symbol_of(pair), timeframe, closed=record.get("w") is True)


def _candle(numbers: Mapping[str, Any], symbol: Symbol, timeframe: str, *, closed: bool) -> Candle:
    time = int(money(numbers, "t")) * 1000
    first, high, low, close, volume = (money(numbers, name) for name in ("o", "h", "l", "c", "a"))
    return Candle(symbol, timeframe, time, first, high, low, close, volume, closed)


def frames_of(message: Mapping[str, Any]) -> list[Frame]:
    """The frames in one message of a private channel: one per order or trade, so that each has its own key."""
    channel, result = str(message.get("channel", "")), message.get("result")
    if message.get("event") != "update" or channel not in {ORDERS, TRADES, BALANCES} or result is None:
        return []
    records = result if isinstance(result, list) else [result]
    if channel == BALANCES:
        return [Frame(channel, _digest(records), message)]
    return [Frame(channel, _key(channel, record), {**message, "result": [record]}) for record in records]


def read_frame(frame: Frame, symbol_of: SymbolOf) -> list[OrderReport | Trade]:
    """What a frame says; nothing for balances. Raises IntegrityError for a channel or value it cannot read."""
    if frame.channel == BALANCES:
        return []
    records = frame.body.get("result")
    if frame.channel not in {ORDERS, TRADES} or not isinstance(records, list):
        raise IntegrityError(f"a frame of the channel {frame.channel} cannot be read")
    if frame.channel == TRADES:
        return [trade(record, symbol_of) for record in records]
    return [order_report(record, symbol_of) for record in records]


def _key(channel: str, record: Any) -> str:
    """Equal for two records that say the same. What cannot be read is told apart by its content."""
    if not isinstance(record, Mapping):
        return _digest(record)
    if channel == TRADES:
        return f"spot:{record.get('currency_pair')}:{record.get('id')}"
    return ":".join(str(record.get(name)) for name in ("id", "update_time_ms", "event", "left", "finish_as"))


def _digest(content: Any) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def money(row: Mapping[str, Any], name: str) -> Decimal:
    """A number of a row, exactly as written; raises IntegrityError when it is none."""
    value = row.get(name)
    try:
        number = Decimal(value) if isinstance(value, str | int) else Decimal(repr(value))
    except InvalidOperation as error:
        raise IntegrityError(f"Gate sent {value!r} as {name}, where a number belongs") from error
    if not number.is_finite():
        raise IntegrityError(f"Gate sent {value!r} as {name}, where a number belongs")
    return number


def moment(row: Mapping[str, Any], name: str) -> Millis:
    """A time of a row: `<name>_ms` (may carry a fraction) or `<name>` in seconds."""
    if row.get(f"{name}_ms") is not None:
        return int(money(row, f"{name}_ms"))
    return int(money(row, name) * 1000)


def _word(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        raise IntegrityError(f"Gate sent a row without {name}: {dict(row)!r}")
    return str(value)


def _side(row: Mapping[str, Any]) -> Side:
    try:
        return Side(str(row.get("side")))
    except ValueError as error:
        raise IntegrityError(f"Gate sent the side {row.get('side')!r}") from error
