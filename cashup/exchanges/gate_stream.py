"""One WebSocket subscription to Gate that comes back by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cashup.errors import ExchangeRefused, ExchangeTransient
from cashup.exchanges.base import Connected, Disconnected

if TYPE_CHECKING:
    from cashup.exchanges.gate_client import GateClient

FIRST_DELAY = 0.2
LONGEST_DELAY = 30.0
ANSWER_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class _Lost:
    reason: str


class GateStream:
    """A connection of its own with some channels subscribed. `requests` makes the subscribe frames, freshly signed."""

    def __init__(self, client: GateClient, requests: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._client = client
        self._requests = requests

    async def messages(self) -> AsyncIterator[Mapping[str, Any] | Connected | Disconnected]:
        """Every message as it comes, with `Connected` when all channels are subscribed, `Disconnected` when it broke.

        Reconnects with growing pauses for as long as it is iterated. Raises ExchangeRefused when Gate rejects a
        subscription: that does not get better by repeating it.
        """
        delay = FIRST_DELAY
        while True:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            socket = self._client.socket(queue.put_nowait, _loss_of(queue))
            try:
                early = await self._subscribe(socket, queue)
                yield Connected()
                delay = FIRST_DELAY
                for message in early:
                    yield message
                while not isinstance(message := await queue.get(), _Lost):
                    yield message
                reason = message.reason
            except ExchangeTransient as error:
                reason = str(error)
            finally:
                await socket.close()
            yield Disconnected(reason)
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - spreads reconnects, guards nothing
            delay = min(delay * 2, LONGEST_DELAY)

    async def _subscribe(self, socket: Any, queue: asyncio.Queue[Any]) -> list[Mapping[str, Any]]:
        """Connect and subscribe; what was pushed before the last answer. Raises ExchangeTransient, ExchangeRefused."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await _connect(socket, self._client, queue)
                waiting = set()
                for request in self._requests():
                    waiting.add(request["id"])
                    await socket.send(request)
                return await _answers(queue, waiting)
        except TimeoutError:
            raise ExchangeTransient(f"Gate did not answer within {ANSWER_WITHIN:g} s") from None
        except ConnectionError as error:
            raise ExchangeTransient(f"the connection to Gate broke: {error}") from error


def _loss_of(queue: asyncio.Queue[Any]) -> Callable[[str], None]:
    return lambda reason: queue.put_nowait(_Lost(reason))


async def _connect(socket: Any, client: GateClient, queue: asyncio.Queue[Any]) -> None:
    """Wait until the socket stands. ccxt reports a failure through the callback, which the queue carries."""
    connected = asyncio.ensure_future(socket.connect(client.session))
    failed = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({connected, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            lost = failed.result()
            reason = lost.reason if isinstance(lost, _Lost) else "unexpected message"
            raise ExchangeTransient(f"Gate's WebSocket cannot be reached: {reason}")
    finally:
        failed.cancel()


async def _answers(queue: asyncio.Queue[Any], waiting: set[int]) -> list[Mapping[str, Any]]:
    early: list[Mapping[str, Any]] = []
    while waiting:
        message = await queue.get()
        if isinstance(message, _Lost):
            raise ExchangeTransient(f"the connection to Gate broke: {message.reason}")
        if message.get("event") != "subscribe":
            early.append(message)
            continue
        error = message.get("error")
        if error:
            channel, said = message.get("channel"), error.get("message", error)
            raise ExchangeRefused(f"Gate refused the subscription to {channel}: {said}")
        waiting.discard(message.get("id"))
    return early
