"""What looks like a secret in a text: a key, a token, a password. A finding is shown by its kind, never as it is."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

SHAPES = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a Telegram bot token": r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,34}\b",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
}
_SHAPES = {what: re.compile(pattern) for what, pattern in SHAPES.items()}

NAMES = r"(?:api_?key|key|secret|token|passw(?:or)?d|pwd|passphrase|credentials?|private_?key|auth|bearer)"
_NAMED = re.compile(
    rf"""(?ix) (?P<name> [A-Za-z_.-]*{NAMES}[A-Za-z_]*) \\?['"]? \s* [\]]? \s* (?: :\s*str\s*= | [:=,] ) \s*
    [rbf]? \\?(?P<quote>['"]) (?P<value> [^'"\\\n]{{6,}}) \\?(?P=quote)"""
)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*:(?P<value>[^\s/@'\"]{3,})@")
_LOOSE = re.compile(r"""(?P<quote>['"])(?P<value>[A-Za-z0-9+/=_-]{32,})(?P=quote)""")

PLACEHOLDER = re.compile(
    r"(?i)your|example|placeholder|change[ _-]?me|dummy|sample|redacted|insert|todo|xxx"
    r"|\*\*\*|\.\.\.|<[^>]*>|\$\{|\{\w*\}"
    r"|^(?:test|demo|none|null|secret|password|passwd|token|key|api[_ -]?key)\w*$|^(.)\1+$"
)
DIGEST = re.compile(r"(?i)hash|version|digest|sha\d|checksum|commit|run_?id")
"""Names of long texts that everybody may see."""

ENTROPY = 4.0
"""Bits per character from which on a long text without words is taken for a key; hexadecimal digits reach 4."""

HEX_ENTROPY = 3.0


def find_secrets(text: str, *, code: bool = True) -> Iterator[tuple[str, str]]:
    """What looks like a secret in `text`, each as (what it is, its value); each value once."""
    seen: set[str] = set()
    for what, value in _candidates(text, code=code):
        if value not in seen and not PLACEHOLDER.search(value):
            seen.add(value)
            yield what, value


def _candidates(text: str, *, code: bool) -> Iterator[tuple[str, str]]:
    for what, pattern in _SHAPES.items():
        yield from ((what, found[0]) for found in pattern.finditer(text))
    yield from (("a password in an address", found["value"]) for found in _URL.finditer(text))
    for found in _NAMED.finditer(text):
        if _is_secret_value(found["name"], found["value"]):
            yield f"a value of {found['name'].strip('.')!r}", found["value"]
    if code:
        for found in _LOOSE.finditer(text):
            before = text[max(0, found.start() - 40) : found.start()]
            if _is_key(found["value"]) and not DIGEST.search(before):
                yield "a text that looks like a key", found["value"]


def _is_secret_value(name: str, value: str) -> bool:
    """A value behind a name that sounds secret: no words, unless the name says password."""
    if re.search(r"(?i)pass|pwd|secret", name):
        return not re.search(r"\s", value) or _entropy(value) > ENTROPY
    return (
        bool(re.search(r"\d", value))
        and not re.search(r"\s", value)
        and len(value) >= 12
        and _entropy(value) >= HEX_ENTROPY
    )


def _is_key(value: str) -> bool:
    if re.fullmatch(r"[0-9a-fA-F]+", value):
        return _entropy(value) >= HEX_ENTROPY
    mixed = all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", r"\d"))
    return mixed and _entropy(value) >= ENTROPY


def _entropy(text: str) -> float:
    """Shannon's entropy of the characters, in bits per character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
