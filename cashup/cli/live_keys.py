"""`cashup live show`: every key of a deployment, what it is, and whether it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cashup.strategies.conduct import own_account
from cashup.workers.deployment import KEYS, DeploymentFile, parse_file


@dataclass(frozen=True, slots=True)
class Key:
    """One key, with dots between the names of tables; `given` is False where `value` is the default."""

    key: str
    value: Any
    given: bool
    description: str


def keys_of_file(file: Path) -> list[Key]:
    """The keys of a deployment file. Raises DeploymentError for a file that cannot be used."""
    deployment = parse_file(file)
    keys = list(_keys(deployment, KEYS))
    return [_own(key, file.stem) if key.key == "account" else key for key in keys]


def keys_of_spec(spec: Mapping[str, Any]) -> list[Key]:
    """The keys of what the gateway stores; what it adds itself (symbols, hashes) is left out."""
    given = {"parameters" if key == "params" else key: value for key, value in spec.items()}
    named = {key: value for key, value in given.items() if key in KEYS and value not in ({}, [])}
    return list(_keys(DeploymentFile.model_validate(named), KEYS))


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
