"""What the venue remembers of the requests it has seen: the exchange's truth for whoever checks a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cashup.simulator.call import Call
from cashup.simulator.gatekeeper import BODY
from cashup.types import Millis

WRITES = frozenset({"place", "amend", "cancel", "countdown"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that wants a signature; `account` is whose key it names, signed by it or not.

    `received_at` is when it arrived (ms), `fence` its x-gate-exptime or None. `effect` says that something was done,
    `orders` are the ids of the orders concerned, `label` why it was refused; `fault` names what struck it.
    """

    received_at: Millis
    account: str
    what: str
    method: str
    path: str
    pair: str
    text: str
    fence: str | None
    effect: bool
    label: str
    orders: tuple[str, ...]
    fault: str

    def row(self) -> dict[str, Any]:
        """As the control channel shows it."""
        return asdict(self)


class Register:
    """The newest `keep` requests that wanted to change something, and as many reads."""

    def __init__(self, keep: int) -> None:
        self.writes: deque[Seen] = deque(maxlen=keep)
        self.reads: deque[Seen] = deque(maxlen=keep)

    def note(self, call: Call, fault: str) -> None:
        """Remember a request with which the venue is done."""
        if not call.route.private:
            return
        request, writes = call.request, call.what in WRITES
        account = call.gatekeeper.accounts.owner(request.headers.get("KEY", ""))
        body = request.get(BODY)
        asked: Mapping[str, Any] = body if isinstance(body, dict) else {}
        seen = Seen(
            call.received,
            "" if account is None else account.name,
            call.what,
            request.method,
            request.path,
            str(asked.get("currency_pair") or request.query.get("currency_pair", "")),
            str(asked.get("text", "")),
            request.headers.get("x-gate-exptime"),
            writes and bool(call.made),
            "" if call.refusal is None else call.refusal.label,
            _ids(call.made) if writes else (),
            fault,
        )
        (self.writes if writes else self.reads).append(seen)


def _ids(made: list[Any]) -> tuple[str, ...]:
    rows = [row for content in made for row in (content if isinstance(content, list) else [content])]
    return tuple(str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row)
