"""Determinism: the same bars lead to the same targets, today, tomorrow, and on another machine.

The strategy is computed again in this process with other global seeds, and in fresh processes with another hash seed,
other global seeds and another number of threads.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cashup.research.checks.outputs import Outputs, differences
from cashup.research.checks.subject import Subject, clean
from cashup.research.checks.verdict import Check, Evidence, Verdict

NAME = "determinism"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS")
MOST_EVIDENCE = 3
AGREE = 1e-12
"""Another number of threads may add up in another order; that is not the strategy's fault."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What may differ between two processes."""

    seed: int
    threads: int

    def __str__(self) -> str:
        return f"a fresh process, hash and global seeds {self.seed}, {self.threads} thread{'s' * (self.threads > 1)}"


OTHERS = (Surroundings(seed=1, threads=1), Surroundings(seed=2, threads=2))


class Elsewhere:
    """The strategy computed in fresh processes, side by side with whatever this process does meanwhile."""

    def __init__(self, subject: Subject) -> None:
        self._folder = TemporaryDirectory(prefix="cashup-check-")
        self._children: dict[Surroundings, subprocess.Popen[str]] = {}
        if subject.notebook is None:
            return
        job = (subject.notebook, dict(subject.params), subject.bars)
        (Path(self._folder.name) / "job").write_bytes(pickle.dumps(job))
        for others in OTHERS:
            self._children[others] = self._start(others)

    def _start(self, others: Surroundings) -> subprocess.Popen[str]:
        env = os.environ | {"PYTHONHASHSEED": str(others.seed)} | dict.fromkeys(THREADS, str(others.threads))
        command = [sys.executable, "-P", "-m", "cashup.research.checks.child", self._folder.name, str(others.seed)]
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def results(self) -> Mapping[Surroundings, Outputs | str]:
        """What each process came to: its outputs, or what it said last."""
        found: dict[Surroundings, Outputs | str] = {}
        for others, child in self._children.items():
            said = child.communicate()[1].strip().splitlines()
            if child.returncode != 0:
                found[others] = said[-1] if said else f"exit code {child.returncode}"
                continue
            with np.load(Path(self._folder.name) / f"{others.seed}.npz") as stored:
                found[others] = {name: stored[name] for name in stored.files}
        return found

    def close(self) -> None:
        """End what still runs and remove the files."""
        for child in self._children.values():
            if child.poll() is None:
                child.kill()
                child.communicate()
        self._folder.cleanup()


def check_determinism(subject: Subject, elsewhere: Elsewhere | None = None) -> Check:
    """Compute it again here and `elsewhere`; fails where a target differs."""
    evidence = _here(subject)
    ways = 2
    for others, found in (elsewhere.results() if elsewhere else {}).items():
        ways += 1
        if isinstance(found, str):
            evidence.append(Evidence(cause=f"{others}: {found}"))
        else:
            evidence += _differing(subject, found, str(others))
    if not evidence:
        where = "with other seeds, hash seeds and thread counts" if ways > 2 else "with other seeds"
        return Check(NAME, Verdict.PASSED, f"computed {ways} more times {where}: the same targets")
    hint = "seed what is random inside the target (np.random.default_rng(seed)), and sort what comes out of a set"
    return Check(NAME, Verdict.FAILED, f"the same bars give other targets; {hint}", evidence[:MOST_EVIDENCE])


def _here(subject: Subject) -> list[Evidence]:
    evidence: list[Evidence] = []
    for seed in (1, 2):
        with_seed(seed)
        found = subject.call(subject.fresh(), clean(subject.bars))
        evidence += _differing(subject, found, f"this process again, global seeds {seed}")
    return evidence


def with_seed(seed: int) -> None:
    """Set the global random generators, which a strategy must not depend on."""
    random.seed(seed)
    np.random.seed(seed)


def _differing(subject: Subject, found: Outputs, cause: str) -> list[Evidence]:
    first, stop = subject.warmup, len(subject.bars)
    return list(
        differences(
            subject.full, found, subject.bars, first=first, stop=stop, cause=cause, history=False, tolerance=AGREE
        )
    )
