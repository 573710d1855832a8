"""`cashup live show`: every key of a deployment, what it is, and whether it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cashup.strategies.conduct import own_account
from cashup.strategies.notebook import read_parameters
from cashup.strategies.versions import read_version
from cashup.workers.deployment import KEYS, DeploymentFile, parse_file


@dataclass(frozen=True, slots=True)
class Key:
    """One key, with dots between the names of tables; `given` is False where `value` is the default."""

    key: str
    value: Any
    given: bool
    description: str


def keys_of_file(file: Path, versions: Path) -> list[Key]:
    """The keys of a deployment file; parameters are those of its version, where it names one.

    Raises DeploymentError for a file that cannot be used, NotFound and IntegrityError for such a version.
    """
    deployment = parse_file(file)
    notebook, params = file.resolve().parent.parent / deployment.notebook, deployment.parameters
    if deployment.version is not None:
        version = read_version(versions, deployment.version)
        notebook, params = version.path, dict(version.params)
    keys: list[Key] = []
    for key in _keys(deployment, KEYS):
        if key.key == "parameters":
            keys += _parameters(notebook, params)
        else:
            keys.append(_own(key, file.stem) if key.key == "account" else key)
    return keys


def keys_of_spec(spec: Mapping[str, Any]) -> list[Key]:
    """The keys of what the gateway stores; what it adds itself (symbols, hashes) is left out."""
    given = {"parameters" if key == "params" else key: value for key, value in spec.items()}
    named = {key: value for key, value in given.items() if key in KEYS and value not in ({}, [])}
    keys: list[Key] = []
    for key in _keys(DeploymentFile.model_validate(named), KEYS):
        keys += _parameters(Path(spec["notebook"]), spec["params"]) if key.key == "parameters" else [key]
    return keys


def described(name: str, keys: Sequence[Key]) -> dict[str, Any]:
    """The keys as JSON: money as text."""
    return {"name": name, "keys": [asdict(key) for key in keys]}


def print_keys(keys: Sequence[Key]) -> None:
    """A table of them."""
    from cashup.cli.table import print_table

    rows = [[key.key, _shown(key.value), "given" if key.given else "default", key.description] for key in keys]
    print_table(["key", "value", "", "what it is"], rows)


def _keys(model: BaseModel, names: Sequence[str], within: str = "") -> Iterator[Key]:
    for name in names:
        value, given = getattr(model, name), name in model.model_fields_set
        if isinstance(value, BaseModel):
            yield from _keys(value, tuple(type(value).model_fields), f"{within}{name}.")
        else:
            description = type(model).model_fields[name].description or ""
            yield Key(f"{within}{name}", _plain(value), given, description)


def _parameters(notebook: Path, given: Mapping[str, Any]) -> list[Key]:
    """Each parameter of the notebook, or only what is given where there is no notebook to read."""
    from cashup.errors import NotebookError

    try:
        known = read_parameters(notebook)
    except NotebookError:
        known = {}
    values = {name: one.default for name, one in known.items()} | dict(given)
    return [
        Key(f"parameters.{name}", value, name in given, known[name].help if name in known else "")
        for name, value in values.items()
    ]


def _own(key: Key, name: str) -> Key:
    return key if key.given else Key(key.key, own_account(name), given=False, description=key.description)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [one.row() if hasattr(one, "row") else one for one in value]
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {part}" for key, part in value.items()) or "-"
    return str(value)
