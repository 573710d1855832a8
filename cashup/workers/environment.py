"""What a kernel may know of its surroundings: an allow-list of variables and a private folder for its sockets."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SYSTEM = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV"}
_LIBRARIES = {"LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"}
_PYTHON = {"PYTHONPATH", "PYTHONUTF8", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}
_THREADS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"}
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NUMBA = {"NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"}
_OURS = {"CASHUP_RUN", "CASHUP_HOME", "CASHUP_LAKE", "CASHUP_SANDBOX"}
_ALLOWED = _SYSTEM | _LIBRARIES | _PYTHON | _THREADS | _NUMBA | _OURS
_PREFIX = "cashup-kernel-"
_LONGEST = 60
"""A unix socket's path holds 107 bytes; the folder's name and the socket's need the rest."""


def scrubbed(source: Mapping[str, str]) -> dict[str, str]:
    """What may be passed on of an environment: no database address, token or key gets through by accident."""
    return {name: value for name, value in source.items() if name in _ALLOWED or name.startswith("LC_")}


def worker_environment(source: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a worker process. Its kernel is forked from the same template, so this holds for both.

    A live window is small: thread pools would cost memory and win nothing.
    """
    return scrubbed(source) | dict.fromkeys(_POOLS, "1")


def kernel_environment(
    source: Mapping[str, str], folder: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The kernel's whole environment."""
    env = scrubbed(source)
    env["IPYTHONDIR"] = str(folder / "ipython")  # no start-up files of the user: a run depends on its notebook alone
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    env["UV_USE_IO_URING"] = "0"  # uvloop would keep a thread of the system's busy for files that nobody reads
    env.update(extra or {})
    return env


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder only this user can enter, short enough for socket paths; removed afterwards.

    What a killed process left behind is removed by the next one.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _LONGEST:
        base = Path("/tmp")  # noqa: S108 (mkdtemp makes the folder itself, with mode 0700)
    _sweep(base)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)  # another user's folder stays: removing it is refused
