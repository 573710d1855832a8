"""What a strategy keeps beyond the bars: a dict of JSON values that outlives its process."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson

from cashup.errors import NotebookError

MOST_BYTES = 256 * 1024
"""How large a state may be as JSON: it is stored with every bar."""
MOST_DEPTH = 20
LARGEST_INT = 2**63 - 1


class Kept(threading.local):
    """The state of one strategy and of what `with_params` made of it, a dict per thread.

    After every bar it is made of plain values again, so that a run that is continued sees what one that was never
    interrupted sees.
    """

    def __init__(self, declared: str) -> None:
        self.declared = declared
        self.text = declared
        self.values: dict[str, Any] = orjson.loads(declared)
        self.hidden = False

    def __reduce__(self) -> tuple[type[Kept], tuple[str]]:
        return Kept, (self.declared,)

    def begin(self, text: str | None = None) -> None:
        """Start from `text`, which `settle` made; None is what was declared."""
        self.text = self.declared if text is None else text
        self._become(orjson.loads(self.text))

    def settle(self) -> None:
        """A bar is over: `text` is the state as JSON. Raises NotebookError for what cannot be kept."""
        plain = plain_state(self.values)
        self.text = as_text(plain)
        self._become(plain)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within this block the state may become anything; afterwards it is what it was."""
        before = self.text
        try:
            yield
        finally:
            self.begin(before)

    @contextmanager
    def out_of_sight(self) -> Iterator[None]:
        """Within this block nobody may read it."""
        before, self.hidden = self.hidden, True
        try:
            yield
        finally:
            self.hidden = before

    def _become(self, values: dict[str, Any]) -> None:
        self.values.clear()
        self.values.update(values)


def declared(state: Mapping[str, Any] | None) -> Kept | None:
    """What `cu.Strategy(..., state=...)` begins with. Raises NotebookError for anything but a dict of JSON values."""
    if state is None:
        return None
    if not isinstance(state, Mapping):
        raise NotebookError(f"state is a dict such as {{'entered': None}}; it is a {type(state).__name__}")
    return Kept(as_text(plain_state(state)))


def plain_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `state` made of plain JSON values. Raises NotebookError that names what is none."""
    return {_key(key, "strategy.state"): _plain(value, f"strategy.state[{key!r}]", 0) for key, value in state.items()}


def as_text(plain: dict[str, Any]) -> str:
    """A plain state as JSON, its keys in their order. Raises NotebookError when it is too large."""
    try:
        text = orjson.dumps(plain)
    except TypeError as error:  # text that is no text: half a surrogate pair
        raise NotebookError(f"strategy.state cannot be kept: {error}", code="state") from None
    if len(text) > MOST_BYTES:
        largest = max(plain, key=lambda key: len(orjson.dumps(plain[key])))
        raise NotebookError(
            f"strategy.state is {len(text):,} bytes as JSON, and at most {MOST_BYTES:,} are kept with a bar; most of "
            f"it is in {largest!r}: keep less, or take it from the bars again",
            code="state",
        )
    return text.decode()


def _plain(value: Any, place: str, depth: int) -> Any:
    if isinstance(value, np.generic):
        value = _of_numpy(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and abs(value) <= LARGEST_INT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth >= MOST_DEPTH:
        raise NotebookError(f"{place} is nested deeper than {MOST_DEPTH} levels", code="state")
    if isinstance(value, list):
        return [_plain(part, f"{place}[{number}]", depth + 1) for number, part in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, place): _plain(part, f"{place}[{key!r}]", depth + 1) for key, part in value.items()}
    raise NotebookError(f"{place} is {_describe(value)}", code="state")


def _of_numpy(value: np.generic) -> Any:
    """A number of numpy as the plain one; whatever else stays, and is refused by its own name."""
    return value.item() if isinstance(value, np.bool_ | np.integer | np.floating) else value


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise NotebookError(f"a key of {place} is {key!r}, a {type(key).__name__}; keys are text", code="state")
    return str(key)


def _describe(value: Any) -> str:
    if isinstance(value, float):
        return f"{value}, which JSON does not know; use None"
    if isinstance(value, int):
        return f"{value}, which is larger than JSON readers agree on; keep it as text"
    hint = "; write a list" if isinstance(value, tuple | set) else ""
    return (
        f"a {type(value).__name__}; a state holds None, true or false, numbers, text, lists and dicts of them, "
        f"because it is kept as JSON{hint}"
    )
