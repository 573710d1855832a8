"""papermill without what it loads for stores that CashUp does not use (Amazon's, Hadoop's, the web's)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_LEFT_OUT = ("boto3", "pyarrow.fs", "fqdn", "isoduration", "uri_template", "webcolors")
"""papermill and jsonschema take each of them as optional; together they weigh 25 MB."""


def load_papermill() -> None:
    """Import papermill. What it is kept from can still be imported later, by a notebook for one."""
    with _hidden(name for name in _LEFT_OUT if name not in sys.modules), _promised("requests"):
        import papermill  # noqa: F401


@contextmanager
def _promised(name: str) -> Iterator[None]:
    """Let what is imported here hold a promise of the module `name`, kept when it asks for something of it.

    papermill would read notebooks from web servers with it, which are not what a worker is given.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = promise = ModuleType(name)
    setattr(promise, "__getattr__", lambda what: getattr(importlib.import_module(name), what))  # noqa: B010
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _hidden(names: Iterator[str]) -> Iterator[None]:
    hidden = tuple(names)
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # it cannot be imported
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
