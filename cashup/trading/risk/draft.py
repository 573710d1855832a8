"""An order before it has an id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from cashup.exchanges.matching import DOWN
from cashup.types import ZERO, Market, Millis, OrderRequest, OrderType, Side, Symbol, TimeInForce


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it has an id: in base currency (`quantity`), or a market buy in quote currency (`cost`).

    `mark` is the price it was sized at, `target` the exposure it leads to, `desired` the change in value it was meant
    to make (quote currency, negative for a sell). `adds`: it is in base currency and leads a position away from zero:
    on margin on either side, on spot only a buy. One in `cost` always does. `price` is that of a limit order.
    """

    symbol: Symbol
    side: Side
    mark: Decimal
    target: Decimal = ZERO
    desired: Decimal = ZERO
    quantity: Decimal | None = None
    cost: Decimal | None = None
    adds: bool = False
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.IOC

    @property
    def value(self) -> Decimal:
        """What the order moves at its price, or its mark where it has none, in quote currency."""
        return self.cost if self.cost is not None else (self.quantity or ZERO) * self.unit

    @property
    def unit(self) -> Decimal:
        """The price at which it is valued."""
        return self.mark if self.price is None else self.price

    @property
    def reduces(self) -> bool:
        """True when it only leads a position toward zero."""
        return self.cost is None and not self.adds

    def worth(self, value: Decimal) -> Draft | None:
        """The same order for `value` in quote currency; None when nothing of it is left."""
        if value <= 0:
            return None
        if self.cost is not None:
            return replace(self, cost=value)
        return replace(self, quantity=DOWN.divide(value, self.unit))

    def on_grid(self, market: Market) -> Draft:
        """The order cut to what the venue can express."""
        if self.cost is not None:
            return replace(self, cost=market.round_cost(self.cost))
        return replace(self, quantity=market.round_quantity(self.quantity or ZERO))

    def request(self, client_order_id: str, expires_at: Millis | None = None) -> OrderRequest:
        """The order as it goes to a venue."""
        return OrderRequest(
            client_order_id=client_order_id,
            symbol=self.symbol,
            side=self.side,
            type=OrderType.MARKET if self.price is None else OrderType.LIMIT,
            quantity=self.quantity,
            cost=self.cost,
            price=self.price,
            time_in_force=self.time_in_force,
            expires_at=expires_at,
        )
