"""A notebook's strategy in another process, which holds no login: what it is, and what it wants at each bar."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cashup.clock import timeframe_millis
from cashup.errors import NotebookError
from cashup.strategies.bars import Bars
from cashup.trading.replay import exact
from cashup.trading.waterfall.world import Rerun, Series
from cashup.types import Millis, Symbol
from cashup.workers.environment import scrubbed


@dataclass(frozen=True, slots=True)
class About:
    """What a strategy is. `outer`: a symbol may lack a bar; `stateful`: it keeps a state from bar to bar."""

    symbols: tuple[Symbol, ...]
    watch: tuple[Symbol, ...]
    timeframe: str
    warmup: int
    rebalance: float | None
    outer: bool
    stateful: bool

    @property
    def bar_millis(self) -> Millis:
        """The length of one bar."""
        return timeframe_millis(self.timeframe)


class Asked:
    """The strategy of a notebook, as long as its process lives. Get one with `asked`."""

    def __init__(self, process: subprocess.Popen[bytes], notebook: Path, params: Mapping[str, Any]) -> None:
        self._process = process
        self._name = notebook.name
        self._say({"notebook": str(notebook), "params": dict(params)})
        said = self._hear()
        symbols, watch = (tuple(map(Symbol, said.pop(name))) for name in ("symbols", "watch"))
        self.about = About(symbols=symbols, watch=watch, **said)

    def rerun(self, bars: Bars, first: Millis, last: Millis) -> Rerun:
        """What it wants at every bar in [first, last), asked one after the other as live.

        Raises NotebookError when the strategy raises.
        """
        written = io.BytesIO()
        for array in (bars.times, bars.values):
            np.save(written, array, allow_pickle=False)
        self._say({"first": first, "last": last, "bytes": len(written.getvalue())}, written.getvalue())
        symbols = self.about.symbols
        targets = {
            int(time): {s: None if t is None else exact(t) for s, t in zip(symbols, row, strict=True)}
            for time, row in self._hear()["targets"].items()
        }
        opens = bars.values[0][:, : len(symbols)].tolist()
        prices = [{s: exact(p) for s, p in zip(symbols, row, strict=True) if p == p} for row in opens]
        return Rerun(Series(bars.times.tolist(), prices), targets)

    def _say(self, document: Mapping[str, Any], more: bytes = b"") -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it has said why it ended, or its exit code is all that there is
            pipe.write(json.dumps(document).encode() + b"\n" + more)
            pipe.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise NotebookError(f"{self._name} ended its process with code {code} when it was run again")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise NotebookError(said["error"], code=said["code"])
        return said


@contextmanager
def asked(notebook: Path, params: Mapping[str, Any]) -> Iterator[Asked]:
    """The strategy of `notebook` with `params`, until the block ends.

    Its process has the environment of a kernel: no token, no address of a database. What it prints goes to standard
    error. Raises NotebookError when the notebook cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="cashup-asked-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cashup.research.asked_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=scrubbed(os.environ),
            cwd=folder,
        )
        try:
            yield Asked(process, notebook, params)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]
