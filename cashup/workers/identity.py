"""What a forked process takes over from its template and can never change: the template's identity.

Two requests may share a template only when all of this is the same: the interpreter, what is installed, CashUp's
sources, the variables that libraries read while they are imported, and what the system hands down from process to
process. The identity is a part of the socket's name, so a process that differs in any of it finds another template,
and one that was started before an installation or a change of the sources is found by nobody.
"""

from __future__ import annotations

import json
import os
import site
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from cashup.workers.environment import scrubbed

_PACKAGE = Path(__file__).parents[1]
_PREFIXES = ("NUMBA_", "OMP_", "OPENBLAS_", "MKL_", "ARROW_", "PYTHON", "PLOTLY_", "VBT_", "MPL", "LC_", "XDG_")
_OF_THE_RUN = {"PATH", "SHELL", "VIRTUAL_ENV", "CASHUP_RUN", "CASHUP_HOME", "CASHUP_LAKE", "CASHUP_SANDBOX"}
"""Variables that differ from run to run and are read when they are needed, not while something is imported."""


def template_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of `env` that a template is started with: no secret is among them."""
    read_early = {name: value for name, value in env.items() if name.startswith(_PREFIXES)}
    return {name: value for name, value in (scrubbed(env) | read_early).items() if name not in _OF_THE_RUN}


def identity(flavour: str, env: Mapping[str, str], package: Path = _PACKAGE) -> str:
    """The identity of the template of this flavour for a process with the variables `env`, as 16 hex digits.

    `package` is the folder of the sources that it has imported.
    """
    facts = [flavour, sys.executable, sys.version, template_environment(env), *_handed_down(), *_installed(package)]
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _handed_down() -> list[Any]:
    """What the system gives every child: user, groups, limits, priority, processors, control group."""
    import resource

    # Not core dumps: a template forbids them to itself, and so do workers, whose kernels come from it too.
    limits = [resource.getrlimit(kind) for kind in range(16) if kind != resource.RLIMIT_CORE]
    groups = [os.getresuid(), os.getresgid(), sorted(os.getgroups())]
    control_group = Path("/proc/self/cgroup").read_text()
    return [groups, limits, os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0)), control_group]


def _installed(package: Path) -> list[Any]:
    """When something was last installed, and the time and size of every source file of CashUp."""
    places = [Path(place) for place in site.getsitepackages()]
    installed = [(str(place), place.stat().st_mtime_ns) for place in places if place.is_dir()]
    return [installed, sorted(_sources(str(package)))]


def _sources(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                found = entry.stat()
                yield entry.path, found.st_mtime_ns, found.st_size
