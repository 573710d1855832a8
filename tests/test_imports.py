"""The walls of the house: who may import whom, which library lives in which room, and where time comes from."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "cashup"

FLOORS = [
    {"types", "events", "errors", "clock", "redaction"},
    {"settings", "client"},
    {"storage", "exchanges"},
    {"orders", "strategies", "users", "config", "monitoring", "notifications"},
    {"markets"},
    {"trading", "paper"},
    {"research", "simulator", "workers", "dashboards"},
    {"bootstrap"},
    {"api"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# What a library may be imported by. The kernel of a worker and the command line stay light because of this.
LIBRARY_ROOMS = {
    "ccxt": {"exchanges", "markets"},
    "vectorbt": {"research"},
    "plotly": {"research", "strategies", "workers"},
    "papermill": {"workers", "strategies", "research"},
    "voila": {"dashboards"},
    "fastapi": {"api"},
    "sqlalchemy": {
        "storage",
        "orders",
        "strategies",
        "users",
        "config",
        "monitoring",
        "notifications",
        "markets",
        "trading",
        "paper",
        "bootstrap",
        "api",
        "cli",
    },
    "asyncpg": {"storage", "bootstrap"},
    "duckdb": {"markets"},
    "fsspec": {"markets"},
}

HEAVY = ["ccxt", "vectorbt", "papermill", "sqlalchemy", "voila", "plotly", "pandas"]

CLOCK_CALLS = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "Timestamp": {"now", "utcnow", "today"},
}


class Import(NamedTuple):
    """One import statement's target. `lazy` when it stands inside a function."""

    module: str
    line: int
    lazy: bool


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room of a module of ours: `cashup.orders.state` is in `orders`; None for `cashup` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@cache
def parse(path: Path) -> ast.Module:
    gc.disable()  # a finalizer that complains meanwhile is parsed too, and the parser cannot count the depth of both
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        gc.enable()


@cache
def modules() -> frozenset[str]:
    return frozenset(name_of(path) for path in files())


def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"line {node.lineno}: relative imports hide who is meant"
    base = node.module or ""
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in modules() else base


def for_types_only(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`, whose imports never happen."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def imports(path: Path) -> tuple[Import, ...]:
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                found.extend(Import(target, child.lineno, lazy) for target in targets(child))
            visit(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or for_types_only(child))

    visit(parse(path), lazy=False)
    return tuple(found)


def ours(path: Path) -> Iterator[Import]:
    return (entry for entry in imports(path) if entry.module.split(".")[0] == "cashup")


def test_every_file_has_a_floor() -> None:
    homeless = {
        room for path in files() if (room := room_of(name_of(path))) and room not in FLOOR and room != "__main__"
    }
    assert not homeless, f"name the floor of {sorted(homeless)} in FLOORS"


def test_an_arrow_never_runs_up() -> None:
    wrong = []
    for path in files():
        room = room_of(name_of(path))
        if room is None or room == "__main__":
            continue
        wrong += [
            f"{name_of(path)}:{line} imports {module}"
            for module, line, _ in ours(path)
            if (other := room_of(module)) is not None and FLOOR[other] > FLOOR[room]
        ]
    assert not wrong, "\n".join(wrong)


def test_the_ground_floor_stands_on_itself() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in FLOORS[0]
        for module, _, _ in ours(PACKAGE / f"{name}.py")
        if room_of(module) not in FLOORS[0]
    ]
    assert not wrong, "\n".join(wrong)


def test_files_never_import_in_a_circle() -> None:
    graph = {name_of(path): {entry.module for entry in ours(path)} - {name_of(path), "cashup"} for path in files()}
    circles: list[str] = []
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            circles.append(" -> ".join((*trail[trail.index(module) :], module)))
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                walk(target, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())
    assert not circles, "\n".join(circles)


@pytest.mark.parametrize("room", ["workers", "dashboards"])
def test_workers_and_dashboards_reach_the_gateway_through_the_client_only(room: str) -> None:
    closed = {
        "trading",
        "orders",
        "storage",
        "users",
        "exchanges",
        "monitoring",
        "notifications",
        "config",
        "api",
        "bootstrap",
        "simulator",
    }
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for module, line, _ in ours(path)
        if room_of(module) in closed
    ]
    assert not wrong, "\n".join(wrong)


def test_a_paper_account_is_a_venue_and_knows_nothing_of_whoever_trades_on_it() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in sorted((PACKAGE / "paper").rglob("*.py"))
        for module, line, _ in ours(path)
        if room_of(module) in {"trading", "orders", "users"}
    ]
    assert not wrong, "\n".join(wrong)


def test_research_is_imported_lazily_and_by_notebooks_and_the_command_line_only() -> None:
    wrong = []
    for path in files():
        # A finished live run has a backtest's report; its file is loaded in the notebook's kernel when the run ends.
        if room_of(name_of(path)) == "research" or name_of(path) == "cashup.workers.live_run":
            continue
        for module, line, lazy in ours(path):
            if room_of(module) == "research" and not (lazy and room_of(name_of(path)) in {None, "cli", "strategies"}):
                wrong.append(f"{name_of(path)}:{line} imports {module}{'' if lazy else ' at import'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", sorted(LIBRARY_ROOMS))
def test_a_library_stays_in_its_room(library: str) -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in files()
        for module, line, _ in imports(path)
        if module.split(".")[0] == library and room_of(name_of(path)) not in LIBRARY_ROOMS[library]
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str) -> set[str]:
    """The libraries of HEAVY that a fresh interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_cashup_and_its_command_line_loads_nothing_heavy() -> None:
    assert loaded_by("import cashup") == set()
    assert loaded_by("import cashup.cli") == set()


def test_what_a_notebook_uses_leaves_trading_libraries_alone() -> None:
    assert loaded_by("import cashup as cu; cu.Strategy; cu.Bars; cu.run") <= {"pandas"}


def clock_calls(path: Path) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            noun = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if node.func.attr in CLOCK_CALLS.get(noun, ()):
                yield f"{name_of(path)}:{node.lineno} asks {noun}.{node.func.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (
                f"{name_of(path)}:{node.lineno} takes time.{alias.name}"
                for alias in node.names
                if alias.name in CLOCK_CALLS["time"]
            )


def test_only_the_clock_asks_for_the_time() -> None:
    wrong = [call for path in files() if path != PACKAGE / "clock.py" for call in clock_calls(path)]
    assert not wrong, "\n".join(wrong)
    assert list(clock_calls(PACKAGE / "clock.py")), "this test no longer sees the clock's own call"
