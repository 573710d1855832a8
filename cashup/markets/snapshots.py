"""Snapshots: which rows a data version stands for, so that a run can be repeated after the lake grew."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cashup.errors import DataError
from cashup.markets.panel import Part
from cashup.markets.store import Store

_FOLDER = ".versions"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A data version: the rows of `parts`, on one exchange and timeframe."""

    version: str
    exchange: str
    timeframe: str
    parts: tuple[Part, ...]

    def part(self, exchange: str, symbol: str, timeframe: str) -> Part:
        """What it has of this series; raises DataError when it is of something else."""
        for part in self.parts:
            if (self.exchange, part.symbol, part.kind or self.timeframe) == (exchange, symbol, timeframe):
                return part
        told = ", ".join(part.symbol for part in self.parts if not part.kind)
        raise DataError(
            f"the data version {self.version[:12]} is of {told} {self.timeframe} on {self.exchange}, "
            f"not of {symbol} {timeframe} on {exchange}; give the version of a run on the same market"
        )

    def covers(self, kind: str) -> bool:
        """True when it stands for rows of this kind beside bars too."""
        return any(part.kind == kind for part in self.parts)


def remember(store: Store, snapshot: Snapshot) -> None:
    """Note the snapshot in the lake, once. A lake that may only be read does not change here: nothing to note."""
    name = f"{_FOLDER}/{snapshot.version}.json"
    if store.exists(name):
        return
    try:
        store.write(name, json.dumps(asdict(snapshot), indent=1).encode())
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) and not isinstance(error, PermissionError):
            raise


def recall(store: Store, version: str) -> Snapshot:
    """The snapshot that `version`, or its first eight or more characters, names. Raises DataError when none does."""
    if len(version) < 8 or not version.isalnum():
        raise DataError(
            f"{version!r} is no data version; give at least its first 8 characters, as `runs show` tells it"
        )
    found = store.names(f"{_FOLDER}/{version}*.json")
    if len(found) != 1:
        what = "no run of this lake had" if not found else f"{len(found)} versions begin with"
        raise DataError(f"{what} the data version {version!r}; `cashup runs show RUN` tells a run's in full")
    return _read(store, found[0])


def find(store: Store, version: str) -> Snapshot | None:
    """The same, or None where it names no single snapshot: it may be the version of one series."""
    try:
        return recall(store, version)
    except DataError:
        return None


def snapshots(store: Store) -> Sequence[Snapshot]:
    """All that were remembered."""
    return [_read(store, name) for name in store.names(f"{_FOLDER}/*.json")]


def forget(store: Store, snapshot: Snapshot) -> None:
    """Drop the note; the rows stay until they are pruned."""
    store.delete(f"{_FOLDER}/{snapshot.version}.json")


def _read(store: Store, name: str) -> Snapshot:
    told: dict[str, Any] = json.loads(store.read(name))
    parts = tuple(Part(**part) for part in told["parts"])
    return Snapshot(told["version"], told["exchange"], told["timeframe"], parts)
