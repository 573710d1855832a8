"""The Python files beside a notebook that it imports: a part of the strategy, so they are frozen with it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from cashup.strategies.notebook import read_cells


def local_modules(notebook: Path) -> dict[str, Path]:
    """Every file in the notebook's folder that it imports, directly or through another one, by its path in there.

    A name of the standard library is never a file of ours. Raises NotebookError for no notebook.
    """
    folder = notebook.resolve().parent
    found: dict[str, Path] = {}
    wanted = list(_imported("\n".join(_code(notebook))))
    while wanted:
        for path in _files(folder, wanted.pop()):
            name = str(path.relative_to(folder))
            if name not in found:
                found[name] = path
                wanted += _imported(path.read_text(encoding="utf-8", errors="replace"))
    return found


def _code(notebook: Path) -> Iterator[str]:
    for cell in read_cells(notebook):
        if cell.kind == "code":
            lines = cell.source.split("\n")
            yield "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


def _imported(source: str) -> Iterator[str]:
    """The first part of every module that the source imports; nothing for what is not Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # whoever executes it says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _files(folder: Path, name: str) -> Iterator[Path]:
    """The files of the module or package `name` in `folder`."""
    if name in sys.stdlib_module_names:
        return
    if (folder / name / "__init__.py").is_file():
        yield from sorted((folder / name).rglob("*.py"))
    elif (folder / f"{name}.py").is_file():
        yield folder / f"{name}.py"
