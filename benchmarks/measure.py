"""Measuring: commands as whole processes, memory as PSS, and the machine it was done on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = ("vectorbt", "vectorbt-rust", "pandas", "numpy", "ccxt", "papermill", "voila", "fastapi", "sqlalchemy")


@dataclass(frozen=True)
class Done:
    """One process that has ended: its seconds, the peak memory of its largest process in MiB, its output."""

    seconds: float
    peak_mib: float
    stdout: str


def run(words: Sequence[str], home: Path | None = None, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Done:
    """Run a command to its end; raises RuntimeError with its last words when it fails."""
    given = {"CASHUP_HOME": str(home)} if home is not None else {}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASHUP_")}
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(words, env=kept | given | dict(env or {}), cwd=cwd, stdout=stdout, stderr=stderr)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {err.read_text()[-800:]}")
        return Done(seconds, usage.ru_maxrss / 1024, out.read_text())


def cashup(*words: str) -> list[str]:
    """The command line of this environment."""
    return [str(Path(sys.executable).with_name("cashup")), *words]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Minimum, median and maximum of some runs."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"min": round(low, digits), "median": round(middle, digits), "max": round(high, digits), "runs": len(values)}


def pss_mib(pid: int) -> float:
    """The proportional share of memory of one process: shared pages count by how many share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"process {pid} does not tell its memory")


@contextmanager
def home() -> Iterator[Path]:
    """An empty home."""
    with TemporaryDirectory(prefix="cashup-bench-") as folder:
        yield Path(folder)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": models[0] if models else platform.processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
