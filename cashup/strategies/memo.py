"""What was computed once from some bars, kept for the next time."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

MOST_BYTES = 384 * 1024**2
"""How much one `Bars` object keeps; the results that were not asked for the longest time make room for others."""


class Memo:
    """Results by key, each computed once, also when several threads ask at the same time; bounded in bytes.

    Results are handed out read-only, because everybody gets the same ones.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._lock = Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returns; it is called when `key` is not known (any more). What it raises is kept by nobody."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
            else:
                self._entries.move_to_end(key)
        if not entry.made:
            with entry.lock:
                if not entry.made:
                    entry.value = read_only(make())
                    entry.made = True
                    self._count(key, entry)
        return entry.value

    def _count(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is not entry:
                return  # it was thrown out while it was made
            entry.bytes = _bytes(entry.value)
            self.bytes += entry.bytes
            while self.bytes > self.most_bytes and len(self._entries) > 1:
                self.bytes -= self._entries.popitem(last=False)[1].bytes


class _Entry:
    __slots__ = ("bytes", "lock", "made", "value")

    def __init__(self) -> None:
        self.lock = Lock()
        self.made = False
        self.value: Any = None
        self.bytes = 0


def read_only(value: Any) -> Any:
    """`value` such that writing into its numbers raises; anything but arrays, frames and series is returned as it is.

    A frame whose columns differ in type comes back as it is too.
    """
    if isinstance(value, tuple):
        return tuple(read_only(part) for part in value)
    if isinstance(value, np.ndarray):
        return _frozen(value)
    if isinstance(value, pd.Series) and isinstance(value.dtype, np.dtype):
        return pd.Series(_frozen(value.to_numpy()), index=value.index, name=value.name, copy=False)
    if isinstance(value, pd.DataFrame) and len(types := set(value.dtypes)) == 1 and isinstance(types.pop(), np.dtype):
        return pd.DataFrame(_frozen(value.to_numpy()), index=value.index, columns=value.columns, copy=False)
    return value


def _frozen(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    view = values.view()
    view.flags.writeable = False
    return view


def _bytes(value: Any) -> int:
    if isinstance(value, tuple):
        return sum(_bytes(part) for part in value)
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(index=False).sum())
    return int(getattr(value, "nbytes", 0)) or sys.getsizeof(value)
