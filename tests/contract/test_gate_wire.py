"""What our Gate adapter does on the wire when the wire or the venue misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web

from cashup.errors import ExchangeRefused, ExchangeTransient, IntegrityError, UsageError
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.ccxt_adapter import addresses, point_at
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.simulator.server import Simulator
from cashup.types import Candle, Frame, OrderRequest, OrderType, ResultClass, Side, Symbol

BTC = Symbol("BTC/USDT")
KEY = Credentials("key", "secret")
PAIR = {
    "id": "BTC_USDT", "base": "BTC", "quote": "USDT", "fee": "0.1", "min_base_amount": "0.00001",
    "min_quote_amount": "3", "amount_precision": 5, "precision": 1, "trade_status": "tradable",
}  # fmt: skip

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """A TCP server that lists one market, records every order it is sent, and answers orders as it is told to."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.orders: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-l")), 0
                )
                body = await reader.readexactly(length)
                if not head.startswith(b"POST"):
                    listed = [PAIR] if b"/spot/currency_pairs" in head else []
                    respond(writer, 200, json.dumps(listed).encode())
                    continue
                self.orders.append(body)
                await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def respond(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: bytes) -> None:
    lines = [b"HTTP/1.1 %d Word" % status, b"Content-Length: %d" % len(body), *headers, b"", body]
    writer.write(b"\r\n".join(lines))


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[RawServer]:
    server = RawServer(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


@asynccontextmanager
async def exchange_at(url: str, **options: object) -> AsyncIterator[GateExchange]:
    exchange = GateExchange(KEY, base_url=url, **options)
    yield exchange
    await exchange.close()


def order(number: int = 1) -> OrderRequest:
    return OrderRequest(f"t-{number:026d}", BTC, Side.BUY, OrderType.MARKET, cost=Decimal(100))


# -- placing, once ------------------------------------------------------------------------------------------------


async def test_a_connection_that_closes_without_an_answer_is_unknown_and_not_repeated() -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with raw_server(hang_up) as server, exchange_at(server.url) as exchange:
        await exchange.markets()  # leaves a kept-alive connection behind: the write goes to a reused one
        assert (await exchange.place(order())).result is ResultClass.UNKNOWN
        assert len(server.orders) == 1


async def test_silence_is_unknown_and_not_repeated() -> None:
    async def stay_silent(writer: asyncio.StreamWriter) -> None:
        pass

    async with raw_server(stay_silent) as server, exchange_at(server.url, timeout=0.3) as exchange:
        sent = await exchange.place(order())
        assert (sent.result, len(server.orders)) == (ResultClass.UNKNOWN, 1)
        assert "no answer" in sent.message


async def test_half_an_answer_is_unknown() -> None:
    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{")
        writer.close()

    async with raw_server(break_off) as server, exchange_at(server.url) as exchange:
        assert (await exchange.place(order())).result is ResultClass.UNKNOWN


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async def redirect(writer: asyncio.StreamWriter) -> None:
        respond(writer, status, b"", b"Location: /api/v4/spot/orders")

    async with raw_server(redirect) as server, exchange_at(server.url) as exchange:
        assert (await exchange.place(order())).result is ResultClass.UNKNOWN
        assert len(server.orders) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_an_answer_without_a_label_is_unknown_and_not_repeated(status: int) -> None:
    async def fail(writer: asyncio.StreamWriter) -> None:
        respond(writer, status, b"<html>sorry</html>")

    async with raw_server(fail) as server, exchange_at(server.url) as exchange:
        assert (await exchange.place(order())).result is ResultClass.UNKNOWN
        assert len(server.orders) == 1


async def test_nobody_there_is_not_sent() -> None:
    async def fail(writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with raw_server(fail) as server, exchange_at(server.url) as exchange:
        await exchange.markets()
        nobody = "http://127.0.0.1:1"
        point_at(exchange._client, nobody)
        sent = await exchange.place(order())
        assert (sent.result, server.orders) == (ResultClass.NOT_SENT, [])


async def test_markets_that_cannot_be_read_are_not_sent() -> None:
    async with exchange_at("http://127.0.0.1:1") as exchange:
        assert (await exchange.place(order())).result is ResultClass.NOT_SENT
        with pytest.raises(ExchangeTransient):
            await exchange.markets()


async def test_amounts_go_out_as_plain_digits() -> None:
    async def stay_silent(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with raw_server(stay_silent) as server, exchange_at(server.url) as exchange:
        tiny = OrderRequest("t-1", BTC, Side.SELL, OrderType.LIMIT, quantity=Decimal("1E-7"), price=Decimal("1E+5"))
        await exchange.place(tiny)
        (body,) = map(json.loads, server.orders)
        assert (body["amount"], body["price"], body["text"]) == ("0.0000001", "100000", "t-1")


async def test_reads_say_whether_trying_again_helps() -> None:
    async def never(writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with raw_server(never) as server, exchange_at(server.url) as exchange:
        await exchange.markets()
        point_at(exchange._client, "http://127.0.0.1:1")
        with pytest.raises(ExchangeTransient, match="did not answer"):
            await exchange.balances()


async def test_a_wrong_key_is_refused(simulator: Simulator) -> None:
    async with exchange_at(simulator.url) as exchange:
        with pytest.raises(ExchangeRefused, match="INVALID_KEY"):
            await exchange.balances()
        with pytest.raises(ExchangeRefused, match="INVALID_KEY"):
            async with aclosing(exchange.watch_account()) as stream:
                await anext(stream)
        assert (await exchange.place(order())).label == "INVALID_KEY"


async def test_what_gate_cannot_take_is_not_sent(simulator: Simulator) -> None:
    by_quantity = OrderRequest("t-1", BTC, Side.BUY, OrderType.MARKET, quantity=Decimal(1))
    async with exchange_at(simulator.url) as exchange:
        sent = await exchange.place(by_quantity)
        assert (sent.result, sent.label) == (ResultClass.NOT_SENT, "INVALID_PARAM_VALUE")
    public = GateExchange(base_url=simulator.url)
    assert (await public.place(order())).result is ResultClass.NOT_SENT
    await public.close()


# -- streams ------------------------------------------------------------------------------------------------------


async def test_a_stream_comes_back_and_says_so(simulator: Simulator) -> None:
    async with exchange_at(simulator.url) as exchange, aclosing(exchange.watch_candles([BTC], "1h")) as stream:
        async with asyncio.timeout(10):
            assert isinstance(await anext(stream), Connected)
            assert isinstance(await anext(stream), Candle)
            await simulator.streams.close()
            assert isinstance(await anext(stream), Disconnected)
            assert isinstance(await anext(stream), Connected)
            assert isinstance(await anext(stream), Candle)


async def test_a_stream_waits_for_a_venue_that_is_not_there(simulator: Simulator) -> None:
    async with exchange_at(simulator.url) as exchange:
        await exchange.markets()
        point_at(exchange._client, "http://127.0.0.1:1")
        async with aclosing(exchange.watch_candles([BTC], "1h")) as stream, asyncio.timeout(10):
            assert isinstance(await anext(stream), Disconnected)
            point_at(exchange._client, simulator.url)
            while not isinstance(await anext(stream), Connected):
                pass


async def test_an_unknown_interval_is_refused(simulator: Simulator) -> None:
    async with exchange_at(simulator.url) as exchange:
        with pytest.raises(ExchangeRefused, match="interval"):
            async with aclosing(exchange.watch_candles([BTC], "5m")) as stream:
                await anext(stream)


async def test_what_is_pushed_before_the_last_answer_is_not_lost() -> None:
    """Gate may push orders as soon as the first of three channels is subscribed."""
    record = {
        "id": "1", "text": "t-1", "currency_pair": "BTC_USDT", "type": "limit", "side": "buy", "amount": "1",
        "left": "1", "update_time_ms": "1", "event": "put", "finish_as": "open",
    }  # fmt: skip

    async def socket(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            asked = json.loads(message.data)
            answer = {
                "id": asked["id"],
                "channel": asked["channel"],
                "event": "subscribe",
                "result": {"status": "success"},
            }
            await ws.send_json(answer)
            if asked["channel"] == "spot.orders":
                await ws.send_json({"channel": "spot.orders", "event": "update", "result": [record]})
        return ws

    async def pairs(request: web.Request) -> web.Response:
        return web.json_response([PAIR] if "spot" in request.path else [])

    app = web.Application()
    app.router.add_get("/ws/v4/", socket)
    app.router.add_get("/{path:.*}", pairs)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with (
        exchange_at(f"http://127.0.0.1:{runner.addresses[0][1]}") as exchange,
        aclosing(exchange.watch_account()) as stream,
        asyncio.timeout(10),
    ):
        assert isinstance(await anext(stream), Connected)
        frame = await anext(stream)
    await runner.cleanup()
    assert isinstance(frame, Frame)
    assert frame.channel == "spot.orders"


# -- pointing at another server -----------------------------------------------------------------------------------


async def test_no_public_host_remains() -> None:
    import ccxt.pro

    for name in ("gate", "binance", "kraken"):
        client = getattr(ccxt.pro, name)()
        point_at(client, "https://127.0.0.1:9")
        assert {url.split("/")[2] for url in addresses(client.urls["api"])} == {"127.0.0.1:9"}
        assert {url.split(":")[0] for url in addresses(client.urls["api"])} <= {"https", "wss"}
        await client.close()


async def test_a_client_without_addresses_is_refused() -> None:
    class Nowhere:
        id = "nowhere"
        urls = {"api": {}}  # noqa: RUF012

    with pytest.raises(IntegrityError, match="nowhere"):
        point_at(Nowhere(), "http://127.0.0.1:9")


@pytest.mark.parametrize("base", ["127.0.0.1:9", "ftp://127.0.0.1", "http://"])
async def test_an_address_must_be_one(base: str) -> None:
    with pytest.raises(UsageError, match="address"):
        GateExchange(base_url=base)


async def test_credentials_are_not_printed() -> None:
    assert "secret" not in repr(Credentials("key", "secret"))


def test_aiohttp_repeats_no_post() -> None:
    assert "POST" not in aiohttp.client.IDEMPOTENT_METHODS
