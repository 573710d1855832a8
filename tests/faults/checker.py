"""The checker: holds an account's tables against the exchange's own book, by rules that know nothing of our code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock, WallClock
from tests.faults.rules import ALWAYS, AT_REST, Rule
from tests.faults.rules.look import Look, Seen
from tests.faults.venue_book import VenueBook

ReadBook = Callable[[], Awaitable[VenueBook]]

_REMEMBER = text("SELECT client_order_id, state, greatest(traded, reported) FROM orders WHERE account = :account")


class Checker:
    """Checks one account, and remembers what it saw: an order may not go back on what it was.

    `read_book` reads the exchange's book; it is read before and after the tables, of which one snapshot is taken, so
    that a check in the middle of trading sees nothing that was not so. `without` are rules that cannot be asked for.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        account: str,
        read_book: ReadBook,
        *,
        clock: Clock | None = None,
        secrets: Sequence[str] = (),
        without: Sequence[Rule] = (),
    ) -> None:
        self._engine = engine
        self._account = account
        self.read_book = read_book
        self._clock = clock or WallClock()
        self._secrets = tuple(secrets)
        self._without = without
        self._seen = Seen()

    async def check_always(self) -> list[str]:
        """A sentence for everything that may never be so; empty when all is well."""
        return await self.check(ALWAYS)

    async def check_at_rest(self) -> list[str]:
        """The same, and what must be equal when nothing is on its way any more."""
        return await self.check((*ALWAYS, *AT_REST))

    async def check(self, rules: Sequence[Rule]) -> list[str]:
        """What these rules have to say."""
        before = await self.read_book()
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            states = (await connection.execute(_REMEMBER, {"account": self._account})).all()
            look = Look(
                connection=connection,
                account=self._account,
                before=before,
                after=await self.read_book(),
                seen=self._seen,
                now=self._clock.now(),
                secrets=self._secrets,
            )
            said = [sentence for rule in rules if rule not in self._without for sentence in await rule(look)]
        self._seen.orders.update((name, (state, filled)) for name, state, filled in states)
        return said
