"""Answers of many rows, written without a detour: money as text, everything else as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import Response

from cashup.storage.database import dump_json


class Rows(Response):
    """A JSON array of rows (objects, or arrays of numbers), or one row."""

    media_type = "application/json"

    def __init__(self, rows: Sequence[Mapping[str, Any] | Sequence[Any]] | Mapping[str, Any]) -> None:
        super().__init__(dump_json(rows))
