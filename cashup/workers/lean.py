"""papermill without what it loads for stores that CashUp does not use: Amazon's, Hadoop's, and checks of formats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LEFT_OUT = ("boto3", "pyarrow.fs", "fqdn", "isoduration", "uri_template", "webcolors")
"""25 MB; papermill and jsonschema take each of them as optional."""


def load_papermill() -> None:
    """Import papermill. What it is kept from can still be imported later, by a notebook for one."""
    with _hidden(name for name in _LEFT_OUT if name not in sys.modules):
        import papermill  # noqa: F401


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
