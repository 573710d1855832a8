"""The ledger: double entry, per asset every transaction sums to zero.

Kinds of what an account holds: `cash` (quote currency that is free), `position` (base currency that is free) and
`reserved` (either, held by orders). Their sum per asset is what the venue must show. Against them stand `market` (what
was exchanged), `fee`, `capital` (what was there before us) and `suspense` (what an operator accepted unexplained).
Entries without a deployment belong to the account itself: what no deployment has been given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.orders.ids import ulid
from cashup.orders.journal import Write
from cashup.trading.tables import ledger_entries
from cashup.types import ZERO, Millis, Side, Trade

HOLDINGS = ("cash", "position", "reserved")
"""The kinds that together are what the venue shows."""

ADD_ENTRIES = Write(
    "add_entries",
    ledger_entries,
    ("transaction", "account", "deployment", "kind", "asset", "amount", "cause", "at"),
)


@dataclass(slots=True)
class Posting:
    """One transaction in the making. `rows` raises ValueError unless every asset sums to zero."""

    account: str
    deployment: str | None
    cause: str
    at: Millis
    _entries: list[tuple[str | None, str, str, Decimal]] = field(default_factory=list)

    def move(self, asset: str, amount: Decimal, source: str, target: str) -> Posting:
        """Move `amount` of `asset` from one kind to another within the deployment; nothing when it is zero."""
        return self.add(source, asset, -amount).add(target, asset, amount)

    def add(self, kind: str, asset: str, amount: Decimal) -> Posting:
        """One entry of the deployment; nothing when it is zero."""
        if amount:
            self._entries.append((self.deployment, kind, asset, amount))
        return self

    def add_to_account(self, kind: str, asset: str, amount: Decimal) -> Posting:
        """One entry of the account itself; nothing when it is zero."""
        if amount:
            self._entries.append((None, kind, asset, amount))
        return self

    def rows(self) -> list[dict[str, Any]]:
        """The rows to write."""
        sums: dict[str, Decimal] = {}
        for _, _, asset, amount in self._entries:
            sums[asset] = sums.get(asset, ZERO) + amount
        if any(sums.values()):
            raise ValueError(f"the transaction of {self.cause} does not balance: {sums}")
        transaction = ulid(self.at)
        return [
            {
                "transaction": transaction,
                "account": self.account,
                "deployment": deployment,
                "kind": kind,
                "asset": asset,
                "amount": amount,
                "cause": self.cause,
                "at": self.at,
            }
            for deployment, kind, asset, amount in self._entries
        ]


def post_trade(posting: Posting, trade: Trade, base: str, quote: str, reserved: Decimal) -> Decimal:
    """Book one execution, paid for out of `reserved` (quote for a buy, base for a sell) as far as it goes.

    A base-currency fee on a buy credits amount - fee. A fee in a third asset is the account's. Returns what is left of
    `reserved`.
    """
    value = trade.price * trade.quantity
    buy = trade.side is Side.BUY
    fees = {base: ZERO, quote: ZERO, trade.fee_currency: trade.fee}
    paid_in, free, received_in, credited_to = (
        (quote, "cash", base, "position") if buy else (base, "position", quote, "cash")
    )
    paid, received = (value, trade.quantity) if buy else (trade.quantity, value)
    given = paid + fees[paid_in]
    held = min(given, reserved)
    posting.add("reserved", paid_in, -held).add(free, paid_in, held - given)
    posting.add("market", paid_in, paid).add("fee", paid_in, fees[paid_in])
    posting.add(credited_to, received_in, received - fees[received_in])
    posting.add("market", received_in, -received).add("fee", received_in, fees[received_in])
    if trade.fee_currency not in (base, quote):
        posting.add_to_account("cash", trade.fee_currency, -trade.fee)
        posting.add_to_account("fee", trade.fee_currency, trade.fee)
    return reserved - held
