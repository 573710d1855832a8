"""A worker's own folder: where its kernel works, and writes what it writes beside the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cashup.strategies.versions import ABOUT

_NOTEBOOKS = ".ipynb"
_LEFT_OUT = {"__pycache__", ABOUT}


def prepare(folder: Path, beside: Sequence[Path]) -> Path:
    """Make `folder` ready for a kernel: what lies in the folders `beside` can be read there by its name.

    The first one that has a name wins: the modules of a version go before the working copy's. What the kernel made
    there before stays, and goes before all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for source in (source for one in beside if one.is_dir() for source in one.resolve().iterdir()):
        place = folder / source.name
        if _is_of_use(source, folder) and not place.exists():
            place.symlink_to(source)
    return folder


def _is_of_use(source: Path, folder: Path) -> bool:
    """Not what is hidden, no notebook, no compiled code, and not a home that holds this very folder."""
    left_out = source.name in _LEFT_OUT or source.suffix == _NOTEBOOKS or source.name.startswith(".")
    return not (left_out or folder.is_relative_to(source))
