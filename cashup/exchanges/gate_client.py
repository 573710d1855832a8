"""ccxt's Gate client with what it lacks: the expiry header, one write per request, and raw frames.

Importing this module imports ccxt; only `gate.py` does, when a client is made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import ccxt.pro
import yarl
from ccxt.async_support.base.ws.client import Client as Socket

from cashup.errors import ExchangeRefused, ExchangeTransient
from cashup.exchanges.ccxt_adapter import point_at
from cashup.exchanges.gate_outcome import Reply
from cashup.exchanges.limiter import read_usage
from cashup.types import Millis

FENCE = "x-gate-exptime"
"""A request that reaches Gate after this time (ms) is refused: it turns "unknown" into "provably dead"."""


class GateClient(ccxt.pro.gate):  # type: ignore[misc]
    """ccxt signs, knows the markets and runs the WebSocket; nothing here is ever sent twice."""

    _writer: aiohttp.ClientSession | None = None

    def sign(
        self,
        path: str,
        api: Any = (),
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """ccxt's signed request; the parameter `x-gate-exptime` goes out as the header that ccxt does not know."""
        given = params or {}
        fence = given.get(FENCE) if isinstance(given, Mapping) else None
        signed: dict[str, Any] = super().sign(path, api, method, self.omit(given, FENCE) if fence else given)
        if fence is not None:
            signed["headers"] = {**(signed["headers"] or {}), FENCE: str(fence)}
        return signed

    async def exchange(self, method: str, path: str, params: Mapping[str, Any], *, private: bool) -> Reply:
        """One HTTP exchange, one write: the facts of what happened, whatever happened. Redirects are not followed.

        aiohttp repeats a request on a kept-alive connection that turned out dead only for idempotent methods: a POST
        is written once. The trace fires before the first byte, so "written" errs on the side of "perhaps".
        """
        signed = self.sign(path, ["private" if private else "public", "spot"], method, params)
        body = signed["body"]
        sent = body or yarl.URL(signed["url"], encoded=True).raw_query_string
        facts = SimpleNamespace(written=False)
        try:
            async with self._session().request(
                method,
                yarl.URL(signed["url"], encoded=True),
                data=body.encode() if body else None,
                headers=self.prepare_request_headers(signed["headers"]),
                timeout=aiohttp.ClientTimeout(total=self.timeout / 1000),
                allow_redirects=False,
                trace_request_ctx=facts,
            ) as response:
                content, usage = await response.read(), read_usage(response.headers)
                told_at = _told_at(response.headers)
                return Reply(True, response.status, content, request=sent, usage=usage, told_at=told_at)
        except TimeoutError:
            return Reply(facts.written, request=sent, error=f"no answer within {self.timeout / 1000:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(facts.written, request=sent, error=f"{type(error).__name__}: {error}")

    def _session(self) -> aiohttp.ClientSession:
        self.open()
        if self._writer is None or self._writer.closed:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_written)
            self._writer = aiohttp.ClientSession(
                connector=self.tcp_connector, connector_owner=False, trace_configs=[trace]
            )
        return self._writer

    async def spot_markets(self) -> list[dict[str, Any]]:
        """ccxt's list of spot markets. Raises ExchangeTransient or ExchangeRefused."""
        try:
            markets: list[dict[str, Any]] = await self.fetch_spot_markets()
        except ccxt.pro.NetworkError as error:
            raise ExchangeTransient(f"Gate's markets cannot be read now: {error}") from error
        except ccxt.pro.BaseError as error:
            raise ExchangeRefused(f"Gate's markets cannot be read: {error}") from error
        return markets

    def socket(self, on_message: Callable[[Any], None], on_lost: Callable[[str], None]) -> Socket:
        """A WebSocket of its own to Gate's spot channels, not connected yet; every frame goes to `on_message` raw."""
        self.open()
        settings = self.extend(
            self.streaming,
            {
                "log": self.log,
                "verbose": False,
                "asyncio_loop": asyncio.get_running_loop(),
                # Shorter than what a stream waits for, so that no late connection outlives its stream.
                "connectionTimeout": 8_000,
            },
            self.options.get("ws", {}),
        )
        return Socket(
            self.urls["api"]["spot"],
            lambda socket, message: on_message(message),
            lambda socket, error: on_lost(str(error)),
            lambda socket, code: on_lost(f"closed with code {code}"),
            lambda socket: None,
            settings,
        )

    def subscription(self, channel: str, payload: list[str] | None, *, private: bool) -> dict[str, Any]:
        """A subscribe request in Gate's envelope, signed for a private channel."""
        request: dict[str, Any] = {
            "id": self.request_id(),
            "time": self.seconds(),
            "channel": channel,
            "event": "subscribe",
        }
        if payload is not None:
            request["payload"] = payload
        if private:
            text = f"channel={channel}&event=subscribe&time={request['time']}"
            signature = self.hmac(self.encode(text), self.encode(self.secret), hashlib.sha512, "hex")
            request["auth"] = {"method": "api_key", "KEY": self.apiKey, "SIGN": signature}
        return request

    async def close(self, clean_instance_data: bool = False) -> None:
        """Close every connection."""
        if self._writer is not None:
            await self._writer.close()
        await super().close(clean_instance_data)


def _told_at(headers: Mapping[str, str]) -> Millis | None:
    """Gate's time when it answered, which it writes in microseconds."""
    micros = headers.get("X-Out-Time", "")
    return int(micros) // 1000 if micros.isdecimal() else None


async def _mark_written(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    context.trace_request_ctx.written = True


def open_client(key: tuple[str, str] | None, base_url: str | None, *, sandbox: bool, timeout: float) -> GateClient:
    """A client with this key and secret, or without: of Gate, of its testnet (`sandbox`), or of another server."""
    # Our own limiter decides what may be sent when; ccxt's is too loose for orders and sleeps where nobody asked it to.
    config: dict[str, Any] = {
        "enableRateLimit": False,
        "timeout": int(timeout * 1000),
        "maxRetriesOnFailure": 0,
        "options": {
            "defaultType": "spot",
            "maxRetriesOnFailure": 0,
            "unifiedAccount": False,
            "fetchMarkets": {"types": ["spot"]},
        },
        "streaming": {"keepAlive": 10_000, "maxPingPongMisses": 2},
        "timeout_on_exit": 0,
    }
    if key is not None:
        config |= {"apiKey": key[0], "secret": key[1]}
    client = GateClient(config)
    if base_url is not None:
        point_at(client, base_url)
    elif sandbox:
        client.set_sandbox_mode(True)
    return client
