"""The WebSocket side of the simulated venue: Gate's envelope and its spot channels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from cashup.simulator.accounts import Account
from cashup.simulator.faults.board import Faults, Layer
from cashup.simulator.gatekeeper import WINDOW, Gatekeeper
from cashup.simulator.notices import Notice
from cashup.simulator.orders import PublicTrade, pair_of, text_of
from cashup.simulator.refusals import Refusal
from cashup.simulator.rest_public import ticker_row
from cashup.simulator.tape import Step
from cashup.simulator.venue import Venue
from cashup.types import Candle

PRIVATE = frozenset({"spot.orders", "spot.usertrades", "spot.balances"})
PUBLIC = frozenset({"spot.candlesticks", "spot.trades", "spot.tickers"})
ALL = "!all"

Topic = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PrivateFrame:
    """One message for a private channel of one account."""

    account: Account
    channel: str
    pair: str
    records: list[dict[str, Any]]

    def facts(self) -> dict[str, str]:
        """What faults are matched with."""
        record = self.records[0]
        return {
            "channel": self.channel,
            "account": self.account.name,
            "pair": self.pair,
            "text": str(record.get("text", "")),
            "side": str(record.get("side", "")),
            "event": str(record.get("event", "")),
        }


def private_frames(notices: Sequence[Notice]) -> list[PrivateFrame]:
    """Records that follow each other on one channel of one customer travel in one message, as Gate sends them."""
    frames: list[PrivateFrame] = []
    for notice in notices:
        last = frames[-1] if frames else None
        if last and (last.account, last.channel, last.pair) == (notice.account, notice.channel, notice.pair):
            last.records.append(notice.record)
        else:
            frames.append(PrivateFrame(notice.account, notice.channel, notice.pair, [notice.record]))
    return frames


class _Connection:
    """One client: what it subscribed to, and its way out. A client that does not read is cut off."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self.transport = transport
        self.muted = False
        self.topics: set[Topic] = set()
        self.outbox: asyncio.Queue[bytes] = asyncio.Queue(maxsize=10_000)
        self._closing: asyncio.Task[bool] | None = None

    def send(self, frame: bytes) -> None:
        """Queue one frame."""
        try:
            self.outbox.put_nowait(frame)
        except asyncio.QueueFull:
            self.topics.clear()
            if self._closing is None:
                self._closing = asyncio.create_task(self.socket.close(code=1008, message=b"too slow"))

    def abort(self) -> None:
        """Break off, without a goodbye."""
        if self.transport is not None:
            self.transport.abort()

    async def write(self) -> None:
        """Send what is queued, in order, until the connection ends."""
        while not self.socket.closed:
            frame = await self.outbox.get()
            await self.socket.send_frame(frame, WSMsgType.TEXT)


class Streams:
    """Every WebSocket client, and what they are told."""

    def __init__(self, venue: Venue, gatekeeper: Gatekeeper, faults: Faults, *, heartbeat: float = 2.0) -> None:
        self.venue = venue
        self.gatekeeper = gatekeeper
        self.faults = faults
        self.heartbeat = heartbeat
        self._connections: set[_Connection] = set()
        self._changed = asyncio.Event()
        self._held: list[PrivateFrame] = []
        venue.notify = self.tell

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one client until it leaves."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = _Connection(socket, request.transport)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._receive(connection, message.data)
        finally:
            self._connections.discard(connection)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    async def close(self) -> None:
        """Say goodbye to every client."""
        for connection in list(self._connections):
            await connection.socket.close(code=1001, message=b"going away")

    async def followed(self, *channels: str) -> None:
        """Wait until somebody follows every one of `channels`."""
        while not set(channels) <= {topic[0] for connection in self._connections for topic in connection.topics}:
            self._changed.clear()
            await self._changed.wait()

    async def beat(self) -> None:
        """Repeat the open candle and the ticker every two seconds, as Gate does, until cancelled."""
        while True:
            await asyncio.sleep(self.heartbeat)
            for symbol in self.venue.markets:
                self._candle(self.venue.candle(symbol))
                self._ticker(self.venue.markets[symbol].symbol)

    # -- what goes out ------------------------------------------------------------------------------------------

    def tell(self, notices: list[Notice]) -> None:
        """Push private records to their owners, after the request that caused them has been answered."""
        asyncio.get_running_loop().call_soon(self._push, notices)

    def _push(self, notices: list[Notice]) -> None:
        frames = private_frames(notices)
        if not self.faults.awaits(Layer.FRAME):
            for frame in frames:
                self.deliver(frame)
            return
        while frames:
            frame = frames.pop(0)
            fault = self.faults.draw(Layer.FRAME, frame.facts())
            if fault is None:
                self.deliver(frame)
            else:
                fault.kind.apply(self, frame, frames, fault)

    def deliver(self, frame: PrivateFrame) -> None:
        """Send a frame to whoever of its customer follows it, and behind it what it overtook."""
        uid = str(frame.account.uid)
        topics = [(frame.channel, uid, ALL), (frame.channel, uid, frame.pair)]
        self._publish(topics, frame.channel, frame.records)
        for held in [held for held in self._held if held.account is frame.account]:
            self.release(held)

    def hold(self, frame: PrivateFrame) -> None:
        """Keep a frame back until the next one of its customer."""
        self._held.append(frame)

    def release(self, frame: PrivateFrame) -> None:
        """Send a frame that was kept back, if it still is."""
        if frame in self._held:
            self._held.remove(frame)
            self.deliver(frame)

    def announce_upgrade(self) -> None:
        """Tell every client that its connection closes soon."""
        notice = {"type": "upgrade", "msg": "The connection will soon be closed due to a service upgrade"}
        frame = orjson.dumps(self._envelope("", "update") | notice)
        for connection in self._connections:
            connection.send(frame)

    def hang_up(self) -> None:
        """Break every connection off."""
        for connection in list(self._connections):
            connection.abort()

    def mute(self) -> None:
        """Send nothing more over the connections that stand, but pongs."""
        for connection in self._connections:
            connection.topics.clear()
            connection.muted = True

    def stepped(self, step: Step) -> None:
        """Tell subscribers of each market that its bar closed and that the next one opened, in this order."""
        opened = {candle.symbol: candle for candle in step.opened}
        for candle in step.closed:
            self._candle(candle)
            if candle.symbol in opened:
                self._candle(opened[candle.symbol])
            self._ticker(candle.symbol)
            for trade in list(self.venue.public[candle.symbol])[-1:]:
                self._trade(trade)

    def _candle(self, candle: Candle) -> None:
        pair = pair_of(self.venue.markets[candle.symbol])
        topics = [("spot.candlesticks", candle.timeframe, pair)]
        if self._wanted(topics):
            self._publish(topics, "spot.candlesticks", candle_record(candle, pair))

    def _ticker(self, symbol: Any) -> None:
        market = self.venue.markets[symbol]
        topics = [("spot.tickers", pair_of(market))]
        if self._wanted(topics):
            self._publish(topics, "spot.tickers", ticker_row(self.venue, market))

    def _trade(self, trade: PublicTrade) -> None:
        pair = pair_of(self.venue.markets[trade.symbol])
        record = {
            "id": trade.id,
            "create_time": trade.time // 1000,
            "create_time_ms": f"{trade.time}.000000",
            "side": str(trade.side),
            "currency_pair": pair,
            "amount": text_of(trade.quantity),
            "price": text_of(trade.price),
        }
        self._publish([("spot.trades", pair)], "spot.trades", record)

    def _wanted(self, topics: Iterable[Topic]) -> bool:
        return any(topic in connection.topics for topic in topics for connection in self._connections)

    def _publish(self, topics: Sequence[Topic], channel: str, result: Any) -> None:
        listeners = [c for c in self._connections if any(topic in c.topics for topic in topics)]
        if not listeners:
            return
        frame = orjson.dumps(self._envelope(channel, "update", result=result))
        for connection in listeners:
            connection.send(frame)

    def _envelope(self, channel: str, event: str, **rest: Any) -> dict[str, Any]:
        now = self.venue.clock.now()
        return {"time": now // 1000, "time_ms": now, "channel": channel, "event": event, **rest}

    # -- what comes in ------------------------------------------------------------------------------------------

    def _receive(self, connection: _Connection, text: str) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            connection.send(orjson.dumps(self._envelope("", "", error={"code": 1, "message": "bad body"})))
            return
        channel, event = str(frame.get("channel", "")), str(frame.get("event", ""))
        if channel == "spot.ping":
            connection.send(orjson.dumps(self._envelope("spot.pong", "", error=None, result=None)))
            return
        if connection.muted:
            return
        error = self._apply(connection, frame, channel, event)
        answer = self._envelope(channel, event, id=frame.get("id"), payload=frame.get("payload"))
        answer |= {"result": {"status": "fail"}, "error": error} if error else {"result": {"status": "success"}}
        connection.send(orjson.dumps(answer))
        if error is None and event == "subscribe" and channel == "spot.candlesticks":
            pair = frame["payload"][1]
            candle = self.venue.candle(self.venue.by_pair[pair].symbol)
            record = candle_record(candle, pair)
            connection.send(orjson.dumps(self._envelope(channel, "update", result=record)))

    def _apply(
        self, connection: _Connection, frame: Mapping[str, Any], channel: str, event: str
    ) -> dict[str, Any] | None:
        """Change a client's subscriptions; the error to answer, or None. A batch with one unknown pair fails whole."""
        time = frame.get("time")
        if event not in {"subscribe", "unsubscribe"} or not isinstance(time, int):
            return {"code": 1, "message": f"unknown event {event!r} or no time"}
        if abs(time * 1000 - self.venue.clock.now()) > WINDOW:
            return {"code": 1, "message": "request time is too far from server time"}
        if channel not in PRIVATE | PUBLIC:
            return {"code": 2, "message": f"unknown channel {channel}"}
        try:
            topics = self._private(frame, channel) if channel in PRIVATE else self._public(frame, channel)
        except Refusal as refusal:
            if channel in PRIVATE and refusal.label != "INVALID_CURRENCY_PAIR":
                return {"code": 4, "message": orjson.dumps(refusal.body()).decode() + "\n"}
            return {"code": 2, "message": str(refusal)}
        if event == "unsubscribe":
            connection.topics -= topics
        elif channel not in PRIVATE or not self._silenced(frame, channel):
            connection.topics |= topics
        self._changed.set()
        return None

    def _silenced(self, frame: Mapping[str, Any], channel: str) -> bool:
        """True when a fault keeps this subscription from bringing anything."""
        if not self.faults.awaits(Layer.SUBSCRIPTION):
            return False
        facts = {"channel": channel, "account": self.gatekeeper.stream(frame).name}
        return self.faults.draw(Layer.SUBSCRIPTION, facts) is not None

    def _private(self, frame: Mapping[str, Any], channel: str) -> set[Topic]:
        uid = str(self.gatekeeper.stream(frame).uid)
        pairs = [ALL] if channel == "spot.balances" else _payload(frame)
        for pair in pairs:
            if pair != ALL:
                self._known(pair)
        return {(channel, uid, pair) for pair in pairs}

    def _public(self, frame: Mapping[str, Any], channel: str) -> set[Topic]:
        payload = _payload(frame)
        if channel != "spot.candlesticks":
            return {(channel, self._known(pair)) for pair in payload}
        if len(payload) != 2 or payload[0] != self.venue.tape.timeframe:
            raise Refusal(
                "INVALID_PARAM_VALUE", f"unknown interval: this market is replayed in {self.venue.tape.timeframe}"
            )
        return {(channel, payload[0], self._known(payload[1]))}

    def _known(self, pair: str) -> str:
        if pair not in self.venue.by_pair:
            raise Refusal("INVALID_CURRENCY_PAIR", f"unknown currency pair: {pair}")
        return pair


def _payload(frame: Mapping[str, Any]) -> list[str]:
    payload = frame.get("payload")
    if not isinstance(payload, list) or not payload or not all(isinstance(item, str) for item in payload):
        raise Refusal("INVALID_PARAM_VALUE", "the payload must be a list of words")
    return payload


def candle_record(candle: Candle, pair: str) -> dict[str, Any]:
    """A candle as the channel `spot.candlesticks` pushes it; `w` is true in a bar's last frame."""
    return {
        "t": str(candle.time // 1000),
        "v": text_of(candle.volume * candle.close),
        "c": text_of(candle.close),
        "h": text_of(candle.high),
        "l": text_of(candle.low),
        "o": text_of(candle.open),
        "n": f"{candle.timeframe}_{pair}",
        "a": text_of(candle.volume),
        "w": candle.closed,
    }
