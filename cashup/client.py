"""The typed client of the API: what workers, dashboards, the command line and the lockstep driver use.

`Client` speaks REST, synchronously; `Socket` is one authenticated WebSocket, and `watch_events` a stream of events
that survives reconnects. Rows come as the API shows them: snake_case, money as text, times as milliseconds (UTC).
httpx and websockets are imported when they are first used.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote, urlsplit

from cashup.errors import (
    CashUpError,
    Conflict,
    Forbidden,
    NotFound,
    Outdated,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from cashup.types import Millis

if TYPE_CHECKING:
    import httpx
    from websockets.asyncio.client import ClientConnection

    from cashup.settings import Settings

Row = dict[str, Any]
"""One JSON object as the API shows it."""

PROTOCOL = 1
"""What workers and gateway say to each other over the WebSocket, by number: it grows when an old worker would be wrong.

The gateway names its own in the welcome; a worker that speaks another one ends, and its supervisor starts a new one.
"""

BAD_TOKEN = 4401
"""The close code of a WebSocket whose token is not good (any more)."""

_ERRORS: dict[int, type[CashUpError]] = {
    400: UsageError,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: UsageError,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_LARGEST_FRAME = 64 * 1024 * 1024
_RECONNECT_FIRST, _RECONNECT_LAST = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a deployment, as its supervisor gets it. The token is for the worker alone.

    `version` is the id of the frozen notebook ("" for none), `content_hash` what the gateway has on record of it,
    `live` whether it trades real money.
    """

    number: int
    fence: int
    token: str = field(repr=False)
    notebook: str
    params: Mapping[str, Any]
    resources: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    content_hash: str = ""
    live: bool = False


# --- credentials ---------------------------------------------------------------------------------------------------


def load_token(settings: Settings) -> str:
    """The access token for the gateway of `settings`: `CASHUP_TOKEN`, else that in `CASHUP_TOKEN_FILE`, else the login.

    The file is read each time, so whoever wrote it may replace it. Raises Unauthenticated when there is none.
    """
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.token_file is not None:
        return _read_token(settings.token_file)
    saved = _read_credentials(settings).get(settings.gateway)
    if saved is None:
        raise Unauthenticated(f"nobody is logged in to {settings.gateway}; log in with `cashup user login`")
    return str(saved["access_token"])


def save_token(settings: Settings, token: str, *, expires_at: Millis | None = None) -> None:
    """Keep the token of a login in `credentials.json` under the home, readable by this user only."""
    credentials = _read_credentials(settings)
    credentials[settings.gateway] = {"access_token": token, "expires_at": expires_at}
    path = settings.home_path / "credentials.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(credentials, file, indent=1)
    partial.replace(path)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Unauthenticated(f"CASHUP_TOKEN_FILE is {path}, and no token can be read there: {error}") from error
    if not token:
        raise Unauthenticated(f"CASHUP_TOKEN_FILE is {path}, and it is empty")
    return token


def _read_credentials(settings: Settings) -> Row:
    path = settings.home_path / "credentials.json"
    try:
        return cast(Row, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Unauthenticated(f"{path} is not readable as JSON; log in again with `cashup user login`") from error


# --- REST ----------------------------------------------------------------------------------------------------------


class Client:
    """The REST API. Every call raises the error of `errors.py` that the gateway answered with, or Unavailable."""

    def __init__(
        self,
        gateway: str,
        token: str | None = None,
        *,
        renew: Callable[[], str] | None = None,
        extends: bool = True,
        timeout: float = 30.0,
    ) -> None:
        """`renew` is asked for another token once, when the gateway no longer takes the one in use.

        Without `extends` a token is used until then: somebody else replaces it.
        """
        self.gateway = gateway.rstrip("/")
        self._token = token
        self._renew = renew
        self._extends = extends
        self._timeout = timeout
        self._http: httpx.Client | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Client:
        """A client that is logged in as the user of this machine; raises Unauthenticated when nobody is."""
        extends = settings.token is not None or settings.token_file is None
        return cls(settings.gateway, load_token(settings), renew=lambda: load_token(settings), extends=extends)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    @property
    def token(self) -> str:
        """The token in use; raises Unauthenticated when there is none."""
        if self._token is None:
            raise Unauthenticated(f"nobody is logged in to {self.gateway}; log in with `cashup user login`")
        return self._token

    def login(self, name: str, password: str) -> Row:
        """Exchange a password for an access token, which this client then uses: `access_token expires_in`."""
        answer = cast(Row, self._call("POST", "/auth/login", {"name": name, "password": password}))
        self._token = str(answer["access_token"])
        return answer

    def me(self) -> Row:
        """Who the token belongs to."""
        return cast(Row, self._call("GET", "/auth/me"))

    def extend(self) -> None:
        """Exchange the token in use for a fresh one, before it expires; not when it comes from a file."""
        if self._extends:
            self._token = str(cast(Row, self._call("POST", "/auth/renew"))["access_token"])

    def view_token(self) -> Row:
        """A short-lived token that can only read, for a dashboard: `access_token expires_in`."""
        return cast(Row, self._call("POST", "/auth/view-token"))

    def health(self, domain: str | None = None) -> Row:
        """The gateway's health, or that of one of its nine domains."""
        return cast(Row, self._send("GET", f"/health/{domain}" if domain else "/health", None, None))

    def accounts(self) -> list[Row]:
        """Every account, without secrets."""
        return cast(list[Row], self._call("GET", "/accounts"))

    def account(self, name: str) -> Row:
        """One account, without secrets; a paper account with its terms and assumptions."""
        return cast(Row, self._call("GET", f"/accounts/{name}"))

    def add_account(self, account: Mapping[str, Any]) -> Row:
        """Store an account: `name exchange mode base_url`, and `key secret`, or `terms` for a paper account."""
        return cast(Row, self._call("POST", "/accounts", account))

    def deployments(self) -> list[Row]:
        """Every deployment."""
        return cast(list[Row], self._call("GET", "/deployments"))

    def deployment(self, name: str) -> Row:
        """One deployment."""
        return cast(Row, self._call("GET", f"/deployments/{quote(name)}"))

    def put_deployment(self, name: str, spec: Mapping[str, Any]) -> Row:
        """Create or change a deployment."""
        return cast(Row, self._call("PUT", f"/deployments/{quote(name)}", spec))

    def start(self, name: str, *, allow_live: bool = False) -> Row:
        """Wish the deployment to run; one on a live account only with `allow_live`."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/start", {"allow_live": allow_live}))

    def stop(self, name: str) -> Row:
        """Wish the deployment to stop."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/stop"))

    def pause(self, name: str) -> Row:
        """Wish the deployment's worker to follow the bars and decide nothing."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/pause"))

    def resume(self, name: str) -> Row:
        """Wish a paused deployment to decide again."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/resume"))

    def restart(self, name: str) -> Row:
        """Wish another attempt in place of the newest one."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/restart"))

    def risk(self) -> list[Row]:
        """Every deployment's state, limits and their use, losses and pauses."""
        return cast(list[Row], self._call("GET", "/risk"))

    def risk_limits(self) -> list[Row]:
        """The limits of accounts and users."""
        return cast(list[Row], self._call("GET", "/risk/limits"))

    def put_risk_limits(self, scope: str, name: str, limits: Mapping[str, Any]) -> None:
        """Set all limits of an account or a user."""
        self._call("PUT", f"/risk/limits/{quote(scope)}/{quote(name)}", limits)

    def clear_latch(self, scope: str, name: str, code: str) -> None:
        """Lift what a loss has latched; losses are measured from now on."""
        self._call("DELETE", "/risk/latches", params={"scope": scope, "name": name, "code": code})

    def halts(self) -> list[Row]:
        """Every halt that is latched."""
        return cast(list[Row], self._call("GET", "/halts"))

    def alerts(self, deployment: str | None = None, *, acknowledged: bool = False) -> list[Row]:
        """What somebody must look at, the newest first; with `acknowledged` also what somebody has looked at."""
        wanted: dict[str, Any] = {"acknowledged": acknowledged} | ({"deployment": deployment} if deployment else {})
        return cast(list[Row], self._call("GET", "/alerts", params=wanted))

    def acknowledge_alert(self, ident: int) -> Row:
        """Somebody has looked at this alert."""
        return cast(Row, self._call("POST", f"/alerts/{ident}/acknowledge"))

    def order(self, order: str) -> Row:
        """One order, by our id or the venue's."""
        return cast(Row, self._call("GET", f"/orders/{quote(order)}"))

    def place_order(self, deployment: str, order: Mapping[str, Any], *, key: str | None = None) -> Row:
        """Place an order for a deployment: `symbol side type time_in_force quantity cost price`, amounts as text.

        The answer is `key kind state decisions orders`. The same `key` again gives the same answer and does nothing;
        without one it is a new order each time.
        """
        return self._command("POST", f"/deployments/{quote(deployment)}/orders", dict(order), key)

    def cancel_order(self, order: str, *, key: str | None = None) -> Row:
        """End an order, by our id or the venue's. It is `working` until the venue has said what became of it."""
        return self._command("POST", f"/orders/{quote(order)}/cancel", None, key)

    def amend_order(
        self, order: str, *, quantity: str | None = None, price: str | None = None, key: str | None = None
    ) -> Row:
        """Give a resting order another quantity or price, amounts as text."""
        terms = {name: value for name, value in (("quantity", quantity), ("price", price)) if value is not None}
        return self._command("PATCH", f"/orders/{quote(order)}", terms, key)

    def kills(self) -> list[Row]:
        """Every kill, and how far it is on each account."""
        return cast(list[Row], self._call("GET", "/kills"))

    def kill(self, scope: str, name: str = "", *, flatten: bool, external: bool = False, reason: str = "") -> Row:
        """Kill a deployment, account or user by name, or all."""
        body = {"scope": scope, "name": name, "flatten": flatten, "external": external, "reason": reason}
        return cast(Row, self._call("POST", "/kills", body))

    def unkill(self, scope: str, name: str = "") -> None:
        """Lift a kill."""
        self._call("DELETE", "/kills", params={"scope": scope, "name": name})

    def flatten(self, deployment: str) -> Row:
        """Cancel what rests of a deployment and sell what it holds."""
        return cast(Row, self._call("POST", f"/deployments/{quote(deployment)}/flatten"))

    def flattening(self, deployment: str) -> Row:
        """How far that is."""
        return cast(Row, self._call("GET", f"/deployments/{quote(deployment)}/flatten"))

    def new_attempt(self, name: str, holder: str | None = None, place: Mapping[str, str] | None = None) -> Attempt:
        """Begin an attempt as the supervisor `holder`; older ones of the deployment lose their fence.

        `place` (host, boot) is where it runs.
        """
        body = {"holder": holder, "place": place}
        row = cast(Row, self._call("POST", f"/deployments/{quote(name)}/attempts", body))
        about = {name: row[name] for name in ("resources", "version", "content_hash", "live") if row.get(name)}
        return Attempt(row["attempt"], row["fence"], row["token"], row["notebook"], row["params"], **about)

    def heartbeat(self, name: str, attempt: int) -> None:
        """Say that the attempt's worker process lives."""
        self._call("POST", f"/deployments/{quote(name)}/attempts/{attempt}/heartbeat")

    def finish(
        self,
        name: str,
        attempt: int,
        *,
        state: str,
        reason: str,
        exit_code: int | None,
        message: str,
        output: str | None = None,
    ) -> Row:
        """Record how an attempt ended; `output` is the path of the executed notebook.

        What follows: `verdict` (`stopped`, `again`, `given_up`), `again_in` in ms and `deaths`.
        """
        body = {"state": state, "reason": reason, "exit_code": exit_code, "message": message, "output": output}
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/attempts/{attempt}/finish", body))

    def lease(
        self,
        holder: str,
        place: Mapping[str, str] | None = None,
        *,
        only: str | None = None,
        running: Sequence[str] = (),
    ) -> Row:
        """Take or renew a supervisor's lease, of a machine or of the deployment `only`: `holder expires lost`.

        `lost` are those of `running` that another supervisor has taken. Raises Conflict when another holds the lease.
        """
        body = {"holder": holder, "place": place, "only": only, "running": [*running]}
        return cast(Row, self._call("POST", "/supervisor/lease", body))

    def supervisor_token(self, name: str, days: int) -> Row:
        """A token for a supervisor that keeps this deployment alone, such as a pod's: `access_token expires_in`."""
        return cast(Row, self._call("POST", f"/deployments/{quote(name)}/supervisor-token", {"days": days}))

    def release_lease(self, holder: str) -> None:
        """Give the supervisor's lease back."""
        self._call("DELETE", "/supervisor/lease", params={"holder": holder})

    def orders(self, deployment: str | None = None) -> list[Row]:
        """Orders, of one deployment or all, oldest first."""
        return self._rows("orders", deployment)

    def fills(self, deployment: str | None = None) -> list[Row]:
        """Fills, of one deployment or all, oldest first."""
        return self._rows("fills", deployment)

    def positions(self, deployment: str | None = None) -> list[Row]:
        """Positions, of one deployment or all."""
        return self._rows("positions", deployment)

    def profit(self, deployment: str) -> Row:
        """What a deployment has earned, realised and not, in its quote currency."""
        return cast(Row, self._call("GET", f"/deployments/{quote(deployment)}/profit"))

    def ledger(self, deployment: str | None = None, account: str | None = None, limit: int | None = None) -> list[Row]:
        """Entries of the ledger, oldest first, each with the balance after it."""
        wanted = {"deployment": deployment, "account": account, "limit": limit}
        return cast(list[Row], self._call("GET", "/ledger", params={k: v for k, v in wanted.items() if v is not None}))

    def explain(self, order: str) -> Row:
        """Why an order is what it is: `order summary hashes latencies steps`."""
        return cast(Row, self._call("GET", f"/orders/{quote(order, safe='')}/explain"))

    def reconciliation(self, account: str) -> Row:
        """What the last comparison of an account's books with its venue found."""
        return cast(Row, self._call("GET", f"/accounts/{quote(account)}/reconciliation"))

    def accept_difference(self, account: str) -> None:
        """Book the differences that block an account as they are."""
        self._call("POST", f"/accounts/{quote(account)}/accept-difference")

    def set_countdown(self, account: str, seconds: int) -> Row:
        """Have the venue cancel what rests after so many seconds without a gateway, 0 for never; the account."""
        return cast(Row, self._call("PUT", f"/accounts/{quote(account)}/countdown", {"seconds": seconds}))

    def equity(self, deployment: str) -> list[Row]:
        """The equity of a deployment at each bar it has processed, oldest first."""
        return self._rows("equity", deployment)

    def decisions(self, deployment: str, since: Millis, until: Millis | None = None) -> list[Row]:
        """What was decided on the bars that opened in [since, until), oldest first; every page of it."""
        rows: list[Row] = []
        while True:
            wanted = {"since": rows[-1]["bar"] + 1 if rows else since} | ({} if until is None else {"until": until})
            page = cast(list[Row], self._call("GET", f"/deployments/{quote(deployment)}/decisions", params=wanted))
            if not page:
                return rows
            rows += page

    def payments(self, deployment: str) -> list[Row]:
        """When the deployment got capital or gave some back, oldest first: `at amount`."""
        return self._rows("payments", deployment)

    def markets(self, deployment: str) -> Row:
        """The venue's rules for what the deployment may trade, by symbol."""
        return cast(Row, self._call("GET", f"/deployments/{quote(deployment)}/markets"))

    def bars(
        self, deployment: str, symbol: str, timeframe: str, since: Millis, until: Millis, *, seen: bool
    ) -> list[list[float]]:
        """Closed bars that opened in [since, until), oldest first: as live trading saw them, or as the venue has them.

        One page of it: where bars are missing at its end, ask on from the last one.
        """
        wanted = {"symbol": symbol, "timeframe": timeframe, "since": since, "until": until, "seen": seen}
        path = f"/deployments/{quote(deployment)}/bars"
        return cast(list[list[float]], self._call("GET", path, params=wanted))

    def reports(self, deployment: str, limit: int = 30) -> list[Row]:
        """The reports of live against its re-run, newest first."""
        path = f"/deployments/{quote(deployment)}/reports"
        return cast(list[Row], self._call("GET", path, params={"limit": limit}))

    def add_report(self, deployment: str, report: Mapping[str, Any]) -> Row:
        """Store a report: `first_bar last_bar total parts document`; the answer is `id in_band`."""
        return cast(Row, self._call("POST", f"/deployments/{quote(deployment)}/reports", report))

    def events(self, stream: str | None = None, after: int | None = None) -> list[Row]:
        """Events after a sequence number, in order."""
        wanted = {"stream": stream, "after": after}
        return cast(list[Row], self._call("GET", "/events", params={k: v for k, v in wanted.items() if v is not None}))

    def _rows(self, noun: str, deployment: str | None) -> list[Row]:
        path = f"/deployments/{quote(deployment)}/{noun}" if deployment else f"/{noun}"
        return cast(list[Row], self._call("GET", path))

    def _command(self, method: str, path: str, body: object, key: str | None) -> Row:
        headers = {"Idempotency-Key": key or secrets.token_hex(12)}
        return cast(Row, self._send(method, f"/api/v1{path}", body, None, headers))

    def _call(self, method: str, path: str, body: object = None, params: Mapping[str, Any] | None = None) -> object:
        return self._send(method, f"/api/v1{path}", body, params)

    def _send(
        self,
        method: str,
        path: str,
        body: object,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        answer = self._request(method, path, body, params, headers)
        if answer.status_code == 401 and self._renew is not None and (token := self._renew()) != self._token:
            self._token = token
            answer = self._request(method, path, body, params, headers)
        if answer.is_success:
            return answer.json() if answer.content else {}
        raise _error(answer.status_code, answer.text)

    def _request(
        self,
        method: str,
        path: str,
        body: object,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        import httpx

        if self._http is None:
            # A proxy from the environment has no way to a gateway on this machine.
            self._http = httpx.Client(base_url=self.gateway, timeout=self._timeout, trust_env=not _local(self.gateway))
        shown = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            return self._http.request(method, path, json=body, params=params, headers=shown | dict(headers or {}))
        except httpx.TransportError as error:
            raise Unavailable(
                f"the gateway at {self.gateway} does not answer ({type(error).__name__}); "
                "start it with `cashup up` or `cashup gateway`",
                code="gateway_unavailable",
            ) from error


def _error(status: int, text: str) -> CashUpError:
    kind = _ERRORS.get(status, CashUpError)
    try:
        error = json.loads(text)["error"]
        return kind(str(error["message"]), code=str(error["code"]))
    except (ValueError, KeyError, TypeError):
        return kind(f"the gateway answered with status {status}: {text[:200]}")


def _local(gateway: str) -> bool:
    host = urlsplit(gateway).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


# --- WebSocket -----------------------------------------------------------------------------------------------------


class Socket:
    """One WebSocket to the gateway that has been let in. Messages are JSON objects with a `type`."""

    def __init__(self, connection: ClientConnection, welcome: Row) -> None:
        self._connection = connection
        self.welcome = welcome

    @classmethod
    async def connect(cls, gateway: str, token: str, *, timeout: float = 10.0) -> Socket:  # noqa: ASYNC109
        """Connect and show the token; raises Unauthenticated when it is refused, Unavailable when nobody answers."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        url = f"ws{gateway.rstrip('/').removeprefix('http')}/ws"
        try:
            connection = await connect(
                url,
                open_timeout=timeout,
                close_timeout=1,
                max_size=_LARGEST_FRAME,
                compression=None,  # one machine, or a fast network: compressing costs more than it saves
                proxy=None if _local(gateway) else True,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Unavailable(
                f"the gateway at {gateway} does not answer ({error})", code="gateway_unavailable"
            ) from error
        socket = cls(connection, {})
        try:
            await socket.send({"type": "auth", "token": token})
            async with asyncio.timeout(timeout):
                socket.welcome = await socket.receive()
        except BaseException:
            await connection.close()
            raise
        return socket

    def require_protocol(self) -> None:
        """Raises Outdated when the gateway speaks another protocol than this process."""
        spoken = self.welcome.get("protocol", PROTOCOL)
        if spoken != PROTOCOL:
            raise Outdated(
                f"the gateway speaks protocol {spoken} and this worker {PROTOCOL}; it ends, and a new one is started"
            )

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises Unavailable when the connection is gone."""
        import orjson
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(orjson.dumps(message), text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> Row:
        """The next message; raises Unauthenticated when the token ended, Unavailable when the connection is gone."""
        import orjson
        from websockets.exceptions import ConnectionClosed

        try:
            return cast(Row, orjson.loads(await self._connection.recv(decode=False)))
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        """Say goodbye."""
        await self._connection.close()


def _closed(error: Any) -> CashUpError:
    code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (1006, "")
    if code == BAD_TOKEN:
        return Unauthenticated(
            f"the gateway no longer takes this token ({reason or 'expired or replaced'}); log in again"
        )
    return Unavailable(f"the connection to the gateway ended ({code} {reason})".strip(), code="disconnected")


class Backoff:
    """Pauses between attempts to connect: none before the first, then growing ones until `reset`."""

    def __init__(self) -> None:
        self._pause = 0.0

    def reset(self) -> None:
        """A connection was made: the next pause is short again."""
        self._pause = _RECONNECT_FIRST

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._pause)
        self._pause = min(max(self._pause * 2, _RECONNECT_FIRST), _RECONNECT_LAST)


async def watch_events(
    gateway: str, token: Callable[[], str], streams: Sequence[str], after: int | None = None
) -> AsyncIterator[Row]:
    """Events of `streams` (`deployment:demo`, `account:*`) after a sequence number, in order, each once, for ever.

    Connects again by itself and goes on where it was; None means from now on. `token` is asked at each connection.
    Raises Unauthenticated when the token is refused.
    """
    seen = after
    backoff = Backoff()
    while True:
        await backoff.wait()
        try:
            socket = await Socket.connect(gateway, token())
        except Unavailable:
            continue  # the gateway restarts; the next turn tries again
        backoff.reset()
        try:
            await socket.send({"type": "events.subscribe", "streams": list(streams), "after": seen})
            while True:
                message = await socket.receive()
                if message["type"] == "event" and (seen is None or message["seq"] > seen):
                    seen = message["seq"]
                    yield message
        except Unavailable:
            continue  # the connection broke; the next one resumes after `seen`
        finally:
            await socket.close()
