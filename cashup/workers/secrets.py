"""A deployment file is looked through for secrets before anything else is done with it, comments included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cashup.errors import DeploymentError
from cashup.strategies.secrets import NAMES, find_secrets

_KEY = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_."'-]+)\s*=""")
_TABLE = re.compile(r"^\s*\[\[?(?P<name>[^\]]+)\]\]?\s*(?:#.*)?$")
_BARE = re.compile(r"""(?P<name>[A-Za-z_.-]+)\s*(?:[:=]\s*|\s)(?P<value>(?=\S*\d)[^\s'",;\[\]{}()]+)""")
"""A name and what follows it without quotes; with a digit in it, or every sentence about secrets were one."""
_WORD = re.compile(r"""[^\s'",;\[\]{}()]+""")
_NAMED = re.compile(NAMES, re.IGNORECASE)
_SIGNS = re.compile(r"""[:=,'"]""")


class Finding(NamedTuple):
    """What looks like a secret: where it stands and what it looks like, never what it is."""

    line: int
    key: str
    what: str


def refuse_secrets(file: Path, text: str) -> None:
    """Raise DeploymentError that names the line and the key when `text`, the content of `file`, holds a secret."""
    for found in find_in_toml(text):
        raise DeploymentError(
            f"{file}, line {found.line}: {found.key} holds what looks like a secret ({found.what}); take it out and "
            "give it a new value: keys belong in the vault (`cashup account create`)",
            code="secret",
        )


def find_in_toml(text: str) -> Iterator[Finding]:
    """Every line of a TOML text that holds what looks like a secret, in a value, a key or a comment."""
    table, key = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _TABLE.match(line):
            table, key = heading["name"].strip(), ""
        elif assigned := _KEY.match(line):
            key = ".".join(part for part in (table, assigned["key"]) if part)
        for what, _ in find_secrets(_readable(line)):
            yield Finding(number, key or table or "a comment", what)
            break


def _readable(line: str) -> str:
    """The line, and below it every word of it in quotes, behind what stands before it and as the value of a name.

    The scanner knows code, where a value stands in quotes; a comment, or a part of a longer text, has none.
    """
    words = [f'{_SIGNS.sub(" ", line[: word.start()])}"{word[0]}"' for word in _WORD.finditer(line)]
    pairs = [f'{pair["name"]} = "{pair["value"]}"' for pair in _BARE.finditer(line) if _NAMED.search(pair["name"])]
    return "\n".join([line, *words, *pairs])
