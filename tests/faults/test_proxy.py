"""The fault proxy does what it says, in front of a server that echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.proxy import (
    DOWN,
    UP,
    Bandwidth,
    Latency,
    LimitData,
    Link,
    Proxy,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)


class Echo:
    """A server that sends everything back, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                self.heard += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()


@asynccontextmanager
async def echo_through(*toxics: Toxic) -> AsyncIterator[tuple[Proxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    proxy.toxics.extend(toxics)
    await proxy.start()
    yield proxy, echo
    await proxy.stop()
    server.close()


async def talk(proxy: Proxy, data: bytes) -> bytes:
    """Everything that comes back until the end; raises ConnectionError for a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(data)
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_without_toxics_everything_passes() -> None:
    data = bytes(range(256)) * 1000
    async with echo_through() as (proxy, _):
        assert await talk(proxy, data) == data


@pytest.mark.parametrize(
    "toxic",
    [
        Latency(0.05, 0.02),
        Latency(0.05, direction=UP),
        Bandwidth(100_000),
        Slicer(7),
        Slicer(100, 0.01, UP),
        SlowClose(0.05),
    ],
)
async def test_what_is_only_slow_passes_whole(toxic: Toxic) -> None:
    async with echo_through(toxic) as (proxy, _):
        assert await talk(proxy, b"x" * 900) == b"x" * 900


async def test_slices_arrive_one_by_one() -> None:
    async with echo_through(Slicer(1, 0.05)) as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"ab")
        assert [await reader.read(10), await reader.read(10)] == [b"a", b"b"]
        writer.close()


async def test_data_is_limited() -> None:
    async with echo_through(LimitData(5)) as (proxy, echo):
        assert await talk(proxy, b"0123456789") == b"01234"
        assert echo.heard == b"0123456789"


@pytest.mark.parametrize(("after", "heard"), [(False, b""), (True, b"hello")])
async def test_a_reset_comes_before_or_after_the_bytes(after: bool, heard: bytes) -> None:
    async with echo_through(ResetPeer(after=after), Timeout()) as (proxy, echo):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()
        assert echo.heard == heard


async def test_half_open_says_nothing_until_the_toxic_is_gone() -> None:
    async with echo_through() as (proxy, echo):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        timeout = Timeout()
        proxy.toxics.append(timeout)
        writer.write(b"lost")
        await proxy.swallowed.wait()
        assert echo.heard == b"lost"
        proxy.toxics.remove(timeout)
        writer.write(b"found")
        assert await reader.read(10) == b"found"
        writer.close()


async def test_it_refuses_and_listens_again_at_the_same_address() -> None:
    async with echo_through() as (proxy, _):
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await talk(proxy, b"x")
        await proxy.start()
        assert (proxy.port, await talk(proxy, b"x")) == (port, b"x")


async def test_what_stands_is_cut() -> None:
    async with echo_through() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        await reader.read(1)
        proxy.cut()
        with pytest.raises(ConnectionError):
            assert await reader.read() != b""
        writer.close()


@pytest.mark.parametrize(("share", "heard"), [(0.0, b"one"), (0.5, b"oneGO"), (1.0, b"oneGO two")])
async def test_a_hook_calls_when_its_request_passes_and_holds_the_rest(share: float, heard: bytes) -> None:
    async with echo_through() as (proxy, echo):
        said: list[bytes] = []
        go = asyncio.Event()

        async def note(link: Link, data: bytes) -> None:
            while echo.heard != heard:
                await asyncio.sleep(0.01)
            said.append(data)
            await go.wait()

        hook = proxy.when(note, what=b"GO", share=share if share != 0.5 else 0.34)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        await reader.read(3)
        writer.write(b"GO two")
        async with asyncio.timeout(10):
            while not said:
                await asyncio.sleep(0.01)
        assert (said, echo.heard) == ([b"GO two"], heard)
        go.set()
        async with asyncio.timeout(10):
            await hook.reached.wait()
            while echo.heard != b"oneGO two":
                await asyncio.sleep(0.01)
        writer.close()


async def test_a_hook_waits_for_the_nth_and_for_a_byte() -> None:
    async with echo_through() as (proxy, echo):
        third = proxy.when(lambda link, data: link.mute(DOWN), what=b"x", nth=3)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for _ in range(2):
            writer.write(b"x")
            assert await reader.read(10) == b"x"
        writer.write(b"x")
        await third.reached.wait()
        await proxy.swallowed.wait()
        assert echo.heard == b"xxx"
        writer.close()
    async with echo_through() as (proxy, echo):
        proxy.when(lambda link, data: link.reset(), byte=4)
        with pytest.raises(ConnectionError):
            await talk(proxy, b"0123456")
        assert echo.heard in {b"", b"0123"}


async def test_unix_sockets_in_front_and_behind(tmp_path: Path) -> None:
    echo = Echo()
    server = await asyncio.start_unix_server(echo.serve, tmp_path / "behind")
    proxy = Proxy(tmp_path / "behind", listen=tmp_path / "front")
    await proxy.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "front")
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    proxy.cut()
    assert await reader.read() == b""
    writer.close()
    await proxy.refuse()
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(tmp_path / "front")
    await proxy.stop()
    server.close()
