"""The verdict: every account's tables are held against the venue's own book, while it goes on and at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from tests.faults.checker import Checker
from tests.faults.rules import ALWAYS, i20_no_secret_is_written_down
from tests.faults.venue_book import VenueBook, simulator_book
from tests.soak.stage import Stage

EVERY_SECONDS = 10.0

WHILE_IT_GOES_ON = tuple(rule for rule in ALWAYS if rule is not i20_no_secret_is_written_down)
"""To look for secrets reads every table from end to end: that is done once, at the end."""


class Verdict:
    """Finds what must not be. `checks` counts how often everything was looked at."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.checks = 0
        self._checkers = [self._checker(account) for account in stage.secrets]

    async def run(self) -> None:
        """Check every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                for checker in self._checkers:
                    for sentence in await checker.check(WHILE_IT_GOES_ON):
                        self._stage.complain(sentence)
            except (SQLAlchemyError, OSError):
                continue  # the database is being restarted
            self.checks += 1

    async def at_rest(self) -> None:
        """What must hold when nothing is on its way any more, and what the venue remembers of the requests."""
        for checker in self._checkers:
            for sentence in await checker.check_at_rest():
                self._stage.complain(sentence)
        await self.look_at_requests()

    async def look_at_requests(self) -> None:
        """No order was sent twice."""
        writes = (await self._stage.ask("requests"))["writes"]
        placed = Counter((row["account"], row["text"]) for row in writes if row["what"] == "place")
        for (account, name), count in placed.items():
            if count > 1:
                self._stage.complain(f"I1: order {name} of account {account} was sent {count} times")

    def _checker(self, account: str) -> Checker:
        async def read_book() -> VenueBook:
            book = await self._stage.ask("book", account=account)
            offences = (await self._stage.ask("state"))["rate_limit_violations"]
            found = simulator_book(book, account, offences)
            if self._stage.clock_was_wrong:  # the venue's times say nothing about when it got what
                found = replace(found, orders=tuple(replace(order, created=None) for order in found.orders))
            return found

        return Checker(self._stage.database, account, read_book, secrets=self._stage.secrets[account])
