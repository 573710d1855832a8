"""The order path takes its time and its chance through seams: the same inputs give the same run, bit for bit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATHS = sorted(path for folder in ("orders", "trading") for path in (ROOT / "cashup" / folder).rglob("*.py"))

BANNED = {"time", "datetime", "random", "secrets", "uuid"}
"""Modules that give another answer each time that they are asked."""

SEAMS = {
    ("cashup/orders/ids.py", "secrets"): "the source that `random_bits` has when nobody sets another one",
    ("cashup/trading/replay.py", "time"): "how many bars a second were replayed, which decides nothing",
}

CALLS = {"os.urandom", "os.times", "asyncio.to_thread", "loop.run_in_executor", "threading.Thread"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_nothing_asks_for_time_or_chance_but_through_a_seam(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text())
    found = [module for module in _imported(tree) if module in BANNED and (name, module) not in SEAMS]
    found += [call for call in _called(tree) if call in CALLS]
    found += [f"line {line} walks through a set, whose order differs from run to run" for line in _set_walks(tree)]
    assert found == []


def test_every_seam_is_still_there() -> None:
    for name, module in SEAMS:
        assert module in set(_imported(ast.parse((ROOT / name).read_text())))


def test_the_rules_find_what_they_are_for() -> None:
    source = "import time\nfrom random import random\nos.urandom(3)\nfor name in {1, 2}: pass\n[n for n in set(x)]\n"
    tree = ast.parse(source)
    assert list(_imported(tree)) == ["time", "random"]
    assert "os.urandom" in list(_called(tree))
    assert list(_set_walks(tree)) == [4, 5]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def _set_walks(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and _is_set(node.iter):
            yield node.iter.lineno


def _is_set(node: ast.AST) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
