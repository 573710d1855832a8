"""The JSON Schema of deployment files says what the model says, and lies beside the files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from cashup.workers.deployment import KEYS, DeploymentFile
from cashup.workers.schema import FILE, LINE, schema, schema_text

LIVE = Path(__file__).parents[3] / "live"
GOOD: dict[str, Any] = {"notebook": "sma.ipynb", "capital": "1000"}


def test_the_file_in_the_tree_is_what_the_command_prints() -> None:
    assert (LIVE / FILE).read_text() == schema_text(), f"write it anew: cashup live schema > live/{FILE}"


def test_every_file_names_the_schema_in_its_first_line_and_fits_it() -> None:
    files = sorted(LIVE.glob("*.toml"))
    assert files
    for file in files:
        assert file.read_text().splitlines()[0] == LINE
        jsonschema.validate(tomllib.loads(file.read_text()), schema())


def test_every_key_is_described() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert tuple(schema()["properties"]) == KEYS
    tables = [schema(), *(table for table in schema()["$defs"].values())]
    keys = [(name, key) for table in tables for name, key in table["properties"].items()]
    assert [name for name, key in keys if "description" not in key and name != "method"] == []
    assert '"null"' not in json.dumps(schema())


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"capital": 1000}, True),
        ({"capital": 1000.5}, False),
        ({"capital": "much"}, False),
        ({"capital": -5}, False),
        ({"mode": "paper", "on_exit": "cancel", "missed_bars": "stop"}, True),
        ({"mode": "real"}, False),
        ({"version": "0123456789ab"}, True),
        ({"version": "v1"}, False),
        ({"hang_bars": 0}, True),
        ({"hang_bars": -1}, False),
        ({"hang_bars": "3"}, False),
        ({"hang_bars": True}, False),
        ({"report_band": 0.02}, True),
        ({"report_band": 2}, False),
        ({"restarts": {"limit": 0, "window": 60, "pause": 0.5}}, True),
        ({"restarts": {"limits": 0}}, False),
        ({"resources": {"memory_mb": 1}}, False),
        ({"limits": {"max_daily_loss": 0.05, "max_order_notional": "500"}}, True),
        ({"limits": {"max_daily_loss": 1.5}}, False),
        ({"limits": {"max_order_notional": 0.5}}, False),
        ({"protections": [{"method": "CooldownPeriod", "stop_duration": 5}]}, True),
        ({"protections": [{"method": "Cooldown"}]}, False),
        ({"colour": "red"}, False),
        ({"notebook": 1}, False),
        ({"account": ""}, False),
    ],
)
def test_schema_and_model_agree(change: dict[str, Any], fits: bool) -> None:
    document = GOOD | change
    assert jsonschema.Draft202012Validator(schema()).is_valid(document) is fits
    if fits:
        DeploymentFile.model_validate(document)
    else:
        with pytest.raises(ValidationError):
            DeploymentFile.model_validate(document)
