"""The words of CashUp as types. Money is `Decimal`; time is an integer of milliseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from typing import Any, NewType

Symbol = NewType("Symbol", str)
"""A ccxt unified symbol, such as `BTC/USDT`."""

Millis = int
"""Milliseconds since 1970-01-01T00:00:00Z."""

MONEY = Context(prec=40)
"""Divisions of money happen in this context; sums and products stay exact far below 40 digits."""

ZERO = Decimal(0)


class Mode(StrEnum):
    """Where a strategy runs. There are exactly five."""

    BACKTEST = "backtest"
    REPLAY = "replay"
    PAPER = "paper"
    SANDBOX = "sandbox"
    LIVE = "live"


class Side(StrEnum):
    """The side of an order or a fill."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order's price is found."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long an order may rest."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    POST_ONLY = "poc"


class OrderState(StrEnum):
    """What we know of an order. UNKNOWN is a state like the others, and counts as fully open in risk."""

    PENDING_SEND = "pending_send"
    SENDING = "sending"
    UNKNOWN = "unknown"
    OPEN = "open"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    REJECTED_LOCAL = "rejected_local"
    NOT_PLACED = "not_placed"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """True when nothing but a late fill can still happen."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.REJECTED_LOCAL,
        OrderState.NOT_PLACED,
        OrderState.EXPIRED,
    }
)


class ResultClass(StrEnum):
    """The five classes into which every outcome of a request about an order falls (never derived from an exception's
    type). A cancel or an amendment cannot end at entry; its UNKNOWN means: ask for the order, infer nothing."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    ENDED_AT_ENTRY = "ended_at_entry"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"


class FeeIn(StrEnum):
    """The asset in which a venue takes its fee."""

    QUOTE = "quote"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Market:
    """What a venue says about one symbol. A step or minimum of zero means that there is none."""

    symbol: Symbol
    base: str
    quote: str
    tick: Decimal = ZERO
    lot: Decimal = ZERO
    cost_step: Decimal = ZERO
    min_quantity: Decimal = ZERO
    min_cost: Decimal = ZERO
    taker_fee: Decimal = ZERO
    maker_fee: Decimal = ZERO
    fee_in: FeeIn = FeeIn.QUOTE

    @property
    def contract(self) -> bool:
        """True for a perpetual or a future: it settles in quote, may be short, and is held on margin."""
        return ":" in self.symbol

    def round_price(self, price: Decimal) -> Decimal:
        """`price` on the nearest tick."""
        return to_step(price, self.tick, ROUND_HALF_UP)

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """`quantity` cut down to whole lots."""
        return to_step(quantity, self.lot)

    def round_cost(self, cost: Decimal) -> Decimal:
        """`cost` in quote currency cut down to the venue's step for market buys."""
        return to_step(cost, self.cost_step)


def to_step(value: Decimal, step: Decimal, rounding: str = ROUND_DOWN) -> Decimal:
    """`value` as a multiple of `step`; a step of zero leaves it as it is."""
    if step == 0:
        return value
    return (MONEY.divide(value, step)).to_integral_value(rounding=rounding) * step


@dataclass(frozen=True, slots=True)
class Candle:
    """One OHLCV bar of one symbol, labelled by its open time. `volume` is in base currency."""

    symbol: Symbol
    timeframe: str
    time: Millis
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: bool


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as it goes to a venue, once.

    A market buy is given in `cost` (quote currency, fee not included), everything else in `quantity` (base currency):
    venues take spot market buys in quote. `expires_at` is the fence: a venue that receives it later must refuse it.
    """

    client_order_id: str
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal | None = None
    cost: Decimal | None = None
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.IOC
    expires_at: Millis | None = None

    def __post_init__(self) -> None:
        """A request names either quantity or cost, and a limit order names its price."""
        if (self.quantity is None) == (self.cost is None):
            raise ValueError("an order names either a quantity or a cost")
        if (self.price is None) != (self.type is OrderType.MARKET):
            raise ValueError("a limit order names a price, a market order does not")


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What a venue says of one order. Quantities decide; `reason` only explains.

    `filled` is base currency executed so far, `done` is True when nothing rests any more (nothing left, or ended).
    `quantity` and `price` are the terms as they stand: None for an order given in cost, or without a limit.
    """

    client_order_id: str | None
    exchange_order_id: str
    symbol: Symbol
    side: Side
    filled: Decimal
    done: bool
    reason: str
    updated_at: Millis
    quantity: Decimal | None = None
    average_price: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution as a venue reports it. (symbol, trade_id) is unique on an account; `fee` is positive when paid."""

    trade_id: str
    exchange_order_id: str
    client_order_id: str | None
    symbol: Symbol
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    time: Millis


@dataclass(frozen=True, slots=True)
class Balance:
    """One asset on an account. total = available + reserved."""

    available: Decimal
    reserved: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """All of it, whether orders hold it or not."""
        return self.available + self.reserved


@dataclass(frozen=True, slots=True)
class Wire:
    """One request and its answer as they went over the wire, for whoever asks later what was said.

    `request` and `body` are the texts of both, without headers; `status` is None when no answer came.
    """

    request: str = ""
    status: int | None = None
    body: str = ""
    sent_at: Millis | None = None
    answered_at: Millis | None = None


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of one attempt to place, cancel or amend an order, in one of five classes."""

    result: ResultClass
    report: OrderReport | None = None
    label: str = ""
    message: str = ""
    wire: Wire | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One raw message of a venue's private stream, to be stored before it is acted on.

    `dedupe_key` is equal for two frames that say the same thing; `body` is the parsed JSON as received.
    """

    channel: str
    dedupe_key: str
    body: Mapping[str, Any] = field(default_factory=dict)
