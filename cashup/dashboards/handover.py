"""How a dashboard's kernel gets its read-only token: through a pipe, so that it stands in no file or variable."""

from __future__ import annotations

import os

TOKEN_PIPE = "CASHUP_VIEW_TOKEN_FD"  # noqa: S105  (the name of a variable, not a token)


def handed_token() -> str | None:
    """The token that the server handed to this kernel, once; None outside such a kernel."""
    number = os.environ.pop(TOKEN_PIPE, None)
    if number is None:
        return None
    with os.fdopen(int(number), "rb") as pipe:
        return pipe.read().decode()
