"""One series of the lake: a folder with a manifest, immutable segments, and a small tail that takes appends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from posixpath import normpath
from typing import Protocol, TypeVar

import numpy as np

from cashup.clock import Clock, isoformat
from cashup.errors import DataError
from cashup.markets.kinds import Kind
from cashup.markets.manifest import MANIFEST, Manifest, Version, load_manifest
from cashup.markets.segments import (
    BLOCK,
    WINDOW,
    Blocks,
    Segment,
    SegmentFile,
    Times,
    Values,
    concatenated,
    digests,
    version_of,
    write_segments,
)
from cashup.markets.store import Store
from cashup.types import Millis

_TRIES = 5
_T = TypeVar("_T")

Ranges = Sequence[tuple[Millis, Millis]]


class _Part(Protocol):
    """Rows that stand together: those of a segment, or the tail's."""

    @property
    def times(self) -> Times: ...

    @property
    def blocks(self) -> Blocks: ...

    def fill(self, out: Values) -> None: ...


@dataclass(frozen=True)
class Rows:
    """Rows of a series, their times known, their values still in the files.

    `filled`: the ranges of times in which the whole series has made-up bars.
    """

    name: str
    kind: Kind
    parts: Sequence[_Part]
    filled: Ranges = ()

    @cached_property
    def times(self) -> Times:
        """Times in ms, ascending."""
        return concatenated([part.times for part in self.parts if len(part.times)])

    def fill(self, out: Values) -> None:
        """Write the values into `out` (columns x rows)."""
        position = 0
        for part in self.parts:
            part.fill(out[:, position : position + len(part.times)])
            position += len(part.times)

    def values(self) -> Values:
        """The values, columns x rows."""
        out = np.empty((len(self.kind.columns), len(self.times)))
        self.fill(out)
        return out

    def version(self, values: Values) -> str:
        """The version of exactly these rows, whose `values` are given. Blocks that are here in full are not hashed."""
        known = {number: block for part in self.parts for number, block in part.blocks.items()}
        return version_of(self.name, digests(self.kind, self.times, values, known))


@dataclass(frozen=True)
class _Tail:
    times: Times
    values: Values
    blocks: Blocks

    def fill(self, out: Values) -> None:
        out[:] = self.values


class Dataset:
    """The rows of one kind of one symbol on one exchange. `values` are float64 of shape columns x rows.

    Readers see one state or the next, never a mixture; writers of this machine wait for each other.
    """

    def __init__(self, store: Store, exchange: str, symbol: str, kind: Kind, clock: Clock) -> None:
        self.store = store
        self.exchange = exchange
        self.symbol = symbol
        self.kind = kind
        self.clock = clock
        self.name = f"{exchange}|{symbol}|{kind.name}"
        self.folder = f"{exchange}/{symbol.replace('/', '_').replace(':', '-')}/{kind.name}"

    @property
    def legacy(self) -> str:
        """Where a lake of the first layout has these rows: one file without versions."""
        return f"{self.folder}.parquet"

    def exists(self) -> bool:
        """True when the lake has it."""
        return self.store.exists(f"{self.folder}/{MANIFEST}") or self.store.exists(self.legacy)

    def manifest(self) -> Manifest:
        """What is stored; raises FileNotFoundError when nothing is."""
        try:
            return load_manifest(self.store, self.folder)
        except FileNotFoundError:
            file = SegmentFile(self.store, self.legacy, self.kind)
            times = file.rows(None, None).times
            segment = Segment(f"../{self.kind.name}.parquet", len(times), int(times[0]), int(times[-1]))
            version = Version("", "", file.source(), (segment,))
            return Manifest(self.exchange, self.symbol, self.kind.name, (version,), 0, self.folder)

    def rows(self, start: Millis | None = None, end: Millis | None = None, version: Version | None = None) -> Rows:
        """The rows in [start, end) of `version`, or of the newest with its tail. Raises FileNotFoundError."""
        if version is not None:
            return Rows(self.name, self.kind, self._segment_rows(version, start, end), version.filled)
        return self._settled(lambda manifest, tail: self._newest(manifest, tail, start, end))

    def files(self) -> tuple[list[str], Rows]:
        """For readers of Parquet: the paths of the newest segments, and the tail's rows, which are in none of them."""
        return self._settled(self._files)

    def version(self) -> str:
        """The version of the newest state, tail included."""
        return self._settled(self._version)

    def span(self) -> tuple[int, Millis, Millis]:
        """How many rows there are, and the first and the last time."""
        return self._settled(self._span)

    def write(self, times: Times, values: Values, source: str, filled: Ranges = ()) -> str:
        """Store these rows in place of all that were there; the version. What was there stays as an older version."""
        with self.store.locked(self.folder):
            return self._put(self._kept(), times, values, source, filled)

    def append(self, times: Times, values: Values) -> None:
        """Add rows that come after the last one. Raises DataError for earlier ones: those are a correction."""
        with self.store.locked(self.folder):
            manifest = self._kept(fold=False) or self._new()
            tail = self._tail(manifest)
            last = int(tail.times[-1]) if len(tail.times) else manifest.newest.last
            if last is not None and (times[0] < last or (times[0] == last and self.kind.unique)):
                raise DataError(
                    f"{self.symbol} {self.kind.name} on {self.exchange} has rows up to {isoformat(last)}, so one of "
                    f"{isoformat(int(times[0]))} cannot be appended; import it as a correction"
                )
            records = np.empty((len(times), 1 + len(values)), dtype="<i8")
            records[:, 0] = times
            records[:, 1:] = np.ascontiguousarray(values.T, dtype="<f8").view("<i8")
            self.store.append(
                manifest.tail_file, records.tobytes(), len(tail.times) * records.itemsize * len(records[0])
            )
            if len(tail.times) + len(times) > BLOCK:
                self._fold(manifest)

    def prune(self, keep: set[str]) -> tuple[int, int]:
        """Forget the versions that are neither the newest nor in `keep`; how many versions and files went."""
        with self.store.locked(self.folder):
            manifest = self._kept()
            if manifest is None:
                return 0, 0
            left = tuple(v for v in manifest.versions if v is manifest.newest or v.version in keep)
            pruned = replace(manifest, versions=left)
            pruned.save(self.store)
            files = {name.rsplit("/", 1)[-1] for name in self.store.names(f"{self.folder}/*.parquet")}
            self._delete(files - pruned.files)
            return len(manifest.versions) - len(left), len(files - pruned.files)

    # -- reading ------------------------------------------------------------------------------------------------

    def _settled(self, look: Callable[[Manifest, _Tail], _T]) -> _T:
        """What `look` finds in a state that nobody replaced meanwhile."""
        manifest = self.manifest()
        for _ in range(_TRIES):
            try:
                tail = self._tail(manifest)
                # A tail that is missing was never begun, or is in the segments of the next manifest by now.
                if len(tail.times) or manifest == (manifest := self.manifest()):
                    return look(manifest, tail)
            except FileNotFoundError:
                manifest = self.manifest()
        missing = next(f for f in sorted(manifest.files) if not self.store.exists(self._path(f)))
        raise DataError(f"{self.store.address(self._path(missing))} is gone from the lake; import its bars again")

    def _newest(self, manifest: Manifest, tail: _Tail, start: Millis | None, end: Millis | None) -> Rows:
        first = 0 if start is None else int(np.searchsorted(tail.times, start))
        last = len(tail.times) if end is None else int(np.searchsorted(tail.times, end))
        rows = _Tail(tail.times[first:last], tail.values[:, first:last], {})
        parts = [*self._segment_rows(manifest.newest, start, end), rows]
        return Rows(self.name, self.kind, parts, manifest.newest.filled)

    def _files(self, manifest: Manifest, tail: _Tail) -> tuple[list[str], Rows]:
        paths = [self.store.address(self._path(segment.file)) for segment in manifest.newest.segments]
        return paths, Rows(self.name, self.kind, [tail])

    def _segment_rows(self, version: Version, start: Millis | None, end: Millis | None) -> list[_Part]:
        return [
            self._open(segment).rows(start, end)
            for segment in version.segments
            if (start is None or segment.last >= start) and (end is None or segment.first < end)
        ]

    def _version(self, manifest: Manifest, tail: _Tail) -> str:
        if not len(tail.times) and manifest.newest.version:
            return manifest.newest.version
        known = self._blocks(manifest.newest.segments)
        start = None
        if known:
            last = max(known)
            start = last * self.kind.step * BLOCK
            del known[last]
        rows = self._newest(manifest, tail, start, None)
        return version_of(self.name, known | digests(self.kind, rows.times, rows.values()))

    def _span(self, manifest: Manifest, tail: _Tail) -> tuple[int, Millis, Millis]:
        segments = manifest.newest.segments
        first = segments[0].first if segments else int(tail.times[0])
        last = int(tail.times[-1]) if len(tail.times) else segments[-1].last
        return manifest.newest.rows + len(tail.times), first, last

    def _tail(self, manifest: Manifest) -> _Tail:
        width = 1 + len(self.kind.columns)
        try:
            content = self.store.read(manifest.tail_file)
        except FileNotFoundError:
            content = b""
        whole = len(content) // (8 * width)
        records = np.frombuffer(content, dtype="<i8", count=whole * width).reshape(whole, width)
        times, values = records[:, 0], records[:, 1:].view("<f8").T
        # What a power cut left behind the last whole record is not in order.
        last = manifest.newest.last
        steps = np.diff(times, prepend=times[:1] - 1 if last is None else last)
        disorder = np.flatnonzero(steps < (1 if self.kind.unique else 0))
        good = int(disorder[0]) if whole and len(disorder) else whole
        return _Tail(times[:good], values[:, :good], {})

    def _open(self, segment: Segment) -> SegmentFile:
        return SegmentFile(self.store, self._path(segment.file), self.kind)

    def _blocks(self, segments: Sequence[Segment]) -> dict[int, tuple[Millis, Millis, int, str]]:
        return {number: block for segment in segments for number, block in self._open(segment).blocks.items()}

    def _path(self, file: str) -> str:
        return normpath(f"{self.folder}/{file}")

    # -- writing, under the lock --------------------------------------------------------------------------------

    def _new(self) -> Manifest:
        version = Version(version_of(self.name, {}), self._now(), "appended", ())
        manifest = Manifest(self.exchange, self.symbol, self.kind.name, (version,), 0, self.folder)
        manifest.save(self.store)
        return manifest

    def _kept(self, *, fold: bool = True) -> Manifest | None:
        """What is stored, in the present layout and, with `fold`, without a tail; None when nothing is stored."""
        if not self.exists():
            return None
        manifest = self.manifest()
        if not manifest.newest.version:
            rows = self.rows(version=manifest.newest)
            self._put(None, rows.times, rows.values(), manifest.newest.source)
            self.store.delete(self.legacy)
            return self.manifest()
        return self._fold(manifest) if fold else manifest

    def _put(self, manifest: Manifest | None, times: Times, values: Values, source: str, filled: Ranges = ()) -> str:
        segments, blocks = write_segments(self.store, self.folder, self.kind, times, values)
        name = version_of(self.name, blocks)
        version = Version(name, self._now(), source, tuple(segments), tuple(filled))
        before = manifest or Manifest(self.exchange, self.symbol, self.kind.name, folder=self.folder)
        before.with_version(version).save(self.store)
        return name

    def _fold(self, manifest: Manifest) -> Manifest:
        """The tail into segments. This adds nothing to the newest version's rows, so it stays one version."""
        tail = self._tail(manifest)
        if not len(tail.times):
            return manifest
        newest = manifest.newest
        kept = [s for s in newest.segments if s.last // self._window < int(tail.times[0]) // self._window]
        begun = [self._open(s).rows(None, None) for s in newest.segments[len(kept) :]]
        rows = Rows(self.name, self.kind, [*begun, tail])
        made, _ = write_segments(self.store, self.folder, self.kind, rows.times, rows.values())
        segments = (*kept, *made)
        version = version_of(self.name, self._blocks(segments))
        folded = replace(newest, version=version, segments=segments)
        after = replace(manifest, versions=(*manifest.versions[:-1], folded), tail=manifest.tail + 1)
        after.save(self.store)
        self.store.delete(manifest.tail_file)
        self._delete(manifest.files - after.files)
        return after

    @property
    def _window(self) -> Millis:
        return self.kind.step * WINDOW

    def _delete(self, files: set[str]) -> None:
        for file in files:
            self.store.delete(self._path(file))

    def _now(self) -> str:
        return isoformat(self.clock.now())
