"""Deployment files: `live/*.toml` says what shall run. No secret has a place in them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from cashup.errors import CashUpError, DeploymentError
from cashup.strategies.conduct import Conduct, Resources, Restarts, own_account
from cashup.strategies.limits import Limits, Money, Protection
from cashup.strategies.versions import Version, freeze, read_version, unjudged, version_id
from cashup.workers.secrets import refuse_secrets

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class DeploymentFile(Conduct):
    """One file of `live/`. Its name is the file's name without `.toml`."""

    notebook: str = Field(min_length=1, description="the notebook, relative to the folder that `live/` lies in")
    account: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="the account it trades on, as `cashup account create` named it; without it a paper account of its "
        "own, which begins with its capital",
    )
    capital: Money = Field(description="what it may use of the account, in quote currency")
    parameters: dict[str, Any] = Field(default_factory=dict, description="values for the notebook's parameters cell")
    limits: Limits = Field(default_factory=Limits, description="what it may do at most")
    protections: list[Protection] = Field(default_factory=list, description="what pauses it after losses")

    @model_validator(mode="after")
    def _where_it_trades(self) -> DeploymentFile:
        if self.account is None and self.mode not in (None, "paper"):
            raise ValueError(f"a deployment with mode {self.mode} names its account")
        if self.mode == "live" and self.version is None:
            raise ValueError("mode live needs the version that runs; `cashup promote` makes one")
        return self

    def to_spec(self, root: Path, name: str = "", versions: Path | None = None) -> dict[str, Any]:
        """What the gateway stores for the deployment `name`: `notebook` as an absolute path, money as text.

        Keys that have their default are left out. Without an account it is the deployment's own paper account. With the
        folder of the versions it also says which one runs: the one that the file names, or the one that `freeze_spec`
        makes of the notebook. Raises NotebookError, NotFound, IntegrityError or DeploymentError for what does not fit.
        """
        notebook = (root / self.notebook).resolve()
        frozen = None if versions is None or self.version is None else read_version(versions, self.version)
        params = self.parameters if frozen is None else pinned(frozen, notebook, self.parameters)
        spec: dict[str, Any] = {
            "notebook": str(notebook),
            "params": params,
            "account": self.account,
            "capital": f"{self.capital:f}",
            "limits": self.limits.row(),
            **self.row(),
        }
        if self.account is None:
            spec |= {"account": own_account(name), "mode": "paper"}
        if self.protections:
            spec["protections"] = [protection.row() for protection in self.protections]
        spec |= self._market(notebook if frozen is None else frozen.path, params)
        if frozen is not None:
            spec["notebook_hash"] = frozen.notebook_hash
        elif versions is not None:
            made_of = unjudged(notebook, params)
            spec |= {"version": version_id(made_of), "notebook_hash": made_of["notebook_hash"]}
        return spec

    def _market(self, notebook: Path, params: Mapping[str, Any]) -> dict[str, Any]:
        """The symbols and the timeframe that the notebook trades with these parameters."""
        effective = _effective(notebook, params)
        found: dict[str, Any] = {}
        if isinstance(symbols := effective.get("symbols"), list):
            found["symbols"] = symbols
        if isinstance(timeframe := effective.get("timeframe"), str):
            found["timeframe"] = timeframe
        elif self.limits.stale_bars is not None or any(protection.in_bars for protection in self.protections):
            raise DeploymentError("a limit or protection counts in bars, and the parameters name no timeframe")
        return found


_OWN = [name for name in DeploymentFile.model_fields if name not in Conduct.model_fields]
KEYS = (*_OWN[:3], *Conduct.model_fields, *_OWN[3:])
"""Every key of a file: what runs, where and with how much, how, and the tables."""


def pinned(version: Version, notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a version; raises DeploymentError for another notebook's version, or when others are given."""
    if version.notebook != notebook.name:
        raise DeploymentError(f"version {version.id} is one of {version.notebook}, not of {notebook.name}")
    own, asked = _effective(version.path, version.params), _effective(version.path, {**version.params, **given})
    if different := [name for name in own if own[name] != asked[name]]:
        name = different[0]
        raise DeploymentError(
            f"parameters.{name} is {asked[name]!r}, and version {version.id} was promoted with {own[name]!r}; take it "
            "out, or promote the notebook with it"
        )
    return dict(version.params)


def freeze_spec(spec: Mapping[str, Any], versions: Path) -> Version | None:
    """Freeze the notebook of a spec as the version that it names, when that is not there; the version.

    Raises DeploymentError when the notebook was changed since the spec was read.
    """
    if "version" not in spec:
        return None
    if (versions / spec["version"]).is_dir():
        return read_version(versions, spec["version"])
    made_of = unjudged(Path(spec["notebook"]), spec["params"])
    if version_id(made_of) != spec["version"]:
        raise DeploymentError(f"{spec['notebook']} was changed meanwhile; do it again when it is saved")
    return freeze(Path(spec["notebook"]), made_of, versions)


def read_folder(folder: Path, versions: Path | None = None) -> dict[str, dict[str, Any]]:
    """The specifications of all deployments in `folder`, by name, checked against their notebooks and `versions`.

    Raises DeploymentError that lists every mistake of every file when there is one, and when there is no file at all.
    """
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise DeploymentError(f"there is no deployment in {folder}; write one, such as {folder / 'demo.toml'}")
    specs: dict[str, dict[str, Any]] = {}
    mistakes: list[str] = []
    for file in files:
        try:
            specs[file.stem] = read_file(file, versions)
        except CashUpError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DeploymentError("\n".join([*mistakes, "nothing was changed"]))
    return specs


def read_file(file: Path, versions: Path | None = None) -> dict[str, Any]:
    """The specification in one file; raises DeploymentError or NotebookError, naming the file, for any mistake."""
    deployment = parse_file(file)
    try:
        return deployment.to_spec(file.resolve().parent.parent, file.stem, versions)
    except CashUpError as error:
        raise type(error)(f"{file}: {error}", code=error.code) from error


def parse_file(file: Path) -> DeploymentFile:
    """What is written in one file; raises DeploymentError, naming the file, for a secret or any other mistake."""
    if not _NAME.fullmatch(file.stem):
        raise DeploymentError(f"{file}: a deployment's name is made of a-z, 0-9 and -; rename the file")
    try:
        text = file.read_text(encoding="utf-8")
        refuse_secrets(file, text)  # first: no other sentence about a file may repeat a secret in it
        document = tomllib.loads(text)
        json.dumps(document)
        return DeploymentFile.model_validate(document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeploymentError(f"{file} is not TOML: {error}") from error
    except TypeError as error:
        raise DeploymentError(f"{file}: a date or a time is written as text here, in quotes") from error
    except ValidationError as error:
        raise DeploymentError(f"{file}: {_sentences(error)}") from error
    except OSError as error:
        raise DeploymentError(f"{file} cannot be read: {error.strerror}") from error


def _effective(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook's parameters with `given` in them; raises NotebookError for one it does not have."""
    from cashup.strategies.notebook import check_parameters, read_parameters

    defaults = {name: parameter.default for name, parameter in read_parameters(notebook).items()}
    return defaults | check_parameters(notebook, given)


_TABLES: Mapping[str, type[BaseModel]] = {
    "limits": Limits,
    "protections": Protection,
    "restarts": Restarts,
    "resources": Resources,
}


def _sentences(error: ValidationError) -> str:
    found = []
    for mistake in error.errors():
        name = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            table = _TABLES.get(str(mistake["loc"][0]))
            known = KEYS if table is None else tuple(table.model_fields)
            found.append(f"{name} is not a key ({', '.join(known)})")
        elif mistake["type"] == "missing":
            found.append(f"{name} is missing")
        else:
            said = mistake["msg"].removeprefix("Value error, ")
            found.append(f"{name}: {said}" if name else said)
    return "; ".join(found)
