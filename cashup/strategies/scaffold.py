"""New notebooks from templates, and new projects to keep them in."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cashup.errors import Conflict, UsageError
from cashup.strategies.symbols import did_you_mean

_TEMPLATES = Path(__file__).parent / "templates"

_README = """# {name}

A CashUp project: strategies in `notebooks/`, what runs live in `live/`.

    cashup data download --exchange gate --symbol BTC/USDT --timeframe 1h --start 2024-01-01
    cashup new strategy my_idea
    cashup backtest notebooks/my_idea.ipynb
    cashup check notebooks/my_idea.ipynb
    cashup lab
"""
_DEPLOYMENT = """#:schema ./deployment.schema.json
# What `cashup live up` keeps running: one file per deployment, named after it. No secret has a place here.
notebook = "notebooks/first.ipynb" # relative to the folder that live/ lies in
capital = "10000"                  # in quote currency; without an account it is paper money
"""
_IGNORED = ".cashup/\n.ipynb_checkpoints/\n__pycache__/\n"


def templates() -> list[str]:
    """The names of the templates."""
    return sorted(path.stem for path in _TEMPLATES.glob("*.ipynb"))


def new_notebook(folder: Path, name: str, template: str) -> Path:
    """Write `<folder>/<name>.ipynb` from `template`; its first heading becomes the name.

    Raises UsageError for a name that is no file name or a template that does not exist, Conflict when the notebook is
    there already.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError(f"{name!r} is not a name for a notebook; use letters, digits and _, such as my_idea")
    if template not in templates():
        raise UsageError(f"there is no template {template!r}; {did_you_mean(template, templates())}")
    path = folder / f"{name}.ipynb"
    if path.exists():
        raise Conflict(f"{path} is there already, and is not overwritten; choose another name")
    notebook = json.loads((_TEMPLATES / f"{template}.ipynb").read_text(encoding="utf-8"))
    title = name.replace("_", " ").replace("-", " ").strip().capitalize()
    notebook["cells"][0]["source"][0] = f"# {title}\n"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def new_project(folder: Path, schema: str) -> list[Path]:
    """Make `folder` a project: `notebooks/ live/ cashup.toml README.md .gitignore`. What was written.

    `schema` is the JSON Schema of deployment files, as text; the first line of a deployment file names it.
    Raises Conflict when it is one already, UsageError when it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if (folder / "cashup.toml").exists():
        raise Conflict(f"{folder} is a project already (it has a cashup.toml); nothing was changed")
    for name in ("notebooks", "live"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    files = {
        "cashup.toml": "# Settings of this project; every one of them can also be set as CASHUP_<NAME>.\n",
        "README.md": _README.format(name=folder.resolve().name),
        ".gitignore": _IGNORED,
        "live/first.toml": _DEPLOYMENT,
        "live/deployment.schema.json": schema,
    }
    missing = {folder / name: text for name, text in files.items() if not (folder / name).exists()}
    for path, text in missing.items():
        path.write_text(text, encoding="utf-8")
    written = list(missing)
    first = folder / "notebooks" / "first.ipynb"
    if not first.exists():
        written.append(new_notebook(folder / "notebooks", "first", "target"))
    return written
