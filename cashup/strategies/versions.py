"""Versions: a notebook with its parameters, frozen as files that are never changed and are verified at each use.

    <home>/versions/<id>/<notebook>.ipynb   what runs, byte by byte, and the Python files beside it that it imports
    <home>/versions/<id>/version.json       what it is made of, and what it was judged on

The id is a hash of what a version is made of, so the same thing is one version and a changed notebook is another.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cashup.clock import WallClock
from cashup.errors import DeploymentError, IntegrityError, NotFound
from cashup.strategies.environment import environment_hash
from cashup.strategies.modules import local_modules
from cashup.strategies.notebook import notebook_hash
from cashup.types import Millis

ABOUT = "version.json"
PROMOTED = "promoted"
UNJUDGED = "unjudged"
_READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Version:
    """One frozen notebook. A `promoted` one has passed the gate; an `unjudged` one was taken at `cashup live up`.

    `document` is version.json: `made_of` is what the id is a hash of, `content_hash` covers the whole, findings and the
    notebook's bytes included.
    """

    id: str
    folder: Path
    document: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """`promoted` or `unjudged`."""
        return str(self.document["kind"])

    @property
    def promoted(self) -> bool:
        """True when it passed the gate."""
        return self.kind == PROMOTED

    @property
    def path(self) -> Path:
        """The frozen notebook."""
        return self.folder / str(self.document["notebook"])

    @property
    def notebook(self) -> str:
        """The notebook's file name."""
        return str(self.document["notebook"])

    @property
    def notebook_hash(self) -> str:
        """The hash of its cells' sources."""
        return str(self.document["notebook_hash"])

    @property
    def modules(self) -> Mapping[str, str]:
        """The SHA-256 of every frozen Python file that the notebook imports, by its path in the folder."""
        modules: Mapping[str, str] = self.document.get("modules", {})
        return modules

    @property
    def params(self) -> Mapping[str, Any]:
        """What the notebook's parameters cell is given."""
        params: Mapping[str, Any] = self.document["params"]
        return params

    @property
    def lock_hash(self) -> str:
        """The hash of the environment that it was frozen in."""
        return str(self.document["lock_hash"])

    @property
    def content_hash(self) -> str:
        """The hash of everything in it."""
        return str(self.document["content_hash"])

    @property
    def created_at(self) -> Millis:
        """When it was frozen."""
        return int(self.document["created_at"])


def version_id(made_of: Mapping[str, Any]) -> str:
    """The id of what is made of this: 12 hex digits."""
    return sha256(json.dumps(dict(made_of), sort_keys=True).encode()).hexdigest()[:12]


def unjudged(notebook: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a deployment's version is made of when nobody has judged it; raises NotebookError for no notebook."""
    made_of: dict[str, Any] = {
        "notebook": notebook.name,
        "notebook_hash": notebook_hash(notebook),
        "params": dict(params),
        "lock_hash": environment_hash(),
    }
    if modules := local_modules(notebook):
        made_of["modules"] = {name: _file_hash(path) for name, path in sorted(modules.items())}
    return made_of


def freeze(
    notebook: Path,
    made_of: Mapping[str, Any],
    folder: Path,
    *,
    kind: str = UNJUDGED,
    findings: Mapping[str, Any] | None = None,
) -> Version:
    """Store `notebook` and what it is made of under `folder`, once; the version.

    `findings` (the gate and the checks) are stored with it. A version that is there already stays as it is. Raises
    IntegrityError when the notebook is changed meanwhile, or the version that is there was tampered with.
    """
    ident = version_id(made_of)
    if (folder / ident).is_dir():
        return read_version(folder, ident)
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{ident}-", dir=folder))
    try:
        copied = _copy(notebook, made_of, partial)
        document = {
            "version": ident,
            "kind": kind,
            **made_of,
            "made_of": sorted(made_of),
            **(findings or {}),
            "created_at": WallClock().now(),
        }
        document |= {"content_hash": _content_hash(document, copied)}
        (partial / ABOUT).write_text(json.dumps(document, indent=1), encoding="utf-8")
        for file in partial.rglob("*"):
            if file.is_file():
                file.chmod(_READ_ONLY)
        partial.chmod(0o755)
        os.rename(partial, folder / ident)  # noqa: PTH104  (Path.rename would do, but says less about replacing)
    except OSError:
        if not (folder / ident).is_dir():
            raise  # somebody else has frozen the same meanwhile
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_version(folder, ident)


def read_version(folder: Path, ident: str, *, content_hash: str | None = None) -> Version:
    """The version `ident` under `folder`, verified: every byte is as it was frozen.

    With `content_hash` it is also the one that is on record. Raises NotFound, and IntegrityError for a version that was
    tampered with.
    """
    place = folder / ident
    if not ident or not (place / ABOUT).is_file():
        raise NotFound(f"there is no version {ident} in {folder}; `cashup versions list` shows what there is")
    try:
        document = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        version = Version(ident, place, document)
        made_of = {name: document[name] for name in document["made_of"]}
        whole = (
            document["version"] == ident == version_id(made_of)
            and {"notebook", "notebook_hash", "params", "lock_hash"} <= set(made_of)
            and "/" not in version.notebook
            and all(_file_hash(place / name) == known for name, known in version.modules.items())
            and version.content_hash == _content_hash(document, version.path)
            and notebook_hash(version.path) == version.notebook_hash
            and content_hash in (None, version.content_hash)
        )
    except (OSError, ValueError, KeyError, TypeError, DeploymentError):
        whole = False
    if not whole:
        raise IntegrityError(
            f"version {ident} is not what was frozen: a file in {place} was changed; promote the notebook again",
            code="version_tampered",
        )
    return version


def list_versions(folder: Path) -> Sequence[Version | str]:
    """Every version under `folder`, newest first; of one that was tampered with its id alone, last."""
    found: list[Version] = []
    broken: list[str] = []
    for place in sorted(folder.glob("*/")) if folder.is_dir() else ():
        if place.name.startswith("."):
            continue
        try:
            found.append(read_version(folder, place.name))
        except (NotFound, IntegrityError):
            broken.append(place.name)
    return [*sorted(found, key=lambda version: -version.created_at), *broken]


def require_environment(version: Version, *, live: bool) -> str:
    """A warning when the version was frozen in another environment than this one; empty otherwise.

    Raises DeploymentError instead when it is `live`: what trades real money runs on what was judged.
    """
    if version.lock_hash == environment_hash():
        return ""
    sentence = f"version {version.id} was frozen with other packages than are installed here"
    if live:
        raise DeploymentError(f"{sentence}; install what it was judged with, or promote it again", code="environment")
    return f"{sentence}; promote it again to be sure"


def _copy(notebook: Path, made_of: Mapping[str, Any], place: Path) -> Path:
    """Copy the notebook and its modules; raises IntegrityError when one of them is not what `made_of` says."""
    copied = Path(shutil.copyfile(notebook, place / notebook.name))
    same = notebook_hash(copied) == made_of["notebook_hash"]
    for name, known in made_of.get("modules", {}).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        same = same and _file_hash(Path(shutil.copyfile(notebook.resolve().parent / name, place / name))) == known
    if not same:
        raise IntegrityError(f"{notebook} was changed while it was frozen; do it again when it is saved")
    return copied


def _file_hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _content_hash(document: Mapping[str, Any], notebook: Path) -> str:
    told = {name: value for name, value in document.items() if name != "content_hash"}
    told |= {"bytes": _file_hash(notebook)}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
