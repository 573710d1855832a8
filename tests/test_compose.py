"""The containers: the compose file is well-formed, holds no secret, and starts commands that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
OURS = {"gateway", "dashboards", "supervisor"}

NAMES = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "services", "networks", "volumes", "secrets"],
    "patternProperties": {"^x-": {}},
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "services": {"type": "object", "additionalProperties": {"$ref": "#/$defs/service"}},
        "networks": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"internal": {"type": "boolean"}}},
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": {"type": "string", "pattern": r"^\.cashup/secrets/"}},
            },
        },
    },
    "$defs": {
        "service": {
            "type": "object",
            "required": ["image", "restart", "networks"],
            "additionalProperties": False,
            "properties": {
                "image": {"type": "string"},
                "build": {"type": "object", "required": ["context", "dockerfile"]},
                "command": NAMES | {"uniqueItems": False},
                "init": {"const": True},
                "restart": {"const": "unless-stopped"},
                "read_only": {"const": True},
                "tmpfs": NAMES,
                "cap_drop": {"const": ["ALL"]},
                "security_opt": NAMES,
                "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
                "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                "secrets": NAMES,
                "volumes": NAMES,
                "networks": NAMES,
                "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
                "depends_on": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "required": ["condition"]},
                },
                "healthcheck": {"type": "object", "required": ["test", "interval", "timeout", "retries"]},
            },
        }
    },
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def test_it_is_well_formed(compose: dict[str, Any]) -> None:
    errors = [f"{'.'.join(map(str, e.path))}: {e.message}" for e in Draft202012Validator(SCHEMA).iter_errors(compose)]
    assert not errors, "\n".join(errors)


def test_what_is_named_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service["networks"]) <= set(compose["networks"]), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in compose["volumes"], f"{name}: {volume}"
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_no_secret_stands_in_it(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL|REDIS_URL", variable)
            assert not secret or (variable.endswith("_FILE") and value.startswith("/run/secrets/")), (
                f"{name}: {variable}"
            )
    assert "://cashup:" not in (ROOT / "compose.yaml").read_text()


def test_our_processes_have_an_init_and_are_shut_in(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["init"] is True
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_workers_and_dashboards_reach_the_gateway_only(compose: dict[str, Any]) -> None:
    assert compose["networks"]["data"]["internal"] is True
    for name in ("dashboards", "supervisor"):
        assert compose["services"][name]["networks"] == ["front"]
        assert "secrets" not in compose["services"][name]
    for name in ("postgres", "redis"):
        assert compose["services"][name]["networks"] == ["data"]
        assert "ports" not in compose["services"][name]


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    script = deploy / "secrets"
    script.write_bytes((ROOT / "deploy" / "secrets").read_bytes())
    script.chmod(0o755)
    folder = tmp_path / ".cashup" / "secrets"

    def run() -> dict[str, str]:
        subprocess.run([script], check=True)
        return {path.name: path.read_text() for path in folder.iterdir()}

    first = run()
    assert folder.stat().st_mode & 0o077 == 0
    assert run() == first
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(first) == set(compose["secrets"])
    assert re.fullmatch(r"[0-9a-f]{48}", first["postgres_password"])
    assert first["CASHUP_DATABASE_URL"] == f"postgresql://cashup:{first['postgres_password']}@postgres/cashup"
    assert first["CASHUP_REDIS_URL"] == f"redis://:{first['redis_password']}@redis/0"


def test_the_image_takes_what_is_in_the_tree() -> None:
    for line in (ROOT / "deploy" / "Containerfile").read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
