"""A worker's own folder: where its kernel works, and writes what it writes beside the notebook."""

from __future__ import annotations

from pathlib import Path

_NOTEBOOKS = ".ipynb"


def prepare(folder: Path, notebook: Path) -> Path:
    """Make `folder` ready for a kernel of `notebook`: what lies beside the notebook can be read there by its name.

    What the kernel made there before stays, and goes before what lies beside the notebook under the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = notebook.resolve().parent
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for source in beside.iterdir():
        place = folder / source.name
        if _is_of_use(source, folder) and not place.exists():
            place.symlink_to(source)
    return folder


def _is_of_use(source: Path, folder: Path) -> bool:
    """Not what is hidden, no other notebook, and not a home beside the notebook that holds this very folder."""
    return not (source.name.startswith(".") or source.suffix == _NOTEBOOKS or folder.is_relative_to(source))
