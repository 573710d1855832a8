"""The records of an account that are at hand, by our id and by the venue's; any other is read from the tables."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.orders.record import Record
from cashup.trading.loading import find_record

_REMEMBERED = 1_000


class KnownRecords:
    """Every record of the account that is not settled, and the newest of those that are."""

    def __init__(self, engine: AsyncEngine, account: str) -> None:
        self._engine = engine
        self._account = account
        self._by_id: OrderedDict[str, Record] = OrderedDict()

    def begin(self, records: Iterable[Record]) -> None:
        """Forget everything but these."""
        self._by_id.clear()
        for record in records:
            self.remember(record)

    def get(self, ours: str | None, theirs: str | None) -> Record | None:
        """The record with our id, or else the venue's, when it is at hand."""
        return self._by_id.get(ours or "") or self._by_id.get(theirs or "")

    async def find(self, ours: str | None, theirs: str | None) -> Record | None:
        """The record with our id, or else the venue's; None when it is none of ours."""
        record = self.get(ours, theirs)
        if record is None:
            async with self._engine.connect() as connection:
                record = await find_record(connection, self._account, ours, theirs or "")
        if record is not None:
            self.remember(record)
        return record

    def remember(self, record: Record) -> None:
        """Keep it at hand, as the newest."""
        for name in (record.id, record.order.exchange_order_id):
            if name is not None:
                self._by_id[name] = record
                self._by_id.move_to_end(name)
        while len(self._by_id) > _REMEMBERED:
            name, oldest = next(iter(self._by_id.items()))
            if not oldest.order.settled:
                self._by_id.move_to_end(name)
                break
            del self._by_id[name]
