"""The switchboard of faults: which are on, what they wait for, and what they have done."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random
from typing import Any

from cashup.clock import Clock
from cashup.errors import NotFound, UsageError
from cashup.types import Millis

Facts = Mapping[str, str]
"""What a request or frame is: `what method path pair account text side channel event`, as far as it has them."""

FACTS = frozenset({"what", "method", "path", "pair", "account", "text", "side", "channel", "event", "page"})
KEPT = 1_000


class Layer(StrEnum):
    """Where a fault strikes: at a request, at a private frame, at a subscription, or at once (an event)."""

    REQUEST = "request"
    FRAME = "frame"
    SUBSCRIPTION = "subscription"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Kind:
    """One fault of the catalogue. `options` names what may be set, with its defaults; `count` None is "until cleared".

    `begin` is called when it is switched on; what can be taken back has `undo`.
    """

    name: str
    layer: Layer
    apply: Callable[..., Any]
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = 1
    begin: Callable[..., None] | None = None
    undo: Callable[..., None] | None = None

    def row(self) -> dict[str, Any]:
        """As a line of the catalogue."""
        return {"kind": self.name, "layer": str(self.layer), "about": self.about, "options": dict(self.options)}


def kind(layer: Layer, *, count: int | None = 1, **options: Any) -> Callable[[Callable[..., Any]], Kind]:
    """Makes a kind of the function that does it: its name is the kind's, its docstring says what it is."""

    def make(work: Callable[..., Any]) -> Kind:
        return Kind(work.__name__, layer, work, " ".join((inspect.getdoc(work) or "").split()), options, count)

    return make


@dataclass(slots=True)
class Fault:
    """One fault that is switched on.

    It strikes what has all the facts in `match` (values may hold * and ?), from the `nth` of these on, `count` times
    (None: until cleared), each time with `probability`.
    """

    id: int
    kind: Kind
    options: dict[str, Any]
    match: dict[str, str]
    nth: int = 1
    count: int | None = 1
    probability: float = 1.0
    seen: int = 0
    struck: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    def concerns(self, facts: Facts) -> bool:
        """True when what has these facts is meant."""
        return all(fnmatchcase(facts.get(name, ""), wanted) for name, wanted in self.match.items())

    def row(self) -> dict[str, Any]:
        """As the control channel shows it."""
        return {
            "fault": self.id,
            "kind": self.kind.name,
            "match": self.match,
            "options": self.options,
            "nth": self.nth,
            "count": self.count,
            "probability": self.probability,
            "seen": self.seen,
            "struck": self.struck,
        }


class Faults:
    """The switchboard. `scene` is what events act on: the running simulator."""

    def __init__(self, kinds: Mapping[str, Kind], scene: Any, clock: Clock, *, seed: int = 0) -> None:
        self.kinds = kinds
        self.random = Random(seed)  # noqa: S311 - a seed must reproduce
        self.struck: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._scene = scene
        self._clock = clock
        self._ids = itertools.count(1)
        self._on: dict[Layer, list[Fault]] = {layer: [] for layer in Layer}
        self._stopped = asyncio.Event()

    def set(
        self,
        name: str,
        *,
        nth: int = 1,
        count: int | str | None = "default",
        probability: float = 1.0,
        lasts: float | None = None,
        **settings: Any,
    ) -> Fault:
        """Switch a fault on; an event happens at once. `settings` are the facts to match and the kind's options.

        `lasts` (seconds) switches it off again. Raises UsageError for a kind, option or number that does not exist.
        """
        chosen = self.kinds.get(name)
        if chosen is None:
            raise UsageError(f"{name!r} is not a fault; look at `cashup simulator --faults`")
        options = {**chosen.options, **{key: value for key, value in settings.items() if key in chosen.options}}
        match = {key: str(value) for key, value in settings.items() if key not in chosen.options}
        if unknown := sorted(set(match) - FACTS):
            raise UsageError(f"{name} has no option {unknown[0]!r}; it has {', '.join(chosen.options) or 'none'}")
        times = chosen.count if count == "default" else count
        if nth < 1 or not 0 < probability <= 1 or not (times is None or (isinstance(times, int) and times > 0)):
            raise UsageError("nth and count begin at 1, and a probability lies between 0 and 1")
        fault = Fault(next(self._ids), chosen, options, match, nth, times, probability)
        if chosen.begin is not None:
            chosen.begin(self._scene, fault)
        if chosen.layer is Layer.EVENT:
            chosen.apply(self._scene, fault)
            self._note(fault, {})
        if chosen.layer is not Layer.EVENT or chosen.undo is not None:
            self._on[chosen.layer].append(fault)
        if lasts is not None:
            asyncio.get_running_loop().call_later(lasts, self._discard, fault)
        return fault

    def clear(self, ident: int | None = None) -> None:
        """Switch one fault off, or all of them; raises NotFound for one that is not on."""
        chosen = [fault for fault in self.active if ident in {None, fault.id}]
        if ident is not None and not chosen:
            raise NotFound(f"fault {ident} is not on; `fault.list` shows those that are")
        for fault in chosen:
            self._discard(fault)

    @property
    def active(self) -> list[Fault]:
        """Every fault that is on, oldest first."""
        return sorted((fault for faults in self._on.values() for fault in faults), key=lambda fault: fault.id)

    def awaits(self, layer: Layer) -> bool:
        """True when something may strike there: the plain path asks nothing more than this."""
        return bool(self._on[layer])

    def draw(self, layer: Layer, facts: Facts) -> Fault | None:
        """The fault that strikes what has these facts, or None. The oldest one wins."""
        for fault in self._on[layer]:
            if fault.concerns(facts):
                fault.seen += 1
                if fault.seen >= fault.nth and self.random.random() < fault.probability:
                    self._strike(fault, facts)
                    return fault
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the simulator runs."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass

    @property
    def stopped(self) -> bool:
        """True when the simulator ends."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let everything go that waits."""
        self._stopped.set()

    def _strike(self, fault: Fault, facts: Facts) -> None:
        fault.struck += 1
        if fault.struck == fault.count:
            self._discard(fault)
        self._note(fault, facts)

    def _note(self, fault: Fault, facts: Facts) -> None:
        at: Millis = self._clock.now()
        self.struck.append({"at": at, "fault": fault.id, "kind": fault.kind.name, "facts": dict(facts)})

    def _discard(self, fault: Fault) -> None:
        if fault in self._on[fault.kind.layer]:
            self._on[fault.kind.layer].remove(fault)
            if fault.kind.undo is not None:
                fault.kind.undo(self._scene, fault)
