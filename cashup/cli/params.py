"""`-p NAME VALUE`: a notebook's parameters on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cashup.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = ("-p", "--param")
GRID_FLAGS = ("-g", "--grid")

Params = Annotated[
    list[str] | None, typer.Option(*FLAGS, metavar="NAME VALUE", help="a parameter of the notebook; the value is YAML")
]
"""The type of the option in a command that is registered with `cls=ParamsCommand`."""

Grid = Annotated[
    list[str] | None,
    typer.Option(*GRID_FLAGS, metavar="NAME RANGE", help="a parameter to choose: 5:50:5, 5,10,20 or [a, b]"),
]
"""The same for the ranges to choose from."""


class ParamsCommand(TyperCommand):
    """A command whose `-p` and `-g` take two words, as often as they are given (a repeated option has one word)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join every name and value into one word before the options are read."""
        return super().parse_args(ctx, list(_joined(args)))


def _joined(args: Sequence[str]) -> list[str]:
    joined: list[str] = []
    rest = iter(args)
    for word in rest:
        joined.append(word)
        if word in FLAGS or word in GRID_FLAGS:
            name = next(rest, None)
            value = next(rest, None) if name is not None and "=" not in name else None
            if name is None or (value is None and "=" not in name):
                raise UsageError(f"{word} takes a name and a value, such as {word} fast 10")
            joined.append(name if value is None else f"{name}={value}")
    return joined


def read_params(notebook: Path, words: Sequence[str] | None) -> dict[str, Any]:
    """What `-p` gave, as checked parameters of `notebook`; raises NotebookError for unknown names and wrong types."""
    from cashup.strategies.notebook import check_parameters, read_parameters

    known = read_parameters(notebook)
    given: dict[str, Any] = {}
    for word in words or ():
        name, _, text = word.partition("=")
        given[name] = _value(name, text, known[name].default if name in known else None)
    return check_parameters(notebook, given)


def _value(name: str, text: str, default: object) -> Any:
    """`text` as YAML; where the parameter's default is text or a float, what YAML would read otherwise stays that."""
    import yaml

    try:
        value = yaml.load(text, _loader())  # noqa: S506 (a SafeLoader without dates)
    except yaml.YAMLError as error:
        raise UsageError(f"the value of -p {name} is not YAML: {text!r}") from error
    if isinstance(default, str) and not isinstance(value, str):
        return text
    if isinstance(default, float) and isinstance(value, str):
        try:
            return float(value)  # 1e-3 is text in YAML 1.1
        except ValueError:
            return value
    return value


def _loader() -> Any:
    """YAML's safe loader, to which 2025-01-01 is text: a notebook gets plain JSON types."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader without the timestamp type."""

    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
