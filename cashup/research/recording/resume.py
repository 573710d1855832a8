"""The notebook of a failed run, made ready to be run on by hand in JupyterLab with what the run was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cashup.research.spec import ENV, RunSpec
from cashup.settings import Settings

ANCHOR = "papermill-error-cell"
"""Where papermill marks the failing cell; as a fragment of the notebook's address it leads there."""
TAG = "cashup-run"
"""The tag of our cell; whatever takes the source out of an executed notebook leaves it out."""

CELL = """\
# Added by CashUp: the cells below run as run {run_id} did, on its bars and costs. Restart the kernel and run all cells.
import os

os.environ.update({environment!r})
os.chdir({folder!r})  # where the notebook lies: what it imports lies there too"""


def make_resumable(executed: Path, notebook: Path, spec: RunSpec, settings: Settings) -> None:
    """Put a cell into `executed` that gives a kernel started by hand what `spec` gave the run of `notebook`.

    The parameters are in papermill's own cell. Nothing is done when papermill came to write nothing. Running it by hand
    records nothing: `spec.result_path` has to be None.
    """
    if not executed.is_file():
        return
    told = executed.parent / "by-hand.json"
    spec.write(told)
    environment = {
        ENV: str(told.resolve()),
        "CASHUP_HOME": str(settings.home_path),
        "CASHUP_LAKE": str(settings.lake_path),
    }
    source = CELL.format(run_id=spec.run_id, environment=environment, folder=str(notebook.resolve().parent))
    document = json.loads(executed.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        if f'id="{ANCHOR}"' in "".join(cell["source"]):
            cell["id"] = ANCHOR  # JupyterLab drops the ids of HTML, and finds cells by theirs
    document["cells"].insert(_after_the_banner(document["cells"]), _code_cell(source))
    executed.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _after_the_banner(cells: list[dict[str, Any]]) -> int:
    first = cells[0].get("metadata", {}).get("tags", ()) if cells else ()
    return 1 if "papermill-error-cell-tag" in first else 0


def _code_cell(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": TAG,
        "metadata": {"tags": [TAG]},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
