"""Text without secrets: what goes into a log, or to a person, passes here first."""

from __future__ import annotations

import re

MASK = "***"

_SECRETS = (
    re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"),  # a JWT
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),  # user:password in an address
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(
        r"(?i)((?:KEY|SIGN|signature|api_?key|secret|password|authorization|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}&]+"
    ),
)


def redact_text(text: str) -> str:
    """`text` without tokens, passwords in addresses, and `KEY=…` pairs."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: (found.group(1) if found.lastindex else "") + MASK, text)
    return text
