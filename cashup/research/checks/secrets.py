"""Secrets in a notebook: in sources, outputs and metadata.

What is found is never repeated: only its first three characters and its length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cashup.errors import NotebookError
from cashup.research.checks.verdict import Check, Evidence, Verdict
from cashup.strategies.secrets import find_secrets

NAME = "secrets"

MOST_EVIDENCE = 10


def check_secrets(notebook: Path | None) -> Check:
    """Look through the notebook's file; fails when something looks like a key, a token or a password."""
    if notebook is None:
        return Check(NAME, Verdict.SKIPPED, "the strategy has no notebook to look through")
    evidence = []
    for place, text in _texts(notebook):
        for what, value in find_secrets(text, code=not place.endswith("output")):
            evidence.append(Evidence(cause=f"{place}: {what} ({_masked(value)})"))
    if not evidence:
        return Check(NAME, Verdict.PASSED, "no key, token or password in sources, outputs or metadata")
    advice = "take it out and give it a new value; keys belong in the vault (`cashup account create`)"
    return Check(NAME, Verdict.FAILED, f"the notebook holds a secret; {advice}", evidence[:MOST_EVIDENCE])


def _masked(value: str) -> str:
    return f"{value[:3]}..., {len(value)} characters"


def _texts(notebook: Path) -> Iterator[tuple[str, str]]:
    """Every text of a notebook with its place. Pictures are left out: they are long, random, and no secrets."""
    try:
        document = json.loads(notebook.read_text(encoding="utf-8"))
        cells = document["cells"]
    except (OSError, ValueError, KeyError) as error:
        raise NotebookError(f"{notebook} cannot be read as a notebook: {error}") from error
    yield "the notebook's metadata", json.dumps(document.get("metadata", {}), indent=1)
    for number, cell in enumerate(cells, start=1):
        yield f"cell {number}", _joined(cell.get("source", ""))
        if cell.get("metadata"):
            yield f"cell {number}'s metadata", json.dumps(cell["metadata"], indent=1)
        for output in cell.get("outputs", ()):
            for text in _output_texts(output):
                yield f"cell {number}'s output", text


def _output_texts(output: dict[str, Any]) -> Iterator[str]:
    yield _joined(output.get("text", ""))
    yield _joined(output.get("traceback", ""))
    for kind, data in output.get("data", {}).items():
        if kind.startswith("text/"):
            yield _joined(data)


def _joined(text: Any) -> str:
    return text if isinstance(text, str) else "".join(map(str, text))
