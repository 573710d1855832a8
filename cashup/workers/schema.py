"""The JSON Schema of deployment files: what an editor completes and underlines (taplo, Even Better TOML)."""

from __future__ import annotations

import json
from typing import Any

from cashup.workers.deployment import KEYS, DeploymentFile

FILE = "deployment.schema.json"
"""What it is called in `live/`."""

LINE = f"#:schema ./{FILE}"
"""The first line of a deployment file, by which an editor finds it."""


def schema() -> dict[str, Any]:
    """The schema of one file: every key in the order of `KEYS`, with its type, limits, default and description."""
    document = _without_null(DeploymentFile.model_json_schema())
    document["properties"] = {name: document["properties"][name] for name in KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "A deployment of CashUp",
        "description": "What runs live: one file per deployment in `live/`, named after it. It holds no secret.",
    }


def _without_null(part: Any) -> Any:
    """The schema without null, which TOML does not have, and without titles, which repeat the names."""
    if isinstance(part, list):
        return [_without_null(one) for one in part if one != {"type": "null"}]
    if not isinstance(part, dict):
        return part
    kept = {
        key: _without_null(value)
        for key, value in part.items()
        if not (key == "default" and value is None) and not (key == "title" and isinstance(value, str))
    }
    choices = kept.get("anyOf")
    if isinstance(choices, list) and len(choices) == 1:
        del kept["anyOf"]
        kept = {**choices[0], **kept}
    return kept


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=2) + "\n"
