"""The mailbox of an account: news in order of arrival, and the wake-up for whoever waits for them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cashup.orders.patience import Patience
from cashup.orders.state import Event
from cashup.types import Millis, SendResult, Trade

_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class News:
    """What was learnt. `order` names the order when the facts do not; `inbox` are the frames they came in.

    `actor` is whose word it is, `cause` how it was learnt: by an answer, the stream, a search. `surveyed`: with these
    facts everything that happened on the venue before that time is known.
    """

    facts: Sequence[Event]
    order: str | None = None
    inbox: Sequence[int] = ()
    evidence: object = None
    actor: str = "venue"
    cause: str = ""
    surveyed: Millis | None = None


class Mailbox:
    """News wait here until they are digested and committed.

    The answer to an order that filled at once is kept back for a moment when its trades, which come by the stream, are
    not there yet: both then become one commit.
    """

    def __init__(self, patience: Patience, read: Callable[[News], News] = lambda news: news) -> None:
        self._patience = patience
        self._read = read
        self._news: deque[News] = deque()
        self._early: dict[str, News] = {}
        self._traded: OrderedDict[str, None] = OrderedDict()
        self._something = asyncio.Event()

    def put(self, news: News) -> None:
        """Add news and wake the reader."""
        news = self._read(news)
        if news.order is not None and self._too_early(news):
            self._early[news.order] = news
            asyncio.get_running_loop().call_later(self._patience.trades / 1000, self._let_in, news.order)
            return
        self._news.append(news)
        for fact in news.facts:
            if isinstance(fact, Trade) and fact.client_order_id is not None:
                self._note(fact.client_order_id)
                self._let_in(fact.client_order_id)
        self.wake()

    def peek(self) -> list[News]:
        """What there is, oldest first; it stays until `drop`."""
        return list(self._news)

    def drop(self, count: int) -> None:
        """Forget the oldest `count` news: they are committed."""
        for _ in range(count):
            self._news.popleft()

    def wake(self) -> None:
        """Wake the reader for something else than news."""
        self._something.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait for news or a wake-up since the last wait, but no longer than `seconds`."""
        if not self._something.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._something.wait()
        self._something.clear()

    def _too_early(self, news: News) -> bool:
        answer = news.facts[0] if news.facts else None
        if not isinstance(answer, SendResult) or answer.report is None:
            return False
        return answer.report.done and answer.report.filled > 0 and news.order not in self._traded

    def _let_in(self, order: str) -> None:
        news = self._early.pop(order, None)
        if news is not None:
            self._news.append(news)
            self.wake()

    def _note(self, order: str) -> None:
        self._traded[order] = None
        if len(self._traded) > _REMEMBERED:
            self._traded.popitem(last=False)
