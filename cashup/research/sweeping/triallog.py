"""The trials of a sweep on disk: a line each as they come, a table at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from cashup.research.sweeping.judge import Trial
from cashup.research.sweeping.objective import FIGURES

LINES, TABLE = "trials.jsonl", "trials.parquet"


class TrialLog:
    """Trials by number, each written when it is known, so that an interrupted sweep has lost none of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LINES
        self.known = _read(self.path)

    def __enter__(self) -> Self:
        """Open the file behind its last whole line."""
        text = b"".join(line for line in _lines(self.path))
        self.path.write_bytes(text)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._file.close()

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep a block."""
        for trial in trials:
            self.known[trial.number] = trial
            self._file.write(json.dumps(trial.to_json(), default=str) + "\n")
        self._file.flush()

    def in_order(self) -> list[Trial]:
        """Every trial, by number."""
        return [self.known[number] for number in sorted(self.known)]


def table(trials: Sequence[Trial], names: Sequence[str]) -> pd.DataFrame:
    """One row per trial, by number: the parameters `names`, `status`, the figures, `engine`, `reason`."""
    figures = [name for name in FIGURES if any(name in trial.metrics for trial in trials)]
    return pd.DataFrame(
        {
            **{name: [trial.params.get(name) for trial in trials] for name in names},
            "status": pd.array([trial.status for trial in trials], dtype="str"),
            **{name: pd.array(_column(trials, name), dtype="float64") for name in figures},
            "engine": pd.array([trial.engine for trial in trials], dtype="str"),
            "reason": pd.array([trial.reason for trial in trials], dtype="str"),
        },
        index=pd.Index([trial.number for trial in trials], name="trial", dtype="int64"),
    )


def store(folder: Path, frame: pd.DataFrame) -> Path:
    """Write the table; a parameter that is a list or a mixture stands there as JSON."""
    plain = frame.copy()
    for name in plain.columns:
        if plain[name].dtype == object:
            plain[name] = [json.dumps(value, default=str) for value in plain[name]]
    path = folder / TABLE
    plain.to_parquet(path)
    return path


def _column(trials: Sequence[Trial], name: str) -> list[float]:
    values: Iterable[Mapping[str, float | None]] = (trial.metrics for trial in trials)
    return [float("nan") if (value := one.get(name)) is None else float(value) for one in values]


def _lines(path: Path) -> list[bytes]:
    """The whole lines of the file; a sweep that was killed may have cut the last one."""
    if not path.is_file():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _read(path: Path) -> dict[int, Trial]:
    names = {field.name for field in fields(Trial)}
    told: list[dict[str, Any]] = [json.loads(line) for line in _lines(path)]
    return {one["number"]: Trial(**{name: one[name] for name in names}) for one in told}
