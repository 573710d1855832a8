"""Execute the golden notebooks and store their outputs: `python -m tests.notebooks.refresh`. Read the diff."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.notebooks.market import fill_lake


def main() -> None:
    for path in sorted((Path(__file__).parent / "golden").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as home:
            fill_lake(Path(home) / "lake")
            os.environ["CASHUP_HOME"] = home
            notebook = nbformat.read(path, as_version=4)
            NotebookClient(notebook, kernel_name="python3", record_timing=False).execute()
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
