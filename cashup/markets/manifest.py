"""The manifest of a series: which segments each of its versions consists of, and which file takes what comes next."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cashup.errors import DataError
from cashup.markets.segments import Segment
from cashup.markets.store import Store
from cashup.types import Millis

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a series, without the tail. `written` is ISO time in UTC, `source` says where its rows came from.

    `filled` are the open times of bars that were made up to close a gap, as closed ranges [first, last] in ms.
    """

    version: str
    written: str
    source: str
    segments: tuple[Segment, ...]
    filled: tuple[tuple[Millis, Millis], ...] = ()

    @property
    def rows(self) -> int:
        """How many rows the segments hold."""
        return sum(segment.rows for segment in self.segments)

    @property
    def last(self) -> Millis | None:
        """The time of the last row, in ms."""
        return self.segments[-1].last if self.segments else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A series as it is stored: its versions, the newest last, and the number of its tail.

    The tail belongs to the newest version: rows that came after its segments, one record after the other. Each version
    lists its files, so that an older one stays readable until it is pruned.
    """

    exchange: str
    symbol: str
    kind: str
    versions: tuple[Version, ...] = ()
    tail: int = 0
    folder: str = field(default="", compare=False)

    @property
    def newest(self) -> Version:
        """The version that a reader gets who names none."""
        return self.versions[-1]

    @property
    def tail_file(self) -> str:
        """The name of the file that takes appended rows."""
        return f"{self.folder}/tail.{self.tail}.rows"

    @property
    def files(self) -> set[str]:
        """The segments that any version needs."""
        return {segment.file for version in self.versions for segment in version.segments}

    def with_version(self, version: Version) -> Manifest:
        """The same with `version` as the newest; one that was stored before moves to the end."""
        others = tuple(old for old in self.versions if old.version != version.version)
        return replace(self, versions=(*others, version), tail=self.tail + 1)

    def save(self, store: Store) -> None:
        """Put it in the place of the one before; from then on readers see the new version."""
        document = asdict(self)
        del document["folder"]
        store.write(f"{self.folder}/{MANIFEST}", json.dumps({"format": 1} | document, indent=1).encode())


def load_manifest(store: Store, folder: str) -> Manifest:
    """The manifest in `folder`; raises FileNotFoundError when there is none, DataError when it cannot be read."""
    content = store.read(f"{folder}/{MANIFEST}")
    try:
        told: dict[str, Any] = json.loads(content)
        versions = tuple(_version(version) for version in told["versions"])
        return Manifest(told["exchange"], told["symbol"], told["kind"], versions, told["tail"], folder)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{store.address(f'{folder}/{MANIFEST}')} is damaged ({error!r}); import its bars again"
        ) from error


def _version(told: dict[str, Any]) -> Version:
    return Version(
        version=told["version"],
        written=told["written"],
        source=told["source"],
        segments=tuple(Segment(**segment) for segment in told["segments"]),
        filled=tuple((first, last) for first, last in told["filled"]),
    )
