"""A notebook as a strategy: its parameters, its hash, and the strategy that it hands to `cu.run`."""

from __future__ import annotations

import ast
import json
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cashup.errors import CashUpError, NotebookError, WorkFailed
from cashup.strategies.capture import RunReached, capturing
from cashup.strategies.symbols import did_you_mean

if TYPE_CHECKING:
    from cashup.strategies.strategy import Strategy  # with pandas, which reading a notebook does not need

PARAMETERS = "parameters"
"""The tag of the cell that holds the parameters' defaults."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a notebook. `number` counts from 1 over all cells."""

    number: int
    kind: str
    source: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a notebook: its default as a value, and the comment behind it."""

    name: str
    default: Any
    help: str


def read_cells(path: Path) -> list[Cell]:
    """The cells of the notebook at `path`; raises NotebookError when it is missing or is no notebook."""
    if not path.is_file():
        raise NotebookError(f"there is no notebook {path}; check the path")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            Cell(
                number,
                cell["cell_type"],
                source if isinstance(source := cell["source"], str) else "".join(source),
                tuple(cell.get("metadata", {}).get("tags", ())),
            )
            for number, cell in enumerate(cells, start=1)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotebookError(f"{path} is not a notebook in nbformat 4 ({type(error).__name__}: {error})") from error


def notebook_hash(path: Path) -> str:
    """A hash of the cells' kinds, tags and sources; outputs and execution counts do not count."""
    cells = [[cell.kind, list(cell.tags), cell.source] for cell in read_cells(path)]
    return sha256(json.dumps(cells, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def read_parameters(path: Path) -> dict[str, Parameter]:
    """The parameters in the cell tagged `parameters`, by name, in order; empty when there is no such cell.

    A default that is not a plain value (a call, an expression) is None: its type is then not checked.
    """
    source = "\n".join(cell.source for cell in read_cells(path) if PARAMETERS in cell.tags)
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise NotebookError(f"the parameters cell of {path} is not Python: {error}") from error
    lines = source.splitlines()
    found: dict[str, Parameter] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            behind = lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset or 0 :].decode()
            found[target.id] = Parameter(target.id, _literal(value), behind.strip().removeprefix("#").strip())
    return found


def check_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` as parameters of the notebook; raises NotebookError for an unknown name or a value of another type."""
    return _checked(path, read_parameters(path), given)


def _checked(path: Path, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise NotebookError(f"{path.name} has no parameter {name!r}; {did_you_mean(name, known)}")
        checked[name] = _fit(path, known[name], value)
    return checked


def load_strategy(path: Path, params: Mapping[str, Any] | None = None) -> Strategy:
    """Execute the notebook's code cells in this process until `cu.run` is reached; the strategy that it was given.

    `params` replace the defaults of the parameters cell, as papermill does it. The working directory is the notebook's
    folder meanwhile, and what the cells print goes to stderr. Raises NotebookError when the notebook breaks the
    contract, and WorkFailed when a cell raises.
    """
    path = path.resolve()
    script = _script(path)
    checked = _checked(path, script.parameters, params or {})
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with _in_folder(path.parent), redirect_stdout(sys.stderr), capturing():
        for cell in script.cells:
            try:
                exec(script.code(cell), namespace)  # noqa: S102
            except RunReached as end:
                return end.strategy
            except CashUpError:
                raise
            except Exception as error:  # the author's code: anything can come, and it is reported with its place
                raise WorkFailed(
                    f"cell {cell.number} of {path.name} raised {type(error).__name__}: {error}", code="notebook_raised"
                ) from error
            if PARAMETERS in cell.tags:
                namespace.update(checked)
    raise NotebookError(f"{path.name} never calls cu.run(strategy); add a cell that does", code="no_run")


class _Script:
    """A notebook's code cells, each compiled when it is first executed: a sweep executes them a thousand times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parameters = read_parameters(path)
        self.cells = [cell for cell in read_cells(path) if cell.kind == "code"]
        self._code: dict[int, Any] = {}

    def code(self, cell: Cell) -> Any:
        """The cell, compiled."""
        if cell.number not in self._code:
            self._code[cell.number] = _compile(self.path, cell)
        return self._code[cell.number]


def _script(path: Path) -> _Script:
    """The notebook at `path` as it is now: another modification time or size makes another script."""
    if not path.is_file():
        raise NotebookError(f"there is no notebook {path}; check the path")
    about = path.stat()
    return _read_script(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _read_script(path: Path, _modified: int, _size: int) -> _Script:
    return _Script(path)


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    sys.path.append(str(folder))  # at the end, as in a kernel: it shadows no library
    try:
        with chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))


def _compile(path: Path, cell: Cell) -> Any:
    # Magics set up a display or a shell, never a strategy, so they are left out; line numbers stay.
    lines = cell.source.split("\n")
    source = "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
    name = f"{path}#cell{cell.number}"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        return compile(source, name, "exec")
    except SyntaxError as error:
        raise NotebookError(f"cell {cell.number} of {path.name} is not Python: {error.msg}") from error


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _fit(path: Path, parameter: Parameter, value: Any) -> Any:
    default = parameter.default
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return type(default)(value)
    hint = f"; write [{value}]" if isinstance(default, list) and isinstance(value, str) else ""
    raise NotebookError(
        f"parameter {parameter.name!r} of {path.name} is {_article(default)} (default {default!r}), "
        f"but {value!r} is {_article(value)}{hint}"
    )


_KINDS = {bool: "a truth value", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a map"}


def _article(value: object) -> str:
    return _KINDS.get(type(value), f"of type {type(value).__name__}")
